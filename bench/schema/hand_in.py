"""Everything that a folder to hand in shows, as plain values: what bench.reports writes into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.schema.page import Page
from bench.schema.run import DataFacts


@dataclass(frozen=True)
class ModelFacts:
    """The table of a model's layers.

    Attributes:
        kind: class name of the model.
        input_shape: of one image.
        heads: of the table's columns.
        rows: module, kind, shape of the output, parameters.
        totals: lines below the table.
    """

    kind: str
    input_shape: tuple[int, ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    totals: tuple[str, ...]


@dataclass(frozen=True)
class DataPictures:
    """Pictures of the training images, (h, w, 3) uint8.

    Attributes:
        by_class: some of each class, by its name.
        pairs: class, image, and what the model sees of it.
        augmentation: in words.
    """

    by_class: tuple[tuple[str, tuple[Any, ...]], ...]
    pairs: tuple[tuple[str, Any, Any], ...]
    augmentation: str


@dataclass(frozen=True)
class MapsShown:
    """Pictures with maps: places in the page's gallery, and (cell, role) of each of their maps."""

    places: tuple[int, ...] = ()
    maps: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Missing:
    """What a folder lacks: why in words, and what to type for it."""

    words: str
    command: str


@dataclass(frozen=True)
class HandIn:
    """What is handed in of a run.

    Attributes:
        page: the run's.
        command: that made the run; `again` the one that makes the folder.
        training: what it was trained with, in sentences; empty for weights from elsewhere.
        settings: every value that was asked for, by name.
        facts: of its data.
        model, pictures: None where they could not be had; `missing` says why.
        errors: misclassified pictures with the maps of one explainer, the deepest layer first.
        explainers: some of them with several explainers' maps at one layer.
        missing: by what is lacking: `model`, `pictures`, `maps`, `explainers`, `rate`.
    """

    page: Page
    command: str
    again: str
    training: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    facts: DataFacts
    model: ModelFacts | None
    pictures: DataPictures | None
    errors: MapsShown
    explainers: MapsShown
    missing: Mapping[str, Missing]
