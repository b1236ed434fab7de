"""Tables to paste: the same figures as Markdown, CSV and LaTeX, and names of classes that break none of them."""

import csv
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from page_factory import HOSTILE, make_page

from bench.reports.formats import Column, Format, Table, comma_separated, for_latex, latex, markdown
from bench.reports.tables import document, tables_of
from bench.schema.page import Estimate, Page

NAMES = (
    *HOSTILE[:3], "[a] 100 % & #1_{x}^2~\\end{tabular} --- ?`<<", "=HYPERLINK(1)", "-1", "+cmd", "@x", 'say "a, b"',
    "*starred*",
)  # fmt: skip
SHARE = Estimate(0.97551, 0.9412, 0.98765)
TABLE = Table("Some & all.", (
    Column("class", "text", NAMES),
    Column("images", "count", [12_345] * len(NAMES)),
    Column("recall", "share", [SHARE, None, *[SHARE] * (len(NAMES) - 2)], digits=1),
    Column("difference", "points", [Estimate(-0.0212, -0.03, 0.0, 0.98)] * len(NAMES)),
    Column("p", "p", [2e-5] * len(NAMES)),
))  # fmt: skip


def page(kind: str = "run") -> Page:
    return make_page(kind, classes=NAMES)  # type: ignore[arg-type]


def test_csv_holds_shares_with_all_digits_and_the_ends_of_intervals_in_columns_of_their_own() -> None:
    rows = list(csv.DictReader(comma_separated(TABLE).splitlines()))
    assert list(rows[0]) == [
        "class", "images", "recall", "recall low", "recall high", "difference", "difference low", "difference high",
        "difference level", "p",
    ]  # fmt: skip
    assert (rows[0]["images"], rows[0]["recall"], rows[0]["recall high"]) == ("12345", "0.97551", "0.98765")
    assert (rows[1]["recall"], rows[1]["recall low"], rows[0]["p"]) == ("", "", "2e-05")


def test_csv_gives_names_back_and_no_formula_to_a_spreadsheet() -> None:
    found = [row["class"] for row in csv.DictReader(comma_separated(TABLE).splitlines())]
    marked = [f"'{name}" if name in ("=HYPERLINK(1)", "+cmd", "@x") else name for name in NAMES]
    assert found == [" ".join(name.replace("\u202e", "").split()) for name in marked]


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_markdown_is_tables_with_names_in_their_cells_and_nothing_else(kind: str) -> None:
    """As GitHub's kind of Markdown reads it: each name comes back as text, in one cell."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(document(page(kind), "markdown"))
    kinds = {each.type for each in tokens} | {one.type for each in tokens for one in each.children or ()}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "code_inline", "em_open"}
    cells = ["".join(one.content for one in each.children or ()) for each in tokens if each.type == "inline"]
    for name in NAMES:
        assert " ".join(name.replace("\u202e", "").split()) in cells
    assert cells.count("class") == 1 and not re.search(r"(?<!\\)\$", document(page(kind), "markdown"))


def test_figures_for_readers_have_their_intervals_and_signs() -> None:
    row = markdown(TABLE).splitlines()[2].split(" | ")
    assert [each.replace("\u00a0", " ") for each in row[1:4]] == [
        "12,345", "97.6 % (94.1 to 98.8)", "−2.12 (−3.00 to +0.00)",
    ]  # fmt: skip
    assert row[4].replace("\u00a0", " ") == "&lt; 0.001 |"


def test_latex_has_no_character_that_it_would_read_as_more_than_one() -> None:
    for line in latex(TABLE).splitlines():
        if line.endswith(r" \\"):
            assert len(re.findall(r"(?<!\\)&", line)) == len(TABLE.columns) - 1
            assert not re.search(r"(?<!\\)[%#_~^]|--|(?<!{)\[|<<|\?`", line)
    assert for_latex("a--b [x] 5 %") == r"a-{}-b {[}x] 5 \%"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_latex_compiles(kind: str, tmp_path: Path) -> None:
    body = document(page(kind), "latex")
    head = "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n"
    (tmp_path / "a.tex").write_text(f"{head}{body}\n\\end{{document}}\n", encoding="utf-8")
    words = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "a.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "a.log").read_text(errors="replace")
    assert "Missing character" not in log and "Overfull" not in log


def test_letters_that_pdflatex_does_not_know_are_said() -> None:
    assert "lualatex" not in document(page(), "latex")
    assert "% has letters that pdflatex does not know" in document(make_page(classes=("猫", "犬")), "latex")


@pytest.mark.parametrize(
    ("kind", "shown"), [("run", ("classes", "confusion")), ("comparison", ("runs", "pairs", "classes"))]
)
def test_csv_holds_one_table_and_the_others_can_be_chosen(kind: str, shown: tuple[str, ...]) -> None:
    some = page(kind)
    assert document(some, "csv") == document(some, "csv", only=shown[0])
    heads = {name: document(some, "csv", only=name).splitlines()[0] for name in tables_of(some)}
    assert len(set(heads.values())) == len(heads) == 3
    forms: tuple[Format, ...] = ("markdown", "latex")
    for form in forms:
        assert all(document(some, form, only=name) in document(some, form) for name in shown if form == "markdown")


def test_runs_of_one_name_are_called_what_the_page_calls_them() -> None:
    some = make_page("comparison")
    alike = replace(some, runs=tuple(replace(run, run="net") for run in some.runs))
    first = [line.split(",")[0] for line in document(alike, "csv").splitlines()[1:]]
    assert len(set(first)) == len(first) and "net" not in first
    assert document(some, "csv").splitlines()[1].startswith(f"{some.runs[0].run},")


def test_markdown_of_a_comparison_begins_with_its_findings_and_what_was_noted() -> None:
    some = page("comparison")
    text = document(some, "markdown", notes=["held: not a[b] < 1"])
    assert text.startswith("### ") and text.count("\n- ") == len(some.findings) + 1
    assert "- held\\: not a\\[b\\] &lt; 1" in text
