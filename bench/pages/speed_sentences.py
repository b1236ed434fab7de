"""What a timing says, in words that say no more than its intervals do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.schema.page import Badge, Finding
from bench.stats.rates import interval_words, number_words

if TYPE_CHECKING:
    from bench.schema.page import Speeds
    from bench.schema.timing import ArmTiming, Ratio, Timing

TIMES = "\N{MULTIPLICATION SIGN}"
DOING = {  # of one, of several
    "forward": ("answers", "answer"),
    "train": ("trains", "train"),
    "explain": ("explains", "explain"),
    "shipped": ("explains", "explain"),
}
WORK = {
    "forward": "forward pass",
    "train": "training step",
    "explain": "the same artefact",
    "shipped": "each library’s own artefact",
}


def ratio_words(ratio: Ratio | None) -> str:
    """`0.87× (slower), 0.85 to 0.89`; no direction where 1 is inside, no figure where it is struck out."""
    if ratio is None:
        return "baseline"
    if ratio.verdict == "struck out":
        return "struck out: spread over 25 %"
    if ratio.verdict in ("no measurable difference", "n too small"):
        return ratio.verdict
    value = number_words(ratio.value, ratio.low, ratio.high)
    return f"{value}{TIMES} ({ratio.verdict}), {interval_words(ratio.value, ratio.low, ratio.high)}"


def timing_badge(timing: Timing) -> Badge:
    """Whether the speeds of a page may be compared."""
    if any(note.startswith("the machine was busy") for note in timing.notes):
        return Badge(False, f"speeds paired, timing {timing.id}, but the machine was busy")
    return Badge(True, f"speeds paired: timing {timing.id}")


def speed_findings(speeds: Speeds, *, labels: Sequence[str], explainers: Collection[str]) -> tuple[Finding, ...]:
    """What a timing says of the runs and the explainers of a page; one sentence for all that it says alike.

    Models that stand alike to the baseline share a sentence, and so do layers at which an explainer does.

    Args:
        labels: what the page calls each of its runs.
        explainers: those that the page shows; a sentence speaks of two of them.
    """
    arms = {one.arm.name: one.arm for one in speeds.arms}
    names = {one.arm.model: " and ".join(labels[index] for index in one.runs) for one in speeds.arms}
    groups: dict[tuple[str, ...], list[ArmTiming]] = {}
    for arm in arms.values():
        base = arms.get(arm.ratio.baseline) if arm.ratio else None
        if arm.ratio is None or base is None or not {arm.explainer, base.explainer} <= {"", *explainers}:
            continue
        groups.setdefault((arm.what, arm.ratio.verdict, base.model, base.explainer, arm.explainer), []).append(arm)
    return tuple(_sentence(group, arms, names) for group in groups.values())


def _sentence(group: Sequence[ArmTiming], arms: Mapping[str, ArmTiming], names: Mapping[str, str]) -> Finding:
    """One sentence of arms that stand alike to their baselines."""
    ratios = [arm.ratio for arm in group if arm.ratio]
    base, said = arms[ratios[0].baseline], ratios[0].verdict
    first, *others = dict.fromkeys(arm.explainer or names.get(arm.model, arm.model) for arm in (base, *group))
    layers = dict.fromkeys(arm.layer for arm in group if arm.layer)
    at = f" at {' and '.join(layers)}" if layers else ""
    evidence = f"{'; '.join(map(_figures, ratios))}; {ratios[0].n} paired rounds"
    work = f": {WORK[base.what]}"
    if said in ("faster", "slower"):
        work = work if base.explainer else ""  # the verb has said it
        does = DOING[base.what][len(others) > 1]
        how = "faster" if said == "faster" else "more slowly"
        return Finding(f"{' and '.join(others)} {does} ", how, "speed", f" than {first}{at}{work}", evidence)
    link = "No measurable difference in speed" if said == "no measurable difference" else "No claim about speed"
    return Finding("", link, "speed", f" between {first} and {' or '.join(others)}{at}{work}", evidence)


def _figures(ratio: Ratio) -> str:
    """A ratio with its interval as evidence; the interval alone where there is no direction."""
    if ratio.verdict == "no measurable difference":
        return f"ratio {interval_words(ratio.value, ratio.low, ratio.high)}"
    return ratio_words(ratio)
