"""A build function or a module class in the place of a ModelSpec, so that a model works as it lies in its file."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bench.contracts import ModelSpec
from bench.errors import ContractError, MissingError
from bench.registry.foreign_models import WHOLE, ForeignBuild
from bench.registry.layer_shapes import default_layers, shapes_of
from bench.registry.model_names import arguments_in, name_parts, slug

COUNTS = (
    "num_classes", "n_classes", "nclasses", "classes", "num_class", "n_class", "num_labels", "n_labels", "nc", "k",
    "num_outputs", "n_outputs", "out_features", "output_dim", "out_dim", "num_out", "n_out",
)  # fmt: skip
TRIED = 10  # classes of the model that is built to look at it


def spec_of_value(name: str, value: object) -> object:
    """A module class or a function that builds one as a spec, its layers not yet known; any other value as it is.

    Raises:
        MissingError: a model that is built already, or a function that cannot be called with a number of classes.
    """
    if isinstance(value, nn.Module):
        raise MissingError(
            f"model '{name}' is a {type(value).__name__} that is built already, so nothing can build it anew",
            try_="name its class, or a function of the number of classes that gives it",
        )
    module = not isinstance(value, type) or issubclass(value, nn.Module)
    if isinstance(value, ModelSpec) or not callable(value) or not module:
        return value
    path, attribute, _ = name_parts(name)
    build: Any = _caller(name, value)  # what it gives is looked at in `sized`
    return ModelSpec(name=slug(attribute), build=build, source=path, layers=())


def _caller(name: str, function: Callable[..., Any]) -> Callable[[int], Any]:
    """How the number of classes is handed over: by a telling name, or not at all; nothing else is guessed."""
    given = arguments_in(name_parts(name)[2])
    parameters = inspect.signature(function).parameters
    free = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    unknown = [] if free else [each for each in given if each not in parameters]
    needed = [
        each.name
        for each in parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    open_ = [each for each in needed if each not in given]
    counted = next((each for each in parameters if each.lower() in COUNTS and each not in given), None)
    if unknown or set(open_) - {counted}:
        what = f"takes no {', '.join(unknown)}" if unknown else f"needs {', '.join(open_)}"
        example = ", ".join(f"{each}=..." for each in open_ if each != counted) or ", ".join(parameters)
        raise MissingError(
            f"model '{name}' {what}, and bench knows but the number of classes",
            try_=f"'{name.partition('(')[0]}({example})', or a function build(num_classes) that gives the model",
        )
    if counted is None:
        return lambda num_classes: function(**given)
    return lambda num_classes: function(**{counted: num_classes}, **given)


def sized(spec: ModelSpec, size: int | None, *, ours: bool = False) -> ModelSpec:
    """The spec for pictures of another size; one without layers gets those that one forward pass shows.

    Raises:
        MissingError: the model does not build, or its answer is no logits (N, K).
    """
    spec = replace(spec, input_size=size or spec.input_size)
    if not ours:
        spec = replace(spec, build=ForeignBuild(spec.build, spec.name, spec.input_size))
    return spec if spec.layers else replace(spec, layers=looked_at(spec)[1])


def looked_at(spec: ModelSpec, classes: int = TRIED) -> tuple[int, tuple[str, ...]]:
    """How many classes a model answers with, and the layers that CAM methods use; builds it once.

    Raises:
        MissingError: it does not build, cannot take a picture of its size, or gives no logits (N, K).
    """
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
