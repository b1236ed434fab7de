"""Image files to pixels: decoded in parallel, all of one size and RGB, in an order that no file system changes."""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.contracts import SIZE, Progress
from bench.data.archives import Member, bytes_of, listing_of, members_of
from bench.data.decoding import Picture, Pixels, Values, decode, missing_plugin, resized, scaled, suffix_of
from bench.data.layout import SPLITS, Listing, Place, Plan, plan_of, reason_of, shown
from bench.errors import DataError

CHUNK = 128  # files a task; a task costs about as much as one small image
CHUNK_BYTES = 8 * 2**20
SKIP = "--skip-bad skips such files and counts them"


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
        inventory: what was found, taken and left out, in one line.
        levels: the two values of deep pictures that became 0 and 255; empty where all have 8 bits.
    """

    classes: tuple[str, ...]
    train: Part
    test: Part
    notes: tuple[str, ...] = ()
    skipped: int = 0
    inventory: str = ""
    levels: tuple[float, ...] = ()


def planned_images(path: Path, *, skip_bad: bool = False) -> Decoded:
    """What `read_images` would give as far as names tell, without a pixel: images are (N, 3, 0, 0)."""
    listing = listing_of(path)
    plan = plan_of(listing)
    if not skip_bad:
        _check_plan(plan, listing)
    reading = _Reading(plan, 0)
    reading.count = len(plan.places)
    for taken in reading.taken.values():
        taken[:] = True
    return reading.decoded(path, skip_bad=skip_bad)


def read_images(path: Path, *, progress: Progress, skip_bad: bool = False, size: int = SIZE) -> Decoded:
    """Decode a folder or an archive of pictures, whose classes are told by folders or by a list.

    Classes are byte-sorted and so are names, whose position is the id: a folder and its archive come out equal.

    Args:
        path: the folder or the archive; nothing is written.
        progress: told the bytes read and the images decoded.
        skip_bad: leave out files that cannot be decoded and classes that come to nothing, and say so.
        size: pixels an edge that every image is brought to.

    Returns:
        Images as (N, 3, size, size) uint8; other sizes are resized (bilinear, antialiased), other modes become RGB.

    Raises:
        DataError: a file cannot be decoded (named), the archive is corrupt or hostile, there is nothing to train on,
            or the splits' classes differ.
    """
    listing = listing_of(path)
    plan = plan_of(listing)
    if not skip_bad:
        _check_plan(plan, listing)
    check_memory(len(plan.places), size)
    reading = _Reading(plan, size)
    total = -(-bytes_of(listing, plan.places) // 1024)
    with progress.track(f"Reading {path.name} (KiB)", total) as task:
        done = 0
        for member, outcome in _decoded(members_of(listing, plan.places), size):
            if isinstance(outcome, Picture):
                reading.take(member.path, outcome)
            elif skip_bad:
                reading.skipped[plan.places[member.path].name] = outcome
            else:
                raise DataError(
                    f"{shown(plan.places[member.path].name)} in {path} cannot be decoded: {outcome}", try_=SKIP
                )
            if member.done // 1024 > done:
                task.advance(member.done // 1024 - done, note=f"{reading.count:,} images")
                done = member.done // 1024
        task.advance(max(0, total - done))
    return reading.decoded(path, skip_bad=skip_bad)


def _check_plan(plan: Plan, listing: Listing) -> None:
    """Refuse what is known to fail before anything is decoded."""
    for label, held in plan.vanished.items():
        raise DataError(
            f"class {shown(label)} of {listing.source} holds no picture, only {held}"
            + (f" ({len(plan.vanished)} such classes)" if len(plan.vanished) > 1 else ""),
            try_="images for it, or --skip-bad, which skips the class and says so",
        )
    missing: Counter[str] = Counter()
    first = ""
    for file in listing.files:
        if file.path in plan.places:
            package = missing_plugin(suffix_of(file.path), file.head)
            missing[package] += bool(package)
            first = first or (file.path if package else "")
    if first:
        package, _ = missing.most_common(1)[0]
        count = missing.total()
        raise DataError(
            f"{shown(first)} in {listing.source} is a picture that needs the plug-in {package}, which is not installed "
            f"({count:,} such file{'s' if count > 1 else ''})",
            try_=f"pip install {package}, or --skip-bad, which skips such files and counts them",
        )


def check_memory(count: int, size: int, *, more: int = 0) -> None:
    """Refuse what memory does not hold, rather than be killed half-way: images and `more` bytes."""
    wanted, free = 3 * count * size**2 + more, free_memory()
    if free is not None and wanted > free:
        each, edge = 3 * size**2, math.isqrt(free // (3 * count)) if count else 0
        raise DataError(
            f"{count:,} images of {size}x{size} take {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free",
            try_=f"at most {free // each:,} of these images, or --image-size {edge}, or a machine with more memory"
            if count
            else "fewer images",
        )


def free_memory() -> int | None:
    """Bytes that can be taken; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


class _Reading:
    """Pictures as they come, each put where it belongs; memory is taken once, for what was planned."""

    def __init__(self, plan: Plan, size: int) -> None:
        self.plan, self.size, self.count = plan, size, 0
        ordered = sorted(plan.places.items(), key=lambda item: item[1].name.encode())
        self.places: dict[str, list[Place]] = {
            split: [place for _, place in ordered if place.split == split] for split in SPLITS
        }
        self.rows = {name: row for split in SPLITS for row, name in enumerate(each.name for each in self.places[split])}
        self.images = {split: np.empty((len(self.places[split]), 3, size, size), np.uint8) for split in SPLITS}
        self.taken = {split: np.zeros(len(self.places[split]), np.bool_) for split in SPLITS}
        self.deep: dict[tuple[str, int], Values] = {}
        self.ends: list[tuple[float, ...]] = []
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.modes: Counter[str] = Counter()
        self.animated = 0
        self.skipped: dict[str, str] = {}  # why, by name

    def take(self, path: str, picture: Picture) -> None:
        """One more picture."""
        place = self.plan.places[path]
        row = self.rows[place.name]
        if picture.ends:
            self.deep[place.split, row] = np.asarray(picture.pixels, np.float32)
            self.ends.append(picture.ends)
        else:
            self.images[place.split][row] = picture.pixels
        self.taken[place.split][row] = True
        self.count += 1
        self.sizes[picture.size] += picture.size != (self.size, self.size)
        self.modes[picture.mode] += bool(picture.mode) and not picture.ends
        self.animated += picture.animated

    def decoded(self, path: Path, *, skip_bad: bool) -> Decoded:
        """The data set, with what was done to it in words."""
        levels = (min(low for low, _ in self.ends), max(high for _, high in self.ends)) if self.ends else ()
        for (split, row), values in self.deep.items():
            self.images[split][row] = scaled(values, levels)
        classes, lost = self._classes(path, skip_bad=skip_bad)
        train, test = (self._part(split, classes) for split in SPLITS)
        return Decoded(
            classes,
            train,
            test,
            (*self._notes(levels), *lost, *_alike(classes)),
            len(self.skipped) + len(lost),
            self._inventory(train, test, classes),
            levels,
        )

    def _classes(self, path: Path, *, skip_bad: bool) -> tuple[tuple[str, ...], list[str]]:
        """Classes that both splits have, byte-sorted, and words on those that are left out."""
        counts = {
            split: Counter(
                place.label for place, taken in zip(self.places[split], self.taken[split], strict=True) if taken
            )
            for split in SPLITS
        }
        train, test = (set(counts[split]) for split in SPLITS)
        for split, found in zip(SPLITS, (train, test), strict=True):
            if not found:
                raise DataError(f"{path} holds no image in {split}/<class>/ that can be read", try_=f"ls {path}")
        lacking = {"in train but none in test": train - test, "in test but none in train": test - train}
        if any(lacking.values()) and not skip_bad:
            raise DataError(f"{path} has {_differing(lacking)}", try_=_same_classes(train, test))
        lost = [
            f"class {shown(label)} left out: {sum(counts[split][label] for split in SPLITS):,} images {where}"
            for where, labels in lacking.items()
            for label in sorted(labels, key=str.encode)
        ]
        lost += [
            f"class {shown(label)} left out: no picture, only {held}" for label, held in self.plan.vanished.items()
        ]
        gone = {place.label for split in SPLITS for place in self.places[split]} - train - test
        lost += [
            f"class {shown(label)} left out: none of its files can be read" for label in sorted(gone, key=str.encode)
        ]
        return tuple(sorted(train & test, key=str.encode)), lost

    def _part(self, split: str, classes: tuple[str, ...]) -> Part:
        number = {name: index for index, name in enumerate(classes)}
        places, images = self.places[split], self.images.pop(split)
        keep = self.taken[split] & np.array([place.label in number for place in places], np.bool_)
        if not keep.all():
            images = images[keep]
        kept = [place for place, taken in zip(places, keep, strict=True) if taken]
        labels = np.array([number[place.label] for place in kept], np.int64)
        return Part(images, labels, tuple(place.name for place in kept))

    def _notes(self, levels: tuple[float, ...]) -> Iterator[str]:
        """What was done to the images on the way."""
        yield from self.plan.notes
        others = +self.sizes
        if others:
            width, height = max(others, key=others.__getitem__)
            most = f"{width}x{height}" if len(others) == 1 else f"{len(others):,} sizes, most of them {width}x{height}"
            squeezed = ", proportions not kept" if any(width != height for width, height in others) else ""
            yield (
                f"{others.total():,} images resized to {self.size}x{self.size} from {most} "
                f"(bilinear, antialiased{squeezed})"
            )
        if levels:
            yield in_levels(len(self.ends), levels)
        converted = +self.modes
        if converted:
            modes = ", ".join(f"{count:,} {mode}" for mode, count in sorted(converted.items()))
            alpha = "; alpha is dropped" if any("A" in mode or "a" in mode for mode in converted) else ""
            yield f"{converted.total():,} images converted to RGB ({modes}{alpha})"
        if self.animated:
            yield f"of {self.animated:,} animated images the first frame is taken"
        if self.skipped:
            first = min(self.skipped, key=str.encode)
            yield f"{len(self.skipped):,} unreadable files skipped, the first {shown(first)} ({self.skipped[first]})"

    def _inventory(self, train: Part, test: Part, classes: tuple[str, ...]) -> str:
        """What was found, taken and left out, in one line."""
        left = Counter(self.plan.left_out)
        left["unreadable"] += len(self.skipped)
        left["of classes left out"] += self.count - len(train.labels) - len(test.labels)
        return inventory(self.plan.found, (len(train.labels), len(test.labels), len(classes)), left)


def inventory(found: int, taken: tuple[int, int, int], left_out: Mapping[str, int], *, what: str = "files") -> str:
    """Files found, images taken for (train, test, classes) and what was left out and why, in one line."""
    words = [
        f"{count:,} {each.replace('folders ', 'folder ', 1) if count == 1 else each}"
        for each, count in sorted(left_out.items(), key=lambda item: -item[1])
        if count
    ]
    left = f"; left out: {', '.join(words[:12])}" + (f" and {len(words) - 12} more kinds" if len(words) > 12 else "")
    train, test, classes = taken
    return (
        f"{found:,} {what} found, {train:,} + {test:,} images of {classes:,} classes taken for training and testing"
        + (left if words else "")
    )


def in_levels(count: int, levels: tuple[float, ...]) -> str:
    """How pictures of more than 8 bits became such of 8, in words."""
    low, high = (f"{level:,.0f}" if float(level).is_integer() else f"{level:.4g}" for level in levels)
    return f"{count:,} images of more than 8 bits (16-bit): their values {low} to {high} became 0 to 255"


def _differing(lacking: Mapping[str, set[str]]) -> str:
    """Classes that only one split has, in words."""
    words = []
    for where, labels in lacking.items():
        names = ", ".join(shown(label) for label in sorted(labels, key=str.encode)[:5])
        more = f" and {len(labels) - 5:,} more" if len(labels) > 5 else ""
        if labels:
            words.append(f"{'classes' if len(labels) > 1 else 'class'} {names}{more} with images {where}")
    return "; ".join(words)


def _same_classes(train: set[str], test: set[str]) -> str:
    """What to do about classes that only one split has."""
    folded = {label.casefold() for label in train - test} & {label.casefold() for label in test - train}
    if folded:
        return "the same capital letters in train and in test"
    return "the same classes in train and in test, or --skip-bad, which leaves such classes out and says so"


def _alike(classes: tuple[str, ...]) -> Iterator[str]:
    """Words on classes whose names differ in capital letters alone."""
    same: dict[str, list[str]] = {}
    for name in classes:
        same.setdefault(name.casefold(), []).append(name)
    for names in same.values():
        if len(names) > 1:
            yield f"classes {' and '.join(map(shown, names))} differ in capital letters alone and stay apart"


def enlarged(decoded: Decoded, edge: int) -> Decoded:
    """A data set that is not read from image files, its images brought to another size, with a note that says so."""
    if decoded.train.images.shape[2:] == (edge, edge):
        return decoded
    check_memory(len(decoded.train.images) + len(decoded.test.images), edge)

    def at_edge(part: Part) -> Part:
        images = np.empty((len(part.images), part.images.shape[1], edge, edge), np.uint8)
        for row, each in enumerate(part.images):
            images[row] = resized(each, edge)
        return replace(part, images=images)

    train, test = map(at_edge, (decoded.train, decoded.test))
    was = "x".join(map(str, decoded.train.images.shape[2:]))
    note = f"all images resized to {edge}x{edge} from {was} (bilinear)"
    return replace(decoded, train=train, test=test, notes=(*decoded.notes, note))


# --- decoding in parallel -----------------------------------------------------------------------------------


def _decoded(members: Iterable[Member], edge: int) -> Iterator[tuple[Member, Picture | str]]:
    """Pictures, or why there are none, in the members' order; few chunks are in flight, so memory does not grow."""
    workers = min(8, os.cpu_count() or 1)
    waiting: deque[Future[list[tuple[Member, Picture | str]]]] = deque()
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


def _decode_chunk(chunk: list[Member], edge: int) -> list[tuple[Member, Picture | str]]:
    return [(member, _picture_or_problem(member, edge)) for member in chunk]


def _picture_or_problem(member: Member, edge: int) -> Picture | str:
    try:
        return decode(member.read(), edge, suffix_of(member.path))
    except Exception as error:  # Pillow's plug-ins raise about anything on hostile bytes
        return reason_of(error)
