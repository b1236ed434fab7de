"""Pictures of one's own, read for a model: any size and any mode, brought to the model's size once, and said so."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.decoding import MAX_PIXELS, MissingPlugin, Pixels, as_rgb, decode, opened, scaled
from bench.data.layout import reason_of
from bench.errors import DataError, check_file

PREVIEW = 256  # pixels of the longer edge on a page
MAX_BYTES = 256 * 2**20
DROPPED = ("RGBA", "LA", "PA", "La", "RGBa")


@dataclass(frozen=True)
class OwnPicture:
    """A picture as the model sees it.

    Attributes:
        pixels: (3, edge, edge) uint8.
        size: (width, height) of the file.
        done: what was done to it, in words.
        preview: the picture reduced for a page, as a WebP file.
    """

    path: Path
    pixels: Pixels
    size: tuple[int, int]
    done: tuple[str, ...]
    preview: bytes


def read_picture(path: Path, edge: int, levels: tuple[float, ...] = ()) -> OwnPicture:
    """One picture file, resized once to edge x edge.

    Args:
        path: of whatever format Pillow reads.
        edge: pixels an edge of what the model takes.
        levels: the two values of pictures with more than 8 bits that were 0 and 255 in training; empty where there
            were none, and the picture's own smallest and largest value are.

    Raises:
        DataError: no such file, no picture, one with too many pixels, or one whose pixels have no agreed range.
    """
    check_file(path, "--image with the path of a PNG or JPEG file")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes, the limit is {MAX_BYTES:,}", try_="a smaller copy")
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is told instead
            found = decode(content, edge, path.suffix.lower())
            size, frames, preview = _preview(content, levels)
    except Exception as error:  # Pillow's plug-ins raise about anything on hostile bytes
        if isinstance(error, MissingPlugin):
            hint = f"pip install {error.package}, or a copy as JPEG"
        elif "bound" in str(error) or "exceeds limit" in str(error):
            hint = f"a copy of at most {MAX_PIXELS:,} pixels"
        else:
            hint = "a copy as PNG or JPEG"
        raise DataError(f"{path} cannot be read as a picture: {reason_of(error)}", try_=hint) from error
    words = words_of(size, found.mode, frames, edge)
    if not found.ends:
        return OwnPicture(path, np.asarray(found.pixels, np.uint8), size, words or ("nothing",), preview)
    low, high = levels or found.ends
    deep = f"16 bits a pixel scaled to 8: {low:,g} to {high:,g}, {'as in training' if levels else 'its own values'}"
    return OwnPicture(path, scaled(found.pixels, (low, high)), size, (deep, *words), preview)


def _preview(content: bytes, levels: tuple[float, ...]) -> tuple[tuple[int, int], int, bytes]:
    """(width, height) as a viewer shows the file, how many frames it has, and its first one reduced."""
    with opened(content) as image:
        frames = int(getattr(image, "n_frames", 1))
        shown = as_rgb(image, levels)
        size = shown.size  # cameras write how they were held
        shown.thumbnail((PREVIEW, PREVIEW), Image.Resampling.BILINEAR, reducing_gap=2.0)
    file = BytesIO()
    shown.save(file, "WEBP", quality=85, method=4)
    return size, frames, file.getvalue()


def words_of(size: tuple[int, int], mode: str, frames: int, edge: int) -> tuple[str, ...]:
    """What was done to a picture, in words."""
    width, height = size
    words = []
    if frames > 1:
        words.append(f"the first of {frames} frames")
    if mode in DROPPED:
        words.append(f"transparency dropped ({mode})")
    elif mode and not mode.startswith(("I", "F", "RGB", "LA;")):
        words.append(f"converted to RGB from {mode}")
    if size != (edge, edge):
        verb = "enlarged" if width < edge and height < edge else "resized"
        squeezed = ", proportions not kept" if width != height else ""
        words.append(f"{verb} from {width}x{height} to {edge}x{edge} (bilinear, antialiased{squeezed})")
    return tuple(words)
