"""In which order the patches of a map go, sets of patches as the bits of one number, and what is scored of both."""

import numpy as np

from bench.contracts import Booleans, Floats, Integers
from bench.evaluation import softmax

EDGE = 8  # patches an edge at most: 64 patches are the bits of one number, and 64 forwards an image are affordable
FEWEST = 4  # patches an edge, where the map has as many
STEPS = 16  # of a curve, on 4x4 and on 8x8 patches
TIE_SEED = 4004


def patch_grid(height: int, width: int, pixels: int) -> tuple[int, int]:
    """The grid of patches that are covered for maps of this size: their own, or one that they sum up to.

    Of at most 8 patches an edge as many as divide map and image; where that leaves fewer than 4, as many as divide the
    map; where that does, too, 8 or the map's own, whose sizes then differ by one.
    """

    def edge(size: int) -> int:
        most = range(min(EDGE, size), 0, -1)
        both = next(count for count in most if size % count == pixels % count == 0)
        own = next(count for count in most if size % count == 0)
        return next((count for count in (both, own) if count >= min(FEWEST, size)), most[0])

    return edge(height), edge(width)


def shares(size: int, count: int) -> Integers:
    """Of `size` values in a row the patch in which each lies: (size,), rising from 0 to `count` - 1."""
    return np.arange(size) * count // size


def pooled(maps: Floats, grid: tuple[int, int]) -> Floats:
    """Maps summed over the pixels of each patch: (R, H, W) to (R, h, w); as they are where the grid is their own.

    A sum, because a raw map accounts for a logit: what a patch says is what its parts say together.
    """
    if maps.shape[1:] == grid:
        return maps
    rows, columns = (
        np.flatnonzero(np.diff(shares(size, count), prepend=-1))
        for size, count in zip(maps.shape[1:], grid, strict=True)
    )
    summed: Floats = np.add.reduceat(np.add.reduceat(maps.astype(np.float64), rows, axis=1), columns, axis=2)
    return summed


def orders(maps: Floats, ids: Integers) -> Integers:
    """The patches of each map, the largest value first.

    Equal values stand in an order drawn once for each image, the same for every explainer: no corner of the image
    is favoured, equal maps have equal orders, and the count of patches is always exact.

    Args:
        maps: (I, h, w).
        ids: (I,) test ids.

    Returns:
        (I, h * w) patches, row by row of the grid.
    """
    patches = maps.shape[1] * maps.shape[2]
    flat = maps.reshape(len(maps), patches)
    # A generator an image, so that its order does not depend on which other images are asked for.
    draws = [np.random.default_rng([TIE_SEED, int(each)]).permutation(patches) for each in ids]
    ties = np.array(draws, dtype=np.int64).reshape(len(maps), patches)
    return np.lexsort((ties, -flat), axis=-1)  # by its last key first


def bits(patches: Integers) -> Integers:
    """Each patch as a number with one bit set."""
    return np.left_shift(np.uint64(1), patches.astype(np.uint64))


def first_patches(order: Integers) -> Integers:
    """The sets of the first 0, 1, ... all patches of orders: (..., C) to (..., C + 1) uint64."""
    # A patch comes once in an order, so the sum of bits is their union; signed numbers would have no 64th bit.
    start = np.zeros((*order.shape[:-1], 1), dtype=np.uint64)
    return np.concatenate([start, np.cumsum(bits(order), axis=-1, dtype=np.uint64)], axis=-1)


def every_patch(patches: int) -> np.uint64:
    """The set of all patches."""
    return np.uint64((1 << patches) - 1)


def cuts(patches: int) -> Integers:
    """How many patches are gone at each point of a curve: 0, then 16 steps (or one for each patch) to all."""
    return np.linspace(0, patches, min(STEPS, patches) + 1).round().astype(np.int64)


def deletion_sets(order: Integers) -> Integers:
    """What is gone along a deletion curve, the first patches of the order first: (..., C) to (..., S + 1)."""
    return first_patches(order)[..., cuts(order.shape[-1])]


def insertion_sets(order: Integers) -> Integers:
    """What is still gone along an insertion curve, on which the first patches of the order come back first.

    It is the deletion of the reversed order, read backwards.
    """
    return deletion_sets(order[..., ::-1])[..., ::-1]


def as_masks(sets: Integers, grid: tuple[int, int]) -> Booleans:
    """Sets of patches as grids: (M,) to (M, h, w), True where a patch is in the set."""
    places = np.arange(grid[0] * grid[1], dtype=np.uint64)
    flat = np.right_shift(sets[:, None].astype(np.uint64), places) & np.uint64(1)
    return flat.astype(bool).reshape(len(sets), *grid)


# --- what the model says when patches are gone ------------------------------------------------------------------------


def logit_drops(plain: Floats, without: Floats, classes: Integers) -> Floats:
    """How much a class's logit falls when one patch is gone: the ground truth of a map for that class.

    Args:
        plain: (I, K) logits of the whole images.
        without: (I, C, K) with one patch gone at a time.
        classes: (I,).

    Returns:
        (I, C) in logits; above 0 where the patch spoke for the class.

    Source: Zeiler & Fergus 2014, arXiv:1311.2901, section 4, with patches that do not overlap.
    """
    own = classes[:, None]
    before = np.take_along_axis(plain, own, axis=1)
    after = np.take_along_axis(without, own[:, :, None], axis=2)[:, :, 0]
    return before - after


def margin_drops(plain: Floats, without: Floats, *, predicted: Integers, true: Integers) -> Floats:
    """How much the margin, logit of the predicted minus logit of the true class, falls without one patch: (I, C)."""
    return logit_drops(plain, without, predicted) - logit_drops(plain, without, true)


def probabilities(logits: Floats, classes: Integers) -> Floats:
    """Softmax probability of each image's own class: (I, ..., K) and (I,) to (I, ...)."""
    # Probabilities, as the curves of Petsiuk et al. 2018 (arXiv:1806.07421) have it: logits have no common scale, and
    # one image with large ones would be most of the mean.
    own = classes.reshape(-1, *[1] * (logits.ndim - 1))
    return np.take_along_axis(softmax(logits), own, axis=-1)[..., 0]


def area(curves: Floats) -> Floats:
    """Area under curves over the share of patches, 0 to 1, by the trapezoid rule: (..., S + 1) to (...)."""
    under: Floats = np.trapezoid(curves, dx=1 / (curves.shape[-1] - 1), axis=-1)
    return under


def turned(logits: Floats, classes: Integers) -> Booleans:
    """Whether the model now says each image's own class: (I, ..., K) and (I,) to (I, ...)."""
    own = classes.reshape(-1, *[1] * (logits.ndim - 2))
    found: Booleans = logits.argmax(axis=-1) == own
    return found


def count_of(share: float, patches: int) -> int:
    """How many patches a share of them is, at least one."""
    return max(1, round(share * patches))
