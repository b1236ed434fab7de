"""Do two explainers say the same? Their raw maps of the same rows, compared on the layer's own grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.registry import short
from bench.stats import largest_relative_difference, median_or_none, rank_correlations, unrelated_correlation
from bench.views import Agreement

if TYPE_CHECKING:
    from bench.contracts import Cell


def agreements(run: int, cells: Sequence[Cell]) -> list[Agreement]:
    """Every pair of explainers at every layer they share, over the rows that both have."""
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
        0 (same order of cells) to 2 (opposite order) by test id; without those of which nothing can be said.
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
