"""Data sets that users bring: folders, archives, pictures, tables, arrays."""

import io
import random
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from image_factory import encoded, folder_of, picture, tar_of, zip_of

from fuzz.judging import Outcome, outcome
from fuzz.mutations import WORDS, bytes_broken, npz_broken

MODES = ("RGB", "L", "1", "P", "RGBA", "CMYK", "I;16", "LA", "F")
KINDS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF", "ICO", "TGA", "JPEG2000")


def _picture(chance: random.Random) -> tuple[str, bytes]:
    """An extension and the bytes of a picture of any kind that Pillow can write."""
    kind, mode = chance.choice(KINDS), chance.choice(MODES)
    size = chance.choice(((32, 32), (32, 32), (1, 1), (40, 20), (300, 2), (1, 2000)))
    try:
        image = picture(chance.randrange(1000), size).convert("L" if mode == "I;16" else mode)
        data = encoded(image, kind)
    except (OSError, ValueError, KeyError):
        kind, data = "PNG", encoded(picture(chance.randrange(1000)))
    return "." + {"JPEG": chance.choice(("jpg", "jfif", "JPG")), "JPEG2000": "jp2"}.get(kind, kind.lower()), data


def _files(chance: random.Random) -> dict[str, bytes]:
    splits = chance.choice(
        (("train", "test"),) * 4 + (("train", "val"), ("Train", "Test"), ("train",), ("",), ("a/b/train", "a/b/test"))
    )
    classes = chance.choice((("cat", "dog"),) * 4 + (("cat",), ("cat", "dog", "eel"), tuple(chance.sample(WORDS, 2))))
    plain = chance.random() < 0.5
    found = {}
    for split in splits:
        for name in classes:
            for index in range(chance.choice((3, 3, 3, 1, 5))):
                ending, data = (".png", encoded(picture(chance.randrange(1000)))) if plain else _picture(chance)
                found["/".join(filter(None, (split, name, f"{index}{ending}")))] = data
    return found


def _broken(files: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """Some of the files changed, renamed, added or taken away."""
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        if not files:
            break
        name = chance.choice(sorted(files))
        ways: tuple[Callable[[], Any], ...] = (
            lambda: files.update({name: bytes_broken(files[name], chance)}),
            lambda: files.update({name: bytes_broken(files[name], chance)}),
            lambda: files.update({chance.choice(WORDS)[:300] + "/" + name: files.pop(name)}),
            lambda: files.update(
                {name.rpartition("/")[0] + "/" + chance.choice(WORDS)[:300] + ".png": files.pop(name)}
            ),
            lambda: files.update({name.replace("train", "test"): files[name]}),
            lambda: files.pop(name),
            lambda: files.update({name.rpartition("/")[0] + "/@eaDir/x.png": files[name]}),
            lambda: files.update({"labels.csv": _table(files, chance)}),
            lambda: files.update({"metadata.jsonl": chance.choice(WORDS).encode(errors="replace")}),
            lambda: files.update({name: _claiming_picture(chance)}),
            lambda: files.update({name: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"}),
            lambda: files.update({name: b"<svg xmlns='http://www.w3.org/2000/svg'/>"}),
            lambda: files.update({name: encoded(picture(1)) + encoded(picture(2), "GIF") + b"PK\x05\x06" + bytes(18)}),
        )
        chance.choice(ways)()
    return files


def _table(files: dict[str, bytes], chance: random.Random) -> bytes:
    heads = chance.choice(("path,class,split", "filename,label", "path,class", "x", "", "path,class,split,path"))
    rows = [f"{name},{name.split('/')[-2] if '/' in name else 'x'},{name.split('/')[0]}" for name in sorted(files)]
    text = "\n".join([heads, *rows, *(chance.choice(WORDS) for _ in range(chance.choice((0, 0, 1))))])
    return text.encode(errors="surrogatepass")


def _claiming_picture(chance: random.Random) -> bytes:
    """A small file that says it is a huge picture, or is one."""
    wide, high = chance.choice(((65500, 65500), (2**31 - 1, 1), (0, 0), (100_000, 1), (65500, 1)))
    plain = encoded(picture(0))
    return chance.choice((
        plain[:16] + wide.to_bytes(4, "big") + high.to_bytes(4, "big") + plain[24:],
        f"P6 {wide} {high} 255\n".encode() + bytes(100),
        encoded(picture(0, (9000, 1))),
    ))  # fmt: skip


def _archive(root: Path, files: dict[str, bytes], chance: random.Random) -> Path:
    """The files in an archive, some of them with members that are no files, and broken bytes."""
    extra = []
    if chance.random() < 0.2:
        odd = tarfile.TarInfo(chance.choice(("train/cat/link.png", "/etc/x.png", "../x.png", "train/cat/0.png")))
        odd.type = chance.choice(
            (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.REGTYPE)
        )
        odd.linkname, odd.size = "/etc/passwd", chance.choice((0, 0, 2**40)) if odd.type == tarfile.REGTYPE else 0
        extra = [odd]
    name = chance.choice(("d.tar", "d.tar.gz", "d.tar.xz", "d.zip", "d.tgz"))
    try:
        path = zip_of(root / name, files) if name == "d.zip" else tar_of(root / name, files, *extra)
    except (ValueError, UnicodeError, OSError, IndexError, struct.error):  # zipfile writes no empty or endless name
        path = tar_of(root / name, {"train/cat/0.png": encoded(picture(0))})
    if chance.random() < 0.5:
        path.write_bytes(bytes_broken(path.read_bytes(), chance))
    return path


def _arrays(root: Path, chance: random.Random) -> Path:
    """An npz of images and labels."""
    count, channels = 16, chance.choice(((), (1,), (3,), (4,)))
    pixels = np.random.default_rng(chance.randrange(99)).integers(0, 256, (count, 28, 28, *channels), np.uint8)
    labels = np.arange(count) % 2
    forms: tuple[dict[str, np.ndarray[Any, Any]], ...] = (
        {"images": pixels, "labels": labels},
        {"x_train": pixels, "y_train": labels, "x_test": pixels, "y_test": labels},
        {
            "train_images": pixels,
            "train_labels": labels[:, None],
            "test_images": pixels,
            "test_labels": labels[:, None],
        },
        {"images": pixels / 255.0, "labels": labels.astype("U")},
    )
    out = io.BytesIO()
    np.savez_compressed(out, **chance.choice(forms))  # type: ignore[arg-type]
    data = out.getvalue()
    (root / "d.npz").write_bytes(npz_broken(data, chance) if chance.random() < 0.7 else data)
    return root / "d.npz"


def case(chance: random.Random, folder: Path, base: Path) -> Outcome:
    """Bring a data set, good or bad, and let it be shown: that decodes all of it."""
    draw = chance.random()
    if draw < 0.1:
        source = _arrays(folder, chance)
    else:
        files = _broken(_files(chance), chance)
        if draw < 0.55:
            source = folder / "d"
            for name, data in files.items():
                try:
                    folder_of(source, {name: data})
                except (OSError, ValueError):  # a name that no file can have
                    source.mkdir(exist_ok=True)
        else:
            source = _archive(folder, files, chance)
    words = chance.choice(
        (("show", "data", str(source)), ("train", "--model", "cifar_resnet18", "--data", str(source), "--dry-run"))
    )
    skip = ("--skip-bad",) if words[0] == "train" and chance.random() < 0.5 else ()
    return outcome(*words, *skip, runs=folder / "runs")
