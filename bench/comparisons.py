"""`bench.compare`: fill in the rows that are missing, then one page of many runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.comparing import check_comparable, comparison_page, wrong_in_any
from bench.errors import UsageError
from bench.explanations import DEFAULT_EXPLAINERS, DEFAULT_LAYERS, affordable, explain_ids, find_explainers
from bench.machine import choose_device
from bench.pages import read_run
from bench.rendering import render, twin
from bench.store import find_run, write_bytes
from bench.trained import open_run
from bench.workplace import Workplace

if TYPE_CHECKING:
    from bench.contracts import Integers


def compare(
    *runs: str,
    explainer: Sequence[str] | None = None,
    layer: Sequence[str] | None = None,
    limit: int | str | None = None,
    compute: bool = True,
    out: Path | None = None,
    data: str | None = None,
    device: str = "auto",
    workplace: Workplace | None = None,
) -> Path:
    """Put runs side by side on the images that any of them got wrong; rows that are missing are computed first.

    Args:
        runs: names, `latest` or paths.
        explainer, layer: by default all that the runs were explained with.
        limit: the first N of those images in the fixed order; None takes all, but 500 where a CPU would need long.
        compute: False shows missing rows as missing.
        out: folder of the page; by default runs/compare/<n>.

    Returns:
        The page; its JSON twin lies beside it.
    """
    place = workplace or Workplace()
    folders = [find_run(place.runs, name) for name in runs]
    if not folders:
        raise UsageError("no run named", try_="bench compare RUN RUN")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("a run is named twice", try_="bench list runs")
    loaded = [read_run(folder) for folder in folders]
    check_comparable(loaded)
    ids = wrong_in_any(loaded, limit if isinstance(limit, int) else None)
    if compute:
        ids = _fill(folders, ids, explainer, layer, limit=limit, data=data, device=device, place=place)
        loaded = [read_run(folder) for folder in folders]
    page = comparison_page(loaded, ids, created=place.created)
    target = out or _next_folder(place.runs / "compare")
    write_bytes(target / "page.json", twin(page).encode())
    write_bytes(target / "index.html", render(page).encode())
    return target / "index.html"


def _fill(
    folders: Sequence[Path],
    ids: Integers,
    explainer: Sequence[str] | None,
    layer: Sequence[str] | None,
    *,
    limit: int | str | None,
    data: str | None,
    device: str,
    place: Workplace,
) -> Integers:
    """Compute the rows of `ids` that any run lacks; gives the ids that all have now."""
    known = [read_run(folder).cells for folder in folders]
    names = explainer or sorted({cell.explainer for cells in known for cell in cells}) or DEFAULT_EXPLAINERS
    layers = layer or sorted({cell.layer for cells in known for cell in cells}) or DEFAULT_LAYERS
    specs = find_explainers(names, place)
    opened = [open_run(folder, place.models, choose_device(device)) for folder in folders]
    ids = affordable(ids, limit, opened[0], specs, layers, 2, place)
    for trained in opened:
        explain_ids(trained, specs, layers, ids, target="both", data=data, place=place)
    return ids


def _next_folder(parent: Path) -> Path:
    numbers = [int(each.name) for each in parent.glob("*") if each.name.isdigit()] if parent.is_dir() else []
    return parent / str(max(numbers, default=0) + 1)
