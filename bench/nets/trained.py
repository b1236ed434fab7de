"""A finished run, opened: the model with the very weights whose predictions are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.errors import StoreError
from bench.machine import reuse_memory
from bench.nets.weights import load_weights
from bench.store import CHECKPOINT, PREDICTIONS, read_checkpoint, read_npz, read_record, sha256

if TYPE_CHECKING:
    from torch import nn

    from bench.contracts import Floats, Integers, ModelSpec, RunRecord
    from bench.evaluation import Statistics


@dataclass(frozen=True)
class Trained:
    """A run whose checkpoint was checked against its record.

    Attributes:
        model: in eval mode, gradients off, channels last, on the device asked for.
        statistics: mean and std that travelled with the weights.
        checkpoint: sha256 of the checkpoint file.
    """

    folder: Path
    record: RunRecord
    spec: ModelSpec
    model: nn.Module
    classes: tuple[str, ...]
    statistics: Statistics
    checkpoint: str


@dataclass(frozen=True)
class Predictions:
    """Test logits of a run.

    Attributes:
        ids, labels: (N,) int64.
        logits: (N, K) float32.
    """

    ids: Integers
    labels: Integers
    logits: Floats

    @property
    def predicted(self) -> Integers:
        """(N,) class of the largest logit."""
        classes: Integers = self.logits.argmax(axis=1)
        return classes

    @property
    def wrong(self) -> Integers:
        """Test ids of the misclassified images, ascending."""
        ids: Integers = self.ids[self.predicted != self.labels]
        return ids


def open_run(folder: Path, models: Mapping[str, ModelSpec], device: torch.device) -> Trained:
    """Open a run that finished training.

    Raises:
        StoreError: unfinished, damaged, or the weights are not those the run ended with.
    """
    record = finished_record(folder)
    found = sha256(folder / CHECKPOINT)
    if found != record.artefacts.get(CHECKPOINT):
        raise StoreError(
            f"{folder / CHECKPOINT} is not the file this run ended with: sha256 {found[:12]}, "
            f"run.json says {record.artefacts.get(CHECKPOINT, 'nothing')[:12]}",
            try_="bench list runs, and explain another one",
        )
    state, head = read_checkpoint(folder / CHECKPOINT)
    classes = tuple(str(name) for name in head.get("classes", ()))
    if not classes:
        raise StoreError(f"{folder / CHECKPOINT} lacks the names of its classes")
    spec = models[record.model]
    model = spec.build(len(classes))
    load_weights(model, state)
    reuse_memory(device)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.eval().requires_grad_(False)
    return Trained(folder, record, spec, model, classes, _statistics(head, folder), found)


def finished_record(folder: Path) -> RunRecord:
    """The record of a run that can be explained; StoreError says what the run is instead."""
    record = read_record(folder)
    if record.status != "done":
        raise StoreError(
            f"run '{record.name}' did not finish: it is '{record.status}'"
            + (f" ({record.message})" if record.message else ""),
            try_="bench list runs",
        )
    if not (folder / CHECKPOINT).is_file():
        raise StoreError(f"run '{record.name}' has no {CHECKPOINT}", try_="bench list runs")
    return record


def _statistics(head: Mapping[str, Any], folder: Path) -> Statistics:
    try:
        mean, std = (tuple(float(value) for value in head[name]) for name in ("mean", "std"))
    except (KeyError, TypeError, ValueError) as reason:
        raise StoreError(f"{folder / CHECKPOINT} lacks its mean and std") from reason
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise StoreError(f"{folder / CHECKPOINT} has no usable mean and std: {mean}, {std}")
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def read_predictions(folder: Path) -> Predictions:
    """predictions.npz of a run, checked."""
    arrays = read_npz(folder / PREDICTIONS, ("ids", "labels", "logits"))
    found = Predictions(**arrays)
    shaped = found.logits.ndim == 2 and len(found.ids) == len(found.labels) == len(found.logits) > 0
    if not shaped or found.labels.min() < 0 or found.labels.max() >= found.logits.shape[1]:
        raise StoreError(
            f"{folder / PREDICTIONS} is damaged: its arrays do not belong together",
            try_=f"bench evaluate {folder.name}",
        )
    if not np.array_equal(found.ids, np.arange(len(found.ids))):
        raise StoreError(
            f"{folder / PREDICTIONS} is damaged: ids are not 0 to {len(found.ids) - 1}",
            try_=f"bench evaluate {folder.name}",
        )
    return found
