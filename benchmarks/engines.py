"""Start-up and cost a unit of each engine as multiples of a unit, and the speed-up of two processes: on one machine.

    python benchmarks/engines.py --write docs/measurements.md

The unit multiplies matrices on one thread for a fraction of a second. Engines take turns in each round. Start-up
lasts until each worker has done one unit, for which it loads torch; the same workers then do those that are counted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from tables import cell, finish, machine_words, parser_of, table

from bench.contracts import Done, Engine, EngineSettings, Files, Need, Outcome, Silence, Unit
from bench.engines import batch_jobs, cluster, processes
from bench.engines.worker import perform
from bench.machine import versions

ROUNDS, UNITS, SIZE, TIMES = 3, 8, 512, 60
LOCAL = "local"
ENGINES = (LOCAL, "local:2", "dask, 2 workers", "submitit, 2 jobs of this machine")


@dataclass(frozen=True)
class Product:
    """Products of two matrices."""

    number: int
    needs: tuple[Need, ...] = ()
    threads: int = 1
    device: str = "cpu"

    @property
    def label(self) -> str:
        """Its number."""
        return f"product {self.number}"

    def work(self, files: Files) -> float:
        """Seconds that it took."""
        matrix = torch.ones(SIZE, SIZE)
        started = time.perf_counter()
        for _ in range(TIMES):
            matrix = matrix @ matrix / SIZE
        return time.perf_counter() - started


@dataclass(frozen=True)
class Here:
    """This process, as an engine."""

    cache: Path
    workers: int = 1
    threads: int = 1

    def attempt(self, units: Sequence[Unit]) -> Iterator[tuple[int, Outcome]]:
        """One after the other."""
        for place, unit in enumerate(units):
            yield place, perform(unit, self.cache, versions())


def seconds_of(engine: Engine, count: int) -> tuple[float, float]:
    """Wall seconds of so many units, and the median second of a unit's own work."""
    started = time.perf_counter()
    found = [outcome for _, outcome in engine.attempt([Product(number) for number in range(count)])]
    wall = time.perf_counter() - started
    own = [float(each.answer) for each in found if isinstance(each, Done)]
    if len(own) < count:
        raise SystemExit(f"only {len(own)} of {count} units were done: {found}")
    return wall, statistics.median(own)


@contextmanager
def opened(name: str, folder: Path, address: str) -> Iterator[Engine]:
    """An engine of two workers with one thread each, or this process."""
    if name == LOCAL:
        yield Here(folder)
        return
    spec, where, options = {
        ENGINES[1]: (processes.SPEC, "2", {}),
        ENGINES[2]: (cluster.SPEC, address, {}),
        ENGINES[3]: (batch_jobs.SPEC, "", {"cluster": "local", "jobs": "2"}),
    }[name]
    with spec.open(EngineSettings(where, options, "cpu", folder, versions(), Silence())) as engine:
        yield engine


@contextmanager
def dask_workers(folder: Path) -> Iterator[str]:
    """A scheduler and two workers, which have not loaded torch; gives the address."""
    address, environment = "tcp://127.0.0.1:18786", {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    commands = [["dask_scheduler", "--host", "127.0.0.1", "--port", "18786", "--no-dashboard"]]
    commands += [["dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]] * 2
    with ExitStack() as stack:
        for name, *words in commands:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{name}", *words],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield address


def measured(name: str, folder: Path) -> tuple[float, float, float]:
    """Start-up in units, a unit's cost beyond its own work in units, and wall seconds of all units."""
    workers: AbstractContextManager[str] = dask_workers(folder)
    started = time.perf_counter()
    with workers if name == ENGINES[2] else ExitStack() as address, opened(name, folder, str(address)) as engine:
        seconds_of(engine, engine.workers)  # each worker has begun
        start = time.perf_counter() - started
        wall, own = seconds_of(engine, UNITS)
    return start / own, wall * engine.workers / (UNITS * own) - 1, wall


def main() -> None:
    """Measure, print and write."""
    options = parser_of(__doc__, rounds=ROUNDS, write=None).parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ENGINES}
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # where jobs find the unit
    for _ in range(options.rounds):
        for name in ENGINES:
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(measured(name, Path(folder)))
                print(name, *(f"{value:.3g}" for value in found[name][-1]), file=sys.stderr, flush=True)
    alone = [wall for _, _, wall in found[LOCAL]]
    heads = ["engine", "start-up, in units", "a unit's cost, in units", f"speed-up over {LOCAL}"]
    rows = [
        [
            name,
            *(cell(values) for values in (starts, costs, [one / wall for one, wall in zip(alone, walls, strict=True)])),
        ]
        for name, (starts, costs, walls) in ((name, zip(*each, strict=True)) for name, each in found.items())
    ]
    cpu = machine_words(torch.device("cpu"), "torch", "joblib", "distributed", "submitit")
    text = (
        f"Median of {options.rounds} rounds, in which the engines take turns, with its interval; {UNITS} units, each "
        f"of one thread; two workers each, but for {LOCAL}. {cpu}.\n\n{table(heads, rows, {'engine'})}"
    )
    finish(text, options.write, "engines")


if __name__ == "__main__":
    from engines import main as of_a_module  # workers import the unit by this name

    of_a_module()
