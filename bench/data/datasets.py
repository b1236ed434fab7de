"""Data sets by name or path, decoded once, with the statistics and the identity that travel with a checkpoint."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from bench.contracts import SIZE, Dataset, Progress, Split
from bench.errors import DataError, UsageError
from bench.homes import at, homeless

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.data.cache import Cached
    from bench.data.images import Decoded, Part

BUILTIN: Mapping[str, str] = MappingProxyType(
    {
        "cifar10": "50,000 + 10,000 photographs of ten classes; downloaded by torchvision (170 MB) where not yet there",
        "digits": "1,437 + 360 handwritten digits, bundled with scikit-learn: nothing to download, not mirrored",
    }
)
PIXELS_AT_ONCE = 2**22
ARCHIVE_SUFFIX = re.compile(r"(\.tar)?(\.gz|\.tgz|\.xz|\.bz2|\.zip|\.tar|\.npz)$", re.IGNORECASE)


def load_dataset(
    source: str,
    *,
    cache: Path,
    progress: Progress,
    skip_bad: bool = False,
    cifar10_url: str | None = None,
    size: int = SIZE,
) -> Dataset:
    """The data set of a name or a path, decoded; from the cache where it was decoded before.

    Args:
        source: `cifar10`, `digits`, or a path: a folder or archive (.tar, .tar.gz, .tgz, .tar.xz, .zip) of pictures
            whose classes folders or lists tell, or a folder with torchvision's cifar-10-batches-py. A name wins over
            a path; `./digits` is a folder.
        cache: folder for downloads and decoded images.
        progress: told about downloading and decoding.
        skip_bad: leave out files that cannot be decoded, and say so in the notes.
        size: pixels an edge that every image is brought to; the identity of the data depends on it.
        cifar10_url: another address of cifar-10-python.tar.gz; the MD5 sums stay torchvision's.

    Returns:
        Splits of (N, 3, size, size) uint8 with mean and standard deviation of the training split in 0..1.

    Raises:
        UsageError: a name that is neither known nor a path.
        DataError: the source is missing, corrupt or not a data set of at least two classes.
    """
    if source == "digits":
        from bench.data.digits import read_digits

        return _dataset(_measured(read_digits(size), source), name=source, source=source, mirror=False)
    from bench.data.arrays import is_arrays, read_arrays
    from bench.data.cache import cached
    from bench.data.cifar10 import cifar10, fetch, read_batches
    from bench.data.images import enlarged, read_images
    from bench.data.layout import BATCHES

    root, own = cache / "cifar10", source != "cifar10"
    path = _existing(source) if own else root / BATCHES
    batches = _batches_in(path)
    if not own and not batches:
        batches = fetch(cifar10(cifar10_url), root, progress=progress)

    def make() -> Cached:
        if not batches and is_arrays(path):
            return _measured(read_arrays(path, progress=progress, size=size), source)
        if not batches:
            return _measured(read_images(path, progress=progress, skip_bad=skip_bad, size=size), source)
        kind = cifar10(cifar10_url)
        if not own:
            fetch(kind, root, progress=progress)  # what is there may not be whole
        return _measured(enlarged(read_batches(kind, batches), size), source)

    decoded = cache / ("decoded" if size == SIZE else f"decoded-{size}")
    found = cached(decoded, batches or path, make, skip_bad=skip_bad, progress=progress)
    return _dataset(found, name=_slug(path) if own else source, source=source, mirror=True)


def planned_dataset(source: str, *, cache: Path, progress: Progress, skip_bad: bool = False) -> Dataset:
    """A data set as far as names tell: no image is decoded, none is downloaded, and statistics are made up.

    For a call that only says what it would do; as for the rest as `load_dataset`.
    """
    from bench.data.arrays import is_arrays
    from bench.data.cache import Cached
    from bench.data.images import Decoded, Part, planned_images

    path = None if source in BUILTIN else _existing(source)
    if source == "cifar10" and not _batches_in(cache / "cifar10"):
        import numpy as np

        train, test = (
            Part(np.empty((count, 3, 0, 0), np.uint8), np.arange(count) % 10, ("",) * count)
            for count in (50_000, 10_000)
        )
        decoded = Decoded(tuple("0123456789"), train, test)
    elif path is None or is_arrays(path) or _batches_in(path):
        return load_dataset(source, cache=cache, progress=progress, skip_bad=skip_bad)
    else:
        decoded = planned_images(path, skip_bad=skip_bad)
    _check(decoded, source)
    name = _slug(path) if path else source
    return _dataset(Cached(decoded, "", (0.5,) * 3, (0.25,) * 3), name=name, source=source, mirror=True)


def told(dataset: Dataset, progress: Progress) -> Dataset:
    """The data set, after everything was said of what was found, taken, left out and changed."""
    for words in filter(None, (dataset.inventory, *dataset.notes)):
        progress.say(words)
    return dataset


def resolved_source(source: str) -> str:
    """A source that means the same from every folder: a path that is there, in full; anything else as it is."""
    return source if source in BUILTIN or not at(source).exists() else homeless(str(at(source).resolve()))


def check_source(source: str) -> None:
    """UsageError for a name that is neither known nor a path, DataError for a path at which there is nothing."""
    if source not in BUILTIN:
        _existing(source)


def limit_balanced(labels: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """A seeded subset with as many images of each class as possible; the remainder goes to random classes.

    With one state of the generator a smaller subset is part of a larger one. A class that has too few images
    gives all of them, and the others make up for it.

    Args:
        labels: (N,) int64, of the training split.
        limit: images wanted; N or more gives all.
        generator: on the CPU.

    Returns:
        (min(limit, N),) int64 indices, ascending.

    Raises:
        UsageError: fewer images than classes.
    """
    import torch

    sizes = labels.bincount()
    classes = int((sizes > 0).sum())
    if limit < classes:
        raise UsageError(
            f"a limit of {limit} images leaves some of the {classes} classes out", try_=f"--limit {classes}"
        )
    order = torch.randperm(len(sizes), generator=generator)
    ranks = _ranks_in_class(labels, generator)
    # Deal the images out in rounds, one of each class a round, and stop at the limit.
    return (ranks * len(sizes) + order[labels]).argsort()[:limit].sort().values


def split_validation(labels: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A seeded, stratified split of the training images.

    Args:
        labels: (N,) int64.
        share: of each class that goes to validation, from 0 to below 1; 0 keeps everything for training.
        generator: on the CPU.

    Returns:
        Training and validation indices, int64, ascending. A class gives at least one image to validation unless
        it has only one or `share` is 0, and keeps at least one.

    Raises:
        UsageError: `share` is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise UsageError(f"a validation share of {share} is not in [0, 1)", try_="--val 0.1")
    sizes = labels.bincount()
    wanted = (sizes * share).round().long().clamp(min=1 if share else 0)
    chosen = _ranks_in_class(labels, generator) < wanted.minimum(sizes - 1)[labels]
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()


def _ranks_in_class(labels: Tensor, generator: torch.Generator) -> Tensor:
    """(N,) place of each image in a random order of its class's images."""
    import torch

    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    sizes = labels.bincount()
    starts = sizes.cumsum(0) - sizes
    ranks = torch.empty_like(labels)
    ranks[by_class] = torch.arange(len(labels)) - starts.repeat_interleave(sizes)
    return ranks


def _existing(source: str) -> Path:
    path = at(source)
    if source and path.exists():
        return path
    if re.fullmatch(r"[A-Za-z0-9_+-]*", source):
        close = difflib.get_close_matches(source.lower().replace("-", "").replace("_", ""), BUILTIN, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else f"; there are {' and '.join(BUILTIN)}"
        known = close[0] if close else "digits"
        raise UsageError(f"there is no data set {source!r}{hint}", try_=f"--data {known}, or --data PATH")
    raise DataError(f"{source!r} does not exist", try_="--data digits, or the path of a folder or an archive")


def _batches_in(path: Path) -> Path | None:
    from bench.data.layout import BATCHES

    folders = (each for each in (path, path / BATCHES) if each.name == BATCHES and each.is_dir())
    return next(folders, None)


def _slug(path: Path) -> str:
    """At most 30 characters of [a-z0-9-]: `CIFAR10_jpeg.tar.xz` gives `cifar10-jpeg`."""
    stem = ARCHIVE_SUFFIX.sub("", path.absolute().name)
    return re.sub(r"[^a-z0-9]+", "-", stem.lower())[:30].strip("-") or "data"


def _measured(decoded: Decoded, source: str) -> Cached:
    """`decoded` with its digest and the statistics of its training split."""
    from bench.data.cache import Cached

    _check(decoded, source)
    mean, std = _statistics(decoded.train)
    if min(std) == 0:
        raise DataError(
            f"the training images of {source} have the same value everywhere in a channel", try_="other images"
        )
    return Cached(decoded, _digest(decoded), mean, std)


def _check(decoded: Decoded, source: str) -> None:
    count = len(decoded.classes)
    if count < 2:
        raise DataError(
            f"{source} has {count} class: {', '.join(map(repr, decoded.classes))}",
            try_="a data set of two classes or more",
        )
    for split, part in (("train", decoded.train), ("test", decoded.test)):
        if len(part.labels) < count:
            raise DataError(
                f"{source} has {len(part.labels)} images in {split} for {count} classes",
                try_="at least one image of each class",
            )


def _statistics(part: Part) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Exact mean and standard deviation per channel in 0..1, from counts of the 256 levels."""
    import numpy as np

    # Counts are integers: a sum of 50 million floats would depend on the order in which it is taken.
    counts = np.zeros((3, 256), np.int64)
    at_once = max(1, PIXELS_AT_ONCE // max(1, math.prod(part.images.shape[2:])))  # bincount copies to int64
    for start in range(0, len(part.images), at_once):
        for channel in range(3):
            counts[channel] += np.bincount(part.images[start : start + at_once, channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    mean = (counts * levels).sum(1) / counts.sum(1)
    std = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1))
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))


def _digest(decoded: Decoded) -> str:
    """sha256 of classes, labels and pixels, the same on every machine."""
    digest = hashlib.sha256(json.dumps(decoded.classes).encode())
    for part in (decoded.train, decoded.test):
        digest.update(f"{part.images.shape}".encode())
        digest.update(part.labels.astype("<i8").tobytes())
        digest.update(part.images.data)
    return digest.hexdigest()


def _dataset(found: Cached, *, name: str, source: str, mirror: bool) -> Dataset:
    import torch

    train, test = (
        Split(torch.from_numpy(part.images), torch.from_numpy(part.labels), part.names)
        for part in (found.decoded.train, found.decoded.test)
    )
    return Dataset(
        name=name,
        classes=found.decoded.classes,
        train=train,
        test=test,
        mean=found.mean,
        std=found.std,
        mirror=mirror,
        digest=found.digest,
        source=source,
        notes=found.decoded.notes,
        inventory=found.decoded.inventory,
        levels=found.decoded.levels,
    )


# --- a run's own view of its data ---------------------------------------------------------------------------


def in_class_order(data: Dataset, classes: Sequence[str]) -> Dataset:
    """The data set with its classes in the order in which a model answers, which may know more of them.

    Its images, its digest and its names stay.

    Raises:
        DataError: a class of the data set is not one of the model's; names it.
    """
    if tuple(classes) == data.classes:
        return data
    import torch

    number = {name: index for index, name in enumerate(classes)}
    unknown = [name for name in data.classes if name not in number]
    if unknown:
        raise DataError(
            f"class {unknown[0]!r} of {data.source} is not one of the model's {len(number)} "
            f"({len(unknown)} of {len(data.classes)} classes are not)",
            try_=f"--classes with the names of the model's outputs in their order, such as {','.join(data.classes)}",
        )
    places = torch.tensor([number[name] for name in data.classes], dtype=torch.int64)
    train, test = (replace(split, labels=places[split.labels]) for split in (data.train, data.test))
    return replace(data, classes=tuple(classes), train=train, test=test)


def files_of(data: Dataset) -> str:
    """sha256 of the test images' names and classes: the same whatever size they were brought to."""
    named = [data.classes[label] for label in data.test.labels.tolist()]
    return hashlib.sha256(json.dumps([data.test.names, named]).encode()).hexdigest()
