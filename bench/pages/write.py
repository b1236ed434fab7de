"""From run folders to files: pages, figures, tables. Nothing is computed on a model here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError, did_you_mean, one_of
from bench.pages.build import run_page
from bench.registry.registry import short
from bench.schema.page import Page
from bench.schema.pictures import PicturesPage
from bench.store.run_data import read_run
from bench.store.runs import REPORT, find_run, is_done, run_names, write_bytes
from bench.workspace import Workspace

INDEX = "index.html"
TWIN = "page.json"
MADE_BY = b'<meta name="generator" content="bench">'

FORMS = ("auto", "single", "folder")


def report(
    *runs: str, form: str = "auto", max_images: int | None = None, workspace: Workspace | None = None
) -> list[Path]:
    """Render the pages of runs again from their folders alone. Without names: of all finished runs.

    Args:
        form: `single` for one file, `folder` for report/index.html and what it needs beside it; `auto` takes one
            file up to 10 MB.
        max_images: most images of the gallery; the tables are of all.

    Returns:
        The report.html of each, or its report/index.html.
    """
    place = workspace or Workspace()
    names = runs or tuple(name for name in run_names(place.runs) if is_done(place.runs / name))
    return [
        write_page(
            page_of(name, max_images=max_images, workspace=place),
            find_run(place.runs, name) / REPORT,
            form=form,
            workspace=place,
        )
        for name in names
    ]


def write_page(page: Page, target: Path, *, form: str = "auto", workspace: Workspace) -> Path:
    """Write a page to `target`, or as a folder: beside an index.html, else into a folder named like `target`.

    Its JSON twin lies beside `target` as page.json. What an earlier rendering in the other form left is taken away, so
    that only one page is there.

    Returns:
        The HTML file to open.
    """
    one_of("the form of a page", form, FORMS)
    rendered = _from_reports("render", "render_files")(page, form)
    write_bytes(target.with_name(TWIN), twin(page).encode())
    if rendered.note:
        workspace.progress.say(f"{target}: {rendered.note}")
    alone = len(rendered.files) == 1
    folder = target.parent if target.name == INDEX else target.with_suffix("")
    _clear(folder, keep=set() if alone else set(rendered.files))
    index = target if alone else folder / INDEX
    if not alone and index != target:
        target.unlink(missing_ok=True)
    for name, content in rendered.files.items():
        if name != INDEX:
            write_bytes(folder / name, content)
    write_bytes(index, rendered.files[INDEX])  # last, so that a page which is there has its files
    return index


def _clear(folder: Path, keep: set[str]) -> None:
    """Remove what an earlier page in folder form left beside its index, and nothing of anybody else."""
    index = folder / INDEX
    if not index.is_file() or MADE_BY not in index.read_bytes()[:4000]:
        return
    ours = ("page.js", "style.css", "data-*.js", "images/sheet-*.webp", "images/strip-*.webp", "images/*.svg")
    left = [path for pattern in ours for path in folder.glob(pattern)]
    if not keep and folder.name == Path(REPORT).stem:
        left.append(index)
    for path in left:
        if path.relative_to(folder).as_posix() not in keep:
            path.unlink()
    for empty in (folder / "images", folder):
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()


def page_of(run: str, *, max_images: int | None = None, workspace: Workspace | None = None) -> Page:
    """Everything the page of a run shows, as plain values; the first `max_images` of its gallery."""
    place = workspace or Workspace()
    data = read_run(find_run(place.runs, run))
    return run_page(data, created=place.created, max_images=at_least_one(max_images))


def at_least_one(max_images: int | None) -> int | None:
    """A number of images as given; UsageError below 1."""
    if max_images is not None and max_images < 1:
        raise UsageError(f"--max-images {max_images} shows nothing, must be 1 or more", try_="--max-images 300")
    return max_images


def render(page: Page) -> str:
    """A page as one HTML file."""
    return str(_from_reports("render", "render_page")(page))


def pictures_page(page: PicturesPage) -> str:
    """A page of one's own pictures as one HTML file."""
    return str(_from_reports("pictures", "render_pictures")(page))


def twin(page: Page | PicturesPage) -> str:
    """A page as JSON: the same values, for programs."""
    return str(_from_reports("render", "page_json")(page))


def notebook_of(page: Page, path: Path) -> str:
    """What a notebook shows of a page that was written to `path`."""
    return str(_from_reports("notebook", "notebook_html")(page, path.resolve().as_uri()))


def markdown_of(run: str, *, workspace: Workspace | None = None) -> str:
    """A run's result, per-class table and confusion table, to paste."""
    return str(_from_reports("markdown", "run_markdown")(page_of(run, workspace=workspace)))


def export_figure(  # noqa: PLR0913 (one parameter for each option of the command)
    run: str,
    path: Path,
    *,
    ids: Sequence[int] | None = None,
    count: int = 20,
    layer: Sequence[str] | None = None,
    explainer: str | None = None,
    target: str = "predicted",
    captions: bool = True,
    workspace: Workspace | None = None,
) -> tuple[int, ...]:
    """Draw misclassified pictures with their maps beneath, as .png or .pdf.

    Args:
        ids: test ids; by default the `count` most confident errors.
        layer, explainer: among those the run was explained with; by default all layers of the first explainer.

    Returns:
        The test ids drawn.
    """
    one_of("--target", target, ("predicted", "true", "both"))
    page = page_of(run, workspace=workspace)
    explainers = sorted({cell.explainer for cell in page.cells})
    if not explainers:
        raise UsageError(f"run '{run}' has no maps yet", try_=f"bench explain --run {run}")
    chosen = short(explainer) if explainer else explainers[0]
    if chosen not in explainers:
        raise UsageError(
            f"run '{run}' has no maps of '{chosen}'{did_you_mean(chosen, explainers)}",
            try_=f"bench explain --run {run} --explainer {chosen}",
        )
    known = sorted({cell.layer for cell in page.cells if cell.explainer == chosen})
    for each in layer or ():
        if each not in known:
            raise UsageError(
                f"run '{run}' has no maps of {chosen} at '{each}'{did_you_mean(each, known)}",
                try_=f"bench explain --run {run} --explainer {chosen} --layer {each}",
            )
    draw = _from_reports("figure", "gallery_figure")
    drawn: tuple[int, ...] = draw(
        page, path, ids=ids, count=count, layers=tuple(layer or known), explainer=chosen, role=target, captions=captions
    )
    return drawn


def draw_curve(path: Path, rates: Sequence[float], losses: Sequence[float], suggestion: float, title: str) -> None:
    """Draw the curve of a learning-rate range test, as .png or .pdf."""
    _from_reports("figure", "rate_figure")(path, rates, losses, suggestion, title)


def _from_reports(module: str, name: str) -> Callable[..., Any]:
    """A function of bench.reports, by name: nothing above imports that folder."""
    function: Callable[..., Any] = getattr(importlib.import_module(f"bench.reports.{module}"), name)
    return function
