"""Data sets in one .npz file of arrays, as Keras and MedMNIST give them; read row by row, nothing is unpickled."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from bench.contracts import SIZE, Progress
from bench.data.archives import CORRUPT
from bench.data.decoding import MAX_PIXELS, Pixels, resized, scaled
from bench.data.images import Decoded, Part, check_memory, in_levels, inventory
from bench.data.layout import OWN_TEST, SPLITS, Row, parted, reason_of, shown
from bench.data.lists import split_of
from bench.errors import DataError
from bench.whole_file import npy_header

IMAGES = ("x", "image", "images", "img", "imgs", "data", "pictures", "pixels")
LABELS = ("y", "label", "labels", "target", "targets")
NAMES = ("class_names", "classes", "label_names", "names")
MAX_SMALL = 2**28  # bytes of labels and names
AT_ONCE = 2**24  # bytes of images that are read together
KEYS = "x_train, y_train, x_test, y_test, or images, labels, or train_images, train_labels and so on"

Values = npt.NDArray[Any]
Arrays = Mapping[tuple[str, str], "Stored"]  # by what they are (images, labels, names) and their split


@dataclass(frozen=True)
class Stored:
    """An array in the file, as its header declares it."""

    file: zipfile.ZipFile
    entry: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool


def is_arrays(path: Path) -> bool:
    """Whether a file is an .npz file, whatever it is called."""
    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except CORRUPT:  # told by who reads it as an archive
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_arrays(path: Path, *, progress: Progress, size: int = SIZE) -> Decoded:
    """The images and labels of an .npz file.

    Args:
        path: the file; what its headers declare is checked before memory is taken.
        progress: told how many images were brought to their size.
        size: pixels an edge that every image is brought to.

    Raises:
        DataError: the file is damaged, holds objects, or no images and labels that belong together.
    """
    try:
        with zipfile.ZipFile(path) as file:
            return _read(path, _stored(file), progress, size)
    except CORRUPT as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}", try_=f"the arrays {KEYS}") from error


def _read(path: Path, arrays: Arrays, progress: Progress, size: int) -> Decoded:
    labels = {
        split: _labels(arrays, split) for kind, split in arrays if kind == "images" and ("labels", split) in arrays
    }
    rows, notes = _rows(path, labels)
    used = sorted({split for split, _ in rows.values()})
    total = sum(len(ids) for _, ids in rows.values())
    check_memory(total, size)
    classes, names = _classes(arrays, [label for split in used for label in labels[split]])
    levels = _levels(arrays, used)
    with progress.track(f"Reading {path.name} (images)", total) as task:
        parts = []
        for part, (split, ids) in rows.items():
            images = np.empty((len(ids), 3, size, size), np.uint8)
            place = {each: row for row, each in enumerate(ids)}
            for at, image in enumerate(_images(arrays["images", split])):
                if at in place:
                    images[place[at]] = _brought(image, size, levels)
                    task.advance()
            numbers = np.array([classes[labels[split][each]] for each in ids], np.int64)
            words = (f"{part}/{names[number]}/{each:05}" for number, each in zip(numbers.tolist(), ids, strict=True))
            parts.append(Part(images, numbers, tuple(words)))
    left = Counter({f"in {split}": len(each) for split, each in labels.items() if split not in used})
    taken = len(parts[0].labels), len(parts[1].labels), len(names)
    told = inventory(sum(map(len, labels.values())), taken, left, what="images")
    shape = arrays["images", rows["train"][0]].shape[1:]
    if size not in shape[:2] and size not in shape[1:]:
        notes.append(f"all images brought to {size}x{size} from arrays of {shape} (bilinear)")
    if levels:
        notes.append(in_levels(total, levels))
    return Decoded(names, parts[0], parts[1], tuple(notes), 0, told, levels)


def _rows(path: Path, labels: Mapping[str, Sequence[Any]]) -> tuple[dict[str, tuple[str, list[int]]], list[str]]:
    """Which rows of which split train and test, and words on it."""
    train = "train" if "train" in labels else ""
    if train not in labels:
        there = " and ".join(filter(None, labels)) or "nothing"
        raise DataError(f"{path} holds no images with labels to train on, but {there}", try_=f"the arrays {KEYS}")
    test = next((split for split in ("test", "val") if split in labels), "")
    if test:
        rows = {"train": (train, list(range(len(labels[train])))), "test": (test, list(range(len(labels[test]))))}
        unused = f"{test} is the test set" + ("; val is not used" if test != "val" else "")
        return rows, [unused] if "val" in labels else []
    places = {str(at): Row(f"{label}/{at}", label=str(label)) for at, label in enumerate(labels[train])}
    found = parted(places)
    return {part: (train, [at for at in range(len(found)) if found[str(at)].split == part]) for part in SPLITS}, [
        OWN_TEST
    ]


# --- arrays -------------------------------------------------------------------------------------------------


def _stored(file: zipfile.ZipFile) -> Arrays:
    """The arrays whose names say what they are."""
    found: dict[tuple[str, str], Stored] = {}
    for entry in file.infolist():
        name = entry.filename.removesuffix(".npy").lower()
        words = re.sub(r"^(x|y)(train|val|test)$", r"\1_\2", name).split("_")
        splits = [split_of(word) for word in words if split_of(word)]
        rest = {word for word in words if not split_of(word)}
        kind = "names" if name in NAMES else "images" if rest & set(IMAGES) else "labels" if rest & set(LABELS) else ""
        if kind:
            found.setdefault((kind, "".join(splits[:1])), _declared(file, entry))
    return found


def _declared(file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Stored:
    """An array by its header, which must agree with the bytes there are."""
    with file.open(entry) as stream:
        shape, fortran, dtype = npy_header(stream)
        start = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{shown(entry.filename)} contains Python objects, which bench does not unpickle")
    if any(length < 0 for length in shape) or start + dtype.itemsize * _count(shape) != entry.file_size:
        raise ValueError(f"{shown(entry.filename)} declares {shape} of {dtype} and has {entry.file_size:,} bytes")
    return Stored(file, entry, shape, dtype, fortran)


def _count(shape: Sequence[int]) -> int:
    total = 1
    for length in shape:
        total *= length  # Python's own integers do not overflow
    return total


def _blocks(stored: Stored, most: int) -> Iterator[Values]:
    """Rows of an array, at most `most` bytes at once, or one row."""
    each = stored.dtype.itemsize * _count(stored.shape[1:])
    with stored.file.open(stored.entry) as stream:
        npy_header(stream)
        if stored.fortran and len(stored.shape) > 1:
            check_memory(0, 0, more=each * stored.shape[0])
            content = np.frombuffer(_exactly(stream, each * stored.shape[0]), stored.dtype)
            yield content.reshape(stored.shape[::-1]).T
            return
        at_once = max(1, most // max(1, each))
        for start in range(0, stored.shape[0], at_once):
            count = min(at_once, stored.shape[0] - start)
            yield np.frombuffer(_exactly(stream, count * each), stored.dtype).reshape(count, *stored.shape[1:])


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise ValueError("it ends too early")
    return content


# --- labels -------------------------------------------------------------------------------------------------


def _small(stored: Stored) -> Values:
    if stored.entry.file_size > MAX_SMALL:
        raise ValueError(
            f"{shown(stored.entry.filename)} has {stored.entry.file_size:,} bytes; the limit is {MAX_SMALL:,}"
        )
    return np.concatenate([*_blocks(stored, MAX_SMALL), np.empty((0, *stored.shape[1:]), stored.dtype)])


def _labels(arrays: Arrays, split: str) -> list[Any]:
    """The label of each image, a number or text."""
    stored, images = arrays["labels", split], arrays["images", split]
    if not stored.shape or not images.shape or stored.shape[0] != images.shape[0]:
        raise ValueError(f"{images.shape} images and {stored.shape} labels do not fit together")
    values = _small(stored)
    if values.ndim == 2 and values.shape[1] > 1:
        if not (np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()):
            raise ValueError(
                f"labels of {values.shape[1]} columns mean several classes for each image, which bench does not support"
            )
        values = values.argmax(axis=1)
    values = values.reshape(len(values), -1)[:, 0] if values.ndim > 1 else values
    if values.dtype.kind == "f" and (not np.isfinite(values).all() or (values != values.round()).any()):
        raise ValueError("its labels are not class numbers")
    if values.dtype.kind == "S":
        return [each.decode("utf-8", "backslashreplace") for each in values.tolist()]
    return list(values.tolist()) if values.dtype.kind == "U" else [int(each) for each in values.tolist()]


def _classes(arrays: Arrays, labels: Sequence[Any]) -> tuple[dict[Any, int], tuple[str, ...]]:
    """The number of each label, in the labels' order, and the names of the classes."""
    found = sorted(set(labels), key=lambda label: label.encode() if isinstance(label, str) else label)
    numbers = {label: place for place, label in enumerate(found)}
    named = [str(each) for each in _small(arrays["names", ""]).ravel().tolist()] if ("names", "") in arrays else []
    if len(set(named)) == len(named) and all(isinstance(one, int) and 0 <= one < len(named) for one in found):
        return numbers, tuple(named[label] for label in found)
    return numbers, tuple(str(label) for label in found)


# --- images -------------------------------------------------------------------------------------------------


def _images(stored: Stored) -> Iterator[Values]:
    """(h, w) or (h, w, 3) of each row, of whatever type it has."""
    shape = stored.shape[1:]
    edge = round(_count(shape) ** 0.5)
    if len(shape) == 1 and edge**2 == shape[0]:
        shape = (edge, edge)  # flattened, as scikit-learn's digits
    first = len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3, 4)  # channels come first
    channels = 1 if len(shape) == 2 else shape[0] if first else shape[-1] if len(shape) == 3 else 0
    if channels not in (1, 3, 4) or not 0 < _count(shape) <= 4 * MAX_PIXELS:
        raise ValueError(
            f"{shown(stored.entry.filename)} of shape {stored.shape} holds no images (N, height, width, 1 or 3)"
        )
    for block in _blocks(stored, AT_ONCE):
        for row in block.reshape(len(block), *shape):
            image = row.transpose(1, 2, 0) if first else row
            yield image[..., 0] if channels == 1 and image.ndim == 3 else image[..., :3] if image.ndim == 3 else image


def _levels(arrays: Arrays, splits: Sequence[str]) -> tuple[float, ...]:
    """The range of all images, where they are not numbers from 0 to 255 already."""
    ends: list[tuple[float, float]] = []
    for split in splits:
        stored = arrays["images", split]
        if stored.dtype.kind not in "biuf":
            raise ValueError(f"{shown(stored.entry.filename)} holds {stored.dtype}, no pixels")
        if stored.dtype == np.uint8:
            continue
        ends += [(float(block.min()), float(block.max())) for block in _blocks(stored, AT_ONCE) if block.size]
    if not all(np.isfinite(end) for pair in ends for end in pair):
        raise ValueError("it holds values that are not finite")
    low, high = min((low for low, _ in ends), default=0), max((high for _, high in ends), default=255)
    whole = all(arrays["images", split].dtype.kind in "iu" for split in splits)
    return () if whole and low >= 0 and high <= 255 else (float(low), float(high))


def _brought(image: Values, size: int, levels: tuple[float, ...]) -> Pixels:
    channels = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    pixels = (
        scaled(channels, levels) if levels else np.broadcast_to(channels.astype(np.uint8), (3, *channels.shape[1:]))
    )
    return np.asarray(pixels) if pixels.shape[1:] == (size, size) else resized(np.ascontiguousarray(pixels), size)
