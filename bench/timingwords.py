"""What a timing says, in words that say no more than its intervals do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.rates import number_words
from bench.views import Badge, Finding

if TYPE_CHECKING:
    from bench.evidence import Speeds
    from bench.timed import ArmTiming, Ratio, Timing

TIMES = "\N{MULTIPLICATION SIGN}"
DOING = {"forward": "answers", "train": "trains", "explain": "explains", "shipped": "explains, as shipped,"}
WORK = {"forward": "forward pass", "train": "training step", "explain": "same artefact", "shipped": "as shipped"}


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


def speed_findings(speeds: Speeds, *, labels: Sequence[str], explainers: Collection[str]) -> tuple[Finding, ...]:
    """What a timing says of the runs and the explainers of a page, one sentence a claim; one for all that are alike.

    Args:
        labels: what the page calls each of its runs.
        explainers: those that the page shows; a sentence speaks of two of them, for the same artefact.
    """
    arms = {one.arm.name: one for one in speeds.arms}
    names = {one.arm.model: " and ".join(labels[index] for index in one.runs) for one in speeds.arms}
    groups: dict[tuple[str, str, str], list[ArmTiming]] = {}
    for one in speeds.arms:
        arm, ratio = one.arm, one.arm.ratio
        base = arms[ratio.baseline].arm if ratio and ratio.baseline in arms else None
        if ratio is None or base is None or not {arm.explainer, base.explainer} <= {"", *explainers}:
            continue
        if arm.what != "shipped":
            alone = "" if ratio.verdict == "no measurable difference" else arm.name
            groups.setdefault((ratio.verdict, base.name, alone), []).append(arm)
    return tuple(_sentence(group, arms[base].arm, names, speeds.id) for (_, base, _), group in groups.items())


def _sentence(group: Sequence[ArmTiming], base: ArmTiming, names: Mapping[str, str], timing: str) -> Finding:
    """One sentence of arms that all stand alike to their baseline."""
    key = "explainer" if base.explainer else "model"
    first, *others = (names.get(name, name) for name in (getattr(arm, key) for arm in (base, *group)))
    ratios = [arm.ratio for arm in group if arm.ratio]
    ends = f"{'intervals' if len(ratios) > 1 else 'interval'} {', '.join(map(_ends, ratios))}"
    evidence = f"{ends}, {ratios[0].n} paired rounds, timing {timing}"
    said, does = ratios[0].verdict, DOING[base.what]
    at = f" at {base.layer}" if base.layer else ""
    if said in ("faster", "slower"):
        value = number_words(ratios[0].value, ratios[0].low, ratios[0].high)
        how = "faster" if said == "faster" else "more slowly"
        return Finding(
            f"{others[0]} {does} ", how, "speed", f" than {first}{at}", f"{value}{TIMES} ({said}), {evidence}"
        )
    if said == "no measurable difference":
        before, link, after = "", "No measurable difference in speed", f" between {first} and {' or '.join(others)}{at}"
        return Finding(before, link, "speed", f"{after}: {WORK[base.what]}", f"ratios to the first, {evidence}")
    return Finding(f"{' and '.join([first, *others])}{at}: ", ratio_words(ratios[0]), "speed", "", evidence)
