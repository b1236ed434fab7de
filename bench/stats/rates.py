"""Statistics of rates over rounds: medians with intervals that assume nothing of the noise, paired ratios, words."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from bench.schema.timing import ArmTiming, Grade, Ratio, Sample, Verdict

MIN_ROUNDS = 6  # below, no interval of the median reaches 95 %: all n values lie on one side with 2 / 2^n
GIGA = 1e9
LEVEL = 0.95
CLAIM_LEVEL = 0.99  # a table holds many ratios, and a false claim in every twentieth would be one in most tables
NOISY, UNUSABLE = 0.10, 0.25  # interquartile range over median


@dataclass(frozen=True)
class Interval:
    """An interval of the median. `coverage` is exact for values drawn alike and apart, whatever their distribution."""

    low: float
    high: float
    coverage: float


def median_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """The narrowest symmetric pair of order statistics that holds the median with at least `level`.

    None below six values, and where so few cannot reach the level.

    Source: Thompson 1936, Ann. Math. Stat. 7, 122; the inverted sign test, by scipy's quantile_test.
    """
    from scipy.stats import binom, quantile_test  # type: ignore[attr-defined]

    # Ordered values, for noise of a clock has one long tail: what else the machine does can only slow an arm down.
    n = len(values)
    if n < MIN_ROUNDS:
        return None
    ranks = quantile_test(range(n), q=0.0, p=0.5).confidence_interval(level)  # which of the ordered values
    if math.isnan(ranks.low) or math.isnan(ranks.high):
        return None
    low, high, ordered = int(ranks.low), int(ranks.high), sorted(values)
    return Interval(float(ordered[low]), float(ordered[high]), float(1 - 2 * binom.cdf(low, n, 0.5)))


def ratio_interval(ratios: Sequence[float]) -> Interval | None:
    """The interval by which a difference is claimed: 99 %, below eight rounds the widest there is (of six 96.9 %)."""
    return median_interval(ratios, CLAIM_LEVEL) or median_interval(ratios)


def tails(values: Sequence[float]) -> tuple[float, float]:
    """The 10th and the 90th percentile, interpolated."""
    low, high = np.percentile(values, [10, 90]).tolist()
    return low, high


def spread(values: Sequence[float]) -> float:
    """Interquartile range over median, torch.utils.benchmark's measure of noise."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float((high - low) / middle)


def grade(value: float) -> Grade:
    """What a spread allows: anything, a warning, or no ratio."""
    if value > UNUSABLE:
        return "unusable"
    return "noisy" if value > NOISY else "steady"


def verdict(interval: Interval | None, *grades: Grade) -> Verdict:
    """What may be said of a ratio of rates: nothing where an arm is too noisy, no direction where 1 is inside."""
    if "unusable" in grades:
        return "struck out"
    if interval is None:
        return "n too small"
    if interval.low > 1:
        return "faster"
    return "slower" if interval.high < 1 else "no measurable difference"


# --- samples ------------------------------------------------------------------------------------------------


def per_call(sample: Sample) -> float:
    """Seconds of one call: the median over the block."""
    # One interruption within a block lengthens one take, and not its median.
    return median(sample.seconds) / sample.calls


def rounds_of(samples: Iterable[Sample]) -> dict[str, list[float]]:
    """Seconds a call of every arm, round by round: the mean of its blocks in that round. The warm-up is left out."""
    blocks: dict[str, dict[int, list[float]]] = {}
    for each in samples:
        if each.round > 0:
            blocks.setdefault(each.arm, {}).setdefault(each.round, []).append(per_call(each))
    # The mean, because a round goes forwards and then backwards (A B B A): what a clock that slows down steadily adds
    # to an arm's second block it has taken from the first, and all arms have the same mean time.
    return {arm: [fmean(rounds[number]) for number in sorted(rounds)] for arm, rounds in blocks.items()}


def ratios_of(seconds: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """How many times as fast as the baseline, round by round: what slows a whole round down cancels."""
    return [other / own for own, other in zip(seconds, baseline, strict=True)]


def ratio_to(baseline: str, rounds: Mapping[str, Sequence[float]], arm: str) -> Ratio:
    """An arm's ratio to its baseline, and what may be said of it.

    Args:
        baseline, arm: their names.
        rounds: seconds a call by arm, round by round.
    """
    seconds, others = rounds[arm], rounds[baseline]
    ratios = ratios_of(seconds, others)
    interval = ratio_interval(ratios)
    said = verdict(interval, grade(spread(seconds)), grade(spread(others)))
    low, high, coverage = (interval.low, interval.high, interval.coverage) if interval else (None, None, None)
    return Ratio(baseline, median(ratios), low, high, coverage, len(ratios), said)


# --- words --------------------------------------------------------------------------------------------------


def decimals(low: float | None, high: float | None, value: float) -> int:
    """Decimals that an interval supports: two digits of half its width, so that an end never looks like a neighbour.

    Without an interval two digits of the value are shown; where all rounds are alike, four.
    """
    half = abs(value) if low is None or high is None else (high - low) / 2
    if half <= 0:
        half = abs(value) / 100
    return max(0, 1 - math.floor(math.log10(half))) if half > 0 else 0


def number_words(value: float, low: float | None, high: float | None) -> str:
    """A value with the digits that its interval supports."""
    return f"{value:,.{decimals(low, high, value)}f}"


def interval_words(value: float, low: float | None, high: float | None) -> str:
    """`102 to 108`, or why there is none."""
    if low is None or high is None:
        return "n too small"
    places = decimals(low, high, value)
    return f"{low:,.{places}f} to {high:,.{places}f}"


def limit_words(limit: ArmTiming) -> tuple[str, str, str]:
    """What the machine did at its limit, its rate and the rate's interval: `matrix product, fp32`, `324 GFLOP/s`."""
    what = f"{limit.mode}, {limit.precision}" if limit.what == "product" else limit.mode
    rate, unit = limit.rate / GIGA, "GFLOP/s" if limit.unit == "FLOP" else "GB/s"
    low, high = (None if each is None else each / GIGA for each in (limit.low, limit.high))
    return what, f"{number_words(rate, low, high)} {unit}", interval_words(rate, low, high)
