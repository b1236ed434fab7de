"""Which explainers give one and the same map at a layer, and why: formulas that differ may meet."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from bench.contracts import Floats
from bench.stats.intervals import largest_relative_difference

ROUNDING = 1e-5  # of a map's largest value: what float32 sums in another order differ by, 25 times over

# Equal to Grad-CAM wherever the gradient is. The library's XGradCAM only up to 1e-6, for it divides by sum + 1e-7.
MEET_GRADCAM = frozenset({"hirescam", "xgradcam"})

ONE_FORMULA = "they claim one formula, Grad-CAM's"
ONE_POSITION = "the grid is a single position, over which there is nothing to weight"
CONSTANT_GRADIENT = (
    "only pooling and a linear layer follow, so the gradient is the same at every position, "
    "and weighting channels by its mean (Grad-CAM), position by position (HiResCAM) or by activation (XGradCAM) is "
    "one sum"
)
NO_REASON = "no formula says that they must be equal"


def equal_groups(maps: Mapping[str, Floats], tolerance: float = ROUNDING) -> list[tuple[str, ...]]:
    """Names whose maps are equal up to rounding, together.

    A group holds what is equal to each of its members, since being equal up to rounding does not pass on. Rows of
    zeros are no evidence: maps that are zero wherever they are finite stay alone.

    Args:
        maps: explainer to raw maps (R, h, w), all of the same rows at the same layer.
        tolerance: the most that |a - b| may be, of the largest value of the map.

    Returns:
        Every name once, groups and members in the order given; one that equals no other is a group of its own.
    """
    groups: list[list[str]] = []
    for name, values in maps.items():
        home = next((each for each in groups if all(_equal(maps[one], values, tolerance) for one in each)), None)
        if home is None:
            groups.append([name])
        else:
            home.append(name)
    return [tuple(group) for group in groups]


def reason_of(group: Sequence[str], claiming: Collection[str], grid: tuple[int, ...]) -> str:
    """Why the members of a group of two or more are equal, in words that complete "equal, because".

    Args:
        group: names, as `equal_groups` gives them.
        claiming: the names whose entries claim to be Grad-CAM.
        grid: (h, w) of the maps.
    """
    if all(name in claiming for name in group):
        return ONE_FORMULA
    if not all(name in claiming or name in MEET_GRADCAM for name in group):
        return NO_REASON
    return ONE_POSITION if grid == (1, 1) else CONSTANT_GRADIENT


def _equal(first: Floats, second: Floats, tolerance: float) -> bool:
    if first.shape != second.shape:
        return False
    finite = np.isfinite(first).all(axis=(1, 2))
    if not np.array_equal(finite, np.isfinite(second).all(axis=(1, 2))):
        return False
    seen = bool(first[finite].any() or second[finite].any())
    return seen and largest_relative_difference(first, second) <= tolerance
