"""A run's result as Markdown: tables to paste into a report."""

import re
from collections.abc import Sequence

from bench.schema.page import Page, RunView

from .filters import count, one_line, percent

# Whatever Markdown or HTML would read as more than a character; names of classes are other people's text.
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~<>&$@:])")


def run_markdown(page: Page) -> str:
    """The result line, the per-class table and the confusion table of the page's first run.

    Shares are in per cent with 95 % intervals; class names are escaped, so none starts a tag, a link or a column.
    """
    run = page.runs[0]
    return "\n".join([_result(run), "", *_class_table(run), "", *_confusion_table(page.classes, run), ""])


def escaped(text: str) -> str:
    """Other people's text on one line, with every character that Markdown or HTML reads escaped."""
    return _SPECIAL.sub(r"\\\1", one_line(text)).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")


def _result(run: RunView) -> str:
    a, epochs = run.accuracy, f"{run.epochs} epoch{'s' if run.epochs != 1 else ''}"
    averages = "; ".join(
        f"{one.name} {percent(one.accuracy.value)} ({percent(one.accuracy.low)} to {percent(one.accuracy.high)})"
        for one in run.averages
    )
    more = (
        f" By the mean logits of several views: {averages}. The tables see each image once, as it is."
        if averages
        else ""
    )
    return (
        f"**{escaped(run.model)}** on {escaped(run.data)}: {percent(a.value)} of {count(run.total)} test images right "
        f"(95 % interval {percent(a.low)} to {percent(a.high)}), {count(run.total - run.correct)} errors; "
        f"recipe {escaped(run.recipe)}, {epochs} on {count(run.train_images)} images, seed {run.seed}.{more}"
    )


def _class_table(run: RunView) -> list[str]:
    rows = [
        [escaped(row.name), count(row.total), count(row.correct), percent(row.recall.value, 1),
         f"{percent(row.recall.low, 1)} to {percent(row.recall.high, 1)}"]
        for row in run.per_class
    ]  # fmt: skip
    return _table(["class", "images", "right", "recall", "95 % interval"], rows)


def _confusion_table(classes: Sequence[str], run: RunView) -> list[str]:
    names = [escaped(name) for name in classes]
    rows = [[name, *map(count, row)] for name, row in zip(names, run.confusion, strict=True)]
    return _table(["true, then taken for", *names], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)]
