"""Dask's workers: no shared disk, killed in the middle, coming late, of other versions; equal results all the same."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, rmtree

import pytest
from dask_cluster import DaskCluster, dask_cluster
from grid import IMAGES, RUNS, UNITS, Acting, Cells, assert_equal, cells_of, explained
from listening import Listener
from units import Small, small

from bench.contracts import Done, EngineSettings, Need
from bench.engines import cluster as engine
from bench.engines.driving import GivenUp, answers
from bench.errors import MissingError, RunError, StoreError, UsageError
from bench.machine import versions
from bench.store.files import sha256

pytestmark = [pytest.mark.slow]
TESTS = str(Path(__file__).parent)


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """The driver's folder, of which no worker can read a file."""
    (tmp_path / "driver").mkdir()
    return tmp_path / "driver"


@pytest.fixture
def place(tmp_path: Path, driver: Path) -> Iterator[DaskCluster]:
    """A scheduler without workers."""
    with dask_cluster(tmp_path / "cluster", driver, workers=0, PYTHONPATH=TESTS) as found:
        yield found


def settings(address: str, progress: Listener, cache: Path) -> EngineSettings:
    return EngineSettings(address, {}, "cpu", cache, versions(), progress)


def ended(place: DaskCluster, units: list[Small], progress: Listener | None = None) -> dict[int, object]:
    """What came of each unit on a cluster, by its number."""
    progress = progress or Listener()
    with engine.SPEC.open(settings(place.address, progress, place.folder)) as workers:
        found = answers(workers, units, label="units", progress=progress)
        return {unit.number: answer for unit, answer in found}


def test_cells_are_equal_bit_for_bit_though_a_worker_is_killed_in_the_middle(
    tmp_path: Path, driver: Path, grid: Path, cells_of_local: Cells, small_units: None
) -> None:
    runs = copytree(grid, driver / "runs")
    with dask_cluster(tmp_path / "cluster", driver) as place:
        first, second = place.machines
        acting, on = Acting(3, first.kill), f"dask:{place.address}"
        results = explained(runs, on, cache=driver / "cache", progress=acting)
        assert first.process.returncode == -9
        assert acting.tracked == {f"{name}: units": UNITS for name in RUNS}
        assert acting.advanced == 2 * UNITS
        assert all(cell.computed >= cell.rows >= IMAGES for result in results for cell in result.cells)
        assert_equal(cells_of(runs), cells_of_local)
        # Two runs of two files of their own, and test images and predictions; each came by its content.
        assert all(sha256(path) == path.name for path in second.kept)
        assert len(second.kept) == 7
        assert not any(str(driver) in line for line in acting.warned)

        again = Listener()
        results = explained(runs, on, cache=driver / "cache", progress=again)
        assert [cell.computed for result in results for cell in result.cells] == [0] * 12
        assert again.tracked == {}

        rmtree(runs)
        copytree(grid, runs)
        explained(runs, on, cache=driver / "cache", progress=again)
        assert not [line for line in again.said if "sending" in line]  # the worker has kept all of it
        assert_equal(cells_of(runs), cells_of_local)


def test_a_worker_that_comes_late_or_lost_its_cache_is_sent_the_files(place: DaskCluster, driver: Path) -> None:
    content = driver / "content"
    content.write_bytes(b"x" * 100)
    need = Need(sha256(content), content)
    first = place.add(PYTHONPATH=TESTS)
    place.ready()

    def change() -> None:
        rmtree(first.cache / "units")
        place.add(PYTHONPATH=TESTS)
        place.ready(2)

    acting = Acting(2, change)
    units = [Small(number, deed="sleep 0.2", needs=(need,)) for number in range(60)]
    assert ended(place, units, acting) == {number: (number, (b"x" * 100,)) for number in range(60)}
    assert [machine.kept[0].name for machine in place.machines] == [need.sha256] * 2
    assert len([line for line in acting.said if "sending 1 file" in line]) == 3


def test_a_file_that_the_driver_has_lost_is_no_lost_scheduler(place: DaskCluster, driver: Path) -> None:
    place.add(PYTHONPATH=TESTS)
    place.ready()
    with pytest.raises(StoreError, match=f"no file {driver / 'gone'}"):
        ended(place, [Small(0, needs=(Need("0" * 64, driver / "gone"),))])


def test_a_file_goes_in_parts_and_an_empty_one_goes_too(
    place: DaskCluster, driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PART", 7)
    paths = [driver / "long", driver / "whole", driver / "empty"]
    contents = [b"0123456789" * 5, b"7 bytes", b""]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    place.add(PYTHONPATH=TESTS)
    place.ready()
    unit = Small(0, needs=tuple(Need(sha256(path), path) for path in paths))
    assert ended(place, [unit]) == {0: (0, tuple(contents))}


def test_a_file_that_changes_on_its_way_is_refused_and_not_kept(place: DaskCluster, driver: Path) -> None:
    (driver / "content").write_bytes(b"other")
    machine = place.add(PYTHONPATH=TESTS)
    place.ready()
    with pytest.raises(RunError, match=r"the worker tcp://.* cannot keep content: the file that came has sha256"):
        ended(place, [Small(0, needs=(Need("0" * 64, driver / "content"),))])
    assert machine.kept == []


def test_workers_of_other_versions_are_refused_by_name_before_any_unit_runs(place: DaskCluster, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    place.add(PYTHONPATH=TESTS)
    place.add(PYTHONPATH=TESTS, VERSION_OF_TORCH="1.0")
    place.ready()
    with pytest.raises(
        RunError, match=rf"the worker tcp://.* has other versions: torch 1.0, here {versions()['torch']}"
    ):
        ended(place, [Small(0, marks=str(tmp_path / "marks"))])
    assert list((tmp_path / "marks").iterdir()) == []


def test_a_worker_without_bench_is_refused_by_name(place: DaskCluster, tmp_path: Path) -> None:
    (tmp_path / "bench.py").write_text("raise ImportError('no bench here')")
    place.add(PYTHONPATH=str(tmp_path))
    place.ready()
    with pytest.raises(RunError, match=r"the worker tcp://.* cannot work: .*"):
        ended(place, small(1))


def test_units_that_fail_three_times_are_named_and_only_the_one_that_kills_is_blamed(
    tmp_path: Path, driver: Path
) -> None:
    scheduler = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0", "PYTHONPATH": TESTS}
    with dask_cluster(tmp_path / "cluster", driver, workers=0, **scheduler) as place:
        for _ in range(2):
            place.add(nanny=True, PYTHONPATH=TESTS)
        place.ready()
        found = ended(place, small(8, _2="fail", _4="kill"))
    given_up = {number: answer for number, answer in found.items() if isinstance(answer, GivenUp)}
    assert {number: each.line for number, each in given_up.items()} == {
        2: "unit 2: number 2 cannot be",
        4: "unit 4: its worker process ended by itself: killed, or out of memory",
    }
    assert {number for number, answer in found.items() if answer == (number, ())} == {0, 1, 3, 5, 6, 7}


def test_answers_that_nobody_takes_cancel_what_has_not_begun(place: DaskCluster, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    place.add(PYTHONPATH=TESTS)
    place.ready()
    units = [Small(number, "sleep 0.2", str(tmp_path / "marks")) for number in range(40)]
    with engine.SPEC.open(settings(place.address, Listener(), tmp_path)) as workers:
        assert workers.workers == workers.threads == 1
        attempt = workers.attempt(units)
        assert next(attempt) == (0, Done((0, ())))
        attempt.close()
    assert len(list((tmp_path / "marks").iterdir())) < 5


def test_a_scheduler_that_goes_away_is_told_in_two_lines(place: DaskCluster, tmp_path: Path) -> None:
    from bench.errors import BenchError

    place.add(PYTHONPATH=TESTS)
    place.ready()
    acting = Acting(2, place.scheduler.kill)
    with pytest.raises(RunError, match=f"the Dask scheduler at {place.address} went away") as caught:
        ended(place, [Small(number, "sleep 0.1") for number in range(40)], acting)
    assert isinstance(caught.value, BenchError)
    assert "\n" not in caught.value.message


def test_a_scheduler_that_is_not_there_or_has_no_worker_is_told_with_what_to_type(
    place: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "REACH", 1)
    for address, words, advice in (
        (place.address, "has no worker", f"dask worker {place.address} --nthreads 1"),
        ("tcp://127.0.0.1:9", "no Dask scheduler answers at tcp://127.0.0.1:9", "dask scheduler"),
        ("nonsense://x", "no Dask scheduler answers at nonsense://x", "dask scheduler"),
    ):
        with (
            pytest.raises(MissingError, match=words) as caught,
            engine.SPEC.open(settings(address, Listener(), tmp_path)),
        ):
            pass
        assert caught.value.try_.startswith(advice)
    with pytest.raises(UsageError, match="has no address"), engine.SPEC.open(settings("", Listener(), tmp_path)):
        pass
