"""The one clock that every rate of bench uses, and when long work is to be saved again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.modes import without_words_of_cuda

if TYPE_CHECKING:
    import torch

SAVE_EVERY = 60.0  # seconds, at least
TIMES = 20  # a save rewrites the whole file: so many times as long as the last one took passes before the next


@dataclass
class Meter:
    """Counts images and the seconds they took, on one device.

    The device is synchronised before the clock is read, so queued work counts where it was asked for. The first
    lap of a meter holds one-time costs (allocation, kernel choice); `laps` are the raw samples, (images, seconds) in
    run order.
    """

    device: torch.device
    laps: list[tuple[int, float]] = field(default_factory=list)

    @contextmanager
    def lap(self, images: int) -> Iterator[None]:
        """Time what is inside; it handles `images` images."""
        watch = Stopwatch(self.device)
        with watch.running():
            yield
        self.add(images, watch.seconds)

    def add(self, images: int, seconds: float) -> None:
        """Count one lap that somebody else timed with `now` or a stopwatch."""
        self.laps.append((images, seconds))

    @property
    def rate(self) -> float | None:
        """Images a second without the first lap; of the first lap where there is no other; None before any."""
        counted = self.laps[1:] if any(images for images, _ in self.laps[1:]) else self.laps[:1]
        seconds = sum(spent for _, spent in counted)
        return sum(images for images, _ in counted) / seconds if seconds > 0 else None


@dataclass
class Stopwatch:
    """Seconds that pass on one device while it runs; it may run several times."""

    device: torch.device
    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time what is inside."""
        started = now(self.device)
        yield
        self.seconds += now(self.device) - started


def now(device: torch.device) -> float:
    """Seconds on a monotonic clock, after everything queued on the device is done."""
    synchronise(device)
    return time.perf_counter()


def synchronise(device: torch.device) -> None:
    """Wait for everything queued on the device; nothing to do on a CPU."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def block(work: Callable[[], object], seconds: float) -> tuple[int, list[float]]:
    """Call again and again for at least so many seconds; torch.utils.benchmark's Timer reads the clock.

    The Timer calls once or more without counting (so nothing that another block left in caches counts here), chooses
    how many calls stand between two readings so that reading costs nothing, synchronises the device at each
    reading and keeps Python's garbage collector away. It is given torch's threads, since by itself it takes one.

    Returns:
        Calls between two readings, and the seconds of each such group in run order.
    """
    import torch

    with without_words_of_cuda():  # the Timer can time C++, too
        from torch.utils.benchmark import Timer

    timer = Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())
    found = timer.blocked_autorange(min_run_time=seconds)
    return found.number_per_run, list(found.raw_times)


@dataclass
class Pace:
    """Saves grow rarer as the file grows, so that saving takes no more than a tenth of the time.

    Where a save costs c times what its rows took to make, all saves together cost at most 1 / 20 + 2 c of the time.

    Attributes:
        ended: when the last save ended, or the work began.
        took: seconds of the last save.
    """

    ended: float = field(default_factory=time.monotonic)
    took: float = 0.0

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self.ended > max(SAVE_EVERY, TIMES * self.took)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """What is inside saves."""
        started = time.monotonic()
        yield
        self.ended = time.monotonic()
        self.took = self.ended - started
