"""How much of what differs between maps is the seed's: variance components of maps of several runs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bench.contracts import Floats

FACTORS = ("seed", "image", "method")


@dataclass(frozen=True)
class Component:
    """A share of what differs between maps.

    Attributes:
        factors: that must change together for it to differ; none for the layout that all maps have in common.
        share: of the sum of all components, 0..1.
    """

    factors: tuple[str, ...]
    share: float


def components(maps: Floats) -> tuple[Component, ...]:
    """Variance components of maps by seed, image and method, corrected for the few there are of each.

    Each map is first freed from what no picture shows: its mean, and its scale. What is left is taken apart as in a
    three-way analysis of variance with random effects and one value a cell, position by position, and each mean square
    is solved for its component: of three seeds, the plain sum of squares would count a third of the seed's variance as
    the image's. A map is fixed by the three together, so that there is no other noise.

    Args:
        maps: (S, I, M, P) of the same images and positions by S seeds, I images and M methods; that of which there is
            only one has no component.

    Returns:
        The layout, the three factors, their interactions; a component that comes out below 0 is 0.

    Source: Searle, Casella & McCulloch 1992, Variance Components, chapter 4 (expected mean squares).
    """
    values = standardised(maps)
    sizes = dict(zip(FACTORS, values.shape[:3], strict=True))
    varying = [name for name in FACTORS if sizes[name] > 1]
    subsets = [each for count in range(len(varying) + 1) for each in combinations(varying, count)]
    squares = {each: _mean_square(values, each, sizes) for each in subsets}
    # The expected mean square of a set of factors is the sum over all sets that hold it of their component times the
    # number of values it is shared by: so the components follow from the largest set downwards.
    found: dict[tuple[str, ...], float] = {}
    for each in sorted(subsets, key=len, reverse=True):
        above = sum(_shared(other, sizes) * found[other] for other in found if set(each) < set(other))
        found[each] = max(0.0, (squares[each] - above) / _shared(each, sizes))
    whole = sum(found.values())
    return tuple(Component(each, found[each] / whole if whole else 0.0) for each in subsets)


def standardised(maps: Floats) -> Floats:
    """Maps (..., P) of mean 0 and mean square 1; one that is the same everywhere is 0."""
    centred = maps.astype(np.float64) - maps.mean(axis=-1, keepdims=True, dtype=np.float64)
    scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True))
    found: Floats = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0)
    return found


def _shared(factors: tuple[str, ...], sizes: dict[str, int]) -> int:
    """How many of the values share one draw of a component."""
    return int(np.prod([size for name, size in sizes.items() if name not in factors]))


def _mean_square(values: Floats, factors: tuple[str, ...], sizes: dict[str, int]) -> float:
    """The mean square of an effect, the mean over positions; of the layout that of the grand mean."""
    effect = np.zeros_like(values[:1, :1, :1])
    for inner in (each for count in range(len(factors) + 1) for each in combinations(factors, count)):
        axes = tuple(place for place, name in enumerate(FACTORS) if name not in inner)
        sign = (-1) ** (len(factors) - len(inner))
        effect = effect + sign * values.mean(axis=axes, keepdims=True)
    total = float((effect**2).sum(axis=(0, 1, 2)).mean()) * _shared(factors, sizes)
    return total / float(np.prod([sizes[name] - 1 for name in factors]) if factors else 1)


def of_the_seed(found: tuple[Component, ...]) -> float:
    """The share of all components in which the seed has a part."""
    return sum(each.share for each in found if "seed" in each.factors)
