"""How far the maps of a run can be trusted: the tables of `bench judge --faithfulness`, written into a document.

python benchmarks/faithfulness.py RUN --write docs/measurements.md
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tables import finish, parser_of, table

from bench.api import faithfulness
from bench.commands.faithfulness import FAITHFUL_EXPLAINERS
from bench.scoring.tables import WORD_HEADS, head_words, sheets
from bench.store.runs import find_run, read_record
from bench.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.schema.run import RunRecord
    from bench.schema.scores import FaithfulnessScores


EVERY = 30.0  # seconds between two lines


class Lines:
    """Tells what goes on, a line at a time."""

    def say(self, text: str) -> None:
        """One line."""
        print(text, flush=True)

    def warn(self, text: str) -> None:
        """One line that should not be overlooked."""
        print(f"note: {text}", flush=True)

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Count]:
        """Says how far it is, now and then."""
        print(f"{label}: {total:,}", flush=True)
        yield Count(label, total)


@dataclass
class Count:
    """How much of a piece of work is done."""

    label: str
    total: int
    done: int = 0
    spoke: float = field(default_factory=time.monotonic)

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count, and speak when it was quiet long enough."""
        self.done += amount
        if time.monotonic() - self.spoke > EVERY:
            self.spoke = time.monotonic()
            print(f"  {self.label}: {self.done:,} of {self.total:,}, {note}", flush=True)


def text_of(found: FaithfulnessScores, record: RunRecord, minutes: float) -> str:
    """All tables in Markdown, under what they are of.

    Args:
        minutes: what the whole call took; told where the answers were computed in it.
    """
    versions = ", ".join(f"{name} {found.versions[name]}" for name in ("torch", "grad-cam", "captum", "scipy")
                         if name in found.versions)  # fmt: skip
    accuracy = record.results.accuracy or 0.0
    assert isinstance(accuracy, float)
    parts = [
        f"{found.device}; {versions}. `{found.model}`, recipe `{Path(record.recipe).stem}`, "
        f"{record.data.name}, test accuracy {100 * accuracy:.2f} %. {head_words(found)}."
        + (f" The whole call took {minutes:.0f} minutes." if found.new == found.answers else ""),
    ]
    for sheet in sheets(found):
        rows = [list(row) for row in sheet.rows]
        parts += [f"### {sheet.title}", sheet.note, table(list(sheet.heads), rows, set(WORD_HEADS))]
    return "\n\n".join(parts)


def main() -> None:
    """Print the tables, or write them into a document."""
    parser = parser_of(__doc__, data=None, runs_dir="runs", write=None)
    parser.add_argument("run")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--sanity", type=int, default=30)
    parser.add_argument("--explainer", nargs="+", default=list(FAITHFUL_EXPLAINERS))
    parser.add_argument("--layer", nargs="+", default=["layer3", "layer4"])
    options = parser.parse_args()
    started = time.monotonic()
    found = faithfulness(
        options.run, explainer=options.explainer, layer=options.layer, limit=options.limit, sanity=options.sanity,
        data=options.data, workspace=Workspace(runs=options.runs_dir, progress=Lines()),
    )  # fmt: skip
    minutes = (time.monotonic() - started) / 60
    text = text_of(found, read_record(find_run(options.runs_dir, options.run)), minutes)
    finish(text, options.write, "faithfulness")


if __name__ == "__main__":
    main()
