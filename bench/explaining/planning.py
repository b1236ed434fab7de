"""What has to be computed: the rows that are wanted less the rows that are there."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts import Cell
from bench.errors import StoreError
from bench.explaining.cells import CELL_SCHEMA, cell_path, read_cell, row_keys, same_cell
from bench.explaining.choosing import INPUT_LAYER, Wanted, wanted_targets
from bench.machine import describe_device, versions
from bench.nets.trained import read_predictions

if TYPE_CHECKING:
    from bench.contracts import ExplainerSpec, Integers
    from bench.nets.trained import Trained


@dataclass(frozen=True)
class Job:
    """One explainer at the layers that lack rows of the same images, so that one call serves them all.

    Attributes:
        ids: (N,) test ids.
        targets: (N, T) classes.
    """

    name: str
    spec: ExplainerSpec
    layers: tuple[str, ...]
    ids: Integers
    targets: Integers

    @property
    def passes(self) -> float:
        """What it costs in forward passes: the explainer's at its dearest layer, and one for the logits."""
        dearest = max(self.spec.cost(layer) for layer in self.layers)
        return len(self.ids) * (dearest * self.targets.shape[1] + 1)


def plan(trained: Trained, wanted: Wanted, ids: Integers) -> list[Job]:
    """What has to be computed so that every wanted row of `ids` is there."""
    targets = wanted_targets(read_predictions(trained.folder), ids, wanted.target)
    return [job for name, spec in wanted.specs.items() for job in _jobs(trained, name, spec, wanted, ids, targets)]


def _jobs(
    trained: Trained, name: str, spec: ExplainerSpec, wanted: Wanted, ids: Integers, targets: Integers
) -> list[Job]:
    groups: dict[tuple[bytes, str], list[str]] = {}
    for grid in grids_of(spec, wanted):
        there = row_keys(usable_cell(trained, name, spec, grid))
        pairs = zip(ids.tolist(), targets.tolist(), strict=True)
        lacking = [any((each, one) not in there for one in row) for each, row in pairs]
        if any(lacking):
            groups.setdefault((bytes(lacking), "" if spec.joint else grid), []).append(grid)
    masks = {key: np.frombuffer(key[0], dtype=bool) for key in groups}
    return [Job(name, spec, tuple(members), ids[masks[key]], targets[masks[key]]) for key, members in groups.items()]


def grids_of(spec: ExplainerSpec, wanted: Wanted) -> tuple[str, ...]:
    """The layers an explainer answers for, but those that are too dear for what `all` brought in."""
    ceiling = wanted.ceilings.get(spec.name, inf)
    return tuple(grid for grid in possible_grids(spec, wanted) if spec.cost(grid) <= ceiling)


def possible_grids(spec: ExplainerSpec, wanted: Wanted) -> tuple[str, ...]:
    """The layers an explainer could answer for; an input method has but one, which no other explainer has."""
    if spec.output == "input":
        return (INPUT_LAYER,)
    return tuple(layer for layer in wanted.layers if layer != INPUT_LAYER or spec.name not in wanted.ceilings)


def usable_cell(trained: Trained, name: str, spec: ExplainerSpec, layer: str) -> Cell | None:
    """The cell on disk, when its rows may stand beside new ones; one that cannot be read counts as absent."""
    path = cell_path(trained.folder, name, layer)
    if not path.exists():
        return None
    try:
        cell = read_cell(path)
    except StoreError:
        return None
    return cell if same_cell(cell, empty_cell(trained, name, spec, layer)) else None


def empty_cell(trained: Trained, name: str, spec: ExplainerSpec, layer: str, timing: str = "") -> Cell:
    """A cell with its key and no rows."""
    nothing = np.zeros(0, dtype=np.int64)
    device = next(trained.model.parameters()).device
    return Cell(
        schema=CELL_SCHEMA,
        checkpoint=trained.checkpoint,
        explainer=name,
        revision=spec.revision,
        layer=layer,
        versions=versions(("torch", spec.backend)),
        device=describe_device(device),
        dtype="float32",
        timing=timing,
        ids=nothing,
        classes=nothing,
        raw=np.zeros((0, 1, 1), dtype=np.float32),
        logits=np.zeros((0, len(trained.classes)), dtype=np.float32),
        status=nothing.astype(np.uint8),
        output=spec.output,
        steps=spec.steps,
    )
