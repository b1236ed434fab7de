"""What a folder or an archive holds, and its pictures as they stream by; nothing is unpacked to disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from bench.data.decoding import SIGNATURE, suffix_of, suffixes
from bench.data.layout import (
    BESIDE,
    LAYOUT,
    MAX_BYTES,
    MAX_MEMBERS,
    Found,
    Listing,
    is_junk,
    is_odd,
    odd_part,
    reason_of,
    safe_path,
    shown,
)
from bench.data.lists import MAX_LISTS, may_be_list
from bench.errors import DataError

MAX_TAIL = 2**26  # bytes of padding behind a tar's end mark
MAX_OTHER = 4 * 2**30  # of a member of a tar that is passed over, which takes time
MAX_DEPTH = 32  # folders below each other
MAX_ALL_LISTS = 2**28  # bytes of lists that are kept

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


@dataclass(frozen=True)
class Member:
    """One picture file as it streams by.

    Attributes:
        path: as the listing has it.
        read: gives the file's bytes; raises OSError.
        done: bytes of the source behind this member, for progress.
    """

    path: str
    read: Callable[[], bytes]
    done: int


Entry = tuple[Found, Callable[[int], bytes], int]  # its first bytes (all for -1), and the bytes of the source behind it


def listing_of(path: Path) -> Listing:
    """What there is, by name and size; no picture is read.

    Args:
        path: a folder, or a .tar, .tar.gz, .tgz, .tar.xz or .zip, told by its first bytes.

    Raises:
        DataError: neither a folder nor an archive; a corrupt archive, or a member that is refused.
    """
    files: dict[str, Found] = {}
    lists: dict[str, bytes] = {}
    folders: set[str] = set()
    others: Counter[str] = Counter()
    known = {*BESIDE[1:], *suffixes()}
    for found, read, _ in _entries(path, folders, others):
        if len(files) + len(folders) + others.total() >= MAX_MEMBERS:
            raise DataError(f"{path} holds more than {MAX_MEMBERS:,} members", try_="an archive of fewer, larger parts")
        if is_junk(found.path.rpartition("/")[2]):
            continue
        if found.path in files:
            raise DataError(
                f"{shown(found.path)} comes twice in {path}", try_="an archive in which every name is used once"
            )
        if may_be_list(found.path, found.size) and len(lists) < MAX_LISTS and not odd_part(found.path):
            content = _or_nothing(read, -1)
            if sum(map(len, lists.values())) + len(content) <= MAX_ALL_LISTS:
                lists[found.path] = content
        elif suffix_of(found.path) not in known:
            files[found.path] = found._replace(head=_or_nothing(read, SIGNATURE))
            continue
        files[found.path] = found
    return Listing(path, tuple(files.values()), lists, frozenset(folders), others)


def _or_nothing(read: Callable[[int], bytes], count: int) -> bytes:
    try:
        return read(count)
    except OSError:  # of a folder: a file that may not be read
        return b""


def bytes_of(listing: Listing, wanted: Container[str]) -> int:
    """Bytes there are to read, for progress."""
    sizes = (file.size for file in listing.files if file.path in wanted)
    return sum(sizes) if listing.source.is_dir() else listing.source.stat().st_size


def members_of(listing: Listing, wanted: Container[str]) -> Iterator[Member]:
    """The wanted files in the order in which they are stored, each with its bytes at hand."""
    if listing.source.is_dir():
        done = 0
        for found in listing.files:
            if found.path in wanted:
                done += found.size
                read = partial(_head, listing.source / found.raw, found.size, -1)
                yield Member(found.path, read if found.size <= MAX_BYTES else partial(_too_large, found.size), done)
        return
    for found, content, done in _entries(listing.source, set(), Counter()):
        if found.path in wanted:
            large = found.size > MAX_BYTES
            yield Member(found.path, partial(_too_large, found.size) if large else partial(bytes, content(-1)), done)


def _too_large(size: int) -> bytes:
    raise ValueError(f"it declares {size:,} bytes; the limit is {MAX_BYTES:,}")


def _entries(path: Path, folders: set[str], others: Counter[str]) -> Iterator[Entry]:
    if path.is_dir():
        yield from _folder(path, folders, others)
        return
    try:
        reader = _archive_reader(path)
        with path.open("rb") as file:
            yield from _guarded(path, reader(file, path, folders))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", try_=f"ls -la {path}") from error


Reader = Callable[[IO[bytes], Path, set[str]], Iterator[Entry]]


def _archive_reader(path: Path) -> Reader:
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
    if head.startswith(b"BZh"):
        return partial(_tar, opener=cast(Opener, bz2.open))
    if head[257:262] == b"ustar" or (head and path.suffix == ".tar"):
        return partial(_tar, opener=None)
    raise DataError(
        f"{path} is neither a folder nor an archive", try_=f"a folder, .tar, .tar.gz, .tar.xz or .zip of {LAYOUT}"
    )


def _guarded(path: Path, entries: Iterator[Entry]) -> Iterator[Entry]:
    try:
        for found, read, done in entries:
            yield found, partial(_sound, path, read), done
    except CORRUPT as error:
        raise _corrupt(path, error) from error


def _sound(path: Path, read: Callable[[int], bytes], count: int) -> bytes:
    try:
        return read(count)
    except CORRUPT as error:
        raise _corrupt(path, error) from error


def _corrupt(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is corrupt: {reason_of(error)}", try_="a new copy of the archive")


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
            if not self.read(min(2**15, position - self._position)):
                raise tarfile.ReadError("unexpected end of data")


def _tar(file: IO[bytes], path: Path, folders: set[str], opener: Opener | None) -> Iterator[Entry]:
    stream = _Forward(opener(file) if opener else file)
    with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
        while (entry := archive.next()) is not None:
            archive.members = []  # or tarfile keeps every header in memory
            name = safe_path(entry.name, path)
            if entry.isdir():
                folders.add(name)
                continue
            if not entry.isreg() or entry.issparse():
                raise _no_regular_file(entry.name, path)
            if not 0 <= entry.size <= MAX_OTHER:
                raise DataError(
                    f"{shown(name)} in {path} declares {entry.size:,} bytes; the limit is {MAX_OTHER:,}",
                    try_=f"an archive of {LAYOUT} alone",
                )
            yield Found(name, entry.size), partial(_extracted, archive, entry), file.tell()
    # tarfile takes a header that it cannot read for the end; the real end is a block of zeros.
    if stream.last != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends without its end mark")
    while stream.tell() < archive.offset + MAX_TAIL and stream.read(2**15):
        pass  # so that the compression's own checksum is seen


def _extracted(archive: tarfile.TarFile, entry: tarfile.TarInfo, size: int) -> bytes:
    file = archive.extractfile(entry)
    return file.read(size) if file else b""


def _zip(file: IO[bytes], path: Path, folders: set[str]) -> Iterator[Entry]:
    done = 0
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            name = safe_path(entry.filename, path)
            if entry.is_dir():
                folders.add(name)
                continue
            if kind not in (0, stat.S_IFREG):
                raise _no_regular_file(entry.filename, path)
            done += entry.compress_size
            yield Found(name, entry.file_size), partial(_unzipped, archive, entry), done


def _unzipped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, size: int) -> bytes:
    with archive.open(entry) as file:
        return file.read(size)


def _no_regular_file(name: str, path: Path) -> DataError:
    return DataError(
        f"{shown(name)} in {path} is a link or a device, not a file", try_="tar --dereference, or a folder"
    )


def _folder(root: Path, folders: set[str], others: Counter[str]) -> Iterator[Entry]:
    """Files of a folder and of all below it; links are followed, since a folder is the user's own."""
    done = 0
    for entry in walk(root, others):
        raw = os.path.relpath(entry.path, root)
        name = safe_path(raw, root)
        if entry.is_dir():
            folders.add(name)
            continue
        size = entry.stat().st_size
        done += size
        yield Found(name, size, raw=raw), partial(_head, Path(entry.path), size), done


def _head(path: Path, size: int, count: int) -> bytes:
    """The first bytes of a file, all it had when it was listed for -1: one that grows meanwhile is not followed."""
    with path.open("rb") as file:
        return file.read(size if count < 0 else count)


def walk(root: Path, others: Counter[str]) -> Iterator[os.DirEntry[str]]:
    """Every file and folder below a folder, byte-sorted; what is neither, or leads nowhere, is counted in `others`.

    Raises:
        DataError: a folder cannot be read.
    """

    def below(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[os.DirEntry[str]]:
        for entry in entries(folder):
            try:
                facts = entry.stat()
            except OSError:  # a link to nowhere or round in a circle
                others["links that lead nowhere"] += 1
                continue
            if stat.S_ISREG(facts.st_mode):
                yield entry
            elif not stat.S_ISDIR(facts.st_mode):
                others["pipes, sockets and devices"] += 1
            elif is_odd(entry.name):
                others[f"folders {safe_path(entry.name, root)}"] += 1
            elif (facts.st_dev, facts.st_ino) in above:
                others["links to a folder above"] += 1
            elif len(above) > MAX_DEPTH:
                others[f"folders more than {MAX_DEPTH} deep"] += 1
            else:
                yield entry
                yield from below(Path(entry), (*above, (facts.st_dev, facts.st_ino)))

    facts = root.stat()
    return below(root, ((facts.st_dev, facts.st_ino),))


def entries(path: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, byte-sorted.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        with os.scandir(path) as found:
            return sorted(found, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", try_=f"ls -la {path}") from error
