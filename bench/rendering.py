"""From run folders to files: pages, figures, tables. Nothing is computed on a model here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.comparing import run_page
from bench.errors import StoreError, UsageError
from bench.pages import read_run
from bench.pictureviews import PicturesPage
from bench.registry import did_you_mean, one_of, short
from bench.store import REPORT, find_run, read_record, run_names, write_bytes
from bench.views import Page
from bench.workplace import Workplace


def report(*runs: str, workplace: Workplace | None = None) -> list[Path]:
    """Render the pages of runs again from their folders alone. Without names: of all finished runs.

    Returns:
        The report.html of each.
    """
    place = workplace or Workplace()
    names = runs or tuple(name for name in run_names(place.runs) if is_done(place.runs / name))
    pages = []
    for name in names:
        folder = find_run(place.runs, name)
        write_bytes(folder / REPORT, render(page_of(name, workplace=place)).encode())
        pages.append(folder / REPORT)
    return pages


def is_done(folder: Path) -> bool:
    """Whether a folder holds a run that finished; one that cannot be read did not."""
    try:
        return read_record(folder).status == "done"
    except StoreError:
        return False


def page_of(run: str, *, workplace: Workplace | None = None) -> Page:
    """Everything the page of a run shows, as plain values."""
    place = workplace or Workplace()
    return run_page(read_run(find_run(place.runs, run)), created=place.created)


def render(page: Page) -> str:
    """A page as one HTML file."""
    return str(_from_reports("render", "render_page")(page))


def pictures_page(page: PicturesPage) -> str:
    """A page of one's own pictures as one HTML file."""
    return str(_from_reports("pictures", "render_pictures")(page))


def twin(page: Page | PicturesPage) -> str:
    """A page as JSON: the same values, for programs."""
    return str(_from_reports("render", "page_json")(page))


def markdown_of(run: str, *, workplace: Workplace | None = None) -> str:
    """A run's result, per-class table and confusion table, to paste."""
    return str(_from_reports("markdown", "run_markdown")(page_of(run, workplace=workplace)))


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
    workplace: Workplace | None = None,
) -> tuple[int, ...]:
    """Draw misclassified pictures with their maps beneath, as .png or .pdf.

    Args:
        ids: test ids; by default the `count` most confident errors.
        layer, explainer: among those the run was explained with; by default all layers of the first explainer.

    Returns:
        The test ids drawn.
    """
    one_of("--target", target, ("predicted", "true", "both"))
    page = page_of(run, workplace=workplace)
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
    _from_reports("curve", "rate_figure")(path, rates, losses, suggestion, title)


def _from_reports(module: str, name: str) -> Callable[..., Any]:
    """A function of bench.reports, by name: nothing above imports that folder."""
    function: Callable[..., Any] = getattr(importlib.import_module(f"bench.reports.{module}"), name)
    return function
