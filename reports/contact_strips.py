"""The first images of a gallery as plain pictures, for whoever reads a page without its script."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from bench.postprocess import postprocess
from bench.schema.gallery import ROLES
from bench.schema.page import CellView, Page, run_labels
from bench.schema.run import STATUSES

from .payload import picture_of, webp

Picture = np.ndarray[tuple[int, ...], np.dtype[Any]]

MOST = 12  # images
MOST_MAPS = 4  # beside each
_SIDE, _LARGE = 64, 128  # pixels of one picture, and of one that was kept large
OPACITY = 0.6
COLOURS = "viridis"  # matplotlib's name
_WORDS = {"dead": "all zero after ReLU", "constant": "the same value everywhere", "non-finite": "not finite"}


@dataclass(frozen=True)
class Strip:
    """One image and its first maps, side by side, with what they are in words."""

    id: int
    image: bytes
    width: int
    height: int
    title: str
    alt: str


def contact_strips(page: Page, most: int = MOST) -> list[Strip]:
    """The first `most` images of the gallery, each with up to MOST_MAPS maps for what was predicted."""
    return [_strip(page, place) for place in range(len(page.gallery.ids))[:most]]


def _strip(page: Page, place: int) -> Strip:
    labels, several, gallery = run_labels(page.runs), len(page.runs) > 1, page.gallery
    usable = [
        (cell, row)
        for cell, maps in enumerate(gallery.maps)
        for row in maps.places(place, place + 1)
        if ROLES[maps.roles[row]] in ("predicted", "both")
    ]
    # Of several runs the first explainer at the last layer stands for each; of one run its cells in order.
    chosen = list({page.cells[cell].run: (cell, row) for cell, row in usable}.values()) if several else usable
    words = {(cell, row): STATUSES[gallery.maps[cell].statuses[row]] for cell, row in chosen}
    drawn = [one for one in chosen if words[one] == "ok"][:MOST_MAPS]
    side = _LARGE if gallery.pictures else _SIDE
    picture = picture_of(gallery, place).resize((side, side))
    sheet = Image.new("RGB", (side * (1 + len(drawn)), side))
    sheet.paste(picture, (0, 0))
    for column, (cell, row) in enumerate(drawn, 1):
        coloured = Image.fromarray((255 * heat_of(page, cell, row, side)).round().astype(np.uint8))
        sheet.paste(Image.blend(picture, coloured, OPACITY), (side * column, 0))
    told = [_told(page.cells[cell], labels[page.cells[cell].run] if several else "") for cell, _ in drawn]
    left_out = [
        f"{_told(page.cells[one[0]], '')} not drawn: {_WORDS.get(words[one], 'no room')}"
        for one in chosen
        if one not in drawn
    ]
    alt = f"test image {gallery.ids[place]}" + (", then maps of " + ", ".join(told) if told else ", no map")
    title = "; ".join([_sentence(page, place), *left_out[:MOST_MAPS]])
    return Strip(gallery.ids[place], webp(sheet, lossless=False), sheet.width, sheet.height, title, alt)


def _told(cell: CellView, run: str) -> str:
    return " ".join(filter(None, (run, cell.explainer, "at", cell.layer)))


def _sentence(page: Page, place: int) -> str:
    """`cat taken for dog (0.98)`, of several runs each wrong class once."""
    true = page.gallery.true[place]
    said = sorted((run.probability[place], run.predicted[place]) for run in page.gallery.said)
    best = {k: f"{page.classes[k]} ({share:.2f})" for share, k in said if k not in (-1, true)}
    return f"{page.classes[true]} {'taken for ' + ', '.join(best.values()) if best else 'recognised'}"


def heat_of(page: Page, cell: int, row: int, size: int, colours: str = COLOURS) -> Picture:
    """(size, size, 3) float colours in 0..1 of one map of a cell."""
    maps, view = page.gallery.maps[cell], page.cells[cell]
    area = view.height * view.width
    levels = maps.levels[area * row : area * (row + 1)]
    ends, grid = (maps.low[row], maps.high[row]), (view.height, view.width)
    return heat(levels, ends, grid, size, finished=view.picture, colours=colours)


def heat(
    levels: bytes,
    ends: tuple[float, float],
    grid: tuple[int, int],
    size: int,
    *,
    finished: bool,
    colours: str = COLOURS,
) -> Picture:
    """(size, size, 3) float colours in 0..1: a raw map after the one post-processing, a finished picture as it is.

    Args:
        levels: of the map on its grid (h, w), from 0 for the first of `ends` to 255 for the second.
        colours: matplotlib's name of them.
    """
    import torch

    shares = torch.frombuffer(bytearray(levels), dtype=torch.uint8).reshape(grid).to(torch.float64) / 255
    raw = ends[0] + shares * (ends[1] - ends[0])
    coloured: Picture = colormaps[colours](postprocess(raw, size, scale=1.0 if finished else "map").numpy())[..., :3]
    return coloured
