"""Units of work about one run, and who has them done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from bench.contracts import Dataset, Engine, ExplainerSpec, Files, Need
from bench.data.packed import packed, unpacked
from bench.engines.driving import GivenUp, Workers, answers, refuse_given_up
from bench.errors import ContractError
from bench.explaining.batches import at_once
from bench.machine import describe_device
from bench.nets.trained import Trained, open_run
from bench.store.files import sha256
from bench.store.folder import RunFolder
from bench.store.paths import PREDICTIONS, checkpoint_path, file_path, record_path
from bench.workspace import Workspace

# --- on a worker --------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, kw_only=True)
class OfRun(ABC):
    """A unit that asks something of a run's model.

    Attributes:
        run: the files of the run.
        data: its test images.
    """

    run: tuple[Need, ...]
    data: Need
    threads: int
    device: str

    @property
    def name(self) -> str:
        """The run's."""
        return self.run[0].path.parent.name

    @property
    @abstractmethod
    def label(self) -> str:
        """What it asks, in words."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """The run and its test images."""
        return (*self.run, self.data)

    def work(self, files: Files) -> tuple[str, Any]:
        """On which device it was computed, and the answer."""
        trained = opened(files.folder(self.run), self.run, self.device, files.cache)
        return describe_device(trained.device), self.found(trained, images(files.path(self.data)), files)

    @abstractmethod
    def found(self, trained: Trained, data: Dataset, files: Files) -> Any:  # noqa: ANN401 (each kind has its own)
        """The answer."""


@dataclass(frozen=True, kw_only=True)
class OfExplainer(OfRun):
    """A unit that asks an explainer about some images.

    Attributes:
        revision: the explainer's.
        ids: (N,) test ids.
        predicted: (N,) the class that the maps are of.
    """

    explainer: str
    revision: int
    layers: tuple[str, ...]
    ids: tuple[int, ...]
    predicted: tuple[int, ...]

    def spec(self, files: Files) -> ExplainerSpec:
        """The explainer, on a worker."""
        return spec_of(Workspace(cache=files.cache), self.explainer, self.revision)


# --- the driver's side --------------------------------------------------------------------------------------


Kind = TypeVar("Kind", bound=OfRun)


@dataclass
class Hands:
    """Workers that are asked about one run.

    Attributes:
        common: what every unit is made with.
        device: on which units were computed; empty before any.
    """

    engine: Engine
    common: dict[str, Any]
    workspace: Workspace
    device: str = field(default="", init=False)

    def answers(self, units: Sequence[Kind], label: str) -> Iterator[tuple[Kind, Any]]:
        """The answer to each unit, as it comes; at the end RunError where some failed each time."""
        failed: list[GivenUp[Any]] = []
        for unit, answer in answers(self.engine, units, label=label, progress=self.workspace.progress):
            if isinstance(answer, GivenUp):
                failed.append(answer)
            else:
                self.device, found = answer
                yield unit, found
        refuse_given_up(failed, len(units), self.workspace.command)


def hands_for(on: Workers, trained: Trained, data: Dataset, workspace: Workspace) -> Hands | None:
    """Who is asked about a run; None for this process, which needs no units."""
    if on.engine is None:
        return None
    common = {
        "run": files_of_run(trained),
        "data": packed(data, workspace.cache, ("test",)),
        "threads": on.engine.threads,
        "device": on.device,
    }
    return Hands(on.engine, common, workspace)


def layers_apart(spec: ExplainerSpec, layers: Sequence[str]) -> list[tuple[str, ...]]:
    """The layers that an explainer is asked for together: each alone where that costs no more and gives the same."""
    # What is drawn for one layer hangs on what was drawn for those before it.
    return [tuple(layers)] if spec.joint or spec.stochastic else [(layer,) for layer in layers]


def slices(count: int, spec: ExplainerSpec, workers: int) -> list[slice]:
    """Which of `count` images go into each unit: whole batches of the explainer, about one unit for each worker."""
    batch = at_once(spec)
    size = batch * max(1, ceil(count / batch / max(1, workers)))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
