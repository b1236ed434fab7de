"""From raw samples to the figures of an arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.schema.timing import ArmTiming, Ratio, Sample
from bench.stats.rates import by_round, grade, median, median_interval, ratio_interval, spread, tails, verdict

if TYPE_CHECKING:
    from bench.timing.arms import Arm, Request
    from bench.timing.flops import Counted

GIGA = 1e9


@dataclass(frozen=True)
class Facts:
    """An arm and what is known of it besides its samples; None for what was not measured."""

    arm: Arm
    counted: Counted | None = None
    floor: float | None = None
    latency_ms: float | None = None
    memory_mb: float | None = None


def arm_timing(
    facts: Facts,
    samples: Sequence[Sample],
    *,
    baseline: str,
    batch_size: int,
    settled: bool,
    limits: Mapping[str, Arm],
    mode: str,
) -> ArmTiming:
    """The figures of one arm.

    Args:
        samples: of all arms, in run order.
        baseline: name of the arm it is compared with; empty for none.
        limits: the machine's own, by name.
    """
    arm, request = facts.arm, facts.arm.request
    seconds = by_round(samples, arm.name)
    rates = [arm.items / each for each in seconds]
    interval, (low, high), noise = median_interval(rates), tails(rates), spread(rates)
    flops, moved = (facts.counted.flops, facts.counted.bytes) if facts.counted else (None, None)
    return ArmTiming(
        name=arm.name,
        what=request.what,
        model=request.model,
        explainer=request.explainer,
        layer=request.layer,
        mode=mode,
        batch_size=batch_size,
        precision=arm.precision,
        unit=arm.unit,
        settled=settled,
        n=len(rates),
        rate=median(rates),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        coverage=interval.coverage if interval else None,
        p10=low,
        p90=high,
        spread=noise,
        grade=grade(noise),
        latency_ms=facts.latency_ms,
        memory_mb=facts.memory_mb,
        gflop=None if flops is None else flops / arm.items / GIGA,
        floor_gflop=None if facts.floor is None else facts.floor / GIGA,
        of_product=share(flops, seconds, limit(limits, "product", arm.precision), samples),
        of_copy=share(moved, seconds, limit(limits, "copy"), samples),
        ratio=ratio_to(baseline, seconds, samples) if baseline else None,
    )


def ratio_to(baseline: str, seconds: Sequence[float], samples: Sequence[Sample]) -> Ratio:
    """How many times as fast as the baseline, round by round."""
    others = by_round(samples, baseline)
    ratios = [other / own for own, other in zip(seconds, others, strict=True)]
    interval = ratio_interval(ratios)
    said = verdict(interval, grade(spread(seconds)), grade(spread(others)))
    low, high, coverage = (interval.low, interval.high, interval.coverage) if interval else (None, None, None)
    return Ratio(baseline, median(ratios), low, high, coverage, len(ratios), said)


def limit(limits: Mapping[str, Arm], what: str, precision: str = "") -> Arm | None:
    """The machine's limit of a kind, in a precision where that matters."""
    found = (arm for arm in limits.values() if arm.request.what == what)
    return next((arm for arm in found if not precision or arm.precision == precision), None)


def share(amount: float | None, seconds: Sequence[float], top: Arm | None, samples: Sequence[Sample]) -> float | None:
    """What an arm does a second over what the machine can do, median over rounds; None where either is unknown.

    Args:
        amount: of one call, in the unit of the limit.
    """
    if not amount or top is None:
        return None
    limits = [top.items / each for each in by_round(samples, top.name)]
    return median([amount / own / best for own, best in zip(seconds, limits, strict=True)])


def baseline_of(request: Request, requests: Sequence[Request], baselines: Sequence[str]) -> str:
    """Name of the arm that an arm is compared with; empty for the baseline itself and for what has none.

    Models are compared with the baseline's model at the same work, explainers with the baseline's explainer at the
    same layer; where no baseline of a kind is named it is the first.
    """
    key = "model" if request.what in ("forward", "train") else "explainer"
    alike = [each for each in requests if (each.what, each.layer) == (request.what, request.layer)]
    if not alike:
        return ""
    named = [each for each in alike if getattr(each, key) in baselines]
    base = (named or alike)[0]
    return "" if base == request else base.name
