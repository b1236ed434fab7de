"""One image file to pixels: every format that Pillow reads without running a program, 8 to 32 bits a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from bench.contracts import SIZE

MAX_PIXELS = 64_000_000  # of one image, told by its header before it is decoded
MAX_SLOW = 4_000_000  # of one that is decoded by a loop in Python
SLOW = ("BLP", "DDS", "FITS", "MSP", "QOI", "XPM")
# EPS runs a program, WMF a part of Windows; the others only tell what they are.
REFUSED = ("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "IMT", "IPTC")
# Tried in this order, then the others; what has no signature of its own comes last.
FIRST = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF", "AVIF", "HEIF", "JPEG2000")
LAST = ("TGA", "SPIDER", "PCD", "PCX", "CUR", "ICO")
SIGNED = (*FIRST, "PSD", "QOI", "DDS", "ICNS", "SGI", "SUN")  # told by their first bytes alone
SIGNATURE = 32  # bytes that tell what a file is

# What needs a plug-in, by what a file's name ends in and by the brand in its signature.
PLUGINS = {".heic": "pillow-heif", ".heif": "pillow-heif", ".hif": "pillow-heif", ".avif": "pillow-avif-plugin",
           ".jxl": "pillow-jxl-plugin"}  # fmt: skip
BRANDS = {b"heic": ".heic", b"heix": ".heic", b"hevc": ".heic", b"hevx": ".heic", b"mif1": ".heif", b"msf1": ".heif",
          b"avif": ".avif", b"avis": ".avif"}  # fmt: skip
RAW = (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")

NO_PICTURES = {
    b"version https://git-lfs": "a pointer of git-lfs in the place of the picture: git lfs pull fetches it",
    b"<!doctype html": "a web page in the place of a picture",
    b"<html": "a web page in the place of a picture",
}

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]


class Picture(NamedTuple):
    """One decoded file.

    Attributes:
        pixels: (3, edge, edge) uint8; of a deep picture (1 or 3, edge, edge) float32, its values as they are.
        size: its own (width, height).
        mode: what its mode was unless RGB.
        animated: it holds further frames, of which nothing is taken.
        ends: smallest and largest value of a deep picture; empty for one of 8 bits.
    """

    pixels: Pixels | Values
    size: tuple[int, int]
    mode: str
    animated: bool = False
    ends: tuple[float, ...] = ()


class MissingPlugin(ValueError):
    """A picture that needs a plug-in of Pillow; `package` is what to install."""

    def __init__(self, kind: str) -> None:
        self.package = PLUGINS[kind]
        super().__init__(f"{kind[1:].upper()} needs a plug-in that is not installed: pip install {self.package}")


@cache
def formats() -> tuple[str, ...]:
    """The formats that are read, in the order in which they are tried."""
    with suppress(ImportError):
        import pillow_heif  # type: ignore[import-not-found]

        pillow_heif.register_heif_opener()
    with suppress(ImportError):
        import pillow_jxl  # type: ignore[import-not-found]  # noqa: F401 (registers itself)
    Image.init()
    rest = sorted(set(Image.OPEN) - {*REFUSED, *FIRST, *LAST})
    return tuple(each for each in (*FIRST, *rest, *LAST) if each in Image.OPEN)


@cache
def suffixes() -> frozenset[str]:
    """What the names of pictures end in: those that are read, and those that would be with a plug-in."""
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in formats()}
    return frozenset({*known, *PLUGINS, *RAW})


def suffix_of(path: str) -> str:
    """What a name ends in, in lower case; empty for one without a dot."""
    stem, _, end = path.rpartition("/")[2].rpartition(".")
    return f".{end.lower()}" if stem else ""


def is_picture(suffix: str, head: bytes) -> bool:
    """Whether a file is a picture by what its name ends in or, where that says nothing, by its first bytes."""
    if suffix in suffixes():
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] in BRANDS
    signed = (Image.OPEN[kind][1] for kind in SIGNED if kind in formats())
    return len(head) >= SIGNATURE and any(accept is not None and accept(head[:16]) is True for accept in signed)


def decode(content: bytes, edge: int = SIZE, suffix: str = "") -> Picture:
    """One image file, brought to edge x edge.

    Args:
        suffix: of its name, in lower case, which says what to do for a picture that cannot be read.

    Raises:
        ValueError: more pixels than are read, or values that are not finite.
        MissingPlugin: a kind that needs a plug-in.
        Exception: whatever Pillow raises on bytes that are no image.
    """
    with opened(content, suffix) as image:
        animated = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        size, mode = image.size, _mode(image)
        if _deep(image):
            values = _turned(image, _values(image))
            ends = (float(values.min()), float(values.max()))
            return Picture(np.stack([_float(channel, edge) for channel in values]), size, mode, animated, ends)
        small = as_rgb(image)
        if small.size != (edge, edge):
            small = small.resize((edge, edge), Image.Resampling.BILINEAR)
    pixels = np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))
    return Picture(pixels, size, "" if mode == "RGB" else mode, animated)


def opened(content: bytes, suffix: str = "") -> Image.Image:
    """An image file, not yet decoded, whose header claims no more pixels than are read."""
    if not content:
        raise ValueError("the file is empty")
    if suffix in RAW:
        raise ValueError("raw data of a camera, which bench cannot read: export it as JPEG")
    try:
        image = Image.open(BytesIO(content), formats=formats())
    except UnidentifiedImageError:
        kind = BRANDS.get(content[8:12], suffix) if content[4:8] == b"ftyp" else suffix
        if kind in PLUGINS and not _readable(kind):
            raise MissingPlugin(kind) from None
        for start, what in NO_PICTURES.items():
            if content[:64].lstrip()[: len(start)].lower() == start:
                raise ValueError(what) from None
        raise
    bound = MAX_SLOW if image.format in SLOW else MAX_PIXELS
    if image.width * image.height > bound:
        raise ValueError(f"{image.width}x{image.height} pixels, the limit is {bound:,}")
    return image


def missing_plugin(suffix: str, head: bytes) -> str:
    """What to install so that such a file is read; empty where nothing is missing."""
    kind = BRANDS.get(head[8:12], suffix) if head[4:8] == b"ftyp" else suffix
    return PLUGINS[kind] if kind in PLUGINS and not _readable(kind) else ""


def _readable(kind: str) -> bool:
    return Image.registered_extensions().get(kind) in formats()


def as_rgb(image: Image.Image, levels: tuple[float, ...] = ()) -> Image.Image:
    """An image of any mode as RGB, turned as its camera says.

    Args:
        levels: the two values of a deep picture that become 0 and 255; empty for its own smallest and largest.
    """
    if _deep(image):
        values = _turned(image, _values(image))
        shown = scaled(values, levels or (float(values.min()), float(values.max())))
        return Image.fromarray(shown.transpose(1, 2, 0))
    if "exif" in image.info:
        image = ImageOps.exif_transpose(image)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def scaled(values: npt.NDArray[Any], levels: tuple[float, ...]) -> Pixels:
    """(1 or 3, h, w) values as (3, h, w) uint8: the first of `levels` is 0, the second 255, what lies outside cut."""
    low, high = levels
    shares = (np.asarray(values, np.float64) - low) / ((high - low) or 1.0)
    return np.ascontiguousarray(
        np.broadcast_to((shares.clip(0, 1) * 255).round().astype(np.uint8), (3, *values.shape[1:]))
    )


# --- more than 8 bits a value -------------------------------------------------------------------------------


# How 16 bits a colour lie in a file, and how the same bytes are read for the lower 8 of them.
LOWER = {f"{mode};16{order}": f"{mode};16{other}" for mode in ("RGB", "RGBA") for order, other in ("LB", "BL", "NB")}
GREY_ALPHA, PLAIN = "LA;16B", "RGB;16 of PPM"


def _mode(image: Image.Image) -> str:
    if _deep(image):
        return _rawmode(image) if image.mode in ("RGB", "RGBA", "LA") else image.mode
    return "RGBA" if "transparency" in image.info else image.mode


def _deep(image: Image.Image) -> bool:
    """Whether a picture has more than 8 bits a value; of colours Pillow itself would keep the upper 8 only."""
    return image.mode.startswith("I") or image.mode == "F" or _rawmode(image) in (*LOWER, GREY_ALPHA, PLAIN)


def _rawmode(image: Image.Image) -> str:
    """How a file's colours lie in its bytes, such as RGB;16B."""
    tiles = getattr(image, "tile", None) or [None]
    args = getattr(tiles[0], "args", None)
    if image.format == "PPM" and isinstance(args, tuple) and args[0] == "RGB" and args[1] > 255:
        return PLAIN
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _values(image: Image.Image) -> npt.NDArray[Any]:
    """(1 or 3, h, w) of a deep picture, alpha dropped, of whatever type it has.

    Raises:
        ValueError: values that are not finite.
    """
    raw = _rawmode(image)
    found: npt.NDArray[Any]
    if raw in LOWER:
        # Pillow unpacks one byte of each value; read with the other order of bytes, the same file gives the other one.
        upper, lower = (np.asarray(each)[..., :3] for each in (image, _read_as(image, LOWER[raw])))
        found = (upper.astype(np.uint16) * 256 + lower).transpose(2, 0, 1)
    elif raw == GREY_ALPHA:
        both: npt.NDArray[Any] = np.asarray(_read_as(image, "I;32B", mode="I"))
        found = (both.view(np.uint32) >> 16)[None]
    elif raw == PLAIN:
        size, file = (image.height, image.width, 3), cast(Any, image)
        content = np.frombuffer(file.fp.getvalue(), ">u2", 3 * image.width * image.height, file.tile[0].offset)
        found = content.reshape(size).transpose(2, 0, 1)
    else:
        found = np.asarray(image)[None]
    if not np.isfinite(found).all():
        raise ValueError("it holds values that are not finite")
    return found


def _read_as(image: Image.Image, raw: str, mode: str = "") -> Image.Image:
    """The same file, its bytes taken for another kind of values of the same size."""
    other: Any = Image.open(BytesIO(cast(Any, image).fp.getvalue()), formats=(str(image.format),))
    other.tile = list(_swapped(other, raw))
    other._mode = mode or other.mode
    return cast(Image.Image, other)


def _swapped(image: Any, raw: str) -> Iterator[Any]:  # noqa: ANN401 (Pillow's types know no tiles)
    for tile in image.tile:
        yield tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)


def _turned(image: Image.Image, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values of a picture as its camera was held."""
    how = image.getexif().get(0x0112, 1)
    if how == 1:
        return values

    def turned(channel: npt.NDArray[Any]) -> npt.NDArray[Any]:
        plain = Image.fromarray(channel.astype(np.float32))
        plain.getexif()[0x0112] = how
        return np.asarray(ImageOps.exif_transpose(plain))

    return np.stack([turned(channel) for channel in values])


def _float(channel: npt.NDArray[Any], edge: int) -> Values:
    plain = Image.fromarray(channel.astype(np.float32))
    return np.array(plain if plain.size == (edge, edge) else plain.resize((edge, edge), Image.Resampling.BILINEAR))


# --- pictures that are decoded already ----------------------------------------------------------------------


def resized(pixels: Pixels, edge: int) -> Pixels:
    """(3, h, w) uint8 to (3, edge, edge)."""
    image = Image.fromarray(pixels.transpose(1, 2, 0)).resize((edge, edge), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


# --- pictures that a run keeps ------------------------------------------------------------------------------

LOSSLESS = 64  # pixels an edge up to which a picture is kept as it is
KEPT = 224  # pixels of the longer edge of one that is kept as a JPEG file
QUALITY = 85


def kept(pictures: Iterable[Pixels], edge: int) -> npt.NDArray[Any]:
    """Pictures (h, w, 3) as a run keeps them.

    Returns:
        (R, h, w, 3) uint8 up to LOSSLESS pixels an edge, else (R,) objects: JPEG files of at most KEPT.
    """
    if edge <= LOSSLESS:
        return np.stack([*pictures])
    files = [as_file(picture) for picture in pictures]
    found = np.empty(len(files), dtype=object)
    found[:] = files
    return found


def as_file(picture: Pixels) -> bytes:
    """A picture (h, w, 3) as a JPEG file of at most KEPT pixels an edge."""
    image = Image.fromarray(picture)
    image.thumbnail((KEPT, KEPT), Image.Resampling.BILINEAR)
    file = BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def edge_of(content: bytes) -> int:
    """Pixels of the longer edge of a file that `as_file` made, by its header; 0 for any other."""
    try:
        with Image.open(BytesIO(content), formats=("JPEG",)) as image:
            return max(image.size) if image.mode == "RGB" and max(image.size) <= KEPT else 0
    except Exception:  # Pillow raises about anything on hostile bytes
        return 0
