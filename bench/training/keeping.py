"""The files a killed training continues from: written whole, checked before they are read, the newest two kept."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout

from bench.errors import RunError, StoreError
from bench.machine import versions
from bench.store import LOG, check_schema, write_bytes
from bench.training.resuming import State

if TYPE_CHECKING:
    from bench.contracts import RunRecord

RESUME_SCHEMA = 1
KEPT = 2
NAME = re.compile(r"resume-(\d+)\.pt")
HEAD = re.compile(rb"bench resume file, sha256 of the rest: ([0-9a-f]{64})\n")
LOCK, HOLDER = ".training.lock", ".training.pid"


@dataclass(frozen=True)
class Resume:
    """What a resume file holds.

    Attributes:
        run: fingerprint of the run it belongs to.
        state: where the training stood.
        log_bytes: how much of log.jsonl was written then.
        threads, versions: what it ran with; with others the weights may end in other last bits.
        resumed: how often the run had been continued.
    """

    run: str
    state: State
    log_bytes: int
    threads: int
    versions: dict[str, str]
    resumed: int = 0


# --- files -------------------------------------------------------------------------------------------------


def resume_files(folder: Path) -> list[Path]:
    """The resume files of a run, the newest first."""
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def fingerprint(record: RunRecord) -> str:
    """What tells a run from every other: its settings, its data and when it was begun."""
    facts = (record.model, record.config, record.created, record.data.get("digest"))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def write_resume(folder: Path, resume: Resume) -> Path:
    """Write one resume file and delete all but the newest two, and those of steps that are still to come."""
    buffer = io.BytesIO()
    torch.save({"schema": RESUME_SCHEMA, **vars(resume), "state": vars(resume.state)}, buffer)
    data = buffer.getvalue()
    head = f"bench resume file, sha256 of the rest: {hashlib.sha256(data).hexdigest()}\n".encode()
    path = folder / f"resume-{resume.state.done}.pt"
    write_bytes(path, head + data)
    there = resume_files(folder)
    newest = there.index(path)
    for each in there[:newest] + there[newest + KEPT :]:
        each.unlink(missing_ok=True)
    return path


def read_resume(path: Path, run: str) -> Resume:
    """A resume file of the run with this fingerprint; StoreError where it is damaged, edited or of another run."""
    try:
        head, _, data = path.read_bytes().partition(b"\n")
    except OSError as reason:
        raise StoreError(f"{path} cannot be read: {reason.strerror}") from reason
    match = HEAD.fullmatch(head + b"\n")
    if match is None:
        raise StoreError(f"{path} is not a resume file of bench")
    if hashlib.sha256(data).hexdigest() != match[1].decode():
        raise StoreError(f"{path} is damaged or was edited: its checksum does not fit")
    try:
        # weights_only: nothing but tensors and plain values, so a file with a right checksum cannot run code either.
        value: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        check_schema(value, RESUME_SCHEMA, path)
        resume = Resume(**{key: each for key, each in value.items() if key != "schema"})
        resume = dataclasses.replace(resume, state=State(**value["state"]))
    except StoreError:
        raise
    except Exception as reason:  # the unpickler raises many kinds
        words = str(reason).partition("\n")[0]
        raise StoreError(f"{path} holds what no resume file holds: {words:.200}") from reason
    if resume.run != run or path.name != f"resume-{resume.state.done}.pt":
        raise StoreError(f"{path} is of another run or another step, or the run's settings were edited")
    _check_log(path.parent / LOG, resume.log_bytes)
    return resume


def _check_log(log: Path, wanted: int) -> None:
    size = log.stat().st_size if log.is_file() else 0
    if size < wanted:
        raise StoreError(f"{log} has {size} bytes, and had {wanted} when the resume file was written")


def newest_resume(folder: Path, run: str, warn: Callable[[str], None]) -> Resume:
    """The newest intact resume file of a run; those that are not are named in a warning."""
    files = resume_files(folder)
    reasons = []
    for path in files:
        try:
            found = read_resume(path, run)
        except StoreError as reason:
            reasons.append(reason.message)
            continue
        for words in reasons:
            warn(f"{words}; continuing from the file before it, {path.name}")
        return found
    if not files:
        raise StoreError(
            f"run '{folder.name}' has no resume file", try_="bench train with its settings, from the start"
        )
    raise StoreError("; ".join(reasons), try_="bench train with its settings, from the start")


def cut_log(folder: Path, length: int) -> None:
    """Take from log.jsonl what was written after the resume file, since those epochs come again."""
    log = folder / LOG
    if log.is_file():
        write_bytes(log, log.read_bytes()[:length])


def discard(folder: Path) -> None:
    """Delete what only an unfinished run needs: resume files, and what killed writes left of any file."""
    for path in resume_files(folder):
        path.unlink(missing_ok=True)
    sweep(folder)


def sweep(folder: Path) -> None:
    """Delete what writes that were killed left behind; only who holds the run may."""
    for pattern in (".resume-*.pt.*", ".run.json.*", ".log.jsonl.*", ".checkpoint.safetensors.*"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


# --- while it trains ---------------------------------------------------------------------------------------


@dataclass
class FileKeeper:
    """Keeps states in a run's folder: every so many seconds, and at once when the process is asked to end.

    Attributes:
        run: the run's fingerprint.
        every: seconds between two files within an epoch.
        asked: whether the process was asked to end.
        stop: ends the training the way it was asked to; called when the state is safe.
    """

    folder: Path
    run: str
    every: float
    asked: Callable[[], bool]
    stop: Callable[[], None]
    resumed: int = 0
    last: float = dataclasses.field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether it is time, or whether somebody waits for the training to end."""
        return self.asked() or time.monotonic() - self.last >= self.every

    def keep(self, state: State) -> None:
        """Write the state, then end if asked to."""
        log = self.folder / LOG
        size = log.stat().st_size if log.is_file() else 0
        threads = torch.get_num_threads()
        with writing_into(self.folder):
            write_resume(self.folder, Resume(self.run, state, size, threads, versions(), self.resumed))
        self.last = time.monotonic()
        if self.asked():
            self.stop()


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """A write that fails, on a full disk say, is an expected failure that leaves the older resume files."""
    try:
        yield
    except OSError as reason:
        raise RunError(
            f"{reason.filename or folder} cannot be written: {reason.strerror or reason}; "
            "what was kept before is intact",
            try_=f"make room, then {resume_command(folder)}",
        ) from reason


def resume_command(folder: Path) -> str:
    """What to type to continue a run."""
    where = [] if folder.parent == Path("runs") else ["--runs-dir", str(folder.parent)]
    return shlex.join(["bench", "train", "--resume", folder.name, *where])


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Train in this folder as the only process; RunError names the other one.

    The process id lies beside the lock, since on some systems nobody else can read a locked file.
    """
    lock, holder = FileLock(folder / LOCK), folder / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        name = holder.read_text(errors="replace").strip()[:20] if holder.is_file() else ""
        raise RunError(
            f"run '{folder.name}' is being trained by process {name or 'of unknown id'}",
            try_=f"wait until it ends, or end it and {resume_command(folder)}",
        ) from None
    try:
        with writing_into(folder):
            write_bytes(holder, f"{os.getpid()}\n".encode())
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def unlock_for_good(folder: Path) -> None:
    """Delete the lock of a run that is done, where the system allows it while it is held."""
    with suppress(OSError):
        (folder / LOCK).unlink(missing_ok=True)
