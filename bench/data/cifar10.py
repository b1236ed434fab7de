"""CIFAR-10 as torchvision downloads, checks and reads it."""

from __future__ import annotations

import shutil
import socket
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts import Progress, Task
from bench.data.images import Decoded, Part
from bench.errors import DataError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

TIMEOUT = 60.0  # seconds without a byte
OTHERWISE = "--data digits, which needs no network, or --data PATH of a folder or an archive of images"


def cifar10(url: str | None = None) -> type[CIFAR10]:
    """The class of torchvision, with another address where one is given; its MD5 sums stay."""
    from torchvision.datasets import CIFAR10

    return CIFAR10 if url is None else type("CIFAR10At", (CIFAR10,), {"url": url})


def fetch(kind: type[CIFAR10], root: Path, *, progress: Progress) -> Path:
    """`root`/cifar-10-batches-py, downloaded where it is not there whole.

    The download goes to a folder of its own and is moved when torchvision has checked it, so a failure leaves
    nothing behind.

    Args:
        kind: torchvision's class or one with another address; see `cifar10`.
        root: the folder for the data.
        progress: told the megabytes.

    Raises:
        DataError: no network, an answer that is not CIFAR-10, no space; names the address.
    """
    from filelock import FileLock

    folder = root / kind.base_folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / "download.lock"):
            if not _is_whole(kind, root):
                progress.say(f"cifar10 is not in {root} yet; downloading 170 MB from {kind.url}")
                with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as temporary:
                    _download(kind, Path(temporary), progress)
                    shutil.rmtree(folder, ignore_errors=True)
                    (Path(temporary) / kind.base_folder).rename(folder)
    except (OSError, RuntimeError, EOFError, tarfile.TarError, ValueError) as error:
        reason = str(error).removeprefix("<urlopen error ").removesuffix(">") or type(error).__name__
        if isinstance(error, RuntimeError):  # torchvision's word for a wrong MD5 is "not found or corrupted"
            reason = "what came is not CIFAR-10 (its MD5 differs)"
        raise DataError(f"cifar10 cannot be downloaded from {kind.url}: {reason}", try_=OTHERWISE) from error
    return folder


def read_batches(kind: type[CIFAR10], folder: Path) -> Decoded:
    """Pixels and labels of a folder cifar-10-batches-py; unpickled by torchvision, only after its MD5 check.

    Raises:
        DataError: a file is missing or differs from the one that torchvision knows.
    """
    try:
        parts = [kind(folder.parent, train=train, download=False) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{folder} is not the original CIFAR-10: its MD5 is not the one in torchvision", try_=OTHERWISE
        ) from error
    classes = tuple(parts[0].classes)
    return Decoded(classes, _part("train", parts[0], classes), _part("test", parts[1], classes))


def _part(split: str, dataset: CIFAR10, classes: tuple[str, ...]) -> Part:
    images = np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2))
    names = (f"{split}/{classes[label]}/{index:05d}" for index, label in enumerate(dataset.targets))
    return Part(images, np.array(dataset.targets, np.int64), tuple(names))


def _is_whole(kind: type[CIFAR10], root: Path) -> bool:
    try:
        kind(root, train=False, download=False)
    except RuntimeError:
        return False
    return True


def _download(kind: type[CIFAR10], root: Path, progress: Progress) -> None:
    with progress.track("Downloading cifar10 (MB)", 170) as task, _torchvision_tells(task):
        kind(root, train=False, download=True)


@contextmanager
def _torchvision_tells(task: Task) -> Iterator[None]:
    """The bar of torchvision tells `task` instead of stderr, and a silent server is given up."""
    from torchvision.datasets import utils

    class Bar:
        """The part of tqdm that torchvision uses."""

        def __init__(self, **_: object) -> None:
            self.received = 0

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing to close."""

        def update(self, count: int) -> None:
            before = self.received // 10**6
            self.received += count
            if self.received // 10**6 > before:
                task.advance(self.received // 10**6 - before)

    bar, timeout = vars(utils)["tqdm"], socket.getdefaulttimeout()
    vars(utils)["tqdm"] = Bar
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        vars(utils)["tqdm"] = bar
        socket.setdefaulttimeout(timeout)
