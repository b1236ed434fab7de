"""`local` and `local:N`: this process, or processes of this machine by joblib, which share its threads and its GPUs."""

from __future__ import annotations

import os
import signal
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import current_process
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.contracts import Broken, Engine, EngineSettings, EngineSpec, Outcome, Unit
from bench.engines.driving import refuse_options
from bench.engines.worker import LOST, perform
from bench.errors import RunError, UsageError, in_one_line


@dataclass(frozen=True)
class Processes:
    """Processes that this one starts, and starts again when one of them dies.

    Attributes:
        locks: a folder in which each process takes a GPU for itself; None where none is used.
        gpus: how many there are.
    """

    workers: int
    threads: int
    cache: Path
    versions: Mapping[str, str]
    locks: Path | None = None
    gpus: int = 0

    def attempt(self, units: Sequence[Unit]) -> Iterator[tuple[int, Outcome]]:
        """Work on units; a unit whose process died is broken, and the rest goes on in new processes."""
        waiting = dict(enumerate(units))
        while waiting:
            begun: list[int] = []
            try:
                for place, outcome in self._pool(waiting, begun):
                    del waiting[place]
                    yield place, outcome
            except Exception as error:
                if not _a_worker_died(error):
                    raise
                lost = [place for place in begun if place in waiting]
                for place in lost:
                    del waiting[place]
                    yield place, Broken(LOST)
                if not lost:
                    raise RunError(f"no worker process can be started: {in_one_line(error)}") from error

    def _pool(self, units: Mapping[int, Unit], begun: list[int]) -> Iterator[tuple[int, Outcome]]:
        """What comes from a pool of processes; `begun` gets the places of the units that it was handed."""
        from joblib import Parallel, delayed, parallel_config

        def tasks() -> Iterator[Any]:
            for place, unit in list(units.items()):
                begun.append(place)
                yield delayed(_perform)(place, unit, self.cache, dict(self.versions), self.locks, self.gpus)

        with parallel_config("loky", n_jobs=self.workers, inner_max_num_threads=self.threads):
            yield from Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")(tasks())


def _a_worker_died(error: Exception) -> bool:
    from joblib.externals.loky.process_executor import BrokenProcessPool

    return isinstance(error, BrokenProcessPool)


def _perform(
    place: int, unit: Unit, cache: Path, versions: Mapping[str, str], locks: Path | None, gpus: int
) -> tuple[int, Outcome]:
    if current_process().name != "MainProcess":  # as it is for local:1
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the driver, which ends all of them
    if locks is not None:
        unit = on_device(unit, f"cuda:{_own_gpu(locks, gpus)[0]}")
    return place, perform(unit, cache, versions)


def on_device(unit: Any, device: str) -> Unit:  # noqa: ANN401 (a frozen dataclass, as all units are)
    """The unit on another device."""
    moved: Unit = replace(unit, device=device)
    return moved


@cache
def _own_gpu(locks: Path, gpus: int) -> tuple[int, FileLock]:
    """The GPU that this process takes for its life, and the lock that says so."""
    for index in range(gpus):
        lock = FileLock(locks / str(index))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        return index, lock
    raise RunError(f"all {gpus} GPUs are taken by other processes")


@contextmanager
def _opened(settings: EngineSettings) -> Iterator[Engine]:
    refuse_options(settings, "local")
    count = workers_of(settings.address)
    gpus = gpus_of(settings.device)
    if 0 < gpus < count:
        raise UsageError(
            f"local:{count} needs a GPU for each process, and there {'is' if gpus == 1 else 'are'} {gpus}",
            try_=f"--on local:{gpus}, or --device cpu",
        )
    threads = max(1, (os.cpu_count() or 1) // count)
    with tempfile.TemporaryDirectory(prefix="bench-gpus-") as locks, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"joblib\.parallel")  # tasks were cancelled, as they should be
        where = Path(locks) if gpus else None
        try:
            yield Processes(count, threads, settings.cache, settings.versions, where, gpus)
        finally:
            _end_workers()


def _end_workers() -> None:
    """End the processes now: joblib keeps them for a call that may come."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def workers_of(address: str) -> int:
    """How many processes; UsageError for what is no count."""
    if not address.isdecimal() or int(address) < 1:
        raise UsageError(f"'local:{address}' has no number of processes", try_="--on local:2")
    return int(address)


def gpus_of(device: str) -> int:
    """How many GPUs there are to share; 0 where none is meant."""
    import torch

    wanted = device == "auto" or device.startswith("cuda")
    return torch.cuda.device_count() if wanted and torch.cuda.is_available() else 0


SPEC = EngineSpec("local", _opened, "joblib's processes", "local:4")
