"""Explainers over the images of a run: which rows are wanted, which are there, and the loop that makes the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.clock import Meter
from bench.data.transforms import prepare
from bench.errors import BenchError
from bench.explaining.batches import batches, explained
from bench.explaining.guard import statuses
from bench.explaining.plan import MissingRows, empty_cell, layers_of, plan
from bench.machine import describe_device, versions
from bench.modes import evaluating
from bench.nets.trained import check_same_model
from bench.schema.run import Cell
from bench.store.files import write_json
from bench.store.paths import cell_path, timing_path
from bench.store.samples import Samples
from bench.store.saving import Pace

if TYPE_CHECKING:
    from torch import Tensor

    from bench.contracts import Dataset, Integers, Progress
    from bench.explaining.plan import Wanted
    from bench.nets.trained import Trained
    from bench.store.predictions import Predictions

TIMING_SCHEMA = 1


@dataclass(frozen=True)
class CellResult:
    """What became of one cell.

    Attributes:
        rows: rows in the cell now.
        computed: rows this call computed.
        rate: images a second of the calls that computed them; None when none was needed.
    """

    explainer: str
    layer: str
    rows: int
    computed: int
    rate: float | None
    path: Path


# --- the loop -----------------------------------------------------------------------------------------------


def explain_run(
    trained: Trained, data: Dataset, wanted: Wanted, ids: Integers, *, timing: str, progress: Progress
) -> list[CellResult]:
    """Make the rows that are missing of every explainer x layer, and the samples of the images.

    Args:
        trained: the run, opened on the device to compute on; explained in eval mode, its flags left as found.
        data: the run's data set; its test split holds the images.
        ids: test ids.
        timing: id of this call's timings, such as 20261121T025200Z.

    Raises:
        ContractError: an explainer broke its contract, or its model is not the one that made the predictions. One
            that `all` brought in is only left out, unless that leaves nothing.
    """
    predictions = trained.run.predictions
    _keep_samples(trained, data, predictions, ids)
    meters, failed = [], _Failed(wanted, progress)
    with evaluating(trained.model):
        for job in plan(trained, wanted, ids):
            for work in failed.rest(_Work(trained, job, timing), data, predictions):
                meters.append((work.job, work.compute(data, predictions, progress)))
    if meters:
        _write_timing(trained, timing, meters)
    cells = [(name, layer) for name, spec in wanted.specs.items() for layer in layers_of(spec, wanted)]
    results = [_result(trained, *cell, meters) for cell in cells if cell not in failed.errors]
    if not results:
        failed.raise_first()
    return results


def _result(trained: Trained, name: str, layer: str, meters: Sequence[tuple[MissingRows, Meter]]) -> CellResult:
    cell, path = trained.run.cell(name, layer), cell_path(trained.folder, name, layer)
    rows = 0 if cell is None else len(cell.ids)
    for job, meter in meters:
        if job.name == name and layer in job.layers:
            return CellResult(name, layer, rows, job.targets.size, meter.rate, path)
    return CellResult(name, layer, rows, 0, None, path)


@dataclass(frozen=True)
class _Work:
    """A job on one run."""

    trained: Trained
    job: MissingRows
    timing: str

    def compute(self, data: Dataset, predictions: Predictions, progress: Progress) -> Meter:
        """Explain images batch by batch; what is done is saved every minute or so and at the end, even of a failure."""
        job, device = self.job, self.trained.device
        meter, parts, pace = Meter(device), [], Pace()
        try:
            with progress.track(f"{job.name} {','.join(job.layers)}", len(job.ids)) as task:
                for chosen in batches(job.spec, len(job.ids)):
                    ids = job.ids[chosen]
                    parts.append(self._batch(ids, job.targets[chosen], data, predictions=predictions, meter=meter))
                    if pace.due():
                        with pace.saving():
                            self._save(parts)
                        parts = []
                    task.advance(len(ids), f"{meter.rate or 0:.1f} images/s")
        finally:
            if parts:
                self._save(parts)
        return meter

    def inputs(self, ids: Integers, data: Dataset, predictions: Predictions) -> tuple[Tensor, np.ndarray[Any, Any]]:
        """Images as the model takes them, and its logits, once it is clear that it is the same model."""
        device = self.trained.device
        inputs = prepare(data.test.images[torch.from_numpy(ids)].to(device), self.trained.statistics)
        logits = self.trained.model(inputs).float().cpu().numpy()
        check_same_model(logits, predictions.logits[ids], self.trained)
        return inputs, logits

    def maps(self, inputs: Tensor, targets: Integers, *, meter: Meter | None = None) -> dict[str, Tensor]:
        """{layer: (N, T, h, w)}."""
        wanted = torch.from_numpy(targets).to(inputs.device)
        return explained(self.job.spec, self.trained.model, self.job.layers, inputs, wanted, meter=meter)

    def _batch(
        self, ids: Integers, targets: Integers, data: Dataset, *, predictions: Predictions, meter: Meter
    ) -> dict[str, Any]:
        inputs, logits = self.inputs(ids, data, predictions)
        raw = self.maps(inputs, targets, meter=meter)
        return {
            "ids": ids,
            "targets": targets,
            "logits": logits,
            "raw": {layer: maps.float().cpu().numpy() for layer, maps in raw.items()},
        }

    def _save(self, parts: list[dict[str, Any]]) -> None:
        ids = np.concatenate([part["ids"] for part in parts])
        targets = np.concatenate([part["targets"] for part in parts])
        logits = np.concatenate([part["logits"] for part in parts])
        # Where predicted and true class coincide both columns are the same row.
        rows = [
            (image, column)
            for image, row in enumerate(targets.tolist())
            for column, one in enumerate(row)
            if one not in row[:column]
        ]
        image, column = (np.array(each, dtype=np.int64) for each in zip(*rows, strict=True))
        name, spec = self.job.name, self.job.spec
        for layer in self.job.layers:
            raw = np.concatenate([part["raw"][layer] for part in parts])[image, column]
            new = Cell(
                **{
                    **vars(empty_cell(self.trained, name, spec, layer, self.timing)),
                    "ids": ids[image],
                    "classes": targets[image, column],
                    "raw": raw,
                    "logits": logits[image],
                    "status": statuses(raw),
                }
            )
            self.trained.run.add_rows(new)


class _Failed:
    """What of `all` cannot be done with this model; an explainer that was named ends the whole when it fails."""

    def __init__(self, wanted: Wanted, progress: Progress) -> None:
        self.wanted, self.progress = wanted, progress
        self.errors: dict[tuple[str, str], Exception] = {}

    def rest(self, work: _Work, data: Dataset, predictions: Predictions) -> list[_Work]:
        """The work, once one image went through it (imports and allocations, untimed); or its layers that can be."""
        job = work.job
        inputs, _ = work.inputs(job.ids[:1], data, predictions)
        try:
            work.maps(inputs, job.targets[:1])
        except Exception as error:
            if job.spec.name not in self.wanted.ceilings:
                raise
            if len(job.layers) > 1:
                alone = [replace(work, job=replace(job, layers=(layer,))) for layer in job.layers]
                return [each for one in alone for each in self.rest(one, data, predictions)]
            self.errors[job.name, job.layers[0]] = error
            self.progress.warn(f"{job.name} is left out at {job.layers[0]}: {_reason(error)}")
            return []
        return [work]

    def raise_first(self) -> None:
        """When nothing is left, the first failure is the answer."""
        for error in self.errors.values():
            raise error


def _reason(error: Exception) -> str:
    if isinstance(error, BenchError):
        return error.message
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _keep_samples(trained: Trained, data: Dataset, predictions: Predictions, ids: Integers) -> None:
    if len(ids) == 0:
        return
    pictures = data.test.images[torch.from_numpy(ids)].permute(0, 2, 3, 1).contiguous().numpy()
    names = tuple(data.test.names[each] for each in ids.tolist())
    trained.run.add_samples(Samples(ids, pictures, names, predictions.labels[ids], predictions.logits[ids]))


def _write_timing(trained: Trained, timing: str, meters: Sequence[tuple[MissingRows, Meter]]) -> None:
    device = trained.device
    rows = [
        {
            "explainer": job.name,
            "layers": list(job.layers),
            "targets": job.targets.shape[1],
            "batch_size": job.spec.max_batch,
            "images_per_second": meter.rate,
            "samples": meter.laps,
        }
        for job, meter in meters
    ]
    value = {
        "schema": TIMING_SCHEMA,
        "id": timing,
        "what": "explain",
        "device": describe_device(device),
        "versions": versions(),
        "rows": rows,
    }
    write_json(timing_path(trained.folder, timing), value)
