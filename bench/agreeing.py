"""Do two explainers say the same? Their raw maps of the same rows, compared on the layer's own grid."""

from __future__ import annotations

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


def _finite(cell: Cell, row: int) -> bool:
    return bool(np.isfinite(cell.raw[row]).all())


def common_rows(first: Cell, second: Cell) -> list[tuple[int, int]]:
    """Positions (in first, in second) of the rows with the same id and class."""
    place = {key: index for index, key in enumerate(zip(second.ids.tolist(), second.classes.tolist(), strict=True))}
    keys = zip(first.ids.tolist(), first.classes.tolist(), strict=True)
    return [(index, place[key]) for index, key in enumerate(keys) if key in place]
