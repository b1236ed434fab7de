"""What the templates print of a timing: a line for each arm, with no more digits than its interval supports."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

from bench.schema.page import ArmSpeed, Page, Speeds, run_labels
from bench.schema.timing import ArmTiming
from bench.stats.rates import interval_words, limit_words, number_words

from .timing_chart import ratios_chart, rounds_chart

KINDS = {
    "forward": "forward pass",
    "train": "training step",
    "explain": "maps, all in one form",
    "shipped": "what the library gives its users",
}
TONES = {"steady": "", "noisy": "warn", "unusable": "bad"}


def tables_of(page: Page) -> list[SimpleNamespace]:
    """A table for each timing of a page.

    Returns:
        speeds: the timing.
        rows: its arms, as `row_of` gives them.
        limits: what the machine can do, in words.
        rounds, ratios: its drawings, lines in the order of `rows`.
    """
    labels = run_labels(page.runs)
    return [_table(number, one, labels) for number, one in enumerate(page.speeds)]


def _table(number: int, one: Speeds, labels: Sequence[str]) -> SimpleNamespace:
    names = {each.arm.model: " and ".join(labels[run] for run in each.runs) for each in one.arms}
    return SimpleNamespace(
        speeds=one,
        rows=[row_of(each, one, names) for each in one.arms],
        limits=[": ".join(limit_words(each)[:2]) for each in one.limits],
        rounds=rounds_chart(one.arms, f"rounds-{number}"),
        ratios=ratios_chart(one.arms, f"ratios-{number}"),
    )


def timed_runs(page: Page, tables: Sequence[SimpleNamespace]) -> list[dict[str, SimpleNamespace | None]]:
    """For each run of a page the rows of its model's `forward` and `train`; None for what was not timed."""
    found: dict[tuple[int, str], SimpleNamespace] = {}
    for table in tables:
        for row, one in zip(table.rows, table.speeds.arms, strict=True):
            found |= {(run, row.arm.what): row for run in one.runs}
    return [{what: found.get((run, what)) for what in ("forward", "train")} for run in range(len(page.runs))]


def row_of(speed: ArmSpeed, speeds: Speeds, names: Mapping[str, str]) -> SimpleNamespace:
    """One arm in words; `tone` is the class of its spread, `ratio` as `ratio_of` gives it."""
    arm = speed.arm
    return SimpleNamespace(
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
    model = f"of {names.get(arm.model, arm.model)}" if arm.explainer else ""
    precision = "" if arm.precision == "fp32" else arm.precision
    settled = "" if arm.settled else "unsettled"
    return ", ".join(filter(None, (KINDS.get(arm.what, arm.what), model, precision, settled)))


def ratio_of(arm: ArmTiming, arms: Sequence[ArmTiming], names: Mapping[str, str]) -> SimpleNamespace | None:
    """The ratio to its baseline in words; None for a baseline. What noise forbids is `struck`; `value` may be empty."""
    ratio = arm.ratio
    if ratio is None:
        return None
    base = next((each for each in arms if each.name == ratio.baseline), None)
    shown = ratio.verdict in ("faster", "slower", "struck out")
    return SimpleNamespace(
        value=f"{number_words(ratio.value, ratio.low, ratio.high)}×" if shown else "",
        said="spread over 25 %" if ratio.verdict == "struck out" else ratio.verdict,
        interval=""
        if ratio.verdict in ("n too small", "struck out")
        else interval_words(ratio.value, ratio.low, ratio.high),
        baseline=(base.explainer or names.get(base.model, base.model)) if base else ratio.baseline,
        struck=ratio.verdict == "struck out",
    )
