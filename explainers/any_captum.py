"""Any attribution class of Captum's, by its name there.

Its parameters tell how it is called: what none of them asks for keeps the library's default, the baseline is the data
set's mean colour (0), and where a class takes a mask of features, these are squares of the image or positions of the
layer. Maps have the channels summed with their sign; the channels of a square are one.
"""

from functools import partial
from math import prod
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .by_name import Classes, Method, Question, RefusedError, parameters
from .own_relus import OwnReLUs
from .pixels import at_once
from .rescale import OF_ONE_VALUE, POOLING

NETS = ("model", "forward_func")  # how its classes call the net
EDGE = 4  # pixels of a square, as `occlusion` has them
OF_SQUARES = ("feature_mask", "layer_mask", "sliding_window_shapes")


def ways(kind: Any) -> list[Method]:  # noqa: ANN401 (a class of the library)
    """How a class is called; nothing for one that attributes nothing."""
    if not hasattr(kind, "attribute"):
        return []
    return [Method("layer" in parameters(kind), partial(ask, kind))]


def ask(kind: Any, question: Question) -> Tensor:  # noqa: ANN401
    """(N, h, w) of a class for one target an image.

    Raises:
        RefusedError: it needs something that bench knows nothing of.
    """
    made, called = parameters(kind), parameters(kind.attribute)
    net = net_for(kind, question) if "model" in made else question.net
    maker = only({**dict.fromkeys(NETS, net), "layer": question.layer}, made, f"{kind.__name__}()")
    given = kind(**maker).attribute(**only(arguments(question, called), called, "its attribute()"))
    values = given[0] if isinstance(given, tuple) and len(given) == 1 else given
    if not isinstance(values, Tensor) or values.ndim != 4:
        raise RefusedError(f"it gives {what(given)}, no map")
    return values.mean(1) if called.keys() & set(OF_SQUARES) else values.sum(1)


def what(value: object) -> str:
    """A value in words."""
    return f"({', '.join(map(str, value.shape))})" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def only(known: dict[str, Any], wanted: dict[str, bool], where: str) -> dict[str, Any]:
    """Of what is known what is wanted; RefusedError where something is needed that is not known."""
    lacking = [name for name, needed in wanted.items() if needed and known.get(name) is None]
    if lacking:
        raise RefusedError(f"{where} needs {', '.join(lacking)}")
    return {name: known[name] for name in wanted if known.get(name) is not None}


def net_for(kind: Any, question: Question) -> nn.Module:  # noqa: ANN401
    """What a class that sets hooks on modules is given: a module for every call of a function that it changes.

    LRP alone goes by all modules, and so gets the net as it is.
    """
    from captum.attr import LRP, DeepLift

    if issubclass(kind, LRP):
        return question.net
    if issubclass(kind, DeepLift):
        return OwnReLUs(question.net, question.images, functions=OF_ONE_VALUE, instead=POOLING)
    return OwnReLUs(question.net, question.images)


def arguments(question: Question, called: dict[str, bool]) -> dict[str, Any]:
    """What can be told to `attribute`, by the names of its parameters."""
    images = question.images
    _, channels, height, width = images.shape
    most = at_once(images)
    return {
        "inputs": images,
        "target": question.targets,
        # Two, since some classes refuse a single one; where it need not be given, it is the same.
        "baselines": torch.zeros_like(images[:1]).repeat(2, 1, 1, 1) if called.get("baselines") else None,
        "feature_mask": squares(height, width, images.device).repeat(1, channels, 1, 1),
        "layer_mask": torch.arange(prod(question.grid), device=images.device).view(1, 1, *question.grid),
        "sliding_window_shapes": (channels, EDGE, EDGE),
        "strides": (channels, EDGE, EDGE),
        "internal_batch_size": max(most, len(images)),
        "perturbations_per_eval": max(1, most // len(images)),
    }


def squares(height: int, width: int, device: torch.device) -> Tensor:
    """(1, 1, height, width) the number of each pixel's square."""
    rows, columns = (torch.arange(size, device=device) // EDGE for size in (height, width))
    return (rows[:, None] * (int(columns[-1]) + 1) + columns)[None, None]


def attr() -> ModuleType:
    """The part of the library that is meant, imported."""
    import captum.attr

    module: ModuleType = captum.attr
    return module


CAPTUM = Classes("captum", "captum", attr, ways)
