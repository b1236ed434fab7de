"""Timings made of numbers, for the tests of what judges and stores them."""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bench.schema.page import ArmSpeed, Speeds
from bench.schema.timing import ArmTiming, Moment, Ratio, Sample, Timing
from bench.stats.rates import ratios_of, ratios_to, rounds_of
from bench.timing.arms import Arm, ArmSpec, copy_arm, product_arm
from bench.timing.rounds import turns
from bench.timing.runner import arm_timing, baseline_of

QUIET = Moment((0.1, 0.1, 0.1), (2600.0, 2600.0), None, None)


def samples_of(rounds: Mapping[str, Sequence[float]]) -> tuple[Sample, ...]:
    """Two equal blocks an arm and round, in the order in which they would be taken; seconds a call."""
    names, count = list(rounds), len(next(iter(rounds.values())))
    order = random.Random(0)
    return tuple(
        Sample(name, number, 1, (rounds[name][number - 1],))
        for number in range(1, count + 1)
        for name in turns(names, order)
    )


def ratios_among(specs: Sequence[ArmSpec], seconds: Mapping[str, Sequence[float]]) -> dict[str, Ratio]:
    """The ratio of each arm to the first of its kind."""
    bases = {one.name: baseline_of(one, specs, ()) for one in specs}
    return ratios_to({name: base for name, base in bases.items() if base}, seconds)


def make_timing(rounds: Mapping[str, Sequence[float]], **changes: Any) -> Timing:
    """A timing of forward arms `forward[NAME]`, four images a call, from the seconds of their rounds."""
    arms = {f"forward[{name}]": Arm(ArmSpec("forward", name), lambda: None, None, 4) for name in rounds}
    samples = samples_of({f"forward[{name}]": values for name, values in rounds.items()})
    specs, seconds = [arm.spec for arm in arms.values()], rounds_of(samples)
    ratios = ratios_among(specs, seconds)
    figures = tuple(
        arm_timing(arm, seconds, ratio=ratios.get(arm.name), batch_size=4, settled=True, limits={})
        for arm in arms.values()
    )
    plain = Timing(
        schema=2, what="time", id="T1", created="2026-11-21T02:52:00+00:00", command="bench time", commit="abc",
        host="h" * 12, system="Linux", device="some CPU, 2 threads", device_type="cpu", threads=2,
        versions={"torch": "2.0"}, models={name: {"model": name, "checkpoint": ""} for name in rounds}, batch_size=4,
        image_size=32, memory_format="channels_last", rounds=len(next(iter(rounds.values()))), rounds_asked=12,
        budget_seconds=300.0, block_seconds=0.2, seconds=10.0, before=QUIET, after=QUIET, others=0.0, arms=figures,
        samples=samples, notes=(),
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def limits() -> dict[str, Arm]:
    """The machine's own arms, small."""
    device = torch.device("cpu")
    return {arm.name: arm for arm in (product_arm(device, "fp32"), copy_arm(device, mib=1))}


def make_speeds(runs: int, explainers: Sequence[str] = ("gradcam", "captum"), layer: str = "layer3") -> Speeds:
    """What a page shows of a timing: models `m0`, `m1`, ... of as many runs, explainers on the first.

    The last model's rounds are spread too far for a ratio, the last explainer's warm-up never settled.
    """
    rng = np.random.default_rng(0)
    names = [("forward", f"m{k}", "", "") for k in range(runs)] + [("train", f"m{k}", "", "") for k in range(runs)]
    names += [(what, "m0", one, layer) for what in ("explain", "shipped") for one in explainers]
    specs = [ArmSpec(what, model, one, at, one) for what, model, one, at in names]  # type: ignore[arg-type]
    noise = {one.name: 0.4 if one.model == f"m{runs - 1}" and runs > 2 else 0.01 for one in specs}
    seconds = {
        name: (0.04 * (1 + 0.1 * k) * rng.lognormal(0, noise[name], 12)).tolist() for k, name in enumerate(noise)
    }
    ratios = ratios_among(specs, seconds)
    figures = [
        arm_timing(
            Arm(one, lambda: None, None, 4, floor=1e9 if one.layer else None), seconds,
            ratio=ratios.get(one.name), batch_size=4, settled=one.explainer not in explainers[-1:],
            limits={}, latency_ms=8.4, memory_mb=812.0,
        )
        for one in specs
    ]  # fmt: skip
    arms = tuple(
        ArmSpeed(
            runs=(int(arm.model[1:]),),
            arm=arm,
            rounds=tuple(4 / each for each in seconds[arm.name]),
            warm_up=(60.0, 80.0),
            ratios=tuple(ratios_of(seconds[arm.name], seconds[arm.ratio.baseline])) if arm.ratio else (),
        )
        for arm in figures
    )
    return Speeds("T1", "2026-11-21T02:52:00+00:00", "bench time", "some CPU, 2 threads", 4, "channels_last", 12,
                  ("spread over 10 %: m2",), arms, ())  # fmt: skip


def arm_of(timing: Timing, name: str) -> ArmTiming:
    """The arm of a timing that has this name."""
    return next(each for each in timing.arms if each.name == name)
