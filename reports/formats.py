"""Tables as Markdown, CSV or LaTeX. All that is other people's text is escaped here, for each format its own way."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.schema.page import Estimate

from .filters import NBSP, NONE, count, one_line, p_value, percent, points, small

Format = Literal["markdown", "csv", "latex"]
Value = str | int | float | Estimate | None
Kind = Literal["text", "count", "share", "points", "number", "fixed", "p"]

# Whatever Markdown or HTML would read as more than a character; names of classes are other people's text.
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~<>&$@:])")
_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "{''}", "'": "{'}", "`": "{`}", "[": "{[}", "*": "{*}",
    NBSP: r"\,", "−": "$-$", "–": r"\textendash{}", "’": "{'}", **{each: f"\\{each}" for each in "&%$#_{}"},
}  # fmt: skip
_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_NUMBER = re.compile(r"[+-]?[\d.,]+(e[+-]?\d+)?")
_PDFLATEX = re.compile("[^\x00-\u017f−–’]")  # letters that it does not know


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        kind: of its values: a `share` and a difference in `points` are in 0..1, and may be estimates.
        values: one a row; None for what is not known.
        digits: of a `share` and of a `fixed` number that people read.
    """

    head: str
    kind: Kind
    values: Sequence[Value]
    digits: int = 2


@dataclass(frozen=True)
class Table:
    """Columns of equal length; the caption says what of."""

    caption: str
    columns: tuple[Column, ...]


def written(table: Table, form: Format) -> str:
    """A table in one of the formats."""
    return WRITERS[form](table)


# --- for readers --------------------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """A table as GitHub draws it."""
    rule = ["---" if each.kind == "text" else "---:" for each in table.columns]
    heads = [escaped(each.head) for each in table.columns]
    lines = [heads, rule, *_rows(table, escaped)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def escaped(text: str) -> str:
    """Other people's text on one line, with every character that Markdown or HTML reads escaped."""
    plain = _SPECIAL.sub(r"\\\1", one_line(text))
    return plain.replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")


def latex(table: Table) -> str:
    """A table of the package booktabs with its caption, made smaller where it is wider than the text."""
    kinds = "".join("l" if each.kind == "text" else "r" for each in table.columns)
    body = "\n".join(f"{' & '.join(cells)} \\\\" for cells in _rows(table, for_latex))
    lines = (
        r"\begin{table}", r"\centering", f"\\caption{{{for_latex(table.caption)}}}", _FITTED,
        f"\\begin{{tabular}}{{{kinds}}}",
        r"\toprule", " & ".join(for_latex(each.head) for each in table.columns) + r" \\", r"\midrule", body,
        r"\bottomrule", r"\end{tabular}}", r"\end{table}",
    )  # fmt: skip
    return "\n".join(lines)


def for_latex(text: str) -> str:
    """Other people's text on one line, in which LaTeX finds no command, no ligature and no letter that it drops."""
    kept = one_line(text.replace(NBSP, "\0")).replace("\0", NBSP)
    return re.sub("-(?=-)", "-{}", "".join(_LATEX.get(each, each) for each in kept))


def latex_head(text: str) -> str:
    """What a document needs for tables in LaTeX, as comments."""
    other = "\n% has letters that pdflatex does not know: use lualatex or xelatex" if _PDFLATEX.search(text) else ""
    return rf"% needs \usepackage{{booktabs,graphicx}}{other}"


def _rows(table: Table, escape: Callable[[str], str]) -> list[list[str]]:
    texts = [[escape(shown(value, each)) for value in each.values] for each in table.columns]
    return [list(cells) for cells in zip(*texts, strict=True)]


def shown(value: Value, column: Column) -> str:
    """A value as people read it, an estimate with its interval."""
    if value is None:
        return NONE
    if isinstance(value, Estimate):
        ends = (shown(each, column).removesuffix(f"{NBSP}%") for each in (value.low, value.high))
        return f"{shown(value.value, column)} ({' to '.join(ends)})"
    if isinstance(value, str):
        return value
    words: Mapping[str, Callable[[float], str]] = {
        "count": lambda each: count(int(each)), "share": lambda each: percent(each, column.digits), "points": points,
        "fixed": lambda each: f"{each:,.{column.digits}f}", "p": p_value,
    }  # fmt: skip
    return words.get(column.kind, small)(value)


# --- for programs -------------------------------------------------------------------------------------------


def comma_separated(table: Table) -> str:
    """A table for programs: shares in 0..1 with all their digits, the ends of an interval in columns of their own."""
    columns = [part for each in table.columns for part in _parts(each)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(head) for head, _ in columns])
    writer.writerows([_cell(value) for value in row] for row in zip(*(values for _, values in columns), strict=True))
    return out.getvalue().rstrip("\n")


def _parts(column: Column) -> list[tuple[str, Sequence[Value]]]:
    """A column as programs take it: of estimates the value, both ends and the level, where it is not the same."""
    if not any(isinstance(value, Estimate) for value in column.values):
        return [(column.head, column.values)]
    levels = {value.level for value in column.values if isinstance(value, Estimate)}
    names = ["value", "low", "high", *(["level"] if levels != {0.95} else [])]
    heads = [column.head, *(f"{column.head} {name}" for name in names[1:])]
    return [
        (head, [getattr(value, name) if isinstance(value, Estimate) else value for value in column.values])
        for head, name in zip(heads, names, strict=True)
    ]


def _cell(value: Value) -> str:
    if value is None:
        return ""
    return for_spreadsheet(value) if isinstance(value, str) else repr(value)


def for_spreadsheet(text: str) -> str:
    """Other people's text on one line; what would begin a formula, and is no number, has an apostrophe in front."""
    plain = one_line(text)
    return f"'{plain}" if plain.startswith(("=", "+", "-", "@")) and not _NUMBER.fullmatch(plain) else plain


WRITERS: Mapping[Format, Callable[[Table], str]] = {"markdown": markdown, "csv": comma_separated, "latex": latex}
