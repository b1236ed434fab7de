"""From the rounds of all arms to the figures of one."""

from collections.abc import Mapping, Sequence
from statistics import median

from bench.schema.timing import ArmTiming
from bench.stats.rates import GIGA, grade, median_interval, ratio_to, ratios_of, spread, tails
from bench.timing.arms import MODES, Arm, ArmSpec

Rounds = Mapping[str, Sequence[float]]  # seconds a call by arm, round by round


def arm_timing(
    arm: Arm,
    rounds: Rounds,
    *,
    baseline: str,
    batch_size: int,
    settled: bool,
    limits: Mapping[str, Arm],
    latency_ms: float | None = None,
    memory_mb: float | None = None,
) -> ArmTiming:
    """The figures of one arm.

    Args:
        baseline: name of the arm it is compared with; empty for none.
        limits: the machine's own, by name.
        latency_ms, memory_mb: None where they were not measured.
    """
    spec, work = arm.spec, arm.counted
    seconds = rounds[arm.name]
    rates = [arm.items / each for each in seconds]
    interval, (p10, p90), noise = median_interval(rates), tails(rates), spread(rates)
    return ArmTiming(
        name=arm.name,
        what=spec.what,
        model=spec.model,
        explainer=spec.explainer,
        layers=(spec.layer,) if spec.layer else (),
        mode=MODES[spec.what],
        batch_size=batch_size,
        precision=arm.precision,
        unit=arm.unit,
        settled=settled,
        n=len(rates),
        rate=median(rates),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        coverage=interval.coverage if interval else None,
        p10=p10,
        p90=p90,
        spread=noise,
        grade=grade(noise),
        latency_ms=latency_ms,
        memory_mb=memory_mb,
        gflop=work.flops / arm.items / GIGA if work else None,
        floor_gflop=None if arm.floor is None else arm.floor / GIGA,
        of_product=share(work.flops, seconds, limits.get(ArmSpec("product", arm.precision).name), rounds)
        if work
        else None,
        of_copy=share(work.bytes, seconds, limits.get(ArmSpec("copy").name), rounds) if work else None,
        ratio=ratio_to(baseline, rounds, arm.name) if baseline else None,
    )


def share(amount: float, seconds: Sequence[float], top: Arm | None, rounds: Rounds) -> float | None:
    """What an arm does a second over what the machine can do, median over rounds; None where either is unknown.

    Args:
        amount: of one call, in the unit of the limit.
    """
    if not amount or top is None:
        return None
    return median([amount / top.items * ratio for ratio in ratios_of(seconds, rounds[top.name])])


def baseline_of(spec: ArmSpec, specs: Sequence[ArmSpec], baselines: Sequence[str]) -> str:
    """Name of the arm that an arm is compared with; empty for the baseline itself and for what has none.

    Models are compared with the baseline's model at the same work, explainers with the baseline's explainer at the
    same layer; where no baseline of a kind is named it is the first.
    """
    key = "model" if spec.what in ("forward", "train") else "explainer"
    alike = [each for each in specs if (each.what, each.layer) == (spec.what, spec.layer)]
    if not alike:
        return ""
    named = [each for each in alike if getattr(each, key) in baselines]
    base = (named or alike)[0]
    return "" if base == spec else base.name
