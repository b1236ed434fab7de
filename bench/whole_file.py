"""Files written whole or not at all, and durably; and read without waiting at a pipe or filling the memory."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bench.errors import StoreError, WriteError

if TYPE_CHECKING:
    import numpy as np


@contextmanager
def written(path: Path | str) -> Iterator[None]:
    """Whatever the system refuses in the block is told as a WriteError of `path`; every write goes through here."""
    try:
        yield
    except BrokenPipeError:  # who reads along went away, which is no failure
        raise
    except OSError as reason:
        raise WriteError(path, reason) from reason


def check_writable(folder: Path) -> None:
    """WriteError where no file can be made in a folder, or where it will be made, before work is spent on it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with written(folder), tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when it is complete, and leaves no trace when it is not.

    Raises:
        WriteError: the disk is full or read-only, a folder has that name, or anything else is in the way.
    """
    with written(path), _replacing(path) as file:
        yield file


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: only within a file system is a rename one step, before which everybody reads the old file.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            # Before the rename, or a power cut may leave the new name on a file whose content never reached the disk.
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # a temporary file is its owner's alone
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name != "nt":  # Windows cannot open a folder to sync it
        # A rename changes the folder, which has to reach the disk as well.
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def opened(path: Path, most: int) -> Iterator[BufferedReader]:
    """A file to read.

    Args:
        most: bytes that such a file may have.

    Raises:
        StoreError: there is none, it cannot be read, is a pipe, a folder or a device, or larger than that.
    """
    try:
        file = open(path, "rb", opener=_at_once)  # noqa: SIM115 (a path takes no opener; closed below)
    except FileNotFoundError as reason:
        raise StoreError(f"no file {path}") from reason
    except (OSError, ValueError) as reason:  # the latter for a name with a zero byte
        raise StoreError(f"{path} cannot be read: {getattr(reason, 'strerror', None) or reason}") from reason
    with file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{path} cannot be read: it is no file")
        if found.st_size > most:
            raise StoreError(f"{path} cannot be read: it has {found.st_size:,} bytes, and at most {most:,} are read")
        yield file


def _at_once(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe that nobody writes into would be waited for


def npy_header(stream: IO[bytes]) -> "tuple[tuple[int, ...], bool, np.dtype[Any]]":
    """The shape, whether columns come first, and the type that an .npy stream declares; no value is read.

    Raises:
        ValueError: it is none, or of a version that nobody needs for arrays of numbers.
    """
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(stream)
    if version not in readers:
        raise ValueError(f"an array of version {version}")
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = readers[version](stream)
    return found


def read_text(path: Path, most: int, errors: str = "strict") -> str:
    """The text of a file as UTF-8, without the mark that some editors put in front; StoreError as `opened` says."""
    with opened(path, most) as file:
        return file.read().decode("utf-8-sig", errors)
