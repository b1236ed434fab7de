"""Explainers that give one map are found, only they are, and the reason is the true one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pictures import pictures
from tiny import TinyResNet
from torch import Tensor, nn

from bench.judging.equality import CONSTANT_GRADIENT, NO_REASON, ONE_FORMULA, ONE_POSITION, equal_groups, reason_of

MAPS = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
NOISE = np.random.default_rng(1).uniform(-1, 1, size=MAPS.shape).astype(np.float32)


def test_equal_maps_are_one_group_and_others_stay_alone() -> None:
    maps = {"a": MAPS, "b": MAPS[::-1], "c": MAPS.copy(), "d": MAPS * 2}
    assert equal_groups(maps) == [("a", "c"), ("b",), ("d",)]


def test_of_no_maps_there_is_no_group() -> None:
    assert equal_groups({}) == []


def test_rounding_is_equal_and_ten_times_the_tolerance_is_not() -> None:
    top = np.abs(MAPS).max(axis=(1, 2), keepdims=True)
    assert equal_groups({"a": MAPS, "b": MAPS + 0.9e-5 * top * NOISE}) == [("a", "b")]
    assert equal_groups({"a": MAPS, "b": MAPS + 1e-4 * top * NOISE}) == [("a",), ("b",)]


def test_one_row_that_differs_parts_two_explainers() -> None:
    other = MAPS.copy()
    other[3, 0, 0] += np.abs(MAPS[3]).max() / 100
    assert equal_groups({"a": MAPS, "b": other}) == [("a",), ("b",)]


def test_a_difference_in_a_faint_map_counts_as_much_as_in_a_strong_one() -> None:
    faint, other = MAPS.copy(), MAPS.copy()
    faint[2] *= 1e-6
    other[2] = faint[2][::-1]
    assert equal_groups({"a": faint, "b": other}) == [("a",), ("b",)]


def test_a_group_holds_only_what_equals_all_of_its_members() -> None:
    """a = b and b = c up to the tolerance, but not a = c."""
    maps = {"a": MAPS, "b": MAPS * (1 + 0.8e-5), "c": MAPS * (1 + 1.6e-5)}
    assert equal_groups(maps) == [("a", "b"), ("c",)]


def test_maps_on_other_grids_are_not_equal() -> None:
    assert equal_groups({"a": MAPS, "b": MAPS.transpose(0, 2, 1)}) == [("a",), ("b",)]


def test_zeros_are_no_evidence() -> None:
    nothing = np.zeros_like(MAPS)
    assert equal_groups({"a": nothing, "b": nothing.copy()}) == [("a",), ("b",)]


def test_a_map_that_is_not_finite_equals_only_one_that_is_not_either() -> None:
    broken = MAPS.copy()
    broken[1, 0, 0] = np.nan
    assert equal_groups({"a": broken, "b": MAPS, "c": broken.copy()}) == [("a", "c"), ("b",)]


@pytest.mark.parametrize(
    ("group", "grid", "reason"),
    [
        (("gradcam", "captum"), (4, 4), ONE_FORMULA),
        (("gradcam", "captum", "hirescam"), (4, 4), CONSTANT_GRADIENT),
        (("hirescam", "xgradcam"), (8, 8), CONSTANT_GRADIENT),
        (("captum", "xgradcam"), (1, 1), ONE_POSITION),
        (("captum", "xgradcam"), (1, 8), CONSTANT_GRADIENT),
        (("gradcam", "layercam"), (4, 4), NO_REASON),
        (("eigencam", "./mine.py:X"), (4, 4), NO_REASON),
    ],
)
def test_the_reason_is_named_where_one_is_known(group: tuple[str, ...], grid: tuple[int, int], reason: str) -> None:
    assert reason_of(group, {"gradcam", "captum"}, grid) == reason


def formulas(net: nn.Module, layer: str, images: Tensor) -> dict[str, np.ndarray]:
    """Grad-CAM, HiResCAM and XGradCAM of class 1, straight from their papers, in float64."""
    kept = []
    handle = net.get_submodule(layer).register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = net(images)
    handle.remove()
    (slope,) = torch.autograd.grad(logits[:, 1].sum(), kept)
    grid = kept[0].detach()
    by_activation = (slope * grid).sum((2, 3), keepdim=True) / (grid.sum((2, 3), keepdim=True) + 1e-7)
    weights = {"gradcam": slope.mean((2, 3), keepdim=True), "hirescam": slope, "xgradcam": by_activation}
    return {name: (weight * grid).sum(1).numpy() for name, weight in weights.items()}


def test_before_pooling_and_a_linear_layer_three_formulas_are_one_and_elsewhere_they_are_not() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TinyResNet(4).double().eval()
    last, inner = (formulas(net, layer, pictures(4).double()) for layer in ("layer4", "layer3"))
    assert equal_groups(last) == [("gradcam", "hirescam", "xgradcam")]
    assert equal_groups(last, 1e-12) == [("gradcam", "hirescam"), ("xgradcam",)]
    assert equal_groups(inner) == [("gradcam",), ("hirescam",), ("xgradcam",)]
