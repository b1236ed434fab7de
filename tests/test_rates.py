"""Intervals that hold what they say, and words that say no more."""

import math

import numpy as np
import pytest
from timing_factory import limits

from bench.stats.rates import (
    Interval,
    grade,
    interval_words,
    limit_words,
    median_interval,
    number_words,
    ratio_interval,
    spread,
    tails,
    verdict,
)
from bench.timing.runner import arm_timing


def plain_interval(values: list[float], level: float) -> tuple[float, float, float] | None:
    """The slow reference: drop one value at each end as long as enough of all 2**n coin tosses stay inside."""
    ordered, n = sorted(values), len(values)
    best = None
    for drop in range(n // 2):
        outside = 2 * sum(math.comb(n, heads) for heads in range(drop + 1))
        if 1 - outside / 2**n >= level:
            best = ordered[drop], ordered[n - 1 - drop], 1 - outside / 2**n
    return best


@pytest.mark.parametrize("level", [0.95, 0.99])
@pytest.mark.parametrize("n", range(6, 40))
def test_the_interval_is_that_of_counting_coin_tosses(n: int, level: float) -> None:
    values = np.random.default_rng(n).lognormal(size=n).tolist()
    found, plain = median_interval(values, level), plain_interval(values, level)
    assert (found and (found.low, found.high, found.coverage)) == (plain and pytest.approx(plain, abs=1e-12))


@pytest.mark.parametrize("n", range(6))
def test_below_six_values_there_is_no_interval(n: int) -> None:
    assert median_interval([1.0] * n) is None and ratio_interval([1.0] * n) is None


def test_six_values_give_the_smallest_and_the_largest() -> None:
    assert median_interval([3, 1, 2, 6, 5, 4]) == Interval(1.0, 6.0, 1 - 2 / 64)


@pytest.mark.parametrize(
    ("draw", "n"), [("lognormal", 6), ("exponential", 12), ("standard_cauchy", 12), ("uniform", 6)]
)
def test_the_interval_holds_the_median_as_often_as_it_says_whatever_the_noise(draw: str, n: int) -> None:
    generator, trials = np.random.default_rng(7), 400
    truth = {"lognormal": 1.0, "exponential": math.log(2), "standard_cauchy": 0.0, "uniform": 0.5}[draw]
    found = [median_interval(getattr(generator, draw)(size=n).tolist()) for _ in range(trials)]
    held, coverage = sum(each.low <= truth <= each.high for each in found) / trials, found[0].coverage
    assert held == pytest.approx(coverage, abs=4 * math.sqrt(coverage * (1 - coverage) / trials))


@pytest.mark.parametrize(("n", "ranks"), [(6, (1, 6)), (7, (1, 7)), (8, (1, 8)), (12, (2, 11)), (20, (4, 17))])
def test_a_difference_is_claimed_at_99_percent_from_eight_rounds(n: int, ranks: tuple[int, int]) -> None:
    found = ratio_interval([float(each) for each in range(1, n + 1)])
    assert found is not None and (found.low, found.high) == ranks and found.coverage >= (0.99 if n >= 8 else 0.96)


def test_one_round_on_the_other_side_does_not_hide_a_difference_and_two_do() -> None:
    clear, hidden = (ratio_interval([0.9] * (12 - others) + [1.1] * others) for others in (1, 2))
    assert (verdict(clear), verdict(hidden)) == ("slower", "no measurable difference")


# --- what may be said ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        (Interval(1.01, 1.2, 0.99), "faster"),
        (Interval(0.8, 0.99, 0.99), "slower"),
        (Interval(0.99, 1.01, 0.99), "no measurable difference"),
        (Interval(1.0, 1.2, 0.99), "no measurable difference"),
        (None, "n too small"),
    ],
)
def test_an_interval_that_holds_1_claims_nothing(interval: Interval | None, said: str) -> None:
    assert verdict(interval, "steady", "noisy") == said


def test_a_ratio_to_or_of_an_arm_that_is_spread_too_far_is_struck_out() -> None:
    for grades in (("unusable", "steady"), ("steady", "unusable")):
        assert verdict(Interval(1.5, 1.6, 0.99), *grades) == "struck out"  # type: ignore[arg-type]


def test_spread_is_the_interquartile_range_over_the_median() -> None:
    assert spread([90, 95, 100, 105, 110]) == pytest.approx(0.1)
    assert tails([0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]) == (10.0, 90.0)


@pytest.mark.parametrize(("value", "said"), [(0.1, "steady"), (0.101, "noisy"), (0.25, "noisy"), (0.251, "unusable")])
def test_more_than_a_tenth_is_noisy_and_more_than_a_quarter_unusable(value: float, said: str) -> None:
    assert grade(value) == said


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (102.3456, 101.0, 104.0, "102.3"),
        (1234.56, 1100.0, 1400.0, "1,235"),
        (0.87123, 0.8511, 0.8911, "0.871"),
        (102.3456, None, None, "102"),
        (1.8765, None, None, "1.9"),
    ],
)
def test_a_figure_has_the_digits_that_its_interval_supports(
    value: float, low: float | None, high: float | None, words: str
) -> None:
    assert number_words(value, low, high) == words


def test_an_end_that_is_not_1_is_not_printed_as_1() -> None:
    assert (interval_words(1.4, 1.03, 1.52), interval_words(1.4, None, None)) == ("1.03 to 1.52", "n too small")


def test_where_all_rounds_are_alike_a_figure_has_four_digits() -> None:
    assert [number_words(each, each, each) for each in (2.0, 87.65432, 123.456)] == ["2.000", "87.65", "123.5"]
    assert number_words(0.0, 0.0, 0.0) == "0"


def test_a_limit_is_told_in_billions_of_its_unit() -> None:
    product, copy = (
        arm_timing(arm, {arm.name: [1.0] * 6 + [2.0] * 6}, baseline="", batch_size=4, settled=True, limits={})
        for arm in limits().values()
    )
    assert limit_words(product) == ("matrix product, fp32", "1.61 GFLOP/s", "1.07 to 2.15")
    what, rate, interval = limit_words(copy)
    assert (what, rate.split()[-1], interval) == ("copy of a large array", "GB/s", "0.00105 to 0.00210")
