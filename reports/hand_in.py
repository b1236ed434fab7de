"""The folder to hand in: a README that renders on GitHub, figures as PNG and SVG, tables as CSV."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.homes import homeless
from bench.schema.hand_in import HandIn, Missing
from bench.schema.page import RunView
from bench.schema.verdicts import why

from .figures import maps, paper, pictures, plots
from .filters import count, one_line, percent, plural
from .formats import Column, Table, escaped, written
from .tables import tables_of as tables_of_page

FIGURES, TABLES = "figures", "tables"
FOLDED = 30  # rows of a table that stands in the page; a longer one is folded

Lines = Iterator[str]


def write(found: HandIn, look: paper.Look, folder: Path) -> list[str]:
    """Fill a folder: README.md, figures/ and tables/; gives the names of its files. The same values give the same text.

    Names of classes and files are other people's text: they stay text in Markdown, and start no formula in a table.
    """
    files = ["README.md"]
    (folder / FIGURES).mkdir()
    (folder / TABLES).mkdir()
    for name, draw in figures_of(found, look).items():
        both = {suffix: folder / FIGURES / f"{name}{suffix}" for suffix in (".png", ".svg")}
        with both[".png"].open("wb") as png, both[".svg"].open("wb") as svg:
            paper.write(draw, {".png": png, ".svg": svg})
        files += [f"{FIGURES}/{path.name}" for path in both.values()]
    for name, table in tables_of(found).items():
        text = homeless(written(table, "csv"))
        (folder / TABLES / f"{name}.csv").write_text(f"{text}\n", encoding="utf-8")
        files.append(f"{TABLES}/{name}.csv")
    (folder / "README.md").write_text(homeless(readme(found)), encoding="utf-8")
    return files


# --- figures ----------------------------------------------------------------------------------------------------


def figures_of(found: HandIn, look: paper.Look) -> dict[str, Callable[[], paper.Sheet]]:
    """What draws each figure that there is something for, by its file's name."""
    page, seen = found.page, found.pictures
    run = page.runs[0]
    drawn: dict[str, Callable[[], paper.Sheet]] = {}
    if run.curve:
        drawn["curves"] = partial(plots.curves, page, look)
    if found.errors.places:
        drawn["errors"] = partial(maps.gallery, page, found.errors.places, (), look)
    if found.errors.maps:
        drawn["maps"] = partial(maps.gallery, page, found.errors.places, found.errors.maps, look)
    if found.explainers.maps:
        drawn["explainers"] = partial(maps.grid, page, found.explainers.places, found.explainers.maps, look)
    drawn["classes"] = partial(plots.classes, page, look)
    drawn["confusion"] = partial(plots.confusion, page, look)
    if run.calibration:
        drawn["calibration"] = partial(plots.calibration, page, look)
    if seen:
        shown, every = len(seen.by_class), len(page.classes)
        some = "each class" if shown == every else f"the first {shown} of {every} classes"
        words = f"Training images of {one_line(run.data)}: the first ones of {some}."
        drawn["data"] = partial(pictures.by_class, seen.by_class, look, words)
    if seen and seen.pairs:
        words = f"Training images of {one_line(run.data)}, each beside what the model sees of it: {seen.augmentation}."
        drawn["augmentation"] = partial(pictures.pairs, seen.pairs, look, words)
    return drawn


# --- tables -----------------------------------------------------------------------------------------------------


def tables_of(found: HandIn) -> dict[str, Table]:
    """The tables by their files' names, with every row."""
    page, run = found.page, found.page.runs[0]
    of_page = tables_of_page(page)
    tables = {"classes": _with_precision(of_page["classes"], run), "confusion": of_page["confusion"]}
    if found.errors.places:
        tables["errors"] = _errors(found)
    if run.curve:
        tables["log"] = _log(run)
    if run.calibration:
        tables["calibration"] = _calibrated(run)
    if found.model:
        columns = zip(*found.model.rows, strict=True)
        kinds = ("text", "text", "text", "count")  # the last is a number, in brackets where it was counted before
        heads = zip(found.model.heads, kinds, columns, strict=True)
        tables["layers"] = Table("The model, layer by layer.", tuple(Column(*each) for each in heads))  # type: ignore[arg-type]
    names, values = zip(*found.settings, strict=True)
    settings = (Column("setting", "text", names), Column("value", "text", values))
    return {**tables, "settings": Table("Every setting.", settings)}


def _with_precision(table: Table, run: RunView) -> Table:
    called = [row.predicted for row in run.per_class]
    right = [row.correct / row.predicted if row.predicted else None for row in run.per_class]
    more = (Column("called so", "count", called), Column("precision", "share", right, digits=1))
    return Table(table.caption, (*table.columns, *more))


def _errors(found: HandIn) -> Table:
    page, gallery, places = found.page, found.page.gallery, found.errors.places
    said = gallery.said[0]
    return Table("Misclassified pictures.", (
        Column("test image", "count", [str(gallery.ids[at]) for at in places]),
        Column("file", "text", [gallery.files[at] for at in places]),
        Column("true class", "text", [page.classes[gallery.true[at]] for at in places]),
        Column("predicted class", "text", [page.classes[said.predicted[at]] for at in places]),
        Column("probability", "share", [said.probability[at] for at in places], digits=1),
        Column("of the true class", "share", [said.true_probability[at] for at in places], digits=1),
    ))  # fmt: skip


def _log(run: RunView) -> Table:
    curve = run.curve
    return Table("Training, epoch by epoch.", (
        Column("epoch", "count", [one.epoch for one in curve]),
        Column("training loss", "fixed", [one.train_loss for one in curve], digits=4),
        Column("training accuracy", "share", [one.train_accuracy for one in curve]),
        Column("validation loss", "fixed", [one.val_loss for one in curve], digits=4),
        Column("validation accuracy", "share", [one.val_accuracy for one in curve]),
        Column("learning rate", "number", [one.learning_rate for one in curve]),
        Column("images/s", "fixed", [one.images_per_second or None for one in curve], digits=1),
    ))  # fmt: skip


def _calibrated(run: RunView) -> Table:
    bins = run.calibration
    return Table("Test images in bins by their highest probability.", (
        Column("images", "count", [one.total for one in bins]),
        Column("right", "count", [one.correct for one in bins]),
        Column("mean probability", "share", [one.confidence for one in bins]),
        Column("share right low", "share", [one.low for one in bins]),
        Column("share right high", "share", [one.high for one in bins]),
    ))  # fmt: skip


# --- Markdown ---------------------------------------------------------------------------------------------------


def readme(found: HandIn) -> str:
    """The page as Markdown."""
    parts = (_result, _curves, _pictures, _maps, _explainers, _by_class, _calibration, _conclusions, _data, _training,
             _model, _again)  # fmt: skip
    return "\n".join([f"# {escaped(found.page.title)}", "", *(line for part in parts for line in part(found))]) + "\n"


def _result(found: HandIn) -> Lines:
    run = found.page.runs[0]
    interval = f"95 % interval {percent(run.accuracy.low)} to {percent(run.accuracy.high)}"
    yield f"**{percent(run.accuracy.value)} of {count(run.total)} test images are right** ({interval})."
    yield ("The test images were looked at after training only; no epoch was chosen by them." if found.training
           else "The weights were trained elsewhere.")  # fmt: skip
    yield ""
    rows = [
        ("model", f"{escaped(run.model)}, {count(run.parameters)} parameters"),
        ("data", f"{escaped(run.data)}, {count(len(run.per_class))} classes"),
        ("right", f"{count(run.correct)} of {count(run.total)} test images"),
        ("test loss", f"{run.loss:.3f} nats an image"),
    ]
    if run.curve:
        last = run.curve[-1]
        gap = 100 * (last.train_accuracy - run.accuracy.value)
        rows.append(
            ("training accuracy", f"{percent(last.train_accuracy)} in the last epoch, {gap:+.2f} points to test")
        )
        if last.val_accuracy is not None:
            rows.append(("validation accuracy", percent(last.val_accuracy)))
    rows += [
        (each.name, f"{percent(each.accuracy.value)}, by {each.views} views of each image") for each in run.averages
    ]
    if run.epochs:
        rows.append(("trained", f"{plural(run.epochs, 'epoch')} on {count(run.train_images)} images, seed {run.seed}"))
    yield from ("| result | |", "| --- | --- |", *(f"| {what} | {words} |" for what, words in rows), "")


def _curves(found: HandIn) -> Lines:
    if found.page.runs[0].curve:
        yield from _heading("Learning curves")
        yield from _figure("curves", "Loss and accuracy of training and validation over the epochs", "log")


def _pictures(found: HandIn) -> Lines:
    yield from _heading("Misclassified pictures")
    run, shown = found.page.runs[0], found.errors.places
    wrong = run.total - run.correct
    if not shown:
        yield "No test image was misclassified." if not wrong else "No pictures of them are kept in the run."
        yield from _lack(found, "maps")
        return
    chosen = "A fixed order that takes classes in turn chose them, nobody's eye."
    yield f"{len(shown)} of {plural(wrong, 'error')}. {chosen}"
    yield ""
    yield from _figure("errors", f"{len(shown)} pictures with their true and their predicted class", "errors")
    yield from _folded(f"The {len(shown)} pictures as a table", _errors(found))


def _maps(found: HandIn) -> Lines:
    yield from _heading("What the model looked at")
    yield from _lack(found, "maps")
    if not found.errors.maps:
        return
    views = [found.page.cells[cell] for cell, _ in found.errors.maps]
    grids = ", ".join(dict.fromkeys(f"{escaped(view.layer)} {view.height}x{view.width}" for view in views))
    roles = " and the ".join(dict.fromkeys(role for _, role in found.errors.maps))
    yield (
        f"Maps of {escaped(views[0].explainer)} for the {roles} class, over the same pictures. The brightest places "
        "are where the score of that class comes from, by this method. A map has few values and is enlarged to "
        f"the picture ({grids}): a map of 4x4 values says which sixteenth of the picture, no more."
    )
    yield ""
    yield from _figure("maps", "The misclassified pictures with their maps at each layer", "")


def _explainers(found: HandIn) -> Lines:
    if found.explainers.maps or "explainers" in found.missing:
        yield from _heading("Does another method say the same?")
        yield from _lack(found, "explainers")
    if found.explainers.maps:
        yield from _figure("explainers", "Maps of several explainers of the same pictures", "")


def _by_class(found: HandIn) -> Lines:
    run = found.page.runs[0]
    yield from _heading("Classes")
    yield from _figure("classes", "Recall of each class with its interval", "classes")
    table = _with_precision(tables_of_page(found.page)["classes"], run)
    yield "Recall with its 95 % interval in brackets; precision is the share of what was called so that was so."
    yield ""
    yield from _long(f"All {len(run.per_class)} classes", table)
    yield from _heading("Confusion")
    yield from _figure("confusion", "How often each class was taken for each other", "confusion")


def _calibration(found: HandIn) -> Lines:
    if found.page.runs[0].calibration:
        yield from _heading("Is it as sure as it is right?")
        yield from _figure("calibration", "The share right over the highest probability", "calibration")


def _conclusions(found: HandIn) -> Lines:
    page, run = found.page, found.page.runs[0]
    yield from _heading("What can be concluded, and what not")
    here = [one for one in page.findings if one.anchor in ("errors", "confusion", "classes")]
    said = [escaped(f"{one.before}{one.link}{one.after}: {one.evidence}") for one in here]
    yield from (f"- {each}." for each in said)
    yield from (f"- {escaped(each)}" for each in (page.trust.sentences if page.trust else ()))
    yield ""
    yield "What these figures do not say:"
    yield ""
    if found.training:
        yield "- One seed says nothing about the architecture: another seed gives other weights and another accuracy."
    yield "- The intervals are about the choice of test images, not about training again."
    if found.errors.maps:
        yield (
            "- A map shows where a score comes from by one method. It does not show that the model uses these pixels, "
            "nor that its reason is a good one."
        )
        yield from _judged(found)
    if run.curve:
        yield "- Training accuracy is counted on augmented images while the weights still move: it may lie below test."


def _judged(found: HandIn) -> Lines:
    """What the judge says of the maps that are shown, or what makes it say something."""
    page, run = found.page, found.page.runs[0]
    cells = [page.cells[cell] for cell, _ in (*found.errors.maps, *found.explainers.maps)]
    verdicts = {(one.verdict.explainer, one.verdict.layer): one.verdict for one in page.verdicts}
    for name, layer in dict.fromkeys((cell.explainer, cell.layer) for cell in cells):
        verdict, place = verdicts.get((name, layer)), f"{escaped(name)} at {escaped(layer)}"
        if verdict is not None and verdict.verdict not in ("same", "same up to rounding"):
            yield f"- {place}, held against Grad-CAM in float64: {verdict.verdict}. {escaped(why(verdict))}"
    if unjudged := {cell.explainer for cell in cells if (cell.explainer, cell.layer) not in verdicts}:
        yield f"- Maps of {escaped(' and '.join(sorted(unjudged)))} were not all tested; `bench judge {run.run}` does."


def _data(found: HandIn) -> Lines:
    run, facts = found.page.runs[0], found.facts
    yield from _heading("Data and augmentation")
    sizes = (
        f"{count(facts.train)} training and {count(facts.test)} test images"
        if facts.test
        else f"{count(run.total)} test images"
    )
    mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (facts.mean, facts.std))
    used = f"; this run trained on {count(run.train_images)} of them" if 0 < run.train_images < facts.train else ""
    yield f"{sizes} of {len(found.page.classes)} classes{used}. Normalised by mean {mean} and standard deviation {std}."
    yield from (escaped(each) + "." for each in (facts.inventory, *facts.notes) if each)
    yield ""
    yield from _lack(found, "pictures")
    if found.pictures:
        yield from _figure("data", "Training images of each class", "")
        if found.pictures.pairs:
            yield f"What the model sees: {found.pictures.augmentation}. Drawn by the code that training uses."
            yield ""
            yield from _figure("augmentation", "Training images, each beside its augmented copy", "")


def _training(found: HandIn) -> Lines:
    run = found.page.runs[0]
    if found.training:
        yield from _heading("Training")
        yield from (f"- {escaped(each)}" for each in found.training)
        yield from (f"- {each.words}: `{each.command}` makes one." for each in _missing(found, "rate"))
        yield ""
    if run.curve:
        yield from _long(f"All {len(run.curve)} epochs", _log(run))
    yield from _folded(f"All {len(found.settings)} settings", tables_of(found)["settings"])


def _model(found: HandIn) -> Lines:
    yield from _heading("The model, layer by layer")
    yield from _lack(found, "model")
    if found.model:
        shape = " x ".join(map(str, found.model.input_shape))
        yield f"{escaped(found.model.kind)}, one image of {shape}:"
        yield ""
        yield from _table(tables_of(found)["layers"])
        yield from (f"- {escaped(each)}" for each in found.model.totals)


def _again(found: HandIn) -> Lines:
    page, run = found.page, found.page.runs[0]
    yield from _heading("Make it again")
    yield from _code(found.command, found.again)
    if run.checkpoint:
        yield f"The weights are `checkpoint.safetensors` of run `{run.run}`, sha256 `{run.checkpoint}`."
    facts = {name: value for _, rows in page.provenance for name, value in rows}
    yield from (f"Made with {escaped(facts[name])}." for name in ("versions",) if facts.get(name))
    yield ""
    yield f"Figures lie in `{FIGURES}/` as PNG and SVG, tables in `{TABLES}/` as CSV."


# --- its parts --------------------------------------------------------------------------------------------------


def _heading(words: str) -> Lines:
    yield from ("", f"## {words}", "")


def _figure(name: str, alt: str, table: str) -> Lines:
    yield f"![{alt}]({FIGURES}/{name}.png)"
    yield ""
    numbers = f" · [numbers]({TABLES}/{table}.csv)" if table else ""
    yield f"[SVG]({FIGURES}/{name}.svg){numbers}"
    yield ""


def _table(table: Table) -> Lines:
    yield from (written(table, "markdown"), "")


def _long(words: str, table: Table) -> Lines:
    """A table, below a line to click on where it is long."""
    yield from _table(table) if len(table.columns[0].values) <= FOLDED else _folded(words, table)


def _folded(words: str, table: Table) -> Lines:
    """A table below a line to click on."""
    yield from ("<details>", f"<summary>{words}</summary>", "", *_table(table), "</details>", "")


def _missing(found: HandIn, what: str) -> list[Missing]:
    return [found.missing[what]] if what in found.missing else []


def _lack(found: HandIn, what: str) -> Lines:
    for each in _missing(found, what):
        yield f"{escaped(each.words)}:"
        yield from _code(each.command)


def _code(*commands: str) -> Lines:
    """Commands to type; no name in them ends the block."""
    lines = list(map(one_line, filter(None, commands)))
    fence = "`" * max(3, 1 + max((len(each) for line in lines for each in re.findall("`+", line)), default=0))
    yield from ("", f"{fence}sh", *lines, fence, "")
