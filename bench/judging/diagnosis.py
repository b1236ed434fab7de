"""Why a map is not Grad-CAM's: every known mistake is made on purpose, in float64, until one reproduces the map.

No cause is guessed from a name. All passes run on a private float64 copy of the model.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor, nn

from bench.judging.picture_steps import UNTOUCHED, PictureRecipe, apart, find_recipe
from bench.modes import generators_kept, hooked
from bench.schema.verdicts import CAUSES

MOST_CLASSES = 64  # of more, the others are not tried one by one

# Keys of bench.schema.verdicts.CAUSES (none for Grad-CAM itself), and the maps (N, T, h, w) that such a mistake makes.
Alternative = tuple[tuple[str, ...], Tensor]


@dataclass(frozen=True)
class Scene:
    """What an explainer was given, in float64.

    Attributes:
        model: a private copy, in eval mode.
        images: (N, 3, H, W).
        targets: (N, T) int64.
    """

    model: nn.Module
    layer: str
    images: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Passes:
    """One forward pass with clones behind the layer, and one without.

    Attributes:
        made: the layer's outputs (N, C, h, w) at the moment they were made, one a run of the module, with their graph.
        ends: the same as they are at the end of a pass in which nothing was cloned.
        logits: (N, K), with their graph.
    """

    made: list[Tensor]
    ends: list[Tensor]
    logits: Tensor


@dataclass(frozen=True)
class Diagnosis:
    """A mistake that reproduces the maps, and for pictures the recipe on top of it; `unknown` where none does.

    Attributes:
        detail: words with figures, behind those of the cause.
        maps: (N, T, h, w) that the recipe was applied to; None where nothing fits.
    """

    causes: tuple[str, ...]
    detail: str = ""
    recipe: PictureRecipe | None = None
    maps: Tensor | None = None


# --- passes -------------------------------------------------------------------------------------------------


def passes(scene: Scene) -> Passes:
    """Run the model twice, once keeping what the layer gives and once watching what becomes of it."""
    made: list[Tensor] = []
    ends: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        made.append(output)
        return output.clone()

    def watch(module: nn.Module, inputs: object, output: Tensor) -> None:
        ends.append(output.detach())  # shares its memory: whatever overwrites the output shows here

    layer = scene.model.get_submodule(scene.layer)
    with torch.enable_grad(), hooked(layer, keep):
        # With all weights frozen the graph has to begin at the images.
        logits = scene.model(scene.images.detach().clone().requires_grad_())
    with torch.no_grad(), hooked(layer, watch):
        scene.model(scene.images)
    return Passes(made, ends, logits)


def slopes(seen: Passes, values: Tensor) -> list[Tensor]:
    """Gradient of the sum of `values` (N,) at every run of the layer, each (N, C, h, w); images do not mix."""
    found = torch.autograd.grad(values.sum(), seen.made, retain_graph=True, allow_unused=True)
    pairs = zip(seen.made, found, strict=True)
    return [torch.zeros_like(output) if slope is None else slope for output, slope in pairs]


def column_slopes(seen: Passes, scores: Tensor, targets: Tensor) -> list[list[Tensor]]:
    """Of every column of targets the gradients of its scores, one a run."""
    return [slopes(seen, scores.gather(1, column[:, None])) for column in targets.unbind(1)]


def averaged(output: Tensor, slope: Tensor) -> Tensor:
    """Grad-CAM's map (N, h, w): channels weighted by their mean gradient, added up."""
    return (slope.mean(dim=(2, 3), keepdim=True) * output.detach()).sum(dim=1)


def position_by_position(output: Tensor, slope: Tensor) -> Tensor:
    """HiResCAM's map (N, h, w): gradient times activation at every position, added up over channels."""
    return (slope * output.detach()).sum(dim=1)


def plain_maps(scene: Scene) -> Tensor:
    """Grad-CAM once more, plainly, of the last run of the layer: (N, T, h, w)."""
    seen = passes(scene)
    columns = column_slopes(seen, seen.logits, scene.targets)
    return torch.stack([averaged(seen.made[-1], runs[-1]) for runs in columns], dim=1)


# --- mistakes -----------------------------------------------------------------------------------------------


def alternatives(scene: Scene) -> Iterator[Alternative]:
    """The maps of every known mistake, the simpler ones first; each is made only when the ones before did not fit."""
    seen = passes(scene)
    logits = column_slopes(seen, seen.logits, scene.targets)
    yield from _of_runs(seen, logits)
    yield from _of_formula(seen, logits, position_by_position, "elementwise")
    for key, scores in (("softmax", seen.logits.softmax(1)), ("log-softmax", seen.logits.log_softmax(1))):
        yield from _of_formula(seen, column_slopes(seen, scores, scene.targets), averaged, key)
    with generators_kept(scene.images.device):  # dropout draws
        yield ("training mode",), plain_maps(replace(scene, model=deepcopy(scene.model).train()))
    others = {"predicted class": seen.logits.argmax(1)[:, None].expand_as(scene.targets)}
    if scene.targets.shape[1] > 1:
        others["first class"] = scene.targets[:, :1].expand_as(scene.targets)
    for key, targets in others.items():
        yield from _of_formula(seen, column_slopes(seen, seen.logits, targets), averaged, key)


def _of_runs(seen: Passes, columns: list[list[Tensor]]) -> Iterator[Alternative]:
    """The output as it is at the end of the pass; then, of a module that runs again, other runs than the last."""
    last = len(seen.made) - 1
    for output, slope in sorted(
        ((output, slope) for output in range(last + 1) for slope in range(last + 1)),
        key=lambda pair: (pair != (last, last), pair != (0, 0), pair),
    ):
        same = () if output == slope == last else ("first call",) if output == slope == 0 else ("mixed calls",)
        for causes, kept in ((same, seen.made), ((*same, "overwritten"), seen.ends)):
            if causes:
                yield causes, torch.stack([averaged(kept[output], runs[slope]) for runs in columns], dim=1)


def _of_formula(
    seen: Passes, columns: list[list[Tensor]], formula: Callable[[Tensor, Tensor], Tensor], key: str
) -> Iterator[Alternative]:
    """A formula or a score, on the output as it was made and as it is at the end."""
    for causes, kept in (((key,), seen.made), ((key, "overwritten"), seen.ends)):
        yield causes, torch.stack([formula(kept[-1], runs[-1]) for runs in columns], dim=1)


# --- which of them fits -------------------------------------------------------------------------------------


def diagnose(found: Tensor, truth: Tensor, scene: Scene, *, tolerance: float, picture: bool) -> Diagnosis:
    """The mistake that reproduces maps which are not Grad-CAM's.

    Args:
        found: (N, T, H, W) float64, what the explainer gave.
        truth: (N, T, h, w) float64, Grad-CAM's raw maps.
        scene: what it was given.
        tolerance: the most that any value may differ by, of the largest value of its map.
        picture: whether scaling and resizing are the explainer's right.
    """
    rows = truth.isfinite().all(dim=(2, 3))
    broken = rows & ~found.isfinite().all(dim=(2, 3))
    if broken.any():
        return Diagnosis(("not finite",), f"{int(broken.sum())} of {rows.numel()} maps")
    diagnosis = _fitting(found, truth, scene, rows=rows, tolerance=tolerance, picture=picture)
    if diagnosis is not None:
        return diagnosis
    empty = rows & (found == 0).all(dim=(2, 3)) & (truth != 0).any(dim=(2, 3))
    if not empty.any():
        return Diagnosis(("unknown",))
    if bool((empty == rows).all()):
        return Diagnosis(("all zero",))
    rest = _fitting(found, truth, scene, rows=rows & ~empty, tolerance=tolerance, picture=picture)
    if rest is None:
        return Diagnosis(("unknown",), f"{int(empty.sum())} of {rows.numel()} maps are zero everywhere")
    detail = "; ".join(filter(None, (f"{int(empty.sum())} of {rows.numel()} maps", rest.detail)))
    return Diagnosis(("zero rows", *rest.causes), detail, rest.recipe, rest.maps)


def _fitting(
    found: Tensor, truth: Tensor, scene: Scene, *, rows: Tensor, tolerance: float, picture: bool
) -> Diagnosis | None:
    """Grad-CAM's own maps first, then every mistake, then any other class."""
    every = chain([((), truth)], alternatives(scene))
    for causes, made in every:
        maps = made.to(found)
        fit = _fit(found[rows], maps[rows], tolerance, picture=picture) if maps[rows].isfinite().all() else None
        if fit is not None:
            more, recipe = fit
            detail = _as_well(maps[rows], every, rows, tolerance) if len(causes) == 1 else ""
            return Diagnosis((*causes, *more), detail, recipe=recipe, maps=maps)
    return None if picture else _of_other_class(found, scene, rows=rows, tolerance=tolerance)


def _as_well(maps: Tensor, rest: Iterator[Alternative], rows: Tensor, tolerance: float) -> str:
    """The other single mistakes that make the same maps here, in words; these images cannot tell which it is."""
    same = [
        CAUSES[causes[0]][0]
        for causes, made in rest
        if len(causes) == 1 and made.shape[:2] == rows.shape and apart(made.to(maps)[rows], maps) <= tolerance
    ]
    return f"or {', or '.join(same)}: these images do not tell them apart" if same else ""


def _fit(
    found: Tensor, maps: Tensor, tolerance: float, *, picture: bool
) -> tuple[tuple[str, ...], PictureRecipe | None] | None:
    """Whether maps (R, h, w) are what was found, as they are, times a constant, or through a recipe."""
    if picture:
        recipe = find_recipe(found, maps, tolerance)
        return None if recipe is None else ((), recipe)
    if found.shape == maps.shape and apart(found, maps) <= tolerance:
        return (), None
    if found.shape == maps.shape and (key := constant_factor(found, maps, tolerance)):
        return (key,), None
    recipe = find_recipe(found, maps, tolerance, nearest_to=UNTOUCHED)
    if recipe is None:
        return None
    scaled = (recipe.scale, recipe.again) != ("none", "none")
    undue = {"relu": recipe.relu != "none", "scaled": scaled, "resized": found.shape != maps.shape}
    return tuple(key for key, holds in undue.items() if holds), None


def constant_factor(found: Tensor, maps: Tensor, tolerance: float) -> str:
    """Which constant all maps are multiplied by: `sum`, `sign` or `factor`; empty when none fits."""
    # By least squares over all maps together, since a constant is one constant; whether it is one shows below.
    squares = float((maps * maps).sum())
    factor = float((found * maps).sum()) / squares if squares > 0 else 0.0
    if factor == 0 or apart(found, factor * maps) > tolerance:
        return ""
    if abs(factor - maps[0].numel()) < 1e-6 * factor:
        return "sum"
    return "sign" if abs(factor + 1) < 1e-6 else "factor"


def _of_other_class(found: Tensor, scene: Scene, *, rows: Tensor, tolerance: float) -> Diagnosis | None:
    """Every map held against the maps of all classes of its image; an example goes into the words."""
    seen = passes(scene)
    classes = range(min(seen.logits.shape[1], MOST_CLASSES))
    maps = torch.stack([averaged(seen.made[-1], slopes(seen, seen.logits[:, k])[-1]) for k in classes], dim=1)
    if maps.shape[2:] != found.shape[2:]:
        return None
    maps = maps.to(found)
    gaps = (found[:, :, None] - maps[:, None]).abs().amax(dim=(3, 4)) / maps.abs().amax(dim=(2, 3))[:, None]
    nearest = gaps.min(dim=2)  # (N, T): of which class each map is
    if not bool((nearest.values[rows] <= tolerance).all()):
        return None
    image, column = (rows & (nearest.indices != scene.targets.to(rows.device))).nonzero()[0].tolist()
    asked, given = int(scene.targets[image, column]), int(nearest.indices[image, column])
    return Diagnosis(("other class",), f"for instance class {given} where class {asked} was asked for")
