"""Intervals and tests against the written-out formulas, and against what they promise."""

import math
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from run_factory import make_cell
from scipy.stats import spearmanr

from bench.schema.run import Cell
from bench.stats import intervals
from bench.stats.agreement import agreement
from bench.stats.intervals import (
    above_chance,
    alike,
    bootstrap_mean,
    holm,
    holm_levels,
    largest_relative_difference,
    mcnemar,
    mean_interval,
    mean_test,
    median_or_none,
    overlap_matrix,
    paired_difference,
    paired_gain,
    rank_correlations,
    rank_matrix,
    wilson,
)

Z = 1.959963984540054  # the normal quantile of 0.975
SHARES = st.integers(1, 10_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def maps(rows: int, edge: int = 4) -> np.ndarray:
    return rng().normal(size=(rows, edge, edge)).astype(np.float32)


# --- shares ------------------------------------------------------------------------------------------------


@given(SHARES)
@settings(deadline=None)
def test_wilson_is_the_written_out_formula(share: tuple[int, int]) -> None:
    correct, total = share
    p = correct / total
    centre = (p + Z**2 / (2 * total)) / (1 + Z**2 / total)
    half = Z / (1 + Z**2 / total) * math.sqrt(p * (1 - p) / total + Z**2 / (4 * total**2))
    found = wilson(correct, total)
    assert found.value == p and 0 <= found.low <= p + 1e-12 and p - 1e-12 <= found.high <= 1
    assert (found.low, found.high) == pytest.approx((max(0, centre - half), min(1, centre + half)), abs=1e-9)


def test_of_no_image_nothing_is_known() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


def binomial_tail(count: int, total: int, share: float) -> float:
    """P(X >= count), summed."""
    return sum(math.comb(total, each) * share**each * (1 - share) ** (total - each) for each in range(count, total + 1))


@pytest.mark.parametrize(("correct", "total", "share"), [(15, 100, 0.1), (0, 10, 0.1), (10, 10, 0.5), (30, 200, 0.1)])
def test_above_chance_is_the_sum_of_the_binomials(correct: int, total: int, share: float) -> None:
    assert above_chance(correct, total, share) == pytest.approx(binomial_tail(correct, total, share))


def test_accuracy_at_chance_is_not_above_it() -> None:
    assert above_chance(100, 1000, 0.1) > 0.4 and above_chance(150, 1000, 0.1) < 1e-3


# --- pairs of runs -----------------------------------------------------------------------------------------


def mcnemar_by_hand(a: int, b: int) -> float:
    """Both tails of a fair coin thrown a + b times."""
    return min(1.0, 2 * sum(math.comb(a + b, each) for each in range(min(a, b) + 1)) / 2 ** (a + b))


@pytest.mark.parametrize("a", range(0, 12))
@pytest.mark.parametrize("b", [0, 1, 5, 11, 40])
def test_mcnemar_is_the_sum_of_the_binomials(a: int, b: int) -> None:
    assert mcnemar(a, b) == pytest.approx(mcnemar_by_hand(a, b)) == mcnemar(b, a)
    assert mcnemar(a, a) == 1.0


PAIRS = st.integers(1, 500).flatmap(
    lambda total: st.integers(0, total).flatmap(
        lambda a: st.tuples(st.just(a), st.integers(0, total - a), st.just(total))
    )
)


@given(PAIRS)
@settings(deadline=None)
def test_the_difference_is_that_of_the_accuracies_within_the_interval_of_the_written_out_formula(
    pair: tuple[int, int, int],
) -> None:
    """Wald's interval of paired shares, with half an image added to each of the four cells."""
    wrong, other, total = pair
    a, b, n = wrong + 0.5, other + 0.5, total + 2
    centre, half = (b - a) / n, Z * math.sqrt(((a + b) / n - ((b - a) / n) ** 2) / n)
    found, turned = paired_difference(*pair), paired_difference(other, wrong, total)
    assert found.value == pytest.approx((total - wrong) / total - (total - other) / total, abs=1e-12)
    assert -1 <= found.low <= found.value <= found.high <= 1
    low, high = max(-1, centre - half), min(1, centre + half)
    if mcnemar(wrong, other) > 0.05:  # the exact test says that 0 is possible, and so does the interval
        low, high = min(0, low), max(0, high)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert (mcnemar(wrong, other) > 0.05) == (found.low <= 0 <= found.high)


@given(PAIRS, st.sampled_from([0.9, 0.99, 0.999, 0.99999]))
@settings(deadline=None)
def test_at_every_level_the_interval_leaves_out_0_just_where_the_exact_test_does(
    pair: tuple[int, int, int], level: float
) -> None:
    found = paired_difference(*pair, level)
    assert found.low <= found.value <= found.high and found.level == level
    assert (mcnemar(*pair[:2]) > 1 - level) == (found.low <= 0 <= found.high)


@pytest.mark.parametrize(("total", "shares"), [(360, (0.02, 0.03)), (100, (0.1, 0.1)), (1000, (0.08, 0.05))])
def test_the_interval_holds_the_true_difference_in_95_of_100_cases(total: int, shares: tuple[float, float]) -> None:
    a, b = shares
    draws = rng().multinomial(total, [a, b, 1 - a - b], size=2000)
    found = [paired_difference(int(one), int(other), total) for one, other, _ in draws]
    assert 0.935 <= np.mean([each.low <= b - a <= each.high for each in found]) <= 0.985


# --- maps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["different", "ties", "equal", "opposite"])
def test_rank_correlations_are_scipys_map_by_map(kind: str) -> None:
    first, second = maps(20), rng().permuted(maps(20), axis=2)
    if kind == "ties":
        first, second = np.round(first), np.round(second)
    elif kind != "different":
        second = first if kind == "equal" else -first
    slow = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)]
    assert rank_correlations(first, second) == pytest.approx(np.array(slow))


def test_ranks_in_float32_cost_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As some releases of scipy rank maps, which are float32."""
    rank = intervals.scipy.stats.rankdata
    first, second = (rng().permuted(np.arange(20 * 56 * 56.0).reshape(20, 56, 56), axis=axis) for axis in (1, 2))
    plain = rank_correlations(first, second)
    monkeypatch.setattr("scipy.stats.rankdata", lambda values, axis: rank(values, axis=axis).astype(np.float32))
    assert np.array_equal(rank_correlations(first, second), plain)


def test_a_map_without_ranks_has_no_correlation_and_hurts_no_other() -> None:
    first, second = maps(6), maps(6)[::-1].copy()
    plain = rank_correlations(first, second)
    first[0], second[1] = 0.25, 0.25
    first[2, 0, 0], second[3, 1, 1], first[4, 2, 2] = np.nan, np.inf, -np.inf
    found = rank_correlations(first, second)
    assert np.isnan(found[:5]).all() and found[5] == plain[5]


def test_of_no_map_there_is_no_correlation_and_no_overlap() -> None:
    nothing = rank_correlations(maps(0), maps(0))
    assert nothing.shape == (0,) and median_or_none(nothing) is None
    assert overlap_matrix(maps(0), maps(1), 2).shape == (0, 1)


def relative_difference_by_hand(first: np.ndarray, second: np.ndarray) -> float:
    worst = 0.0
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        pairs = [(x, y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True)]
        values = [value for pair in pairs for value in pair]
        top = max(abs(value) for value in values) if all(math.isfinite(value) for value in values) else 0.0
        if top > 0:
            worst = max(worst, *(abs(x - y) / top for x, y in pairs))
    return worst


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-7, 1.0]), st.sampled_from(["float32", "float64"]))
@settings(max_examples=40, deadline=None)
def test_the_largest_relative_difference_is_that_of_a_plain_loop(seed: int, noise: float, dtype: str) -> None:
    generator = np.random.default_rng(seed)
    first = generator.normal(size=(5, 3, 2)) * 10.0 ** generator.integers(-9, 9, size=(5, 1, 1))
    second = first * (1 + noise * generator.normal(size=first.shape))
    first[0], second[0] = 0, 0
    first[1, 0, 0] = generator.choice([np.nan, np.inf, 1.0])
    second[2, 0, 0] = generator.choice([np.nan, np.inf, first[2, 0, 0]])
    first, second = first.astype(dtype), second.astype(dtype)
    slow = relative_difference_by_hand(first, second)  # of Python's floats: the figure is not rounded to float32
    assert largest_relative_difference(first, second) == pytest.approx(slow, rel=1e-12)


def test_a_dead_map_and_a_live_one_differ_wholly() -> None:
    pairs = {(0, 1): 1.0, (0, 0): 0.0, (1, -1): 2.0}
    assert {pair: largest_relative_difference(*(np.full((1, 2, 2), each) for each in pair)) for pair in pairs} == pairs


def test_small_maps_count_as_much_as_large_ones() -> None:
    first = np.stack([np.full((2, 2), 1e6), np.full((2, 2), 1e-6)])
    second = np.stack([np.full((2, 2), 1e6), np.full((2, 2), 0.5e-6)])
    assert largest_relative_difference(first, second) == pytest.approx(0.5)


# --- what unrelated maps reach -----------------------------------------------------------------------------


def null_of(first: np.ndarray, second: np.ndarray, ids: np.ndarray) -> float | None:
    """What an agreement says of them, row by row of the same images, each for a class of its own."""
    classes = [ids[:row].tolist().count(each) for row, each in enumerate(ids.tolist())]
    rows = list(zip(ids.tolist(), classes, strict=True))
    found = agreement(0, *(cell_of(rows, explainer=name, raw=raw) for name, raw in (("a", first), ("b", second))))
    return found.null if found else None


def cell_of(rows: list[tuple[int, int]], *, explainer: str, raw: np.ndarray) -> Cell:
    ids, classes = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    plain = make_cell([(0, 0)], explainer=explainer)
    return replace(plain, ids=ids, classes=classes, raw=raw, status=np.zeros(len(ids), np.uint8))


def test_only_maps_of_different_images_are_paired() -> None:
    """Maps of one image agree wholly here, and those of two images are opposite."""
    ramp = np.arange(16.0).reshape(4, 4)
    ids = np.array([0, 0, 0, 0, 1])  # of the five pairs half the set apart, three are of one image
    first = np.stack([ramp if each == 0 else -ramp for each in ids])
    assert null_of(first, first, ids) == pytest.approx(-1)


def test_unrelated_noise_reaches_nothing_and_shared_centres_much() -> None:
    noise, ids = maps(200, 8), np.arange(200)
    assert abs(null_of(noise, noise, ids) or 1) < 0.1
    centre = 5 * np.hypot(*(np.mgrid[:8, :8] - 3.5))
    assert (null_of(noise + centre, noise + centre, ids) or 0) > 0.8


def test_each_row_meets_the_one_half_the_set_away() -> None:
    """Rows stand image by image, so the row beside it is often one of its own."""
    ids, first, second = np.repeat(np.arange(6), 2), maps(12), maps(24)[12:]
    slow = [spearmanr(first[row].ravel(), second[(row + 6) % 12].ravel()).statistic for row in range(12)]
    assert null_of(first, second, ids) == pytest.approx(np.median(slow))


@pytest.mark.parametrize("ids", [[], [3], [3, 3], [3, 3, 3, 3]])
def test_without_pairs_of_different_images_there_is_no_null(ids: list[int]) -> None:
    assert null_of(maps(len(ids)), maps(len(ids)), np.array(ids)) is None


def test_the_median_leaves_out_what_is_not_known() -> None:
    assert median_or_none(np.array([np.nan, 3.0, 1.0, np.nan, 2.0])) == 2.0
    assert median_or_none(np.array([np.nan])) is None


# --- means over seeds ---------------------------------------------------------------------------------------


def test_mean_interval_is_students_of_the_table() -> None:
    found = mean_interval([94.0, 94.2, 94.1, 93.9, 94.3])
    half = 2.776445105197793 * math.sqrt(0.025) / math.sqrt(5)  # t(0.975) at 4 degrees, as tables print it
    assert (found.value, found.low, found.high) == pytest.approx((94.1, 94.1 - half, 94.1 + half))


@pytest.mark.parametrize("values", [[], [0.9]])
def test_below_two_values_there_is_no_interval_of_the_mean(values: list[float]) -> None:
    assert mean_interval(values) is None


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_mean_interval_holds_the_mean_in_95_of_100_cases(n: int) -> None:
    drawn = rng().normal(0.94, 0.002, size=(2000, n))
    held = [found.low <= 0.94 <= found.high for row in drawn if (found := mean_interval(row.tolist()))]
    assert 0.935 < sum(held) / len(held) < 0.965


# --- every map with every map -------------------------------------------------------------------------------


def test_the_rank_matrix_holds_every_pairs_correlation() -> None:
    first, second = np.round(maps(5), 1), np.round(maps(9)[5:], 1)
    second[2, 0, 0] = np.nan
    found = rank_matrix(first, second)
    for row, column in np.ndindex(5, 4):
        slow = rank_correlations(first[row : row + 1], second[column : column + 1])[0]
        assert found[row, column] == pytest.approx(slow, nan_ok=True)
    assert np.isnan(found[:, 2]).all() and not np.isnan(found[:, [0, 1, 3]]).any()


@pytest.mark.parametrize("count", [1, 2, 8])
def test_without_ties_overlap_is_that_of_plain_sets(count: int) -> None:
    first, second = maps(6, 4), rng(1).normal(size=(5, 4, 4))
    found = overlap_matrix(first, second, count)
    for row, column in np.ndindex(6, 5):
        a, b = (set(np.argsort(one.ravel())[-count:].tolist()) for one in (first[row], second[column]))
        assert found[row, column] == pytest.approx(len(a & b) / len(a | b))


def shares_by_hand(values: list[float], count: int) -> list[float]:
    """How often each position is among the largest, over every order that equal values can come in."""
    orders = [sorted(order, key=lambda position: -values[position]) for order in permutations(range(len(values)))]
    return [sum(position in order[:count] for order in orders) / len(orders) for position in range(len(values))]


@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=2, max_size=2), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_values_that_tie_share_the_last_places(values: list[list[int]], count: int) -> None:
    first, second = (np.array(each, dtype=float).reshape(1, 2, 3) for each in values)
    a, b = (shares_by_hand(each, count) for each in values)
    slow = sum(map(min, a, b)) / sum(map(max, a, b))
    if first.min() == first.max() or second.min() == second.max():
        slow = math.nan
    assert overlap_matrix(first, second, count)[0, 0] == pytest.approx(slow, nan_ok=True)


# --- the bootstrap ------------------------------------------------------------------------------------------


WIDE = (-99.0, 99.0)  # values without bounds


def bootstrap_t_by_hand(values: list[float], generator: np.random.Generator) -> tuple[float, float, float]:
    """Ends at 95 % and p-value by plain loops: (mean - own mean) / own standard error of each resample, sorted."""

    def mean_and_error(drawn: list[float]) -> tuple[float, float]:
        mean = sum(drawn) / len(drawn)
        return mean, math.sqrt(sum((each - mean) ** 2 for each in drawn) / (len(drawn) - 1) / len(drawn))

    mean, error = mean_and_error(values)
    ratios = []
    for _ in range(4999):
        own, its_error = mean_and_error([values[int(each)] for each in generator.integers(0, len(values), len(values))])
        ratios.append((own - mean) / its_error)
    ratios.sort()
    beyond = min(sum(each >= mean / error for each in ratios), sum(each <= mean / error for each in ratios))
    return mean - error * ratios[-125], mean - error * ratios[124], 2 * (1 + beyond) / 5000


def test_interval_and_p_value_of_the_bootstrap_are_those_of_a_plain_loop() -> None:
    values = rng().exponential(size=20) - 0.5
    found = mean_test(values, rng(1), WIDE)
    low, high, p_value = bootstrap_t_by_hand(values.tolist(), rng(1))
    own = found.interval()
    assert own.value == pytest.approx(values.mean())
    assert (own.low, own.high, found.p_value) == pytest.approx((low, high, p_value))


def held(drawn: np.ndarray, truth: float) -> float:
    """How often the interval of a row holds the truth."""
    found = [each for row in drawn if (each := bootstrap_mean(row, rng(1), within=WIDE))]
    return sum(each.low <= truth <= each.high for each in found) / len(drawn)


@pytest.mark.parametrize(
    ("n", "draw", "truth", "least"),
    [(10, "normal", 0.0, 0.92), (10, "lognormal", math.exp(0.5), 0.87), (50, "lognormal", math.exp(0.5), 0.90)],
)
def test_the_bootstrap_holds_the_mean_even_of_ten_skew_values(n: int, draw: str, truth: float, least: float) -> None:
    """The percentile interval holds it in 0.91, 0.81 and 0.89 of the cases."""
    assert least <= held(getattr(rng(3), draw)(size=(400, n)), truth) <= 0.98


def test_the_resamples_suffice_that_another_draw_moves_no_end_by_a_tenth_of_the_width() -> None:
    values = rng().exponential(size=30)
    found = [each for seed in range(60) if (each := bootstrap_mean(values, rng(seed), within=WIDE))]
    ends = np.array([(each.low, each.high) for each in found])
    assert np.ptp(ends, axis=0).max() < 0.1 * np.median(ends[:, 1] - ends[:, 0])


def test_a_bootstrap_in_parts_is_that_of_all_draws_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rng().exponential(size=30)
    whole = mean_test(values, rng(1))
    monkeypatch.setattr(intervals, "DRAWS_AT_ONCE", 10_000)
    parts = mean_test(values, rng(1))
    assert len(parts.ratios) == len(whole.ratios) == intervals.RESAMPLES
    assert parts.ratios == pytest.approx(whole.ratios)


def test_the_bootstrap_of_narrow_values_is_that_of_the_same_values_in_full_precision() -> None:
    values = rng().random(size=1000).astype(np.float32)
    assert bootstrap_mean(values, rng(1)) == bootstrap_mean(values.astype(np.float64), rng(1))


def test_the_bootstrap_leaves_out_what_is_not_known_and_needs_ten_values() -> None:
    values = np.arange(10.0) / 10
    assert bootstrap_mean(np.append(values, np.nan), rng()) == bootstrap_mean(values, rng())
    assert bootstrap_mean(np.append(values[1:], np.nan), rng()) is None


def test_fifty_zeros_are_no_evidence_against_0() -> None:
    test = mean_test(np.zeros(50), rng(0), (0, 1))
    assert test is not None and test.p_value == 1 and test.interval().low == 0 < test.interval().high


@pytest.mark.parametrize("value", [0.0, 0.6, 1.0, -1.0])
@pytest.mark.parametrize("count", [10, 200])
def test_values_that_are_all_alike_have_the_interval_of_a_share_between_the_bounds(value: float, count: int) -> None:
    found = bootstrap_mean(np.full(count, value), rng())
    share = wilson(round((value + 1) / 2 * count), count)
    assert (found.low, found.high) == pytest.approx((2 * share.low - 1, 2 * share.high - 1))
    assert -1 <= found.low <= found.value == value <= found.high <= 1 and found.high - found.low > 0.03


@pytest.mark.parametrize("level", [0.95, 0.999])
@pytest.mark.parametrize("value", [0.0, 0.2, 0.5, 0.62, 0.9, -0.7])
def test_of_values_that_are_all_alike_interval_and_test_agree(value: float, level: float) -> None:
    found = mean_test(np.full(10, value), rng())
    own = found.interval(level)
    assert (own.low <= 0 <= own.high) == (found.p_value > 1 - level)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_end_that_resamples_leave_open_is_that_of_values_that_spread_as_far_as_they_can(sign: int) -> None:
    """One resample in seven has none of the two, and so no spread."""
    test = mean_test(sign * np.array([1.0] * 2 + [0.0] * 28), rng())
    assert test is not None and np.isinf(test.ratios).mean() > 0.1
    found, widest = test.interval(), alike(test.value, 30, level=0.95, within=(-1, 1))
    assert (found.high == widest.high) == (sign > 0) and (found.low == widest.low) == (sign < 0)
    assert -0.5 < found.low <= 0 <= found.high < 0.5 and test.p_value > 0.05


@pytest.mark.parametrize("ones", range(18, 30))
def test_where_resamples_leave_an_end_open_interval_and_test_agree(ones: int) -> None:
    test = mean_test(np.array([1.0] * ones + [0.0] * (30 - ones)), rng())
    assert test is not None
    found = test.interval()
    assert (found.low <= 0 <= found.high) == (test.p_value > 0.05)


def test_a_share_near_its_bound_has_an_interval_of_use() -> None:
    found = bootstrap_mean(np.array([1.0] * 47 + [0.75] * 3), rng(), within=(0, 1))
    assert found is not None and 0.85 < found.low < found.value < found.high <= 1


@given(st.integers(0, 2**32 - 1), st.floats(-1, 1), st.sampled_from([0.9, 0.95, 0.99, 0.999]))
@settings(max_examples=60, deadline=None)
def test_the_interval_leaves_out_0_just_where_the_p_value_says_so(seed: int, shift: float, level: float) -> None:
    found = mean_test(np.random.default_rng(seed).exponential(size=15) - 1 + shift, rng(), WIDE)
    own = found.interval(level)
    assert own.level == level and (not own.low <= 0 <= own.high) == (found.p_value <= 1 - level + 1e-12)


def test_nothing_is_claimed_at_a_level_that_the_resamples_say_nothing_of() -> None:
    found = mean_test(rng().normal(0.3, 0.1, size=30), rng())
    known, unknown = found.interval(1 - 2 / 5000), found.interval(1 - 1 / 5000)
    assert known.low > 0 and found.p_value == 2 / 5000 and (unknown.low, unknown.high) == (-1.0, 1.0)


def test_a_paired_difference_finds_what_overlapping_intervals_hide() -> None:
    """Two scores of the same 50 images, apart by 0.3 of their spread, which most images share."""
    easy = rng().normal(size=(40, 50))
    firsts, seconds = (easy + 0.4 * rng(seed).normal(size=easy.shape) + 0.3 * (seed == 1) for seed in (1, 2))
    paired = apart = 0
    for first, second in zip(firsts, seconds, strict=True):
        paired += paired_gain(first, second, rng()).p_value <= 0.05
        apart += bootstrap_mean(first, rng()).low > bootstrap_mean(second, rng()).high
    assert (apart, paired) == (0, 40)


def test_a_pair_of_which_one_is_not_known_is_left_out_of_the_gain() -> None:
    first, second = rng(1).normal(size=(2, 12))
    plain = paired_gain(first, second, rng())
    assert paired_gain(np.append(first, np.nan), np.append(second, 7.0), rng()).interval() == plain.interval()
    assert plain.value == pytest.approx((first - second).mean())


# --- many claims --------------------------------------------------------------------------------------------

P_VALUES = st.lists(st.sampled_from([0.0004, 0.004, 0.011, 0.012, 0.02, 0.049, 0.2, 0.7, 1.0]), min_size=1, max_size=6)


def holm_by_closed_testing(values: list[float], place: int) -> float:
    """The largest Bonferroni p-value of all sets of hypotheses that this one is in."""
    others = [value for index, value in enumerate(values) if index != place]
    sets = [(values[place], *some) for size in range(len(values)) for some in combinations(others, size)]
    return max(min(1.0, len(some) * min(some)) for some in sets)


@given(P_VALUES)
@settings(max_examples=80, deadline=None)
def test_holm_is_closed_testing_by_bonferroni(values: list[float]) -> None:
    slow = [holm_by_closed_testing(values, place) for place in range(len(values))]
    assert holm(values) == pytest.approx(slow)


@given(P_VALUES)
@settings(max_examples=80, deadline=None)
def test_at_its_level_each_interval_says_what_holm_says(values: list[float]) -> None:
    """An interval at a level leaves out 0 just where the p-value is at most 1 - level."""
    said = [value <= 1 - level + 1e-12 for value, level in zip(values, holm_levels(values), strict=True)]
    assert said == [each <= 0.05 + 1e-12 for each in holm(values)]


def test_holms_levels_are_those_of_the_steps_and_stop_where_it_stops() -> None:
    assert holm_levels([0.001, 0.02, 0.6, 0.03]) == pytest.approx(
        [1 - 0.05 / 4, 1 - 0.05 / 3, 1 - 0.05 / 3, 1 - 0.05 / 3]
    )
    assert (holm([]), holm_levels([]), holm_levels([0.04])) == ((), (), (0.95,))
