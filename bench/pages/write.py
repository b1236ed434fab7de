"""From run folders to files: pages, figures, tables. Nothing is computed on a model here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.pages.build import run_page
from bench.schema.page import Page
from bench.schema.pictures import PicturesPage
from bench.store.folder import RunFolder
from bench.store.page_files import write_page_files
from bench.store.paths import report_path
from bench.store.run_data import data_of
from bench.workspace import Workspace

if TYPE_CHECKING:
    from bench.request import ExportRequest


def write_run_page(run: RunFolder, workspace: Workspace, *, form: str = "auto", max_images: int | None = None) -> Path:
    """Render the page of a run from its folder alone.

    Args:
        form: `single` for one file, `folder` for report/index.html and what it needs beside it; `auto` takes one
            file up to 10 MB.
        max_images: most images of the gallery; the tables are of all.

    Returns:
        Its report.html, or its report/index.html.
    """
    page = page_of(run, workspace, max_images=max_images)
    return write_page(page, report_path(run.path), form=form, workspace=workspace)


def write_page(page: Page, target: Path, *, form: str = "auto", workspace: Workspace) -> Path:
    """Write a page with its JSON twin to `target`, as one file or as a folder; gives the HTML file to open."""
    rendered = _from_reports("render", "render_files")(page, form)
    if rendered.note:
        workspace.progress.say(f"{target}: {rendered.note}")
    return write_page_files(target, rendered.files, twin(page))


def page_of(run: RunFolder, workspace: Workspace, *, max_images: int | None = None) -> Page:
    """Everything the page of a run shows, as plain values; the first `max_images` of its gallery."""
    return run_page(data_of(run), created=workspace.created, max_images=max_images)


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


def markdown_of(run: RunFolder, workspace: Workspace) -> str:
    """A run's result, per-class table and confusion table, to paste."""
    return str(_from_reports("markdown", "run_markdown")(page_of(run, workspace)))


def draw_gallery(page: Page, request: ExportRequest, *, layers: Sequence[str], explainer: str) -> tuple[int, ...]:
    """Draw misclassified pictures with their maps beneath, as .png or .pdf; gives the test ids drawn."""
    drawn: tuple[int, ...] = _from_reports("figure", "gallery_figure")(
        page,
        request.figure,
        ids=request.ids,
        count=request.n,
        layers=layers,
        explainer=explainer,
        role=request.target,
        captions=request.captions,
    )
    return drawn


def draw_curve(path: Path, rates: Sequence[float], losses: Sequence[float], suggestion: float, title: str) -> None:
    """Draw the curve of a learning-rate range test, as .png or .pdf."""
    _from_reports("figure", "rate_figure")(path, rates, losses, suggestion, title)


def _from_reports(module: str, name: str) -> Callable[..., Any]:
    """A function of bench.reports, by name: nothing above imports that folder."""
    function: Callable[..., Any] = getattr(importlib.import_module(f"bench.reports.{module}"), name)
    return function
