"""The folder to hand in: a README that renders on GitHub, figures as PNG and SVG, tables as CSV."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.homes import homeless
from bench.schema.hand_in import HandIn, Missing
from bench.schema.page import Page, RunView
from bench.schema.verdicts import why

from .figures import maps, paper, pictures, plots
from .filters import count, one_line, percent, plural, rate
from .formats import escaped, for_spreadsheet

FIGURES, TABLES = "figures", "tables"
FOLDED = 30  # rows of a table that stands in the page; a longer one is folded

_WORDS = re.compile(r"[^\W\d_](?<!\bx)(?<!\bof)(?<!\bto)(?!f\b)(?!o\b)")  # letters, but in `3 of 4` and `3 x 4`

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
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
    for name, (heads, rows) in tables_of(found).items():
        with (folder / TABLES / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([_safe(row) for row in (heads, *rows)])
        files.append(f"{TABLES}/{name}.csv")
    (folder / "README.md").write_text(homeless(readme(found)), encoding="utf-8")
    return files


def _safe(row: Sequence[str]) -> list[str]:
    return [for_spreadsheet(homeless(cell)) for cell in row]


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
    tables: dict[str, Table] = {"classes": _classes(run), "confusion": _confusion(page)}
    if found.errors.places:
        tables["errors"] = _errors(found)
    if run.curve:
        tables["log"] = _log(run)
    if run.calibration:
        tables["calibration"] = (
            ("images", "right", "mean probability", "low", "high"),
            [tuple(map(str, (one.total, one.correct, one.confidence, one.low, one.high))) for one in run.calibration],
        )
    if found.model:
        tables["layers"] = found.model.heads, found.model.rows
    tables["settings"] = ("setting", "value"), found.settings
    return tables


def _classes(run: RunView) -> Table:
    heads = ("class", "images", "right", "recall, %", "low", "high", "called so", "precision, %")
    return heads, [
        (row.name, str(row.total), str(row.correct), *(_share(each) for each in (row.recall.value, row.recall.low,
         row.recall.high)), str(row.predicted), _share(row.correct / row.predicted) if row.predicted else "")
        for row in run.per_class
    ]  # fmt: skip


def _share(value: float) -> str:
    return f"{100 * value:.2f}"


def _confusion(page: Page) -> Table:
    rows = [(name, *map(str, row)) for name, row in zip(page.classes, page.runs[0].confusion, strict=True)]
    return ("true, then taken for", *page.classes), rows


def _errors(found: HandIn) -> Table:
    page, gallery = found.page, found.page.gallery
    said = gallery.said[0]
    return ("test image", "file", "true class", "predicted class", "probability", "of the true class"), [
        (str(gallery.ids[at]), gallery.files[at], page.classes[gallery.true[at]], page.classes[said.predicted[at]],
         f"{said.probability[at]:.3f}", f"{said.true_probability[at]:.3f}")
        for at in found.errors.places
    ]  # fmt: skip


def _log(run: RunView) -> Table:
    heads = ("epoch", "training loss", "training, %", "validation loss", "validation, %", "learning rate", "images/s")
    return heads, [
        (str(one.epoch), f"{one.train_loss:.4f}", _share(one.train_accuracy),
         "" if one.val_loss is None else f"{one.val_loss:.4f}",
         "" if one.val_accuracy is None else _share(one.val_accuracy),
         f"{one.learning_rate:.3g}", rate(one.images_per_second))
        for one in run.curve
    ]  # fmt: skip


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
    yield from _table(("what", "figure"), rows)


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
    heads, rows = _errors(found)
    yield from _folded(f"The {len(shown)} pictures as a table", heads, rows)


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
    heads = ("class", "right, of images", "recall", "95 % interval", "precision")
    rows = [
        (escaped(row.name), f"{count(row.correct)} of {count(row.total)}", percent(row.recall.value, 1),
         f"{percent(row.recall.low, 1)} to {percent(row.recall.high, 1)}",
         percent(row.correct / row.predicted, 1) if row.predicted else "–")
        for row in run.per_class
    ]  # fmt: skip
    yield from (
        _table(heads, rows) if len(rows) <= FOLDED else _folded(f"All {len(rows)} classes", heads, rows, done=True)
    )
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
    sizes = f"{count(facts.train)} training and {count(facts.test)} test images" if facts.test else count(run.total)
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
        heads, rows = _log(run)
        yield from (_table(heads, rows) if len(rows) <= FOLDED else _folded(f"All {len(rows)} epochs", heads, rows))
    yield from _folded(f"All {len(found.settings)} settings", ("setting", "value"), found.settings)


def _model(found: HandIn) -> Lines:
    yield from _heading("The model, layer by layer")
    yield from _lack(found, "model")
    if found.model:
        shape = " x ".join(map(str, found.model.input_shape))
        yield f"{escaped(found.model.kind)}, one image of {shape}:"
        yield ""
        yield from _table(found.model.heads, [tuple(map(escaped, row)) for row in found.model.rows])
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


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Lines:
    columns = list(zip(*rows, strict=True)) or [()] * len(heads)
    rule = ["---" if _WORDS.search(" ".join(cells)) else "---:" for cells in columns]
    yield from (f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))
    yield ""


def _folded(words: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *, done: bool = False) -> Lines:
    """A table below a line to click on; `done` for cells that are escaped already."""
    yield from ("<details>", f"<summary>{words}</summary>", "")
    yield from _table(heads, rows if done else [tuple(map(escaped, row)) for row in rows])
    yield from ("</details>", "")


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
