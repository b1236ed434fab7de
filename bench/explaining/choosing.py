"""Which images and which classes are explained: one fixed order, so that selections nest and coincide."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench.data.classorder import size_of
from bench.errors import UsageError
from bench.plugins.grids import default_layers, shapes_of, why_no_grid
from bench.registry import did_you_mean

if TYPE_CHECKING:
    from bench.contracts import ExplainerSpec, Integers
    from bench.nets.trained import Predictions, Trained

TARGETS = ("predicted", "true", "both")
WHICH = ("wrong", "all")
ALL = "all"  # explainers, layers
DEFAULT_LAYERS = 2  # the last ones that a model names
INPUT_LAYER = "input"
LONG = 15 * 60  # seconds: beyond, a CPU explains LONG_LIMIT images unless told otherwise
LONG_LIMIT = 500


@dataclass(frozen=True)
class Wanted:
    """Which maps of an image are wanted.

    Attributes:
        specs: explainers by the name the user gave.
        layers: dotted module names.
        target: the class they speak for: `predicted`, `true` or `both`.
        ceilings: of the explainers that `all` brought in, by the name of their spec: the most that a cell of theirs
            may cost, in forward passes an image and target. One of them that fails is told of and left out.
    """

    specs: Mapping[str, ExplainerSpec]
    layers: tuple[str, ...]
    target: str = "both"
    ceilings: Mapping[str, float] = field(default_factory=dict)


def fixed_order(labels: Integers) -> Integers:
    """All test ids in the one order that every run and every limit uses, balanced by true class.

    Within a class ids are ordered by a hash; then classes take turns. So the first N of any selection nest in
    the first M of it, and coincide between runs on the same test split.
    """

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"bench:{index}".encode()).digest()

    by_class = [sorted(np.flatnonzero(labels == each).tolist(), key=rank) for each in np.unique(labels)]
    turns = ((turn, place) for place, members in enumerate(by_class) for turn in range(len(members)))
    return np.array([by_class[place][turn] for turn, place in sorted(turns)], dtype=np.int64)


def choose_ids(predictions: Predictions, which: str, limit: int | None) -> Integers:
    """The first `limit` test ids, wrong ones or all, of the fixed order."""
    order = fixed_order(predictions.labels)
    if which == "wrong":
        order = order[np.isin(order, predictions.wrong)]
    return cut(order, limit)


def cut(ids: Integers, limit: int | None) -> Integers:
    """The first `limit` ids, all for None; UsageError for a limit below 1."""
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}, must be 1 or more", try_="--limit 300, or --limit all")
    return ids[:limit]


def check_ids(ids: Sequence[int], total: int) -> Integers:
    """Ids a user asked for; UsageError names the first that is not in the test split."""
    for each in ids:
        if not 0 <= each < total:
            raise UsageError(f"no test image {each}", try_=f"ids from 0 to {total - 1}")
    return np.array(sorted(set(ids)), dtype=np.int64)


def choose_layers(named: str | Sequence[str] | None, runs: Sequence[Trained]) -> tuple[str, ...]:
    """The layers a user named; `all` is every one that all models name, and None the last two of the first model."""
    if not named:
        return runs[0].spec.layers[-DEFAULT_LAYERS:]
    names = (named,) if isinstance(named, str) else tuple(named)
    common = [layer for layer in runs[0].spec.layers if all(layer in trained.spec.layers for trained in runs)]
    return tuple(dict.fromkeys(layer for name in names for layer in (common if name == ALL else [name])))


def check_layers(trained: Trained, layers: Sequence[str]) -> None:
    """UsageError for the first layer that the model does not have or that has no grid, and for none at all."""
    if not layers:
        raise UsageError("no layer named", try_="--layer layer4")
    known = [name for name, _ in trained.model.named_modules() if name]
    for layer in layers:
        if layer not in known and layer != INPUT_LAYER:
            raise UsageError(
                f"'{layer}' is not a layer of {trained.record.model}{did_you_mean(layer, known)}",
                try_=f"bench list layers --model {trained.record.model}",
            )
    shapes, _ = shapes_of(trained.model, size_of(trained.record))
    for layer in layers:
        shape = shapes.get(layer, ())
        if layer != INPUT_LAYER and (len(shape) != 3 or max(shape[1:]) == 1):
            others = ", ".join(default_layers(shapes, size_of(trained.record))) or "none at all"
            raise UsageError(
                f"{why_no_grid(layer, shape)}; layers of {trained.record.model} with a grid: {others}",
                try_=f"bench list layers --model {trained.record.model}",
            )


def wanted_targets(predictions: Predictions, ids: Integers, target: str) -> Integers:
    """(N, T) classes whose maps are wanted: predicted, true, or both in this order."""
    predicted, true = predictions.predicted[ids], predictions.labels[ids]
    columns = {"predicted": (predicted,), "true": (true,), "both": (predicted, true)}[target]
    return np.stack(columns, axis=1).astype(np.int64)
