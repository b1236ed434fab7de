"""Everything a page needs of a run's folder, read once and held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import StoreError
from bench.store.folder import RunFolder
from bench.store.paths import PREDICTIONS, SAMPLES, predictions_path
from bench.store.predictions import Predictions
from bench.store.record import check_finished, classes_of
from bench.store.samples import Samples
from bench.store.timings import rates_of

if TYPE_CHECKING:
    from bench.contracts import Integers
    from bench.schema.run import Cell, RunRecord
    from bench.schema.scores import FaithfulnessScores
    from bench.schema.timing import ArmTiming, Timing
    from bench.schema.verdicts import Judgement


@dataclass(frozen=True)
class RunData:
    """What a run's folder says, read once.

    Attributes:
        cells: those that belong to the run's checkpoint, in order of explainer and layer.
        judgement, scores: of its explainers, None for none.
        timings: of this run alone, the oldest first.
        rates: what was noted while cells were made, by timing, explainer and layer.
    """

    run: RunFolder
    record: RunRecord
    predictions: Predictions
    cells: tuple[Cell, ...]
    samples: Samples | None
    judgement: Judgement | None
    scores: FaithfulnessScores | None
    timings: tuple[Timing, ...]
    rates: Mapping[tuple[str, str, str], ArmTiming]

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        return self.run.path


def read_run(folder: Path) -> RunData:
    """Everything a page needs of a run, for whoever needs nothing else of its folder."""
    return data_of(RunFolder(folder))


def data_of(run: RunFolder) -> RunData:
    """Everything a page needs of a run; StoreError where it did not finish, or its predictions are another model's."""
    check_finished(run.record)
    data = RunData(
        run=run,
        record=run.record,
        predictions=run.predictions,
        cells=tuple(cell for cell in run.cells() if cell.checkpoint == run.checkpoint),
        samples=run.samples,
        judgement=run.judgement,
        scores=run.scores,
        timings=run.timings,
        rates=rates_of(run.timings),
    )
    _check_predictions(data)
    _check_classes(data)
    return data


def _check_predictions(data: RunData) -> None:
    """The predictions shown are those that the run's own weights made."""
    path, stored = predictions_path(data.folder), data.record.artefacts.get(PREDICTIONS)
    found = data.predictions.digest
    if stored is not None and stored != found:
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
