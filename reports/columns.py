"""Which explainers and layers a page has, in which order, and which of them it shows first."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from bench.schema.page import CellView, Page

PIXELS = "input"  # where maps of the picture itself lie


def layers_of(cells: Iterable[CellView], others: Iterable[str] = ()) -> tuple[str, ...]:
    """Layers as a picture passes through them: large grids before small ones, names of one size by their numbers.

    Args:
        others: layers without maps; by name alone, after those with maps.
    """
    grids: dict[str, int] = {}
    for cell in cells:
        # A finished picture has the size of the image, whatever its layer.
        size = 0 if cell.picture else cell.height * cell.width
        grids[cell.layer] = max(grids.get(cell.layer, 0), size)
    known = sorted(grids, key=lambda layer: (layer != PIXELS, -grids[layer], by_number(layer)))
    return tuple(dict.fromkeys([*known, *sorted(others, key=by_number)]))


def by_number(name: str) -> list[tuple[int, int, str]]:
    """A key that puts layer10 after layer9."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def explainers_of(page: Page) -> tuple[str, ...]:
    """Explainers with maps, in the order in which they were asked for."""
    return tuple(dict.fromkeys(cell.explainer for cell in page.cells))


def lead_of(page: Page) -> tuple[str, str]:
    """The explainer and the layer that stand for all: those with most maps, of which no run's are wrong or a picture.

    Of layers the last one whose maps have a grid. Two empty names where there are no maps.
    """
    wrong = {
        (one.run, one.verdict.explainer, one.verdict.layer)
        for one in page.verdicts
        if one.verdict.verdict in ("wrong", "failed")
    }
    rows: Counter[tuple[str, str]] = Counter()
    doubts: dict[tuple[str, str], int] = defaultdict(int)
    for cell in page.cells:
        rows[cell.explainer, cell.layer] += cell.rows
        doubts[cell.explainer, cell.layer] += 2 * ((cell.run, cell.explainer, cell.layer) in wrong) + cell.picture
    if not rows:
        return "", ""
    layers, names = layers_of(page.cells), explainers_of(page)
    return min(
        rows,
        key=lambda one: (
            doubts[one] > 0, one[1] == PIXELS, -rows[one], -layers.index(one[1]), names.index(one[0])
        ),
    )  # fmt: skip
