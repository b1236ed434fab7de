"""Everything a page needs of a run's folder, read once and held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import StoreError
from bench.store.cells import read_cell
from bench.store.files import sha256
from bench.store.paths import CHECKPOINT, PREDICTIONS, SAMPLES, cell_files, predictions_path
from bench.store.predictions import Predictions, read_predictions
from bench.store.record import classes_of, read_record
from bench.store.samples import Samples, read_samples
from bench.store.timings import rates_of

if TYPE_CHECKING:
    from bench.contracts import Integers
    from bench.schema.run import Cell, RunRecord


@dataclass(frozen=True)
class RunData:
    """What a run's folder says, read once.

    Attributes:
        cells: those that belong to the run's checkpoint, in order of explainer and layer.
        rates: images a second by (timing id, explainer, layer) with layers and targets a call.
    """

    folder: Path
    record: RunRecord
    predictions: Predictions
    cells: tuple[Cell, ...]
    samples: Samples | None
    rates: Mapping[tuple[str, str, str], tuple[float, int, int]]


def read_run(folder: Path) -> RunData:
    """Everything a page needs of a run; StoreError where it did not finish, or its predictions are another model's."""
    record = read_record(folder)
    if record.status != "done":
        raise StoreError(f"run '{record.name}' did not finish: it is '{record.status}'", try_="bench list runs")
    checkpoint = record.artefacts.get(CHECKPOINT, "")
    found = [read_cell(path) for path in cell_files(folder)]
    cells = tuple(cell for cell in found if cell.checkpoint == checkpoint)
    data = RunData(folder, record, read_predictions(folder), cells, read_samples(folder), rates_of(folder))
    _check_predictions(data)
    _check_classes(data)
    return data


def _check_predictions(data: RunData) -> None:
    """The predictions shown are those that the run's own weights made."""
    path, stored = predictions_path(data.folder), data.record.artefacts.get(PREDICTIONS)
    if stored is not None and stored != (found := sha256(path)):
        raise StoreError(
            f"{path} is not the file this run was tested into: sha256 {found[:12]}, run.json says {stored[:12]}",
            try_=f"bench evaluate {data.folder.name}",
        )


def _check_classes(data: RunData) -> None:
    """Every file of the folder speaks of the same classes and test images."""
    total, known = data.predictions.logits.shape
    parts = [("run.json names", len(classes_of(data.record)), 0)]
    parts += [
        (f"{cell.explainer} at {cell.layer} has", cell.logits.shape[1], _largest(cell.ids)) for cell in data.cells
    ]
    if data.samples is not None:
        parts.append((f"{SAMPLES} has", data.samples.logits.shape[1], _largest(data.samples.ids)))
    for words, classes, largest in parts:
        if classes != known or largest >= total:
            raise StoreError(
                f"{data.folder} is damaged: {words} {classes} classes and ids up to {largest}, "
                f"its predictions have {known} classes of {total} test images",
                try_=f"bench evaluate {data.folder.name}",
            )


def _largest(ids: Integers) -> int:
    return int(ids.max(initial=0))
