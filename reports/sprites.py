"""All pictures of a gallery as one sprite sheet, so that a page carries one image instead of thousands."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

EDGE = 32  # pixels a side of one picture
_NARROW = 32  # pictures a row
_WIDE = 500  # pictures a row of a sheet that would else be higher than WebP allows
_MOST_ROWS = 16383 // EDGE


@dataclass(frozen=True)
class Sheet:
    """A lossless WebP image of `columns` pictures a row, each EDGE x EDGE, as a data: address; empty for no picture."""

    uri: str
    columns: int


def sprite_sheet(pictures: Sequence[bytes]) -> Sheet:
    """One sheet of all pictures, row by row.

    Args:
        pictures: N times EDGE * EDGE * 3 bytes, RGB, row by row.

    Raises:
        ValueError: a picture has another number of bytes.
    """
    if not pictures:
        return Sheet("", _NARROW)
    columns = _NARROW if len(pictures) <= _NARROW * _MOST_ROWS else _WIDE
    sheet = Image.new("RGB", (EDGE * min(columns, len(pictures)), EDGE * -(-len(pictures) // columns)))
    for position, pixels in enumerate(pictures):
        row, column = divmod(position, columns)
        sheet.paste(Image.frombytes("RGB", (EDGE, EDGE), pixels), (EDGE * column, EDGE * row))
    file = BytesIO()
    sheet.save(file, "WEBP", lossless=True, quality=60, method=4)
    return Sheet("data:image/webp;base64," + b64encode(file.getvalue()).decode("ascii"), columns)
