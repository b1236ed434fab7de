"""Explainers over the images of a run: which rows are wanted, which are there, and the loop that makes the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.clock import Meter
from bench.contracts import Dataset, Integers
from bench.data.decoding import kept
from bench.engines.driving import HERE, Workers, refuse_given_up
from bench.errors import RoomError
from bench.explaining.making import Explaining
from bench.explaining.on_workers import made_by
from bench.explaining.plan import MissingRows, Wanted, layers_of, plan
from bench.memory import Room
from bench.modes import evaluating
from bench.nets.trained import Trained
from bench.schema.verdicts import Completeness
from bench.store.paths import cell_path
from bench.store.rows import Samples, sums_of
from bench.store.timings import Passed, noted
from bench.whole_file import check_writable
from bench.workspace import Workspace


@dataclass(frozen=True)
class CellResult:
    """What became of one cell.

    Attributes:
        rows: rows in the cell now.
        computed: rows this call computed.
        rate: images a second of the calls that computed them; None when none was needed.
        complete: how its maps add up, of a method that promises it.
    """

    explainer: str
    layer: str
    rows: int
    computed: int
    rate: float | None
    path: Path
    complete: Completeness | None = None


# --- the loop -----------------------------------------------------------------------------------------------


def explain_run(
    trained: Trained,
    data: Dataset,
    wanted: Wanted,
    ids: Integers,
    *,
    workspace: Workspace,
    on: Workers = HERE,
) -> list[CellResult]:
    """Make the rows that are missing of every explainer x layer, and the samples of the images.

    Args:
        trained: the run, opened on the device to compute on; explained in eval mode, its flags left as found.
        data: the run's data set; its test split holds the images.
        ids: test ids.
        workspace: who is told, and what the rates of this call are stored under.
        on: who makes the rows; of what workers do no rate is stored, since they share machines.

    Raises:
        ContractError: an explainer broke its contract, or its model is not the one that made the predictions. One
            that `all` brought in is only left out, unless that leaves nothing.
        RoomError: some explainer does not fit into memory with a single image; all others have been done.
        RunError: units of work failed on the workers; all others have been done.
    """
    if on.engine is not None:
        return _explained_on(on, trained, data, wanted, ids=ids, workspace=workspace)
    jobs = plan(trained, wanted, ids)
    work, meters = Explaining(trained, data, workspace.timing, Room(workspace.progress)), []
    if jobs:
        check_writable(trained.folder)
    _keep_samples(trained, data, ids)
    try:
        with evaluating(trained.model):
            for missing in jobs:
                for each in work.tried(missing, optional=missing.spec.name in wanted.ceilings):
                    with work.kept_from_others(each):
                        meters.append((each, work.done(each)))
    except BaseException as reason:
        if not isinstance(reason, Exception) and workspace.command:
            reason.add_note(workspace.command)  # the same call goes on where this one was interrupted
        raise
    _note(trained, meters, workspace)
    if work.too_large:
        raise RoomError(" and ".join(dict.fromkeys(work.too_large)))
    cells = [(name, layer) for name, spec in wanted.specs.items() for layer in layers_of(spec, wanted)]
    results = [_result(trained, *cell, meters) for cell in cells if cell not in work.failed]
    if not results:
        for error in work.failed.values():  # nothing is left, so the first failure is the answer
            raise error
    return results


def _explained_on(
    on: Workers, trained: Trained, data: Dataset, wanted: Wanted, *, ids: Integers, workspace: Workspace
) -> list[CellResult]:
    """The same by workers."""
    if plan(trained, wanted, ids):
        check_writable(trained.folder)
    _keep_samples(trained, data, ids)
    driven = made_by(on, trained, data, wanted, ids=ids, workspace=workspace)
    for name, layer in (left := {cell for cell in driven.failed if cell[0] in wanted.ceilings}):
        workspace.progress.warn(f"{name} is left out at {layer}: {driven.failed[name, layer].why}")
    given_up = [each for each in driven.given_up if each.unit.explainer not in wanted.ceilings]
    refuse_given_up(given_up, driven.units, workspace.command)
    cells = [(name, layer) for name, spec in wanted.specs.items() for layer in layers_of(spec, wanted)]
    found = [_result(trained, *cell, [], driven.computed.get(cell, 0)) for cell in cells if cell not in left]
    if not found:
        refuse_given_up(driven.given_up, driven.units, workspace.command)
    return found


def _result(
    trained: Trained, name: str, layer: str, meters: Sequence[tuple[MissingRows, Meter]], by_workers: int = 0
) -> CellResult:
    cell, path = trained.run.cell(name, layer), cell_path(trained.folder, name, layer)
    rows = 0 if cell is None else len(cell.ids)
    made = [(each.targets.size, meter.rate) for each, meter in meters if each.name == name and layer in each.layers]
    adds_up = None if cell is None else sums_of(cell)
    return CellResult(name, layer, rows, *(made or [(by_workers, None)])[0], path, adds_up)


def _keep_samples(trained: Trained, data: Dataset, ids: Integers) -> None:
    if len(ids) == 0:
        return
    predictions = trained.run.predictions
    images = data.test.images
    pictures = kept((images[each].permute(1, 2, 0).numpy() for each in ids.tolist()), images.shape[-1])
    names = np.array([data.test.names[each] for each in ids.tolist()], dtype="U")
    trained.run.add_samples(Samples(ids, pictures, names, predictions.labels[ids]))


def _note(trained: Trained, meters: Sequence[tuple[MissingRows, Meter]], workspace: Workspace) -> None:
    """Store the rates of what was computed."""
    name = trained.record.name
    works = [
        Passed(
            "explain", name, each.spec.max_batch, meter.rate, meter.laps, each.name, each.layers, each.targets.shape[1]
        )
        for each, meter in meters
        if meter.rate
    ]
    if works:
        models = {name: {"model": trained.record.model, "checkpoint": trained.checkpoint}}
        edge, device = trained.spec.input_size, trained.device
        trained.run.add_timing(noted("explain", works, models, image_size=edge, device=device, workspace=workspace))
