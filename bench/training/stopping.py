"""Being asked to end while work is half done: the question waits until the work is safe."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Question:
    """Whether Ctrl-C was pressed or SIGTERM came.

    Attributes:
        number: the signal that came, None for none.
        before: what signals did before, by number.
    """

    number: int | None = None
    before: dict[int, Any] = field(default_factory=dict)

    def asked(self) -> bool:
        """Whether somebody asked."""
        return self.number is not None

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; who asks again will not wait."""
        again = self.asked()
        self.number = number
        if again:
            self.answer()

    def give_back(self) -> None:
        """Let signals do what they did before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before.clear()

    def answer(self) -> None:
        """Do now what the signal does when nobody lets it wait."""
        number, self.number = self.number, None
        self.give_back()
        if number is not None:
            signal.raise_signal(number)


@contextmanager
def deferred() -> Iterator[Question]:
    """Let Ctrl-C and SIGTERM wait for whoever looks at the question; a second one does not wait.

    A signal that is ignored stays ignored. Outside the main thread, where no signal arrives, nothing changes. A signal
    that nobody answered does its work at the end.
    """
    question = Question()
    if threading.current_thread() is threading.main_thread():
        for number in NUMBERS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                question.before[number] = signal.signal(number, question.hear)
    try:
        yield question
    finally:
        question.give_back()
    question.answer()
