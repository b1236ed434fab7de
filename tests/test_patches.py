"""Orders of patches: exact counts, ties that favour nobody, and sets of patches as bits."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from bench.scoring.patches import (
    as_masks,
    bits,
    cuts,
    deletion_sets,
    every_patch,
    first_patches,
    insertion_sets,
    orders,
    patch_grid,
    pooled,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def patches_of(number: int) -> set[int]:
    """The set that a number stands for, bit by bit."""
    return {place for place in range(64) if number >> place & 1}


@pytest.mark.parametrize(
    ("size", "pixels", "grid"),
    [
        ((4, 4), 32, (4, 4)),
        ((8, 8), 32, (8, 8)),
        ((16, 16), 32, (8, 8)),
        ((2, 4), 32, (2, 4)),
        ((3, 3), 64, (3, 3)),
        ((5, 6), 32, (5, 6)),
        ((7, 14), 224, (7, 7)),
        ((8, 17), 299, (8, 8)),
        ((299, 1), 299, (8, 1)),
        ((10, 35), 299, (5, 7)),
    ],
)
def test_patches_are_those_of_the_map_or_the_finest_it_sums_up_to(
    size: tuple[int, int], pixels: int, grid: tuple[int, int]
) -> None:
    assert patch_grid(*size, pixels) == grid


@given(st.integers(1, 60), st.integers(1, 60), st.integers(4, 320))
@settings(max_examples=100, deadline=None)
def test_maps_of_any_size_sum_up_to_patches_and_every_value_lies_in_one(height: int, width: int, pixels: int) -> None:
    grid = patch_grid(height, width, pixels)
    maps = rng().normal(size=(2, height, width))
    truth = np.zeros((2, *grid))
    for row, column in np.ndindex(height, width):
        truth[:, row * grid[0] // height, column * grid[1] // width] += maps[:, row, column]
    assert max(grid) <= 8 and np.allclose(pooled(maps, grid), truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pooling_is_the_sum_over_each_patch_and_loses_nothing(dtype: str) -> None:
    maps = rng().normal(size=(3, 16, 8)).astype(dtype)
    found = pooled(maps, (4, 4))
    for image, row, column in np.ndindex(3, 4, 4):
        part = [float(maps[image, 4 * row + i, 2 * column + j]) for i in range(4) for j in range(2)]
        assert found[image, row, column] == pytest.approx(sum(part), rel=1e-12, abs=1e-14)  # no float32 on the way
    assert pooled(maps, (16, 8)) is maps


@given(st.integers(0, 2**32 - 1), st.sampled_from([(4, 4), (8, 8)]), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_the_order_is_that_of_a_plain_sort(seed: int, grid: tuple[int, int], digits: int) -> None:
    maps = rng(seed).normal(size=(2, *grid)).round(digits)
    for one, order in zip(maps, orders(maps, np.array([3, 8])), strict=True):
        assert [one.ravel()[patch] for patch in order] == sorted(one.ravel().tolist(), reverse=True)
        assert sorted(order.tolist()) == list(range(one.size))


def test_ties_stand_alike_for_every_explainer_and_differently_for_every_image() -> None:
    flat = np.zeros((400, 4, 4))
    found = orders(flat, np.arange(400))
    assert np.array_equal(found, orders(flat + 1, np.arange(400)))
    assert np.array_equal(found[7], orders(flat[:1], np.array([7]))[0])  # whatever other images there are
    first = np.bincount(found[:, 0], minlength=16)
    assert first.min() > 8 and first.max() < 45  # 25 of 400 expected: no corner is favoured


@pytest.mark.parametrize("patches", [4, 16, 64])
def test_sets_are_the_first_patches_of_the_order(patches: int) -> None:
    order = rng().permutation(patches)
    sets = first_patches(order[None])[0].tolist()
    assert [patches_of(each) for each in sets] == [set(order[:count].tolist()) for count in range(patches + 1)]
    assert sets[-1] == every_patch(patches) == 2**patches - 1


@pytest.mark.parametrize(("patches", "step"), [(16, 1), (64, 4)])
def test_both_grids_have_sixteen_steps_of_whole_patches(patches: int, step: int) -> None:
    assert (cuts(patches).tolist(), len(cuts(4))) == (list(range(0, patches + 1, step)), 5)


@pytest.mark.parametrize("patches", [16, 64])
def test_insertion_uncovers_what_deletion_covers_first(patches: int) -> None:
    order = rng(3).permutation(patches)
    gone, left = (kind(order[None])[0].tolist() for kind in (deletion_sets, insertion_sets))
    assert [(patches_of(deleted), patches_of(covered)) for deleted, covered in zip(gone, left, strict=True)] == [
        (set(order[:count].tolist()), set(order[count:].tolist())) for count in cuts(patches).tolist()
    ]


@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (2, 4)])
def test_a_mask_is_true_where_the_set_has_its_patch(grid: tuple[int, int]) -> None:
    total = grid[0] * grid[1]
    sets = np.array([0, int(every_patch(total)), 5, int(bits(np.array(total - 1)))], dtype=np.uint64)
    for mask, number in zip(as_masks(sets, grid), sets.tolist(), strict=True):
        assert {row * grid[1] + column for row, column in zip(*np.nonzero(mask), strict=True)} == patches_of(number)
