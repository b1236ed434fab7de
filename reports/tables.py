"""The tables of a run or of a comparison, to paste into a report or to read by a program."""

from collections.abc import Sequence

from bench.schema.page import Page, RunView, run_labels

from .filters import count, percent
from .formats import Column, Format, Table, escaped, latex_head, written

SHOWN = {"run": ("classes", "confusion"), "comparison": ("runs", "pairs", "classes")}  # the first alone as CSV


def document(page: Page, form: Format, *, only: str = "", notes: Sequence[str] = ()) -> str:
    """The tables of a page as one text; of CSV, which holds one table, the first.

    Args:
        only: the name of the one table that is wanted.
        notes: lines that stand below the findings of a comparison in Markdown.
    """
    tables = tables_of(page)
    names = [only] if only else list(SHOWN[page.kind])[: 1 if form == "csv" else None]
    pieces = [written(tables[name], form) for name in names]
    if form == "latex":
        pieces = [latex_head("".join(pieces)), *pieces]
    elif form == "markdown" and not only:
        pieces = [_result(page.runs[0]) if page.kind == "run" else _findings(page, notes), *pieces]
    return "\n\n".join(pieces).replace("\u00a0", " ")


def tables_of(page: Page) -> dict[str, Table]:
    """All tables of a page, by name."""
    run = page.runs[0]
    found = {"runs": _runs(page), "classes": _classes(page)}
    if page.kind == "run":
        return {**found, "confusion": _confusion(page.classes, run)}
    return {**found, "pairs": _pairs(page)}


def _names(page: Page) -> tuple[str, ...]:
    """What each run is called: its own name, where no other has it."""
    names = tuple(run.run for run in page.runs)
    return names if len(set(names)) == len(names) else run_labels(page.runs)


def _runs(page: Page) -> Table:
    runs = page.runs
    columns = [
        Column("run", "text", _names(page)),
        Column("model", "text", [run.model for run in runs]),
        Column("epochs", "count", [run.epochs for run in runs]),
        Column("seed", "text", [str(run.seed) for run in runs]),
        Column("test images", "count", [run.total for run in runs]),
        Column("right", "count", [run.correct for run in runs]),
        Column("accuracy", "share", [run.accuracy for run in runs]),
        Column("loss", "number", [run.loss for run in runs]),
    ]
    if page.kind == "comparison":
        columns.append(Column("only this one wrong", "count", [run.only_wrong for run in runs]))
    return Table(f"Runs on {runs[0].data}, accuracy with its 95 % interval.", tuple(columns))


def _pairs(page: Page) -> Table:
    names, pairs = _names(page), page.pairs
    return Table(
        "Pairs of runs on the same test images: the difference of their accuracies in points, with an interval for all "
        "pairs at once, and the exact McNemar test, adjusted by Holm.",
        (
            Column("first", "text", [names[each.first] for each in pairs]),
            Column("second", "text", [names[each.second] for each in pairs]),
            Column("only first wrong", "count", [each.only_first_wrong for each in pairs]),
            Column("only second wrong", "count", [each.only_second_wrong for each in pairs]),
            Column("difference", "points", [each.difference for each in pairs]),
            Column("p", "p", [each.adjusted for each in pairs]),
        ),
    )


def _classes(page: Page) -> Table:
    runs, first = page.runs, page.runs[0]
    images = [row.total for row in first.per_class]
    columns = [Column("class", "text", [row.name for row in first.per_class]), Column("images", "count", images)]
    for run, name in zip(runs, _names(page), strict=True):
        of = f" of {name}" if len(runs) > 1 else ""
        columns.append(Column(f"right{of}", "count", [row.correct for row in run.per_class]))
        recalls = [row.recall if row.total else None for row in run.per_class]
        columns.append(Column(f"recall{of}", "share", recalls, digits=1))
    return Table(f"Recall by class with its 95 % interval. {_about(page)}", tuple(columns))


def _confusion(classes: Sequence[str], run: RunView) -> Table:
    if not run.confusion:
        pairs = (
            Column("true", "text", [classes[true] for true, _, _ in run.confused]),
            Column("taken for", "text", [classes[predicted] for _, predicted, _ in run.confused]),
            Column("images", "count", [often for _, _, often in run.confused]),
        )
        return Table(f"The {len(run.confused)} pairs of classes that were confused most. {_of(run)}.", pairs)
    names = Column("true, then taken for", "text", classes)
    taken = [Column(name, "count", [row[place] for row in run.confusion]) for place, name in enumerate(classes)]
    return Table(f"Test images by their true class and the class they were taken for. {_of(run)}.", (names, *taken))


def _about(page: Page) -> str:
    return f"{_of(page.runs[0])}." if page.kind == "run" else f"Runs on {page.runs[0].data}."


def _of(run: RunView) -> str:
    share = f"{percent(run.accuracy.value)} of {count(run.total)} test images right"
    return f"{run.model} on {run.data}, {share}, run {run.run}"


# --- what stands above the tables in Markdown ---------------------------------------------------------------


def _result(run: RunView) -> str:
    a, epochs = run.accuracy, f"{run.epochs} epoch{'s' if run.epochs != 1 else ''}"
    averages = "; ".join(
        f"{one.name} {percent(one.accuracy.value)} ({percent(one.accuracy.low)} to {percent(one.accuracy.high)})"
        for one in run.averages
    )
    views = f" By the mean logits of several views: {averages}. The tables see each image once, as it is."
    return (
        f"**{escaped(run.model)}** on {escaped(run.data)}: {percent(a.value)} of {count(run.total)} test images right "
        f"(95 % interval {percent(a.low)} to {percent(a.high)}), {count(run.total - run.correct)} errors; "
        f"recipe {escaped(run.recipe)}, {epochs} on {count(run.train_images)} images, seed {run.seed}."
        + (views if averages else "")
    )


def _findings(page: Page, notes: Sequence[str]) -> str:
    told = [f"- {escaped(each.text)} ({escaped(each.evidence)})" for each in page.findings]
    lines = [f"### {escaped(page.title)}", "", *told, *(f"- {escaped(each)}" for each in notes)]
    return "\n".join(lines)
