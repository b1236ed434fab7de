"""`--fail-if`: one comparison of one rate with a number, or with a multiple of another rate."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError, did_you_mean
from bench.schema.timing import ArmTiming, Timing
from bench.stats.rates import (
    CLAIM_ROUNDS,
    dependent,
    grade,
    interval_words,
    number_words,
    ratio_to,
    ratios_of,
    rounds_of,
)

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
class ThresholdResult:
    """What a timing says of a threshold, with the interval in words."""

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
    # People put blanks behind commas.
    left, right = (re.sub(r"\s+", "", found[side] or "") for side in ("left", "right"))
    for name in filter(None, (left, right)):
        if name not in names:
            raise UsageError(
                f"the threshold '{text}' names {name}, which is not timed{did_you_mean(name, list(names))}",
                try_=f"one of: {', '.join(names)}",
            )
    limit = float(found["factor"] or found["number"] or 1)
    return Threshold(text.strip(), left, "<" if found["sign"] == "<" else ">", limit, right)


def judge(thresholds: Sequence[Threshold], timing: Timing) -> tuple[ThresholdResult, ...]:
    """Whether thresholds hold: undecided where a limit lies in the interval, or the samples are no ground."""
    rounds = rounds_of(timing.samples)
    return tuple(_judged(each, {arm.name: arm for arm in timing.arms}, rounds) for each in thresholds)


def _judged(
    threshold: Threshold, arms: Mapping[str, ArmTiming], rounds: Mapping[str, Sequence[float]]
) -> ThresholdResult:
    for name in filter(None, (threshold.left, threshold.right)):
        if name not in arms:
            return ThresholdResult(threshold, "undecided", f"{name} was left out")
    left, right = arms[threshold.left], arms.get(threshold.right)
    if right is None:
        value, low, high, unit = left.rate, left.low, left.high, " images/s"
    else:
        ratio = ratio_to(right.name, rounds, left.name)
        value, low, high, unit = ratio.value, ratio.low, ratio.high, " times"
    what = f"{left.name} over {right.name}" if right else left.name
    words = f"{what} is {number_words(value, low, high)}{unit}, interval {interval_words(value, low, high)}"
    worst = max(arm.spread for arm in (left, right) if arm)
    if grade(worst) == "unusable":
        return ThresholdResult(threshold, "undecided", f"{words}; spread {worst:.0%}, too noisy to judge")
    if right is not None and (why := no_ground(rounds[left.name], rounds[right.name])):
        return ThresholdResult(threshold, "undecided", f"{words}; {why}")
    return ThresholdResult(threshold, _outcome(threshold, low, high), words)


def no_ground(seconds: Sequence[float], others: Sequence[float]) -> str:
    """Why the rounds of two arms are no ground for a claim, in words; empty where they are."""
    if len(seconds) < CLAIM_ROUNDS:
        return f"{len(seconds)} rounds of {CLAIM_ROUNDS} that a claim takes"
    return "rounds not independent" if dependent(ratios_of(seconds, others)) else ""


def _outcome(threshold: Threshold, low: float | None, high: float | None) -> Outcome:
    if low is None or high is None or low <= threshold.limit <= high:
        return "undecided"
    return "holds" if (high < threshold.limit) == (threshold.sign == "<") else "does not hold"


def broken(results: Sequence[ThresholdResult], *, strict: bool) -> list[ThresholdResult]:
    """Those that make the command fail: what holds, and with `strict` what is undecided."""
    return [each for each in results if each.outcome == "holds" or (strict and each.outcome == "undecided")]
