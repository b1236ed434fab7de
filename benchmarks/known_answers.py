"""Tests with known answers on a run: the tables of `bench judge --known-answers`, written into a document.

python benchmarks/known_answers.py RUN --explainer all captum:GuidedBackprop --write docs/measurements.md
python benchmarks/known_answers.py RUN --explainer scorecam rise --layer layer4 --limit 20 --mark expensive \
    --write docs/measurements.md
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from faithfulness import Lines
from tables import finish, parser_of, table

from bench.api import known_answers
from bench.scoring.known_tables import known_sheets
from bench.scoring.tables import WORD_HEADS
from bench.store.runs import find_run, read_record
from bench.workspace import Workspace

if TYPE_CHECKING:
    from bench.schema.known_answers import KnownAnswers
    from bench.schema.run import RunRecord


def text_of(found: KnownAnswers, record: RunRecord) -> str:
    """All tables in Markdown, under what they are of."""
    versions = ", ".join(f"{name} {found.versions[name]}" for name in ("torch", "grad-cam", "captum")
                         if name in found.versions)  # fmt: skip
    parts = [
        f"{found.device}; {versions}. `{found.model}`, recipe `{Path(record.recipe).stem}`, {record.data.name}, "
        f"test accuracy {100 * (record.results.accuracy or 0.0):.2f} %.",
        *found.notes,
    ]
    for sheet in known_sheets(found):
        rows = [list(row) for row in sheet.rows]
        parts += [f"### {sheet.title}", sheet.note, table(list(sheet.heads), rows, {*WORD_HEADS, "found down to"})]
    return "\n\n".join(parts)


def main() -> None:
    """Print the tables, or write them into a document."""
    parser = parser_of(__doc__, data=None, runs_dir=Path("runs"), write=None)
    parser.add_argument("run")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--explainer", nargs="+", default=["all"])
    parser.add_argument("--layer", nargs="+", default=["layer2", "layer3", "layer4"])
    parser.add_argument("--mark", default="known_answers", help="of the place in the document")
    options = parser.parse_args()
    found = known_answers(
        options.run, explainer=options.explainer, layer=options.layer, limit=options.limit, data=options.data,
        workspace=Workspace(runs=options.runs_dir, progress=Lines()),
    )  # fmt: skip
    finish(text_of(found, read_record(find_run(options.runs_dir, options.run))), options.write, options.mark)


if __name__ == "__main__":
    main()
