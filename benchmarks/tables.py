"""What all benchmarks share: options, the line of hardware and versions, tables in Markdown, places in a document."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.machine import describe_device, versions
from bench.stats.rates import Interval, interval_words, median_interval, number_words

if TYPE_CHECKING:
    import torch

OPTIONS = {  # type and help of the options that several benchmarks have
    "data": (str, "registered name, or a folder or an archive of images"),
    "model": (str, "registered name, or FILE.py:NAME; weights from a seed"),
    "rounds": (int, "each goes forwards and backwards through all that is timed"),
    "block": (float, "seconds a block lasts at least"),
    "device": (str, "cpu, cuda or mps"),
    "runs_dir": (Path, "folder of the runs"),
    "write": (Path, "put the text between its marks in this file"),
}


def parser_of(doc: str | None, **defaults: object) -> argparse.ArgumentParser:
    """A parser under a module's docstring, with those of the shared options for which a default is given."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        kind, words = OPTIONS[name]
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=words)
    return parser


def machine_words(device: torch.device, *distributions: str) -> str:
    """`AMD EPYC, 2 threads; python 3.11.7, torch 2.11.0`."""
    named = ", ".join(f"{name} {number}" for name, number in versions(distributions).items())
    return f"{describe_device(device)}; {named}"


def busy_words(others: float | None) -> str:
    """What others took of the machine."""
    return f"Others took {'–' if others is None else f'{others:.0%}'} of the machine meanwhile."


def summary(
    values: Sequence[float], interval_of: Callable[[Sequence[float]], Interval | None] = median_interval
) -> tuple[str, str]:
    """The median of rounds and its interval, with the digits that the interval supports."""
    held, value = interval_of(values), median(values)
    low, high = (held.low, held.high) if held else (None, None)
    return number_words(value, low, high), interval_words(value, low, high)


def cell(values: Sequence[float], interval_of: Callable[[Sequence[float]], Interval | None] = median_interval) -> str:
    """`104 (102 to 108)`: both of `summary` in one cell of a table."""
    middle, interval = summary(values, interval_of)
    return f"{middle} ({interval})"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: set[str]) -> str:
    """A Markdown table; the columns named in `words` stand to the left, numbers to the right."""
    rule = ["---" if head in words else "---:" for head in heads]
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, rule, *rows])


def finish(text: str, target: Path | None, name: str) -> None:
    """Print what a benchmark found, and put it into a document where one is named."""
    print(text)
    if target:
        write_between(target, name, text)


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


def p_words(value: float) -> str:
    """A p-value with two digits; below a thousandth only that."""
    return "< 0.001" if value < 0.001 else f"{value:.2g}"
