"""Timings made of numbers, for the tests of what judges and stores them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bench.arms import Arm, Request, copy_arm, product_arm
from bench.results import Facts, arm_timing, baseline_of
from bench.timingfile import Moment, Sample, Timing

QUIET = Moment((0.1, 0.1, 0.1), (2600.0, 2600.0), None, None)


def samples_of(rounds: Mapping[str, Sequence[float]]) -> tuple[Sample, ...]:
    """Two equal blocks an arm and round, in the order in which they would be taken; seconds a call."""
    from bench.interleaving import turns

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
