"""Explainers over the images of a run: which rows are wanted, which are there, and the loop that makes the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.clock import Meter, Pace
from bench.contracts import Dataset, Floats, Integers
from bench.data.decoding import kept
from bench.data.transforms import prepare
from bench.errors import BenchError, RoomError, in_one_line
from bench.explaining.batches import at_once, explained, named, overheard
from bench.explaining.guard import statuses
from bench.explaining.plan import MissingRows, Wanted, empty_cell, layers_of, plan
from bench.memory import Room, free, ran_out
from bench.modes import evaluating
from bench.nets.trained import Trained, check_same_model
from bench.schema.run import Cell
from bench.schema.verdicts import Completeness
from bench.store.paths import cell_path
from bench.store.predictions import logit_gap
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
    trained: Trained, data: Dataset, wanted: Wanted, ids: Integers, *, workspace: Workspace
) -> list[CellResult]:
    """Make the rows that are missing of every explainer x layer, and the samples of the images.

    Args:
        trained: the run, opened on the device to compute on; explained in eval mode, its flags left as found.
        data: the run's data set; its test split holds the images.
        ids: test ids.
        workspace: who is told, and what the rates of this call are stored under.

    Raises:
        ContractError: an explainer broke its contract, or its model is not the one that made the predictions. One
            that `all` brought in is only left out, unless that leaves nothing.
        RoomError: some explainer does not fit into memory with a single image; all others have been done.
    """
    jobs = plan(trained, wanted, ids)
    work, meters = _Explaining(trained, data, workspace.timing, Room(workspace.progress)), []
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


def _result(trained: Trained, name: str, layer: str, meters: Sequence[tuple[MissingRows, Meter]]) -> CellResult:
    cell, path = trained.run.cell(name, layer), cell_path(trained.folder, name, layer)
    rows = 0 if cell is None else len(cell.ids)
    made = [(each.targets.size, meter.rate) for each, meter in meters if each.name == name and layer in each.layers]
    adds_up = None if cell is None else sums_of(cell)
    return CellResult(name, layer, rows, *(made or [(0, None)])[0], path, adds_up)


@dataclass(frozen=True)
class _Explaining:
    """What all rows of one call have in common.

    Attributes:
        failed: cells that cannot be made with this model, and why; only what `all` brought in comes here.
        too_large: what does not fit into memory with a single image.
    """

    trained: Trained
    data: Dataset
    timing: str
    room: Room
    failed: dict[tuple[str, str], Exception] = field(default_factory=dict)
    too_large: list[str] = field(default_factory=list)

    @contextmanager
    def kept_from_others(self, missing: MissingRows) -> Iterator[None]:
        """What does not fit into memory is noted, and the other explainers go on."""
        try:
            yield
        except Exception as error:
            if not ran_out(error):
                raise
            self.too_large.append(named(missing.name, missing.layers))
        free()

    def tried(self, missing: MissingRows, *, optional: bool) -> list[MissingRows]:
        """The rows, once one image went through (imports and allocations, untimed); or those that can be made.

        Where memory runs out with all layers at once, each is tried by itself.

        Args:
            optional: a failure costs the layers at which it happens, and does not end the whole.
        """
        failure: Exception | None = None
        try:
            self.maps(missing.part(slice(1)))
            return [missing]
        except Exception as error:
            if not ran_out(error):  # else what it holds is the memory that is missing
                failure = error
        if failure is None:
            free()
        elif not optional:
            raise failure
        if len(missing.layers) > 1:
            alone = [replace(missing, layers=(layer,)) for layer in missing.layers]
            return [each for one in alone for each in self.tried(one, optional=optional)]
        if failure is None:
            self.too_large.append(named(missing.name, missing.layers))
        else:
            self.failed[missing.name, missing.layers[0]] = failure
            why = failure.message if isinstance(failure, BenchError) else in_one_line(failure)
            self.room.progress.warn(f"{missing.name} is left out at {missing.layers[0]}: {why}")
        return []

    def done(self, missing: MissingRows) -> Meter:
        """Make the rows batch by batch; they are saved every minute or so and at the end, even of a failure."""
        meter, pace = Meter(self.trained.device), Pace()
        parts: list[list[Cell]] = []

        def work(rows: slice) -> tuple[MissingRows, Floats, dict[str, Floats]]:
            part, own = missing.part(rows), Meter(meter.device)
            found = self.maps(part, own)
            meter.laps.extend(own.laps)  # not before all of it went well
            return (part, *found)

        empty = [empty_cell(self.trained, missing.name, missing.spec, layer, self.timing) for layer in missing.layers]
        baseline = self.baseline() if missing.spec.complete else None
        try:
            with self.room.progress.track(f"{missing.name} {','.join(missing.layers)}", len(missing.ids)) as task:
                for part, logits, raw in self.room.batches(
                    named(missing.name, missing.layers), len(missing.ids), at_once(missing.spec), work
                ):
                    parts.append([filled(cell, part, logits, raw[cell.layer], baseline=baseline) for cell in empty])
                    if pace.due():
                        with pace.saving():
                            self.save(parts)
                    task.advance(len(part.ids), f"{meter.rate or 0:.1f} images/s")
        finally:
            self.save(parts)
        return meter

    def maps(self, missing: MissingRows, meter: Meter | None = None) -> tuple[Floats, dict[str, Floats]]:
        """(N, K) logits, and raw maps {layer: (N, T, h, w)}, once it is clear that the model is that of the run."""
        trained, ids = self.trained, torch.from_numpy(missing.ids)
        inputs = prepare(self.data.test.images[ids].to(trained.device), trained.statistics)
        targets = torch.from_numpy(missing.targets).to(trained.device)
        with overheard(trained.model, inputs) as heard:
            found = explained(missing.spec, trained.model, missing.layers, inputs, targets, meter=meter)
        logits = self.logits(inputs, heard, trained.run.predictions.logits[missing.ids])
        return logits, {layer: maps.float().cpu().numpy() for layer, maps in found.items()}

    def logits(self, inputs: Tensor, heard: Sequence[Tensor], stored: Floats) -> Floats:
        """(N, K) logits: those that the explainer's own pass gave where they are the run's, else of a pass of ours."""
        given: Floats = heard[0].float().cpu().numpy() if heard else np.empty(0)
        if given.shape == stored.shape and logit_gap(given, stored) is None:
            return given
        own: Floats = self.trained.model(inputs).float().cpu().numpy()
        check_same_model(own, stored, self.trained)
        return own

    def baseline(self) -> Floats:
        """(K,) logits of the mean colour, which the sums of maps are held against."""
        edge = self.trained.record.size
        grey = torch.zeros(1, 3, edge, edge, device=self.trained.device)
        logits: Floats = self.trained.model(grey)[0].float().cpu().numpy()
        return logits

    def save(self, parts: list[list[Cell]]) -> None:
        """Add rows to those on disk, and let go of them."""
        for of_layer in zip(*parts, strict=True):
            self.trained.run.add_rows(*of_layer)
        parts.clear()


def filled(empty: Cell, missing: MissingRows, logits: Floats, maps: Floats, *, baseline: Floats | None = None) -> Cell:
    """A cell with rows of its key; where predicted and true class are one, so are their rows.

    Args:
        baseline: (K,) logits of the mean colour, where the sums of maps promise something.
    """
    first = [[one not in row[:column] for column, one in enumerate(row)] for row in missing.targets.tolist()]
    image, column = np.nonzero(np.array(first))
    raw, classes = maps[image, column], missing.targets[image, column]
    return replace(
        empty,
        ids=missing.ids[image],
        classes=classes,
        raw=raw,
        logits=logits[image],
        status=statuses(raw),
        due=None if baseline is None else logits[image, classes] - baseline[classes],
    )


def _keep_samples(trained: Trained, data: Dataset, ids: Integers) -> None:
    if len(ids) == 0:
        return
    predictions = trained.run.predictions
    images = data.test.images
    pictures = kept((images[each].permute(1, 2, 0).numpy() for each in ids.tolist()), images.shape[-1])
    names = np.array([data.test.names[each] for each in ids.tolist()], dtype="U")
    trained.run.add_samples(Samples(ids, pictures, names, predictions.labels[ids], predictions.logits[ids]))


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
