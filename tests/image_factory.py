"""Small data sets on disk, good and bad, for the tests of reading."""

import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> Image.Image:
    """Noise of a seed, `size` as (width, height)."""
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(levels).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def png(seed: int) -> bytes:
    return encoded(picture(seed))


def files(classes: Iterable[str] = ("cat", "dog"), each: int = 3) -> dict[str, bytes]:
    """{"train/cat/0.png": bytes, ...}: `each` images of each class in both splits, all different."""
    names = [f"{split}/{name}/{index}.png" for split in ("train", "test") for name in classes for index in range(each)]
    return {name: png(seed) for seed, name in enumerate(names)}


def folder_of(root: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def tar_of(path: Path, contents: dict[str, bytes], *extra: tarfile.TarInfo) -> Path:
    """An archive, compressed as its name says, of `contents` in their order and then the bare headers `extra`."""
    mode = {".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in extra:
            archive.addfile(entry)
    return path


def zip_of(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path
