"""The pictures of a shard as one sprite sheet, so that a page carries one image instead of hundreds."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from PIL import Image

EDGE = 32  # pixels a side of one picture
COLUMNS = 32  # pictures a row


def sprite_sheet(pictures: Sequence[bytes]) -> bytes:
    """One lossless WebP image of all pictures, COLUMNS a row, each EDGE x EDGE.

    Args:
        pictures: 1 to 16,000 times EDGE * EDGE * 3 bytes, RGB, row by row.

    Raises:
        ValueError: a picture has another number of bytes.
    """
    sheet = Image.new("RGB", (EDGE * min(COLUMNS, len(pictures)), EDGE * -(-len(pictures) // COLUMNS)))
    for position, pixels in enumerate(pictures):
        row, column = divmod(position, COLUMNS)
        sheet.paste(Image.frombytes("RGB", (EDGE, EDGE), pixels), (EDGE * column, EDGE * row))
    return webp(sheet, lossless=True)


def webp(image: Image.Image, *, lossless: bool) -> bytes:
    """An image as a WebP file; the same image gives the same bytes."""
    file = BytesIO()
    image.save(file, "WEBP", lossless=lossless, quality=60 if lossless else 82, method=4)
    return file.getvalue()
