"""A finished run, opened: the model with the very weights whose predictions are stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.contracts import Dataset, ModelSpec
from bench.data.datasets import in_class_order, load_dataset
from bench.data.transforms import Statistics
from bench.errors import ContractError, DataError, StoreError, UsageError
from bench.machine import choose_device
from bench.nets.weights import for_inference, load_weights
from bench.registry.foreign_models import described
from bench.registry.from_python import is_from_python
from bench.request import AdoptRequest
from bench.schema.run import RunRecord
from bench.store.files import read_checkpoint, sha256
from bench.store.folder import RunFolder
from bench.store.paths import CHECKPOINT, checkpoint_path
from bench.store.predictions import logit_gap
from bench.store.runs import check_finished, find_run
from bench.workspace import Workspace


@dataclass(frozen=True)
class Trained:
    """A run whose checkpoint was checked against its record.

    Attributes:
        run: its folder, with what this call has read of it.
        model: in eval mode, gradients off, channels last, on the device asked for.
        statistics: mean and std that travelled with the weights.
        checkpoint: sha256 of the checkpoint file.
    """

    run: RunFolder
    spec: ModelSpec
    model: nn.Module
    classes: tuple[str, ...]
    statistics: Statistics
    checkpoint: str

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        return self.run.path

    @property
    def record(self) -> RunRecord:
        """What the run is made of, and how it went."""
        return self.run.record

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device


def open_run(run: str | RunFolder, device: str, workspace: Workspace) -> Trained:
    """Open a run that finished training.

    Args:
        run: its name, `latest` or path, or its folder.
        device: as users name it, such as `auto`.

    Raises:
        UsageError: this machine has no such device.
        StoreError: unfinished, damaged, or the weights are not those the run ended with.
    """
    where = choose_device(device, workspace.progress.warn)
    run = run if isinstance(run, RunFolder) else RunFolder(find_run(workspace.runs, run))
    path, record = checkpoint_path(run.path), run.record
    check_finished(record)
    if not path.is_file():
        raise StoreError(f"run '{record.name}' has no {CHECKPOINT}", try_="bench list runs")
    found = sha256(path)
    if found != run.checkpoint:
        raise StoreError(
            f"{path} is not the file this run ended with: sha256 {found[:12]}, "
            f"run.json says {run.checkpoint[:12] or 'nothing'}",
            try_="bench list runs  # the others",
        )
    state, head = read_checkpoint(path)
    classes = tuple(str(name) for name in head.get("classes", ()))
    if not classes:
        raise StoreError(f"{path} lacks the names of its classes")
    spec = spec_of(record, path, workspace)
    model = spec.build(len(classes))
    load_weights(model, state)
    if isinstance(record.request, AdoptRequest):
        described(model, channels=record.request.channels, outputs=record.request.outputs)
    return Trained(run, spec, for_inference(model, where), classes, _statistics(head, path), found)


def spec_of(record: RunRecord, checkpoint: Path, workspace: Workspace) -> ModelSpec:
    """The spec of a run's model; where Python gave it and has gone, UsageError says how its weights are opened."""
    try:
        return workspace.models[record.model]
    except UsageError as reason:
        if not is_from_python(record.model):
            raise
        name = record.model.rpartition(":")[2].partition("@")[0]
        taken = AdoptRequest(weights=checkpoint, model=f"FILE.py:{name}", data=record.data.source)
        raise UsageError(
            reason.message,
            try_=f"the Python process that defines it; or, with its code in a file, {taken.command(workspace.runs)}",
        ) from reason


def _statistics(head: Mapping[str, Any], path: Path) -> Statistics:
    try:
        mean, std = (tuple(float(value) for value in head[name]) for name in ("mean", "std"))
    except (KeyError, TypeError, ValueError) as reason:
        raise StoreError(f"{path} lacks its mean and std") from reason
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise StoreError(f"{path} has no usable mean and std: {mean}, {std}")
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def check_same_model(logits: np.ndarray[Any, Any], stored: np.ndarray[Any, Any], trained: Trained) -> None:
    """The model being explained is the one whose predictions are shown, or nothing is explained.

    Args:
        logits, stored: (N, K), just computed and from predictions.npz.
    """
    gap = logit_gap(logits, stored)
    if gap is not None:
        raise ContractError(
            f"the model of run '{trained.record.name}' gives other logits than its predictions.npz "
            f"(largest difference {gap:.3g}): the maps would explain another model, or its answers are random or "
            "depend on the other images of a batch",
            try_=f"bench evaluate {trained.record.name}",
        )


def data_of_run(record: RunRecord, source: str | None, place: Workspace) -> Dataset:
    """The data set a run was made on, from where it was or from `source`; DataError when it is another one."""
    dataset = load_dataset(
        source or record.data.source,
        cache=place.cache,
        progress=place.progress,
        skip_bad=record.request.skip_bad or bool(record.data.notes),
        size=record.size,
    )
    if dataset.digest != record.data.digest:
        raise DataError(
            f"{dataset.source} is not the data run '{record.name}' was made on: its sha256 is "
            f"{dataset.digest[:12]}, the run's {record.data.digest[:12]}",
            try_="--data with the data set the run was trained on",
        )
    return in_class_order(dataset, record.data.classes)
