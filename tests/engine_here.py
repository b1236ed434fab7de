"""An engine that hands units to this very process, for tests of what units and their driver do: no process starts."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.contracts import Broken, Engine, EngineSettings, EngineSpec, Outcome, Unit
from bench.engines.worker import perform
from bench.machine import versions
from bench.workspace import Workspace


@dataclass
class Here:
    """Works on units one by one, the last first, each pickled on its way there and back.

    Attributes:
        cache: of the worker.
        lose: how often each unit's worker is lost at first.
        hopeless: units whose label holds these words lose their worker each time.
        asked: the labels of all units that were worked on.
    """

    cache: Path
    lose: int = 0
    hopeless: str = ""
    threads: int = field(default_factory=torch.get_num_threads)
    workers: int = 2
    asked: list[str] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)

    def attempt(self, units: Sequence[Unit]) -> Iterator[tuple[int, Outcome]]:
        for place, unit in reversed(list(enumerate(units))):
            lost = self.hopeless and self.hopeless in unit.label
            if lost or self.lost.setdefault(unit.label, 0) < self.lose:
                self.lost[unit.label] = self.lost.get(unit.label, 0) + 1
                yield place, Broken("its worker was lost")
                continue
            self.asked.append(unit.label)
            yield place, pickle.loads(pickle.dumps(perform(pickle.loads(pickle.dumps(unit)), self.cache, versions())))

    @contextmanager
    def opened(self, settings: EngineSettings) -> Iterator[Engine]:
        yield self


def with_engine(workspace: Workspace, engine: Here) -> Workspace:
    """A workspace in which `--on here` means this engine."""
    known: Mapping[str, EngineSpec] = {"here": EngineSpec("here", engine.opened, "tests", "here")}
    object.__setattr__(workspace, "engines", {**{name: workspace.engines[name] for name in ("local",)}, **known})
    return workspace
