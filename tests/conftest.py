"""What all tests share: one thread each, a turn for the tests that cannot run beside others, a grid for engines."""

import fcntl
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from grid import Cells

settings.register_profile("shared cores", deadline=None)  # an example may wait for the other workers
settings.load_profile("shared cores")
os.environ["OMP_NUM_THREADS"] = "1"  # of child processes; workers share the cores, and small nets gain nothing by two
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it for what it starts with `&`
    signal.signal(signal.SIGINT, signal.default_int_handler)
HERE = Path(__file__)
SYNC = os.fsync
GATE, ROOM = HERE, HERE.parents[1] / "pyproject.toml"  # any two files: locks are taken on them, nothing is written


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test marked `alone` waits until every other worker is between two tests, and they wait for it."""
    with turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Many may be in the room, or one alone. Whoever wants in passes the gate, so that nobody is overtaken for ever."""
    with GATE.open() as gate, ROOM.open() as room:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """No write waits for the disk: a test's files need not outlive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes wait for the disk as they do for users; for the tests of writing."""
    monkeypatch.setattr(os, "fsync", SYNC)


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that nobody has explained."""
    from grid import make_grid

    return make_grid(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="session")
def cells_of_local(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> "Cells":
    """What `--on local` makes of the grid."""
    from grid import cells_of, explained

    root = tmp_path_factory.mktemp("local")
    explained(runs := copytree(grid, root / "runs"), "local", cache=root / "cache")
    return cells_of(runs)


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of one batch, so that a small grid has many."""
    from bench.explaining import on_workers

    monkeypatch.setattr(on_workers, "SECONDS", 1e-9)
