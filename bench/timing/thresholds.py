"""`--fail-if`: one comparison of one rate with a number, or with a multiple of another rate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.errors import UsageError, did_you_mean
from bench.stats.rates import (
    Interval,
    by_round,
    grade,
    interval_words,
    median,
    median_interval,
    number_words,
    ratio_interval,
    spread,
)

if TYPE_CHECKING:
    from bench.schema.timing import Sample, Timing

EXAMPLE = '"forward[cifar_resnet18] < 100", or "train[a] < 0.9 * train[b]"'
NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?"
ARM = r"[a-z]+\[[^\]]*\]"
FORM = re.compile(
    rf"\s*(?P<left>{ARM})\s*(?P<sign>[<>])\s*(?:(?P<factor>{NUMBER})\s*\*\s*)?(?:(?P<right>{ARM})|(?P<number>{NUMBER}))\s*"
)
Outcome = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Threshold:
    """`left < limit`, or `left < limit * right`; with `>` the other way round. Rates in images a second."""

    text: str
    left: str
    sign: Literal["<", ">"]
    limit: float
    right: str = ""


@dataclass(frozen=True)
class Judged:
    """What the samples say of a threshold, with the interval in words."""

    threshold: Threshold
    outcome: Outcome
    words: str


def parse_threshold(text: str, names: Sequence[str]) -> Threshold:
    """Read one comparison.

    Args:
        names: of the arms that are timed.

    Raises:
        UsageError: of another form, or it names an arm that is not timed; offers the nearest one.
    """
    found = FORM.fullmatch(text)
    if found is None or (found["factor"] and found["number"]):
        raise UsageError(f"cannot read the threshold '{text}'", try_=EXAMPLE)
    left, right = tidy(found["left"]), tidy(found["right"] or "")
    for name in filter(None, (left, right)):
        if name not in names:
            raise UsageError(
                f"the threshold '{text}' names {name}, which is not timed{did_you_mean(name, list(names))}",
                try_=f"one of: {', '.join(names)}",
            )
    limit = float(found["factor"] or found["number"] or 1)
    return Threshold(text.strip(), left, "<" if found["sign"] == "<" else ">", limit, right)


def tidy(name: str) -> str:
    """A name without blanks, which people put behind commas."""
    return re.sub(r"\s+", "", name)


def judge(threshold: Threshold, timing: Timing) -> Judged:
    """Whether a threshold holds: undecided where its limit lies in the interval, or the samples are no ground."""
    values, unit = _values(threshold, timing)
    interval, noise = (ratio_interval if threshold.right else median_interval)(values), _noise(threshold, timing)
    what = f"{threshold.left} over {threshold.right}" if threshold.right else threshold.left
    low, high = (interval.low, interval.high) if interval else (None, None)
    value = median(values)
    words = f"{what} is {number_words(value, low, high)}{unit}, interval {interval_words(value, low, high)}"
    if noise:
        return Judged(threshold, "undecided", f"{words}; {noise}")
    return Judged(threshold, _outcome(threshold, interval), words)


def _values(threshold: Threshold, timing: Timing) -> tuple[list[float], str]:
    """Rates of the left arm round by round, or their ratios to the right one's; and the unit."""
    left = _rates(timing, threshold.left)
    if not threshold.right:
        return left, " images/s"
    return [a / b for a, b in zip(left, _rates(timing, threshold.right), strict=True)], " times"


def _rates(timing: Timing, name: str) -> list[float]:
    samples: Sequence[Sample] = timing.samples
    return [timing.batch_size / seconds for seconds in by_round(samples, name)]


def _noise(threshold: Threshold, timing: Timing) -> str:
    worst = max(spread(_rates(timing, name)) for name in filter(None, (threshold.left, threshold.right)))
    return f"spread {worst:.0%}, too noisy to judge" if grade(worst) == "unusable" else ""


def _outcome(threshold: Threshold, interval: Interval | None) -> Outcome:
    if interval is None:
        return "undecided"
    below, above = interval.high < threshold.limit, interval.low > threshold.limit
    if not below and not above:
        return "undecided"
    return "holds" if below == (threshold.sign == "<") else "does not hold"


def broken(judged: Sequence[Judged], *, strict: bool) -> list[Judged]:
    """Those that make the command fail: what holds, and with `strict` what is undecided."""
    return [each for each in judged if each.outcome == "holds" or (strict and each.outcome == "undecided")]
