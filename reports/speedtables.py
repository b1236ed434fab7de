"""What the templates print of a timing: a line for each arm, with no more digits than its interval supports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.schema.page import ArmSpeed, Page, Speeds, run_labels
from bench.schema.timing import ArmTiming
from bench.stats.rates import interval_words, limit_words, number_words

from .charts import Chart
from .timing_chart import ratios_chart, rounds_chart

KINDS = {
    "forward": "forward pass",
    "train": "training step",
    "explain": "maps, same artefact",
    "shipped": "maps, as shipped",
}
TONES = {"steady": "", "noisy": "warn", "unusable": "bad"}


@dataclass(frozen=True)
class RatioWords:
    """A ratio as it is read: `value` may be empty, `said` is the verdict; `struck` where noise forbids it."""

    value: str
    said: str
    interval: str
    baseline: str
    struck: bool


@dataclass(frozen=True)
class SpeedRow:
    """One arm as it is read; `tone` is the class of its spread."""

    work: str
    kind: str
    arm: ArmTiming
    rate: str
    interval: str
    tails: str
    tone: str
    ratio: RatioWords | None


@dataclass(frozen=True)
class TimedRun:
    """What a run's timing says of its model; None for what was not timed."""

    forward: SpeedRow | None
    train: SpeedRow | None


@dataclass(frozen=True)
class SpeedTable:
    """A timing as it is read.

    Attributes:
        limits: what the machine can do, in words.
        rounds, ratios: its drawings, lines in the order of `rows`.
    """

    speeds: Speeds
    rows: tuple[SpeedRow, ...]
    limits: tuple[str, ...]
    rounds: Chart | None
    ratios: Chart | None


def tables_of(page: Page) -> tuple[SpeedTable, ...]:
    """A table for each timing of a page."""
    labels = run_labels(page.runs)
    found = []
    for number, one in enumerate(page.speeds):
        names = {each.arm.model: " and ".join(labels[run] for run in each.runs) for each in one.arms}
        rounds = rounds_chart(one.arms, f"rounds-{number}")
        ratios = ratios_chart(one.arms, f"ratios-{number}")
        rows = tuple(row_of(each, one, names) for each in one.arms)
        limits = tuple(": ".join(limit_words(each)[:2]) for each in one.limits)
        found.append(SpeedTable(one, rows, limits, rounds, ratios))
    return tuple(found)


def timed_runs(page: Page, tables: Sequence[SpeedTable]) -> tuple[TimedRun, ...]:
    """For each run of a page the rows of its model's forward pass and training step."""
    found: dict[tuple[int, str], SpeedRow] = {}
    for table in tables:
        for row, one in zip(table.rows, table.speeds.arms, strict=True):
            found |= {(run, row.arm.what): row for run in one.runs if row.arm.what in ("forward", "train")}
    return tuple(TimedRun(found.get((run, "forward")), found.get((run, "train"))) for run in range(len(page.runs)))


def row_of(speed: ArmSpeed, speeds: Speeds, names: Mapping[str, str]) -> SpeedRow:
    """One arm in words."""
    arm = speed.arm
    return SpeedRow(
        work=f"{arm.explainer} at {arm.layer}" if arm.explainer else names.get(arm.model, arm.model),
        kind=kind_words(arm, names),
        arm=arm,
        rate=number_words(arm.rate, arm.low, arm.high),
        interval=interval_words(arm.rate, arm.low, arm.high),
        tails=interval_words(arm.rate, arm.p10, arm.p90),
        tone=TONES[arm.grade],
        ratio=ratio_of(arm, [each.arm for each in speeds.arms], names),
    )


def kind_words(arm: ArmTiming, names: Mapping[str, str]) -> str:
    """What is done: with the model where an explainer works on one, the precision and whether it settled."""
    parts = [KINDS.get(arm.what, arm.what)]
    parts += [f"of {names.get(arm.model, arm.model)}"] if arm.explainer else []
    parts += [arm.precision] if arm.precision != "fp32" else []
    parts += [] if arm.settled else ["unsettled"]
    return ", ".join(parts)


def ratio_of(arm: ArmTiming, arms: Sequence[ArmTiming], names: Mapping[str, str]) -> RatioWords | None:
    """The ratio to its baseline in words; None for a baseline. What noise forbids is struck out."""
    ratio = arm.ratio
    if ratio is None:
        return None
    base = next((each for each in arms if each.name == ratio.baseline), None)
    shown = ratio.verdict in ("faster", "slower", "struck out")
    return RatioWords(
        value=f"{number_words(ratio.value, ratio.low, ratio.high)}×" if shown else "",
        said="spread over 25 %" if ratio.verdict == "struck out" else ratio.verdict,
        interval=""
        if ratio.verdict in ("n too small", "struck out")
        else interval_words(ratio.value, ratio.low, ratio.high),
        baseline=(base.explainer or names.get(base.model, base.model)) if base else ratio.baseline,
        struck=ratio.verdict == "struck out",
    )
