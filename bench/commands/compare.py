"""`bench.compare`: fill in the rows that are missing, then one page of many runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands.explain import explain_ids
from bench.errors import UsageError, one_of
from bench.explaining.plan import (
    ALL,
    DEFAULT_EXPLAINERS,
    INPUT_LAYER,
    Wanted,
    affordable,
    ceilings,
    check_layers,
    choose_layers,
    find_explainers,
    say_costs,
)
from bench.machine import choose_device
from bench.nets.trained import open_run
from bench.pages.build import comparison_page, wrong_in_any
from bench.pages.class_alignment import check_comparable
from bench.pages.write import FORMS, INDEX, TWIN, at_least_one, notebook_of, write_page
from bench.schema.page import Page
from bench.store.run_data import read_run
from bench.store.runs import find_run, next_folder
from bench.workspace import Workspace

if TYPE_CHECKING:
    from bench.nets.trained import Trained
    from bench.store.run_data import RunData


@dataclass(frozen=True)
class Compared:
    """What `compare` did: the page, its JSON twin beside it, and its values; a dry run has no values."""

    page: Path
    values: Page | None

    @property
    def twin(self) -> Path:
        """The same values for programs."""
        return self.page.with_name(TWIN)

    def __fspath__(self) -> str:
        return str(self.page)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return notebook_of(self.values, self.page) if self.values else ""


def compare(  # noqa: PLR0913 (one parameter for each option of the command)
    *runs: str,
    explainer: Sequence[str] | None = None,
    layer: Sequence[str] | None = None,
    limit: int | str | None = None,
    slow: bool = False,
    compute: bool = True,
    out: Path | None = None,
    form: str = "auto",
    max_images: int | None = None,
    data: str | None = None,
    device: str = "auto",
    dry_run: bool = False,
    workspace: Workspace | None = None,
) -> Compared:
    """Put runs side by side on the images that any of them got wrong; rows that are missing are computed first.

    Args:
        runs: names, `latest` or paths.
        explainer, layer: by default all that the runs were explained with; `all` as in `explain`.
        limit: the first N of those images in the fixed order; None takes all, but 500 where a CPU would need long.
        slow: `all` explainers takes in what costs over 200 forward passes an image and class.
        compute: False shows missing rows as missing.
        out: folder of the page; by default runs/compare/<n>.
        form: `single` for one file, `folder` for several; `auto` takes one file up to 10 MB.
        max_images: most images of the gallery; the tables are of all.

    Returns:
        The page; its JSON twin lies beside it. After a dry run, which only says what would be done, the folder of
        all runs in its place.
    """
    place = workspace or Workspace()
    folders = [find_run(place.runs, name) for name in runs]
    if not folders:
        raise UsageError("no run named", try_="bench compare RUN RUN")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("a run is named twice", try_="bench list runs")
    one_of("the form of a page", form, FORMS)
    at_least_one(max_images)
    loaded = [read_run(folder) for folder in folders]
    check_comparable(loaded)
    ids = wrong_in_any(loaded, limit if isinstance(limit, int) else None)
    if compute:
        opened = [open_run(folder, place.models, choose_device(device)) for folder in folders]
        cells = [cell for data_of in loaded for cell in data_of.cells]
        names = explainer or sorted({cell.explainer for cell in cells}) or DEFAULT_EXPLAINERS
        specs = find_explainers(names, place)
        # What was not named is what happens to be there: no reason to make the dear cells of other runs and layers.
        most = ceilings(explainer or ALL, specs, slow=slow)
        wanted = [Wanted(specs, layers, ceilings=most) for layers in _layers(loaded, opened, layer, place)]
        for trained, own in zip(opened, wanted, strict=True):
            check_layers(trained, own.layers)
        say_costs(wanted[0], place.progress)
        ids = affordable(opened, wanted, ids, limit=limit, progress=place.progress)
        if dry_run:
            return Compared(place.runs, None)
        for trained, own in zip(opened, wanted, strict=True):
            explain_ids(trained, own, ids, data=data, place=place)
        loaded = [read_run(folder) for folder in folders]
    page = comparison_page(loaded, ids, created=place.created, max_images=max_images)
    target = out or next_folder(place.runs / "compare")
    return Compared(write_page(page, target / INDEX, form=form, workspace=place), page)


def _layers(
    runs: Sequence[RunData], opened: Sequence[Trained], named: Sequence[str] | None, place: Workspace
) -> list[tuple[str, ...]]:
    """For each run those of the layers asked for that its model has, else its model's own."""
    there = sorted({cell.layer for data in runs for cell in data.cells} - {INPUT_LAYER})
    asked = choose_layers(named or there, opened)
    own = [_had_by(trained, asked) for trained in opened]
    if named and asked and not any(own):
        check_layers(opened[0], asked)
    for trained, names in zip(opened, own, strict=True):
        if (named or there) and asked and not names:
            place.progress.warn(
                f"run '{trained.record.name}' has none of the layers {', '.join(asked)}: "
                f"its own {', '.join(choose_layers(None, [trained]))} are shown"
            )
    every = ALL if named and ALL in named else None
    return [names or choose_layers(every, [trained]) for trained, names in zip(opened, own, strict=True)]


def _had_by(trained: Trained, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that a run's model has."""
    known = {name for name, _ in trained.model.named_modules() if name} | {INPUT_LAYER}
    return tuple(name for name in names if name in known)
