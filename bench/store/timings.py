"""Timings on disk. Two of them are beside each other only where nothing else differs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import StoreError
from bench.machine import environment, host
from bench.precision import IEEE, loosest_fp32
from bench.registry.registry import short
from bench.schema.page import EpochPoint, Rates
from bench.schema.timing import ArmTiming, Sample, Timing
from bench.stats.rates import grade, spread, tails
from bench.store.files import locked, read_value, readable, unsaid, write_json
from bench.store.paths import timing_files, timing_path

if TYPE_CHECKING:
    import torch

    from bench.workspace import Workspace


TIMING_SCHEMA = 2
MODES = {
    "train": "whole epochs, with augmentation",
    "explain": "eval mode, batch by batch in the order of the work",
}


def write_timing(folder: Path, timing: Timing) -> Path:
    """Store a timing; gives its file."""
    path = timing_path(folder, timing.id, timing.what)
    write_json(path, dataclasses.asdict(timing))
    return path


def add_timing(folder: Path, new: Timing) -> Timing:
    """Store rates noted in passing beside those that the same call noted before, under the file's lock; gives all."""
    path = timing_path(folder, new.id, new.what)
    with locked(path, folder):
        with suppress(StoreError):
            old, names = read_timing(path), {arm.name for arm in new.arms}
            arms = (*(arm for arm in old.arms if arm.name not in names), *new.arms)
            samples = (*(one for one in old.samples if one.arm not in names), *new.samples)
            new = replace(new, arms=arms, samples=samples, seconds=old.seconds + new.seconds)
        write_timing(folder, new)
    return new


def read_timing(path: Path) -> Timing:
    """A timing file, validated; StoreError where it is damaged or newer than this bench.

    Figures that no clock can give (a rate of 0, a time below 0, what is not finite) are damage, too.
    """
    timing = read_value(path, Timing, TIMING_SCHEMA, timing_of_today)
    if wrong := next(_impossible(timing), None):
        raise StoreError(f"{path}: {wrong}", try_="bench time --help  # makes another one")
    return timing


def read_timings(folder: Path, doubt: Callable[[str], object] = unsaid) -> tuple[Timing, ...]:
    """The timings of a run or of all runs, the oldest first; one that cannot be read is left out, and told of."""
    return tuple(readable(read_timing, timing_files(folder), doubt))


def _impossible(timing: Timing) -> Iterator[str]:
    """What cannot have been measured, in words."""
    for one in timing.samples:
        if one.calls < 1 or not one.seconds or not all(0 < each < math.inf for each in one.seconds):
            yield f"{one.arm} took {one.seconds} s for {one.calls} calls"
    for arm in timing.arms:
        ratio = (arm.ratio.value, arm.ratio.low, arm.ratio.high) if arm.ratio else ()
        known = [each for each in (arm.rate, arm.low, arm.high, arm.p10, arm.p90, *ratio) if each is not None]
        if arm.batch_size < 1 or not all(0 < each < math.inf for each in known) or not 0 <= arm.spread < math.inf:
            yield f"{arm.name} has a rate, an interval, a spread or a ratio that cannot be"


# --- noted in passing: one piece of work after the other, not in turns ----------------------------------------


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
    laps: Sequence[tuple[int, float]]
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
        fp32=IEEE if what == "explain" else loosest_fp32(device),
    )  # fmt: skip


# --- what earlier versions wrote ----------------------------------------------------------------------------


def timing_of_today(old: Mapping[str, Any]) -> dict[str, Any]:
    """A timing of any schema as one of schema 2; what explaining noted was of a form of its own before."""
    from pydantic import TypeAdapter

    if old.get("schema") != 1:
        return dict(old)
    tables = TypeAdapter(list[dict[str, Any]])
    if old.get("what") != "explain":
        arms = tables.validate_python(old.get("arms"))
        layers = [[arm["layer"]] if arm.get("layer") else [] for arm in arms]
        return {**old, "schema": 2, "arms": [{**arm, "layers": of} for arm, of in zip(arms, layers, strict=True)]}
    works = TypeAdapter(list[Passed]).validate_python([
        {"batch_size": 1, "explainer": None, "layers": None, **row, "what": "explain", "model": "", "rate": rate,
         "laps": row.get("samples", ())}
        for row in tables.validate_python(old.get("rows"))
        if isinstance(rate := row.get("images_per_second"), int | float) and 0 < rate < math.inf
    ])  # fmt: skip
    unknown = dict.fromkeys(("created", "command", "commit", "host", "system", "device_type", "memory_format"), "")
    nothing = dict.fromkeys(("threads", "batch_size", "image_size", "rounds", "rounds_asked"), 0)
    return {
        **unknown, **nothing, "budget_seconds": 0.0, "block_seconds": 0.0, "seconds": 0.0, "before": None,
        "after": None, "others": None, "models": {}, "notes": (), **old, "schema": 2,
        "arms": [dataclasses.asdict(one.arm) for one in works],
        "samples": [dataclasses.asdict(each) for one in works for each in one.samples],
    }  # fmt: skip


# --- which of them ------------------------------------------------------------------------------------------


def newest_timing(timings: Iterable[Timing], models: Mapping[str, str | None]) -> Timing | None:
    """The newest timing whose arms took turns; None where there is none.

    Args:
        models: only a timing that knows all of these models by their names (registered ones or runs'), and with these
            checkpoints where they are not None; a page of several runs asks for all of its runs.
    """
    known = [
        timing
        for timing in timings
        if timing.what == "time" and all(knows(timing, name, checkpoint) for name, checkpoint in models.items())
    ]
    return max(reversed(known), key=lambda timing: timing.id, default=None)


def knows(timing: Timing, name: str, checkpoint: str | None) -> bool:
    """Whether a timing has a model of that name, with that checkpoint where it is not None."""
    known = timing.models.get(name)
    return known is not None and checkpoint in (None, known.get("checkpoint"))


# --- rates noted in passing ---------------------------------------------------------------------------------


def rates_of(timings: Iterable[Timing]) -> dict[tuple[str, str, str], ArmTiming]:
    """What was noted while cells were made, by timing, explainer and layer."""
    return {
        (timing.id, arm.explainer, layer): arm
        for timing in timings
        if timing.what == "explain"
        for arm in timing.arms
        for layer in arm.layers
    }


def timings_of(run: int, timings: Iterable[Timing], curve: Sequence[EpochPoint], wanted: Set[str]) -> tuple[Rates, ...]:
    """Training by epoch, then every explainer by batch.

    Args:
        run: index of the run on its page.
        timings: those of the run.
        curve: its epochs.
        wanted: ids of timings that cells of the page name; others are of maps that were made anew since.
    """
    training = tuple(each.images_per_second for each in curve if 0 < each.images_per_second < math.inf)
    found = [Rates(run, "training", "epoch", training)] if training else []
    named = [timing for timing in timings if timing.what == "explain" and timing.id in wanted]
    found += [
        Rates(run, f"{short(arm.explainer)} at {arm.layer}", "batch", rates, timing.id)
        for timing in named
        for arm in timing.arms
        if (rates := tuple(_rates(timing, arm)))
    ]
    return tuple(found)


def _rates(timing: Timing, arm: ArmTiming) -> Iterator[float]:
    """Images a second of every batch."""
    for one in timing.samples:
        if one.arm == arm.name:
            images = one.calls * (arm.batch_size if one.images is None else one.images)
            yield from (images / seconds for seconds in one.seconds)
