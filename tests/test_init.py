"""Where a training starts: shared and pretrained weights, and what it will take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from listening import Listener
from tiny import QUICK, TINY, TINY_FILE, tiny_data

from bench.contracts import ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.errors import StoreError, UsageError
from bench.estimates import duration, say_how_long
from bench.nets.summary import summarise
from bench.nets.weights import build_seeded
from bench.recipes.recipe import Recipe, find_recipe
from bench.registry.registry import discover
from bench.request import TrainRequest
from bench.schema.page import EpochPoint
from bench.store.record import read_record
from bench.training.init import initial_model, load_pretrained
from bench.training.loop import TrainSettings, train_model
from bench.training.run import Job, begin, complete
from bench.workspace import Workspace

CPU = torch.device("cpu")
MODELS = discover("model", ModelSpec)


@pytest.mark.slow
def test_one_shared_initialisation_and_one_seed_give_three_equal_loss_curves(tmp_path: Path) -> None:
    data = load_dataset("digits", cache=tmp_path, progress=Silence())
    recipe = replace(find_recipe("demo"), epochs=2, translate=4, flip="none", cutout=8)
    settings = TrainSettings(recipe, seed=5, val=0, limit=80)
    curves = []
    for name in MODELS:
        points: list[EpochPoint] = []
        net = initial_model(MODELS[name], MODELS, classes=10, seed=5, init="shared")
        train_model(net, data, settings, device=CPU, progress=Silence(), on_epoch=points.append)
        curves.append([(point.train_loss, point.train_accuracy) for point in points])
    assert len(curves[0]) == 2
    assert curves[0] == curves[1] == curves[2]


def test_native_initialisations_differ_between_the_code_bases() -> None:
    by_hand, torchvision = (
        initial_model(MODELS[name], MODELS, classes=10, seed=0, init="native").conv1.weight
        for name in ("cifar_resnet18", "torchvision_resnet18")
    )
    assert not torch.equal(by_hand, torchvision)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny net."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    folder.mkdir()
    data, net = tiny_data(16, 4), build_seeded(TINY, 4, 0)
    place = Workspace(runs=folder.parent)
    begin(folder, place, data, TrainRequest(TINY_FILE), CPU)
    complete(Job(folder, net, data, TrainSettings(replace(QUICK, epochs=1)), CPU), place)
    return folder


@pytest.mark.parametrize("how", ["name", "folder", "file"])
def test_training_starts_from_the_weights_of_a_run(run: Path, how: str) -> None:
    source = {"name": "first", "folder": f"{run}/", "file": str(run / "checkpoint.safetensors")}[how]
    net = build_seeded(TINY, 4, 9)
    assert load_pretrained(net, source, TINY, Workspace().models, run.parent) == []
    fresh = build_seeded(TINY, 4, 9)
    assert not torch.equal(net.fc.weight, fresh.fc.weight)
    assert read_record(run).results.parameters == sum(each.numel() for each in net.parameters())


def test_another_number_of_classes_keeps_the_new_head_and_says_so(run: Path) -> None:
    net = build_seeded(TINY, 7, 9)
    assert load_pretrained(net, "first", TINY, Workspace().models, run.parent) == ["fc.bias", "fc.weight"]


def test_weights_of_another_family_are_refused(run: Path) -> None:
    spec = MODELS["torchvision_resnet18"]
    with pytest.raises(UsageError, match="do not fit"):
        load_pretrained(build_seeded(spec, 10, 0), "first", spec, Workspace().models, run.parent)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing-here"):
        load_pretrained(build_seeded(TINY, 4, 0), "nothing-here", TINY, MODELS, tmp_path)


def test_a_long_training_says_what_would_be_shorter() -> None:
    long, short = Listener(), Listener()
    slow = Recipe(name="slow", epochs=2_000_000, batch_size=16, lr=0.1, source="tests")
    flops = 2 * summarise(build_seeded(TINY, 4, 0), TINY.input_size).macs
    say_how_long(flops, 50_000, slow, CPU, long)
    say_how_long(flops, 64, QUICK, CPU, short)
    assert any("shorter: --limit" in line for line in long.said)
    assert long.said[-1].startswith("--recipe cpu learns more than")
    assert len(short.said) == 1


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (75, "75 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
