"""Explainers that give one map are found, only they are, and the reason is the true one."""

from itertools import combinations

import numpy as np
import pytest
import torch
from pictures import pictures
from tiny import TinyResNet
from torch import Tensor, nn

from bench.judging.verdicts import CONSTANT_GRADIENT, ONE_POSITION, equal, why_equal

MAPS = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
NOISE = np.random.default_rng(1).uniform(-1, 1, size=MAPS.shape).astype(np.float32)


def test_rounding_is_equal_and_ten_times_the_tolerance_is_not() -> None:
    top = np.abs(MAPS).max(axis=(1, 2), keepdims=True)
    assert equal(MAPS, MAPS.copy()) and equal(MAPS, MAPS + 0.9e-5 * top * NOISE)
    assert not equal(MAPS, MAPS + 1e-4 * top * NOISE)


def test_one_row_that_differs_parts_two_explainers() -> None:
    other = MAPS.copy()
    other[3, 0, 0] += np.abs(MAPS[3]).max() / 100
    assert not equal(MAPS, other)


def test_a_difference_in_a_faint_map_counts_as_much_as_in_a_strong_one() -> None:
    faint, other = MAPS.copy(), MAPS.copy()
    faint[2] *= 1e-6
    other[2] = faint[2][::-1]
    assert not equal(faint, other)


def test_maps_on_other_grids_are_not_equal() -> None:
    assert not equal(MAPS, MAPS.transpose(0, 2, 1))


def test_zeros_are_no_evidence() -> None:
    assert not equal(np.zeros_like(MAPS), np.zeros_like(MAPS))


def test_a_map_that_is_not_finite_equals_only_one_that_is_not_either() -> None:
    broken = MAPS.copy()
    broken[1, 0, 0] = np.nan
    assert equal(broken, broken.copy()) and not equal(broken, MAPS)


@pytest.mark.parametrize(
    ("name", "grid", "reason"),
    [
        ("hirescam", (4, 4), CONSTANT_GRADIENT),
        ("xgradcam", (1, 1), ONE_POSITION),
        ("xgradcam", (1, 8), CONSTANT_GRADIENT),
        ("layercam", (4, 4), "no formula says that they must be equal"),
        ("./mine.py:X", (1, 1), "no formula says that they must be equal"),
    ],
)
def test_the_reason_is_named_where_one_is_known(name: str, grid: tuple[int, int], reason: str) -> None:
    assert why_equal(name, grid) == reason


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
    assert equal(last["gradcam"], last["hirescam"], 1e-12) and equal(last["gradcam"], last["xgradcam"])
    assert not equal(last["gradcam"], last["xgradcam"], 1e-12)
    assert not any(equal(inner[one], inner[other]) for one, other in combinations(inner, 2))
