"""`bench export`: a folder to hand in, or one figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.commands.hand_in import hand_in
from bench.errors import UsageError, did_you_mean
from bench.fields import names
from bench.pages.build import comparison_page, wrong_in_any
from bench.pages.class_alignment import check_comparable
from bench.pages.covered import Asked, Shown, gallery_of, side_by_side
from bench.pages.write import page_of, reports
from bench.request import ALL, COLOURS, FIGURES, ExplainRequest, ExportRequest, one_run
from bench.schema.page import Page
from bench.store.folder import RunFolder, checked
from bench.store.runs import find_run
from bench.workspace import Workspace

OF_MAPS = ("gallery", "compare")
PICTURES = {("gallery", "one"): 20, ("gallery", "two"): 20, ("compare", "one"): 3, ("compare", "two"): 6}
# What a figure takes beside its run, its kind and its file; a folder takes all but what is of one figure.
EVERY = ("run", "to", "figure", "width", "captions")
MAPS = ("ids", "n", "layer", "explainer", "target", "colours")
JET = (
    "jet is not even in brightness: it shows edges that are not in the map, hides others, and is hard to read for who "
    f"sees colours otherwise; --colours {COLOURS[0]} is even"
)


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        path: the folder or the figure.
        files: of the folder; the figure's own name.
        ids: test ids of the pictures that are shown with maps.
        missing: what a folder lacks and what makes it, each in a line.
    """

    path: Path
    files: tuple[str, ...]
    ids: tuple[int, ...]
    missing: tuple[str, ...] = ()

    def __fspath__(self) -> str:
        return str(self.path)


def export(request: ExportRequest, workspace: Workspace) -> Exported:
    """Write what can be handed in of a run, or draw one figure of it.

    Without `figure` the folder `to` gets a README.md that renders on GitHub, the figures as PNG and SVG, and the tables
    as CSV. Maps that it needs and that are missing are made first. Of several runs the figure `compare` alone is drawn.

    Returns:
        What was written; a figure's `ids` are the pictures drawn.

    Raises:
        UsageError: no such figure or maps, or a folder that is not empty; names what to type.
    """
    _check(request, workspace)
    assert request.to is not None
    if request.colours == "jet":
        workspace.progress.say(JET)
    if request.figure is None:
        return Exported(request.to, *hand_in(request, workspace))
    ids = _figure(request, workspace)
    return Exported(request.to, (request.to.name,), ids)


def _check(request: ExportRequest, workspace: Workspace) -> None:
    """UsageError for what cannot be meant, before anything is read."""
    kind, to = request.figure, request.to
    again = partial(request.command, workspace.runs)
    if kind is not None and kind not in FIGURES:
        if Path(kind).suffix:
            words = f"--figure {kind} is a file: --figure names what is drawn now, and --to the file"
            raise UsageError(words, try_=again(figure="gallery", to=Path(kind)))
        raise UsageError(
            f"no figure '{kind}'{did_you_mean(kind, FIGURES)}; there are {', '.join(FIGURES)}",
            try_=again(figure=FIGURES[0], to=to or Path("figure.png")),
        )
    if to is None:
        what = "which file?" if kind else "which folder?"
        raise UsageError(what, try_=again(to=Path(f"{kind}.png" if kind else "handin")))
    for name in ("explainer", "layer"):
        if ALL in names(getattr(request, name)):
            raise UsageError(f"--{name} all is more than a figure shows", try_=again(**{name: ()}))
    if kind:
        reports("figures.paper").check_format(to)
    takes = {*EVERY, *(MAPS if kind in OF_MAPS else ())} if kind else {*EVERY, *MAPS, "data", "device"}
    for name in request.given_alone():
        if name not in takes:
            flag = next(each.flag for each in request.typed() if each.name == name)
            words = f"{flag} means nothing for " + (f"the figure {kind}" if kind else "a folder")
            raise UsageError(words, try_=again(**{name: next(e.default for e in request.typed() if e.name == name)}))


def _figure(request: ExportRequest, workspace: Workspace) -> tuple[int, ...]:
    kind, look = request.figure, reports("figures.paper").Look(request.width, request.colours, request.captions)
    save = partial(reports("figures.paper").save, path=request.to)
    if kind not in OF_MAPS:
        page = page_of(_run(one_run(request.run), workspace), workspace)
        _check_drawn(page, str(kind), request, workspace)
        save(partial(getattr(reports("figures.plots"), str(kind)), page, look))
        return ()
    page, shown = _of_maps(request, workspace)
    drawing = reports("figures.maps")
    draw = drawing.gallery if kind == "gallery" else drawing.grid
    save(partial(draw, page, shown.places, shown.maps, look))
    return tuple(page.gallery.ids[place] for place in shown.places)


def _run(name: str, workspace: Workspace) -> RunFolder:
    return RunFolder(find_run(workspace.runs, name))


def _check_drawn(page: Page, kind: str, request: ExportRequest, workspace: Workspace) -> None:
    """UsageError for a figure of what a run does not have."""
    run, other = page.runs[0], request.command(workspace.runs, figure="classes")
    if kind == "curves" and not run.curve:
        raise UsageError(f"run '{run.run}' has no learning curves: it was trained elsewhere", try_=other)
    if kind == "calibration" and not run.calibration:
        raise UsageError(f"run '{run.run}' has no calibration: its probabilities are not finite", try_=other)


def _of_maps(request: ExportRequest, workspace: Workspace) -> tuple[Page, Shown]:
    """The page of the run or runs, and what of it is drawn; says where that is less than what there is to draw."""
    kind = str(request.figure)
    runs = names(request.run) if kind == "compare" else (one_run(request.run),)
    count = request.n or PICTURES[kind, request.width]
    again = partial(ExplainRequest(runs, target=request.target, which="wrong").command, workspace.runs)
    asked = Asked(names(request.explainer), names(request.layer), request.target, _ids(request), count, again)
    page = _page([_run(name, workspace) for name in runs], workspace)
    shown = (gallery_of if kind == "gallery" else side_by_side)(page, asked)
    there = len(shown.places)
    if there < min(count, page.wanted) and asked.ids is None and request.n is not None:
        cells = [page.cells[cell] for cell, _ in shown.maps]
        of = {
            "explainer": dict.fromkeys(cell.explainer for cell in cells),
            "layer": dict.fromkeys(cell.layer for cell in cells),
        }
        make = again(**{name: tuple(found) for name, found in of.items()}, limit=count)
        workspace.progress.warn(f"{there} pictures drawn, not {count}: more have no such maps; {make} makes them")
    return page, shown


def _ids(request: ExportRequest) -> tuple[int, ...] | None:
    return tuple(dict.fromkeys(request.ids)) if isinstance(request.ids, tuple) else None


def _page(runs: Sequence[RunFolder], workspace: Workspace) -> Page:
    if len(runs) == 1:
        return page_of(runs[0], workspace)
    loaded = [checked(run) for run in runs]
    check_comparable(loaded)
    return comparison_page(loaded, wrong_in_any(loaded, None), created=workspace.created)
