"""Run folders in, Page values out. Nothing is computed on a model here and nothing is drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts import STATUSES
from bench.data.images import thumbnail
from bench.errors import StoreError
from bench.evaluation import class_rows
from bench.explaining.cells import Samples, read_cell, read_samples, row_keys
from bench.nets.averaging import read_averages
from bench.nets.trained import Predictions, read_predictions
from bench.pages.calibration import calibration_bins, calibration_error, softmax
from bench.registry import short
from bench.scoring.agreeing import disagreements
from bench.stats import wilson
from bench.store import CHECKPOINT, LOG, PREDICTIONS, SAMPLES, read_lines, read_record, sha256
from bench.values.views import CellView, EpochPoint, GalleryItem, MapView, Prediction, RunView

if TYPE_CHECKING:
    from bench.contracts import Cell, Floats, Integers, RunRecord
    from bench.values.views import Role

PAGE_SCHEMA = 1
TOP = 10  # classes of an image whose probabilities a page carries


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
    found = [read_cell(path) for path in sorted((folder / "explain").glob("*/*.npz"))]
    cells = tuple(cell for cell in found if cell.checkpoint == checkpoint)
    data = RunData(folder, record, read_predictions(folder), cells, read_samples(folder), _rates(folder))
    _check_predictions(data)
    _check_classes(data)
    return data


def _check_predictions(data: RunData) -> None:
    """The predictions shown are those that the run's own weights made."""
    path, stored = data.folder / PREDICTIONS, data.record.artefacts.get(PREDICTIONS)
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


def _rates(folder: Path) -> dict[tuple[str, str, str], tuple[float, int, int]]:
    """Rates of all timings; one that cannot be read leaves its cells without a rate, which the page shows."""
    rates = {}
    for path in sorted((folder / "timing").glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            timing = json.loads(path.read_text(encoding="utf-8"))
            for row in timing["rows"]:
                rate = _rate(row["images_per_second"])
                value = None if rate is None else (rate, len(row["layers"]), int(row["targets"]))
                rates.update({(str(timing["id"]), str(row["explainer"]), str(layer)): value for layer in row["layers"]})
    return {key: value for key, value in rates.items() if value is not None}


# --- one run ------------------------------------------------------------------------------------------------


def run_view(data: RunData, *, only_wrong: int | None = None) -> RunView:
    """One run as tables show it."""
    record, metrics, config = data.record, data.record.metrics, data.record.config
    correct, total = int((data.predictions.predicted == data.predictions.labels).sum()), len(data.predictions.labels)
    confusion = confusion_matrix(data.predictions)
    bins = calibration_bins(softmax(data.predictions.logits), data.predictions.labels)
    return RunView(
        run=record.name,
        model=short(record.model),
        data=str(record.data.get("name", "")),
        recipe=Path(str(config.get("recipe", ""))).name,  # of a file no folders
        seed=_int(config.get("seed")),
        epochs=_int(config.get("epochs")),
        train_images=_int(metrics.get("train_images")),
        accuracy=wilson(correct, total),
        correct=correct,
        total=total,
        loss=mean_loss(data.predictions),
        only_wrong=only_wrong,
        parameters=_int(metrics.get("parameters")),
        train_rate=_rate(metrics.get("train_images_per_second")),
        forward_rate=_rate(metrics.get("forward_images_per_second")),
        device=str(record.environment.get("device", "")),
        checkpoint=record.artefacts.get(CHECKPOINT, ""),
        curve=read_curve(data.folder),
        per_class=class_rows(confusion, classes_of(record)),
        confusion=confusion,
        averages=read_averages(metrics, total),
        calibration=bins,
        calibration_error=calibration_error(bins),
    )


def classes_of(record: RunRecord) -> tuple[str, ...]:
    """The class names of a run."""
    names = record.data.get("classes", ())
    return tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()


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
    for line in read_lines(folder / LOG):
        with suppress(ValidationError):
            points.append(kind.validate_python(line))
    return tuple(point for point in points if all(math.isfinite(each or 0) for each in vars(point).values()))


def _int(value: object) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def _rate(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else None


# --- cells --------------------------------------------------------------------------------------------------


def cell_view(run: int, data: RunData, cell: Cell, wanted: Set[tuple[int, int]]) -> CellView:
    """One cell as the matrix shows it; `wanted` are the (test id, class) pairs that it should hold."""
    rate = data.rates.get((cell.timing, cell.explainer, cell.layer))
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
        ms_per_image=1000 / rate[0] if rate else None,
        layers_per_call=rate[1] if rate else 1,
        targets_per_call=rate[2] if rate else 1,
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
