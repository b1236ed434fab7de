"""What a timing says, in words that say no more than its intervals do."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from bench.rates import number_words
from bench.views import Badge, Finding

if TYPE_CHECKING:
    from bench.timingfile import ArmTiming, Ratio, Timing

TIMES = "\N{MULTIPLICATION SIGN}"


def ratio_words(ratio: Ratio | None) -> str:
    """`0.87× (slower), 0.85 to 0.89`; no direction where 1 is inside, no figure where it is struck out."""
    if ratio is None:
        return "baseline"
    if ratio.verdict == "struck out":
        return "struck out: spread over 25 %"
    if ratio.verdict in ("no measurable difference", "n too small"):
        return ratio.verdict
    value = number_words(ratio.value, ratio.low, ratio.high)
    return f"{value}{TIMES} ({ratio.verdict}), {_ends(ratio)}"


def _ends(ratio: Ratio) -> str:
    if ratio.low is None or ratio.high is None:
        return "n too small"
    low, high = (number_words(each, ratio.low, ratio.high) for each in (ratio.low, ratio.high))
    return f"{low} to {high}"


def timing_badge(timing: Timing | None) -> Badge:
    """Whether the speeds of a page may be compared."""
    if timing is None:
        return Badge(False, "speeds not paired: bench time pairs them")
    if any(note.startswith("the machine was busy") for note in timing.notes):
        return Badge(False, f"speeds paired, timing {timing.id}, but the machine was busy")
    return Badge(True, f"speeds paired: timing {timing.id}")


def speed_findings(timing: Timing, *, explainers: Collection[str]) -> tuple[Finding, ...]:
    """One sentence for each forward pass and each explainer of a page that is compared with another.

    Args:
        explainers: those that the page shows; a sentence speaks of two of them, for the same artefact.
    """
    found = []
    for arm in timing.arms:
        base = timing.arm(arm.ratio.baseline) if arm.ratio else None
        shown = arm.what == "forward" or (arm.what == "explain" and arm.explainer in explainers)
        if arm.ratio and shown and (base is None or base.what == "forward" or base.explainer in explainers):
            found.append(_sentence(arm, arm.ratio, timing))
    return tuple(found)


def _sentence(arm: ArmTiming, ratio: Ratio, timing: Timing) -> Finding:
    base = timing.arm(ratio.baseline)
    before, against = f"{subject(arm)}: ", f" against {subject(base) if base else ratio.baseline}"
    anchor = "models" if arm.what == "forward" else "explainers"
    evidence = f"interval {_ends(ratio)}, {ratio.n} paired rounds, timing {timing.id}"
    if ratio.verdict in ("faster", "slower"):
        words = f"{number_words(ratio.value, ratio.low, ratio.high)}{TIMES} ({ratio.verdict})"
        return Finding(before, words, anchor, against, evidence)
    return Finding(before, ratio_words(ratio), anchor, against, evidence)


def subject(arm: ArmTiming) -> str:
    """An arm as a sentence names it."""
    if arm.what == "forward":
        return f"{arm.model}, forward"
    if arm.what == "train":
        return f"{arm.model}, training step"
    how = ", as shipped" if arm.what == "shipped" else ""
    return f"{arm.explainer} at {arm.layer} of {arm.model}{how}"
