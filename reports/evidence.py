"""Pictures of what the tests with known answers found, each with its map over it."""

import numpy as np
from PIL import Image, ImageDraw

from bench.schema.page import EvidencePicture

from .contact_strips import OPACITY, heat
from .payload import webp

SIDE = 128  # pixels an edge


def evidence_image(one: EvidencePicture) -> bytes:
    """A picture, with its map over it where it has one that says something, as a WebP file."""
    picture = Image.frombytes("RGB", (one.edge, one.edge), one.pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    drawn = one.map
    if drawn is not None and drawn.status == "ok":
        ends, grid = (drawn.low, drawn.high), (drawn.height, drawn.width)
        coloured = heat(drawn.levels, ends, grid, SIDE, finished=drawn.finished)
        picture = Image.blend(picture, Image.fromarray((255 * coloured).round().astype(np.uint8)), OPACITY)
    if one.box is not None:
        row, column, edge = (each * SIDE / one.edge for each in one.box)
        for inset, colour in ((2, "black"), (1, "white")):  # seen on any ground
            square = (column - inset, row - inset, column + edge + inset - 1, row + edge + inset - 1)
            ImageDraw.Draw(picture).rectangle(square, outline=colour)
    return webp(picture, lossless=False)
