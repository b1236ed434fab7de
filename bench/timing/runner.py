"""Timings one can believe: every arm in turns in one process, warm, with the machine's own limits among them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from bench.estimates import PROCESS
from bench.schema.timing import ArmTiming, Moment, Sample
from bench.stats.rates import MIN_ROUNDS, per_call
from bench.timing.arms import MODES, Arm, Request, Subject, batch_of, copy_arm, make_arm, product_arm
from bench.timing.environment import moment, others_share, ticks
from bench.timing.flops import Counted, counted, floor_flops
from bench.timing.peak_memory import peak_of_process, peak_on_device
from bench.timing.results import Facts, arm_timing, baseline_of
from bench.timing.rounds import BLOCK, Take, WarmUp, play, rounds_that_fit, taker, warm_up

if TYPE_CHECKING:
    from bench.contracts import ExplainerSpec, Progress

ROUNDS = 12
BATCH_SIZE = 64
BUDGET = 300.0  # seconds


@dataclass(frozen=True)
class Settings:
    """How arms are timed.

    Attributes:
        rounds: as many as fit the budget, never under six unless fewer were asked for.
        budget: seconds, for all of it.
        block: seconds that a block lasts at least.
        baselines: names of models and explainers that others are compared with.
        memory: measure peak memory too.
    """

    batch_size: int = BATCH_SIZE
    rounds: int = ROUNDS
    budget: float = BUDGET
    block: float = BLOCK
    baselines: tuple[str, ...] = ()
    memory: bool = True


@dataclass(frozen=True)
class Measured:
    """What came out: the figures of every arm, and every raw sample in run order."""

    arms: tuple[ArmTiming, ...]
    samples: tuple[Sample, ...]
    rounds: int
    unsettled: tuple[str, ...]
    before: Moment
    after: Moment
    others: float | None
    seconds: float


@dataclass
class Workshop:
    """The arms of one timing, ready to work, and what is known of them besides time."""

    device: torch.device
    settings: Settings
    progress: Progress
    arms: dict[str, Arm]
    limits: dict[str, Arm]
    counts: dict[str, Counted]
    floors: Mapping[tuple[str, str], float | None]
    subjects: Mapping[str, Subject]
    clock: Callable[[], float] = time.perf_counter
    started: float = field(default=0.0)

    def measure(self) -> Measured:
        """Warm up, play the rounds, then latency and memory; global random state is put back."""
        self.started = self.clock()
        with torch.random.fork_rng():
            warm = self.warmed(taker(self.settings.block))
            rounds = self.fitted(warm)
            before, first = moment(self.device), ticks()
            played = self.played(rounds)
            others, after = others_share(first, ticks()), moment(self.device)
            latencies = {name: self.latency(arm) for name, arm in self.arms.items()}
            memories = {name: self.peak(arm) for name, arm in self.arms.items()}
        samples = (*(each for one in warm.values() for each in one.samples), *played)
        unsettled = tuple(name for name, one in warm.items() if not one.settled)
        facts = {
            name: Facts(arm, self.counts[name], self.floor_of(arm.request), latencies[name], memories[name])
            for name, arm in self.arms.items()
        }
        figures = self.figures(facts, samples, unsettled)
        return Measured(figures, samples, rounds, unsettled, before, after, others, self.clock() - self.started)

    def warmed(self, take: Take) -> dict[str, WarmUp]:
        """The warm-up of every arm, the limits first."""
        found = {}
        with self.progress.track("warm up", len(self.every)) as task:
            for name, arm in self.every.items():
                found[name] = warm_up(name, arm.work, take, clock=self.clock)
                task.advance(1, name)
        return found

    def fitted(self, warm: Mapping[str, WarmUp]) -> int:
        """Rounds that fit what is left of the budget."""
        asked, budget = self.settings.rounds, self.settings.budget
        # A first block holds costs that the later ones do not, so the last one of the warm-up tells.
        round_ = 2 * sum(one.seconds for one in warm.values())
        left = budget - (self.clock() - self.started) - self.after_rounds
        rounds = rounds_that_fit(asked, MIN_ROUNDS, seconds_a_round=round_, budget=left)
        if rounds < asked:
            self.progress.say(f"{rounds} rounds instead of {asked}, to keep to the budget of {budget:.0f} s")
        if rounds * round_ > max(left, 0.0):
            self.progress.warn(f"{rounds} rounds, the fewest that give an interval, go over the budget")
        return rounds

    def played(self, rounds: int) -> list[Sample]:
        """All blocks of all rounds, in run order."""
        works = {name: arm.work for name, arm in self.every.items()}
        samples = []
        gc.collect()
        with self.progress.track("rounds", rounds * 2 * len(works)) as task:
            for sample in play(works, rounds, taker(self.settings.block)):
                samples.append(sample)
                task.advance(1, f"round {sample.round} of {rounds}")
        return samples

    def latency(self, arm: Arm) -> float | None:
        """Milliseconds of a call on one image alone."""
        if arm.single is None:
            return None
        calls, seconds = taker(self.settings.block)(arm.single)
        return 1000 * per_call(Sample(arm.name, 0, calls, tuple(seconds)))

    def peak(self, arm: Arm) -> float | None:
        """Peak memory in MiB."""
        if not self.settings.memory:
            return None
        if self.device.type == "cuda":
            return peak_on_device(arm, self.device)
        if self.device.type != "cpu":
            return None
        subject = self.subjects[arm.request.model]
        return peak_of_process(arm.request, subject, batch_size=self.settings.batch_size)

    def floor_of(self, request: Request) -> float | None:
        """The least FLOP of a Grad-CAM where the arm makes one."""
        return self.floors.get((request.model, request.layer)) if request.layer else None

    def figures(
        self, facts: Mapping[str, Facts], samples: Sequence[Sample], unsettled: Sequence[str]
    ) -> tuple[ArmTiming, ...]:
        """Every arm's figures, and the limits' at the end."""
        whole = {**facts, **{name: Facts(arm) for name, arm in self.limits.items()}}
        requests = [arm.request for arm in self.arms.values()]
        return tuple(
            arm_timing(
                each,
                samples,
                baseline=baseline_of(each.arm.request, requests, self.settings.baselines),
                batch_size=self.settings.batch_size,
                settled=name not in unsettled,
                limits=self.limits,
                mode=MODES[each.arm.request.what],
            )
            for name, each in whole.items()
        )

    @property
    def every(self) -> dict[str, Arm]:
        """The arms and the machine's limits, in the order of a round."""
        return self.limits | self.arms

    @property
    def after_rounds(self) -> float:
        """Seconds that latency and memory will take."""
        fresh = PROCESS if self.settings.memory and self.device.type == "cpu" else 0.0
        return len(self.arms) * (2 * self.settings.block + fresh)


def make_workshop(
    requests: Sequence[Request],
    subjects: Mapping[str, Subject],
    specs: Mapping[str, ExplainerSpec],
    *,
    device: torch.device,
    settings: Settings,
    progress: Progress,
    optional: Collection[str] = (),
) -> Workshop:
    """Make every arm on one and the same batch, check explainers against their contract, and count work.

    Args:
        subjects: models by label; all take images of one size.
        specs: explainers by name.
        optional: explainers that are left out with a warning where they fail.

    Raises:
        UsageError: a layer that a model does not have.
        ContractError: an explainer that breaks its contract.
    """
    edge = next(iter(subjects.values())).input_size
    images = batch_of(settings.batch_size, edge, device)
    arms: dict[str, Arm] = {}
    for one in requests:
        try:
            arms[one.name] = make_arm(one, subjects[one.model], images, specs=specs)
        except Exception as reason:
            if one.explainer not in optional:
                raise
            progress.warn(f"{one.name} is left out: {reason}")
    precisions = sorted({arm.precision for arm in arms.values()} | {"fp32"}, reverse=True)
    limits = [*(product_arm(device, each) for each in precisions), copy_arm(device)]
    places = {(arm.request.model, arm.request.layer) for arm in arms.values() if arm.request.layer}
    floors = {(model, layer): floor_flops(subjects[model].net, layer, images[:1]) for model, layer in places}
    with torch.random.fork_rng():  # some explainers draw
        counts = {name: counted(arm.work) for name, arm in arms.items()}
    return Workshop(device, settings, progress, arms, {arm.name: arm for arm in limits}, counts, floors, subjects)
