"""Thresholds of speeds, by the rounds of one timing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.errors import UsageError, did_you_mean
from bench.gates.judged import Judged, outcome_of
from bench.schema.timing import ArmTiming, Timing
from bench.stats.rates import (
    CLAIM_ROUNDS,
    dependent,
    grade,
    interval_words,
    number_words,
    ratio_interval,
    ratio_to,
    ratios_of,
    rounds_of,
)
from bench.thresholds import Rate, Threshold

TIMED = ("forward", "train", "explain", "shipped")


@dataclass(frozen=True)
class _Found:
    """A value with its interval, and what of: rates are in images a second."""

    what: str
    value: float
    low: float | None
    high: float | None
    unit: str
    limit: float


def check_timed(thresholds: Iterable[Threshold], arms: Iterable[Rate]) -> None:
    """UsageError where a threshold names an arm that is not timed; offers the nearest one."""
    known = list(map(str, arms))
    for threshold in thresholds:
        for name in map(str, threshold.rates):
            if name not in known:
                raise UsageError(
                    f"the threshold '{threshold.text}' names {name}, which is not timed{did_you_mean(name, known)}",
                    try_=f"one of: {', '.join(known)}",
                )


def arm_rate(what: str, model: str, explainer: str, layers: Sequence[str]) -> Rate:
    """An arm as a threshold names it."""
    return Rate(what, tuple(filter(None, (model, explainer, *layers))))


def judge_rounds(threshold: Threshold, timing: Timing) -> Judged:
    """Whether a threshold broke; undecided where its limit lies in the interval, or the samples are no ground."""
    arms = {arm_rate(arm.what, arm.model, arm.explainer, arm.layers): arm for arm in timing.arms}
    for each in threshold.rates:
        if each not in arms:
            return Judged(threshold, "undecided", f"{each} was left out")
    chosen = [arms[each] for each in threshold.rates]
    rounds = rounds_of(timing.samples)
    found = _found(threshold, chosen, rounds)
    value = number_words(found.value, found.low, found.high)
    words = f"{found.what} is {value}{found.unit}, interval {interval_words(found.value, found.low, found.high)}"
    words += f", limit {found.limit:g}"
    worst = max(arm.spread for arm in chosen)
    if grade(worst) == "unusable":
        return Judged(threshold, "undecided", f"{words}; spread {worst:.0%}, too noisy to judge")
    if len(chosen) > 1 and (why := no_ground(*(rounds[arm.name] for arm in chosen))):
        return Judged(threshold, "undecided", f"{words}; {why}")
    return Judged(threshold, outcome_of(threshold, found.low, found.high, found.limit), words)


def _found(threshold: Threshold, arms: Sequence[ArmTiming], rounds: Mapping[str, Sequence[float]]) -> _Found:
    """The figure that a threshold is about: a rate, a ratio of two, or their difference, round by round."""
    left = arms[0]
    if len(arms) == 1:
        return _Found(left.name, left.rate, left.low, left.high, " images/s", threshold.offset)
    right = arms[1]
    if threshold.offset == 0:
        ratio = ratio_to(right.name, rounds, left.name)
        what = f"{left.name} over {right.name}"
        return _Found(what, ratio.value, ratio.low, ratio.high, " times", threshold.factor)
    gaps = [
        left.batch_size / own - right.batch_size / other
        for own, other in zip(rounds[left.name], rounds[right.name], strict=True)
    ]
    ends = ratio_interval(gaps)
    low, high = (ends.low, ends.high) if ends else (None, None)
    return _Found(f"{left.name} - {right.name}", median(gaps), low, high, " images/s", threshold.offset)


def no_ground(seconds: Sequence[float], others: Sequence[float]) -> str:
    """Why the rounds of two arms are no ground for a claim, in words; empty where they are."""
    if len(seconds) < CLAIM_ROUNDS:
        return f"{len(seconds)} rounds of {CLAIM_ROUNDS} that a claim takes"
    return "rounds not independent" if dependent(ratios_of(seconds, others)) else ""
