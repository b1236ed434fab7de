"""Rows of cells as units of work: whole batches, so that every batch is the one that a single process would form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from pathlib import Path

import numpy as np

from bench.clock import Meter, Pace
from bench.contracts import Dataset, Engine, ExplainerSpec, Files, Integers, Need, Silence
from bench.data.packed import packed, unpacked
from bench.engines.driving import GivenUp, Workers, answers
from bench.errors import ContractError
from bench.explaining.batches import at_once, named
from bench.explaining.making import Explaining
from bench.explaining.plan import MissingRows, Wanted, plan, rate_of
from bench.memory import Room
from bench.modes import evaluating
from bench.nets.trained import Trained, open_run
from bench.schema.run import Cell
from bench.store.files import sha256
from bench.store.folder import RunFolder
from bench.store.paths import PREDICTIONS, checkpoint_path, file_path, record_path
from bench.workspace import Workspace

SECONDS = 10.0  # of a unit, about: far more than it costs to hand one out, and little to lose with a worker
Made = tuple[tuple[Cell, ...], ...]  # for each batch a cell for each layer


@dataclass(frozen=True)
class Rows:
    """Rows of an explainer at layers of a run: the unit of explaining.

    Attributes:
        run: the files of the run.
        data: its test images.
        revision: the explainer's.
        ids: (N,) test ids, whole batches but for the last.
        targets: (N, T) classes.
    """

    run: tuple[Need, ...]
    data: Need
    explainer: str
    revision: int
    layers: tuple[str, ...]
    ids: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...]
    threads: int
    device: str

    @property
    def label(self) -> str:
        """Which rows these are."""
        run = self.run[0].path.parent.name
        return f"{named(self.explainer, self.layers)} of run {run}, {len(self.ids)} images from id {self.ids[0]}"

    @property
    def needs(self) -> tuple[Need, ...]:
        """The run and its test images."""
        return (*self.run, self.data)

    def work(self, files: Files) -> Made:
        """The rows, for each batch a cell for each layer."""
        workspace = Workspace(cache=files.cache)
        trained = opened(files.folder(self.run), self.run, self.device, files.cache)
        spec = spec_of(workspace, self.explainer, self.revision)
        missing = MissingRows(self.explainer, spec, self.layers, np.array(self.ids), np.array(self.targets))
        making = Explaining(trained, images(files.path(self.data)), "", Room(Silence()))
        with evaluating(trained.model):
            return tuple(tuple(cells) for _, cells in making.rows(missing, Meter(trained.device)))


@lru_cache(maxsize=2)
def opened(folder: Path, needs: tuple[Need, ...], device: str, cache: Path) -> Trained:
    """A run on a worker, once for many units.

    Args:
        needs: what is in the folder: with other files it is another run.
    """
    return open_run(RunFolder(folder), device, Workspace(cache=cache))


@lru_cache(maxsize=2)
def images(path: Path) -> Dataset:
    """A data set on a worker, once for many units."""
    return unpacked(path)


def spec_of(workspace: Workspace, name: str, revision: int) -> ExplainerSpec:
    """An explainer on a worker; ContractError where it is of another revision than the driver's."""
    spec = workspace.explainers[name]
    if spec.revision != revision:
        raise ContractError(f"the worker has '{name}' in revision {spec.revision}, the driver in {revision}")
    return spec


def files_of_run(trained: Trained) -> tuple[Need, ...]:
    """What a worker needs of a run."""
    paths = (record_path(trained.folder), checkpoint_path(trained.folder), file_path(trained.folder, PREDICTIONS))
    return tuple(Need(sha256(path), path.resolve()) for path in paths)


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
    if not jobs or on.engine is None:
        return driven
    test = packed(data, workspace.cache, ("test",))
    units = list(units_of(jobs, trained, test, engine=on.engine, device=on.device))
    driven.units = len(units)
    parts: dict[tuple[str, ...], list[list[Cell]]] = {}
    label = f"{trained.record.name}: units"
    try:
        for unit, made in answers(on.engine, units, label=label, progress=workspace.progress):
            if isinstance(made, GivenUp):
                driven.given_up.append(made)
                driven.failed |= {(unit.explainer, layer): made for layer in unit.layers}
                continue
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


def units_of(
    jobs: Sequence[MissingRows], trained: Trained, test: Need, *, engine: Engine, device: str
) -> Iterator[Rows]:
    """The units of missing rows: whole batches, of some seconds each, and no fewer than there are workers."""
    run = files_of_run(trained)
    each = sum(len(job.ids) for job in jobs) / max(1, engine.workers)
    for job in jobs:
        batch = at_once(job.spec)
        affordable = SECONDS * rate_of(trained) * len(job.ids) / job.passes
        size = batch * max(1, ceil(min(affordable, each) / batch))
        for start in range(0, len(job.ids), size):
            part = job.part(slice(start, start + size))
            yield Rows(
                run,
                test,
                job.name,
                job.spec.revision,
                tuple(map(str, job.layers)),
                tuple(part.ids.tolist()),
                tuple(map(tuple, part.targets.tolist())),
                engine.threads,
                device,
            )
