"""Which explainers can be trusted on a run, as its page says it, and how well they predict covering, as tables.

python benchmarks/trust.py runs/RUN/page.json --write docs/results.md
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tables import finish, parser_of, table

HEADS = ["advice", "explainer", "layer", "is what it claims", "finds the sticker", "on the right picture of four",
         "predicts covering"]  # fmt: skip
ASKED = ("claims", "sticker", "mosaic", "hiding")
COVERED = ["explainer", "layer", "images", "rank correlation", "maps of other images", "better than these by",
           "better than the best simple map by"]  # fmt: skip


def answer_words(answer: dict[str, Any]) -> str:
    """What a test gave: its words, and its figure where it has one."""
    figure = answer["figure"]
    shown = "" if figure is None else f"{figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"
    return ", ".join(filter(None, (shown, answer["words"]))) or ("yes" if answer["holds"] else "–")


def row_of(line: dict[str, Any]) -> list[str]:
    """A line of the page's section on trust."""
    names = " = ".join(f"`{name}`" for name in line["explainer"].split(" = "))
    return [line["advice"], names, line["layer"], *(answer_words(line[each]) for each in ASKED)]


def between(figure: dict[str, Any] | None, sign: str = "") -> str:
    """A figure with its interval."""
    if figure is None:
        return "–"
    value, low, high = (f"{round(figure[each], 2) + 0.0:{sign}.2f}" for each in ("value", "low", "high"))  # no -0.00
    return f"{value} ({low} to {high})"


def covering(scores: Sequence[dict[str, Any]]) -> list[list[str]]:
    """How well maps predict what covering does; explainers with the same figures share a line."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for one in scores:
        own = "–" if one["value"] is None else between(one)
        null = "–" if one["null"] is None else f"{round(one['null'], 2) + 0.0:.2f}"
        words = (one["layer"], f"{one['images']:,}", own, null, between(one["gain"], "+"), between(one["over"], "+"))
        rows.setdefault(words, []).append(f"`{one['explainer']}`")
    return [[", ".join(names), *words] for words, names in rows.items()]


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = parser_of(__doc__, write=None)
    parser.add_argument("page", type=Path, help="page.json of a run")
    options = parser.parse_args()
    page = json.loads(options.page.read_text(encoding="utf-8"))
    trust = page["trust"]
    told = "\n".join(f"- {sentence}" for sentence in trust["sentences"])
    parts = [told, table(HEADS, list(map(row_of, trust["heads"])), set(HEADS))]
    if page["scores"]:
        parts.append(table(COVERED, covering(page["scores"]), {*COVERED[:2]}))
    finish("\n\n".join(parts), options.write, "trust")


if __name__ == "__main__":
    main()
