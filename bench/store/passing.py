"""Rates that were noted while the work was done, as a timing: one piece of work after the other, not in turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from bench.machine import environment, host
from bench.schema.timing import ArmTiming, Sample, Timing
from bench.stats.rates import grade, spread, tails

if TYPE_CHECKING:
    import torch

    from bench.workspace import Workspace

TIMING_SCHEMA = 2
MODES = {
    "train": "whole epochs, with all that a batch goes through",
    "explain": "eval mode, batch by batch as they came",
}

Laps = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Passed:
    """A piece of work that was timed while it was done.

    Attributes:
        explainer, layers, targets: whose maps, and what one call answers for; empty for a training.
        rate: images a second, without the first lap.
        laps: (images, seconds), in run order.
    """

    what: Literal["train", "explain"]
    model: str
    batch_size: int
    rate: float
    laps: Laps
    explainer: str = ""
    layers: tuple[str, ...] = ()
    targets: int = 1
    precision: str = "fp32"

    @property
    def name(self) -> str:
        """What its arm is called."""
        return f"{self.what}[{','.join(filter(None, (self.model, self.explainer, *self.layers)))}]"

    @property
    def arm(self) -> ArmTiming:
        """Its figures; whatever takes turns to be known is None."""
        rates = [images / seconds for images, seconds in self.laps if seconds > 0] or [self.rate]
        (p10, p90), noise = tails(rates[1:] or rates), spread(rates[1:] or rates)
        return ArmTiming(
            name=self.name, what=self.what, model=self.model, explainer=self.explainer, layers=self.layers,
            targets=self.targets, mode=MODES[self.what], batch_size=self.batch_size, precision=self.precision,
            unit="images", settled=True, n=len(self.laps), rate=self.rate, low=None, high=None, coverage=None, p10=p10,
            p90=p90, spread=noise, grade=grade(noise), latency_ms=None, memory_mb=None, gflop=None, floor_gflop=None,
            of_product=None, of_copy=None, ratio=None,
        )  # fmt: skip

    @property
    def samples(self) -> Iterator[Sample]:
        """Its laps; the first one warms up."""
        known = [(images, seconds) for images, seconds in self.laps if seconds > 0]
        yield from (Sample(self.name, 0, 1, (seconds,), images) for images, seconds in known[:1])
        for images, laps in groupby(known[1:], key=lambda lap: lap[0]):
            yield Sample(self.name, 1, 1, tuple(seconds for _, seconds in laps), images)


def noted(
    what: Literal["train", "explain"],
    works: Sequence[Passed],
    models: Mapping[str, Mapping[str, str]],
    *,
    image_size: int,
    device: torch.device,
    workspace: Workspace,
) -> Timing:
    """What was noted in a call.

    Args:
        works: at least one.
        models: as in `Timing`.
    """
    on = environment(device)
    return Timing(
        schema=TIMING_SCHEMA, what=what, id=workspace.timing, created=workspace.created, command=workspace.command,
        commit=on.code.short, host=host(), system=on.system, device=on.device,
        device_type=on.device_type, threads=on.threads, versions=on.versions, models=models,
        batch_size=max(one.batch_size for one in works), image_size=image_size, memory_format="channels_last",
        rounds=0, rounds_asked=0, budget_seconds=0.0, block_seconds=0.0,
        seconds=sum(seconds for one in works for _, seconds in one.laps), before=None, after=None, others=None,
        arms=tuple(one.arm for one in works), samples=tuple(each for one in works for each in one.samples), notes=(),
    )  # fmt: skip
