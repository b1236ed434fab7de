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
from bench.errors import BenchError, MissingError, RunError, in_one_line
from bench.homes import at
from bench.whole_file import written
from bench.workspace import default_cache

LOST = "its worker process ended by itself: killed, or out of memory"
ONE_AT_A_TIME = threading.Lock()  # units set switches of the whole process: torch's threads, generators, a net's hooks


@dataclass(frozen=True)
class Part:
    """Some bytes of a file on its way to a worker.

    Attributes:
        sha256: of the whole file.
        sending: a name that no other sending of the file has.
        start: of these bytes in the file.
        last: nothing comes behind them.
    """

    sha256: str
    sending: str
    start: int
    content: bytes
    last: bool


@dataclass(frozen=True)
class WorkerFiles:
    """Files by their content: where the driver has them, on a disk that is shared, or in this worker's cache."""

    cache: Path

    def path(self, need: Need) -> Path:
        """Where a file is here; MissingError where it is not."""
        if (found := self._found(need)) is None:
            raise MissingError(f"the worker has no file {need.path} with the content that the driver's has")
        return found

    def lacking(self, needs: Sequence[Need]) -> tuple[Need, ...]:
        """The files that are not here."""
        return tuple(need for need in needs if self._found(need) is None)

    def _found(self, need: Need) -> Path | None:
        for path in (need.path, kept_path(self.cache, need.sha256)):
            with suppress(OSError):
                if _sha256(path, *_stamp(path)) == need.sha256:
                    return path
        return None

    def folder(self, needs: Sequence[Need]) -> Path:
        """A folder that holds these files under the names that they have with the driver."""
        there = {need.path.name: self.path(need) for need in needs}
        homes = {path.parent for name, path in there.items() if path.name == name}
        if len(homes) == 1 and all(path.name == name for name, path in there.items()):
            return homes.pop()
        key = hashlib.sha256(repr(sorted((need.path.name, need.sha256) for need in needs)).encode()).hexdigest()
        folder = self.cache / "units" / f"{needs[0].path.parent.name}-{key[:24]}"
        with written(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, path in there.items():
                _linked(path, folder / name)
        return folder


def own_cache() -> Path:
    """The folder of data of a worker that no command line has told of one."""
    named = os.environ.get("BENCH_CACHE")
    return at(named) if named else default_cache()


def kept_path(cache: Path, sha256: str) -> Path:
    """Where a worker keeps a file that an engine sent."""
    return cache / "units" / sha256


def keep(cache: Path, part: Part) -> None:
    """Write the next part of a file; the last one gives it its name.

    Raises:
        WriteError: the disk is full, or anything else is in the way.
        RunError: what came is not the file that was announced.
    """
    path = kept_path(cache, part.sha256)
    beside = path.with_name(f".{part.sha256}.{part.sending}")
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("r+b" if part.start else "wb") as file:
            file.seek(part.start)
            file.write(part.content)
        if not part.last:
            return
        with beside.open("rb") as file:
            came = hashlib.file_digest(file, "sha256").hexdigest()
        if came == part.sha256:
            beside.replace(path)
            return
        beside.unlink()
    raise RunError(f"the file that came has sha256 {came[:12]}, not {part.sha256[:12]}: it was changed on its way")


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
