"""`bench.compare`: fill in the rows that are missing, then one page of many runs, then their speeds on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.commands.explain import explain_ids
from bench.commands.paired import paired_timing, seconds_for
from bench.contracts import Integers
from bench.engines.driving import workers_for
from bench.errors import UsageError
from bench.estimates import duration
from bench.explaining.plan import (
    ALL,
    DEFAULT_EXPLAINERS,
    INPUT_LAYER,
    Wanted,
    ceilings,
    check_layers,
    choose_layers,
    cut_to_afford,
    find_explainers,
    layers_of,
    measured,
    say_costs,
)
from bench.fields import names
from bench.gates.judged import Judged
from bench.gates.runs import Sides, check, judge_runs
from bench.nets.trained import Trained, open_run
from bench.pages.build import comparison_page, most_images, wrong_in_any
from bench.pages.class_alignment import check_comparable
from bench.pages.write import notebook_of, write_page
from bench.registry.layer_shapes import grids_of
from bench.registry.registry import short
from bench.request import CompareRequest
from bench.schema.page import Page
from bench.store.folder import RunFolder, checked
from bench.store.paths import TWIN, comparisons_path, index_path
from bench.store.runs import find_run, new_folder
from bench.thresholds import Threshold, read_threshold
from bench.workspace import Workspace


@dataclass(frozen=True)
class Compared:
    """What `compare` did: the page, its JSON twin beside it, its values and its thresholds; a dry run has no values."""

    page: Path
    values: Page | None
    thresholds: tuple[Judged, ...] = ()

    @property
    def twin(self) -> Path:
        """The same values for programs."""
        return self.page.with_name(TWIN)

    def __fspath__(self) -> str:
        return str(self.page)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return notebook_of(self.values, self.page) if self.values else ""


def compare(request: CompareRequest, workspace: Workspace) -> Compared:
    """Put runs side by side on the images that any of them got wrong; rows that are missing are computed first.

    Without names the explainers and layers are all that the runs were explained with. Without a limit a CPU that would
    need long takes 500 images. When the page is there the runs are timed in turns, and it is written again with their
    speeds.

    Returns:
        The page; its JSON twin lies beside it. After a dry run, which only says what would be done, the folder of
        all runs in its place.

    Raises:
        UsageError: runs or thresholds that cannot be meant, before anything is computed.
    """
    runs = [RunFolder(find_run(workspace.runs, name)) for name in request.run]
    if not runs:
        raise UsageError("no run named", try_="bench compare RUN RUN")
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UsageError("a run is named twice", try_="bench list runs")
    form, timed = request.form, request.timed
    loaded = [checked(run) for run in runs]
    check_comparable(loaded)
    ids = wrong_in_any(loaded, request.limit if isinstance(request.limit, int) else None)
    thresholds = [read_threshold(text) for text in names(request.fail_if)]
    # Which explainers and layers there will be is known once the nets are open.
    check([one for one in thresholds if one.left.name != "agreement" or not request.compute], _sides(request, loaded))
    if request.compute:
        ids = _filled(request, workspace, loaded, ids=ids, thresholds=thresholds)
        if request.dry_run:
            if timed:
                workspace.progress.say(f"then their speeds, in turns: at most {duration(seconds_for(request))}")
            return Compared(workspace.runs, None)
        loaded = [checked(run) for run in runs]
    page_with = partial(
        comparison_page, loaded, ids, created=workspace.created, max_images=most_images(loaded, request.max_images)
    )
    page = page_with()
    for words in (words for run in loaded for words in run.left_out):
        workspace.progress.warn(words)
    target = index_path(request.out or new_folder(comparisons_path(workspace.runs)))
    written = write_page(page, target, form=form, workspace=workspace)
    if timed and (timing := paired_timing(request, loaded, written, workspace=workspace)):
        page = page_with(taken=(timing,))
        written = write_page(page, target, form=form, workspace=workspace)
    return Compared(written, page, judge_runs(thresholds, _sides(request, loaded)))


def _sides(request: CompareRequest, runs: Sequence[RunFolder]) -> Sides:
    return Sides(names(request.run), tuple(runs))


def _filled(
    request: CompareRequest,
    workspace: Workspace,
    loaded: Sequence[RunFolder],
    *,
    ids: Integers,
    thresholds: Sequence[Threshold],
) -> Integers:
    """Make the rows of these images that are missing, or only say how long that takes; gives the images taken."""
    opened = [open_run(data, request.own_device, workspace) for data in loaded]
    there = sorted({cell.explainer for data in loaded for cell in data.cells})
    asked = names(request.explainer)
    specs = find_explainers(asked or there or DEFAULT_EXPLAINERS, workspace)
    # What was not named is what happens to be there: no reason to make the dear cells of other runs and layers.
    most = ceilings(asked or (ALL,), specs, slow=request.slow)
    layers_of_runs = _layers(loaded, opened, names(request.layer), workspace)
    wanted = [Wanted(specs, layers, ceilings=most) for layers in layers_of_runs]
    for trained, own in zip(opened, wanted, strict=True):
        check_layers(trained, own.layers)
    wanted = [measured(own, trained) for trained, own in zip(opened, wanted, strict=True)]
    check(thresholds, replace(_sides(request, loaded), coming={"agreement": [*map(_coming, wanted)]}))
    say_costs(wanted[0], workspace.progress)
    ids = cut_to_afford(opened, wanted, ids, limit=request.limit, shared=request.shared, progress=workspace.progress)
    if not request.dry_run:
        with workers_for(request, workspace) as on:
            for trained, own in zip(opened, wanted, strict=True):
                explain_ids(trained, own, ids, data=request.data, workspace=workspace, on=on)
    return ids


def _coming(wanted: Wanted) -> list[tuple[str, str]]:
    """The explainers and layers that will be there."""
    return [(short(name), layer) for name, spec in wanted.specs.items() for layer in layers_of(spec, wanted)]


def _layers(
    runs: Sequence[RunFolder], opened: Sequence[Trained], named: Sequence[str], workspace: Workspace
) -> list[tuple[str, ...]]:
    """For each run those of the layers asked for that its model has, else its model's own."""
    there = sorted({cell.layer for data in runs for cell in data.cells} - {INPUT_LAYER})
    asked = choose_layers(named or there, opened)
    own = [_had_by(trained, asked) for trained in opened]
    if named and asked and not any(own):
        check_layers(opened[0], asked)
    for trained, its_own in zip(opened, own, strict=True):
        if (named or there) and asked and not its_own:
            workspace.progress.warn(
                f"run '{trained.record.name}' has none of the layers {', '.join(asked)}: "
                f"its own {', '.join(choose_layers((), [trained]))} are shown"
            )
    every = (ALL,) if ALL in named else ()
    return [mine or choose_layers(every, [trained]) for trained, mine in zip(opened, own, strict=True)]


def _had_by(trained: Trained, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names at which a run's model has a grid."""
    known = grids_of(trained.model, trained.record.size).keys() | {INPUT_LAYER}
    return tuple(name for name in names if name in known)
