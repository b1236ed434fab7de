"""How a finished picture came from a raw map: every recipe is replayed, and the one that fits is named.

A recipe has four slots: where the ReLU stands, how the map is scaled, how it is resized, and how it is scaled again.
"""

from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from itertools import product

import torch
from torch import Tensor

from bench.schema.verdicts import Step

SHARE = 0.98  # of the cumulative sum: Captum's visualiser leaves two per cent out
RESIZES = {  # torch's mode, align_corners, words
    "bilinear": ("bilinear", False, "bilinear between half-pixel centres"),
    "nearest": ("nearest", None, "nearest value instead of bilinear"),
    "aligned": ("bilinear", True, "bilinear with aligned corners instead of half-pixel centres"),
    "bicubic": ("bicubic", False, "bicubic instead of bilinear"),
}


@dataclass(frozen=True)
class PictureRecipe:
    """What is done to a raw map, in this order.

    Attributes:
        relu: `before` scaling and resizing, `after` resizing, or `none`.
        scale: a name of SCALES.
        resize: a name of RESIZES.
        again: a name of SCALES, after resizing.
    """

    relu: str
    scale: str
    resize: str
    again: str


OURS = PictureRecipe("before", "max", "bilinear", "none")  # bench.postprocess
UNTOUCHED = PictureRecipe("none", "none", "bilinear", "none")  # a raw map as it is, on its own grid
KNOWN = (
    PictureRecipe("before", "min-max + 1e-7", "bilinear", "min-max + 1e-7"),  # pytorch-grad-cam's
    PictureRecipe("after", "none", "nearest", "98 %"),  # of Captum's interpolate and visualiser, with their defaults
)


def replayed(raw: Tensor, recipe: PictureRecipe, size: tuple[int, int]) -> Tensor:
    """The pictures that a recipe makes of raw maps.

    Args:
        raw: (R, h, w).
        size: of the pictures, (H, W).

    Returns:
        (R, H, W) in the dtype of `raw`.
    """
    scaled = SCALES[recipe.scale][0](raw.relu() if recipe.relu == "before" else raw)
    pixels = resized(scaled, recipe.resize, size)
    return SCALES[recipe.again][0](pixels.relu() if recipe.relu == "after" else pixels)


def resized(maps: Tensor, how: str, size: tuple[int, int]) -> Tensor:
    """(R, H, W) of (R, h, w); as they are where the size is theirs already."""
    from torch.nn.functional import interpolate

    if tuple(maps.shape[1:]) == size:
        return maps
    mode, aligned, _ = RESIZES[how]
    return interpolate(maps[:, None], size=size, mode=mode, align_corners=aligned)[:, 0]


def _over(maps: Tensor, largest: Tensor) -> Tensor:
    return torch.where(largest > 0, maps / largest.where(largest > 0, torch.ones_like(largest)), 0.0)


def by_largest(maps: Tensor, added: float) -> Tensor:
    """Divided by the largest value plus a constant; 0 where that is not above 0."""
    return _over(maps, maps.amax(dim=(1, 2), keepdim=True) + added)


def by_range(maps: Tensor, added: float) -> Tensor:
    """The smallest value subtracted, then divided by the largest plus a constant; 0 where a map is constant."""
    return by_largest(maps - maps.amin(dim=(1, 2), keepdim=True), added)


def by_cumulative_sum(maps: Tensor) -> Tensor:
    """Divided by the value at which the sorted values add up to 98 % of their sum, cut at 1; 0 for a map of zeros."""
    ordered = maps.abs().flatten(1).sort(dim=1).values
    sums = ordered.cumsum(dim=1)
    first = (sums >= SHARE * sums[:, -1:]).int().argmax(dim=1, keepdim=True)  # of equals argmax takes the first
    return _over(maps, ordered.gather(1, first)[:, :, None]).clamp(-1, 1)


SCALES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "none": (lambda maps: maps, "not scaled"),
    "max": (lambda maps: by_largest(maps, 0), "divided by the largest value"),
    "max + 1e-7": (lambda maps: by_largest(maps, 1e-7), "divided by the largest value + 1e-7"),
    "max + 1e-8": (lambda maps: by_largest(maps, 1e-8), "divided by the largest value + 1e-8"),
    "min-max": (lambda maps: by_range(maps, 0), "smallest value subtracted before the division"),
    "min-max + 1e-7": (lambda maps: by_range(maps, 1e-7), "smallest value subtracted before the division (+ 1e-7)"),
    "min-max + 1e-8": (lambda maps: by_range(maps, 1e-8), "smallest value subtracted before the division (+ 1e-8)"),
    "98 %": (by_cumulative_sum, "divided by the value at 98 % of the cumulative sum, cut at 1"),
}


def find_recipe(
    found: Tensor, raw: Tensor, tolerance: float, *, nearest_to: PictureRecipe = OURS
) -> PictureRecipe | None:
    """The recipe that makes `found` of `raw`.

    Of several, which these maps cannot tell apart, one that a library is known to use, else the nearest to ours.

    Args:
        found: (R, H, W).
        raw: (R, h, w), finite.
        tolerance: the most that any value may differ by, of the largest value of its map.
        nearest_to: another recipe than ours to prefer; then nothing that libraries use counts.
    """
    size = (int(found.shape[1]), int(found.shape[2]))
    one = int(found.flatten(1).std(dim=1, correction=0).argmax()) if len(found) else 0  # the map that tells most
    own, example = found[one : one + 1], raw[one : one + 1]
    # Hundreds of recipes on one map, and only those that fit there on all of them.
    likely = [recipe for recipe, made in all_replays(example, size) if apart(made, own) <= tolerance]
    fitting = [recipe for recipe in likely if apart(replayed(raw, recipe, size), found) <= tolerance]
    known = [recipe for recipe in KNOWN if recipe in fitting and nearest_to == OURS]
    return min(known or fitting, key=lambda recipe: distance(recipe, nearest_to), default=None)


def apart(found: Tensor, maps: Tensor) -> float:
    """The largest |a - b| of a map over the largest |b| of that map, over all maps (R, h, w)."""
    top = maps.abs().amax(dim=(-2, -1))  # a map of zeros has no scale: there the gap itself counts
    gap = (found - maps).abs().amax(dim=(-2, -1))
    return float(torch.where(top > 0, gap / top.where(top > 0, torch.ones_like(top)), gap).max()) if len(gap) else 0.0


def all_replays(raw: Tensor, size: tuple[int, int]) -> Iterator[tuple[PictureRecipe, Tensor]]:
    """Every recipe with the pictures it makes; what recipes share is computed once.

    Where there is nothing to resize, the slots that resize and scale again stay as they are in a raw map.
    """
    same = tuple(raw.shape[1:]) == size
    for relu, scale, resize in product(("before", "none"), SCALES, ("bilinear",) if same else RESIZES):
        pixels = resized(SCALES[scale][0](raw.relu() if relu == "before" else raw), resize, size)
        for again, (function, _) in list(SCALES.items())[: 1 if same else None]:
            yield PictureRecipe(relu, scale, resize, again), function(pixels)
            if relu == "none":
                yield PictureRecipe("after", scale, resize, again), function(pixels.relu())


def distance(one: PictureRecipe, other: PictureRecipe) -> int:
    """How many slots differ."""
    return sum(a != b for a, b in zip(astuple(one), astuple(other), strict=True))


def steps_between(raw: Tensor, recipe: PictureRecipe, size: tuple[int, int]) -> tuple[Step, ...]:
    """What a recipe does otherwise than ours: steps are replaced one at a time until the picture is the recipe's.

    A step's difference is the largest change of any pixel when it joins those before it, so a step that makes no
    difference beside the others has 0: ReLU before or after the nearest value is taken, for instance.
    """
    steps, before = [], replayed(raw, OURS, size)
    for words, changed in _changes(recipe):
        after = replayed(raw, changed, size)
        steps.append(Step(words, float((after - before).abs().max())))
        before = after
    return tuple(steps)


def _changes(recipe: PictureRecipe) -> Iterator[tuple[str, PictureRecipe]]:
    """From ours to the recipe slot by slot; scaling after instead of before resizing is one step, not two."""
    now = OURS
    if recipe.resize != now.resize:
        now = replace(now, resize=recipe.resize)
        yield RESIZES[recipe.resize][2], now
    if recipe.relu != now.relu:
        now = replace(now, relu=recipe.relu)
        yield "ReLU after resizing instead of before" if recipe.relu == "after" else "no ReLU", now
    if recipe.scale == "none" and recipe.again != "none":
        yield f"scaled after resizing instead of before: {SCALES[recipe.again][1]}", recipe
        return
    if recipe.scale != now.scale:
        now = replace(now, scale=recipe.scale)
        yield SCALES[recipe.scale][1], now
    if recipe.again != now.again:
        yield f"scaled again after resizing: {SCALES[recipe.again][1]}", recipe
