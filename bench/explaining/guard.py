"""Around every call of an explainer: the model must come back as it was, and the maps as they should be."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from bench.clock import Stopwatch
from bench.contracts import ExplainerSpec, Floats, Integers
from bench.errors import ContractError
from bench.explaining.own_draws import own_draws
from bench.explaining.side_effects import changes, watch
from bench.schema.run import STATUSES

Call = Callable[[ExplainerSpec, nn.Module, Sequence[str], Tensor, Tensor, Stopwatch], Mapping[str, Tensor]]


def guarded(
    spec: ExplainerSpec,
    model: nn.Module,
    layers: Sequence[str],
    images: Tensor,
    targets: Tensor,
    stopwatch: Stopwatch | None = None,
) -> dict[str, Tensor]:
    """What the explainer gives, once it is clear that it left everything as found. Gradients are recorded meanwhile.

    Args:
        spec: whose `explain` is called.
        model: gives logits (N, K).
        layers: dotted module names, or ("input",).
        images: (N, 3, H, W).
        targets: (N, T) int64.
        stopwatch: runs during the call alone.

    Returns:
        {layer: (N, T, h, w)} in the order of `layers`, detached, in the dtype of `images`. Non-finite values stay.

    Raises:
        ContractError: the explainer changed the model, the images, the targets or a global state, or its maps
            have the wrong names, shape or dtype; names it and everything it did. What can be put back has been:
            all but the values of parameters, and generators that other threads may have drawn from. An error of the
            explainer itself passes, with the same put back.
    """
    ended = False

    def own() -> Collection[str]:
        return drawn_by(spec, model, layers, images, targets) if ended else ()

    with torch.enable_grad():  # whether or not the caller records them
        watchers = watch(model, images, targets, stochastic=spec.stochastic, own=own)
        try:
            with stopwatch.running() if stopwatch else nullcontext():
                raw = spec.explain(model, layers, images, targets)
        except BaseException as error:
            left = changes(watchers)
            if isinstance(error, Exception):  # the notes of an interruption are commands that go on
                error.add_note(f"in explainer {spec.name!r}" + (f", which also {'; '.join(left)}" if left else ""))
            raise
        ended = True
        faults = changes(watchers)
    faults += faults_of_maps(spec, raw, layers, images, targets)
    if faults:
        raise ContractError(
            f"explainer {spec.name!r} broke its contract: it {'; '.join(faults)}",
            try_="bench list explainers  # for another one; the contract is Explainer in bench/contracts.py",
        )
    return {layer: raw[layer] for layer in layers}


def drawn_by(spec: ExplainerSpec, model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> set[str]:
    """Which global generators an explainer draws from: it is called once more, and what that leaves is put back."""
    watchers = watch(model, images, targets, stochastic=True)
    found = own_draws(lambda: spec.explain(model, layers, images, targets))
    changes(watchers)
    return found


def statuses(raw: Floats) -> Integers:
    """How each map came out: non-finite before constant before dead before ok.

    Args:
        raw: (R, h, w) raw maps. Constant: largest = smallest value. Dead: no positive value.

    Returns:
        (R,) uint8, index into STATUSES.
    """
    low, high = raw.min(axis=(1, 2)), raw.max(axis=(1, 2))
    first = {"non-finite": ~np.isfinite(raw).all(axis=(1, 2)), "constant": high == low, "dead": high <= 0}
    places = [STATUSES.index(word) for word in first]
    return np.select(list(first.values()), places, STATUSES.index("ok")).astype(np.uint8)


def faults_of_maps(
    spec: ExplainerSpec, raw: object, layers: Sequence[str], images: Tensor, targets: Tensor
) -> list[str]:
    """What is wrong with the maps themselves, in words."""
    if not isinstance(raw, Mapping) or set(raw) != set(layers):
        given = sorted(raw) if isinstance(raw, Mapping) else type(raw).__name__
        return [f"returned {given} for layers {sorted(layers)}"]
    size = "h, w" if spec.output == "layer" else f"{images.shape[2]}, {images.shape[3]}"
    wanted = f"({len(images)}, {targets.shape[1]}, {size}) {images.dtype}"
    faults = []
    for layer, values in raw.items():
        if not isinstance(values, Tensor):
            faults.append(f"returned a {type(values).__name__} at {layer}, not a tensor")
            continue
        grid = values.shape[2:] if spec.output == "layer" else images.shape[2:]
        due = (len(images), targets.shape[1], *grid)
        if values.ndim != 4 or values.numel() == 0 or values.dtype != images.dtype or values.shape != due:
            faults.append(f"returned {tuple(values.shape)} {values.dtype} at {layer}, not {wanted}")
        if values.requires_grad:
            faults.append(f"returned a map at {layer} that is not detached")
    return faults
