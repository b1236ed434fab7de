"""A threshold held against figures with intervals: broken, held or undecided."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bench.contracts import Floats, Integers
from bench.schema.page import Estimate
from bench.stats.intervals import difference_of, mean_test, paired_difference
from bench.stats.rates import interval_words, number_words
from bench.thresholds import Rate, Threshold

Outcome = Literal["broken", "held", "undecided"]
SAID = {"broken": "broken:", "held": "held: not", "undecided": "undecided:"}


@dataclass(frozen=True)
class Judged:
    """What became of a threshold, with its interval in words."""

    threshold: Threshold
    outcome: Outcome
    words: str

    @property
    def line(self) -> str:
        """For a reader."""
        return f"{SAID[self.outcome]} {self.threshold.text}; {self.words}"


@dataclass(frozen=True)
class Figure:
    """What is known of one rate.

    Attributes:
        estimate: None where nothing can be said; `why` says why.
        values: (I,) of each image; empty where only the estimate is known.
        ids: (I,) the images; two figures of one kind are paired on those that both have.
        counted: the values are 0 and 1.
        within: the least and the largest value that there can be.
    """

    rate: Rate
    estimate: Estimate | None
    why: str = ""
    values: Floats = field(default_factory=lambda: np.empty(0))
    ids: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    counted: bool = False
    within: tuple[float, float] = (0.0, 1.0)


def judge_figures(threshold: Threshold, left: Figure, right: Figure | None) -> Judged:
    """Whether a threshold broke; undecided where its limit lies in the interval."""
    for each in (left, right):
        if each is not None and each.estimate is None:
            return Judged(threshold, "undecided", f"{each.rate}: {each.why}")
    if right is None:
        return by_interval(threshold, str(left.rate), left.estimate)
    what = f"{left.rate} - {'' if threshold.factor == 1 else f'{threshold.factor:g} * '}{right.rate}"
    gap, how = _gap(left, right, threshold.factor)
    return by_interval(threshold, what, gap, how)


def by_interval(threshold: Threshold, what: str, found: Estimate | None, how: str = "") -> Judged:
    """The outcome that an interval allows, and both in words.

    Args:
        what: is held against the threshold's offset.
        found: None where there are too few images for an interval.
        how: it was compared.
    """
    if found is None:
        return Judged(threshold, "undecided", f"{what}: too few images for an interval, {how}")
    value, low, high, limit = found.value, found.low, found.high, threshold.offset
    words = (
        f"{what} is {number_words(value, low, high)}, {100 * found.level:.4g} % interval "
        f"{interval_words(value, low, high)}, {f'{how}, ' if how else ''}limit {limit:g}"
    )
    return Judged(threshold, outcome_of(threshold, low, high, limit), words)


def outcome_of(threshold: Threshold, low: float | None, high: float | None, limit: float) -> Outcome:
    """What an interval says of a limit; undecided where there is none."""
    if low is None or high is None or low <= limit <= high:
        return "undecided"
    return "broken" if (high < limit) == (threshold.sign == "<") else "held"


def _gap(left: Figure, right: Figure, factor: float) -> tuple[Estimate | None, str]:
    """Left less so many times the right, image by image where that can be; and how it was compared."""
    assert left.estimate and right.estimate
    common, here, there = np.intersect1d(left.ids, right.ids, return_indices=True)
    if left.rate.name != right.rate.name or not len(common):
        return difference_of(left.estimate, right.estimate, factor), "not paired"
    first, second, how = left.values[here], right.values[there], f"paired on {len(common):,} images"
    if left.counted and factor == 1:
        alone = int((first < second).sum()), int((first > second).sum())
        return paired_difference(*alone, len(common)), how
    (least, most), (fewest, largest) = left.within, right.within
    within = (least - factor * largest, most - factor * fewest)
    test = mean_test(first - factor * second, np.random.default_rng(0), within)
    return (test.interval() if test else None), how


def failing(found: Sequence[Judged], *, strict: bool) -> list[Judged]:
    """Those that make a command fail: what broke, and with `strict` what is undecided."""
    return [each for each in found if each.outcome == "broken" or (strict and each.outcome == "undecided")]
