"""From a raw map to a picture: against a slow reference that goes pixel by pixel."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from bench.postprocess import PIPELINE, postprocess


def picture_by_hand(raw: list[list[float]], size: int, scale: float | None = None) -> list[list[float]]:
    """ReLU, divide, then bilinear: the centre of pixel i lies at (i + 0.5) * h / size - 0.5, held at the edges."""
    heat = [[max(value, 0.0) if math.isfinite(value) else 0.0 for value in row] for row in raw]
    top = scale or max(max(row) for row in heat) or 1.0
    heat = [[min(value / top, 1.0) for value in row] for row in heat]

    def places(pixel: int, count: int) -> tuple[int, int, float]:
        at = min(max((pixel + 0.5) * count / size - 0.5, 0.0), count - 1.0)
        return int(at), min(int(at) + 1, count - 1), at - int(at)

    picture = []
    for i in range(size):
        above, below, down = places(i, len(heat))
        row = []
        for j in range(size):
            left, right, across = places(j, len(heat[0]))
            upper = heat[above][left] * (1 - across) + heat[above][right] * across
            lower = heat[below][left] * (1 - across) + heat[below][right] * across
            row.append(upper * (1 - down) + lower * down)
        picture.append(row)
    return picture


def raw_maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 33), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_picture_is_that_of_the_slow_reference(height: int, width: int, size: int, seed: int) -> None:
    raw = raw_maps(height, width, seed=seed)
    expected = torch.tensor(picture_by_hand(raw.tolist(), size), dtype=torch.float64)
    assert torch.allclose(postprocess(raw, size), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", [4, 8, 16, 32])
def test_a_picture_of_single_precision_is_that_of_the_slow_reference_and_lies_within_0_and_1(grid: int) -> None:
    raw = raw_maps(grid, grid).float()
    expected, found = torch.tensor(picture_by_hand(raw.tolist(), 32)), postprocess(raw, 32)
    assert found.dtype == torch.float32 and torch.allclose(found, expected, rtol=0, atol=1e-6)
    assert found.min() >= 0 and found.max() <= 1


def test_an_unresized_map_is_only_scaled_and_a_corner_stays_in_its_corner() -> None:
    raw = torch.tensor([[-1.0, 4.0], [2.0, 1.0]])
    assert postprocess(raw, 2).tolist() == [[0.0, 1.0], [0.5, 0.25]]
    picture = postprocess(raw, 32)
    assert (picture == picture.max()).nonzero().float().mean(0).tolist() == [3.5, 27.5]


def test_every_map_of_a_batch_is_scaled_by_itself_and_left_as_it_is() -> None:
    raw = raw_maps(3, 2, 4, 4)
    kept, found = raw.clone(), postprocess(raw, 16)
    alone = torch.stack([torch.stack([postprocess(one, 16) for one in row]) for row in raw])
    assert found.shape == alone.shape and torch.allclose(found, alone, rtol=0, atol=1e-15)
    assert torch.equal(raw, kept)


def test_a_dead_map_stays_0_and_a_tiny_one_is_scaled_like_any_other() -> None:
    raw = raw_maps(4, 4)
    assert all(postprocess(torch.full((4, 4), value), 32).eq(0).all() for value in (0.0, -1.0, -1e-30))
    assert torch.allclose(postprocess(raw * 1e-200, 8), postprocess(raw, 8), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_counts_as_0_and_hurts_no_other(bad: float) -> None:
    raw = raw_maps(4, 4)
    cleaned = raw.clone()
    raw[1, 2], cleaned[1, 2] = bad, 0
    assert torch.equal(postprocess(raw, 32), postprocess(cleaned, 32))


def test_a_shared_scale_is_that_of_the_slow_reference_and_keeps_maps_comparable() -> None:
    levels = torch.tensor([1.0, 4.0, 8.0])[:, None, None].expand(-1, 2, 2)
    assert postprocess(levels, 4, scale=4.0)[:, 0, 0].tolist() == [0.25, 1.0, 1.0]
    raw = raw_maps(5, 3)
    expected = torch.tensor(picture_by_hand(raw.tolist(), 32, scale=0.7), dtype=torch.float64)
    assert torch.allclose(postprocess(raw, 32, scale=0.7), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_shared_scale_of_dead_maps_gives_0(scale: float) -> None:
    raw = -raw_maps(2, 4, 4).abs()
    assert postprocess(raw, 8, scale=scale).eq(0).all() and postprocess(-raw, 8, scale=scale).eq(0).all()


def test_no_map_gives_no_picture() -> None:
    assert postprocess(torch.zeros(0, 2, 4, 4), 32).shape == (0, 2, 32, 32)


def test_the_words_of_the_pipeline_name_its_steps_in_order() -> None:
    steps = ["ReLU", "divided by its largest value", "bilinear", "half-pixel"]
    assert sorted(steps, key=PIPELINE.index) == steps
