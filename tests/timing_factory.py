"""Timings made of numbers, for the tests of what judges and stores them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bench.schema.page import Speed, Speeds
from bench.schema.timing import Moment, Sample, Timing
from bench.timing.arms import Arm, Request, copy_arm, product_arm
from bench.timing.results import Facts, arm_timing, baseline_of

QUIET = Moment((0.1, 0.1, 0.1), (2600.0, 2600.0), None, None)


def samples_of(rounds: Mapping[str, Sequence[float]]) -> tuple[Sample, ...]:
    """Two equal blocks an arm and round, in the order in which they would be taken; seconds a call."""
    from bench.timing.rounds import turns

    names, count = list(rounds), len(next(iter(rounds.values())))
    return tuple(
        Sample(name, number, 1, (rounds[name][number - 1],))
        for number in range(1, count + 1)
        for name in turns(names, number)
    )


def make_timing(rounds: Mapping[str, Sequence[float]], **changes: Any) -> Timing:
    """A timing of forward arms `forward[NAME]`, four images a call, from the seconds of their rounds."""
    arms = {f"forward[{name}]": Arm(Request("forward", name), lambda: None, None, 4) for name in rounds}
    samples = samples_of({f"forward[{name}]": values for name, values in rounds.items()})
    requests = [arm.request for arm in arms.values()]
    figures = tuple(
        arm_timing(
            Facts(arm), samples, baseline=baseline_of(arm.request, requests, ()), batch_size=4, settled=True,
            limits={}, mode="eval mode",
        )
        for arm in arms.values()
    )  # fmt: skip
    plain = Timing(
        schema=1, what="time", id="T1", created="2026-11-21T02:52:00+00:00", command="bench time", commit="abc",
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
    requests = [Request(what, model, one, at, one) for what, model, one, at in names]  # type: ignore[arg-type]
    noise = {one.name: 0.4 if one.model == f"m{runs - 1}" and runs > 2 else 0.01 for one in requests}
    seconds = {
        name: (0.04 * (1 + 0.1 * k) * rng.lognormal(0, noise[name], 12)).tolist() for k, name in enumerate(noise)
    }
    samples = samples_of(seconds)
    figures = [
        arm_timing(
            Facts(Arm(one, lambda: None, None, 4), None, 1e9 if one.layer else None, 8.4, 812.0), samples,
            baseline=baseline_of(one, requests, ()), batch_size=4, settled=one.explainer not in explainers[-1:],
            limits={}, mode="eval mode",
        )
        for one in requests
    ]  # fmt: skip
    arms = tuple(
        Speed(
            runs=(int(arm.model[1:]),),
            arm=arm,
            rounds=tuple(4 / each for each in seconds[arm.name]),
            warm_up=(60.0, 80.0),
            ratios=tuple(b / a for a, b in zip(seconds[arm.name], seconds[arm.ratio.baseline], strict=True))
            if arm.ratio
            else (),
        )
        for arm in figures
    )
    return Speeds("T1", "2026-11-21T02:52:00+00:00", "bench time", "some CPU, 2 threads", 4, "channels_last", 12,
                  ("spread over 10 %: m2",), arms, ())  # fmt: skip
