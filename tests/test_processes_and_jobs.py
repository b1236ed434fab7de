"""Processes of this machine and submitit's jobs: killed, cancelled, blamed; equal results all the same."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree

import pytest
from grid import EXPLAINERS, IMAGES, LAYERS, RUNS, UNITS, Acting, Cells, assert_equal, cells_of, explained
from listening import Listener
from units import Small, small

from bench.contracts import Done, Engine, EngineSettings, Need
from bench.engines import batch_jobs, processes
from bench.engines.driving import GivenUp, answers, options_of
from bench.engines.worker import LOST
from bench.errors import RunError
from bench.machine import versions
from bench.store.folder import RunFolder

pytestmark = pytest.mark.slow
LOCAL, SLURM = "local:2", "slurm:none"
TRY_IT = "cluster=local,jobs=2"
TESTS = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def units_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """By jobs, which begin in a Python of their own."""
    monkeypatch.setenv("PYTHONPATH", TESTS)


@contextmanager
def opened(on: str, cache: Path, progress: Listener | None = None, **changes: str) -> Iterator[Engine]:
    """An engine of two workers with one thread each."""
    name, _, address = on.partition(":")
    spec = {"local": processes.SPEC, "slurm": batch_jobs.SPEC}[name]
    options = options_of(TRY_IT) if name == "slurm" else {}
    known = {**versions(), **changes}
    with spec.open(EngineSettings(address, options, "cpu", cache, known, progress or Listener())) as engine:
        yield engine


def worked_on(on: str, cache: Path, units: list[Small], **changes: str) -> dict[int, object]:
    with opened(on, cache, **changes) as engine:
        found = answers(engine, units, label="units", progress=Listener())
        return {unit.number: answer for unit, answer in found}


def workers_of(process: int) -> list[int]:
    """Processes below this one that work on units: those that have loaded torch."""
    words = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.split()
    parents = dict(zip(map(int, words[::2]), map(int, words[1::2]), strict=True))

    def below(pid: int) -> bool:
        return pid in parents and (parents[pid] == process or below(parents[pid]))

    def has_torch(pid: int) -> bool:
        try:
            return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
        except OSError:
            return False

    return [pid for pid in parents if pid != process and below(pid) and has_torch(pid)]


def kill_one() -> None:
    """SIGKILL to one of the workers of this process."""
    os.kill(workers_of(os.getpid())[0], signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="finds workers in /proc")
@pytest.mark.parametrize("on", [LOCAL, "local:4", SLURM])
def test_cells_are_equal_bit_for_bit_though_a_worker_is_killed_in_the_middle(
    on: str, tmp_path: Path, grid: Path, cells_of_local: Cells, small_units: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: int(on[-1]) if on != SLURM else 2)  # one thread a unit
    runs = copytree(grid, tmp_path / "runs")
    acting = Acting(4, kill_one)
    slurm = TRY_IT if on == SLURM else None
    results = explained(runs, on, cache=tmp_path / "cache", progress=acting, slurm=slurm)
    assert (acting.tracked, acting.advanced) == ({f"{name}: units": UNITS for name in RUNS}, 2 * UNITS)
    assert all(cell.computed >= cell.rows >= IMAGES for result in results for cell in result.cells)
    assert_equal(cells_of(runs), cells_of_local)
    again = Listener()
    results = explained(runs, on, cache=tmp_path / "cache", progress=again, slurm=slurm)
    assert [cell.computed for result in results for cell in result.cells] == [0] * 12
    assert again.tracked == {}
    assert bool(acting.warned) == (on == SLURM)  # where the logs of the job are
    assert not again.warned


@pytest.mark.parametrize("on", [LOCAL, SLURM])
def test_units_that_fail_three_times_are_named_and_only_the_one_that_kills_is_blamed(on: str, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    units = [Small(unit.number, unit.deed, str(tmp_path / "marks")) for unit in small(6, _1="fail", _3="kill")]
    found = worked_on(on, tmp_path, units)
    given_up = {number: each.why for number, each in found.items() if isinstance(each, GivenUp)}
    assert list(given_up) == [1, 3] or list(given_up) == [3, 1]
    assert given_up[1] == "number 1 cannot be"
    assert given_up[3].startswith(LOST)
    assert {number for number, answer in found.items() if answer == (number, ())} == {0, 2, 4, 5}
    begun = [each.name.partition("-")[0] for each in (tmp_path / "marks").iterdir()]
    assert begun.count("3") == 3
    # A unit that waits in a worker when the other one dies is lost with it, which is one of its three tries.
    assert begun.count("1") in ((1, 2, 3) if on == LOCAL else (3,))


@pytest.mark.parametrize("on", [LOCAL, SLURM])
def test_answers_that_nobody_takes_cancel_the_rest(on: str, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    units = [Small(number, "sleep 0.5", str(tmp_path / "marks")) for number in range(40)]
    with opened(on, tmp_path) as engine:
        attempt = engine.attempt(units)
        _, outcome = next(attempt)
        assert isinstance(outcome, Done)
        attempt.close()  # type: ignore[attr-defined]
    time.sleep(2)
    begun = len(list((tmp_path / "marks").iterdir()))
    time.sleep(2)
    assert len(list((tmp_path / "marks").iterdir())) == begun < 20


def test_jobs_of_other_versions_are_refused_in_one_line_before_any_unit(tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    with pytest.raises(RunError, match=r"the machines of the jobs have other versions: torch .*, here 1.0"):
        worked_on(SLURM, tmp_path, [Small(0, marks=str(tmp_path / "marks"))], torch="1.0")
    assert list((tmp_path / "marks").iterdir()) == []


def test_jobs_that_cannot_begin_end_the_whole_and_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_jobs, "BARREN", 2)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "units.py").write_text("raise ImportError('no units on this machine')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    with pytest.raises(RunError, match=r"2 jobs in a row ended without an answer: .*no units on this machine"):
        worked_on(SLURM, tmp_path, small(6))


def test_what_a_unit_reads_is_found_where_the_driver_has_it(tmp_path: Path) -> None:
    from bench.store.files import sha256

    (tmp_path / "content").write_bytes(b"content")
    need = Need(sha256(tmp_path / "content"), tmp_path / "content")
    for on in (LOCAL, SLURM):
        assert worked_on(on, tmp_path, [Small(0, needs=(need,))]) == {0: (0, (b"content",))}
        gone = worked_on(on, tmp_path, [Small(0, needs=(Need("0" * 64, tmp_path / "content"),))])[0]
        assert isinstance(gone, GivenUp)
        assert gone.why == f"the worker has no file {tmp_path / 'content'} with the content that the driver's has"


@pytest.mark.parametrize("options", [("--on", LOCAL), ("--on", SLURM, "--slurm", TRY_IT)])
def test_ctrl_c_cancels_keeps_what_came_and_the_same_command_makes_only_the_rest(
    options: tuple[str, ...], tmp_path: Path, grid: Path
) -> None:
    runs = copytree(grid, tmp_path / "runs")
    words = [sys.executable, "-c", CALL, "explain", RUNS[0], "--explainer", ",".join(EXPLAINERS), "--layer"]
    words += [",".join(LAYERS), "--which", "all", "--runs-dir", str(runs), "--device", "cpu", "--json", *options]
    environment = {**os.environ, "BENCH_CACHE": str(tmp_path / "cache"), "COLUMNS": "80"}
    first = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True, start_new_session=True
    )
    until = time.monotonic() + 120
    while time.monotonic() < until and not RunFolder(runs / RUNS[0]).cells:
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does
    out, err = first.communicate(timeout=60)
    assert first.returncode == 130, err
    assert "Traceback" not in err
    assert "Warning" not in err
    assert json.loads(out)["error"].startswith("interrupted")
    there = {(cell.explainer, cell.layer): len(set(cell.ids.tolist())) for cell in RunFolder(runs / RUNS[0]).cells}
    assert 0 < sum(there.values()) < 6 * IMAGES
    again = subprocess.run(words, capture_output=True, env=environment, text=True, check=True, timeout=150)
    cells = json.loads(again.stdout)["runs"][0]["cells"]  # one object, whatever is printed elsewhere
    made = {(cell["explainer"], cell["layer"]): cell["computed"] for cell in cells}
    assert made == {key: 2 * (IMAGES - there.get(key, 0)) for key in made}  # two classes of each image


PRINTING = """
import sys
from pathlib import Path
from bench.cli.console import stdout_kept
from test_processes_and_jobs import small, worked_on
with stdout_kept():
    found = worked_on(sys.argv[1], Path(sys.argv[2]), small(2, _0="print"))
print(len(found), "units")
"""


@pytest.mark.parametrize("on", [LOCAL, SLURM])
def test_what_a_net_prints_on_a_worker_is_not_in_the_answer(on: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTING, on, str(tmp_path)], capture_output=True, text=True, check=True, timeout=150
    )
    assert done.stdout == "2 units\n"


CALL = """
import sys
from bench.explaining import on_workers, runner
from bench.clock import Pace
on_workers.SECONDS = 1e-9
Pace.due = lambda self: True
from bench.cli import main
sys.argv = ["bench", *sys.argv[1:]]
main()
"""
