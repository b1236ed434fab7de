"""Timings one can believe: every arm in turns in one process, warm, with the machine's own limits among them."""

import functools
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch

from bench.contracts import ExplainerSpec
from bench.errors import RoomError
from bench.estimates import PROCESS
from bench.fields import names
from bench.machine import environment, host
from bench.memory import Room, ran_out
from bench.modes import generators_kept
from bench.precision import IEEE, ieee
from bench.request import TimeRequest
from bench.schema.timing import ArmTiming, Moment, Ratio, Sample, Timing
from bench.stats.rates import (
    CLAIM_ROUNDS,
    GIGA,
    MIN_ROUNDS,
    dependent,
    grade,
    median_interval,
    per_call,
    ratios_of,
    ratios_to,
    rounds_of,
    spread,
    tails,
)
from bench.store.timings import TIMING_SCHEMA
from bench.timing.arms import MODES, Arm, ArmSpec, Subject, batch_of, copy_arm, make_arm, product_arm
from bench.timing.environment import busy_words, moment, others_share, ticks
from bench.timing.flops import counted, floor_flops
from bench.timing.peak_memory import peak_of_process, peak_on_device
from bench.timing.rounds import BLOCK, WarmUp, play, rounds_that_fit, taker, warm_up
from bench.workspace import Workspace

Rounds = Mapping[str, Sequence[float]]  # seconds a call by arm, round by round
FEW_NAMES = 2  # more of them are counted
TO_SETTLE = 0.25  # share of the budget that all warm-ups together may take where arms do not settle


@dataclass(frozen=True)
class Effort:
    """How thoroughly arms are timed, beside rounds and budget.

    Attributes:
        block: seconds a block lasts at least.
        least: rounds that are played even where they go over the budget.
        limits: whether the machine's own limits take turns with the arms.
    """

    block: float = BLOCK
    least: int = MIN_ROUNDS
    limits: bool = True


@dataclass
class TimingRun:
    """The arms of one timing, ready to work."""

    place: Workspace
    device: torch.device
    request: TimeRequest
    subjects: Mapping[str, Subject]
    arms: dict[str, Arm]
    limits: dict[str, Arm]
    effort: Effort = Effort()
    clock: Callable[[], float] = time.perf_counter
    started: float = 0.0

    @ieee()
    def measure(self) -> Timing:
        """Warm up, play the rounds, then latency and memory; global random state is put back.

        fp32 is IEEE's, as where maps and logits are made, for every arm and for the limits that they are held against.
        """
        self.started = self.clock()
        with generators_kept(self.device):
            warm = self.warmed()
            rounds = self.fitted(warm)
            before, first = moment(self.device), ticks()
            played = self.played(rounds)
            others, after = others_share(first, ticks()), moment(self.device)
            latencies = {name: self.latency(arm) for name, arm in self.arms.items()}
            memories = {name: self.peak(arm) for name, arm in self.arms.items()}
        seconds, specs = rounds_of(played), [arm.spec for arm in self.arms.values()]
        bases = {one.name: baseline_of(one, specs, names(self.request.baseline)) for one in specs}
        ratios = ratios_to({arm: base for arm, base in bases.items() if base}, seconds)
        figures = tuple(
            arm_timing(
                arm,
                seconds,
                ratio=ratios.get(name),
                batch_size=self.request.batch_size,
                settled=warm[name].settled,
                limits=self.limits,
                latency_ms=latencies.get(name),
                memory_mb=memories.get(name),
            )
            for name, arm in (self.arms | self.limits).items()
        )
        samples = (*(each for one in warm.values() for each in one.samples), *played)
        return self.record(figures, samples, rounds=rounds, before=before, after=after, others=others)

    def warmed(self) -> dict[str, WarmUp]:
        """The warm-up of every arm, the limits first."""
        found, take = {}, taker(self.effort.block)
        longest = TO_SETTLE * float(self.request.budget) / len(self.every)
        with self.place.progress.track("warm up", len(self.every)) as task:
            for name, arm in self.every.items():
                found[name] = warm_up(name, arm.work, take, longest=longest, clock=self.clock)
                task.advance(1, name)
        return found

    def fitted(self, warm: Mapping[str, WarmUp]) -> int:
        """Rounds that fit what is left of the budget."""
        asked, budget = self.request.rounds, float(self.request.budget)
        # A first block holds costs that the later ones do not, so the last one of the warm-up tells.
        round_ = 2 * sum(one.seconds for one in warm.values())
        left = budget - (self.clock() - self.started) - self.after_rounds
        rounds = rounds_that_fit(asked, self.effort.least, seconds_a_round=round_, budget=left)
        if rounds < asked:
            self.place.progress.say(f"{rounds} rounds, not {asked}, to keep within {budget:.0f} s")
        if rounds * round_ > max(left, 0.0):
            self.place.progress.warn(
                f"{rounds} round{'s take' if rounds > 1 else ' takes'} longer than the budget of {budget:.0f} s"
            )
        return rounds

    def played(self, rounds: int) -> list[Sample]:
        """All blocks of all rounds, in run order."""
        works = {name: arm.work for name, arm in self.every.items()}
        samples = []
        with self.place.progress.track("rounds", rounds * 2 * len(works)) as task:
            for sample in play(works, rounds, taker(self.effort.block), order=random.Random(self.place.timing)):
                samples.append(sample)
                task.advance(1, f"round {sample.round} of {rounds}")
        return samples

    def latency(self, arm: Arm) -> float | None:
        """Milliseconds of a call on one image alone."""
        if arm.single is None:
            return None
        calls, seconds = taker(self.effort.block)(arm.single)
        return 1000 * per_call(Sample(arm.name, 0, calls, tuple(seconds)))

    def peak(self, arm: Arm) -> float | None:
        """Peak memory in MiB."""
        if not self.request.memory or self.device.type not in ("cuda", "cpu"):
            return None
        if self.device.type == "cuda":
            return peak_on_device(arm, self.device)
        return peak_of_process(arm.spec, self.subjects[arm.spec.model], batch_size=self.request.batch_size)

    def record(
        self,
        arms: tuple[ArmTiming, ...],
        samples: tuple[Sample, ...],
        *,
        rounds: int,
        before: Moment,
        after: Moment,
        others: float | None,
    ) -> Timing:
        """The timing as it is stored: figures and samples, with what they were taken of, how and on what."""
        request, on = self.request, environment(self.device)
        busy = busy_words(others, before, cores=on.cores or 1)
        return Timing(
            schema=TIMING_SCHEMA,
            what="time",
            id=self.place.timing,
            created=self.place.created,
            command=self.place.command,
            commit=on.code.short,
            host=host(),
            system=on.system,
            device=on.device,
            device_type=on.device_type,
            threads=on.threads,
            versions=on.versions,
            models={label: {"model": one.model, "checkpoint": one.checkpoint} for label, one in self.subjects.items()},
            batch_size=request.batch_size,
            image_size=next(iter(self.subjects.values())).input_size,
            memory_format="channels_last",
            rounds=rounds,
            rounds_asked=request.rounds,
            budget_seconds=float(request.budget),
            block_seconds=self.effort.block,
            seconds=self.clock() - self.started,
            before=before,
            after=after,
            others=others,
            arms=arms,
            samples=samples,
            notes=tuple(filter(None, (busy, *notes_on(arms, samples, rounds=rounds, asked=request.rounds)))),
            fp32=IEEE,
        )

    @property
    def every(self) -> dict[str, Arm]:
        """The arms and the machine's limits, in the order of a round."""
        return self.limits | self.arms

    @property
    def after_rounds(self) -> float:
        """Seconds that latency and memory will take."""
        fresh = PROCESS if self.request.memory and self.device.type == "cpu" else 0.0
        return len(self.arms) * (2 * self.effort.block + fresh)


def notes_on(arms: Sequence[ArmTiming], samples: Sequence[Sample], *, rounds: int, asked: int) -> list[str]:
    """What a reader should know before believing the figures; empty where there is nothing."""
    seconds = rounds_of(samples)
    hang = sum(dependent(each) for each in seconds.values())
    unsettled = _some([arm.name for arm in arms if not arm.settled], arms)
    noisy = _some([arm.name for arm in arms if arm.grade != "steady"], arms)
    return [
        f"did not settle in the warm-up: {unsettled}" if unsettled else "",
        f"{rounds} rounds instead of {asked}, to keep to the budget" if rounds < asked else "",
        f"under {CLAIM_ROUNDS} rounds no difference in speed is claimed" if rounds < CLAIM_ROUNDS else "",
        "rounds resemble the ones before them, so the intervals of the rates say little beyond these minutes"
        if hang > len(seconds) / 2
        else "",
        f"spread over 10 %: {noisy}; close other programs and measure again" if noisy else "",
    ]


def _some(names: Sequence[str], arms: Sequence[ArmTiming]) -> str:
    """A few names, or how many they are of all."""
    return ", ".join(names) if len(names) <= FEW_NAMES else f"{len(names)} of {len(arms)} arms"


def make_timing_run(
    specs: Sequence[ArmSpec],
    subjects: Mapping[str, Subject],
    explainers: Mapping[str, ExplainerSpec],
    *,
    device: torch.device,
    request: TimeRequest,
    place: Workspace,
    optional: Collection[str] = (),
    effort: Effort = Effort(),
) -> TimingRun:
    """Make every arm on one and the same batch, check explainers against their contract, and count work.

    Where memory runs out, all are made on half as many images, since rates of two batch sizes do not compare.

    Args:
        subjects: models by label; all take images of one size.
        explainers: those that arms call, by name.
        optional: explainers that are left out with a warning where they fail.

    Raises:
        UsageError: a layer that a model does not have.
        ContractError: an explainer that breaks its contract.
        RoomError: some arm does not fit into memory with a single image.
    """

    def work(rows: slice) -> TimingRun:
        smaller = replace(request, batch_size=rows.stop - rows.start)
        return _made(
            specs, subjects, explainers, device=device, request=smaller, place=place, optional=optional, effort=effort
        )

    return next(Room(place.progress).batches("time", request.batch_size, request.batch_size, work))


def _made(
    specs: Sequence[ArmSpec],
    subjects: Mapping[str, Subject],
    explainers: Mapping[str, ExplainerSpec],
    *,
    device: torch.device,
    request: TimeRequest,
    place: Workspace,
    optional: Collection[str],
    effort: Effort,
) -> TimingRun:
    """A timing run at the batch size of the request."""
    images = batch_of(request.batch_size, next(iter(subjects.values())).input_size, device)
    floor_of = functools.cache(lambda model, layer: floor_flops(subjects[model].net, layer, images[:1]))
    arms: dict[str, Arm] = {}
    with generators_kept(device):  # some explainers draw
        for spec in specs:
            try:
                arm = make_arm(spec, subjects[spec.model], images, explainers=explainers)
                work = counted(arm.work)
            except Exception as reason:
                if ran_out(reason) and request.batch_size == 1:
                    raise RoomError(spec.name) from reason
                if ran_out(reason) or spec.explainer not in optional:
                    raise
                place.progress.warn(f"{spec.name} is left out: {reason}")
                continue
            floor = floor_of(spec.model, spec.layer) if spec.layer else None
            arms[spec.name] = replace(arm, counted=work, floor=floor)
    precisions = sorted({arm.precision for arm in arms.values()} | {"fp32"}, reverse=True)
    limits = [*(product_arm(device, each) for each in precisions), copy_arm(device)] if effort.limits else []
    return TimingRun(place, device, request, subjects, arms, {arm.name: arm for arm in limits}, effort)


# --- from rounds to figures -------------------------------------------------------------------------------------------


def arm_timing(
    arm: Arm,
    rounds: Rounds,
    *,
    ratio: Ratio | None,
    batch_size: int,
    settled: bool,
    limits: Mapping[str, Arm],
    latency_ms: float | None = None,
    memory_mb: float | None = None,
) -> ArmTiming:
    """The figures of one arm.

    Args:
        ratio: to the arm it is compared with; None for none.
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
        ratio=ratio,
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
