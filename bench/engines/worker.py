"""What a worker does with a unit of work: its files, its threads, and what becomes of its errors."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bench.contracts import Broken, Done, Need, Outcome, Unit
from bench.errors import BenchError, RunError, in_one_line

ONE_AT_A_TIME = threading.Lock()  # units set switches of the whole process: torch's threads, generators, a net's hooks


class LackingError(RunError):
    """A worker that has not got files of a unit.

    Attributes:
        needs: these files.
    """

    def __init__(self, needs: Sequence[Need]) -> None:
        self.needs = tuple(needs)
        paths = " and no ".join(str(need.path) for need in needs)
        super().__init__(f"the worker has no file {paths} with the content that the driver's has")


@dataclass(frozen=True)
class WorkerFiles:
    """Files by their content: where the driver has them, on a disk that is shared, or in this worker's cache."""

    cache: Path

    def path(self, need: Need) -> Path:
        """Where a file is here; LackingError where it is not."""
        for path in (need.path, kept_path(self.cache, need.sha256)):
            with suppress(OSError):
                if _sha256(path, *_stamp(path)) == need.sha256:
                    return path
        raise LackingError([need])

    def lacking(self, needs: Sequence[Need]) -> list[Need]:
        """The files that are not here."""
        found = []
        for need in needs:
            try:
                self.path(need)
            except LackingError:
                found.append(need)
        return found

    def folder(self, needs: Sequence[Need]) -> Path:
        """A folder that holds these files under the names that they have with the driver."""
        if lacking := self.lacking(needs):
            raise LackingError(lacking)
        there = {need.path.name: self.path(need) for need in needs}
        homes = {path.parent for name, path in there.items() if path.name == name}
        if len(homes) == 1 and all(path.name == name for name, path in there.items()):
            return homes.pop()
        key = hashlib.sha256(repr(sorted((need.path.name, need.sha256) for need in needs)).encode()).hexdigest()
        folder = self.cache / "units" / f"{needs[0].path.parent.name}-{key[:24]}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in there.items():
            _linked(path, folder / name)
        return folder


def kept_path(cache: Path, sha256: str) -> Path:
    """Where a worker keeps a file that an engine sent."""
    return cache / "units" / sha256


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, time: int) -> str:
    """The hash of a file, once for each state of it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _linked(path: Path, name: Path) -> None:
    """The file under another name, too; the links of several workers of one machine are the same."""
    beside = name.with_name(f".{name.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    beside.symlink_to(path.resolve())
    beside.replace(name)


def perform(unit: Unit, cache: Path, versions: Mapping[str, str]) -> Outcome:
    """Work on a unit in this process; whatever it raises is its outcome.

    Args:
        cache: this worker's folder of data.
        versions: the driver's; others would give other numbers.
    """
    import torch

    with ONE_AT_A_TIME:
        before = torch.get_num_threads()
        torch.set_num_threads(unit.threads)
        try:
            if other := differences(versions):
                return Broken(f"the worker has other versions: {other}")
            return Done(unit.work(WorkerFiles(cache)))
        except BenchError as error:
            return Broken(error.message)
        except Exception as error:
            return Broken(in_one_line(error))
        finally:
            torch.set_num_threads(before)


def differences(versions: Mapping[str, str]) -> str:
    """How the versions here differ from others, in words; empty where they do not."""
    from bench.machine import versions as own_versions

    own = {**own_versions(), "python": versions.get("python", "")}  # which Python it is changes no number
    return "; ".join(
        f"{name} {own.get(name, 'none')}, here {versions.get(name, 'none')}"
        for name in sorted({*own, *versions})
        if own.get(name) != versions.get(name)
    )
