"""The speed of explaining: all arms make the same artefact, and a ratio above 1 means that the reference is faster."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import pictures
from torch import Tensor, nn

from bench.contracts import ExplainerSpec, ModelSpec
from bench.nets.weights import build_seeded
from bench.registry.registry import discover
from bench.timing import rounds
from bench.timing.rounds import Work

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import explain  # noqa: E402 (from the folder above)

MODEL = f"{ROOT}/examples/my_model.py:TINY"
LAYERS = list(explain.RESNET_LAYERS)
TARGETS = torch.tensor([1, 3])


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return build_seeded(discover("model", ModelSpec)[MODEL], 4, 0).eval().to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return pictures(2).contiguous(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def arms(net: nn.Module) -> dict[str, explain.Maps]:
    return explain.arms_of(net)


def test_every_arm_but_the_forward_pass_ends_with_the_same_artefact(
    arms: dict[str, explain.Maps], images: Tensor
) -> None:
    for name, arm in arms.items():
        maps = arm(LAYERS, images, TARGETS)
        assert len(maps) == (0 if name == explain.FORWARD else 4)
        for each in maps:
            assert each.shape == (2, 32, 32) and each.dtype == np.float32 and 0 <= each.min() <= each.max() <= 1 + 1e-6


def test_captum_and_our_adapters_draw_what_the_reference_draws(arms: dict[str, explain.Maps], images: Tensor) -> None:
    drawn = {name: arm(LAYERS, images, TARGETS) for name, arm in arms.items()}
    for name in set(arms) - {explain.FORWARD, explain.GRADCAM}:
        for own, other in zip(drawn[explain.REFERENCE], drawn[name], strict=True):
            # Captum's users resize first and scale then, so the largest values of the pictures are not in one place.
            pairs = [each / each.max(axis=(1, 2), keepdims=True) for each in (own, other)]
            assert np.abs(pairs[0] - pairs[1]).max() <= 1e-4


def test_pytorch_grad_cam_draws_the_same_raw_map_in_its_own_scale(
    arms: dict[str, explain.Maps], net: nn.Module, images: Tensor
) -> None:
    raw = discover("explainer", ExplainerSpec)["reference"].explain(net, LAYERS, images, TARGETS[:, None])
    for layer, found in zip(LAYERS, arms[explain.GRADCAM](LAYERS, images, TARGETS), strict=True):
        large = nn.functional.interpolate(scaled(raw[layer].relu()), size=32, mode="bilinear")
        assert np.abs(scaled(large)[:, 0].numpy() - found).max() <= 1e-4


def scaled(maps: Tensor) -> Tensor:
    """As that library does: the smallest value becomes 0, the largest 1."""
    maps = maps - maps.amin(dim=(2, 3), keepdim=True)
    return maps / (1e-7 + maps.amax(dim=(2, 3), keepdim=True))


def test_all_four_layers_are_one_call_of_ours_and_the_sum_of_four_calls_of_a_library(images: Tensor) -> None:
    calls: list[tuple[str, tuple[str, ...]]] = []

    def noting(name: str) -> explain.Maps:
        return lambda layers, images, targets: calls.append((name, tuple(layers))) or []

    def take(work: Work) -> tuple[int, tuple[float, ...]]:
        work()
        return 1, (float(len(calls)),)

    arms = {name: noting(name) for name in (explain.REFERENCE, "theirs", explain.FORWARD)}
    times = explain.measured(arms, images, TARGETS, rounds=3, take=take)
    assert times["theirs", explain.ALL] == [
        sum(each) for each in zip(*(times["theirs", layer] for layer in LAYERS), strict=True)
    ]
    assert {key: len(found) for key, found in times.items()} == {
        **{(name, layer): 3 for name in (explain.REFERENCE, "theirs") for layer in (*LAYERS, explain.ALL)},
        (explain.FORWARD, "layer4"): 3,
    }
    played = calls[-6 * 10 :]
    assert played.count((explain.REFERENCE, tuple(LAYERS))) == 2 * 3
    assert played.count(("theirs", tuple(LAYERS))) == 0 and played[:10] == played[10:20][::-1]


def test_a_ratio_says_how_many_times_faster_the_reference_is() -> None:
    own, other = (explain.REFERENCE, "layer1"), ("other", "layer1")
    times = {own: [1.0, 2.0, 4.0, 1.0, 1.0, 1.0], other: [2.0, 6.0, 4.0, 2.0, 2.0, 2.0]}
    assert explain.goal_row(*other, 2.0, {32: times}) == ["other", "layer1", "2", "2.0 (1.0 to 3.0)", "yes"]
    slower = {own: [1.0], other: [1.9]}
    assert explain.goal_row("other", "layer1", 2.0, {32: times, 64: slower})[-2:] == ["1.9 (n too small)", "no"]


def test_rates_are_images_over_seconds() -> None:
    row = explain.rates_row("one", {("one", "layer1"): [1.0, 2.0, 4.0, 2.0, 2.0, 2.0]}, 8)
    assert row == ["8", "one", "4.0 (2.0 to 8.0)", "–", "–", "–", "–"]


def test_the_command_tells_hardware_rounds_and_every_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "WARM_UP", 0.0)  # nobody waits for times to settle
    options = ["--model", MODEL, "--batch-size", "2", "--rounds", "1", "--block", "0", "--device", "cpu"]
    text = explain.measure(explain.read_options([*options, "--threads", str(torch.get_num_threads())]))
    told = ("thread", "captum", "1 rounds", "fp32", "`my_model.py:TINY` with seeded weights")
    assert [words for words in told if words not in text.splitlines()[0]] == []
    assert len([line for line in text.splitlines() if line.endswith(("| yes |", "| no |"))]) == len(explain.GOALS)
    assert text.count("| 2 | Captum, frozen model |") == 1
