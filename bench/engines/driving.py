"""Units of work over an engine: opened by what the user named, each unit tried three times, all with one bar."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bench.contracts import Broken, Done, Engine, EngineSettings, Progress, Unit
from bench.errors import RunError, UsageError
from bench.estimates import duration
from bench.machine import versions
from bench.request import OnEngine
from bench.workspace import Workspace

Kind = TypeVar("Kind", bound=Unit)

TRIES = 3  # of a unit, before it is given up


@dataclass(frozen=True)
class GivenUp(Generic[Kind]):
    """A unit that failed each time.

    Attributes:
        why: the last line of its last error.
    """

    unit: Kind
    why: str

    @property
    def line(self) -> str:
        """In words."""
        return f"{self.unit.label}: {self.why}"


@dataclass(frozen=True)
class Workers:
    """Who does the units of a call.

    Attributes:
        engine: where they run; None for this process, which needs no units.
        device: on what each worker computes, as users name it.
    """

    engine: Engine | None = None
    device: str = "auto"


HERE = Workers()


@contextmanager
def workers_for(request: OnEngine, workspace: Workspace) -> Iterator[Workers]:
    """The workers that a request asks for, ready.

    Raises:
        UsageError: no such engine, or an address or option that it does not take.
        MissingError: it cannot be loaded or reached.
    """
    if not request.shared:
        yield HERE
        return
    name, _, address = request.on.partition(":")
    spec, given = workspace.engines[name], options_of(request.slurm)
    settings = EngineSettings(address, given, request.device, workspace.cache, versions(), workspace.progress)
    with spec.open(settings) as engine:
        yield Workers(engine, request.device)


def options_of(words: str | None) -> dict[str, str]:
    """Options by name, from `gpus=1,time=2h`."""
    pairs = [each.partition("=") for each in (words or "").split(",") if each.strip()]
    for name, equals, value in pairs:
        if not (name.strip() and equals and value.strip()):
            raise UsageError(f"'{words}' is not a list of NAME=VALUE", try_="--slurm gpus=1,time=2h")
    return {name.strip(): value.strip() for name, _, value in pairs}


def refuse_options(settings: EngineSettings, engine: str) -> None:
    """UsageError where options were given to an engine that takes none."""
    if settings.options:
        named = ",".join(f"{name}={value}" for name, value in settings.options.items())
        raise UsageError(f"--slurm {named} is for --on slurm, not for {engine}", try_="--on slurm:PARTITION")


def answers(
    engine: Engine, units: Sequence[Kind], *, label: str, progress: Progress
) -> Iterator[tuple[Kind, Any | GivenUp[Kind]]]:
    """Each unit with its answer as it ends; those that fail are tried again when the others have ended.

    The last time they are tried one by one, so that one that kills its worker does so alone.
    """
    waiting = [(unit, 0) for unit in units]
    started, done = time.monotonic(), 0
    with progress.track(label, len(units)) as task:
        while waiting:
            again: list[tuple[Kind, int]] = []
            last = [each for each in waiting if each[1] >= TRIES - 1]
            groups = [[each] for each in last] + [[each for each in waiting if each not in last]]
            for group in filter(None, groups):
                for place, outcome in engine.attempt([unit for unit, _ in group]):
                    unit, tries = group[place]
                    if isinstance(outcome, Broken) and tries + outcome.tries < TRIES:
                        again.append((unit, tries + outcome.tries))
                        continue
                    done += 1
                    task.advance(1, pace(done, len(units), time.monotonic() - started))
                    yield unit, outcome.answer if isinstance(outcome, Done) else GivenUp(unit, outcome.why)
            waiting = again


def pace(done: int, count: int, seconds: float) -> str:
    """How fast units end, and how long the rest takes at that."""
    rate = done / seconds if seconds > 0 else 0.0
    rest = f", {duration((count - done) / rate)} left" if rate and done < count else ""
    return f"{rate:.1f} units/s{rest}" if rate >= 0.1 else f"{rate * 60:.1f} units/min{rest}"


def refuse_given_up(failed: Sequence[GivenUp[Any]], count: int, again: str) -> None:
    """RunError that names the units that failed.

    Args:
        count: of all units.
        again: the command that computes what is missing.
    """
    if failed:
        words = "; ".join(each.line for each in failed[:5])
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        advice = (
            f"{again}  # computes only what is missing" if again else "the same again, which computes what is missing"
        )
        raise RunError(f"{len(failed)} of {count} units of work failed {TRIES} times: {words}{more}", try_=advice)
