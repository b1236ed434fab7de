"""Which explainers can be trusted on a run, as its page says it, as a table.

python benchmarks/trust.py runs/RUN/page.json --write docs/results.md
"""

import json
from pathlib import Path
from typing import Any

from tables import finish, parser_of, table

HEADS = ["advice", "explainer", "layer", "is what it claims", "finds the sticker", "on the right picture of four",
         "predicts covering"]  # fmt: skip
ASKED = ("claims", "sticker", "mosaic", "hiding")


def answer_words(answer: dict[str, Any]) -> str:
    """What a test gave: its words, and its figure where it has one."""
    figure = answer["figure"]
    shown = "" if figure is None else f"{figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"
    return ", ".join(filter(None, (shown, answer["words"]))) or ("yes" if answer["holds"] else "–")


def row_of(line: dict[str, Any]) -> list[str]:
    """A line of the page's section on trust."""
    names = " = ".join(f"`{name}`" for name in line["explainer"].split(" = "))
    return [line["advice"], names, line["layer"], *(answer_words(line[each]) for each in ASKED)]


def main() -> None:
    """Print the table, and write it where asked."""
    parser = parser_of(__doc__, write=None)
    parser.add_argument("page", type=Path, help="page.json of a run")
    options = parser.parse_args()
    trust = json.loads(options.page.read_text(encoding="utf-8"))["trust"]
    told = "\n".join(f"- {sentence}" for sentence in trust["sentences"])
    finish(f"{told}\n\n{table(HEADS, list(map(row_of, trust['heads'])), set(HEADS))}", options.write, "trust")


if __name__ == "__main__":
    main()
