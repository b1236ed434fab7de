"""Variance components: what was planted comes out, also of three seeds."""

from itertools import combinations

import numpy as np
import pytest

from bench.stats.variance import FACTORS, components, of_the_seed, standardised

SUBSETS = [each for count in range(4) for each in combinations(FACTORS, count)]


def planted(shares: dict[tuple[str, ...], float], sizes: tuple[int, int, int], *, seed: int) -> np.ndarray:
    """Maps whose components have these variances, at many positions."""
    generator, positions = np.random.default_rng(seed), 400
    maps = np.zeros((*sizes, positions))
    for factors, share in shares.items():
        shape = [size if name in factors else 1 for name, size in zip(FACTORS, sizes, strict=True)]
        maps = maps + np.sqrt(share) * generator.normal(size=(*shape, positions))
    return maps


def found(maps: np.ndarray) -> dict[tuple[str, ...], float]:
    return {each.factors: each.share for each in components(maps)}


@pytest.mark.parametrize("factors", SUBSETS)
def test_a_planted_component_is_found_and_no_other(factors: tuple[str, ...]) -> None:
    shares = found(planted({factors: 1.0}, (3, 20, 4), seed=1))
    assert shares[factors] == pytest.approx(1, abs=0.02)


def test_components_of_all_kinds_come_out_as_they_were_planted() -> None:
    wanted = dict(zip(SUBSETS, (0.05, 0.1, 0.2, 0.05, 0.1, 0.15, 0.25, 0.1), strict=True))
    shares = [found(planted(wanted, (3, 30, 4), seed=seed)) for seed in range(5)]
    for factors, share in wanted.items():
        assert np.mean([each[factors] for each in shares]) == pytest.approx(share, abs=0.02), factors
    assert of_the_seed(components(planted(wanted, (3, 30, 4), seed=9))) == pytest.approx(0.45, abs=0.04)


def test_of_three_seeds_the_correction_matters() -> None:
    """The plain mean over seeds still holds a third of what differs between seeds, and would pass for the image's."""
    maps = planted({("seed", "image"): 1.0}, (3, 30, 2), seed=3)
    assert standardised(maps).mean(axis=(0, 2)).var() == pytest.approx(1 / 3, abs=0.02)
    assert found(maps)["image",] < 0.02


def test_scale_and_mean_of_a_map_are_no_part_of_it() -> None:
    maps = planted({("image",): 1.0, ("seed",): 0.5}, (3, 10, 2), seed=4)
    scaled = maps * np.arange(1, 4).reshape(3, 1, 1, 1) + np.arange(10).reshape(1, 10, 1, 1)
    assert components(maps) == components(scaled) or all(
        one.share == pytest.approx(other.share) for one, other in zip(components(maps), components(scaled), strict=True)
    )


def test_a_factor_of_one_value_has_no_component_and_maps_without_any_difference_have_none() -> None:
    shares = components(planted({("image",): 0.5, ("seed", "image"): 0.5}, (3, 30, 1), seed=5))
    assert all("method" not in each.factors for each in shares)
    assert of_the_seed(shares) == pytest.approx(0.5, abs=0.05)
    assert all(each.share == 0 for each in components(np.ones((3, 4, 2, 9))))
