"""Do two explainers say the same? Their raw maps of the same rows, compared on the layer's own grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.contracts import Floats
from bench.registry.registry import short
from bench.schema.page import Agreement
from bench.schema.run import Cell
from bench.schema.scores import Likeness, PairScores
from bench.stats.intervals import (
    bootstrap_mean,
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
    cells = [cell for cell in cells if cell.output != "picture"]
    found = []
    for index, first in enumerate(cells):
        for second in cells[index + 1 :]:
            if first.layer == second.layer and first.raw.shape[1:] == second.raw.shape[1:]:
                one = agreement(run, first, second)
                if one is not None:
                    found.append(one)
    return found


def agreement(run: int, first: Cell, second: Cell) -> Agreement | None:
    """Two cells on their common rows; None when none is finite in both: of those nothing can be said."""
    rows = [
        (here, there) for here, there in common_rows(first, second) if _finite(first, here) and _finite(second, there)
    ]
    if not rows:
        return None
    here, there = (np.array(each, dtype=np.int64) for each in zip(*rows, strict=True))
    a, b, ids = first.raw[here], second.raw[there], first.ids[here]
    return Agreement(
        run=run,
        layer=first.layer,
        first=short(first.explainer),
        second=short(second.explainer),
        rows=len(rows),
        largest=largest_relative_difference(a, b),
        spearman=median_or_none(rank_correlations(a, b)),
        null=unrelated_correlation(a, b, ids),
    )


def disagreements(cells: Sequence[tuple[int, Cell]]) -> dict[int, float]:
    """How far explainers part on each image: the largest 1 - rank correlation of their maps of the same row.

    Args:
        cells: (run index, cell); only cells of one run at one layer are compared.

    Returns:
        0 (same order of positions) to 2 (opposite order) by test id; without those of which nothing can be said.
    """
    found: dict[int, float] = {}
    for index, (run, first) in enumerate(cells):
        for other, second in cells[index + 1 :]:
            if run != other or first.layer != second.layer or first.raw.shape[1:] != second.raw.shape[1:]:
                continue
            rows = common_rows(first, second)
            here, there = ([pair[side] for pair in rows] for side in (0, 1))
            apart = 1 - rank_correlations(first.raw[here], second.raw[there])
            for each, value in zip(first.ids[here].tolist(), apart.tolist(), strict=True):
                if not math.isnan(value):  # as it is where a map is constant or not finite
                    found[each] = max(value, found.get(each, 0.0))
    return found


def _finite(cell: Cell, row: int) -> bool:
    return bool(np.isfinite(cell.raw[row]).all())


def common_rows(first: Cell, second: Cell) -> list[tuple[int, int]]:
    """Positions (in first, in second) of the rows with the same id and class."""
    place = {key: index for index, key in enumerate(zip(second.ids.tolist(), second.classes.tolist(), strict=True))}
    keys = zip(first.ids.tolist(), first.classes.tolist(), strict=True)
    return [(index, place[key]) for index, key in enumerate(keys) if key in place]


# --- over images, beside maps of different images -----------------------------------------------------------


def likeness(matrices: Sequence[Floats], generator: np.random.Generator) -> Likeness:
    """How alike two maps of one image are, beside what maps of different images reach.

    Each image counts once, with the mean of its maps. The null is over all pairs of different images, which is what
    the mean over all ways to permute the images comes to. What an image adds to it is what its row and its column
    add, so that its interval, too, is over images and not over pairs that are not independent (the first-order term
    of Hoeffding 1948, Ann. Math. Stat. 19, 293).

    Args:
        matrices: for each kind of map, such as predicted and true class, (I, I) likenesses of the first's map of
            image i and the second's of image j; NaN where one of them says nothing.
    """
    stack = np.stack(list(matrices))
    own = _mean(np.diagonal(stack, axis1=1, axis2=2), axis=0)
    other = stack.copy()
    other[:, np.arange(stack.shape[1]), np.arange(stack.shape[1])] = np.nan
    pairs = _mean(other, axis=0)
    of_image = _mean(pairs, axis=1) + _mean(pairs, axis=0) - _mean(pairs.ravel(), axis=0)
    count = int((~np.isnan(own)).sum())
    return Likeness(bootstrap_mean(own, generator), bootstrap_mean(of_image, generator), count)


def _mean(values: Floats, axis: int) -> Floats:
    """Mean of what is known along an axis; NaN where nothing is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(known, values, 0.0).sum(axis=axis) / known.sum(axis=axis)
    return found


def pair_scores(
    layer: str, names: tuple[str, str], maps: Sequence[tuple[Floats, Floats]], generator: np.random.Generator
) -> PairScores:
    """Rank correlation and overlap of the top eighth of two explainers, over images.

    Args:
        names: the two explainers.
        maps: for each class asked for, the maps (I, h, w) of both, image by image; NaN where a map is not `ok`.
    """
    positions = maps[0][0][0].size
    top = max(1, round(TOP_SHARE * positions))
    ranks = [rank_matrix(first, second) for first, second in maps]
    shares = [overlap_matrix(first, second, top) for first, second in maps]
    return PairScores(layer, *names, likeness(ranks, generator), likeness(shares, generator))
