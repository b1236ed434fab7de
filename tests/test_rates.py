"""Intervals that hold what they say, and words that say no more."""

import math

import numpy as np
import pytest
from timing_factory import limits

from bench.stats.rates import (
    Interval,
    dependent,
    grade,
    interval_words,
    limit_words,
    median_interval,
    number_words,
    ratio_interval,
    ratios_to,
    sign_test,
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
    clear, hidden = ([0.9] * (12 - others) + [1.1] * others for others in (1, 2))
    assert (verdict(ratio_interval(clear), clear), verdict(ratio_interval(hidden), hidden)) == (
        "slower",
        "no measurable difference",
    )


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
    assert verdict(interval, [1.0] * 12, "steady", "noisy") == said


def test_a_ratio_to_or_of_an_arm_that_is_spread_too_far_is_struck_out() -> None:
    for grades in (("unusable", "steady"), ("steady", "unusable")):
        assert verdict(Interval(1.5, 1.6, 0.99), [1.5] * 12, *grades) == "struck out"  # type: ignore[arg-type]


@pytest.mark.parametrize(("rounds", "said"), [(11, "n too small"), (12, "faster")])
def test_a_claim_takes_twelve_rounds(rounds: int, said: str) -> None:
    ratios = [1.5, 1.6, 1.55] * 4
    assert verdict(ratio_interval(ratios[:rounds]), ratios[:rounds], "steady") == said


def test_rounds_that_each_resemble_the_one_before_carry_no_claim() -> None:
    """All twelve are above 1, but on one slope: twelve looks at one slow change."""
    slope = [1.01 + 0.01 * each for each in range(12)]
    assert verdict(ratio_interval(slope), slope, "steady") == "rounds not independent"
    shuffled = [slope[each] for each in (5, 0, 9, 3, 11, 1, 7, 4, 10, 2, 8, 6)]
    assert verdict(ratio_interval(shuffled), shuffled, "steady") == "faster"


@pytest.mark.parametrize("n", [12, 20, 60])
def test_independent_rounds_are_called_dependent_in_5_of_100_cases_and_dependent_ones_mostly(n: int) -> None:
    generator = np.random.default_rng(0)
    noise = generator.standard_cauchy(size=(1500, n))
    assert 0.035 < np.mean([dependent(row) for row in noise.tolist()]) < 0.065
    walks = generator.normal(size=(200, n)).cumsum(axis=1)
    assert np.mean([dependent(row) for row in walks.tolist()]) > 0.6


def test_equal_or_few_values_are_not_called_dependent() -> None:
    assert not dependent([1.0] * 12) and not dependent([1.0, 2.0, 3.0, 4.0, 5.0])


def sign_test_by_hand(above: int, n: int) -> float:
    """Both tails of n tosses of a coin."""
    fewest = min(above, n - above)
    return min(1.0, 2 * sum(math.comb(n, each) for each in range(fewest + 1)) / 2**n)


@pytest.mark.parametrize("n", [6, 12, 25])
def test_the_sign_test_is_that_of_counting_coin_tosses_and_the_interval_agrees_with_it(n: int) -> None:
    for above in range(n + 1):
        ratios = [1.1 + each / 1000 for each in range(above)] + [0.9 - each / 1000 for each in range(n - above)]
        assert sign_test(ratios) == pytest.approx(sign_test_by_hand(above, n))
        for level in (0.95, 0.99, 0.995):
            found = median_interval(ratios, level)
            assert found is None or (not found.low <= 1 <= found.high) == (sign_test(ratios) <= 1 - level)
    assert sign_test([1.0] * n) == 1.0 and sign_test([1.0] + [1.1] * (n - 1)) == pytest.approx(sign_test_by_hand(1, n))


def test_the_ratios_of_a_timing_are_one_family() -> None:
    """Eleven of twelve rounds on one side are a claim alone, and none among eight."""
    one_off = [0.9] * 6 + [1.1] + [0.9] * 5
    rounds = {"base": [1.0] * 12, "first": one_off, **{f"even{k}": [0.99, 1.01] * 6 for k in range(8)}}
    alone = ratios_to({"first": "base"}, rounds)
    many = ratios_to({name: "base" for name in rounds if name != "base"}, rounds)
    assert (alone["first"].verdict, many["first"].verdict) == ("faster", "no measurable difference")
    assert alone["first"].coverage >= 0.99 and many["first"].coverage >= 1 - 0.05 / 9
    assert many["first"].low <= 1 <= many["first"].high and len(many) == 9


@pytest.mark.parametrize("count", [102, 104, 120])
def test_of_more_ratios_than_the_rounds_can_carry_none_is_claimed_by_chance(count: int) -> None:
    """Twelve rounds on one side happen once in 2,048 ratios: too often for a table of 120."""
    generator, false = np.random.default_rng(count), 0
    for _ in range(20):
        noise = {f"arm{k}": np.exp(generator.normal(0, 0.01, 12)).tolist() for k in range(count + 1)}
        found = ratios_to({name: "arm0" for name in noise if name != "arm0"}, noise)
        false += any(each.verdict in ("faster", "slower") for each in found.values())
    assert false <= 3
    rounds = {"base": [1.0] * 12, **{f"fast{k}": [0.9 + k / 1e4] * 11 + [0.91] for k in range(count)}}
    verdicts = {
        each.verdict for each in ratios_to({name: "base" for name in rounds if name != "base"}, rounds).values()
    }
    assert ("n too small" in verdicts) == (count > 102)


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
        arm_timing(arm, {arm.name: [1.0] * 6 + [2.0] * 6}, ratio=None, batch_size=4, settled=True, limits={})
        for arm in limits().values()
    )
    assert limit_words(product) == ("matrix product, fp32", "1.61 GFLOP/s", "1.07 to 2.15")
    what, rate, interval = limit_words(copy)
    assert (what, rate.split()[-1], interval) == ("copy of a large array", "GB/s", "0.00105 to 0.00210")
