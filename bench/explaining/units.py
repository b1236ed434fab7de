"""Units of work about one run, for what scores ask of its model, and who has them done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, TypeVar

from bench.contracts import Dataset, Engine, ExplainerSpec, Files, Need
from bench.data.packed import packed
from bench.engines.driving import GivenUp, Workers, answers, refuse_given_up
from bench.explaining.batches import at_once
from bench.explaining.on_workers import files_of_run, images, opened, spec_of
from bench.machine import describe_device
from bench.nets.trained import Trained
from bench.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class OfRun:
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
    def label(self) -> str:
        """What it asks, in words."""
        raise NotImplementedError

    @property
    def needs(self) -> tuple[Need, ...]:
        """The run and its test images."""
        return (*self.run, self.data)

    def work(self, files: Files) -> tuple[str, Any]:
        """On which device it was computed, and the answer."""
        trained = opened(files.folder(self.run), self.run, self.device, files.cache)
        return describe_device(trained.device), self.found(trained, images(files.path(self.data)), files)

    def found(self, trained: Trained, data: Dataset, files: Files) -> Any:  # noqa: ANN401 (each kind has its own)
        """The answer."""
        raise NotImplementedError


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
