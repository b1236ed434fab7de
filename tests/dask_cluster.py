"""A Dask scheduler and workers on loopback; each worker has folders, a cache and a HOME of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

HIDING = Path(__file__).with_name("hidden_folder.py")
OWN = ("HOME", "BENCH_CACHE", "XDG_CACHE_HOME", "DASK_CONFIG")
QUIET = {"DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "100", "OMP_NUM_THREADS": "1"}


@dataclass
class Machine:
    """A worker process and its folders."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def kept(self) -> list[Path]:
        """The files that were sent to it."""
        return sorted(path for path in self.cache.glob("units/*") if path.is_file())

    def kill(self) -> None:
        """At once, as when a machine loses its power."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class DaskCluster:
    """A scheduler and its workers.

    Attributes:
        hidden: a folder whose files no worker can read.
        before: words in front of each worker's command.
    """

    folder: Path
    hidden: Path
    address: str
    scheduler: subprocess.Popen[bytes]
    machines: list[Machine] = field(default_factory=list)

    def add(self, *options: str, before: Sequence[str] = (), nanny: bool = False, **variables: str) -> Machine:
        """Start one more worker; `ready` waits for it."""
        folder = self.folder / f"worker-{len(self.machines)}"
        for each in ("home", "cache", "work"):
            (folder / each).mkdir(parents=True)
        own = {"HOME": str(folder / "home"), "BENCH_CACHE": str(folder / "cache"), "HIDDEN": str(self.hidden)}
        words = [*before, sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--nthreads", "1"]
        words += ["--no-dashboard", "--local-directory", str(folder / "work"), "--preload", str(HIDING)]
        words += ["--memory-limit", "0", "--nanny" if nanny else "--no-nanny", *options]
        machine = Machine(folder, started(words, folder, {**own, **variables}))
        self.machines.append(machine)
        return machine

    def ready(self, workers: int | None = None) -> None:
        """Wait for as many workers, by default all that were started."""
        from distributed import Client

        with Client(self.address, timeout=30, set_as_default=False) as client:
            client.wait_for_workers(workers or len(self.machines), timeout=60)


def started(words: Sequence[str], folder: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A process whose output goes to a file in its folder."""
    inherited = {name: value for name, value in os.environ.items() if name not in OWN}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            words, cwd=folder, env={**inherited, **QUIET, **variables}, stdout=log, stderr=log, start_new_session=True
        )


@contextmanager
def dask_cluster(folder: Path, hidden: Path, workers: int = 2, **variables: str) -> Iterator[DaskCluster]:
    """A scheduler with workers, which are all ended behind the block.

    Args:
        hidden: a folder whose files no worker can read.
        variables: of the scheduler's environment.
    """
    place = folder / "scheduler"
    place.mkdir(parents=True)
    file = place / "address.json"
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    scheduler = started(
        [*words, "--no-dashboard", "--scheduler-file", str(file)], place, {"HOME": str(place), **variables}
    )
    cluster = DaskCluster(folder, hidden, address_in(file), scheduler)
    try:
        for _ in range(workers):
            cluster.add()
        if workers:
            cluster.ready()
        yield cluster
    finally:
        for process in (scheduler, *(each.process for each in cluster.machines)):
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """A process and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def address_in(file: Path, seconds: float = 60) -> str:
    """The address that a scheduler writes down when it is ready."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            return str(json.loads(file.read_text())["address"])
        except (OSError, ValueError):
            time.sleep(0.1)
    raise TimeoutError(f"no scheduler wrote {file}")
