"""Explainers that give one map are found, only they are, and the reason is the true one."""

import numpy as np
import pytest
import torch
from pictures import pictures
from reference_cam import activations_and_slopes
from tiny import TinyResNet
from torch import Tensor, nn

from bench.judging.equality import CONSTANT_GRADIENT, NO_REASON, ONE_FORMULA, ONE_POSITION, equal_groups, reason_of

MAPS = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
NOISE = np.random.default_rng(1).uniform(-1, 1, size=MAPS.shape).astype(np.float32)


def with_row(row: int, values: object) -> np.ndarray:
    """The maps, one of them another."""
    other = MAPS.copy()
    other[row] = values
    return other


TOP = np.abs(MAPS).max(axis=(1, 2), keepdims=True)
GROUPS: dict[str, tuple[dict[str, np.ndarray], list[tuple[str, ...]]]] = {
    "equal and others": (
        {"a": MAPS, "b": MAPS[::-1], "c": MAPS.copy(), "d": MAPS * 2}, [("a", "c"), ("b",), ("d",)],
    ),
    "none": ({}, []),
    "rounding": ({"a": MAPS, "b": MAPS + 0.9e-5 * TOP * NOISE}, [("a", "b")]),
    "ten times the tolerance": ({"a": MAPS, "b": MAPS + 1e-4 * TOP * NOISE}, [("a",), ("b",)]),
    "one value of one row": (
        {"a": MAPS, "b": with_row(3, MAPS[3] + 0.01 * TOP[3] * (MAPS[3] == MAPS[3, 0, 0]))}, [("a",), ("b",)],
    ),
    "a faint row counts as much": (
        {"a": with_row(2, 1e-6 * MAPS[2]), "b": with_row(2, 1e-6 * MAPS[2][::-1])}, [("a",), ("b",)],
    ),
    # a = b and b = c up to the tolerance, but not a = c: a group holds only what equals all of its members
    "a chain": ({"a": MAPS, "b": MAPS * (1 + 0.8e-5), "c": MAPS * (1 + 1.6e-5)}, [("a", "b"), ("c",)]),
    "other grids": ({"a": MAPS, "b": MAPS.transpose(0, 2, 1)}, [("a",), ("b",)]),
    "zeros are no evidence": ({"a": 0 * MAPS, "b": 0 * MAPS}, [("a",), ("b",)]),
    "not finite": (
        {"a": with_row(1, np.nan), "b": MAPS, "c": with_row(1, np.nan)}, [("a", "c"), ("b",)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("maps", "groups"), GROUPS.values(), ids=GROUPS)
def test_maps_that_are_equal_up_to_rounding_are_one_group(
    maps: dict[str, np.ndarray], groups: list[tuple[str, ...]]
) -> None:
    assert equal_groups(maps) == groups


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
    grid, (slope,) = activations_and_slopes(net, layer, images, torch.ones(len(images), 1, dtype=torch.int64))
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
