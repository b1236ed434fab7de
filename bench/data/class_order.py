"""A run's own view of its data: the size of its pictures, and its classes in the order in which it answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.errors import DataError

if TYPE_CHECKING:
    from bench.contracts import Dataset


def in_class_order(data: Dataset, classes: Sequence[str]) -> Dataset:
    """The data set with its classes in the order in which a model answers, which may know more of them.

    Its images, its digest and its names stay.

    Raises:
        DataError: a class of the data set is none of the model's; names it.
    """
    if tuple(classes) == data.classes:
        return data
    import torch

    number = {name: index for index, name in enumerate(classes)}
    unknown = [name for name in data.classes if name not in number]
    if unknown:
        raise DataError(
            f"class {unknown[0]!r} of {data.source} is none of the model's {len(number)} "
            f"({len(unknown)} of {len(data.classes)} classes are not)",
            try_=f"--classes with the names of the model's outputs in their order, such as {','.join(data.classes)}",
        )
    places = torch.tensor([number[name] for name in data.classes], dtype=torch.int64)
    train, test = (replace(split, labels=places[split.labels]) for split in (data.train, data.test))
    return replace(data, classes=tuple(classes), train=train, test=test)


def files_of(data: Dataset) -> str:
    """sha256 of the test images' names and classes: the same whatever size they were brought to."""
    named = [data.classes[label] for label in data.test.labels.tolist()]
    return hashlib.sha256(json.dumps([data.test.names, named]).encode()).hexdigest()
