"""Images of a folder or an archive, as they stream by, without unpacking anything to disk."""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, cast

from bench.data.layout import LAYOUT, MAX_BYTES, SPLITS, Layout, Member, reason_of, shown
from bench.errors import DataError

MAX_TAIL = 2**26  # bytes of padding behind a tar's end mark

# What the readers of the standard library raise on bytes that are not what they claim to be.
CORRUPT = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
)


Opener = Callable[[IO[bytes]], IO[bytes]]


def members_of(path: Path, layout: Layout) -> tuple[int, Iterator[Member]]:
    """Images of a folder or an archive in the order in which they are stored.

    Args:
        path: a folder, or a .tar, .tar.gz, .tgz, .tar.xz or .zip, told by its first bytes.
        layout: collects what is ignored.

    Returns:
        Bytes there are to read, and the images.

    Raises:
        DataError: neither a folder nor an archive; while it runs: a corrupt archive or a member that is refused.
    """
    if path.is_dir():
        found = list(_folder(path, layout))
        return (found[-1].done if found else 0), iter(found)
    try:
        return path.stat().st_size, _guarded(path, _archive_reader(path), layout)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", try_=f"ls -la {path}") from error


def _archive_reader(path: Path) -> Callable[[IO[bytes], Layout], Iterator[Member]]:
    head = b""
    if path.is_file():  # a pipe would make us wait
        with path.open("rb") as file:
            head = file.read(512)
    if head.startswith(b"PK"):
        return _zip
    if head.startswith(b"\xfd7zXZ\0"):
        return partial(_tar, opener=cast(Opener, lzma.open))
    if head.startswith(b"\x1f\x8b"):
        return partial(_tar, opener=cast(Opener, gzip.open))
    if head[257:262] == b"ustar" or (head and path.suffix == ".tar"):
        return partial(_tar, opener=None)
    raise DataError(
        f"{path} is neither a folder nor an archive", try_=f"a folder, .tar, .tar.gz, .tar.xz or .zip of {LAYOUT}"
    )


def _guarded(path: Path, reader: Callable[[IO[bytes], Layout], Iterator[Member]], layout: Layout) -> Iterator[Member]:
    try:
        with path.open("rb") as file:
            yield from reader(file, layout)
    except CORRUPT as error:
        raise DataError(f"{path} is corrupt: {reason_of(error)}", try_="a fresh copy of the archive") from error


class _Forward:
    """A decompressed stream that only goes forward and refuses huge reads, which a header may ask for."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0
        self.last = b""

    def read(self, size: int) -> bytes:
        if size < 0 or size > MAX_BYTES + tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"a header asks for {size:,} bytes at once")
        self.last = self._stream.read(size)
        self._position += len(self.last)
        return self.last

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("a header points backwards")
        while self._position < position:
            if not self.read(min(2**20, position - self._position)):
                raise tarfile.ReadError("unexpected end of data")


def _tar(file: IO[bytes], layout: Layout, opener: Opener | None) -> Iterator[Member]:
    stream = _Forward(opener(file) if opener else file)
    with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
        while (entry := archive.next()) is not None:
            archive.members = []  # or tarfile keeps every header in memory
            layout.count()
            if entry.isdir():
                continue
            if not entry.isreg() or entry.issparse():
                raise _no_regular_file(entry.name, layout)
            placed = layout.place(entry.name, entry.size)
            extracted = archive.extractfile(entry) if placed else None
            if placed and extracted:
                content = extracted.read()
                yield Member(*placed, read=partial(bytes, content), done=file.tell())
    # tarfile takes a header that it cannot read for the end; the real end is a block of zeros.
    if stream.last != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends without its end mark")
    while stream.tell() < archive.offset + MAX_TAIL and stream.read(2**20):
        pass  # so that the compression's own checksum is seen


def _zip(file: IO[bytes], layout: Layout) -> Iterator[Member]:
    done = 0
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            layout.count()
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise _no_regular_file(entry.filename, layout)
            placed = layout.place(entry.filename, entry.file_size)
            done += entry.compress_size
            if placed:
                yield Member(*placed, read=partial(bytes, archive.read(entry)), done=done)


def _no_regular_file(name: str, layout: Layout) -> DataError:
    return DataError(
        f"{shown(name)} in {layout.source} is a link or a device, not a file", try_="tar --dereference, or a folder"
    )


def _folder(path: Path, layout: Layout) -> Iterator[Member]:
    """Files of a folder, two levels deep; links are followed, since a folder is the user's own."""
    base = base_of(path)
    done = 0
    for split in SPLITS:
        for folder in entries(base / split):
            for entry in entries(Path(folder)) if folder.is_dir() else [folder]:
                layout.count()
                if not entry.is_file():
                    continue
                size = entry.stat().st_size
                placed = layout.place(os.path.relpath(entry.path, base), size)
                done += size
                if placed:
                    yield Member(*placed, read=Path(entry.path).read_bytes, done=done)


def base_of(path: Path) -> Path:
    """The folder that holds train and test: the one named, or its only subfolder."""
    if any((path / split).is_dir() for split in SPLITS):
        return path
    inner = [Path(entry) for entry in entries(path) if entry.is_dir() and not entry.name.startswith((".", "__"))]
    holders = [folder for folder in inner if any((folder / split).is_dir() for split in SPLITS)]
    return holders[0] if len(holders) == 1 else path


def entries(path: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, byte-sorted; nothing where there is no folder.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        with os.scandir(path) as found:
            return sorted(found, key=lambda entry: os.fsencode(entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", try_=f"ls -la {path}") from error
