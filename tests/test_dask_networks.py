"""Dask over real networks: the scheduler with the driver, and each worker, in a network namespace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree

import pytest
from dask_cluster import DaskCluster, address_in, end, started
from grid import RUNS, UNITS, Cells, assert_equal, cells_of

pytestmark = [pytest.mark.slow]
TESTS = str(Path(__file__).parent)
# Kills a worker when three units have ended, and tells how many ended in all.
DRIVER = """
import json, os, signal, sys
from pathlib import Path
from bench.explaining import on_workers
from grid import Acting, explained
on_workers.SECONDS = 1e-9  # units of one batch
runs, on, cache, worker = sys.argv[1:]
acting = Acting(3, lambda: os.kill(int(worker), signal.SIGKILL))
results = explained(Path(runs), on, cache=Path(cache), progress=acting)
print(json.dumps([acting.advanced, sum(cell.computed for result in results for cell in result.cells)]))
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def inside(name: str) -> list[str]:
    """What to put in front of a command that runs in a namespace."""
    return ["ip", "netns", "exec", name]


@contextmanager
def networks() -> Iterator[list[str]]:
    """Three network namespaces, 10.77.0.1 to 3, on a bridge in the first; the machine's own network stays as it is."""
    names = [f"bench{os.getpid()}-{number}" for number in range(3)]
    made: list[str] = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", names[0], "link", "add", "bridge", "type", "bridge")
        ip("-n", names[0], "address", "add", "10.77.0.1/24", "dev", "bridge")
        ip("-n", names[0], "link", "set", "bridge", "up")
        for number, name in enumerate(names[1:], 2):
            port = f"port{number}"
            ip("link", "add", port, "netns", names[0], "type", "veth", "peer", "name", "port", "netns", name)
            ip("-n", names[0], "link", "set", port, "master", "bridge", "up")
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "port")
            ip("-n", name, "link", "set", "port", "up")
        yield names
    finally:
        for name in made:
            ip("netns", "delete", name)


@pytest.fixture
def namespaces() -> Iterator[list[str]]:
    """The names of three networks; skipped where this process may not make them."""
    try:
        with networks() as names:
            subprocess.run([*inside(names[0]), "true"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as reason:
        words = getattr(reason, "stderr", "") or str(reason)
        pytest.skip(f"network namespaces cannot be made here: {words.strip()}")
    with networks() as names:
        yield names


def test_workers_in_networks_of_their_own_give_equal_cells_though_one_is_killed(
    tmp_path: Path, namespaces: list[str], grid: Path, cells_of_local: Cells
) -> None:
    driver, place = tmp_path / "driver", tmp_path / "cluster" / "scheduler"
    runs = copytree(grid, driver / "runs")
    place.mkdir(parents=True)
    words = [*inside(namespaces[0]), sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "10.77.0.1"]
    words += ["--port", "8786", "--no-dashboard", "--scheduler-file", str(place / "address.json")]
    scheduler = started(words, place, {"HOME": str(place)})
    cluster = DaskCluster(tmp_path / "cluster", driver, address_in(place / "address.json"), scheduler)
    try:
        for number, name in enumerate(namespaces[1:], 2):
            cluster.add("--host", f"10.77.0.{number}", before=inside(name), PYTHONPATH=TESTS)
        first, second = cluster.machines
        given = [str(runs), f"dask:{cluster.address}", str(driver / "cache"), str(first.process.pid)]
        done = subprocess.run(
            [*inside(namespaces[0]), sys.executable, "-c", DRIVER, *given],
            env={**os.environ, "PYTHONPATH": TESTS, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        assert first.process.wait(10) == -9
    finally:
        for process in (scheduler, *(each.process for each in cluster.machines)):
            end(process)
    units, computed = json.loads(done.stdout.splitlines()[-1])
    assert units == UNITS * len(RUNS)
    found = cells_of(runs)
    assert computed >= sum(len(arrays["ids"]) for arrays in found.values())
    assert_equal(found, cells_of_local)
    assert len(second.kept) == 7  # all of it came over the network
