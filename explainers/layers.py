"""Finding the modules that maps are asked for, and refusing what no map can answer."""

from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from bench.errors import ContractError, UsageError


def find_layers(model: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    """The modules with these dotted names, each once.

    Raises:
        UsageError: a name is no module of the model; says which names come close.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    for name in layers:
        if name not in modules:
            close = get_close_matches(name, modules, n=3, cutoff=0.6) or [each for each in modules if "." not in each]
            raise UsageError(
                f"no layer {name!r} in this model; did you mean {', '.join(map(repr, close))}?",
                try_="bench list layers",
            )
    return {name: modules[name] for name in layers}


def check_request(layers: Sequence[str], images: Tensor, targets: Tensor) -> None:
    """Refuse what cannot be meant before any work is done.

    Raises:
        ContractError: no layer, images that are not (N, 3, H, W), targets that are not (N, T) int64 or below 0.
    """
    if not layers:
        raise ContractError("no layer was asked for")
    if images.ndim != 4 or not images.is_floating_point() or len(images) == 0:
        raise ContractError(f"images must be (N, 3, H, W) floats with N >= 1, not {shape_of(images)} {images.dtype}")
    if targets.ndim != 2 or targets.dtype != torch.int64 or targets.shape[1] == 0:
        raise ContractError(f"targets must be (N, T) int64 with T >= 1, not {shape_of(targets)} {targets.dtype}")
    if len(targets) != len(images):
        raise ContractError(f"{len(targets)} rows of targets for {len(images)} images; each image needs its own")
    refuse_targets(targets, targets < 0, "is below 0")


def check_logits(logits: object, targets: Tensor) -> Tensor:
    """The model's answer, once it is clear that every target is one of its classes.

    Raises:
        ContractError: not logits (N, K), or a target is not below K; names the first such target.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(targets):
        raise ContractError(f"the model must give logits (N, K) for {len(targets)} images, not {shape_of(logits)}")
    classes = logits.shape[1]
    refuse_targets(targets, targets >= classes, f"is not one of the model's {classes} classes (0 to {classes - 1})")
    return logits


def check_grid(name: str, output: object, batch: int) -> Tensor:
    """A layer's output, once it is clear that it has a grid to show.

    Raises:
        ContractError: not one tensor (N, C, h, w); names the layer and what it gave.
    """
    if isinstance(output, Tensor) and output.ndim == 4 and len(output) == batch:
        return output
    raise ContractError(
        f"layer {name!r} gives {shape_of(output)}, and a map needs (N, C, h, w) with N = {batch}",
        try_="name a convolution, a norm, a block or a stage: bench list layers --model NAME shows them",
    )


def refuse_targets(targets: Tensor, wrong: Tensor, why: str) -> None:
    """Raise ContractError for the first of the `wrong` targets, if there is one."""
    if wrong.any():
        image, column = wrong.nonzero()[0].tolist()
        raise ContractError(f"target {targets[image, column]} of image {image} {why}")


def shape_of(value: object) -> str:
    """What a value is, in the words of a shape."""
    return f"({', '.join(map(str, value.shape))})" if isinstance(value, Tensor) else f"a {type(value).__name__}"
