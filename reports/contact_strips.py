"""The first images of a gallery as plain pictures, for whoever reads a page without its script."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from bench.postprocess import postprocess
from bench.schema.gallery import GalleryItem, MapView
from bench.schema.page import Page, run_labels
from bench.schema.pictures import PictureMap

from .payload import EDGE, webp

Picture = np.ndarray[tuple[int, ...], np.dtype[Any]]

MOST = 24  # images
MOST_MAPS = 4  # beside each
_SIDE = 64  # pixels of one picture
_OPACITY = 0.6
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
    return [_strip(page, item) for item in islice(page.gallery, most)]


def _strip(page: Page, item: GalleryItem) -> Strip:
    labels, several = run_labels(page.runs), len(page.runs) > 1
    usable = [one for one in item.maps if one.role in ("predicted", "both")]
    # Of several runs the first explainer at the last layer stands for each; of one run its cells in order.
    chosen = list({page.cells[one.cell].run: one for one in usable}.values()) if several else usable
    drawn = [one for one in chosen if one.status == "ok"][:MOST_MAPS]
    picture = Image.frombytes("RGB", (EDGE, EDGE), item.pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    sheet = Image.new("RGB", (_SIDE * (1 + len(drawn)), _SIDE))
    sheet.paste(picture, (0, 0))
    for place, one in enumerate(drawn, 1):
        cell = page.cells[one.cell]
        heated = heat(one, (cell.height, cell.width), _SIDE, finished=cell.picture)
        coloured = Image.fromarray((255 * heated).round().astype(np.uint8))
        sheet.paste(Image.blend(picture, coloured, _OPACITY), (_SIDE * place, 0))
    told = [_told(page, one, labels[page.cells[one.cell].run] if several else "") for one in drawn]
    left_out = [
        f"{_told(page, one, '')} not drawn: {_WORDS.get(one.status, 'no room')}" for one in chosen if one not in drawn
    ]
    alt = f"test image {item.id}" + (", then maps of " + ", ".join(told) if told else ", no map")
    title = "; ".join([_sentence(page, item), *left_out[:MOST_MAPS]])
    return Strip(item.id, webp(sheet, lossless=False), sheet.width, sheet.height, title, alt)


def _told(page: Page, one: MapView, run: str) -> str:
    cell = page.cells[one.cell]
    return " ".join(filter(None, (run, cell.explainer, "at", cell.layer)))


def _sentence(page: Page, item: GalleryItem) -> str:
    """`cat taken for dog (0.98)`, of several runs each wrong class once."""
    wrong = [one for one in item.predictions if one is not None and one.predicted != item.true]
    best = {one.predicted: one.probability for one in sorted(wrong, key=lambda one: one.probability)}
    taken = ", ".join(f"{page.classes[k]} ({share:.2f})" for k, share in best.items())
    return f"{page.classes[item.true]} {'taken for ' + taken if taken else 'recognised'}"


def heat(one: MapView | PictureMap, grid: tuple[int, int], size: int, *, finished: bool) -> Picture:
    """(size, size, 3) float colours in 0..1: a raw map after the one post-processing, a finished picture as it is."""
    import torch

    levels = torch.frombuffer(bytearray(one.levels), dtype=torch.uint8).reshape(grid)
    raw = one.low + levels.to(torch.float64) / 255 * (one.high - one.low)
    shares = postprocess(raw, size, scale=1.0 if finished else "map")
    coloured: Picture = colormaps["viridis"](shares.numpy())[..., :3]
    return coloured
