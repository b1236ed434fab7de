"""A build function or a module class in the place of a ModelSpec, so that a model works as it lies in its file."""

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bench.contracts import ModelSpec
from bench.errors import ContractError, MissingError
from bench.registry.foreign_models import WHOLE, ForeignBuild
from bench.registry.from_python import is_from_python
from bench.registry.layer_shapes import default_layers, shapes_of
from bench.registry.layouts import Layout
from bench.registry.looking import awake, flow, layouts_of
from bench.registry.model_names import SMALLEST, arguments_in, name_parts, slug

COUNTS = (
    "num_classes", "n_classes", "nclasses", "classes", "num_class", "n_class", "num_labels", "n_labels", "nc", "k",
    "num_outputs", "n_outputs", "out_features", "output_dim", "out_dim", "num_out", "n_out",
)  # fmt: skip
TRIED = 10  # classes of the model that is built to look at it
EDGES = (*range(8, 64, 4), *range(64, 128, 8), *range(128, 256, 16), *range(256, 513, 32))  # pixels, beside halves


def spec_of_value(name: str, value: object) -> object:
    """A module class or a function that builds one as a spec, its layers not yet known; any other value as it is.

    Raises:
        MissingError: a model of a file that is built already; a function that does not take a number of classes alone.
    """
    if isinstance(value, nn.Module) and is_from_python(name):  # a copy of it, with its weights
        return ModelSpec(
            name=slug(name_parts(name)[1]), build=lambda _: deepcopy(value).cpu(), source="Python", layers=()
        )
    if isinstance(value, nn.Module):
        raise MissingError(
            f"model '{name}' is a {type(value).__name__} that exists already, so bench cannot build it again",
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
    if len(open_) == 1 and getattr(function, "__name__", "") == "<lambda>" and len(open_[0]) == 1:
        (counted,) = open_  # lambda n: Net(n)
    if unknown or set(open_) - {counted}:
        what = f"takes no {', '.join(unknown)}" if unknown else f"needs {', '.join(open_)}"
        python = is_from_python(name)
        example = ", ".join(f"{each}=..." for each in open_ if each != counted) or ", ".join(parameters)
        raise MissingError(
            f"model '{name.rpartition(':')[2] if python else name}' {what}, and bench knows only the number of classes",
            try_=("" if python else f"'{name.partition('(')[0]}({example})', or ")
            + "a function build(num_classes) that gives the model",
        )
    if counted is None:
        return lambda num_classes: function(**given)
    return lambda num_classes: function(**{counted: num_classes}, **given)


def sized(
    spec: ModelSpec, size: int | None, *, ours: bool = False, anew: Callable[[int], ModelSpec] | None = None
) -> ModelSpec:
    """The spec for pictures of another size; one without layers gets those that a few forward passes show.

    Args:
        ours: it came with bench, and all its layers give maps by themselves.
        anew: the spec made for another size, where there is such a thing.

    Raises:
        MissingError: the model does not build, cannot take such pictures, or its answer is no logits (N, K).
    """
    wanted = replace(spec, input_size=size or spec.input_size)
    if spec.layers:
        return wanted if ours else foreign(wanted)
    try:
        model = built(foreign(wanted, {}))
        check_answer(model, wanted)
    except ContractError as reason:
        found = smallest_size(lambda edge: takes(model, edge))
        found = found or (smallest_size(lambda edge: takes(built(foreign(anew(edge), {})), edge)) if anew else None)
        advice = f"--image-size {found}, the smallest of those tried that works" if found else reason.try_
        raise MissingError(reason.message, try_=advice) from reason
    layouts = layouts_of(model, wanted.input_size)
    through = flow(awake(model), wanted.input_size, layouts)
    layers = default_layers(layouts, wanted.input_size, getattr(model, "bench_layers", ()), through=through)
    return replace(foreign(wanted, layouts), layers=layers)


def foreign(spec: ModelSpec, layouts: Mapping[str, Layout] | None = None) -> ModelSpec:
    """The spec of anybody's model, built as bench expects it; without layouts each model built is looked at."""
    return replace(spec, build=ForeignBuild(spec.build, spec.name, spec.input_size, layouts))


def built(spec: ModelSpec) -> nn.Module:
    """A model to look at; MissingError where it does not build."""
    try:
        with torch.random.fork_rng(devices=[]):
            return spec.build(TRIED)
    except MissingError:
        raise
    except (Exception, SystemExit) as reason:  # anybody's code may fail in any way
        raise MissingError(
            f"model '{spec.name}' of {spec.source} does not build: {type(reason).__name__}: {reason}", try_=WHOLE
        ) from reason


def check_answer(model: nn.Module, spec: ModelSpec) -> None:
    """The model gives logits (N, K) for a picture of its size.

    Raises:
        MissingError: it gives something else.
        ContractError: it cannot take such a picture.
    """
    _, answer = shapes_of(model, spec.input_size)
    if not isinstance(answer, torch.Tensor) or answer.ndim != 2:
        given = f"({', '.join(map(str, answer.shape))})" if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise MissingError(f"model '{spec.name}' of {spec.source} gives {given}, not logits (N, K)", try_=WHOLE)


def takes(model: nn.Module, edge: int) -> bool:
    """Whether a model answers for a picture of `edge` pixels an edge."""
    try:
        return shapes_of(model, edge)[1].ndim == 2
    except (ContractError, AttributeError):
        return False


def smallest_size(works: Callable[[int], bool]) -> int | None:
    """The fewest pixels an edge that work, of those tried: steps that grow, then halves of the step that led there."""
    large: int | None = next((edge for edge in EDGES if works(edge)), None)
    if large is None:
        return None
    small = max(edge for edge in (SMALLEST - 1, *EDGES) if edge < large)
    while large - small > 1:
        middle = (small + large) // 2
        small, large = (small, middle) if works(middle) else (middle, large)
    return large
