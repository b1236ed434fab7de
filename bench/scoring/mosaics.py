"""The mosaic game: four images in one, and how much of a class's map lies on the image of that class.

Source: Boehle et al. 2021, arXiv:2104.00032 (grid pointing game); Rao et al. 2022, arXiv:2205.10435.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.contracts import Floats, Integers
from bench.evaluation import softmax
from bench.store.predictions import Predictions, fixed_order

TILES = 4
SURE = 0.9  # probability from which the net is sure of an image
CHANCE = 1 / TILES
SEED = 8018


@dataclass(frozen=True)
class Mosaics:
    """Which images make the mosaics.

    Attributes:
        ids: (M, 4) test ids: top left, top right, bottom left, bottom right.
        classes: (M, 4) their classes, which differ within a mosaic.
    """

    ids: Integers
    classes: Integers


def choose_mosaics(predictions: Predictions, count: int) -> Mosaics:
    """Mosaics of images that the net is right and sure of, each image in one mosaic at most.

    Four classes a mosaic, in turns, so that all come alike often; fewer mosaics where there are not enough images, none
    where fewer than four classes have any.
    """
    sure = softmax(predictions.logits).max(axis=1) >= SURE
    right = predictions.predicted == predictions.labels
    order = [each for each in fixed_order(predictions.labels).tolist() if sure[each] and right[each]]
    waiting: dict[int, list[int]] = {}
    for each in reversed(order):
        waiting.setdefault(int(predictions.labels[each]), []).append(each)
    found: list[list[int]] = []
    generator = np.random.default_rng(SEED)
    while len(found) < count and len(waiting) >= TILES:
        # Of the classes with most images left; equal ones in a drawn order.
        classes = sorted(waiting, key=lambda one: (-len(waiting[one]), generator.random()))[:TILES]
        found.append([waiting[one].pop() for one in generator.permutation(classes).tolist()])
        waiting = {one: left for one, left in waiting.items() if left}
    ids = np.array(found, dtype=np.int64).reshape(-1, TILES)
    return Mosaics(ids, predictions.labels[ids].astype(np.int64))


def tiled(images: Tensor) -> Tensor:
    """Four images as one of twice the size: (M, 4, 3, H, W) to (M, 3, 2H, 2W)."""
    rows = [torch.cat([images[:, first], images[:, first + 1]], dim=-1) for first in (0, 2)]
    return torch.cat(rows, dim=-2)


def halved(images: Tensor) -> Tensor:
    """Images (N, 3, 2H, 2W) uint8 at half their size, with antialiasing, for a net that takes one size alone."""
    height, width = images.shape[-2] // 2, images.shape[-1] // 2
    small = functional.interpolate(images.float(), size=(height, width), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


def own_shares(maps: Floats, quadrants: Integers) -> Floats:
    """The share of a map's positive values that lies in its own quarter of the mosaic.

    Args:
        maps: (R, h, w) raw.
        quadrants: (R,) 0 to 3, row by row.

    Returns:
        (R,) 0 to 1; chance is a quarter. NaN where a map has nothing above 0, or is not finite.
    """
    heat = np.maximum(maps.astype(np.float64), 0)
    rows, columns = _halves(maps.shape[1]), _halves(maps.shape[2])
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = np.einsum("ih,rhw,jw->rij", rows, heat, columns).reshape(len(maps), TILES)
        shares: Floats = parts[np.arange(len(maps)), quadrants] / parts.sum(axis=1)
    shares[~np.isfinite(maps).all(axis=(1, 2))] = np.nan
    return shares


def _halves(count: int) -> Floats:
    """By how much each of `count` cells of an axis lies in its first and in its second half: (2, count)."""
    first = np.clip(count / 2 - np.arange(count), 0, 1)
    return np.stack([first, 1 - first])


def top_four(logits: Floats, classes: Integers) -> Floats:
    """The share of a mosaic's classes among the net's four most probable: (M, K) and (M, 4) to (M,)."""
    best = np.argsort(-logits, axis=1)[:, :TILES]
    shares: Floats = (classes[:, :, None] == best[:, None, :]).any(axis=2).mean(axis=1)
    return shares
