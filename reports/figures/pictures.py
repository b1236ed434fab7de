"""Pictures of a data set in print: some of each class, and what augmentation makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .paper import GAP, LINE, MARGIN, SOFT, Look, Sheet, fitted, longest

Pixels = np.ndarray[tuple[int, ...], np.dtype[Any]]  # (h, w, 3) uint8
LARGEST = 0.62  # inches of a picture
PAIRS = 4  # in a line


def by_class(rows: Sequence[tuple[str, Sequence[Pixels]]], look: Look, caption: str) -> Sheet:
    """Pictures of each class in a line, the class's name at the left."""
    most = max((len(pictures) for _, pictures in rows), default=1)
    left = MARGIN + longest([name for name, _ in rows], 1.2) + 3 * GAP
    side = min(LARGEST, (look.inches - left - MARGIN) / most - GAP)
    sheet = Sheet(look, MARGIN + len(rows) * (side + GAP), caption)
    for row, (name, pictures) in enumerate(rows):
        top = MARGIN + row * (side + GAP)
        words = fitted(name, left - MARGIN - 3 * GAP)
        sheet.text(left - 2 * GAP, top + side / 2, words, ha="right", va="center")
        for column, picture in enumerate(pictures):
            sheet.picture(left + column * (side + GAP), top, side, picture)
    return sheet


def pairs(rows: Sequence[tuple[str, Pixels, Pixels]], look: Look, caption: str) -> Sheet:
    """Training images with their classes, each beside what the model sees of it."""
    across = PAIRS if look.width == "two" else PAIRS // 2
    room = (look.inches - 2 * MARGIN - (across - 1) * 4 * GAP) / across
    side = (room - GAP / 2) / 2
    lines = -(-len(rows) // across)
    sheet = Sheet(look, MARGIN + lines * (LINE + GAP + side + 2 * GAP), caption)
    for number, (name, image, seen) in enumerate(rows):
        row, column = divmod(number, across)
        left, top = MARGIN + column * (room + 4 * GAP), MARGIN + row * (LINE + GAP + side + 2 * GAP)
        sheet.text(left, top, fitted(name, room), color=SOFT)
        for at, picture in enumerate((image, seen)):
            sheet.picture(left + at * (side + GAP / 2), top + LINE + GAP, side, picture)
    return sheet
