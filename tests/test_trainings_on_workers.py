"""Trainings as units of work: the runs are those of a call without workers, and none is made twice."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_here import Here, with_engine
from tiny import TINY_FILE, TinyNet, tiny_data, write_images

from bench import api
from bench.contracts import ModelSpec
from bench.data.packed import packed
from bench.errors import GuardRailError, RunError, UsageError
from bench.pages.run_views import run_view
from bench.request import TrainRequest
from bench.store.folder import RunFolder
from bench.store.paths import CHECKPOINT, LOG, PREDICTIONS, checkpoint_path, report_path, timing_files
from bench.store.runs import find_run, read_record, run_names
from bench.workspace import Workspace


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("pictures"), tiny_data(train=16, test=6))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def pages() -> None:
    """Asks for pages."""


@pytest.fixture(autouse=True)
def no_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are drawn only where a test asks for them."""
    if "pages" not in request.fixturenames:
        monkeypatch.setattr("bench.commands.train.write_run_page", lambda *_: None)


@pytest.fixture
def engine(tmp_path: Path) -> Here:
    return Here(tmp_path / "worker")


@pytest.fixture
def place(tmp_path: Path, cache: Path, engine: Here) -> Workspace:
    return with_engine(Workspace(tmp_path / "runs", cache, command="bench train as it was typed"), engine)


def quick(pictures: Path, **values: Any) -> dict[str, Any]:
    """A training of a moment, by keywords."""
    plain = {"model": TINY_FILE, "data": str(pictures), "batch_size": 16, "epochs": 1, "val": 0.0, "device": "cpu"}
    return {**plain, "average": False, **values}


def weights(folder: Path) -> bytes:
    return checkpoint_path(folder).read_bytes()


def test_runs_by_workers_are_those_of_this_process_bit_for_bit(
    pictures: Path, place: Workspace, tmp_path: Path
) -> None:
    asked = quick(pictures, lr=[0.05, 0.1], val=0.25, average=True)
    here = api.sweep(**asked, workspace=dataclasses.replace(place, runs=tmp_path / "local"))
    there = api.sweep(**asked, on="here", workspace=place)
    assert [weights(one) for one in there.runs] == [weights(one) for one in here.runs]
    for own, other in zip(there.runs, here.runs, strict=True):
        assert RunFolder(own).predictions.digest == RunFolder(other).predictions.digest
        same = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")
        points = [[getattr(one, name) for name in same] for run in (own, other) for one in RunFolder(run).curve]
        assert points[0] == points[1]
    plain = [dataclasses.replace(each, runs=()) for each in here.combinations]
    assert [dataclasses.replace(each, runs=()) for each in there.combinations] == plain
    assert here.winner and there.winner and there.winner.lr == here.winner.lr


def test_dropout_draws_from_the_seed_wherever_it_trains(pictures: Path, place: Workspace) -> None:
    asked = quick(pictures, model=TINY_FILE.removesuffix("TINY") + "Dropping", seed=3)
    torch.manual_seed(1)
    here = api.train(**asked, run="here", workspace=place)
    before = torch.manual_seed(2).get_state()
    there = api.train(**asked, run="there", on="here", workspace=place)
    assert weights(here) == weights(there)
    assert torch.equal(torch.get_rng_state(), before)  # the caller's numbers are its own


def test_options_of_slurm_are_refused_where_they_mean_nothing(pictures: Path, place: Workspace) -> None:
    with pytest.raises(UsageError, match="--slurm gpus=1 is for --on slurm, not for local"):
        api.train(**quick(pictures), slurm="gpus=1", workspace=place)
    assert run_names(place.runs) == []


@pytest.mark.usefixtures("pages")
def test_the_record_says_what_was_asked_and_where_it_ran(pictures: Path, place: Workspace, engine: Here) -> None:
    engine.threads = 1
    run = api.train(**quick(pictures, run="mine"), on="here", workspace=place)
    record = read_record(run)
    assert (run.name, record.name, record.status) == ("mine", "mine", "done")
    assert record.command == "bench train as it was typed" and record.environment.threads == 1
    assert record.request == dataclasses.replace(
        record.request, model=TINY_FILE, data=str(pictures), batch_size=16, seed=0, device="cpu"
    )
    assert record.request.origins["lr"] == "recipe" and record.request.origins["epochs"] == "call"
    assert find_run(place.runs, "latest") == run and report_path(run).is_file()
    files = {each.name for each in run.iterdir() if not each.name.startswith(".lock")}
    assert files == {"run.json", CHECKPOINT, PREDICTIONS, LOG, report_path(run).name, "page.json"}
    assert not any((engine.cache / "trainings").iterdir())


def test_the_same_command_again_trains_only_what_is_missing(pictures: Path, place: Workspace, engine: Here) -> None:
    first = api.sweep(**quick(pictures, seeds=2, run="x"), on="here", workspace=place)
    engine.asked.clear()
    again = api.sweep(**quick(pictures, seeds=3, run="x"), on="here", workspace=place)
    assert engine.asked == [f"{TINY_FILE}, sgd, lr 0.1, seed 2"]
    assert again.runs[:2] == first.runs and again.runs[2].name == "x-3"
    with pytest.raises(UsageError, match="run 'x-1' exists already"):  # but this is another training
        api.sweep(**quick(pictures, seeds=2, run="x", epochs=2), on="here", workspace=place)
    engine.threads += 1  # adds up in another order
    assert api.train(**quick(pictures), on="here", workspace=place) not in again.runs


def test_a_training_whose_worker_is_lost_is_done_again(pictures: Path, place: Workspace, engine: Here) -> None:
    whole = api.train(**quick(pictures), workspace=place)
    engine.lose = 2
    assert weights(api.train(**quick(pictures), on="here", workspace=place)) == weights(whole)
    engine.lose, engine.lost = 3, {}
    with pytest.raises(RunError, match="seed 7: its worker was lost"):
        api.train(**quick(pictures, seed=7), on="here", workspace=place)
    assert len(run_names(place.runs)) == 2


def test_a_guard_rail_on_a_worker_is_reported_as_that_of_this_process(
    pictures: Path, place: Workspace, engine: Here, tmp_path: Path
) -> None:
    asked = quick(pictures, lr=[0.05, 1e30], epochs=3)
    here = api.sweep(**asked, workspace=dataclasses.replace(place, runs=tmp_path / "local"))
    there = api.sweep(**asked, on="here", workspace=place)
    ends = [[(seed, error.message, error.try_) for seed, error in one.failures] for one in there.combinations]
    assert ends == [[(seed, error.message, error.try_) for seed, error in one.failures] for one in here.combinations]
    assert ends[0] == [] and len(ends[1]) == 1 and len(engine.asked) == 2
    statuses = [
        sorted(RunFolder(runs / name).status for name in run_names(runs)) for runs in (place.runs, tmp_path / "local")
    ]
    assert statuses == [["done", "failed"]] * 2
    with pytest.raises(GuardRailError, match=r"loss is"):
        api.train(**quick(pictures, lr=1e30, epochs=3), on="here", workspace=place)


def test_a_worker_starts_from_the_weights_that_the_driver_names(
    pictures: Path, place: Workspace, tmp_path: Path
) -> None:
    api.train(**quick(pictures, run="first"), workspace=place)
    asked = quick(pictures, pretrained="first")
    here, there = (api.train(**asked, on=on, workspace=place) for on in ("local", "here"))
    assert weights(there) == weights(here) and read_record(there).notes == read_record(here).notes
    assert read_record(there).request.pretrained == "first"


def test_rates_of_a_worker_are_not_shown_beside_others(pictures: Path, place: Workspace) -> None:
    here, there = (RunFolder(api.train(**quick(pictures), on=on, workspace=place)) for on in ("local", "here"))
    assert not timing_files(there.path) and there.record.results.train_seconds
    own, other = run_view(here), run_view(there)
    assert own.train_rate and own.forward_rate and own.curve[0].images_per_second
    assert (other.train_rate, other.forward_rate, other.curve[0].images_per_second) == (None, None, 0.0)


def test_a_dry_run_reaches_no_worker(pictures: Path, place: Workspace, engine: Here) -> None:
    for asked in (quick(pictures), quick(pictures, seeds=2)):
        api.sweep(**asked, on="here", dry_run=True, workspace=place)
    api.train(**quick(pictures), on="here", dry_run=True, workspace=place)
    assert not engine.asked and not engine.cache.exists() and run_names(place.runs) == []


def test_a_model_in_a_file_must_be_the_same_file_on_the_worker(
    pictures: Path, place: Workspace, engine: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "net.py"
    file.write_text("from tiny import TINY\n")
    attempt = engine.attempt

    def elsewhere(units: Any) -> Any:
        file.write_text("from tiny import TINY  # another\n")
        return attempt(units)

    monkeypatch.setattr(engine, "attempt", elsewhere)
    with pytest.raises(RunError, match=r"the worker has no .*net\.py with the content that the driver's has"):
        api.train(**quick(pictures, model=f"{file}:TINY"), on="here", workspace=place)


def test_a_model_from_python_is_refused_before_any_work(pictures: Path, place: Workspace, engine: Here) -> None:
    with pytest.raises(UsageError, match="given from Python"):
        api.train(**quick(pictures, model=ModelSpec("mine", TinyNet, "tests")), on="here", workspace=place)
    assert not engine.asked


def test_a_run_is_not_continued_by_workers(place: Workspace) -> None:
    with pytest.raises(UsageError, match="--on cannot be used with --resume"):
        api.train(resume="latest", on="here", workspace=place)


def test_what_a_killed_worker_left_of_a_training_goes_when_it_is_done_again(
    pictures: Path, place: Workspace, engine: Here
) -> None:
    from bench.commands.train import train_one, whole
    from bench.commands.trainings_on_workers import units_of
    from bench.engines.driving import Workers
    from bench.recipes.files import recipe_of

    asked = TrainRequest(**quick(pictures))
    request = whole(asked, recipe_of(asked.recipe).changed(asked.changes()))
    (unit,) = units_of([request], train_one, on=Workers(engine), workspace=place, swept=0)
    left, other = (engine.cache / "trainings" / name for name in (f"{unit.digest[:16]}-x", "of-another"))
    for each in (left, other):
        (each / "run").mkdir(parents=True)
    api.train(**quick(pictures), on="here", workspace=place)
    assert (left.exists(), other.exists()) == (False, True)


LETHAL = """
import os, signal
from dataclasses import replace
from pathlib import Path
from tiny import TINY, TinyNet

class Net(TinyNet):
    steps = 0

    def forward(self, x):
        Net.steps += self.training
        if Net.steps > 5 and not Path({marker!r}).exists():  # in the middle of the first epoch
            Path({marker!r}).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)

LETHAL = replace(TINY, build=Net)
"""


@pytest.fixture
def lethal(tmp_path: Path) -> tuple[str, Path]:
    """A model that kills the first process which trains it, and the file that says it did."""
    file, marker = tmp_path / "lethal.py", tmp_path / "killed"
    file.write_text(LETHAL.format(marker=str(marker)))
    return f"{file}:LETHAL", marker


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def same_as_here(there: Sequence[Path], asked: dict[str, Any], place: Workspace, folder: Path) -> bool:
    """Whether the weights are those of the same trainings in this process with one thread."""
    with one_thread():
        here = api.sweep(**asked, workspace=Workspace(folder, place.cache))
    return [weights(one) for one in there] == [weights(one) for one in here.runs]


@pytest.mark.slow
def test_two_processes_train_what_one_trains_though_one_is_killed(
    pictures: Path, tmp_path: Path, cache: Path, lethal: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    place, asked = Workspace(tmp_path / "runs", cache), quick(pictures, model=lethal[0], seeds=3)
    there = api.sweep(**asked, on="local:2", workspace=place)
    assert lethal[1].exists() and not any((cache / "trainings").iterdir())
    assert same_as_here(there.runs, asked, place, tmp_path / "local")
    assert api.sweep(**asked, on="local:2", workspace=place).runs == there.runs


@pytest.mark.slow
def test_dask_workers_without_a_shared_disk_train_four_seeds_though_one_is_killed(
    tmp_path: Path, lethal: tuple[str, Path]
) -> None:
    from dask_cluster import dask_cluster

    driver = tmp_path / "driver"
    images = write_images(driver / "pictures", tiny_data(train=16, test=6))
    place, asked = Workspace(driver / "runs", driver / "cache"), quick(images, model=lethal[0], seeds=4)
    api.train(**quick(images, run="start"), workspace=place)
    asked["pretrained"] = str(checkpoint_path(driver / "runs" / "start"))
    tests = str(Path(__file__).parent)
    with dask_cluster(tmp_path / "cluster", driver, workers=0, PYTHONPATH=tests) as cluster:
        for _ in range(2):
            cluster.add(PYTHONPATH=tests)
        cluster.ready()
        there = api.sweep(**asked, on=f"dask:{cluster.address}", workspace=place)
        assert [each.process.poll() for each in cluster.machines].count(-9) == 1
        again = api.sweep(**asked, on=f"dask:{cluster.address}", workspace=place)
    assert again.runs == there.runs and len(run_names(place.runs)) == 5
    assert all(read_record(run).environment.threads == 1 for run in there.runs)
    assert same_as_here(there.runs, asked, place, tmp_path / "local")


def test_equal_data_sets_have_equal_files(tmp_path: Path) -> None:
    files = {packed(tiny_data(train=1, test=1), tmp_path).sha256 for _ in range(12)}
    assert len(files) == 1 and len(list((tmp_path / "packed").iterdir())) == 1
