"""Rows of cells as units of work: whole batches, so that every batch is the one that a single process would form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from bench.clock import Meter, Pace
from bench.contracts import Dataset, Files, Integers, Silence
from bench.engines.driving import GivenUp, Workers, answers
from bench.explaining.batches import at_once, named
from bench.explaining.making import Explaining
from bench.explaining.plan import MissingRows, Wanted, plan, rate_of
from bench.explaining.units import Hands, OfRun, hands_for, spec_of
from bench.memory import Room
from bench.modes import evaluating
from bench.nets.trained import Trained
from bench.schema.run import Cell
from bench.workspace import Workspace

SECONDS = 10.0  # of a unit, about: far more than it costs to hand one out, and little to lose with a worker
Made = tuple[tuple[Cell, ...], ...]  # for each batch a cell for each layer


@dataclass(frozen=True, kw_only=True)
class Rows(OfRun):
    """Rows of an explainer at layers of a run: the unit of explaining.

    Attributes:
        revision: the explainer's.
        ids: (N,) test ids, whole batches but for the last.
        targets: (N, T) classes.
    """

    explainer: str
    revision: int
    layers: tuple[str, ...]
    ids: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...]

    @property
    def label(self) -> str:
        """Which rows these are."""
        what = named(self.explainer, self.layers)
        return f"{what} of run {self.name}, {len(self.ids)} images from id {self.ids[0]}"

    def found(self, trained: Trained, data: Dataset, files: Files) -> Made:
        """The rows, for each batch a cell for each layer."""
        spec = spec_of(Workspace(cache=files.cache), self.explainer, self.revision)
        missing = MissingRows(self.explainer, spec, self.layers, np.array(self.ids), np.array(self.targets))
        making = Explaining(trained, data, "", Room(Silence()))
        with evaluating(trained.model):
            return tuple(tuple(cells) for _, cells in making.rows(missing, Meter(trained.device)))


# --- the driver's side --------------------------------------------------------------------------------------


@dataclass
class Driven:
    """What came of all units.

    Attributes:
        computed: rows by explainer and layer.
        failed: cells of which a unit was given up, and which.
    """

    computed: dict[tuple[str, str], int] = field(default_factory=dict)
    failed: dict[tuple[str, str], GivenUp[Rows]] = field(default_factory=dict)
    given_up: list[GivenUp[Rows]] = field(default_factory=list)
    units: int = 0


def made_by(
    on: Workers, trained: Trained, data: Dataset, wanted: Wanted, *, ids: Integers, workspace: Workspace
) -> Driven:
    """Have the rows that are missing made by workers, and save them as they come."""
    jobs = plan(trained, wanted, ids)
    driven, pace = Driven(), Pace()
    hands = hands_for(on, trained, data, workspace) if jobs else None
    if hands is None:
        return driven
    units = list(units_of(jobs, trained, hands))
    driven.units = len(units)
    parts: dict[tuple[str, ...], list[list[Cell]]] = {}
    label = f"{trained.record.name}: units"
    try:
        for unit, answer in answers(hands.engine, units, label=label, progress=workspace.progress):
            if isinstance(answer, GivenUp):
                driven.given_up.append(answer)
                driven.failed |= {(unit.explainer, layer): answer for layer in unit.layers}
                continue
            _, made = answer
            parts.setdefault((unit.explainer, *unit.layers), []).extend(map(list, made))
            for layer in unit.layers:
                key = unit.explainer, layer
                driven.computed[key] = driven.computed.get(key, 0) + np.array(unit.targets).size
            if pace.due():
                with pace.saving():
                    _save(trained, parts)
    finally:
        _save(trained, parts)
    return driven


def _save(trained: Trained, parts: dict[tuple[str, ...], list[list[Cell]]]) -> None:
    for batches in parts.values():
        for of_layer in zip(*batches, strict=True):
            trained.run.add_rows(*of_layer)
    parts.clear()


def units_of(jobs: Sequence[MissingRows], trained: Trained, hands: Hands) -> Iterator[Rows]:
    """The units of missing rows: whole batches, of some seconds each, and no fewer than there are workers."""
    each = sum(len(job.ids) for job in jobs) / max(1, hands.engine.workers)
    for job in jobs:
        batch = at_once(job.spec)
        affordable = SECONDS * rate_of(trained) * len(job.ids) / job.passes
        size = batch * max(1, ceil(min(affordable, each) / batch))
        for start in range(0, len(job.ids), size):
            part = job.part(slice(start, start + size))
            yield Rows(
                **hands.common,
                explainer=job.name,
                revision=job.spec.revision,
                layers=tuple(map(str, job.layers)),
                ids=tuple(part.ids.tolist()),
                targets=tuple(map(tuple, part.targets.tolist())),
            )
