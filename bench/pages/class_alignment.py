"""Runs that differ in classes, in picture size or in layers, brought to what they share; what is not shared is said."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.contracts import Floats, Integers
from bench.errors import DataError
from bench.schema.run import Cell, RunRecord
from bench.store.folder import RunFolder
from bench.store.on_disk import joined
from bench.store.predictions import Predictions

Classes = tuple[str, ...]


def check_comparable(runs: Sequence[RunFolder]) -> None:
    """The runs were tested on the same images with the same labels; DataError names the first that was not.

    The images may have been brought to different sizes, and the classes may be numbered differently.
    """
    first = runs[0]
    for other in runs[1:]:
        if not same_images(first.record, other.record):
            raise DataError(
                f"runs '{first.record.name}' and '{other.record.name}' were made on different data "
                f"({first.record.data.name} and {other.record.data.name})",
                try_="bench list runs  # those of one data set can be compared",
            )
        if not np.array_equal(_named_labels(first), _named_labels(other)):
            raise DataError(f"the test labels of '{first.record.name}' and '{other.record.name}' differ")


def same_images(first: RunRecord, second: RunRecord) -> bool:
    """Whether two runs were tested on the same image files: of one size, or of one name, order and class each."""
    pairs = ((first.data.digest, second.data.digest), (first.data.files, second.data.files))
    return any(one and one == other for one, other in pairs)


def _named_labels(data: RunFolder) -> np.ndarray[tuple[int, ...], np.dtype[np.str_]]:
    """(N,) the name of each test image's class; its number where the run does not know the names."""
    classes = data.record.data.classes
    known = len(classes) == data.predictions.logits.shape[1]
    return np.array(classes if known else [str(k) for k in range(data.predictions.logits.shape[1])])[
        data.predictions.labels
    ]


def aligned(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """The runs with one list of classes: the first run's, then those that only others know.

    A class that a run does not know gets the logit of what it never answers, minus infinity. Runs whose classes are
    the same come back as they are.
    """
    classes = [data.record.data.classes for data in runs]
    if all(each == classes[0] for each in classes):
        return list(runs)
    union = tuple(dict.fromkeys(name for each in classes for name in each))
    return [_renumbered(data, own, union) for data, own in zip(runs, classes, strict=True)]


def _renumbered(data: RunFolder, own: Classes, union: Classes) -> RunFolder:
    place = np.array([union.index(name) for name in own], dtype=np.int64)

    def spread(logits: Floats) -> Floats:
        wide = np.full((len(logits), len(union)), -np.inf, dtype=logits.dtype)
        wide[:, place] = logits
        return wide

    def cell(one: Cell) -> Cell:
        order = np.lexsort((place[one.classes], one.ids))
        rows: dict[str, Any] = {"ids": one.ids[order], "status": one.status[order], "raw": joined([one.raw], order)}
        return replace(one, classes=place[one.classes][order], **rows)

    samples, predictions = data.samples, data.predictions
    labels: Integers = place[predictions.labels]
    return data.seen_as(
        record=replace(data.record, data=replace(data.record.data, classes=tuple(union))),
        predictions=Predictions(predictions.ids, labels, spread(predictions.logits)),
        cells=tuple(cell(one) for one in data.cells),
        samples=samples and replace(samples, labels=place[samples.labels]),
    )


def not_shared(runs: Sequence[RunFolder]) -> tuple[str, ...]:
    """What a reader must know of runs that differ in classes, picture size or layers; of the runs as they were read."""
    words = []
    classes = [data.record.data.classes for data in runs]
    shared = set(classes[0]).intersection(*classes)
    if any(set(each) != shared for each in classes):
        counts = " and ".join(str(len(each)) for each in classes)
        words.append(f"{len(shared)} classes shared by models of {counts}: an answer outside them counts as wrong")
    elif any(each != classes[0] for each in classes):
        words.append("the models number the classes differently: matched by name")
    sizes = [data.record.size for data in runs]
    if len(set(sizes)) > 1:
        words.append(f"pictures of {' and '.join(str(each) for each in sizes)} pixels an edge")
    layers = [tuple(dict.fromkeys(cell.layer for cell in data.cells)) for data in runs]
    if any(set(each) != set(layers[0]) for each in layers):
        words.append(f"each model's own layers: {' · '.join(', '.join(each) or 'none' for each in layers)}")
    return tuple(words)
