"""Who works when: turns, warm-up, rounds. The clock is a list of numbers."""

import gc
import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from unittest import mock

import numpy as np
import pytest

from bench.schema.timing import Sample
from bench.stats.rates import per_call, ratio_to, rounds_of
from bench.timing import rounds as timing_rounds
from bench.timing.rounds import agree, play, rounds_that_fit, turns, warm_up


def test_a_round_goes_forwards_and_backwards_in_an_order_drawn_anew() -> None:
    order = random.Random(0)
    rounds = ["".join(turns("ABC", order)) for _ in range(60)]
    assert all(each[:3] == each[:2:-1] and set(each) == set("ABC") for each in rounds)
    assert {each[:3] for each in rounds} == {"".join(one) for one in permutations("ABC")}
    again = random.Random(0)
    assert rounds == ["".join(turns("ABC", again)) for _ in range(60)]


@pytest.mark.parametrize("names", ["A", "AB", "ABC", "ABCDEFG"])
def test_every_arm_has_two_blocks_a_round_at_the_same_mean_place(names: str) -> None:
    order = turns(names, random.Random(1))
    places = [[place for place, each in enumerate(order) if each == name] for name in names]
    assert {(len(each), sum(each)) for each in places} == {(2, len(order) - 1)}


def test_an_arm_that_slows_whoever_comes_next_makes_no_difference_between_two_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A heavy fourth arm adds 1 % to the block behind it; in a fixed order that is the same one's each time."""
    monkeypatch.setattr(timing_rounds, "gc", mock.Mock())  # 480 collections would take most of the time
    claims = 0
    for trial in range(40):
        noise, heavy = np.random.default_rng(trial), [False]

        def take(work: Callable[[], str], noise: np.random.Generator = noise, heavy: list[bool] = heavy) -> Block:
            slowed, heavy[0] = heavy[0], work() == "D"
            return 1, [(1.01 if slowed else 1.0) * float(noise.lognormal(0, 0.002))]

        works = {name: (lambda name=name: name) for name in "ABCD"}
        rounds = rounds_of(play(works, 12, take, order=random.Random(trial)))
        claims += ratio_to("B", rounds, "C").verdict in ("faster", "slower")
    assert claims <= 2


Block = tuple[int, list[float]]


def drifting(costs: Sequence[float], drift: Callable[[int], float]) -> Callable[[object], tuple[int, list[float]]]:
    """A machine on which everything takes longer and longer; an arm's work tells how much it costs."""
    count = iter(range(10_000))
    return lambda work: (1, [costs[work()] + drift(next(count))])  # type: ignore[operator]


def test_a_linear_drift_cancels_in_the_difference_of_any_two_arms() -> None:
    take = drifting([1.0, 1.1, 1.2], lambda place: 0.05 * place)
    samples = list(play({"A": lambda: 0, "B": lambda: 1, "C": lambda: 2}, 5, take))
    found = rounds_of(samples)
    apart = [(b - a, c - a) for a, b, c in zip(found["A"], found["B"], found["C"], strict=True)]
    assert np.allclose(apart, [(0.1, 0.2)] * 5)


def test_blocks_without_turns_would_show_the_drift_as_a_difference() -> None:
    take = drifting([1.0, 1.0], lambda place: 0.05 * place)
    blocks = [take(work)[1][0] for work in [lambda: 0] * 10 + [lambda: 1] * 10]
    assert sum(blocks[10:]) / sum(blocks[:10]) > 1.3


def test_samples_come_in_run_order_with_their_round() -> None:
    samples = list(play({"A": lambda: 0, "B": lambda: 1}, 2, drifting([1.0, 2.0], lambda place: 0.0)))
    assert [each.round for each in samples] == [1] * 4 + [2] * 4
    assert {"".join(each.arm for each in samples[start : start + 4]) for start in (0, 4)} <= {"ABBA", "BAAB"}


def test_the_rate_of_a_round_is_the_mean_of_its_blocks_and_a_block_its_median_call() -> None:
    assert per_call(Sample("A", 1, 10, (1.0, 2.0, 9.0))) == 0.2
    samples = [Sample("A", 0, 1, (99.0,)), Sample("A", 1, 1, (1.0,)), Sample("B", 1, 1, (7.0,)),
               Sample("A", 1, 2, (6.0,)), Sample("A", 2, 1, (5.0,))]  # fmt: skip
    assert rounds_of(samples) == {"A": [2.0, 5.0], "B": [7.0]}


def test_no_round_starts_with_the_rubbish_of_the_one_before() -> None:
    left: list[weakref.ref[Cycle]] = []
    found: list[bool] = []

    def work() -> None:
        found.append(any(each() for each in left))
        left.append(weakref.ref(Cycle()))

    gc.disable()  # so that nothing else clears it away
    try:
        list(play({"A": work}, 2, lambda work: (work(), (1, (1.0,)))[1]))
    finally:
        gc.enable()
    assert (found, gc.get_freeze_count()) == ([False, True, False, True], 0)


class Cycle:
    """Only the garbage collector lets go of it."""

    def __init__(self) -> None:
        self.own = self


# --- warm-up ------------------------------------------------------------------------------------------------


def machine(times: Sequence[float]) -> tuple[Callable[[object], tuple[int, list[float]]], Callable[[], float]]:
    """Blocks that take these seconds, and the clock they pass on."""
    left: Iterator[float] = iter(times)
    now = [0.0]

    def take(work: object) -> tuple[int, list[float]]:
        seconds = next(left)
        now[0] += seconds
        return 1, [seconds]

    return take, lambda: now[0]


@pytest.mark.parametrize(
    ("times", "settled", "kept"),
    [
        ([3.0, 1.0, 1.5, 1.01, 1.0, 1.0], True, [3.0, 1.0, 1.5, 1.01, 1.0]),
        ([1.0, 2.0] * 20, False, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0]),  # ten seconds
        ([30.0, 30.0], False, [30.0]),
    ],
)
def test_a_warm_up_ends_when_two_blocks_in_succession_agree_or_after_ten_seconds(
    times: list[float], settled: bool, kept: list[float]
) -> None:
    take, clock = machine(times)
    found = warm_up("A", lambda: None, take, clock=clock)
    assert found.settled == settled and [(each.round, each.seconds) for each in found.samples] == [
        (0, (seconds,)) for seconds in kept
    ]
    assert found.seconds == kept[-1]


def test_blocks_agree_within_two_percent() -> None:
    assert agree(1.0, 1.019) and agree(1.019, 1.0) and not agree(1.0, 1.021)


@pytest.mark.parametrize(
    ("budget", "asked", "rounds"),
    [(100.0, 12, 10), (1000.0, 12, 12), (1.0, 12, 6), (-5.0, 12, 6), (1.0, 3, 3), (65.0, 12, 6)],
)
def test_rounds_shrink_to_fit_a_budget_and_never_under_six(budget: float, asked: int, rounds: int) -> None:
    assert rounds_that_fit(asked, 6, seconds_a_round=10.0, budget=budget) == rounds
