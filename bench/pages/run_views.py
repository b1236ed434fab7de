"""Run folders in, Page values out. Nothing is computed on a model here and nothing is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data.images import thumbnail
from bench.evaluation import calibration_bins, calibration_error, class_rows, read_averages, softmax
from bench.registry.registry import short
from bench.request import TrainRequest
from bench.schema.page import CellView, EpochPoint, GalleryItem, MapView, Prediction, RunView
from bench.schema.run import STATUSES
from bench.stats.agreement import disagreements
from bench.stats.intervals import wilson
from bench.store.cells import row_keys
from bench.store.files import read_lines
from bench.store.paths import CHECKPOINT, log_path
from bench.store.predictions import Predictions
from bench.store.record import classes_of
from bench.store.run_data import RunData
from bench.store.samples import Samples

if TYPE_CHECKING:
    from bench.contracts import Floats
    from bench.schema.page import Role
    from bench.schema.run import Cell

PAGE_SCHEMA = 1
TOP = 10  # classes of an image whose probabilities a page carries


# --- one run ------------------------------------------------------------------------------------------------


def run_view(data: RunData, *, only_wrong: int | None = None) -> RunView:
    """One run as tables show it."""
    record, results, request = data.record, data.record.results, data.record.request
    correct, total = int((data.predictions.predicted == data.predictions.labels).sum()), len(data.predictions.labels)
    confusion = confusion_matrix(data.predictions)
    bins = calibration_bins(softmax(data.predictions.logits), data.predictions.labels)
    return RunView(
        run=record.name,
        model=short(record.model),
        data=record.data.name,
        recipe=Path(record.recipe).name,  # of a file no folders
        seed=request.seed if isinstance(request, TrainRequest) else 0,
        epochs=(request.epochs if isinstance(request, TrainRequest) else None) or 0,
        train_images=results.train_images or 0,
        accuracy=wilson(correct, total),
        correct=correct,
        total=total,
        loss=mean_loss(data.predictions),
        only_wrong=only_wrong,
        parameters=results.parameters or 0,
        train_rate=_known(results.train_images_per_second),
        forward_rate=_known(results.forward_images_per_second),
        device=record.environment.device,
        checkpoint=record.artefacts.get(CHECKPOINT, ""),
        curve=read_curve(data.folder),
        per_class=class_rows(confusion, classes_of(record)),
        confusion=confusion,
        averages=read_averages(results, total),
        calibration=bins,
        calibration_error=calibration_error(bins),
    )


def _known(rate: float | None) -> float | None:
    """A rate as it was measured; None for what cannot be one."""
    return rate if rate is not None and 0 < rate < math.inf else None


def confusion_matrix(predictions: Predictions) -> tuple[tuple[int, ...], ...]:
    """confusion[true][predicted] counts."""
    size = predictions.logits.shape[1]
    counts = np.bincount(predictions.labels * size + predictions.predicted, minlength=size * size)
    return tuple(tuple(int(count) for count in row) for row in counts.reshape(size, size))


def mean_loss(predictions: Predictions) -> float:
    """Mean cross entropy over the test split, in nats."""
    logits = predictions.logits.astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(shifted, predictions.labels[:, None], axis=1)[:, 0]
    return float((np.log(np.exp(shifted).sum(axis=1)) - chosen).mean())


def read_curve(folder: Path) -> tuple[EpochPoint, ...]:
    """The epochs of log.jsonl; lines that are something else are left out."""
    from pydantic import TypeAdapter, ValidationError

    points, kind = [], TypeAdapter(EpochPoint)
    for line in read_lines(log_path(folder)):
        with suppress(ValidationError):
            points.append(kind.validate_python(line))
    return tuple(point for point in points if all(math.isfinite(each or 0) for each in vars(point).values()))


# --- cells --------------------------------------------------------------------------------------------------


def cell_view(run: int, data: RunData, cell: Cell, wanted: Set[tuple[int, int]]) -> CellView:
    """One cell as the matrix shows it; `wanted` are the (test id, class) pairs that it should hold."""
    noted = data.rates.get((cell.timing, cell.explainer, cell.layer))
    counts = np.bincount(cell.status, minlength=len(STATUSES))
    return CellView(
        run=run,
        explainer=short(cell.explainer),
        layer=cell.layer,
        height=cell.raw.shape[1],
        width=cell.raw.shape[2],
        rows=len(cell.ids),
        missing=len(wanted - row_keys(cell)),
        dead=int(counts[STATUSES.index("dead")]),
        constant=int(counts[STATUSES.index("constant")]),
        non_finite=int(counts[STATUSES.index("non-finite")]),
        ms_per_image=1000 / noted.rate if noted else None,
        layers_per_call=len(noted.layers) if noted else 1,
        targets_per_call=noted.targets if noted else 1,
        picture=cell.output == "picture",
        steps=cell.steps,
    )


# --- gallery ------------------------------------------------------------------------------------------------


def gallery(runs: Sequence[RunData], cells: Sequence[tuple[int, Cell]], ids: Sequence[int]) -> tuple[GalleryItem, ...]:
    """The images of a page, with what every run says and every cell shows.

    Args:
        runs: in page order; each knows its predictions.
        cells: (run index, cell) in the order of Page.cells.
        ids: test ids; those no run has a sample of are left out.

    Returns:
        The items, the most confident error first.
    """
    pictures: dict[int, tuple[Samples, int]] = {}
    for data in runs:
        if data.samples is not None:
            for row, each in enumerate(data.samples.ids.tolist()):
                pictures.setdefault(each, (data.samples, row))
    rows = [_rows_by_id(cell) for _, cell in cells]
    apart = disagreements(cells)
    probabilities = [softmax(data.predictions.logits) for data in runs]
    items = []
    for each in ids:
        if each not in pictures:
            continue
        samples, row = pictures[each]
        true = int(samples.labels[row])
        predictions = tuple(_prediction(table[each], true) if each < len(table) else None for table in probabilities)
        maps = tuple(
            map_view(index, cell, place, _role(runs[run].predictions, each, int(cell.classes[place])))
            for index, (run, cell) in enumerate(cells)
            for place in rows[index].get(each, ())
        )
        pixels = thumbnail(samples.pictures[row])
        items.append(GalleryItem(each, samples.names[row], true, pixels, predictions, maps, apart.get(each)))
    return tuple(sorted(items, key=lambda item: -_confidence(item)))


def _confidence(item: GalleryItem) -> float:
    """The largest probability that a run gave to a wrong class; below 0 where none is wrong."""
    wrong = [each.probability for each in item.predictions if each is not None and each.predicted != item.true]
    return max(wrong, default=-1.0)


def _rows_by_id(cell: Cell) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for place, each in enumerate(cell.ids.tolist()):
        found.setdefault(each, []).append(place)
    return found


def _prediction(probabilities: Floats, true: int) -> Prediction:
    predicted = int(probabilities.argmax())
    top = tuple((int(each), float(probabilities[each])) for each in np.argsort(-probabilities, kind="stable")[:TOP])
    return Prediction(predicted, float(probabilities[predicted]), float(probabilities[true]), top)


def _role(predictions: Predictions, each: int, target: int) -> Role:
    predicted, true = int(predictions.predicted[each]) == target, int(predictions.labels[each]) == target
    if predicted and true:
        return "both"
    if predicted:
        return "predicted"
    return "true" if true else "asked"


def map_view(index: int, cell: Cell, place: int, role: Role) -> MapView:
    """One raw map, quantised to 256 levels between its own smallest and largest finite value."""
    low, high, levels = levels_of(cell.raw[place])
    status = STATUSES[int(cell.status[place])]
    return MapView(index, role, int(cell.classes[place]), low, high, levels, status)  # type: ignore[arg-type]


def levels_of(raw: Floats) -> tuple[float, float, bytes]:
    """A raw map (h, w) as its smallest and largest finite value and 256 levels between them, row by row."""
    values = raw.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    span = high - low
    whole = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    shares = (whole - low) / span if span > 0 else np.zeros_like(whole)
    return low, high, np.rint(shares * 255).astype(np.uint8).tobytes()
