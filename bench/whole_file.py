"""Files written whole or not at all, and durably."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bench.errors import WriteError


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
    """WriteError where no file can be made in a folder, before work is spent on what belongs there."""
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
