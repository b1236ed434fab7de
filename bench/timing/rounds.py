"""Arms in turns: warm-up, rounds forwards and backwards, one block a turn. What the arms do is none of its business."""

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.clock import block
from bench.schema.timing import Sample
from bench.stats.rates import per_call

AGREE = 0.02  # two blocks that differ by less are settled
WARM_UP = 10.0  # seconds an arm may take at most to settle
BLOCK = 0.2  # seconds a block lasts at least

Work = Callable[[], object]
Take = Callable[[Work], tuple[int, Sequence[float]]]


@dataclass(frozen=True)
class WarmUp:
    """The warm-up of an arm: its samples, whether two blocks agreed in time, and how long the last block took."""

    samples: tuple[Sample, ...]
    settled: bool
    seconds: float


def taker(seconds: float = BLOCK) -> Take:
    """How a block is taken: by torch's Timer, for at least so many seconds."""
    return lambda work: block(work, seconds)


def warm_up(
    name: str, work: Work, take: Take, *, longest: float = math.inf, clock: Callable[[], float] = time.perf_counter
) -> WarmUp:
    """Take blocks until two in succession differ by less than 2 %, or 10 s or the `longest` time are over."""
    started, samples = clock(), list[Sample]()
    while True:
        begun = clock()
        samples.append(_sample(name, 0, work, take))
        now = clock()
        if len(samples) > 1 and agree(per_call(samples[-2]), per_call(samples[-1])):
            return WarmUp(tuple(samples), True, now - begun)
        if now - started >= min(WARM_UP, longest):
            return WarmUp(tuple(samples), False, now - begun)


def agree(first: float, second: float) -> bool:
    """Whether two times differ by less than 2 % of the smaller."""
    return abs(first - second) < AGREE * min(first, second)


def turns(names: Sequence[str], order: random.Random) -> list[str]:
    """Who works when in a round: in an order that is drawn anew each time, forwards and then backwards (BCAACB).

    Each arm's two blocks lie around the middle of the round, so a drift that is linear in time cancels in every
    ratio. The order is drawn, since an arm that leaves a hot or cluttered machine behind would slow the same neighbour
    in every round of a fixed one: by 1 % is enough for a false difference in 43 of 100 timings.
    """
    there = order.sample(list(names), len(names))
    return [*there, *reversed(there)]


def play(works: Mapping[str, Work], rounds: int, take: Take, *, order: random.Random | None = None) -> Iterator[Sample]:
    """All blocks of all rounds, in order; nobody starts with the rubbish of the round before.

    Args:
        order: draws who comes when; None for another order in each call. The samples tell which it was.
    """
    order = order or random.Random()
    gc.collect()
    gc.freeze()  # what is there stays; to look through all of it once a round would take longer than short blocks do
    try:
        for number in range(1, rounds + 1):
            gc.collect()
            for name in turns(list(works), order):
                yield _sample(name, number, works[name], take)
    finally:
        gc.unfreeze()


def _sample(name: str, number: int, work: Work, take: Take) -> Sample:
    calls, seconds = take(work)
    return Sample(name, number, calls, tuple(seconds))


def rounds_that_fit(asked: int, least: int, *, seconds_a_round: float, budget: float) -> int:
    """Rounds that fit a budget, never more than asked for and never under the least."""
    fit = int(budget / seconds_a_round) if seconds_a_round > 0 else asked
    return max(min(asked, fit), min(asked, least))
