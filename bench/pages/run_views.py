"""Run folders in, Page values out. Nothing is computed on a model here and nothing is drawn."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.contracts import Integers
from bench.evaluation import (
    calibration_bins,
    calibration_error,
    calibration_floor,
    class_rows,
    most_confused,
    read_averages,
    score,
    sureness,
)
from bench.registry.registry import short
from bench.request import TrainRequest
from bench.schema.page import MOST_CLASSES, MOST_CONFUSED, CellView, RunView, Score, VerdictView
from bench.schema.run import STATUSES, Cell
from bench.schema.scores import ExplainerScores
from bench.stats.intervals import wilson
from bench.store.folder import RunFolder
from bench.store.rows import sums_of

PAGE_SCHEMA = 2


# --- one run ------------------------------------------------------------------------------------------------


def run_view(data: RunFolder, *, only_wrong: int | None = None) -> RunView:
    """One run as tables show it."""
    record, results, request = data.record, data.results, data.record.request
    counts = score(data.predictions.logits, data.predictions.labels)
    sure, predicted = sureness(data.predictions.logits)
    bins, few = calibration_bins(sure, predicted == data.predictions.labels), len(counts.confusion) <= MOST_CLASSES
    # Other work may have run beside a worker's: its rates are none to be read beside others.
    timed = not record.unit
    return RunView(
        run=record.name,
        model=short(record.model),
        data=record.data.name,
        recipe=Path(record.recipe).name,  # of a file no folders
        seed=request.seed if isinstance(request, TrainRequest) else 0,
        epochs=(request.epochs if isinstance(request, TrainRequest) else None) or 0,
        train_images=results.train_images or 0,
        accuracy=wilson(counts.correct, counts.total),
        correct=counts.correct,
        total=counts.total,
        loss=counts.loss,
        only_wrong=only_wrong,
        parameters=results.parameters or 0,
        train_rate=_known(results.train_images_per_second) if timed else None,
        forward_rate=_known(results.forward_images_per_second) if timed else None,
        device=record.environment.device,
        checkpoint=data.checkpoint,
        curve=data.curve if timed else tuple(replace(point, images_per_second=0.0) for point in data.curve),
        per_class=class_rows(counts.confusion, record.data.classes),
        confusion=tuple(map(tuple, counts.confusion.tolist())) if few else (),
        confused=() if few else most_confused(counts.confusion, MOST_CONFUSED),
        averages=read_averages(results, counts.total),
        calibration=bins,
        calibration_error=calibration_error(bins),
        calibration_floor=calibration_floor(bins),
        swept=record.swept,
    )


def _known(rate: float | None) -> float | None:
    """A rate as it was measured; None for what cannot be one."""
    return rate if rate is not None and 0 < rate < math.inf else None


# --- cells --------------------------------------------------------------------------------------------------


def cell_view(run: int, data: RunFolder, cell: Cell, wanted: Integers) -> CellView:
    """One cell as the matrix shows it; `wanted` are the keys of the rows that it should hold."""
    noted = data.rates.get((cell.timing, cell.explainer, cell.layer))
    counts = np.bincount(cell.status, minlength=len(STATUSES))
    return CellView(
        run=run,
        explainer=short(cell.explainer),
        layer=cell.layer,
        height=cell.raw.shape[1],
        width=cell.raw.shape[2],
        rows=len(cell.ids),
        missing=len(np.setdiff1d(wanted, cell.keys)),
        dead=int(counts[STATUSES.index("dead")]),
        constant=int(counts[STATUSES.index("constant")]),
        non_finite=int(counts[STATUSES.index("non-finite")]),
        ms_per_image=1000 / noted.rate if noted else None,
        layers_per_call=len(noted.layers) if noted else 1,
        targets_per_call=noted.targets if noted else 1,
        picture=cell.output == "picture",
        steps=cell.steps,
        complete=sums_of(cell),
    )


# --- what was judged ----------------------------------------------------------------------------------------


def judged_of(run: int, data: RunFolder) -> tuple[VerdictView, ...]:
    """The verdicts on a run's weights, by layer; a cell made by another revision is not judged."""
    revisions = {(cell.explainer, cell.layer): cell.revision for cell in data.cells}
    return tuple(
        VerdictView(run, replace(one, explainer=short(one.explainer)))
        for one in sorted(data.judgement.verdicts if data.judgement else (), key=lambda one: one.layer)
        if revisions.get((one.explainer, one.layer), one.revision) == one.revision
    )


def scores_of(run: int, data: RunFolder) -> tuple[Score, ...]:
    """The scores of a run's explainers, baselines included."""
    return tuple(_score(run, one) for one in data.scores.rows) if data.scores else ()


def _score(run: int, row: ExplainerScores) -> Score:
    value, null = row.logit.value, row.logit.null
    return Score(
        run=run,
        explainer=short(row.explainer),
        layer=row.layer,
        value=value.value if value else None,
        low=value.low if value else None,
        high=value.high if value else None,
        null=null.value if null else None,
        images=row.logit.images,
        evidence=row.logit.verdict,
        gain=row.logit.gain,
        over=row.logit.over,
    )
