"""Intervals and tests. Every accuracy carries one; scipy does the work."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # it imports its stats when they are first used: that takes a second, and most commands need none

from bench.contracts import Floats
from bench.schema.page import Estimate

LEVEL = 0.95
MIN_RUNS_FOR_INTERVAL = 2
RESAMPLES = 4999  # another seed then moves an end by about 1 % of the width (s.d.); 100 would by 7 %
DRAWS_AT_ONCE = 2**21  # of a bootstrap: 16 MiB each of the draws and of their values
MIN_IMAGES = 10  # of fewer even bootstrap-t holds too rarely where values are skew
ROUNDING = 1e-12  # of the range that values can have; float64 leaves less of equal ones


def wilson(correct: int, total: int, level: float = LEVEL) -> Estimate:
    """A share with its Wilson interval.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22, 209. An empty set gives (0, 0, 1): nothing is known.
    """
    # Not p +- 1.96 s.e., which for 10 of 10 right has no width and elsewhere near 1 reaches beyond it.
    if total == 0:
        return Estimate(0.0, 0.0, 1.0, level)
    interval = scipy.stats.binomtest(correct, total).proportion_ci(level, method="wilson")
    return Estimate(correct / total, float(interval.low), float(interval.high), level)


def mean_interval(values: Sequence[float]) -> Estimate | None:
    """The mean of values of independent runs with its 95 % interval by Student's t; None below two values.

    Source: Student 1908, Biometrika 6, 1. With few runs it is wide, and rightly so: of two, 12.7 standard errors.
    """
    n = len(values)
    if n < MIN_RUNS_FOR_INTERVAL:
        return None
    mean = float(np.mean(values))
    half = float(scipy.stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half, mean + half)


def mcnemar(only_first_wrong: int, only_second_wrong: int) -> float:
    """Two-sided exact p-value that two classifiers err equally often on the same images; 1 without discord.

    Source: McNemar 1947, Psychometrika 12, 153; exact binomial form.
    """
    # Exact, since good models disagree about a few images only, where the chi-squared form is off. What both get
    # right or both wrong says nothing of which is better.
    return fair_coin(min(only_first_wrong, only_second_wrong), only_first_wrong + only_second_wrong)


def fair_coin(fewest: int, tosses: int) -> float:
    """Two-sided exact p-value of a fair coin that shows one side so few times; 1 without a toss."""
    return min(1.0, float(2 * scipy.stats.binom.cdf(fewest, tosses, 0.5)))


def paired_difference(only_first_wrong: int, only_second_wrong: int, total: int, level: float = LEVEL) -> Estimate:
    """Accuracy of the first minus the second on the same images, with an interval for paired shares.

    It leaves out 0 just where the exact McNemar test does at this level: near 0, where the two could part, it is the
    test's.

    Source: Agresti & Min 2005, Stat. Med. 24, 729 (Wald with half a discordant pair added to each side).
    """
    value = (only_second_wrong - only_first_wrong) / total
    # The added halves keep a width where the two never disagree; the value itself stays what was counted.
    b, c, n = only_second_wrong + 0.5, only_first_wrong + 0.5, total + 2.0
    centre = (b - c) / n
    half = float(scipy.stats.norm.ppf((1 + level) / 2)) * math.sqrt(b + c - (b - c) ** 2 / n) / n
    low, high, least = max(-1.0, centre - half), min(1.0, centre + half), 0.5 / total  # half an image
    if mcnemar(only_first_wrong, only_second_wrong) > 1 - level:
        low, high = min(low, 0.0), max(high, 0.0)
    elif value > 0:
        low = max(low, least)
    else:
        high = min(high, -least)
    return Estimate(value, low, high, level)


def difference_of(first: Estimate, second: Estimate, factor: float = 1.0) -> Estimate:
    """First minus `factor` times second, of estimates whose images are not the same, at their level.

    Of two shares with Wilson's intervals it is Newcombe's hybrid score interval (1998, Stat. Med. 17, 873, method 10).

    Source: Zou & Donner 2008, Stat. Med. 27, 1693 (each end from the distances of the two's own ends).
    """
    value = first.value - factor * second.value
    below = math.hypot(first.value - first.low, factor * (second.high - second.value))
    above = math.hypot(first.high - first.value, factor * (second.value - second.low))
    return Estimate(value, value - below, value + above, min(first.level, second.level))


def above_chance(correct: int, total: int, share: float) -> float:
    """One-sided p-value that accuracy is above `share`, the largest class's share."""
    return float(scipy.stats.binomtest(correct, total, share, alternative="greater").pvalue)


def rank_correlations(first: Floats, second: Floats) -> Floats:
    """Spearman's rank correlation of each pair of maps, on their own grid, ties by average rank.

    Args:
        first, second: (R, h, w).

    Returns:
        (R,) in -1..1; NaN where a map is constant or not finite.
    """
    a, b = _centred_ranks(first), _centred_ranks(second)
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, (a * b).sum(axis=1) / scale, np.nan)


def rank_matrix(first: Floats, second: Floats) -> Floats:
    """Spearman's rank correlation of every map with every map: (R, h, w) and (S, h, w) to (R, S).

    NaN where a map is constant or not finite, as in `rank_correlations`.
    """
    a, b = _centred_ranks(first), _centred_ranks(second)
    scale = np.sqrt(np.outer((a * a).sum(axis=1), (b * b).sum(axis=1)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, a @ b.T / scale, np.nan)


def _centred_ranks(maps: Floats) -> Floats:
    """Ranks of the values of each map less their mean, (R, h, w) to (R, h * w); NaN for a map that is not finite."""
    flat = _flat(maps)
    # Some releases of scipy rank in the maps' own float32, whose sums of squares are not exact.
    ranks: Floats = scipy.stats.rankdata(flat, axis=1).astype(np.float64) - (flat.shape[1] + 1) / 2
    ranks[~np.isfinite(flat).all(axis=1)] = np.nan
    return ranks


def overlap_matrix(first: Floats, second: Floats, count: int) -> Floats:
    """Intersection over union of the `count` largest values of every map with those of every map.

    Values that tie for the last places share them equally, so neither a corner nor a pair of maps is favoured: a
    value is then in the set by a fraction, and the intersection is the sum of the smaller, the union of the larger
    fractions (Ruzicka 1958). Without ties that is the plain intersection over union.

    Args:
        first, second: (R, h, w) and (S, h, w).

    Returns:
        (R, S) in 0..1; NaN where a map is constant or not finite.
    """
    a, b = _membership(first, count), _membership(second, count)
    # Row by row: all at once would be (R, S, h * w), gigabytes of a thousand images.
    rows = [np.minimum(row, b).sum(axis=1) / np.maximum(row, b).sum(axis=1) for row in a]
    return np.array(rows).reshape(len(a), len(b))


def _membership(maps: Floats, count: int) -> Floats:
    """By how much each value belongs to the largest: (R, h, w) to (R, h * w), each row summing up to `count`."""
    flat = _flat(maps)
    last = np.sort(flat, axis=1)[:, -count, None]
    above, tied = flat > last, flat == last
    with np.errstate(invalid="ignore", divide="ignore"):
        part = (count - above.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)
    members: Floats = np.where(above, 1.0, np.where(tied, part, 0.0))
    members[~np.isfinite(flat).all(axis=1) | (flat.max(axis=1) == flat.min(axis=1))] = np.nan
    return members


def _flat(maps: Floats) -> Floats:
    """(R, h, w) to (R, h * w), even of no map at all."""
    return maps.reshape(len(maps), maps.shape[1] * maps.shape[2])


@dataclass(frozen=True)
class MeanTest:
    """A mean over images, with its test against 0 and intervals that never disagree with it: both are of one bootstrap.

    Attributes:
        value, error: the mean and its standard error; 0 where all values are alike.
        count: images that have a value.
        ratios: (RESAMPLES or more,) ordered: (mean of a resample - value) / the resample's own standard error.
        within: the least and the largest value that there can be.
    """

    value: float
    error: float
    count: int
    ratios: Floats
    within: tuple[float, float]

    @property
    def p_value(self) -> float:
        """Two-sided p-value that the mean is 0; of a bootstrap never below 2 over the resamples."""
        if self.error == 0:
            if self.value == 0:
                return 1.0
            least, most = self.within
            even = -least * most  # the largest variance that values within the bounds can have around 0
            off = abs(self.value) / math.sqrt(even / self.count) if even > 0 else math.inf
            return float(scipy.stats.norm.sf(off) * 2)
        own = self.value / self.error
        beyond = min(int((self.ratios >= own).sum()), int((self.ratios <= own).sum()))
        return min(1.0, 2 * (1 + beyond) / (len(self.ratios) + 1))

    def interval(self, level: float = LEVEL) -> Estimate:
        """The mean with its interval, which leaves out 0 just where the p-value is at most 1 - level.

        An end of which the resamples say nothing, since too many of them hold only equal values, is that of values that
        spread as far as they can.
        """
        (least, most), outside = self.within, math.floor((len(self.ratios) + 1) * (1 - level) / 2 + 1e-9)
        widest = alike(self.value, self.count, level=level, within=self.within)
        if self.error == 0:
            return widest
        if outside < 1:
            return Estimate(self.value, least, most, level)
        # The large ratios are those of resamples that overshoot, so they say how far the true mean may lie below.
        low = self.value - self.error * float(self.ratios[-outside])
        high = self.value - self.error * float(self.ratios[outside - 1])
        if not (math.isfinite(low) and math.isfinite(high)):
            low = low if math.isfinite(low) else widest.low
            high = high if math.isfinite(high) else widest.high
            if least < 0 < most and self.p_value > 1 - level:
                low, high = min(low, 0.0), max(high, 0.0)
        return Estimate(self.value, max(low, least), min(high, most), level)


def alike(value: float, count: int, *, level: float, within: tuple[float, float]) -> Estimate:
    """The interval of a mean of values that are all alike: never without a width, since the next image may differ.

    Values within bounds spread at most as far as if each lay on one of them. So the mean's place between the bounds
    gets Wilson's interval of a share.
    """
    least, most = within
    share, z = (value - least) / (most - least), float(scipy.stats.norm.ppf((1 + level) / 2))
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = (least + (most - least) * each for each in (centre - half, centre + half))
    return Estimate(value, min(value, max(least, low)), max(value, min(most, high)), level)


def mean_test(
    values: Floats, generator: np.random.Generator, within: tuple[float, float] = (-1.0, 1.0), claims: int = 1
) -> MeanTest | None:
    """Bootstrap-t of a mean of one value an image; None below ten images.

    Whatever belongs to one image, such as the maps of both its classes, must be in one value: images are drawn
    anew, not maps.

    Args:
        values: (I,); NaN for an image without a value, which is left out.
        within: the least and the largest value that there can be; correlations and gains lie within -1..1.
        claims: of the table that it stands in: Holm's first level, 0.05 over their number, must be within reach.

    Source: Efron 1982, The Jackknife, the Bootstrap, section 10.10; Hall 1988, Ann. Stat. 16, 927.
    """
    # Not the percentile interval: of ten images it holds the mean in 91 of 100 cases where values are normal, and in
    # 81 where they are skew as a lognormal is. This one does in 95 and 92.
    known = values[~np.isnan(values)].astype(np.float64)
    count = len(known)
    if count < MIN_IMAGES:
        return None
    value, error = float(known.mean()), float(known.std(ddof=1)) / math.sqrt(count)
    # Else what rounding leaves of equal values would count as a difference: tiny, and always to the same side.
    if np.ptp(known) <= ROUNDING * (within[1] - within[0]):
        return MeanTest(float(known[0]), 0.0, count, np.empty(0), within)
    found = []
    resamples = max(RESAMPLES, math.ceil(4 * claims / (1 - LEVEL)))
    for part in np.array_split(np.arange(resamples), max(1, resamples * count // DRAWS_AT_ONCE)):
        drawn = known[generator.integers(0, count, (len(part), count))]
        found.append(_ratios(drawn.mean(axis=1) - value, drawn.std(axis=1, ddof=1) / math.sqrt(count)))
    return MeanTest(value, error, count, np.sort(np.concatenate(found)), within)


def _ratios(off: Floats, errors: Floats) -> Floats:
    """Differences over their standard errors; infinite where a resample has one value only, unless it is the mean."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(off == 0, 0.0, off / np.where(errors <= 1e-12 * np.abs(off), 0.0, errors))


def bootstrap_mean(
    values: Floats, generator: np.random.Generator, level: float = LEVEL, within: tuple[float, float] = (-1.0, 1.0)
) -> Estimate | None:
    """The mean of one value an image with its bootstrap-t interval over images; None as in `mean_test`."""
    test = mean_test(values, generator, within)
    return test.interval(level) if test else None


def paired_gain(
    first: Floats,
    second: Floats,
    generator: np.random.Generator,
    within: tuple[float, float] = (-2.0, 2.0),
    claims: int = 1,
) -> MeanTest | None:
    """The mean of first minus second, image by image; None as in `mean_test`.

    Two intervals that overlap are no test: what makes an image easy is in both values and cancels in the difference.

    Args:
        first, second: (I,) of the same images; NaN where there is no value.
        within: the least and the largest difference that there can be; of correlations -2..2.
        claims: as of `mean_test`.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return mean_test(differences, generator, within, claims)


# --- many claims on one page --------------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values of a family, adjusted so that below a limit any false one is among them no more often than the limit.

    Source: Holm 1979, Scand. J. Stat. 6, 65.
    """
    found, worst, left = [0.0] * len(p_values), 0.0, len(p_values)
    for place in sorted(range(len(p_values)), key=lambda each: p_values[each]):
        worst = max(worst, min(1.0, left * p_values[place]))
        found[place], left = worst, left - 1
    return tuple(found)


def holm_levels(p_values: Sequence[float], limit: float = 1 - LEVEL) -> tuple[float, ...]:
    """The level of each interval of a family at which it leaves out "no difference" just where Holm claims one.

    Holm holds the smallest p-value against limit / K, the next against limit / (K - 1), and stops at the first that
    is not below; from there on all have the level of that one.
    """
    order, found = sorted(range(len(p_values)), key=lambda each: p_values[each]), [0.0] * len(p_values)
    share, stopped = limit, False
    for index, place in enumerate(order):
        share = share if stopped else limit / (len(order) - index)
        found[place] = 1 - share
        stopped = stopped or p_values[place] > share
    return tuple(found)


def largest_relative_difference(first: Floats, second: Floats) -> float:
    """The largest |a - b| of a map over the largest |value| of that map, over all maps with finite values.

    Args:
        first, second: (R, h, w).
    """
    finite = np.isfinite(first).all(axis=(1, 2)) & np.isfinite(second).all(axis=(1, 2))
    # Of each map's own largest value: maps of one layer lie orders of magnitude apart. In float64, since what is
    # looked for is the rounding of float32.
    a, b = first[finite].astype(np.float64), second[finite].astype(np.float64)
    top = np.maximum(np.abs(a), np.abs(b)).max(axis=(1, 2), initial=0.0)
    gap = np.abs(a - b).max(axis=(1, 2), initial=0.0)
    return float(np.divide(gap, top, out=np.zeros_like(gap), where=top > 0).max(initial=0.0))


def median_or_none(values: Floats) -> float | None:
    """Median of the values that are not NaN; None when there is none."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None
