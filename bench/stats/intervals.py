"""Intervals and tests. Every accuracy carries one; scipy does the work."""

from collections.abc import Sequence

import numpy as np
import scipy  # it imports its stats when they are first used: that takes a second, and most commands need none

from bench.contracts import Floats, Integers
from bench.schema.page import Estimate

MIN_RUNS_FOR_INTERVAL = 2
RESAMPLES = 2000  # another seed then moves an end by about 1.5 % of the width (s.d.); 100 would by 7 %
MIN_IMAGES = 10  # of fewer a percentile interval is much too narrow, and chance would pass for evidence


def wilson(correct: int, total: int) -> Estimate:
    """A share with its 95 % Wilson interval.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22, 209. An empty set gives (0, 0, 1): nothing is known.
    """
    # Not p +- 1.96 s.e., which for 10 of 10 right has no width and elsewhere near 1 reaches beyond it.
    if total == 0:
        return Estimate(0.0, 0.0, 1.0)
    interval = scipy.stats.binomtest(correct, total).proportion_ci(method="wilson")
    return Estimate(correct / total, float(interval.low), float(interval.high))


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
    discord = only_first_wrong + only_second_wrong
    return float(scipy.stats.binomtest(only_first_wrong, discord).pvalue) if discord else 1.0


def paired_difference(only_first_wrong: int, only_second_wrong: int, total: int) -> Estimate:
    """Accuracy of the first minus the second on the same images, with a 95 % interval for paired shares.

    Source: Agresti & Min 2005, Stat. Med. 24, 729 (Wald with half a discordant pair added to each side).
    """
    value = (only_second_wrong - only_first_wrong) / total
    # The added halves keep a width where the two never disagree; the value itself stays what was counted.
    b, c, n = only_second_wrong + 0.5, only_first_wrong + 0.5, total + 2.0
    centre = (b - c) / n
    half = 1.959963984540054 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    return Estimate(value, max(-1.0, float(centre - half)), min(1.0, float(centre + half)))


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
    ranks: Floats = scipy.stats.rankdata(flat, axis=1) - (flat.shape[1] + 1) / 2
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


def bootstrap_mean(values: Floats, generator: np.random.Generator) -> Estimate | None:
    """The mean of one value an image with its 95 % percentile bootstrap interval over images; None below ten.

    Whatever belongs to one image, such as the maps of both its classes, must be in one value: images are drawn
    anew, not maps.

    Args:
        values: (I,); NaN for an image without a value, which is left out.

    Source: Efron 1979, Ann. Stat. 7, 1; scipy.stats.bootstrap.
    """
    known = values[~np.isnan(values)].astype(np.float64)
    if len(known) < MIN_IMAGES:
        return None
    # Percentile, not scipy's default BCa, which is NaN where all values are alike, as the gains of equal orders are.
    found = scipy.stats.bootstrap(
        (known,), np.mean, n_resamples=RESAMPLES, method="percentile", vectorized=True, rng=generator
    ).confidence_interval
    return Estimate(float(known.mean()), float(found.low), float(found.high))


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


def unrelated_correlation(first: Floats, second: Floats, ids: Integers) -> float | None:
    """Median rank correlation of maps of different images: what agreement means nothing.

    Args:
        first, second: (R, h, w), row by row of the same images.
        ids: (R,) test ids; a row is paired with the row half the set away, where that shows another image.

    Returns:
        None where no pair is of two images, or none of these has ranks.
    """
    # Half a set away, since rows stand image by image; no draw, so that the same maps have the same null.
    other = np.roll(np.arange(len(ids)), -(len(ids) // 2))
    return median_or_none(rank_correlations(first, second[other])[ids != ids[other]])


def median_or_none(values: Floats) -> float | None:
    """Median of the values that are not NaN; None when there is none."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None
