"""Image files to pixels: decoded in parallel, all of one size and RGB, in an order that no file system changes."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from bench.contracts import SIZE, Progress
from bench.data.archives import members_of
from bench.data.layout import BATCHES, LAYOUT, SPLITS, Layout, Member, reason_of, shown
from bench.errors import DataError

MAX_PIXELS = 64_000_000  # of one image, told by its header before it is decoded
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")  # no format that runs a program
CHUNK = 128  # files a task; a task costs about as much as one small image
CHUNK_BYTES = 8 * 2**20

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """One split: images (N, 3, size, size) uint8, labels (N,) int64, N names."""

    images: Pixels
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Decoded:
    """A data set in memory, before anything is computed from it.

    Attributes:
        skipped: files that could not be read and were left out.
    """

    classes: tuple[str, ...]
    train: Part
    test: Part
    notes: tuple[str, ...] = ()
    skipped: int = 0


@dataclass(frozen=True)
class _Picture:
    """One decoded file; `pixels` is None where it could not be decoded, and `problem` says why."""

    of: Member
    pixels: Pixels | None = None
    size: tuple[int, int] = (SIZE, SIZE)
    converted: str = ""
    problem: str = ""


def read_images(path: Path, *, progress: Progress, skip_bad: bool = False, size: int = SIZE) -> Decoded:
    """Decode a folder or an archive of `train/<class>/*` and `test/<class>/*`.

    Classes are byte-sorted and so are names, whose position is the id: a folder and its archive come out equal.

    Args:
        path: the folder or the archive; read once, front to back, nothing is written.
        progress: told the bytes read and the images decoded.
        skip_bad: leave out files that cannot be decoded, and count them in a note.
        size: pixels an edge that every image is brought to.

    Returns:
        Images as (N, 3, size, size) uint8; other sizes are resized (bilinear, antialiased), other modes become RGB.

    Raises:
        DataError: a file cannot be decoded (named), the archive is corrupt or hostile, a split is empty, there is
            one class only, or the splits' classes differ.
    """
    layout = Layout(path)
    total, members = members_of(path, layout)
    kept: dict[str, list[_Picture]] = {split: [] for split in SPLITS}
    skipped: list[str] = []
    with progress.track(f"Reading {path.name} (KiB)", -(-total // 1024)) as task:
        done = 0
        for picture in _decoded(members, size):
            if picture.pixels is not None:
                kept[picture.of.split].append(picture)
            elif skip_bad:
                skipped.append(picture.of.name)
            else:
                raise DataError(
                    f"{shown(picture.of.name)} in {path} cannot be decoded: {picture.problem}",
                    try_="--skip-bad goes on without such files and counts them",
                )
            if picture.of.done // 1024 > done:
                images = sum(map(len, kept.values()))
                task.advance(picture.of.done // 1024 - done, note=f"{images:,} images")
                done = picture.of.done // 1024
        task.advance(max(0, -(-total // 1024) - done))
    classes = _common_classes(kept, layout)
    notes = _notes([picture for split in SPLITS for picture in kept[split]], skipped, layout, size)
    train, test = (_part(kept.pop(split), classes, size) for split in SPLITS)
    return Decoded(classes, train, test, notes, len(skipped))


def decode(content: bytes, edge: int = SIZE) -> tuple[Pixels, tuple[int, int], str]:
    """One image file as ((3, edge, edge) uint8, its own (width, height), what its mode was unless RGB).

    Raises:
        ValueError: more than MAX_PIXELS.
        Exception: whatever Pillow raises on bytes that are no image.
    """
    with Image.open(BytesIO(content), formats=FORMATS) as opened:
        size = opened.size
        if size[0] * size[1] > MAX_PIXELS:
            raise ValueError(f"{size[0]}x{size[1]} pixels, the bound is {MAX_PIXELS:,}")
        image: Image.Image = ImageOps.exif_transpose(opened) if "exif" in opened.info else opened
        mode = image.mode if "transparency" not in image.info else "RGBA"
        image = as_rgb(image)
    if image.size != (edge, edge):
        image = image.resize((edge, edge), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels), size, "" if mode == "RGB" else mode


def enlarged(decoded: Decoded, edge: int) -> Decoded:
    """A data set that is not read from image files, its images brought to another size, with a note that says so."""
    if decoded.train.images.shape[2:] == (edge, edge):
        return decoded
    train, test = (
        replace(part, images=np.stack([resized(each, edge) for each in part.images]))
        for part in (decoded.train, decoded.test)
    )
    was = "x".join(map(str, decoded.train.images.shape[2:]))
    note = f"all images resized to {edge}x{edge} from {was} (bilinear)"
    return replace(decoded, train=train, test=test, notes=(*decoded.notes, note))


def thumbnail(picture: npt.NDArray[Any]) -> bytes:
    """(h, w, 3) uint8 as SIZE * SIZE * 3 bytes, which is what a gallery shows of an image of any size."""
    if picture.shape[:2] == (SIZE, SIZE):
        return bytes(picture.tobytes())
    return Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BILINEAR).tobytes()


def resized(pixels: Pixels, edge: int) -> Pixels:
    """(3, h, w) uint8 to (3, edge, edge)."""
    image = Image.fromarray(pixels.transpose(1, 2, 0)).resize((edge, edge), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def as_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB; ValueError for one whose values have no agreed range."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip instead of scale
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _decoded(members: Iterable[Member], edge: int) -> Iterator[_Picture]:
    """Pictures in the members' order; few chunks are in flight, so memory does not grow with the archive."""
    workers = min(8, os.cpu_count() or 1)
    waiting: deque[Future[list[_Picture]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        for chunk in _chunks(members):
            waiting.append(pool.submit(_decode_chunk, chunk, edge))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _chunks(members: Iterable[Member]) -> Iterator[list[Member]]:
    chunk: list[Member] = []
    start = 0
    for member in members:
        chunk.append(member)
        if len(chunk) == CHUNK or member.done - start > CHUNK_BYTES:
            yield chunk
            chunk, start = [], member.done
    yield chunk


def _decode_chunk(chunk: list[Member], edge: int) -> list[_Picture]:
    return [_decode_member(member, edge) for member in chunk]


def _decode_member(member: Member, edge: int) -> _Picture:
    try:
        return _Picture(member, *decode(member.read(), edge))
    except Exception as error:  # Pillow's plug-ins raise about anything on hostile bytes
        return _Picture(member, problem=reason_of(error))


def _common_classes(kept: dict[str, list[_Picture]], layout: Layout) -> tuple[str, ...]:
    labels = {split: {picture.of.label for picture in pictures} for split, pictures in kept.items()}
    if layout.batches and not any(labels.values()):
        raise DataError(
            f"{layout.source} holds {BATCHES}, which is read from a folder only",
            try_=f"unpack it and name the folder that holds {BATCHES}",
        )
    for split in SPLITS:
        if not labels[split]:
            raise DataError(f"{layout.source} holds no image in {split}/<class>/", try_=f"a layout of {LAYOUT}")
    for split, other in (SPLITS, SPLITS[::-1]):
        if missing := labels[split] - labels[other]:
            first = min(missing, key=str.encode)
            raise DataError(
                f"class {shown(first)} of {layout.source} has images in {split} and none in {other}"
                f" ({len(missing)} such class{'es' if len(missing) > 1 else ''})",
                try_="the same classes in train and in test",
            )
    return tuple(sorted(labels["train"], key=str.encode))


def _part(pictures: list[_Picture], classes: tuple[str, ...], size: int) -> Part:
    pictures.sort(key=lambda picture: picture.of.name.encode())
    number = {name: index for index, name in enumerate(classes)}
    images = np.empty((len(pictures), 3, size, size), np.uint8)
    for row, picture in zip(images, pictures, strict=True):
        if picture.pixels is not None:
            row[:] = picture.pixels
    labels = np.array([number[picture.of.label] for picture in pictures], np.int64)
    return Part(images, labels, tuple(picture.of.name for picture in pictures))


def _notes(kept: list[_Picture], skipped: list[str], layout: Layout, edge: int) -> tuple[str, ...]:
    """What was done to the images on the way."""
    notes = []
    others = Counter(picture.size for picture in kept if picture.size != (edge, edge))
    if others:
        width, height = max(others, key=others.__getitem__)
        most = f"{width}x{height}" if len(others) == 1 else f"{len(others):,} sizes, most of them {width}x{height}"
        squeezed = ", proportions not kept" if any(width != height for width, height in others) else ""
        notes.append(
            f"{sum(others.values()):,} images resized to {edge}x{edge} from {most} (bilinear, antialiased{squeezed})"
        )
    converted = Counter(picture.converted for picture in kept if picture.converted)
    if converted:
        modes = ", ".join(f"{count:,} {mode}" for mode, count in sorted(converted.items()))
        notes.append(f"{sum(converted.values()):,} images converted to RGB ({modes}; alpha is dropped)")
    if skipped:
        notes.append(f"{len(skipped):,} unreadable files skipped, the first {shown(skipped[0])}")
    if layout.ignored:
        notes.append(f"{layout.ignored:,} other files ignored")
    return tuple(notes)
