"""Statistics of rates over rounds: medians with intervals, paired ratios, words.

An interval assumes that rounds are independent, and nothing else of the noise. It is about this hour on this machine:
what a clock does that stays slow for the whole of a timing no round of it can tell.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
import scipy  # it imports its stats when they are first used

from bench.schema.timing import ArmTiming, Grade, Ratio, Sample, Verdict
from bench.stats.intervals import LEVEL, fair_coin, holm_levels

MIN_ROUNDS = 6  # below, no interval of the median reaches 95 %: all n values lie on one side with 2 / 2^n
CLAIM_ROUNDS = 12  # below, so many ratios of a table cannot all be held to Holm's levels
GIGA = 1e9
CLAIM_LEVEL = 0.99  # of a single ratio, at least: thresholds make builds fail
CHANCE = 0.05  # how often independent rounds may be taken for dependent ones
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

    Source: Thompson 1936, Ann. Math. Stat. 7, 122; the inverted sign test.
    """
    # Ordered values, for noise of a clock has one long tail: what else the machine does can only slow an arm down.
    n = len(values)
    if n < MIN_ROUNDS:
        return None
    low = int(scipy.stats.binom.ppf((1 - level) / 2, n, 0.5))
    if fair_coin(low, n) > 1 - level:  # the quantile is the first rank at or beyond the share
        low -= 1
    if low < 0:
        return None
    ordered = sorted(values)
    return Interval(float(ordered[low]), float(ordered[n - 1 - low]), 1 - fair_coin(low, n))


def ratio_interval(ratios: Sequence[float], level: float = CLAIM_LEVEL) -> Interval | None:
    """The interval by which a difference is claimed; the widest there is where rounds are too few for the level."""
    return median_interval(ratios, level) or median_interval(ratios, 1 - fair_coin(0, len(ratios)))


def sign_test(ratios: Sequence[float]) -> float:
    """Two-sided p-value that a ratio is as often above as below 1; an even one speaks against both sides.

    Such an interval as `ratio_interval` gives leaves out 1 just where this is at most 1 - its level.
    """
    fewest = min(sum(ratio <= 1 for ratio in ratios), sum(ratio >= 1 for ratio in ratios))
    return fair_coin(fewest, len(ratios))


def dependent(values: Sequence[float]) -> bool:
    """Whether each round resembles the one before more than chance allows: then the order of the values proves little.

    Serial correlation of the ranks of neighbours, one-sided at CHANCE, with its exact mean and variance.

    Source: Dufour & Roy 1985, J. Econometrics 29, 257.
    """
    n = len(values)
    ranks = scipy.stats.rankdata(values).astype(np.float64) - (n + 1) / 2
    size = float((ranks * ranks).sum())
    if n < MIN_ROUNDS or size == 0:
        return False
    found = float((ranks[1:] * ranks[:-1]).sum()) / size
    variance = (5 * n**4 - 14 * n**3 - 9 * n**2 + 26 * n + 16) / (5 * (n - 1) ** 2 * n**2 * (n + 1))
    return found > -1 / n + float(scipy.stats.norm.ppf(1 - CHANCE)) * math.sqrt(variance)


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


def verdict(interval: Interval | None, ratios: Sequence[float], *grades: Grade) -> Verdict:
    """What may be said of a ratio of rates: nothing where rounds are no ground, no direction where 1 is inside."""
    if "unusable" in grades:
        return "struck out"
    if interval is None or len(ratios) < CLAIM_ROUNDS:
        return "n too small"
    if interval.low <= 1 <= interval.high:
        return "no measurable difference"
    if dependent(ratios):
        return "rounds not independent"
    return "faster" if interval.low > 1 else "slower"


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


def ratio_to(baseline: str, rounds: Mapping[str, Sequence[float]], arm: str, level: float = CLAIM_LEVEL) -> Ratio:
    """An arm's ratio to its baseline, and what may be said of it where it is the only one.

    Args:
        baseline, arm: their names.
        rounds: seconds a call by arm, round by round.
        level: of its interval.
    """
    seconds, others = rounds[arm], rounds[baseline]
    ratios = ratios_of(seconds, others)
    interval = ratio_interval(ratios, level)
    # Of a hundred ratios and more twelve rounds are too few: the widest interval does not reach Holm's level.
    claimed = interval if interval and interval.coverage >= level else None
    said = verdict(claimed, ratios, grade(spread(seconds)), grade(spread(others)))
    low, high, coverage = (interval.low, interval.high, interval.coverage) if interval else (None, None, None)
    return Ratio(baseline, median(ratios), low, high, coverage, len(ratios), said)


def ratios_to(baselines: Mapping[str, str], rounds: Mapping[str, Sequence[float]]) -> dict[str, Ratio]:
    """All ratios of a timing as one family: a timing of many arms claims no more by chance than one of two.

    Args:
        baselines: name of the arm that each arm is compared with.
        rounds: as in `ratio_to`.
    """
    p_values = [sign_test(ratios_of(rounds[arm], rounds[base])) for arm, base in baselines.items()]
    return {
        arm: ratio_to(base, rounds, arm, max(CLAIM_LEVEL, level))
        for (arm, base), level in zip(baselines.items(), holm_levels(p_values), strict=True)
    }


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
