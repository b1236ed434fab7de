"""When work that goes on for long is to be saved again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SAVE_EVERY = 60.0  # seconds, at least
TIMES = 20  # a save rewrites the whole file: so many times as long as the last one took passes before the next


@dataclass
class Pace:
    """Saves grow rarer as the file grows, so that saving never takes more than a twentieth of the time.

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
