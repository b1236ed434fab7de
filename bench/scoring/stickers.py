"""A sticker whose place is known: what is planted into images, and whether a map finds it there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Booleans, Floats, Integers
from bench.scoring.patches import pooled

STRENGTHS = (1.0, 0.25, 0.125, 0.0625)  # share of the sticker in the pixels that it covers; the rest is the image's own
CELLS = 8  # a sticker covers one of 8x8 squares
FEWEST_PIXELS = 2  # an edge: below, the sticker has no pattern
SEED = 8008
COLOURS = ((255, 0, 255), (0, 255, 0))  # side by side, as photographs do not have them


def sticker(edge: int) -> Tensor:
    """The picture that is planted, a chequerboard of two by two squares: (3, edge, edge) uint8."""
    place = torch.arange(edge) * 2 // edge
    dark = (place[:, None] + place[None, :]) % 2
    return torch.tensor(COLOURS, dtype=torch.uint8)[dark].permute(2, 0, 1)


def sticker_edge(pixels: int) -> int:
    """Pixels an edge of the sticker on images of `pixels` an edge."""
    return max(FEWEST_PIXELS, pixels // CELLS)


def places_of(ids: Integers, pixels: int) -> Integers:
    """Where the sticker of each image begins: (N, 2) row and column in pixels, drawn once for each id."""
    draws = [np.random.default_rng([SEED, int(each)]).integers(0, CELLS, 2) for each in ids]
    edge = sticker_edge(pixels)
    corners = np.array(draws, dtype=np.int64).reshape(-1, 2) * pixels // CELLS
    return np.minimum(corners, pixels - edge)


def planted(images: Tensor, places: Integers, strengths: Floats) -> Tensor:
    """Images with a sticker each.

    Args:
        images: (N, 3, H, H) uint8; left as they are.
        places: (N, 2) row and column of the sticker's first pixel.
        strengths: (N,) share of the sticker in the pixels that it covers, 0 to 1.

    Returns:
        (N, 3, H, H) uint8, new.
    """
    edge = sticker_edge(images.shape[-1])
    picture, found = sticker(edge).float(), images.clone()
    for image, (row, column), share in zip(found, places.tolist(), strengths.tolist(), strict=True):
        square = image[:, row : row + edge, column : column + edge]
        square.copy_((share * picture + (1 - share) * square.float()).round().to(torch.uint8))
    return found


def cells_of_sticker(places: Integers, grid: tuple[int, int], pixels: int) -> Booleans:
    """The cells of a grid that a sticker covers most of: (N, 2) places to (N, h, w).

    One cell where the sticker lies within one, as it does on grids of 8, 4 or 2 an edge; where it lies as much in two
    as in one, both.
    """
    edge = sticker_edge(pixels)
    rows, columns = (_overlaps(places[:, axis], edge, count, pixels) for axis, count in enumerate(grid))
    shares = rows[:, :, None] * columns[:, None, :]
    found: Booleans = shares >= shares.max(axis=(1, 2), keepdims=True) * (1 - 1e-9)
    return found


def _overlaps(starts: Integers, edge: int, count: int, pixels: int) -> Floats:
    """How many pixels of each sticker lie in each of `count` equal parts of an axis: (N,) to (N, count)."""
    bounds = np.arange(count + 1) * pixels / count
    first, last = np.maximum(starts[:, None], bounds[:-1]), np.minimum(starts[:, None] + edge, bounds[1:])
    found: Floats = np.maximum(last - first, 0.0)
    return found


def found_at(maps: Floats, places: Integers, *, grid: tuple[int, int], pixels: int) -> tuple[Floats, Booleans]:
    """Where a map ranks the sticker's place.

    Args:
        maps: (N, H, W) raw maps for the class that the sticker stands for; NaN where one says nothing.
        places: (N, 2) of the stickers, in pixels.
        grid: of the cells that maps are summed to.
        pixels: an edge of the images.

    Returns:
        (N,) the share of the other cells that are below the sticker's, a tie counting half: 1 where it is the top, 0.5
        as by chance, NaN where the map says nothing; and (N,) whether it alone is the top.
    """
    summed = pooled(maps, grid).reshape(len(maps), -1)
    at = cells_of_sticker(places, grid, pixels).reshape(len(maps), -1)
    with np.errstate(invalid="ignore"):
        own = np.where(at, summed, -np.inf).max(axis=1, keepdims=True)
        others = (~at).sum(axis=1)
        below = ((summed < own) & ~at).sum(axis=1) + 0.5 * ((summed == own) & ~at).sum(axis=1)
        hit: Booleans = ((summed < own) | at).all(axis=1)
    known = np.isfinite(summed).all(axis=1) & (summed.max(axis=1) > summed.min(axis=1))
    return np.where(known, below / np.maximum(others, 1), np.nan), hit & known
