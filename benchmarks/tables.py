"""Markdown tables, and the places in a document that a command writes."""

from __future__ import annotations

import re
from pathlib import Path


def table(heads: list[str], rows: list[list[str]], words: set[str]) -> str:
    """A Markdown table; the columns named in `words` stand to the left, numbers to the right."""
    rule = ["---" if head in words else "---:" for head in heads]
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, rule, *rows])


def write_between(target: Path, name: str, text: str) -> None:
    """Replace what stands between the marks `<!-- NAME: begin -->` and `<!-- NAME: end -->`; both must be there."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    old = target.read_text(encoding="utf-8")
    if begin not in old or end not in old:
        raise SystemExit(f"{target} has no marks {begin} and {end}")
    new = re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n\n{text}\n\n{end}", old, flags=re.DOTALL)
    target.write_text(new, encoding="utf-8")


def points(share: float) -> str:
    """A signed difference of shares in points; nothing is no minus."""
    return f"{100 * share:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")
