"""The clock: what it counts, and that the first lap does not count."""

import itertools
import time
from collections.abc import Iterator

import pytest
import torch

from bench import clock
from bench.clock import Meter, Pace, block, now, synchronise

CPU = torch.device("cpu")


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """What the clock shows at each reading."""
    readings: list[float] = []
    monkeypatch.setattr(clock.time, "perf_counter", lambda: readings.pop(0))
    yield readings
    assert not readings, "the clock was read less often than expected"


def test_a_single_lap_gives_the_rate_and_before_there_is_none(seconds: list[float]) -> None:
    meter, other = Meter(CPU), Meter(CPU)
    seconds += [10.0, 12.0]
    with meter.lap(100):
        pass
    assert (meter.rate, other.rate, other.laps) == (50.0, None, [])  # two meters share nothing


def test_the_first_lap_does_not_count_where_there_is_another(seconds: list[float]) -> None:
    meter = Meter(CPU)
    seconds += [0.0, 9.0, 10.0, 12.0, 20.0, 21.0]
    for images in (100, 20, 10):
        with meter.lap(images):
            pass
    assert (meter.rate, meter.laps) == (30 / 3, [(100, 9.0), (20, 2.0), (10, 1.0)])


def test_time_between_laps_does_not_count() -> None:
    meter = Meter(CPU)
    for images, spent in ((1, 1.0), (4, 2.0), (6, 3.0)):
        meter.add(images, spent)
    assert meter.rate == 10 / 5


def test_a_lap_that_fails_does_not_count(seconds: list[float]) -> None:
    meter = Meter(CPU)
    seconds += [0.0]
    with pytest.raises(RuntimeError, match="out of memory"), meter.lap(100):
        raise RuntimeError("out of memory")
    assert meter.laps == [] and meter.rate is None


def test_a_lap_in_no_time_has_no_rate() -> None:
    meter = Meter(CPU)
    meter.add(10, 0.0)
    assert meter.rate is None


def test_the_clock_is_monotonic() -> None:
    assert now(CPU) <= now(CPU)


def test_each_reading_waits_for_what_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: order.append(f"wait for {device}"))
    monkeypatch.setattr(clock.time, "perf_counter", lambda: float(order.append("read") or 0))  # type: ignore[func-returns-value]
    with Meter(torch.device("cuda")).lap(1):
        order.append("work")
    assert order == ["wait for cuda", "read", "work", "wait for cuda", "read"]


def test_an_apple_gpu_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[bool] = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append(True))
    for device in (torch.device("mps"), CPU):
        synchronise(device)
    assert waited == [True]


# --- blocks -------------------------------------------------------------------------------------------------


def test_a_block_counts_what_was_called_between_readings_and_not_the_call_before() -> None:
    calls: list[int] = []
    number, seconds = block(lambda: calls.append(1), 0.0)
    assert len(calls) > number * len(seconds) and number >= 1 and all(each > 0 for each in seconds)


def test_a_block_lasts_as_long_as_asked() -> None:
    assert sum(block(lambda: time.sleep(0.002), 0.02)[1]) >= 0.02


def test_a_block_works_with_the_threads_that_torch_has() -> None:
    seen: set[int] = set()
    had = torch.get_num_threads()
    torch.set_num_threads(had + 1)
    try:
        block(lambda: seen.add(torch.get_num_threads()), 0.0)
        assert torch.get_num_threads() == had + 1
    finally:
        torch.set_num_threads(had)
    assert seen == {had + 1}


# --- saving -------------------------------------------------------------------------------------------------


class Hours:
    """A clock that work and saves move on: a save rewrites all that was made so far."""

    def __init__(self, cost: float) -> None:
        self.time, self.worked, self.saved, self.at = 0.0, 0.0, 0.0, list[float]()
        self.cost = cost  # seconds of a save for a second of the work that it holds

    def monotonic(self) -> float:
        return self.time

    def work(self, seconds: float) -> None:
        self.time, self.worked = self.time + seconds, self.worked + seconds

    def save(self) -> None:
        self.at.append(self.time)
        self.time, self.saved = self.time + self.cost * self.worked, self.saved + self.cost * self.worked


@pytest.mark.parametrize("cost", [0.0001, 0.003, 0.01, 0.024])
@pytest.mark.parametrize("hours", [0.05, 1, 24])
def test_saving_takes_no_more_than_a_tenth_of_the_time_however_large_the_file_grows(
    monkeypatch: pytest.MonkeyPatch, cost: float, hours: float
) -> None:
    told = Hours(cost)
    monkeypatch.setattr(clock.time, "monotonic", told.monotonic)
    pace = Pace(ended=0.0)
    while told.worked < 3600 * hours:
        told.work(5.0)
        if pace.due():
            with pace.saving():
                told.save()
    told.save()  # of the last rows
    assert told.saved <= 0.1 * told.time
    gaps = [later - earlier for earlier, later in itertools.pairwise(told.at[:-1])]
    assert all(gap > 60 for gap in gaps) and len(told.at) >= min(2, 60 * hours - 1)
    assert cost < 0.003 or hours < 1 or gaps[-1] > 2 * gaps[0], "the interval does not grow with the file"
