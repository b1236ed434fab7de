"""`dask:ADDRESS`: the workers of a Dask scheduler. No disk is shared: the files of a unit are sent to them, once."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.contracts import Broken, Engine, EngineSettings, EngineSpec, Need, Outcome, Progress, Unit
from bench.engines.driving import TRIES, refuse_options
from bench.engines.worker import LOST, Part, WorkerFiles, differences, keep, own_cache, perform
from bench.errors import BenchError, MissingError, RunError, UsageError, in_one_line
from bench.machine import host
from bench.whole_file import opened

REACH = 10  # seconds in which a scheduler answers, and has a worker
LOOK = 5  # seconds after which it is asked whether any worker is left
AHEAD = 2  # units for each worker: one that it works on and one that waits, so that little is to be cancelled
PART = 16 * 2**20  # bytes of a file in one message
START_WORKER = "dask worker {} --nthreads 1"
INSTALL = "pip install 'cambench[dask]'"
ALIKE = "bench doctor  # on each machine; install the same versions everywhere"


# --- on a worker --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """What a worker is able to do.

    Attributes:
        worker: its address; empty where the driver asked it by its address.
        other: how its versions differ, in words.
        disk: its machine and its cache: workers that have both in common have their files in common.
        lacking: files that it has not got.
    """

    worker: str
    other: str
    disk: tuple[str, str]
    lacking: tuple[Need, ...]

    @property
    def ready(self) -> bool:
        """Nothing is in the way of a unit."""
        return not self.other and not self.lacking


def state_of(versions: Mapping[str, str], needs: Sequence[Need], worker: str = "") -> State:
    """The state of this worker, for units that need these files."""
    cache = own_cache()
    return State(worker, differences(versions), (host(), str(cache)), WorkerFiles(cache).lacking(needs))


async def tell_state(versions: Mapping[str, str], needs: Sequence[Need]) -> State:
    """The same without a stop of what the worker has to say to its scheduler meanwhile."""
    return await asyncio.to_thread(state_of, versions, needs)


async def take(part: Part) -> None:
    """Keep a part of a file."""
    await asyncio.to_thread(keep, own_cache(), part)


def work_on(unit: Unit, versions: Mapping[str, str]) -> Outcome | State:
    """What comes of a unit; the worker's state where it cannot begin."""
    from distributed import get_worker

    state = state_of(versions, unit.needs, get_worker().address)
    return perform(unit, own_cache(), versions) if state.ready else state


# --- on the driver's side -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cluster:
    """The workers of a scheduler.

    Attributes:
        client: Dask's.
        threads: the fewest that a worker has.
    """

    client: Any
    address: str
    versions: Mapping[str, str]
    progress: Progress
    workers: int
    threads: int

    def attempt(self, units: Sequence[Unit]) -> Iterator[tuple[int, Outcome]]:
        """Work on units; Dask itself does the units of a lost worker again."""
        waiting, flying, lacked = deque(range(len(units))), dict[Any, int](), Counter[int]()
        with self._reached():
            self.prepare(list(dict.fromkeys(need for unit in units for need in unit.needs)))
        try:
            while waiting or flying:
                with self._reached():
                    for _ in range(min(len(waiting), self._room() - len(flying))):
                        place = waiting.popleft()
                        flying[self._handed_out(units[place])] = place
                    ended = self._ended(list(flying))
                for future in ended:
                    place = flying.pop(future)
                    with self._reached():
                        outcome = self._outcome(future, lacked[place])
                    if outcome is not None:
                        yield place, outcome
                    else:  # which was no try
                        lacked[place] += 1
                        waiting.append(place)
        finally:
            with _failures_ignored():
                self.client.cancel(list(flying), force=True)

    def prepare(self, needs: Sequence[Need], workers: Sequence[str] | None = None) -> None:
        """Give workers, by default all, the files that they lack.

        Raises:
            RunError: a worker of other versions, or one that cannot keep a file; names it.
        """
        found = self.client.run(
            tell_state,
            dict(self.versions),
            tuple(needs),
            workers=None if workers is None else list(workers),
            on_error="return",
        )
        states: dict[str, State] = {}
        for worker, state in found.items():
            if isinstance(state, State):
                if state.other:
                    raise RunError(f"the worker {worker} has other versions: {state.other}", try_=ALIKE)
                states[worker] = state
            elif not _is_gone(state):
                raise RunError(f"the worker {worker} cannot work: {in_one_line(state)}", try_=ALIKE)
        self._send(states)

    def _outcome(self, future: Any, lacked: int) -> Outcome | None:  # noqa: ANN401
        """What came of a unit; None where its worker lacked files and has them now, as one that came later does.

        Args:
            lacked: how often this came of it before.
        """
        answer = _answer(future)
        if not isinstance(answer, State):
            return answer
        if lacked == TRIES:
            return Broken(f"the worker {answer.worker} does not keep the files that are sent to it")
        if answer.worker in self.client.nthreads():
            self.prepare(answer.lacking, [answer.worker])  # which may have got them meanwhile, for another unit
        return None

    def _send(self, states: Mapping[str, State]) -> None:
        """Send each file to the workers that lack it, one of those that share a disk."""
        to: dict[Need, dict[tuple[str, str], str]] = {}
        for worker, state in states.items():
            for need in state.lacking:
                to.setdefault(need, {}).setdefault(state.disk, worker)
        if to:
            size = sum(map(_size, to))
            count = len({worker for disks in to.values() for worker in disks.values()})
            files = f"{len(to)} file{'s' if len(to) > 1 else ''} ({size / 1e6:,.2f} MB)"
            self.progress.say(f"sending {files} to {count} worker{'s' if count > 1 else ''}, which keep them")
        for need, disks in to.items():
            self._send_file(need, list(disks.values()))

    def _send_file(self, need: Need, workers: Sequence[str]) -> None:
        sending, size = uuid.uuid4().hex, _size(need)
        with opened(need.path, sys.maxsize) as file:
            for start in range(0, max(size, 1), PART):
                part = Part(need.sha256, sending, start, file.read(PART), start + PART >= size)
                for worker, error in self.client.run(take, part, workers=list(workers), on_error="return").items():
                    if error is not None and not _is_gone(error):
                        words = error.message if isinstance(error, BenchError) else in_one_line(error)
                        raise RunError(f"the worker {worker} cannot keep {need.path.name}: {words}")

    def _room(self) -> int:
        """How many units may be handed out at a time."""
        return max(1, AHEAD * len(self.client.nthreads()))

    def _handed_out(self, unit: Unit) -> Any:  # noqa: ANN401 (Dask's future)
        key = f"bench-{uuid.uuid4().hex}"
        return self.client.submit(work_on, unit, dict(self.versions), key=key, pure=False)

    def _ended(self, futures: Sequence[Any]) -> Sequence[Any]:
        """Those that have ended, at least one; says so where no worker is left to wait for."""
        from distributed import wait

        while True:
            try:
                with self.client.as_current():
                    return list(wait(futures, timeout=LOOK, return_when="FIRST_COMPLETED").done)
            except TimeoutError:
                if not self.client.nthreads():
                    command = START_WORKER.format(self.address)
                    self.progress.warn(f"the Dask scheduler has no worker left; waiting for one: {command}")

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """RunError where the scheduler went away."""
        from distributed import CancelledError

        try:
            yield
        except (CancelledError, asyncio.CancelledError, OSError, TimeoutError) as reason:
            raise RunError(f"the Dask scheduler at {self.address} went away: {in_one_line(reason):.200}") from reason


def _size(need: Need) -> int:
    """Bytes of a file of the driver's; StoreError where it has gone."""
    with opened(need.path, sys.maxsize) as file:
        return os.fstat(file.fileno()).st_size


def _answer(future: Any) -> Outcome | State:  # noqa: ANN401
    """What came of a unit; where it lost several workers in turn it has one more try, alone."""
    from distributed import KilledWorker

    if future.status == "error":
        error = future.exception()
        return Broken(LOST, TRIES - 1) if isinstance(error, KilledWorker) else Broken(in_one_line(error))
    outcome: Outcome | State = future.result()
    return outcome


def _is_gone(error: Exception) -> bool:
    """Whether a worker could not be asked: Dask will find out by itself."""
    return isinstance(error, (OSError, TimeoutError))


@contextmanager
def _failures_ignored() -> Iterator[None]:
    """Whatever happens to a scheduler that is left anyway."""
    try:
        yield
    except Exception:
        logging.getLogger(__name__).debug("the scheduler did not answer", exc_info=True)


@contextmanager
def _opened(settings: EngineSettings) -> Iterator[Engine]:
    refuse_options(settings, "dask")
    if not settings.address:
        raise UsageError("'dask:' has no address of a scheduler", try_=f"--on {SPEC.example}")
    try:
        import distributed
    except ImportError as reason:
        raise MissingError("--on dask needs distributed, which is not here", try_=INSTALL) from reason
    with _quiet(), _client(distributed.Client, settings.address) as client:
        try:
            client.wait_for_workers(1, timeout=REACH)
        except TimeoutError as reason:
            raise MissingError(
                f"the Dask scheduler at {settings.address} has no worker", try_=START_WORKER.format(settings.address)
            ) from reason
        threads = client.nthreads()
        cluster = Cluster(
            client,
            settings.address,
            settings.versions,
            settings.progress,
            len(threads),
            min(threads.values(), default=1),
        )
        cluster.prepare(())  # versions, before anything is planned
        yield cluster


@contextmanager
def _client(kind: Any, address: str) -> Iterator[Any]:  # noqa: ANN401
    """A client of a scheduler; MissingError where none answers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other versions of Dask and Python, which change no number
            client = kind(address, timeout=REACH, set_as_default=False, name="bench")
    except (OSError, TimeoutError, ValueError) as reason:
        raise MissingError(
            f"no Dask scheduler answers at {address}", try_="dask scheduler  # prints its address"
        ) from reason
    try:
        yield client
    finally:
        with _failures_ignored():
            client.close(timeout=2)


@contextmanager
def _quiet() -> Iterator[None]:
    """None of the lines that Dask logs about what is told in other words."""
    names = ["distributed", *(name for name in logging.root.manager.loggerDict if name.startswith("distributed."))]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


SPEC = EngineSpec("dask", _opened, "dask.distributed", "dask:tcp://127.0.0.1:8786")
