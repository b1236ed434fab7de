"""Never lose work: a training that ends early goes on as if it had not."""

import errno
import hashlib
import io
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any
from unittest.mock import DEFAULT, Mock, patch

import pytest
import torch
from command_line import call, done
from listening import Listener
from pretended import pretended
from tiny import BUSY, QUICK, RESIDUAL, RESIDUAL_FILE, TINY, TINY_FILE, Dropping, tiny_data, write_images
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from bench import api
from bench.commands.train import find_unfinished, reopen, settings_of
from bench.contracts import Augmentation, Dataset, Silence
from bench.errors import BenchError, GuardRailError, RunError, StoreError, UsageError
from bench.nets.trained import data_of_run
from bench.nets.weights import build_seeded
from bench.recipes.recipe import Recipe
from bench.request import TrainRequest
from bench.schema.page import EpochPoint
from bench.store.files import append_line, read_checkpoint, read_lines
from bench.store.paths import CHECKPOINT, LOG, resume_files
from bench.store.runs import read_record, updated
from bench.store.timings import read_timings
from bench.training import checkpoint as keeping
from bench.training.checkpoint import (
    FileKeeper,
    Resume,
    State,
    copied,
    fingerprint,
    held,
    newest_resume,
    read_resume,
    write_resume,
)
from bench.training.fitting import check_fits
from bench.training.init import initial_model
from bench.training.loop import TrainSettings, train_model
from bench.training.run import deferred
from bench.workspace import Workspace

CPU = torch.device("cpu")
OPTIONS: dict[str, Any] = {"model": TINY_FILE, "epochs": 3, "batch_size": 16, "lr": 0.05, "val": 0.25}


class Every:
    """Keeps the state after every step, or ends the training after so many of them."""

    def __init__(self, end: int | None = None) -> None:
        self.states: list[State] = []
        self.end = end

    def due(self) -> bool:
        return True

    def keep(self, state: State) -> None:
        self.states.append(state)
        if self.end is not None and len(self.states) > self.end:
            raise KeyboardInterrupt


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def lines_without_times(folder: Path) -> list[dict[str, Any]]:
    return [{**line, "images_per_second": 0} for line in read_lines(folder / LOG)]


def points_of(net: nn.Module, data: Dataset, settings: TrainSettings, **options: Any) -> list[EpochPoint]:
    """The curve of a training, without its times."""
    points: list[EpochPoint] = []
    options = {"device": CPU, **options}
    train_model(net, data, settings, progress=Silence(), on_epoch=points.append, **options)
    return [replace(point, images_per_second=0) for point in points]


def train(net: nn.Module, optimizer: str = "sgd", **options: Any) -> list[EpochPoint]:
    recipe = replace(QUICK, optimizer=optimizer, lr=0.05 if optimizer == "sgd" else 0.001)
    return points_of(net, tiny_data(), TrainSettings(recipe, val=0.25), **options)


# --- the loop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_going_on_from_any_step_gives_the_weights_and_curves_of_the_whole_run(optimizer: str) -> None:
    keeper, whole = Every(), build_seeded(TINY, 4, 0)
    points = train(whole, optimizer, keeper=keeper)
    assert [state.step for state in keeper.states] == [*range(13), *range(1, 13)]
    for state in keeper.states[::5] + keeper.states[-2:]:
        net = build_seeded(TINY, 4, 1)
        assert train(net, optimizer, start=state) == points[state.epoch :]
        assert equal(net.state_dict(), whole.state_dict()), state.done


def test_a_state_shares_no_memory_with_the_training() -> None:
    keeper, net = Every(), build_seeded(TINY, 4, 0)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    train(net, keeper=keeper)
    assert equal(keeper.states[0].weights, before)
    for _ in range(2):  # and a training that went on from it left it as it was
        again = build_seeded(TINY, 4, 1)
        train(again, start=keeper.states[5])
        assert equal(again.state_dict(), net.state_dict())


def test_a_state_leaves_the_device_in_one_copy_a_type_with_its_formats_and_nothing_else_does() -> None:
    whole = torch.arange(24.0).reshape(2, 3, 4)
    values = {"a": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last), "b": [torch.rand(3, 5), 7, "words"],
              "c": torch.tensor(3), "d": torch.tensor(0.5), "e": torch.rand(0), "f": torch.tensor([True])}  # fmt: skip
    with pretended("cuda") as machine:
        there = tree_map_only(Tensor, lambda each: each.to(machine.device), values)
        with machine.counting() as count, patch.object(torch, "empty", wraps=torch.empty) as made:
            here = copied(there)
        assert [one.kwargs["pin_memory"] for one in made.call_args_list] == [True] * 3
        (first, *_), gaps = here["b"], copied({"g": whole.to(machine.device)[:, ::2], "h": whole[:, ::2]})  # have gaps
        assert sum(count.waits.values()) == 3 and count.operations["cat"] == 3  # float32, int64, bool
        tree_map_only(Tensor, lambda each: each.zero_(), there)
    assert tree_map_only(Tensor, lambda each: (each.tolist(), each.stride(), each.device), here) == tree_map_only(
        Tensor, lambda each: (each.tolist(), each.stride(), each.device), values
    )
    assert first.untyped_storage().data_ptr() == here["a"].untyped_storage().data_ptr() and here["a"].is_contiguous(
        memory_format=torch.channels_last
    )
    assert torch.equal(gaps["g"], whole[:, ::2]) and torch.equal(gaps["h"], whole[:, ::2])


def test_on_a_device_going_on_gives_the_whole_run_and_a_file_holds_each_value_once(tmp_path: Path) -> None:
    with pretended("cuda") as machine:
        keeper, whole = Every(), build_seeded(TINY, 4, 0)
        points = train(whole, keeper=keeper, device=machine.device)
        state = keeper.states[14]
        path = write_resume(tmp_path, Resume("this", state, log_bytes=0, threads=1, versions={}))
        net = build_seeded(TINY, 4, 1)
        start = read_resume(path, "this").state
        assert train(net, start=start, device=machine.device) == points[state.epoch :]
        assert equal(copied(net.state_dict()), copied(whole.state_dict()))
    tensors = [each for each in tree_leaves(vars(state)) if isinstance(each, Tensor)]
    assert path.stat().st_size < 1.5 * sum(each.nbytes for each in tensors) + 30_000


def test_dropout_goes_on_with_the_same_numbers() -> None:
    torch.manual_seed(0)
    keeper, whole = Every(), Dropping(4)
    train(whole, keeper=keeper)
    torch.manual_seed(5)
    net = Dropping(4)
    train(net, start=keeper.states[7])
    assert equal(net.state_dict(), whole.state_dict())


class Sleepy(Every):
    """Takes its time over the state after the last step."""

    def due(self) -> bool:
        return False

    def keep(self, state: State) -> None:
        super().keep(state)
        if state.done:
            time.sleep(0.5)


def test_what_keeping_takes_is_in_the_rate_of_its_epoch() -> None:
    keeper, points = Sleepy(), []
    recipe, data = replace(QUICK, lr=0.05), tiny_data()
    settings = TrainSettings(recipe, val=0.25)
    speed = train_model(
        build_seeded(TINY, 4, 0), data, settings, device=CPU, progress=Silence(), on_epoch=points.append, keeper=keeper
    )
    assert [state.done for state in keeper.states] == [0, 24]
    assert speed.laps[1][1] > 0.5 and points[1].images_per_second < 192 / 0.5


def test_a_state_of_another_model_is_refused() -> None:
    keeper = Every()
    train(build_seeded(TINY, 4, 0), keeper=keeper)
    other = keeper.states[3].weights | {"fc.weight": torch.zeros(5, 16)}
    with pytest.raises(StoreError, match="does not fit"):
        train(build_seeded(TINY, 4, 0), start=replace(keeper.states[3], weights=other))


NARROW = replace(BUSY, precision="bf16")
Busy = tuple[list[State], list[EpochPoint], dict[str, Tensor]]


def train_busy(net: nn.Module, **options: Any) -> list[EpochPoint]:
    """Four epochs of eight steps with everything on; the slow weights are looked at every five steps."""
    return points_of(net, replace(tiny_data(32), mirror=True), TrainSettings(NARROW, val=0), **options)


@pytest.fixture(scope="module")
def busy() -> Busy:
    """All states of such a training, its curve, and the weights that it ended with."""
    keeper, net = Every(), build_seeded(RESIDUAL, 4, 0)
    points = train_busy(net, keeper=keeper)
    return keeper.states, points, net.state_dict()


def test_with_every_ingredient_on_going_on_from_any_step_gives_the_whole_run(busy: Busy) -> None:
    every, points, weights = busy
    states = [state for state in every if state.step in (0, 2, 3, 8)]  # on bounds of epochs, and inside
    assert {state.epoch for state in states} == {0, 1, 2, 3}  # images of every size, and both turns
    assert {state.done % 5 for state in states} == {0, 1, 2, 3, 4}
    for state in states:
        net = build_seeded(RESIDUAL, 4, 1)
        assert train_busy(net, start=state) == points[state.epoch :]
        assert equal(net.state_dict(), weights), state.done


def test_with_every_ingredient_on_a_resume_file_gives_the_whole_run(busy: Busy, tmp_path: Path) -> None:
    for state in (busy[0][14], busy[0][20]):
        path = write_resume(tmp_path, Resume("this", state, log_bytes=0, threads=1, versions={}))
        net = build_seeded(RESIDUAL, 4, 1)
        train_busy(net, start=read_resume(path, "this").state)
        assert equal(net.state_dict(), busy[2]), state.done


def test_every_state_of_a_training_fits_it(busy: Busy) -> None:
    for state in busy[0]:
        check_fits(state, build_seeded(RESIDUAL, 4, 1), NARROW, 8, CPU)


@pytest.mark.parametrize("part", ["slow", "pixels", "weights", "optimizer"])
def test_a_part_of_the_state_that_went_missing_would_show(busy: Busy, part: str) -> None:
    net = build_seeded(RESIDUAL, 4, 1)
    train_busy(net, start=replace(busy[0][14], **{part: getattr(busy[0][0], part)}))
    assert not equal(net.state_dict(), busy[2])


def test_slow_weights_of_a_training_without_them_are_refused(busy: Busy) -> None:
    with pytest.raises(StoreError, match="slow weights"):
        train_busy(build_seeded(RESIDUAL, 4, 0), start=replace(busy[0][3], slow={}))


# --- run folders --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("pictures"), tiny_data(train=32, test=8))


@pytest.fixture
def place(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Every step is kept."""
    return Workspace(tmp_path / "runs", tmp_path_factory.getbasetemp() / "cache", save_every=0, progress=Listener())


@pytest.fixture(scope="module")
def once(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two runs that tests take copies of: `whole`, and `broken`, interrupted in its second epoch."""
    place = Workspace(tmp_path_factory.mktemp("once"), tmp_path_factory.getbasetemp() / "cache", save_every=0)
    api.train(data=str(pictures), run="whole", workspace=place, **OPTIONS)
    with pytest.MonkeyPatch.context() as patch:
        break_off(place, pictures, patch, 9)
    return place.runs


@pytest.fixture
def broken_off(place: Workspace, once: Path) -> Path:
    return Path(shutil.copytree(once / "broken", place.runs / "broken"))


@pytest.fixture
def whole(place: Workspace, once: Path) -> Path:
    return Path(shutil.copytree(once / "whole", place.runs / "whole"))


def break_off(place: Workspace, pictures: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> Path:
    with monkeypatch.context() as patched:
        ends = chain(repeat(DEFAULT, steps), repeat(KeyboardInterrupt))
        patched.setattr(keeping, "write_resume", Mock(wraps=write_resume, side_effect=ends))
        with pytest.raises(KeyboardInterrupt) as caught:
            api.train(data=str(pictures), run="broken", workspace=place, **OPTIONS)
    assert caught.value.__notes__ == [f"bench train --resume broken --runs-dir {place.runs}"]
    return place.runs / "broken"


def same_result(one: Path, other: Path) -> bool:
    weights = [read_checkpoint(each / CHECKPOINT)[0] for each in (one, other)]
    return equal(*weights) and lines_without_times(one) == lines_without_times(other)


def test_a_run_that_is_done_holds_nothing_an_unfinished_run_needs(whole: Path) -> None:
    assert {path.name for path in whole.iterdir()} == {
        "run.json", ".lock", "log.jsonl", "checkpoint.safetensors", "predictions.npz", "report.html",
        "page.json", "timing",
    }  # fmt: skip
    assert [line["epoch"] for line in read_lines(whole / LOG)] == [1, 2, 3]


def test_a_training_writes_a_timing_of_its_own_that_says_what_its_record_and_its_log_say(whole: Path) -> None:
    (timing,) = read_timings(whole)
    (arm,), rate = timing.arms, read_record(whole).results.train_images_per_second
    assert (timing.what, arm.name, arm.batch_size, arm.n, arm.rate) == ("train", "train[whole]", 16, 3, rate)
    told = [one.images / seconds for one in timing.samples for seconds in one.seconds]
    assert told == pytest.approx([line["images_per_second"] for line in read_lines(whole / LOG)])


def test_the_newest_two_files_of_an_unfinished_run_are_kept(broken_off: Path) -> None:
    assert [path.name for path in resume_files(broken_off)] == ["resume-8.pt", "resume-7.pt"]
    assert read_record(broken_off).status == "interrupted"


@pytest.mark.parametrize("steps", [1, 7, 8, 18])
def test_a_resumed_run_equals_the_whole_one(
    place: Workspace, pictures: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, steps: int
) -> None:
    folder = break_off(place, pictures, monkeypatch, steps)
    assert api.train(resume="latest", workspace=place) == folder and same_result(folder, whole)
    record = read_record(folder)
    assert (record.status, record.message, record.results.resumed) == ("done", "", 1)
    assert (place.runs / "latest").read_text() == "broken"
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


def test_a_run_that_was_stopped_while_it_was_tested_is_tested_again(
    place: Workspace, pictures: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("bench.training.run.evaluate_into", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            api.train(data=str(pictures), run="untested", workspace=place, **OPTIONS)
    folder = place.runs / "untested"
    assert api.train(resume=str(folder), workspace=Workspace(place.runs / "elsewhere", place.cache)) == folder
    assert same_result(folder, whole) and (place.runs / "latest").read_text() == "untested"


def test_latest_is_the_unfinished_run_that_was_kept_last(
    broken_off: Path, place: Workspace, pictures: Path, whole: Path
) -> None:
    for path in Path(shutil.copytree(broken_off, place.runs / "older")).iterdir():
        os.utime(path, (1, 1))
    (place.runs / "strange").mkdir()
    (place.runs / "strange" / "run.json").write_text("no record", encoding="utf-8")
    assert find_unfinished(place.runs, "latest") == broken_off


def test_lines_of_epochs_that_come_again_are_cut(broken_off: Path, place: Workspace, whole: Path) -> None:
    append_line(broken_off / LOG, {"epoch": 2, "of": "the step after the file"})
    with (broken_off / LOG).open("ab") as file:
        file.write(b'{"epoch": 3, "half a')
    api.train(resume="broken", workspace=place)
    assert same_result(broken_off, whole)


def test_data_that_was_moved_can_be_named_and_other_data_is_refused(
    broken_off: Path, place: Workspace, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(BenchError, match="is not the data"):
        api.train(resume="broken", data="digits", workspace=place)
    moved = write_images(tmp_path / "moved", tiny_data(train=32, test=8))
    assert api.train(resume="broken", data=str(moved), workspace=place) == broken_off


@pytest.mark.parametrize("given", [{"epochs": 9}, {"seed": 1}, {"run": "other"}, {"device": "cpu"}, {"dry_run": True}])
def test_options_beside_resume_are_refused_by_name(broken_off: Path, place: Workspace, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--" + next(iter(given)).replace("_", "-")):
        api.train(resume="broken", workspace=place, **given)
    assert resume_files(broken_off)


def test_a_run_that_is_done_or_has_no_file_is_refused(whole: Path, place: Workspace) -> None:
    with pytest.raises(UsageError, match="is done"):
        api.train(resume="whole", workspace=place)
    with pytest.raises(StoreError, match="no unfinished run"):
        api.train(resume="latest", workspace=place)
    updated(whole, lambda record: replace(record, status="failed"))
    with pytest.raises(StoreError, match="no resume file"):
        api.train(resume="whole", workspace=place)


def test_other_threads_or_versions_only_warn(broken_off: Path, place: Workspace) -> None:
    found = read_resume(resume_files(broken_off)[0], fingerprint(read_record(broken_off)))
    write_resume(broken_off, replace(found, threads=999, versions={**found.versions, "torch": "0.1"}))
    api.train(resume="broken", workspace=place)
    assert ["999 threads" in words and "torch 0.1" in words for words in place.progress.warned] == [True]


def test_a_clock_that_goes_back_changes_no_rate_and_no_choice_of_a_file(
    broken_off: Path, place: Workspace, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age, path in enumerate(reversed(resume_files(broken_off))):
        os.utime(path, (4e9 - age, 4e9 - age))  # of the future, and the newest step the oldest
    backwards = count(4e9, -3600)
    monkeypatch.setattr("time.time", lambda: next(backwards))
    earlier = replace(place, started=datetime(1999, 1, 1, tzinfo=UTC))
    assert api.train(resume="latest", workspace=earlier) == broken_off and same_result(broken_off, whole)
    assert not place.progress.warned
    assert all(0 < line["images_per_second"] < 1e9 for line in read_lines(broken_off / LOG))
    assert (read_record(broken_off).results.train_images_per_second or 0) > 0


def test_a_run_that_broke_a_guard_rail_leaves_nothing_to_continue(place: Workspace, pictures: Path) -> None:
    with pytest.raises(GuardRailError):
        api.train(data=str(pictures), run="wild", workspace=place, **{**OPTIONS, "lr": 1e30})
    assert not resume_files(place.runs / "wild") and read_record(place.runs / "wild").status == "failed"


UNLIKE = """
source = "a test"
epochs = 2
batch_size = 8
lr = 0.002
optimizer = "adamw"
lr_start = 0.5
lr_end = 0.25
warm_up = 0.5
momentum = 0.5
weight_decay = 0.01
norm_decay = false
bias_scale = 2.0
label_smoothing = 0.1
bn_momentum = 0.5
lookahead = 3
whiten = true
zero_init = true
sizes = [[16, 0.5]]
precision = "bf16"
[augmentation]
pad = 2
flip = true
cutout = 3
alternate = true
"""


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_stored_settings_train_the_same_weights_again(
    place: Workspace, pictures: Path, tmp_path: Path, optimizer: str
) -> None:
    file = tmp_path / "unlike.toml"
    file.write_text(UNLIKE.replace('"adamw"', f'"{optimizer}"'), encoding="utf-8")
    options = {"model": RESIDUAL_FILE, "val": 0.25, "limit": 96, "seed": 7, "device": "cpu"}
    folder = api.train(data=str(pictures), recipe=str(file), run="first", workspace=place, **options)
    record = read_record(folder)
    settings = settings_of(record.request)
    if optimizer == "adamw":
        plain = Recipe("plain", 20, 128, 0.1, "")
        same = {key for key, value in settings.recipe.values().items() if value == plain.values()[key]}
        assert not same, "values that say nothing, since they are the default"
        assert settings.recipe.augmentation == Augmentation(translate=2, flip="alternating", cutout=3)
    net = initial_model(RESIDUAL, place.models, classes=4, seed=settings.seed, init=record.request.init)
    points = points_of(net, data_of_run(record, None, place), settings)
    assert equal(dict(net.state_dict()), read_checkpoint(folder / CHECKPOINT)[0])
    assert [point.train_loss for point in points] == [line["train_loss"] for line in read_lines(folder / LOG)]


def test_a_precision_is_stored_as_what_it_meant(whole: Path) -> None:
    assert settings_of(read_record(whole).request).recipe.precision in ("fp32", "bf16")


# --- damaged files ------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip, "checksum"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "checksum"),
        (lambda path: path.write_bytes(resume_files(path.parent)[1].read_bytes()), "another step"),
        (lambda path: path.write_bytes(b""), "not a resume"),
    ],
)
def test_a_damaged_file_is_left_out_with_its_reason_and_the_one_before_it_used(
    broken_off: Path, place: Workspace, whole: Path, damage: Callable[[Path], None], reason: str
) -> None:
    damage(resume_files(broken_off)[0])
    api.train(resume="broken", workspace=place)
    (words,) = place.progress.warned
    assert reason in words and "resume-7.pt" in words and same_result(broken_off, whole)


def planted(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    """A change of the first weight of a state, or of the running mean of the first parameter."""

    def damage(value: dict[str, Any]) -> None:
        state = value["state"]
        change({"weights": state["weights"], "name": next(iter(state["weights"])), "state": state, "all": value,
                "means": state["optimizer"]["state"][0], "group": state["optimizer"]["param_groups"][0]})  # fmt: skip

    return damage


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "shape": (lambda at: at["weights"].update({at["name"]: torch.zeros(2)}), "the model has"),
    "type": (lambda at: at["weights"].update({at["name"]: at["weights"][at["name"]].half()}), "float16"),
    "sparse": (lambda at: at["weights"].update({at["name"]: at["weights"][at["name"]].to_sparse()}), "sparse"),
    "NaN": (lambda at: at["weights"][at["name"]].fill_(float("nan")), "NaN"),
    "a weight missing": (lambda at: at["weights"].pop(at["name"]), "missing"),
    "another weight": (lambda at: at["weights"].update(other=torch.zeros(1)), "not of this model"),
    "no tensor": (lambda at: at["weights"].update({at["name"]: "abc"}), "state.weights"),
    "part missing": (lambda at: at["state"].pop("order"), "order"),
    "part too many": (lambda at: at["all"].update(more=1), "more"),
    "no state": (lambda at: at["all"].update(state=[1]), "no resume file contains"),
    "text for a number": (lambda at: at["all"].update(log_bytes="7"), "log_bytes"),
    "NaN for a number": (lambda at: at["all"].update(log_bytes=float("nan")), "log_bytes"),
    "versions": (lambda at: at["all"].update(versions=3), "versions"),
    "beyond the run": (lambda at: at["state"].update(epoch=99), "epoch 100 of 3"),
    "below zero": (lambda at: at["state"].update(step=-1), "step -1"),
    "seconds": (lambda at: at["state"].update(seconds=float("nan")), "seconds"),
    "no laps": (lambda at: at["state"].update(laps=()), "0 times"),
    "laps": (lambda at: at["state"].update(laps=(("a", 1.0),)), "laps"),
    "seen": (lambda at: at["state"].update(seen=10**9), "images right"),
    "right": (lambda at: at["state"].update(right=torch.zeros(3)), "Tensor"),
    "loss": (lambda at: at["state"].update(loss_sum=torch.tensor(float("inf"))), "loss of inf"),
    "order": (lambda at: at["state"].update(order=torch.zeros(3)), "random numbers"),
    "pixels": (lambda at: at["state"].update(pixels=torch.zeros(3, dtype=torch.uint8)), "random numbers"),
    "ambient": (lambda at: at["state"].update(ambient={}), "cpu"),
    "slow": (lambda at: at["state"].update(slow={"a": torch.zeros(1)}), "slow weights"),
    "another recipe": (lambda at: at["group"].update(weight_decay=0.7), "another recipe"),
    "another optimizer": (lambda at: at["group"].update(betas=(0.9, 0.99)), "another recipe"),
    "mean's shape": (lambda at: at["means"].update(momentum_buffer=torch.zeros(7)), "shape"),
    "mean's NaN": (lambda at: at["means"]["momentum_buffer"].fill_(float("nan")), "NaN"),
    "mean missing": (lambda at: at["means"].clear(), "missing"),
    "no means": (lambda at: at["state"]["optimizer"].update(state={}), "0 parameters"),
    "no groups": (lambda at: at["state"].update(optimizer={}), "param_groups"),
}  # fmt: skip


def plant(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a resume file holds, with a checksum that fits."""
    value = torch.load(io.BytesIO(path.read_bytes().partition(b"\n")[2]), weights_only=True)
    planted(change)(value)
    buffer = io.BytesIO()
    torch.save(value, buffer)
    data = buffer.getvalue()
    path.write_bytes(f"bench resume file, sha256 of the rest: {hashlib.sha256(data).hexdigest()}\n".encode() + data)


@pytest.mark.parametrize(("change", "reason"), WRONG.values(), ids=WRONG)
def test_a_file_with_a_right_checksum_and_wrong_contents_is_left_out_with_its_reason(
    broken_off: Path, place: Workspace, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    plant(resume_files(broken_off)[0], change)
    job = reopen(broken_off, None, place)
    (words,) = place.progress.warned
    assert reason in words and "resume-8.pt" in words and "from the file before it, resume-7.pt" in words
    assert job.start is not None and job.start.state.done == 7


def test_where_every_file_holds_something_wrong_that_is_the_error(broken_off: Path) -> None:
    for path in resume_files(broken_off):
        plant(path, WRONG["NaN"][0])
    result = call("train", "--resume", "broken", runs=broken_off.parent)
    assert result.exit_code == 4 and result.stderr.count("holds NaN") == 2, result.stderr
    assert "error:" in result.stderr and "try: bench train --help" in result.stderr


def test_without_an_intact_file_nothing_is_touched(broken_off: Path, place: Workspace) -> None:
    for path in resume_files(broken_off):
        flip(path)
    before = {path.name: path.read_bytes() for path in broken_off.iterdir() if path.name != "run.json"}
    with pytest.raises(StoreError, match=r"resume-8.*resume-7"):
        api.train(resume="broken", workspace=place)
    assert {path.name: path.read_bytes() for path in broken_off.iterdir() if path.name != "run.json"} == before


def test_a_file_of_a_run_with_other_settings_is_refused_and_a_log_that_lost_lines_noticed(broken_off: Path) -> None:
    record = read_record(broken_off)
    (broken_off / LOG).write_bytes(b"")
    edited = replace(record, request=replace(record.request, lr=0.5))
    for one, words in ((edited, "another run"), (record, "has 0 bytes")):
        with pytest.raises(StoreError, match=words):
            newest_resume(broken_off, fingerprint(one), lambda words: None)


def test_a_resume_file_without_an_end_is_refused_before_it_is_read(
    broken_off: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = resume_files(broken_off)[0], fingerprint(read_record(broken_off))
    monkeypatch.setattr("bench.training.checkpoint.RESUME_BYTES", path.stat().st_size - 1)
    with pytest.raises(StoreError, match="and at most"):
        read_resume(path, run)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        read_resume(path, run)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.target),))


def test_a_planted_pickle_bomb_does_nothing(broken_off: Path, tmp_path: Path) -> None:
    path, target = resume_files(broken_off)[0], tmp_path / "exploded"
    buffer = io.BytesIO()
    torch.save({"schema": 1, "bomb": Bomb(target)}, buffer)
    run = fingerprint(read_record(broken_off))
    for data in (buffer.getvalue(), pickle.dumps(Bomb(target), protocol=2)):
        head = f"bench resume file, sha256 of the rest: {hashlib.sha256(data).hexdigest()}\n".encode()
        for planted in (data, head + data):  # with a checksum that fits, too
            path.write_bytes(planted)
            with pytest.raises(StoreError):
                read_resume(path, run)
    assert not target.exists()


# --- writes that fail, other processes, signals -------------------------------------------------------------


@pytest.mark.usefixtures("synced")
def test_a_full_disk_stops_with_a_clear_error_and_intact_files(
    place: Workspace, pictures: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    real, room = os.fsync, iter(range(30))

    def fsync(descriptor: int) -> None:
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(RunError, match="No space left") as caught:
            api.train(data=str(pictures), run="full", workspace=place, **OPTIONS)
    assert "bench train --resume full" in caught.value.try_
    folder = place.runs / "full"
    run = fingerprint(read_record(folder))
    assert [read_resume(path, run).state.done for path in resume_files(folder)]
    api.train(resume="full", workspace=place)
    assert same_result(folder, whole)


def test_states_are_written_by_time_from_a_thread_for_which_no_step_waits(
    place: Workspace, pictures: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    """The first write takes as long as seven steps; the next begins with the step after it."""
    seventh, written, seen = threading.Event(), [], []

    def slow(folder: Path, resume: Resume) -> Path:
        assert threading.current_thread() is not threading.main_thread()
        assert written or seventh.wait(60)
        written.append(resume.state.done)
        return write_resume(folder, resume)

    def due(keeper: FileKeeper) -> bool:
        seen.append(1)
        if len(seen) == 7:
            seventh.set()
            while keeper.writing is not None and not keeper.writing.done():
                time.sleep(1e-3)
        return FileKeeper.__dict__["was"](keeper)

    monkeypatch.setattr(FileKeeper, "was", FileKeeper.due, raising=False)
    monkeypatch.setattr(FileKeeper, "due", due)
    monkeypatch.setattr(keeping, "write_resume", slow)
    api.train(data=str(pictures), run="slow", workspace=replace(place, save_every=1e-9), **OPTIONS)
    assert written[:2] == [0, 7] and written[-1] == len(seen) == 18 and same_result(place.runs / "slow", whole)


def test_between_two_saves_nothing_is_written_at_the_end_of_an_epoch(
    place: Workspace, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Mock(wraps=write_resume)
    monkeypatch.setattr(keeping, "write_resume", spy)
    api.train(data=str(pictures), run="fast", workspace=replace(place, save_every=1e9), **OPTIONS)
    assert [one.args[1].state.done for one in spy.call_args_list] == [0, 18]


def test_a_write_that_fails_ends_the_training_at_its_next_step(
    place: Workspace, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def due(keeper: FileKeeper) -> bool:
        steps.append(1)
        while keeper.writing is not None and not keeper.writing.done():
            time.sleep(1e-3)
        return FileKeeper.__dict__["was"](keeper)

    monkeypatch.setattr(FileKeeper, "was", FileKeeper.due, raising=False)
    monkeypatch.setattr(FileKeeper, "due", due)
    monkeypatch.setattr(keeping, "write_resume", Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.raises(RunError, match="No space left"):
        api.train(data=str(pictures), run="full", workspace=replace(place, save_every=1e9), **OPTIONS)
    assert steps == [1]


def hold(folder: Path, ready: Any, leave: Any) -> None:
    with held(folder):
        ready.set()
        leave.wait(60)


def test_a_second_process_on_a_run_is_refused_and_told_of_the_first(broken_off: Path, place: Workspace) -> None:
    context = multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=hold, args=(broken_off, ready, leave))
    other.start()
    try:
        assert ready.wait(60)
        for _ in range(2):  # the one that was refused does not take the name away
            with pytest.raises(RunError, match=f"is being trained by process {other.pid}"):
                api.train(resume="broken", workspace=place)
    finally:
        leave.set()
        other.join(60)
    assert api.train(resume="broken", workspace=place) == broken_off


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_it_is_answered_and_a_second_one_does_not(number: int) -> None:
    class Came(BaseException):
        pass

    def come(number: int, frame: object) -> None:
        raise Came

    before = signal.signal(number, come)
    try:
        with pytest.raises(Came), deferred() as question:
            signal.raise_signal(number)
            assert question.asked()
            question.answer()
        with pytest.raises(Came), deferred() as question:
            signal.raise_signal(number)
            signal.raise_signal(number)
            pytest.fail("the second signal waited")
        with pytest.raises(Came), deferred():
            signal.raise_signal(number)  # nobody answers
        assert signal.getsignal(number) is come
        signal.signal(number, signal.SIG_IGN)
        with deferred() as question:
            signal.raise_signal(number)
            assert not question.asked()
    finally:
        signal.signal(number, before)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    def look() -> object:
        with deferred() as question:
            return question.before

    with ThreadPoolExecutor() as threads:
        assert threads.submit(look).result() == {}


def test_ctrl_c_within_a_step_keeps_the_state_after_it(
    place: Workspace, pictures: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    forward, calls = nn.Module.__call__, iter(range(60))  # a few steps
    made = place.runs / "asked"  # the passes that try the net come before, as many as the machine has time for

    def pressed(self: nn.Module, *values: Any) -> Any:
        if made.is_dir() and next(calls, None) == 59:
            signal.raise_signal(signal.SIGINT)
        return forward(self, *values)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(nn.Module, "__call__", pressed)
            with pytest.raises(KeyboardInterrupt):
                api.train(data=str(pictures), run="asked", workspace=replace(place, save_every=1e9), **OPTIONS)
    finally:
        signal.signal(signal.SIGINT, before)
    folder = place.runs / "asked"
    record = read_record(folder)
    assert read_resume(resume_files(folder)[0], fingerprint(record)).state.step > 0
    # What is tested at the end tells no training from another: runs of versions that could not choose it go on.
    assert isinstance(record.request, TrainRequest)
    other = replace(record, request=replace(record.request, average=False))
    assert fingerprint(other) == fingerprint(record) != fingerprint(replace(record, created="later"))
    api.train(resume="asked", workspace=place)
    assert same_result(folder, whole)


# --- the command line ---------------------------------------------------------------------------------------


def test_the_command_line_resumes_and_names_what_may_not_stand_beside(
    broken_off: Path, place: Workspace, whole: Path
) -> None:
    refused = call("train", "--resume", "broken", "--lr", "0.1", "--seed", "0", runs=place.runs)
    assert (refused.exit_code, "--lr, --seed cannot be used with --resume" in refused.stderr) == (2, True)
    # A default of the whole project is no option of this call.
    resumed = done("train", "--resume", "latest", runs=place.runs, env={"BENCH_EPOCHS": "9"})
    assert "continuing broken" in resumed.stderr and same_result(broken_off, whole)


# --- killed -------------------------------------------------------------------------------------------------


def kill_and_resume(tmp_path: Path, **asked: Any) -> dict[str, int]:
    """See killed.py; the folders are runs/whole and runs/killed."""
    asked = {"runs": str(tmp_path / "runs"), "cache": str(tmp_path / "cache"), "seed": 0, **asked}
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run([sys.executable, str(script), json.dumps(asked)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] == asked["kills"]
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    assert same_result(killed, whole)
    assert [line["epoch"] for line in read_lines(killed / LOG)] == list(range(1, asked["options"]["epochs"] + 1))
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}
    return found


BUSY_FILE = """
bias_scale = 4.0
norm_decay = false
label_smoothing = 0.1
lookahead = 5
whiten = true
sizes = [[16, 0.5], [24, 0.25]]
precision = "bf16"
augmentation.alternate = true
"""


@pytest.mark.slow
def test_a_small_net_killed_twenty_times_ends_as_if_it_had_not_been(tmp_path: Path, pictures: Path) -> None:
    recipe = tmp_path / "busy.toml"
    recipe.write_text(BUSY_FILE, encoding="utf-8")
    options = {**OPTIONS, "data": str(pictures), "recipe": str(recipe), "epochs": 16, "val": 0.0}
    found = kill_and_resume(tmp_path, options=options, kills=20, between=(0, 0.12), every=0, slow=True, threads=1)
    assert found["inside_writes"] >= 4


@pytest.mark.slow
def test_the_real_net_killed_three_times_ends_as_if_it_had_not_been(tmp_path: Path, pictures: Path) -> None:
    options = {**OPTIONS, "model": "cifar_resnet18", "data": str(pictures), "limit": 64, "epochs": 2, "val": 0.0}
    kill_and_resume(tmp_path, options=options, kills=3, between=(0, 0.8), every=0.3, slow=False, threads=2)
