"""`bench.compare`: fill in the rows that are missing, then one page of many runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.aligning import check_comparable
from bench.choosing import INPUT_LAYER, Wanted, check_layers
from bench.comparing import comparison_page, wrong_in_any
from bench.errors import UsageError
from bench.explanations import DEFAULT_EXPLAINERS, DEFAULT_LAYERS, affordable, explain_ids, find_explainers
from bench.machine import choose_device
from bench.pages import read_run
from bench.rendering import render, twin
from bench.store import find_run, next_folder, write_bytes
from bench.trained import open_run
from bench.workplace import Workplace

if TYPE_CHECKING:
    from bench.pages import RunData
    from bench.trained import Trained


def compare(  # noqa: PLR0913 (one parameter for each option of the command)
    *runs: str,
    explainer: Sequence[str] | None = None,
    layer: Sequence[str] | None = None,
    limit: int | str | None = None,
    compute: bool = True,
    out: Path | None = None,
    data: str | None = None,
    device: str = "auto",
    dry_run: bool = False,
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
        The page; its JSON twin lies beside it. After a dry run, which only says what would be done, the folder of
        all runs.
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
        opened = [open_run(folder, place.models, choose_device(device)) for folder in folders]
        wanted = _wanted(loaded, opened, explainer, layer, place)
        for trained, own in zip(opened, wanted, strict=True):
            check_layers(trained, own.layers)
        ids = affordable(opened, wanted, ids, limit=limit, progress=place.progress)
        if dry_run:
            return place.runs
        for trained, own in zip(opened, wanted, strict=True):
            explain_ids(trained, own, ids, data=data, place=place)
        loaded = [read_run(folder) for folder in folders]
    page = comparison_page(loaded, ids, created=place.created)
    target = out or next_folder(place.runs / "compare")
    write_bytes(target / "page.json", twin(page).encode())
    write_bytes(target / "index.html", render(page).encode())
    return target / "index.html"


def _wanted(
    runs: Sequence[RunData],
    opened: Sequence[Trained],
    explainer: Sequence[str] | None,
    layer: Sequence[str] | None,
    place: Workplace,
) -> list[Wanted]:
    """For each run the maps asked for, else all that any of the runs has, else the defaults of its model."""
    cells = [cell for data in runs for cell in data.cells]
    specs = find_explainers(explainer or sorted({cell.explainer for cell in cells}) or DEFAULT_EXPLAINERS, place)
    asked = tuple(layer or sorted({cell.layer for cell in cells}))
    own = [_layers_of(trained, asked) for trained in opened]
    if layer and not any(own):
        check_layers(opened[0], layer)
    found = []
    for trained, names in zip(opened, own, strict=True):
        layers = names or trained.spec.layers[-DEFAULT_LAYERS:]
        if asked and not names:
            place.progress.warn(
                f"run '{trained.record.name}' has none of the layers {', '.join(asked)}: "
                f"its own {', '.join(layers)} are shown"
            )
        found.append(Wanted(specs, layers))
    return found


def _layers_of(trained: Trained, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that a run's model has."""
    known = {name for name, _ in trained.model.named_modules() if name} | {INPUT_LAYER}
    return tuple(name for name in names if name in known)
