"""Commands that make something of runs: evaluate, explain, compare, report, export, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from bench.cli.console import Answer
from bench.cli.main import app
from bench.cli.options import (
    AsFolder,
    Device,
    DryRun,
    Explainers,
    Layers,
    Limit,
    MaxImages,
    Moved,
    Open,
    RunNames,
    SingleFile,
    Slow,
    form_of,
    parse_ids,
    parse_limit,
    split_names,
)
from bench.cli.session import Session, command
from bench.errors import ThresholdError, UsageError


@command(app, "evaluate", epilog='bench evaluate latest --fail-if "accuracy < 0.92"')
def evaluate(
    session: Session,
    run: Annotated[str, typer.Argument(help="Name, latest, or path.")] = "latest",
    moved: Moved = None,
    device: Device = "auto",
    average: Annotated[bool, typer.Option(help="Also by the mean of mirrored and shifted views.")] = True,
    fail_if: Annotated[list[str] | None, typer.Option("--fail-if", help='"accuracy < 0.92": exit 3. Repeats.')] = None,
) -> Answer:
    """Test a run's weights again: accuracy with its interval, classes, most confused pairs."""
    from bench import api
    from bench.evaluation import FIGURES, broken_threshold, figure_names, read_averages
    from bench.store.runs import find_run, read_record

    folder = find_run(session.runs, run)
    more = figure_names(mirror=bool(read_record(folder).data.get("mirror"))) if average else ()
    for expression in fail_if or ():  # before any work: can it be read?
        broken_threshold(expression, dict.fromkeys(("accuracy", "loss", *more), 0.0))
    scores = api.evaluate(run, data=moved, average=average, device=device, workspace=session.place)
    lines = (*class_lines(folder), *result_lines(folder), str(folder.resolve()))
    figures = {"accuracy": scores.accuracy, "loss": scores.loss}
    averages = read_averages(read_record(folder).metrics, scores.total)
    figures |= {FIGURES[each.name]: each.accuracy.value for each in averages}
    broken = [words for words in (broken_threshold(each, figures) for each in fail_if or ()) if words]
    failure = ThresholdError("; ".join(broken), try_=f"bench show run {folder.name}") if broken else None
    return Answer(result_value(folder), lines, failure=failure)


@command(app, "explain", epilog="bench explain --explainer captum --layer layer3")
def explain(
    session: Session,
    explainer: Explainers = None,
    layer: Layers = None,
    run: RunNames = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="The newest run of this model. Repeats.")] = None,
    which: Annotated[str, typer.Option(help="wrong, or all test images.")] = "wrong",
    ids: Annotated[str | None, typer.Option(help="3,17 or a file of test ids, instead of --which.")] = None,
    target: Annotated[str, typer.Option(help="predicted, true or both.")] = "both",
    image: Annotated[
        list[Path] | None, typer.Option("--image", help="A picture of your own, on a page of its own. Repeats.")
    ] = None,
    class_: Annotated[
        list[str] | None, typer.Option("--class", help="With --image: explain this class, too. Repeats.")
    ] = None,
    limit: Limit = None,
    slow: Slow = False,
    moved: Moved = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    open_: Open = False,
) -> Answer:
    """Explain the misclassified test images; rows that are there are not computed again."""
    from bench import api

    place = session.place
    names = split_names(run) + [api.newest_run(each, place) for each in split_names(model)] or ["latest"]
    if image or class_:
        return _explain_pictures(
            session, names, image or [], explainer=split_names(explainer) or None, layer=split_names(layer) or None,
            classes=class_ or [], slow=slow, device=device,
        )  # fmt: skip
    done = [
        api.explain(
            name, explainer=split_names(explainer) or None, layer=split_names(layer) or None,
            which=which, ids=parse_ids(ids), target=target, limit=parse_limit(limit), slow=slow, data=moved,
            device=device, dry_run=dry_run, workspace=place,
        )
        for name in names
    ]  # fmt: skip
    lines: list[Any] = []
    for one in done:
        lines += [_cells_table(one.run.name, one.cells)] if one.cells else []
    value = {"runs": [{"run": one.run.name, "images": one.images, "report": str(one.report.resolve()), "cells": [
        {"explainer": cell.explainer, "layer": cell.layer, "rows": cell.rows, "computed": cell.computed,
         "images_per_second": cell.rate} for cell in one.cells]} for one in done]}  # fmt: skip
    return Answer(value, (*lines, *(str(one.report.resolve()) for one in done)), str(done[-1].report))


def _explain_pictures(session: Session, names: list[str], images: list[Path], **options: Any) -> Answer:  # noqa: ANN401
    """Own pictures, of every run that was named."""
    from bench.commands.explain_pictures import explain_pictures

    of_test_images = ("which", "ids", "target", "limit", "moved", "dry_run")
    wrong = [name for name in of_test_images if session.origins.get(name) == "flag"]
    if wrong:
        raise UsageError(
            f"--{wrong[0].replace('moved', 'data').replace('_', '-')} beside --image: it speaks of test images",
            try_="bench explain --image cat.png --class dog",
        )

    done = [explain_pictures(images, name, workspace=session.place, **options) for name in names]
    lines = [
        f"{one.file}: {one.top[0][0]} {one.top[0][1]:.1%} ({'; '.join(one.done)})"
        for each in done
        for one in each.pictures
    ]
    pages = [str(each.page.resolve()) for each in done]
    value = {"pages": pages, "pictures": [
        {"file": one.file, "done": list(one.done), "top": [{"class": name, "probability": share}
         for name, share in one.top]} for each in done for one in each.pictures]}  # fmt: skip
    return Answer(value, (*lines, *pages), pages[-1])


def _cells_table(name: str, cells: Any) -> Table:  # noqa: ANN401
    table = Table(title=f"maps of {name}", title_justify="left")
    for head in ("explainer", "layer"):
        table.add_column(head)
    for head in ("rows", "computed now", "images/s"):
        table.add_column(head, justify="right")
    for cell in cells:
        rate = f"{cell.rate:.1f}" if cell.rate else "–"
        table.add_row(escape(cell.explainer), escape(cell.layer), f"{cell.rows:,}", f"{cell.computed:,}", rate)
    return table


@command(app, "compare", epilog="bench compare RUN RUN --open")
def compare(
    session: Session,
    runs: Annotated[list[str], typer.Argument(help="Names, latest, or paths.")],
    explainer: Explainers = None,
    layer: Layers = None,
    limit: Limit = None,
    slow: Slow = False,
    compute: Annotated[bool, typer.Option("--compute/--no-compute", help="Make the rows that are missing.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder of the page; else runs/compare/N.")] = None,
    single_file: SingleFile = False,
    folder: AsFolder = False,
    max_images: MaxImages = None,
    moved: Moved = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    open_: Open = False,
) -> Answer:
    """One page of many runs, on the images that any of them got wrong."""
    from bench import api

    done = api.compare(
        *runs, explainer=split_names(explainer) or None, layer=split_names(layer) or None, limit=parse_limit(limit),
        slow=slow, compute=compute, out=out, data=moved, device=device, dry_run=dry_run, workspace=session.place,
        form=form_of(single_file=single_file, folder=folder), max_images=max_images,
    )  # fmt: skip
    if dry_run:
        return Answer({"planned": True}, ())
    path = str(done.page.resolve())
    return Answer({"page": path, "twin": str(done.twin.resolve())}, (path,), str(done.page))


@command(app, "report")
def report(
    session: Session,
    runs: Annotated[list[str] | None, typer.Argument(help="Names; none for all finished runs.")] = None,
    single_file: SingleFile = False,
    folder: AsFolder = False,
    max_images: MaxImages = None,
    open_: Open = False,
) -> Answer:
    """Render the runs' own pages again; computes nothing."""
    from bench import api

    form = form_of(single_file=single_file, folder=folder)
    made = api.report(*(runs or ()), form=form, max_images=max_images, workspace=session.place)
    pages = [str(page.resolve()) for page in made]
    if not pages:
        raise UsageError(f"no finished run in {session.runs}", try_="bench train --model cifar_resnet18")
    return Answer({"pages": pages}, tuple(pages), pages[-1])


@command(app, "export", epilog="bench export latest --figure gallery.png --layer layer3")
def export(
    session: Session,
    figure: Annotated[Path, typer.Option(help="File to write: .png or .pdf.")],
    run: Annotated[str, typer.Argument(help="Name, latest, or path.")] = "latest",
    ids: Annotated[str | None, typer.Option(help="3,17 or a file of test ids.")] = None,
    count: Annotated[int, typer.Option("--n", min=1, help="How many pictures.")] = 20,
    layer: Layers = None,
    explainer: Annotated[str | None, typer.Option(help="Whose maps; else the first there is.")] = None,
    target: Annotated[str, typer.Option(help="predicted, true or both.")] = "predicted",
    captions: Annotated[bool, typer.Option("--captions/--no-captions", help="Classes above the pictures.")] = True,
) -> Answer:
    """The figure of a student's report: misclassified pictures, maps beneath."""
    from bench import api

    drawn = api.export_figure(
        run, figure, ids=parse_ids(ids), count=count, layer=split_names(layer) or None, explainer=explainer,
        target=target, captions=captions, workspace=session.place,
    )  # fmt: skip
    path = str(figure.resolve())
    return Answer({"figure": path, "ids": list(drawn)}, (f"{len(drawn)} images", path))


@command(app, "demo")
def demo(session: Session, device: Device = "auto", open_: Open = False) -> Answer:
    """Digits, offline, minutes on two cores: train three models, explain their errors, compare them."""
    from bench import api
    from bench.store.runs import find_run

    names, page = api.demonstrate(device=device, workspace=session.place)
    lines = [line for name in names for line in result_lines(find_run(session.runs, name))]
    path = str(page.resolve())
    return Answer({"runs": names, "page": path}, (*lines, path), path)


# --- words about a run --------------------------------------------------------------------------------------


def result_value(folder: Path) -> dict[str, object]:
    """A run's result for `--json`."""
    from bench.store.runs import read_record

    record = read_record(folder)
    return {"run": record.name, "model": record.model, "path": str(folder.resolve()), "metrics": dict(record.metrics)}


def result_lines(folder: Path) -> tuple[str, ...]:
    """A run's result in one line."""
    from bench.pages.findings import result_words
    from bench.pages.run_views import run_view
    from bench.store.run_data import read_run

    view = run_view(read_run(folder))
    return (f"{view.run}: {result_words(view)}",)


def class_lines(folder: Path) -> tuple[Any, ...]:
    """A run's per-class table and its most confused pairs."""
    from bench.evaluation import confused_pairs
    from bench.pages.run_views import run_view
    from bench.store.run_data import read_run

    view = run_view(read_run(folder))
    table = Table(title=f"classes of {view.run}", title_justify="left")
    table.add_column("class")
    for head in ("right", "of", "recall %", "95 % interval", "predicted"):
        table.add_column(head, justify="right")
    for row in view.per_class:
        interval = f"{100 * row.recall.low:.1f} to {100 * row.recall.high:.1f}"
        table.add_row(
            escape(row.name),
            str(row.correct),
            str(row.total),
            f"{100 * row.recall.value:.1f}",
            interval,
            str(row.predicted),
        )
    names = [row.name for row in view.per_class]
    pairs = [
        f"{names[true]} taken for {names[wrong]}: {count}" for true, wrong, count in confused_pairs(view.confusion)
    ]
    return (table, *pairs)
