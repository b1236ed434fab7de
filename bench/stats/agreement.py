"""Do two explainers say the same? Their raw maps of the same rows, compared on the layer's own grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bench.contracts import Floats, Integers
from bench.registry.registry import short
from bench.schema.page import Agreement
from bench.schema.run import Cell
from bench.stats.intervals import (
    largest_relative_difference,
    median_or_none,
    overlap_matrix,
    rank_correlations,
    rank_matrix,
    unrelated_correlation,
)

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
    finite, others = (np.isfinite(maps).all(axis=(1, 2)) for maps in (first.raw[here], second.raw[there]))
    known = finite & others
    if not known.any():
        return None
    a, b, ids = first.raw[here][known], second.raw[there][known], first.ids[here][known]
    return Agreement(
        run=run,
        layer=first.layer,
        first=short(first.explainer),
        second=short(second.explainer),
        rows=len(ids),
        largest=largest_relative_difference(a, b),
        spearman=median_or_none(rank_correlations(a, b)),
        null=unrelated_correlation(a, b, ids),
        dropped=int((~known).sum()),
        one_sided=int((finite != others).sum()),
        zeros=int((~a.any(axis=(1, 2)) & ~b.any(axis=(1, 2))).sum()),
    )


def disagreements(cells: Sequence[tuple[int, Cell]]) -> dict[int, float]:
    """How far explainers part on each image: the largest 1 - rank correlation of their maps of the same row.

    Args:
        cells: (run index, cell); only cells of one run at one layer are compared.

    Returns:
        0 (same order of positions) to 2 (opposite order) by test id; without those of which nothing can be said.
    """
    found: dict[int, float] = {}
    for (run, first), (other, second) in combinations(cells, 2):
        if run == other and alike(first, second):
            here, there = common_rows(first, second)
            apart = 1 - rank_correlations(first.raw[here], second.raw[there])
            known = ~np.isnan(apart)  # which it is where a map is constant or not finite
            for each, value in zip(first.ids[here][known].tolist(), apart[known].tolist(), strict=True):
                found[each] = max(value, found.get(each, 0.0))
    return found


def common_rows(first: Cell, second: Cell) -> tuple[Integers, Integers]:
    """Positions in the first and in the second of the rows with the same id and class."""
    place = {key: index for index, key in enumerate(zip(second.ids.tolist(), second.classes.tolist(), strict=True))}
    keys = zip(first.ids.tolist(), first.classes.tolist(), strict=True)
    rows = [(index, place[key]) for index, key in enumerate(keys) if key in place]
    here, there = np.array(rows, dtype=np.int64).reshape(-1, 2).T
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
