"""A training on a pretended device, watched from step to step."""

from __future__ import annotations

from collections import Counter

from bench.training.checkpoint import Keeper, State
from pretended.machine import Count


class Steps(Keeper):
    """Asked after every step, as whoever keeps a training's state is; notes what was counted since the step before.

    Attributes:
        within: of each step but the first of an epoch.
        between: from the end of each epoch to the end of the next one's first step.
        states: what it was given to keep.
    """

    def __init__(self, count: Count, of_epoch: int, *, keep: int = -1) -> None:
        """Watch what `count` counts in epochs of so many steps; after step `keep`, from 1 on, ask for the state."""
        self.count, self.of_epoch, self.kept_after = count, of_epoch, keep
        self.steps, self.before = 0, Count()
        self.within: list[Count] = []
        self.between: list[Count] = []
        self.states: list[State] = []

    def due(self) -> bool:
        """Note; what is kept then counts in the next step."""
        now = Count(Counter(self.count.operations), Counter(self.count.waits))
        if self.steps:
            since = Count(now.operations - self.before.operations, now.waits - self.before.waits)
            (self.within if self.steps % self.of_epoch else self.between).append(since)
        self.before, self.steps = now, self.steps + 1
        return self.steps == self.kept_after

    def keep(self, state: State) -> None:
        """Note it."""
        self.states.append(state)
