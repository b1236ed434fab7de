"""Decoded data sets on disk: two .npy files and one JSON a source, checked before they are trusted."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from bench.contracts import Progress
from bench.data.archives import walk
from bench.data.decoding import Pixels
from bench.data.images import Decoded, Part, free_memory
from bench.errors import WriteError
from bench.whole_file import npy_header, replacing

SCHEMA = 2  # raised when decoding gives other pixels, so that old entries are made anew

# What reading a damaged entry can raise; a header may ask for any amount of memory.
AT_ONCE = 2**20  # bytes
SHARE = 0.5  # of the free memory; what would take more of it is not read but mapped
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, MemoryError)


@dataclass(frozen=True)
class Cached:
    """A decoded data set with what is costly to compute from its pixels."""

    decoded: Decoded
    digest: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def stamp(path: Path) -> str:
    """What changes when a source does: size and time of a file; names, sizes and times of all that is in a folder."""
    if path.is_file():
        return _facts(path.stat())
    digest = hashlib.sha256()
    others: Counter[str] = Counter()
    for entry in walk(path, others):
        digest.update(_line(entry))
    digest.update(repr(sorted(others.items())).encode())
    return digest.hexdigest()


def _line(entry: os.DirEntry[str]) -> bytes:
    facts = _facts(entry.stat()) if entry.is_file() else ""
    return f"{entry.path}\0{facts}\0".encode("utf-8", "surrogateescape")


def _facts(facts: os.stat_result) -> str:
    return f"{facts.st_size} {facts.st_mtime_ns}"


def cached(folder: Path, source: Path, make: Callable[[], Cached], *, skip_bad: bool, progress: Progress) -> Cached:
    """The entry of `source`, made where it is missing, old or damaged.

    Args:
        folder: of all entries; a folder that cannot be written is a warning, not an error.
        source: a file or a folder; one entry is kept for its absolute path.
        make: decodes the source.
        skip_bad: whether an entry that left out unreadable files will do.
        progress: told when another process holds the entry.
    """
    source = source.absolute()
    key = hashlib.sha256(str(source).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    entry = folder / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = _held(entry.with_suffix(".lock"), source, progress)
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        progress.warn(f"{folder} cannot be used as a cache ({error}); the images are decoded at every start")
        return make()
    with held:
        facts = stamp(source)
        found = _load(entry, facts)
        if found is None or (found.decoded.skipped and not skip_bad):
            found = make()
            _store(entry, facts, found, progress)
        return found


def _held(path: Path, source: Path, progress: Progress) -> AbstractContextManager[object]:
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=1)
    except Timeout:
        progress.say(f"another process reads {source.name}; waiting for it")
        return lock.acquire()


def _load(entry: Path, facts: str) -> Cached | None:
    """The entry, or None where it is missing, of another stamp or not what was written."""
    try:
        text = entry.with_suffix(".json").read_text()
        checksum, body = text.split("\n", 1)
        about = json.loads(body)
        if int(checksum) != zlib.crc32(body.encode()) or about["stamp"] != facts or about["schema"] != SCHEMA:
            return None
        train, test = (_load_part(entry, split, about[split]) for split in ("train", "test"))
        words = tuple(about["notes"]), about["skipped"], about["inventory"], tuple(about["levels"])
        decoded = Decoded(tuple(about["classes"]), train, test, *words)
        return Cached(decoded, about["digest"], tuple(about["mean"]), tuple(about["std"]))
    except UNREADABLE:
        return None


def _load_part(entry: Path, split: str, about: dict[str, Any]) -> Part:
    with _pixel_file(entry, split).open("rb") as file:
        shape, fortran, dtype = npy_header(file)
        start, count, edge = file.tell(), len(about["names"]), shape[-1]
        size = os.fstat(file.fileno()).st_size - start
        if shape != (count, 3, edge, edge) or dtype != np.uint8 or fortran or size != math.prod(shape):
            raise ValueError("other pixels than were written")
        # CRC is against damage, and takes a tenth of a second of CIFAR-10; who could forge it could write the images.
        images, checksum = _mapped(file, shape) if _too_large(size) else _in_memory(file, shape)
        if checksum != about["checksum"]:
            raise ValueError("other pixels than were written")
    return Part(images, np.array(about["labels"], np.int64), tuple(about["names"]))


def _too_large(size: int) -> bool:
    """Whether so many bytes would take most of the memory that is free."""
    free = free_memory()
    return free is not None and size > SHARE * free


def _in_memory(file: BinaryIO, shape: tuple[int, ...]) -> tuple[Pixels, int]:
    """Pixels from where the file stands, and their checksum."""
    images = np.empty(shape, np.uint8)
    if file.readinto(images.data) != images.nbytes:  # type: ignore[attr-defined]  # every file has it
        raise ValueError("it ends too early")
    return images, zlib.crc32(images.data)


def _mapped(file: BinaryIO, shape: tuple[int, ...]) -> tuple[Pixels, int]:
    """The same, but the pixels stay in the file: the system keeps in memory what fits, and gives it up when asked.

    What is written to them stays with who writes.
    """
    start, checksum = file.tell(), 0
    while block := file.read(AT_ONCE):
        checksum = zlib.crc32(block, checksum)
    return np.asarray(np.memmap(file, np.uint8, "c", start, shape)), checksum


def _store(entry: Path, facts: str, made: Cached, progress: Progress) -> None:
    decoded = made.decoded
    about: dict[str, Any] = {
        "schema": SCHEMA,
        "stamp": facts,
        "classes": decoded.classes,
        "notes": decoded.notes,
        "skipped": decoded.skipped,
        "inventory": decoded.inventory,
        "levels": decoded.levels,
        "digest": made.digest,
        "mean": made.mean,
        "std": made.std,
    }
    try:
        for split, part in (("train", decoded.train), ("test", decoded.test)):
            images = part.images
            with replacing(_pixel_file(entry, split)) as file:
                np.save(file, images, allow_pickle=False)
            about[split] = {
                "names": part.names,
                "labels": part.labels.tolist(),
                "checksum": zlib.crc32(np.ascontiguousarray(images).data),
            }
        body = json.dumps(about)
        with replacing(entry.with_suffix(".json")) as file:  # last: without it the pixels are not believed
            file.write(f"{zlib.crc32(body.encode())}\n{body}".encode())
    except (OSError, WriteError) as error:
        progress.warn(f"{entry.parent} cannot hold the decoded images ({error}); they are decoded at every start")


def _pixel_file(entry: Path, split: str) -> Path:
    return entry.with_name(f"{entry.name}-{split}.npy")
