"""Decoded data sets on disk: two .npy files and one JSON a source, checked before they are trusted."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout

from bench.contracts import Progress
from bench.images import SIZE, Decoded, Part, Pixels

SCHEMA = 1  # raised when decoding gives other pixels, so that old entries are made anew

# What reading a damaged entry can raise; a header may ask for any amount of memory.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, MemoryError)


@dataclass(frozen=True)
class Cached:
    """A decoded data set with what is costly to compute from its pixels."""

    decoded: Decoded
    digest: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def stamp(path: Path) -> str:
    """What changes when a source does: size and time of a file; names, sizes and times of a folder's files."""
    if path.is_file():
        return _facts(path.stat())
    digest = hashlib.sha256()
    for folder, inner, names in os.walk(path, followlinks=True):
        if len(Path(folder).relative_to(path).parts) >= 4:  # deeper than any image, and no endless loop of links
            inner.clear()
        inner.sort()
        for name in sorted(names):
            place = os.path.join(folder, name)  # noqa: PTH118 - sixty thousand Paths take a second
            try:
                line = f"{place}\0{_facts(os.stat(place))}\0"  # noqa: PTH116 - as above
            except OSError:  # a link to nowhere
                line = f"{place}\0"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


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
        lock = FileLock(entry.with_suffix(".lock"))
        with _held(lock, source, progress):
            facts = stamp(source)
            found = _load(entry, facts)
            if found is None or (found.decoded.skipped and not skip_bad):
                found = make()
                _store(entry, facts, found, progress)
            return found
    except (PermissionError, NotImplementedError) as error:
        progress.warn(f"{folder} cannot be used as a cache ({error}); the images are decoded at every start")
    return make()


@contextmanager
def _held(lock: FileLock, source: Path, progress: Progress) -> Iterator[None]:
    try:
        lock.acquire(timeout=1)
    except Timeout:
        progress.say(f"another process reads {source.name}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _load(entry: Path, facts: str) -> Cached | None:
    """The entry, or None where it is missing, of another stamp or not what was written."""
    try:
        text = entry.with_suffix(".json").read_text()
        checksum, body = text.split("\n", 1)
        about = json.loads(body)
        if int(checksum) != zlib.crc32(body.encode()) or about["stamp"] != facts or about["schema"] != SCHEMA:
            return None
        train, test = (_load_part(entry, split, about[split]) for split in ("train", "test"))
        decoded = Decoded(tuple(about["classes"]), train, test, tuple(about["notes"]), about["skipped"])
        return Cached(decoded, about["digest"], tuple(about["mean"]), tuple(about["std"]))
    except UNREADABLE:
        return None


def _load_part(entry: Path, split: str, about: dict[str, Any]) -> Part:
    images: Pixels = np.load(_pixel_file(entry, split), allow_pickle=False)
    shape = (len(about["names"]), 3, SIZE, SIZE)
    if images.shape != shape or images.dtype != np.uint8 or zlib.crc32(images.data) != about["checksum"]:
        raise ValueError("other pixels than were written")
    return Part(images, np.array(about["labels"], np.int64), tuple(about["names"]))


def _store(entry: Path, facts: str, made: Cached, progress: Progress) -> None:
    decoded = made.decoded
    about: dict[str, Any] = {
        "schema": SCHEMA,
        "stamp": facts,
        "classes": decoded.classes,
        "notes": decoded.notes,
        "skipped": decoded.skipped,
        "digest": made.digest,
        "mean": made.mean,
        "std": made.std,
    }
    try:
        for split, part in (("train", decoded.train), ("test", decoded.test)):
            images = part.images
            with _replacing(_pixel_file(entry, split)) as file:
                np.save(file, images, allow_pickle=False)
            about[split] = {
                "names": part.names,
                "labels": part.labels.tolist(),
                "checksum": zlib.crc32(np.ascontiguousarray(images).data),
            }
        body = json.dumps(about)
        with _replacing(entry.with_suffix(".json")) as file:  # last: without it the pixels are not believed
            file.write(f"{zlib.crc32(body.encode())}\n{body}".encode())
    except OSError as error:
        progress.warn(f"{entry.parent} cannot hold the decoded images ({error}); they are decoded at every start")


def _pixel_file(entry: Path, split: str) -> Path:
    return entry.with_name(f"{entry.name}-{split}.npy")


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when it is complete, and leaves no trace when it is not."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
