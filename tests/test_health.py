"""Health of maps: what is counted, ties and kappa, by hand and by loops."""

import numpy as np
import pytest

from bench.explaining.guard import statuses
from bench.scoring.layer_scores import amplification, health, tied_share


def test_maps_that_say_nothing_are_counted_and_in_no_mean() -> None:
    good = np.array([[2.0, 0.0], [-1.0, -4.0]])
    sick = [np.full((2, 2), -1.0) + np.eye(2) * -1, np.zeros((2, 2)), np.full((2, 2), 3.0), np.full((2, 2), np.nan)]
    raw = np.stack([good, *sick])
    found = health(raw, statuses(raw))
    assert (found.maps, found.dead, found.constant, found.non_finite) == (5, 1, 2, 1)
    alone = health(raw[:1], statuses(raw[:1]))
    assert (found.tied, found.kappa, found.kappa_largest) == (alone.tied, alone.kappa, alone.kappa_largest)


def test_of_dead_maps_only_there_is_no_mean() -> None:
    raw = -np.arange(1.0, 9).reshape(2, 2, 2)
    found = health(raw, statuses(raw))
    assert (found.dead, found.tied, found.kappa, found.kappa_largest) == (2, None, None, None)


def test_one_map_of_large_kappa_moves_the_largest_and_not_the_middle() -> None:
    raw = np.array([[[1.0, 0.0]], [[2.0, 1.0]], [[100.0, 99.0]]])  # kappa 1, 2 and 100
    found = health(raw, statuses(raw))
    assert (found.kappa, found.kappa_largest) == pytest.approx((2.0, 100.0))


def test_ties_after_the_relu_by_hand() -> None:
    three_zeros = [[2.0, 0.0], [-1.0, -4.0]]
    all_apart = [[1.0, 2.0], [3.0, 4.0]]
    two_pairs = [[1.0, 1.0], [5.0, 5.0]]
    assert tied_share(np.array([three_zeros, all_apart, two_pairs])).tolist() == [0.75, 0.0, 1.0]


def test_ties_are_those_that_a_loop_over_pairs_finds() -> None:
    raw = np.random.default_rng(0).normal(size=(20, 4, 4)).round(1)
    for one, found in zip(raw, tied_share(raw), strict=True):
        heat = [max(0.0, value) for value in one.ravel()]
        slow = sum(any(a == b for j, b in enumerate(heat) if j != i) for i, a in enumerate(heat)) / 16
        assert found == pytest.approx(slow)


def test_kappa_by_hand() -> None:
    mostly_against = [[1.0, -9.0], [0.5, 0.0]]  # 9 / (1 - 0)
    floor_above_zero = [[4.0, 3.0], [3.5, 3.0]]  # 4 / (4 - 3)
    assert amplification(np.array([mostly_against, floor_above_zero])) == pytest.approx([9.0, 4.0])


def test_kappa_is_how_much_an_error_grows_in_the_picture() -> None:
    raw = np.array([[[4.0, 3.0], [3.5, 3.0]]])
    heat, off = raw - raw.min(), raw + np.array([[[0, 0], [4e-6, 0]]])  # an error of 1e-6 of the largest value
    picture, moved = heat / heat.max(), (off - off.min()) / (off.max() - off.min())
    assert np.abs(moved - picture).max() == pytest.approx(1e-6 * amplification(raw)[0], rel=1e-3)
