"""Do two explainers say the same? Their raw maps of the same rows, compared on the layer's own grid."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bench.contracts import Booleans, Floats, Integers
from bench.registry.registry import short
from bench.schema.page import Agreement
from bench.schema.run import Cell, Rows
from bench.stats.intervals import (
    largest_relative_difference,
    median_or_none,
    overlap_matrix,
    rank_correlations,
    rank_matrix,
)

AT_ONCE = 2**19  # values of maps that are looked at together
TOP_SHARE = 1 / 8  # of the positions: whole numbers on 4x4 and 8x8, where a tenth would be 1.6 and 6.4


def agreements(run: int, cells: Sequence[Cell]) -> list[Agreement]:
    """Every pair of explainers at every layer they share, over the rows that both have.

    Finished pictures are left out: they are no raw maps, and how they were scaled and resized would be compared.
    """
    pairs = combinations([cell for cell in cells if cell.output != "picture"], 2)
    found = (agreement(run, first, second) for first, second in pairs if alike(first, second))
    return [one for one in found if one is not None]


def alike(first: Cell, second: Cell) -> bool:
    """Whether two cells are of one layer, on one grid."""
    return first.layer == second.layer and first.raw.shape[1:] == second.raw.shape[1:]


def agreement(run: int, first: Cell, second: Cell) -> Agreement | None:
    """Two cells on their common rows; None when none is finite in both: of those nothing can be said."""
    here, there = common_rows(first, second)
    sides = (finite_rows(first.raw, here), finite_rows(second.raw, there))
    known = sides[0] & sides[1]
    here, there = here[known], there[known]
    if not len(here):
        return None
    # Half a set away, since rows stand image by image; no draw, so that the same maps have the same null.
    other = np.roll(np.arange(len(here)), -(len(here) // 2))
    unlike = first.ids[here] != first.ids[here][other]
    largest, zeros = 0.0, 0
    own, null = np.empty(len(here)), np.empty(len(here))
    for rows in in_blocks(len(here), first.raw):
        a, b = first.raw[here[rows]], second.raw[there[rows]]
        largest = max(largest, largest_relative_difference(a, b))
        zeros += int((~a.any(axis=(1, 2)) & ~b.any(axis=(1, 2))).sum())
        own[rows] = rank_correlations(a, b)
        null[rows] = rank_correlations(a, second.raw[there[other[rows]]])
    return Agreement(
        run=run,
        layer=first.layer,
        first=short(first.explainer),
        second=short(second.explainer),
        rows=len(here),
        largest=largest,
        spearman=median_or_none(own),
        null=median_or_none(null[unlike]),
        dropped=int((~known).sum()),
        one_sided=int((sides[0] != sides[1]).sum()),
        zeros=zeros,
    )


def in_blocks(count: int, maps: Rows) -> Iterator[slice]:
    """Slices of so many rows, of which the maps (R, h, w) are looked at together."""
    each = max(1, AT_ONCE // int(np.prod(maps.shape[1:])))
    return (slice(start, min(start + each, count)) for start in range(0, count, each))


def finite_rows(maps: Rows, rows: Integers) -> Booleans:
    """(M,) which of the maps of these rows (M,) are finite everywhere."""
    blocks = [np.isfinite(maps[rows[part]]).all(axis=(1, 2)) for part in in_blocks(len(rows), maps)]
    return np.concatenate([*blocks, np.empty(0, dtype=bool)])


def disagreements(cells: Sequence[tuple[int, Cell]], ids: Integers) -> dict[int, float]:
    """How far explainers part on each image: the largest 1 - rank correlation of their maps of the same row.

    Args:
        cells: (run index, cell); only cells of one run at one layer are compared.
        ids: (N,) test ids of the images.

    Returns:
        0 (same order of positions) to 2 (opposite order) by test id; without those of which nothing can be said.
    """
    found: dict[int, float] = {}
    for (run, first), (other, second) in combinations(cells, 2):
        if run == other and alike(first, second):
            here, there = common_rows(first, second)
            shown = np.isin(first.ids[here], ids)
            apart = 1 - correlations(first, second, here[shown], there[shown])
            known = ~np.isnan(apart)  # which it is where a map is constant or not finite
            for each, value in zip(first.ids[here[shown]][known].tolist(), apart[known].tolist(), strict=True):
                found[each] = max(value, found.get(each, 0.0))
    return found


def correlations(first: Cell, second: Cell, here: Integers, there: Integers) -> Floats:
    """(M,) rank correlations of rows of the first and of the second, read block by block."""
    parts = in_blocks(len(here), first.raw)
    found = [rank_correlations(first.raw[here[rows]], second.raw[there[rows]]) for rows in parts]
    return np.concatenate([*found, np.empty(0)])


def common_rows(first: Cell, second: Cell) -> tuple[Integers, Integers]:
    """Positions in the first and in the second of the rows with the same id and class."""
    _, here, there = np.intersect1d(first.keys, second.keys, assume_unique=True, return_indices=True)
    return here, there


# --- over images, beside maps of other images of the class ---------------------------------------------------


@dataclass(frozen=True)
class Beside:
    """Image by image how alike two maps of it are, and what maps of other images of its class reach.

    Attributes:
        own: (I,) of the image's own maps; NaN where one of them says nothing.
        null: (I,) of other images of the class, so that `own` minus `null` is the image's share of the difference of
            the two means; NaN where `own` is, and for an image that is alone in its class.
    """

    own: Floats
    null: Floats

    @property
    def alone(self) -> int:
        """Images with maps that no other image of the class can be held against."""
        return int((~np.isnan(self.own) & np.isnan(self.null)).sum())


def beside(matrices: Sequence[Floats], classes: Integers) -> Beside:
    """How alike two maps of one image are, beside what maps of other images of the same class reach.

    Of the same class, since what all images of a class share (where its objects tend to be) is no knowledge of the
    image: maps that know the class alone reach their null. Each image counts once, with the mean of its maps. What an
    image adds to the null is what its row and its column add, less the class's mean that both hold, so that intervals
    are over images and not over pairs that are not independent (the first-order term of Hoeffding 1948, Ann. Math.
    Stat. 19, 293).

    Args:
        matrices: for each kind of map, such as predicted and true class, (I, I) likenesses of the first's map of
            image i and the second's of image j; NaN where one of them says nothing.
        classes: (I,) the class that each image's map speaks for.
    """
    stack = np.stack(list(matrices))
    own = _mean(np.diagonal(stack, axis1=1, axis2=2), axis=0)
    pairs = _mean(np.where(np.eye(len(classes), dtype=bool), np.nan, stack), axis=0)
    null = np.full(len(classes), np.nan)
    for each in np.unique(classes):
        inside = np.flatnonzero(classes == each)
        block = pairs[np.ix_(inside, inside)]
        null[inside] = _mean(block, axis=1) + _mean(block, axis=0) - _mean(block.ravel(), axis=0)
    return Beside(own, np.where(np.isnan(own), np.nan, null))


def _mean(values: Floats, axis: int) -> Floats:
    """Mean of what is known along an axis; NaN where nothing is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(known, values, 0.0).sum(axis=axis) / known.sum(axis=axis)
    return found


def of_pair(maps: Sequence[tuple[Floats, Floats]], classes: Integers) -> tuple[Beside, Beside]:
    """Rank correlation and overlap of the top eighth of two explainers, image by image.

    Args:
        maps: for each class asked for, the maps (I, h, w) of both, image by image; NaN where a map is not `ok`.
        classes: (I,) what counts as one class of images.
    """
    positions = maps[0][0][0].size
    top = max(1, round(TOP_SHARE * positions))
    ranks = [rank_matrix(first, second) for first, second in maps]
    shares = [overlap_matrix(first, second, top) for first, second in maps]
    return beside(ranks, classes), beside(shares, classes)
