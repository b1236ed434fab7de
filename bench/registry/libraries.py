"""A build function or a module class in the place of a ModelSpec, so that a model works as it lies in its file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.contracts import ModelSpec
from bench.errors import ContractError, MissingError
from bench.registry.layer_shapes import default_layers, shapes_of

if TYPE_CHECKING:
    from torch import Tensor, nn

COUNTS = ("num_classes", "n_classes", "nclasses", "classes", "num_class", "n_class", "num_labels", "n_labels", "nc")
TRIED = 10  # classes of the model that is built to look at it
WHOLE = "docs/bring-your-own.md shows one whole"


def spec_of_value(name: str, value: object) -> object:
    """A module class or a function that builds one as a spec, its layers not yet known; any other value as it is.

    Raises:
        MissingError: a model that is built already, or a function that cannot be called with a number of classes.
    """
    from torch import nn

    if isinstance(value, nn.Module):
        raise MissingError(
            f"model '{name}' is a {type(value).__name__} that is built already, so nothing can build it anew",
            try_="name its class, or a function of the number of classes that gives it",
        )
    if isinstance(value, ModelSpec) or not callable(value):
        return value
    if isinstance(value, type) and not issubclass(value, nn.Module):
        return value
    path, _, attribute = name.rpartition(":")
    call = _caller(name, value)

    def build(num_classes: int) -> nn.Module:
        return as_model(name, call(num_classes))

    return ModelSpec(name=_slug(attribute), build=build, source=path, layers=())


def _slug(attribute: str) -> str:
    return re.sub(r"[^a-z0-9_+]", "_", attribute.lower()).lstrip("_0123456789+") or "unnamed"


def _caller(name: str, function: Callable[..., Any]) -> Callable[[int], Any]:
    """How the number of classes is handed over: by a telling name, as the one thing needed, or not at all."""
    parameters = inspect.signature(function).parameters.values()
    by_name = next((each.name for each in parameters if each.name in COUNTS), None)
    if by_name is not None:
        return lambda num_classes: function(**{by_name: num_classes})
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if len(needed) > 1:
        raise MissingError(
            f"model '{name}' needs {', '.join(needed)}, and bench knows but the number of classes",
            try_="a function build(num_classes) that gives the model",
        )
    return function if needed else lambda num_classes: function()


def as_model(name: str, value: object) -> nn.Module:
    """What a build function gave, if it is a module; one that takes grey images gets the mean of the channels."""
    from torch import nn

    if not isinstance(value, nn.Module):
        raise MissingError(f"model '{name}' builds a {type(value).__name__}, not a torch.nn.Module", try_=WHOLE)
    first = next((each for each in value.modules() if isinstance(each, nn.Conv2d)), None)
    if first is not None and first.in_channels == 1:
        value.register_forward_pre_hook(grey)
    return value


def grey(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The mean over the colours of images (N, 3, H, W), as (N, 1, H, W), for a model that takes grey ones."""
    images, *others = inputs
    return (images.mean(dim=1, keepdim=True) if images.ndim == 4 and images.shape[1] == 3 else images, *others)


def sized(spec: ModelSpec, size: int | None) -> ModelSpec:
    """The spec for pictures of another size; one without layers gets those that one forward pass shows.

    Raises:
        MissingError: the model does not build, or its answer is no logits (N, K).
    """
    spec = spec if size is None else replace(spec, input_size=size)
    return spec if spec.layers else replace(spec, layers=looked_at(spec)[1])


def looked_at(spec: ModelSpec, classes: int = TRIED) -> tuple[int, tuple[str, ...]]:
    """How many classes a model answers with, and the layers that CAM methods use; builds it once.

    Raises:
        MissingError: it does not build, cannot take a picture of its size, or gives no logits (N, K).
    """
    import torch

    try:
        with torch.random.fork_rng(devices=[]):
            model = spec.build(classes)
        shapes, answer = shapes_of(model, spec.input_size)
    except MissingError:
        raise
    except ContractError as reason:
        raise MissingError(reason.message, try_=reason.try_) from reason
    except (Exception, SystemExit) as reason:  # anybody's code may fail in any way
        raise MissingError(
            f"model '{spec.name}' of {spec.source} does not build: {type(reason).__name__}: {reason}", try_=WHOLE
        ) from reason
    if not isinstance(answer, torch.Tensor) or answer.ndim != 2:
        given = f"({', '.join(map(str, answer.shape))})" if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise MissingError(f"model '{spec.name}' of {spec.source} gives {given}, not logits (N, K)", try_=WHOLE)
    return answer.shape[1], default_layers(shapes, spec.input_size, getattr(model, "bench_layers", ()))
