"""Intervals and tests. Every accuracy carries one; scipy does the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.views import Estimate

if TYPE_CHECKING:
    from bench.contracts import Floats, Integers

MIN_MAPS_FOR_NULL = 2
MIN_RUNS_FOR_INTERVAL = 2


def wilson(correct: int, total: int) -> Estimate:
    """A share with its 95 % Wilson interval.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22, 209. An empty set gives (0, 0, 1): nothing is known.
    """
    from scipy.stats import binomtest  # type: ignore[attr-defined]

    if total == 0:
        return Estimate(0.0, 0.0, 1.0)
    interval = binomtest(correct, total).proportion_ci(method="wilson")
    return Estimate(correct / total, float(interval.low), float(interval.high))


def mean_interval(values: Sequence[float]) -> Estimate | None:
    """The mean of values of independent runs with its 95 % interval by Student's t; None below two values.

    Source: Student 1908, Biometrika 6, 1. With few runs it is wide, and rightly so: of two, 12.7 standard errors.
    """
    from scipy.stats import t  # type: ignore[attr-defined]

    n = len(values)
    if n < MIN_RUNS_FOR_INTERVAL:
        return None
    mean = float(np.mean(values))
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half, mean + half)


def mcnemar(only_first_wrong: int, only_second_wrong: int) -> float:
    """Two-sided exact p-value that two classifiers err equally often on the same images; 1 without discord.

    Source: McNemar 1947, Psychometrika 12, 153; exact binomial form.
    """
    from scipy.stats import binomtest  # type: ignore[attr-defined]

    discord = only_first_wrong + only_second_wrong
    return float(binomtest(only_first_wrong, discord).pvalue) if discord else 1.0


def paired_difference(only_first_wrong: int, only_second_wrong: int, total: int) -> Estimate:
    """Accuracy of the first minus the second on the same images, with a 95 % interval for paired shares.

    Source: Agresti & Min 2005, Stat. Med. 24, 729 (Wald with half a discordant pair added to each side).
    """
    value = (only_second_wrong - only_first_wrong) / total
    b, c, n = only_second_wrong + 0.5, only_first_wrong + 0.5, total + 2.0
    centre = (b - c) / n
    half = 1.959963984540054 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    return Estimate(value, max(-1.0, float(centre - half)), min(1.0, float(centre + half)))


def above_chance(correct: int, total: int, share: float) -> float:
    """One-sided p-value that accuracy is above `share`, the largest class's share."""
    from scipy.stats import binomtest  # type: ignore[attr-defined]

    return float(binomtest(correct, total, share, alternative="greater").pvalue)


def rank_correlations(first: Floats, second: Floats) -> Floats:
    """Spearman's rank correlation of each pair of maps, on their own grid, ties by average rank.

    Args:
        first, second: (R, h, w).

    Returns:
        (R,) in -1..1; NaN where a map is constant or not finite.
    """
    from scipy.stats import rankdata

    if len(first) == 0:
        return np.zeros(0)
    a = rankdata(first.reshape(len(first), -1), axis=1)
    b = rankdata(second.reshape(len(second), -1), axis=1)
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    finite = np.isfinite(first).all(axis=(1, 2)) & np.isfinite(second).all(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(finite & (scale > 0), (a * b).sum(axis=1) / scale, np.nan)


def largest_relative_difference(first: Floats, second: Floats) -> float:
    """The largest |a - b| of a map over the largest |value| of that map, over all maps with finite values.

    Args:
        first, second: (R, h, w).
    """
    finite = np.isfinite(first).all(axis=(1, 2)) & np.isfinite(second).all(axis=(1, 2))
    a, b = first[finite].astype(np.float64), second[finite].astype(np.float64)
    top = np.maximum(np.abs(a), np.abs(b)).max(axis=(1, 2), initial=0.0)
    gap = np.abs(a - b).max(axis=(1, 2), initial=0.0)
    return float(np.divide(gap, top, out=np.zeros_like(gap), where=top > 0).max(initial=0.0))


def unrelated_correlation(first: Floats, second: Floats, ids: Integers) -> float | None:
    """Median rank correlation of maps of different images: what agreement means nothing.

    Args:
        first, second: (R, h, w), row by row of the same images.
        ids: (R,) test ids; a row is paired with the row half the set away that shows another image.
    """
    half = len(ids) // 2
    if half == 0:
        return None
    other = np.roll(np.arange(len(ids)), -half)
    different = ids != ids[other]
    if different.sum() < MIN_MAPS_FOR_NULL:
        return None
    return median_or_none(rank_correlations(first, second[other])[different])


def median_or_none(values: Floats) -> float | None:
    """Median of the values that are not NaN; None when there is none."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None
