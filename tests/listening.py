"""A Progress that remembers what it was told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.contracts import Silence


class Listener(Silence):
    """Keeps what is said and warned of, and how much work was announced under which name."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []
        self.tracked: dict[str, int] = {}
        self.advanced = 0

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Listener]:
        self.tracked[label] = total
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.advanced += amount
