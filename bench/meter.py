"""The one clock that every rate of bench uses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class Meter:
    """Counts images and the seconds they took, on one device.

    The device is synchronised before the clock is read, so queued work counts where it was asked for. The first
    lap of a meter holds one-time costs (allocation, kernel choice) and is kept apart as `warm_up`; `laps` are the
    raw samples, (images, seconds) in run order.
    """

    device: torch.device
    images: int = 0
    seconds: float = 0.0
    warm_up: tuple[int, float] = (0, 0.0)
    laps: list[tuple[int, float]] = field(default_factory=list)

    @contextmanager
    def lap(self, images: int) -> Iterator[None]:
        """Time what is inside; it handles `images` images."""
        synchronise(self.device)
        started = time.perf_counter()
        yield
        synchronise(self.device)
        self.add(images, time.perf_counter() - started)

    def add(self, images: int, seconds: float) -> None:
        """Count one lap that somebody else timed with `now`."""
        self.laps.append((images, seconds))
        if len(self.laps) == 1:
            self.warm_up = (images, seconds)
            return
        self.images += images
        self.seconds += seconds

    @property
    def rate(self) -> float | None:
        """Images a second without the first lap; of the first lap where there is no other; None before any."""
        images, seconds = (self.images, self.seconds) if self.images else self.warm_up
        return images / seconds if seconds > 0 else None


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
