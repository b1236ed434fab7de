"""Units of work for the tests of engines, which workers import as well."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.contracts import Broken, Done, Files, Need, Outcome, Unit
from bench.errors import RunError


@dataclass(frozen=True)
class Small:
    """Answers its number and what its files hold.

    Attributes:
        deed: what it does instead: `fail`, `kill` its process, or `sleep` for some seconds.
        marks: a folder in which it leaves a file each time it is worked on; none where it is empty.
    """

    number: int
    deed: str = ""
    marks: str = ""
    needs: tuple[Need, ...] = ()
    threads: int = 1
    device: str = "cpu"

    @property
    def label(self) -> str:
        return f"unit {self.number}"

    def work(self, files: Files) -> tuple[int, tuple[bytes, ...]]:
        if self.marks:
            (Path(self.marks) / f"{self.number}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if self.deed == "fail":
            raise RunError(f"number {self.number} cannot be")
        if self.deed == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.deed.startswith("sleep"):
            time.sleep(float(self.deed.removeprefix("sleep ")))
        if self.deed == "print":
            os.write(1, b"printed by a worker\n")
        return self.number, tuple(files.path(need).read_bytes() for need in self.needs)


def small(count: int, **deeds: str) -> list[Small]:
    """So many units; `_3="fail"` for what the fourth does."""
    units = [Small(number) for number in range(count)]
    for name, deed in deeds.items():
        units[int(name[1:])] = replace(units[int(name[1:])], deed=deed)
    return units


@dataclass
class FakeEngine:
    """Answers at once, the last unit first; a unit that kills takes those that are tried beside it with it.

    Attributes:
        tried: the numbers of the units of each attempt.
    """

    tried: list[list[int]]
    workers: int = 2
    threads: int = 1

    def attempt(self, units: Sequence[Unit]) -> Iterator[tuple[int, Outcome]]:
        numbers = [unit.number for unit in units if isinstance(unit, Small)]
        deeds = [unit.deed for unit in units if isinstance(unit, Small)]
        self.tried.append(numbers)
        for place in reversed(range(len(units))):
            broken = "killed" if "kill" in deeds else "it failed" if deeds[place] == "fail" else ""
            yield place, Broken(broken) if broken else Done(numbers[place])
