"""Files written whole or not at all; everything that is read is checked and may be hostile."""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from bench.errors import StoreError, cut
from bench.homes import homeless
from bench.schema.page import EpochPoint
from bench.schema.run import MOST, Rows
from bench.store.on_disk import AT_ONCE, WHOLE, OnDisk, blocks, stamp_of
from bench.store.paths import leftovers_of
from bench.whole_file import npy_header, opened, read_text, replacing, written

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

# What is unpacked for a small file at most. A few bytes can hold gigabytes of zeros; real maps pack to a half at best.
UNPACKED, PACKED = 256 * 2**20, 50  # bytes, and how many a byte of a file may become beyond these
ARRAY_BYTES, JSON_BYTES, LOG_BYTES, LINE_BYTES = 8 * 2**30, 16 * 2**20, 64 * 2**20, 2**16
HEADER_BYTES = 16 * 2**20  # of the names and sizes in a checkpoint
LENGTHS_AT = 26  # where the head of a member of a zip file says how long its name and its extra field are
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack without a bound
AGAIN = "delete it and explain again"
CHECKPOINT_SCHEMA = 1
PATIENCE = 600.0  # seconds that a lock is waited for; a write takes a few

Value = TypeVar("Value")
Migration = Callable[[Mapping[str, Any]], dict[str, Any]]


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all, and durably."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def locked(path: Path, within: Path) -> Iterator[None]:
    """Hold a file that is read, merged and written back, and with it its folder's others; who wants one of them waits.

    Args:
        within: a folder that must be there, such as the run's, so that one that was removed is not made anew.

    Raises:
        StoreError: that folder is gone.
        StoreError: others held it for PATIENCE seconds.
        WriteError: nothing can be written there.
    """
    from filelock import FileLock, Timeout

    # Not on the file itself: a write puts another file in its place, and who held the old one would hold nothing.
    with written(path):
        make_within(path.parent, within)
        try:
            held = FileLock(path.with_name(".lock")).acquire(timeout=PATIENCE)
        except Timeout:
            raise StoreError(f"{path} is being written by another process", try_="wait until it ends") from None
    with held:
        sweep(path)
        yield


def make_within(folder: Path, within: Path) -> None:
    """Make a folder, and those between it and one that must be there; StoreError where that one is gone."""
    below = [folder, *folder.parents]
    try:
        for each in reversed(below[: below.index(within)]):
            each.mkdir(exist_ok=True)  # not its parents: a folder that was removed meanwhile must not come back
        if not within.is_dir():
            raise FileNotFoundError
    except FileNotFoundError:
        raise StoreError(f"{within} was removed while it was in use", try_="bench list runs") from None


def sweep(path: Path) -> None:
    """Delete what writes of a file that were killed left behind; only who holds it may."""
    for left in leftovers_of(path):
        left.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write readable JSON; NaN and infinity are refused, since no other reader takes them."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{homeless(text)}\n".encode())


def write_npz(path: Path, arrays: Mapping[str, Rows], *, plain: tuple[str, ...] = ()) -> None:
    """Write arrays, none of them with objects.

    Args:
        plain: those that are not compressed, so that their rows can be read one by one; all others are.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"array '{name}' for {path} holds objects, which only unpickling could read")
    with replacing(path) as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = zipfile.ZIP_STORED if name in plain else zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as stream:
                _write_array(stream, array)


def _write_array(stream: IO[bytes], array: Rows) -> None:
    """An .npy file, of an array on disk block by block."""
    import numpy as np
    from numpy.lib import format as npy

    if isinstance(array, np.ndarray):
        npy.write_array(stream, array, allow_pickle=False)
        return
    head = {"shape": array.shape, "fortran_order": False, "descr": npy.dtype_to_descr(array.dtype)}
    npy.write_array_header_1_0(stream, head)
    for rows in blocks(array):
        stream.write(array[rows].tobytes())


def read_npz(
    path: Path,
    names: tuple[str, ...],
    content: BufferedReader | None = None,
    *,
    more: tuple[str, ...] = (),
    rows: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The named arrays of a file; StoreError where it is missing, damaged, holds objects or would fill the memory.

    Args:
        more: arrays that are read where they are there.
        rows: arrays that stay on disk where they are large and lie there as they are.
        content: the file, where it is open already.
    """
    with opened(path, ARRAY_BYTES) if content is None else nullcontext(content) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                there = archive.NameToInfo
                wanted = (*names, *(each for each in more if f"{each}.npy" in there))
                members = {name: archive.getinfo(f"{name}.npy") for name in wanted}
                _check_sizes(list(members.values()), os.fstat(file.fileno()).st_size)
                found: dict[str, Any] = {}
                for name, member in members.items():
                    stays = name in rows and member.compress_type == zipfile.ZIP_STORED and member.file_size > WHOLE
                    found[name] = _on_disk(path, archive, member, file) if stays else _array(archive, member)
                return found
        except Exception as reason:  # zip, zlib and numpy raise many kinds for a damaged file
            words = str(reason).strip("'\"")
            raise StoreError(f"{path} cannot be read: {words}", try_="delete it and run the step again") from reason


def _on_disk(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: BufferedReader) -> Rows:
    """An array that stays where it is, once it is clear that it is whole."""
    with archive.open(member) as stream:
        shape, fortran, dtype = npy_header(stream)
        head = stream.tell()
        _check_header(member, shape, dtype, head)
        while stream.read(AT_ONCE):  # zipfile compares the checksum at the end
            pass
    if fortran or dtype.hasobject or not shape:
        return _array(archive, member)
    file.seek(member.header_offset + LENGTHS_AT)
    name, extra = struct.unpack("<HH", file.read(4))
    start = member.header_offset + LENGTHS_AT + 4 + name + extra + head
    return OnDisk(path, stamp_of(os.fstat(file.fileno())), start, shape, dtype)


def _check_sizes(members: Sequence[zipfile.ZipInfo], size: int) -> None:
    """ValueError for what would unpack to more than a file of so many bytes holds."""
    whole = sum(each.file_size for each in members)
    if whole > min(UNPACKED + PACKED * size, ARRAY_BYTES) or any(each.compress_type not in METHODS for each in members):
        raise ValueError(f"its {size:,} bytes would unpack to {whole:,}, which no file of bench does")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    """An array, once it is clear that it is as large as its header says."""
    from numpy.lib import format as npy

    with archive.open(member) as file:
        shape, _, dtype = npy_header(file)
        _check_header(member, shape, dtype, file.tell())
    with archive.open(member) as file:
        found: np.ndarray[Any, Any] = npy.read_array(file, allow_pickle=False)
        return found


def _check_header(member: zipfile.ZipInfo, shape: tuple[int, ...], dtype: np.dtype[Any], head: int) -> None:
    if any(each < 0 for each in shape) or math.prod(shape) * dtype.itemsize != member.file_size - head:
        raise ValueError(f"{member.filename} says {shape} {dtype!s:.60} and has {member.file_size:,} bytes")


def write_checkpoint(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, object]) -> str:
    """Write weights with their metadata as safetensors; gives the file's sha256."""
    import torch
    from safetensors.torch import save

    # Tied weights are one tensor under two keys, which safetensors refuses: each key gets a copy of its own.
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    header = {"bench": json.dumps({"schema": CHECKPOINT_SCHEMA, **metadata}, allow_nan=False)}
    data = save(tensors, metadata=header)
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()  # of what was meant, so that what a disk made otherwise of it is found out


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and metadata of a checkpoint; StoreError where it is missing, damaged or not ours."""
    from safetensors import safe_open

    if not path.is_file():
        raise StoreError(f"no checkpoint {path}", try_="bench train --model cifar_resnet18")
    descriptor = os.open(path, os.O_RDONLY)
    length = int.from_bytes(os.read(descriptor, 8), "little")
    os.close(descriptor)
    if length > HEADER_BYTES:
        raise StoreError(f"{path} is not a safetensors file: its header would have {length:,} bytes")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("bench", "null"))
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except Exception as reason:  # safetensors raises its own and Rust's kinds
        raise StoreError(f"{path} is not a safetensors file: {reason}") from reason
    if not isinstance(header, dict):
        raise StoreError(f"{path} was not written by bench: it lacks the names of its classes")
    check_schema(header, CHECKPOINT_SCHEMA, path)
    return state, header


def modules_of(path: Path) -> list[str]:
    """The modules that a checkpoint holds weights of, and those around them; no linear layers. Needs no torch.

    Returns:
        Sorted names such as `layer3.0.conv1`, `layer3.0` and `layer3`; none of a file that is missing or damaged.
    """
    try:
        with opened(path, sys.maxsize) as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length) if length <= HEADER_BYTES else b"")
        shapes = {key: one["shape"] for key, one in header.items() if key != "__metadata__"}
    except (StoreError, ValueError, RecursionError, AttributeError, TypeError, KeyError):  # no header as it should be
        return []
    owners = {key: key.split(".")[:-1] for key in shapes}
    linear = {tuple(owners[key]) for key, shape in shapes.items() if key.endswith("weight") and len(shape) == 2}
    whole = [parts for parts in owners.values() if tuple(parts) not in linear]
    return sorted({".".join(parts[:length]) for parts in whole for length in range(1, len(parts) + 1)})


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file; StoreError where there is none that ends."""
    with opened(path, sys.maxsize) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_schema(value: Mapping[str, object], known: int, path: Path) -> None:
    """Refuse a file that a newer bench wrote, or one that says nothing about itself."""
    found = value.get("schema")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:  # true is an int, and equals 1
        raise StoreError(f"{path} has no schema number: {found!r:.60}")
    if found > known:
        raise StoreError(
            f"{path} has schema {found!s:.60}, this bench reads up to {known}", try_="pip install --upgrade cambench"
        )


def read_value(path: Path, kind: type[Value], schema: int, migrated: Migration = dict) -> Value:
    """A JSON file as a value, validated field by field; StoreError names what is wrong.

    Args:
        migrated: makes what an earlier version wrote what today's would have written.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        raw = json.loads(read_text(path, JSON_BYTES))
    except (ValueError, RecursionError) as reason:
        raise StoreError(f"{path} is not JSON: {reason}") from reason
    if not isinstance(raw, dict):
        raise StoreError(f"{path} holds {type(raw).__name__}, not an object")
    check_schema(raw, schema, path)
    try:
        return TypeAdapter(kind).validate_python(migrated(raw))
    except ValidationError as reason:
        first = reason.errors()[0]
        where = cut(".".join(str(each) for each in first["loc"]), 200)
        raise StoreError(f"{path}: {where}: {first['msg']} (found {first['input']!r:.60})") from reason


def unsaid(doubt: str) -> None:
    """What is done with a doubt that nobody wants to hear."""


def readable(
    read: Callable[[Path], Value], paths: Iterable[Path], doubt: Callable[[str], object] = unsaid
) -> Iterator[Value]:
    """What is in those of the files that can be read; of the others `doubt` is told."""
    for path in paths:
        try:
            found = read(path)
        except StoreError as error:
            doubt(f"left out: {error.message}")
        else:
            yield found


def impossible(value: object) -> Iterator[str]:
    """Where in plain values a number stands that was never counted or measured: not finite, or beyond all counts."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from (f"{name} {words}" for words in impossible(each))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from impossible(each)
    elif isinstance(value, int | float) and not (-MOST if isinstance(value, float) else -1) < value < MOST:
        yield f"{value!s:.40}"


def append_line(path: Path, value: object) -> None:
    """One more line of JSON; behind a line that was cut off it starts a new one."""
    line = json.dumps(value, allow_nan=False).encode() + b"\n"
    with written(path), path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path) -> Iterator[object]:
    """What the lines of a log hold; None for one that is cut off, no JSON, or longer than any that was written."""
    if not path.exists():
        return
    with opened(path, LOG_BYTES) as file:
        for line in file.read().splitlines():
            value = None
            with suppress(ValueError, RecursionError):
                value = json.loads(line) if len(line) <= LINE_BYTES else None
            yield value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a last line that was cut off is left out, and one that no epoch can have written."""
    return [each for each in _lines(path) if isinstance(each, dict)]


def read_curve(path: Path) -> tuple[tuple[EpochPoint, ...], int]:
    """The epochs of a log, and how many of its lines are none: no object, or with figures that no epoch can have."""
    from pydantic import TypeAdapter, ValidationError

    points, kind, lines = [], TypeAdapter(EpochPoint), list(_lines(path))
    for line in lines:
        with suppress(ValidationError):
            points.append(kind.validate_python(line))
    kept = tuple(point for point in points if _can_be(point))
    return kept, len(lines) - len(kept)


def _can_be(point: EpochPoint) -> bool:
    shares = (point.train_accuracy, point.val_accuracy or 0.0)
    figures = [each or 0 for each in vars(point).values()]
    return point.epoch >= 1 and all(0 <= each < MOST for each in figures) and max(shares) <= 1


def check_arrays(
    arrays: Mapping[str, np.ndarray[Any, Any]], kinds: Mapping[str, str], path: Path, try_: str = AGAIN
) -> None:
    """Each array has the kind of values and the dimensions that `kinds` says ("f2"), and all are equally long."""
    odd = [name for name, kind in kinds.items() if f"{arrays[name].dtype.kind}{arrays[name].ndim}" != kind]
    if odd or len({len(arrays[name]) for name in kinds}) != 1:
        found = ", ".join(f"{name} {arrays[name].dtype} {arrays[name].shape}" for name in odd or kinds)
        raise StoreError(f"{path} is damaged: its arrays do not fit together: {found}", try_=try_)


def check_range(
    arrays: Mapping[str, np.ndarray[Any, Any]], name: str, limit: int, path: Path, try_: str = AGAIN
) -> None:
    """Every value of an array lies from 0 to below `limit`."""
    outside = arrays[name][(arrays[name] < 0) | (arrays[name] >= limit)]
    if len(outside):
        raise StoreError(f"{path} is damaged: {name} holds {outside[0]}", try_=try_)


def json_object(text: np.ndarray[Any, Any], path: Path) -> dict[str, Any]:
    """The object that an array of text holds as JSON; StoreError where it holds none."""
    try:
        head = json.loads(str(text))
    except (ValueError, RecursionError) as reason:
        raise StoreError(f"{path} is damaged: {reason}", try_=AGAIN) from reason
    if not isinstance(head, dict):
        raise StoreError(f"{path} is damaged: its head is no object", try_=AGAIN)
    return head
