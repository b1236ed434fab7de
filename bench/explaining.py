"""Explainers over the images of a run: which rows are wanted, which are there, and the loop that makes the rest."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.cells import (
    CELL_SCHEMA,
    Samples,
    cell_path,
    merge_cells,
    read_cell,
    row_keys,
    same_cell,
    write_cell,
    write_samples,
)
from bench.choosing import INPUT_LAYER, check_layers, wanted_targets
from bench.contracts import Cell
from bench.errors import ContractError, StoreError
from bench.evaluation import prepare
from bench.guard import guarded, statuses
from bench.machine import describe_device, versions
from bench.meter import Meter
from bench.store import write_json
from bench.trained import read_predictions

if TYPE_CHECKING:
    from torch import Tensor

    from bench.contracts import Dataset, ExplainerSpec, Integers, Progress
    from bench.trained import Predictions, Trained

SAVE_EVERY = 60.0  # seconds
TIMING_SCHEMA = 1
LOGIT_TOLERANCE = 1e-3  # of the largest logit: another batch size or device moves logits by less


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
    trained: Trained,
    data: Dataset,
    specs: Mapping[str, ExplainerSpec],
    layers: Sequence[str],
    ids: Integers,
    *,
    target: str,
    timing: str,
    progress: Progress,
) -> list[CellResult]:
    """Make the rows that are missing of every explainer x layer, and the samples of the images.

    Args:
        trained: the run, opened on the device to compute on.
        data: the run's data set; its test split holds the images.
        specs: explainers by the name the user gave.
        layers: dotted module names.
        ids: test ids.
        target: which classes the maps speak for.
        timing: id of this call's timings, such as 20261121T025200Z.

    Raises:
        ContractError: an explainer broke its contract, or its model is not the one that made the predictions.
    """
    check_layers(trained, layers)
    predictions = read_predictions(trained.folder)
    targets = wanted_targets(predictions, ids, target)
    _keep_samples(trained, data, predictions, ids)
    results, timings = [], []
    for name, spec in specs.items():
        grids = (INPUT_LAYER,) if spec.output == "input" else tuple(layers)
        jobs = _jobs(trained, name, spec, grids, ids=ids, targets=targets)
        rates: dict[str, float | None] = {}
        computed = dict.fromkeys(grids, 0)
        for group, rows in jobs:
            work = _Work(trained, name, spec, group, timing)
            meter = work.compute(data, predictions, ids[rows], targets[rows], progress)
            rates.update(dict.fromkeys(group, meter.rate))
            computed.update(dict.fromkeys(group, int(rows.sum()) * targets.shape[1]))
            timings.append(
                {
                    "explainer": name,
                    "layers": list(group),
                    "targets": targets.shape[1],
                    "batch_size": spec.max_batch,
                    "images_per_second": meter.rate,
                    "samples": meter.laps,
                }
            )
        for grid in grids:
            path = cell_path(trained.folder, name, grid)
            rows_now = len(read_cell(path).ids) if path.exists() else 0
            results.append(CellResult(name, grid, rows_now, computed[grid], rates.get(grid), path))
    if timings:
        _write_timing(trained, timing, timings)
    return results


def _jobs(
    trained: Trained, name: str, spec: ExplainerSpec, grids: tuple[str, ...], *, ids: Integers, targets: Integers
) -> list[tuple[tuple[str, ...], np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Groups of layers that lack rows of the same images, so that one call serves several layers."""
    groups: dict[bytes, tuple[list[str], np.ndarray[Any, np.dtype[np.bool_]]]] = {}
    for grid in grids:
        there = row_keys(_usable_cell(trained, name, spec, grid))
        pairs = zip(ids.tolist(), targets.tolist(), strict=True)
        lacking = np.array([any((each, one) not in there for one in row) for each, row in pairs], dtype=bool)
        if lacking.any():
            groups.setdefault(lacking.tobytes(), ([], lacking))[0].append(grid)
    return [(tuple(members), lacking) for members, lacking in groups.values()]


def _usable_cell(trained: Trained, name: str, spec: ExplainerSpec, layer: str) -> Cell | None:
    """The cell on disk, when its rows may stand beside new ones; one that cannot be read counts as absent."""
    path = cell_path(trained.folder, name, layer)
    if not path.exists():
        return None
    try:
        cell = read_cell(path)
    except StoreError:
        return None
    return cell if same_cell(cell, empty_cell(trained, name, spec, layer)) else None


def empty_cell(trained: Trained, name: str, spec: ExplainerSpec, layer: str, timing: str = "") -> Cell:
    """A cell with its key and no rows."""
    nothing = np.zeros(0, dtype=np.int64)
    device = next(trained.model.parameters()).device
    return Cell(
        schema=CELL_SCHEMA,
        checkpoint=trained.checkpoint,
        explainer=name,
        revision=spec.revision,
        layer=layer,
        versions=versions(("torch", spec.backend)),
        device=describe_device(device),
        dtype="float32",
        timing=timing,
        ids=nothing,
        classes=nothing,
        raw=np.zeros((0, 1, 1), dtype=np.float32),
        logits=np.zeros((0, len(trained.classes)), dtype=np.float32),
        status=nothing.astype(np.uint8),
    )


@dataclass(frozen=True)
class _Work:
    """One explainer at some layers of one run."""

    trained: Trained
    name: str
    spec: ExplainerSpec
    layers: tuple[str, ...]
    timing: str

    def compute(
        self, data: Dataset, predictions: Predictions, ids: Integers, targets: Integers, progress: Progress
    ) -> Meter:
        """Explain images batch by batch; what is done is saved every minute and at the end, even of a failure."""
        device = next(self.trained.model.parameters()).device
        meter, parts, saved = Meter(device), [], time.monotonic()
        label = f"{self.name} {','.join(self.layers)}"
        try:
            with progress.track(label, len(ids)) as task:
                for chosen in _batches(len(ids), 1 if self.spec.stochastic else self.spec.max_batch):
                    images = data.test.images[torch.from_numpy(ids[chosen])].to(device)
                    part = self._batch(images, ids[chosen], targets[chosen], predictions, meter)
                    parts.append(part)
                    if time.monotonic() - saved > SAVE_EVERY:
                        self._save(parts)
                        parts, saved = [], time.monotonic()
                    task.advance(len(images), f"{meter.rate or 0:.1f} images/s")
        finally:
            if parts:
                self._save(parts)
        return meter

    def _batch(
        self, images: Tensor, ids: Integers, targets: Integers, predictions: Predictions, meter: Meter
    ) -> dict[str, Any]:
        inputs = prepare(images, self.trained.statistics)
        with torch.no_grad():
            logits = self.trained.model(inputs).float().cpu().numpy()
        check_same_model(logits, predictions.logits[ids], self.trained)
        wanted = torch.from_numpy(targets).to(images.device)
        with meter.lap(len(ids)), torch.random.fork_rng(enabled=self.spec.stochastic):
            if self.spec.stochastic:
                torch.manual_seed(_seed(self.trained.checkpoint, self.name, int(ids[0])))
            raw = guarded(self.spec, self.trained.model, self.layers, inputs, wanted)
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
        for layer in self.layers:
            raw = np.concatenate([part["raw"][layer] for part in parts])[image, column]
            new = Cell(
                **{
                    **vars(empty_cell(self.trained, self.name, self.spec, layer, self.timing)),
                    "ids": ids[image],
                    "classes": targets[image, column],
                    "raw": raw,
                    "logits": logits[image],
                    "status": statuses(raw),
                }
            )
            path = cell_path(self.trained.folder, self.name, layer)
            write_cell(path, merge_cells(_usable_cell(self.trained, self.name, self.spec, layer), new))


def _batches(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


def check_same_model(logits: np.ndarray[Any, Any], stored: np.ndarray[Any, Any], trained: Trained) -> None:
    """The model being explained is the one whose predictions are shown, or nothing is explained.

    Args:
        logits, stored: (N, K), just computed and from predictions.npz.
    """
    gap = float(np.abs(logits - stored).max(initial=0.0))
    if not gap <= LOGIT_TOLERANCE * max(1.0, float(np.abs(stored).max(initial=0.0))):
        raise ContractError(
            f"the model of run '{trained.record.name}' gives other logits than its predictions.npz "
            f"(largest difference {gap:.3g}): these maps would explain another model",
            try_=f"bench evaluate {trained.record.name}",
        )


def _keep_samples(trained: Trained, data: Dataset, predictions: Predictions, ids: Integers) -> None:
    if len(ids) == 0:
        return
    pictures = data.test.images[torch.from_numpy(ids)].permute(0, 2, 3, 1).contiguous().numpy()
    names = tuple(data.test.names[each] for each in ids.tolist())
    samples = Samples(ids, pictures, names, predictions.labels[ids], predictions.logits[ids])
    write_samples(trained.folder, samples)


def _write_timing(trained: Trained, timing: str, rows: list[dict[str, Any]]) -> None:
    device = next(trained.model.parameters()).device
    value = {
        "schema": TIMING_SCHEMA,
        "id": timing,
        "what": "explain",
        "device": describe_device(device),
        "versions": versions(),
        "rows": rows,
    }
    write_json(trained.folder / "timing" / f"{timing}.json", value)
