"""Weights on their way: between implementations, into a model, and from a seed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import ModelSpec
from bench.errors import ContractError, MissingError
from bench.machine import reuse_memory
from bench.registry.foreign_models import memory_format_of

WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+")  # what DataParallel and torch.compile put before every key
NAMED = 5  # keys an error names


def clean_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict as it was before DataParallel or torch.compile wrapped the model, in any nesting.

    Raises:
        ContractError: two entries would bear one key.
    """
    return renamed(state, {key: WRAPPERS.sub("", key) for key in state}, "without its wrappers")


def convert(state: Mapping[str, Tensor], source: ModelSpec, target: ModelSpec) -> dict[str, Tensor]:
    """One implementation's weights under another's keys, in the same order.

    Keys go from the source's own names to the family's common names, and on to the target's. Tensors are not
    copied. Whether they fit is for `load_weights` to say.

    Raises:
        ContractError: a key map is not one to one on these keys; names the model and the first such key.
    """
    own = clean_keys(state)
    common = {key: _replaced(key, source.key_map) for key in own}
    for key, name in common.items():
        if _replaced(name, _back(source)) != key:
            raise ContractError(f"the key map of {source.name} is not one to one: {key} and {name} do not lead back")
    found = {key: _replaced(name, _back(target)) for key, name in common.items()}
    return renamed(own, found, f"from {source.name} to {target.name}")


def _replaced(key: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        key = key.replace(old, new)
    return key


def _back(spec: ModelSpec) -> list[tuple[str, str]]:
    """What leads from the family's common names to a model's own; undoes its key map."""
    return [(common, own) for own, common in reversed(spec.key_map)]


def renamed(state: Mapping[str, Tensor], names: Mapping[str, str], how: str) -> dict[str, Tensor]:
    """The state dict under other names; ContractError when two entries would share one."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if names[key] in found:
            raise ContractError(f"two entries of the weights are called {names[key]} {how}, one of them {key}")
        found[names[key]] = value
    return found


@dataclass(frozen=True)
class Match:
    """How a checkpoint's keys go onto a model's.

    Attributes:
        state: the tensors that fit, under the model's keys.
        how: what was done to the keys, in words; empty for nothing.
        missing: keys of the model that the checkpoint lacks.
        unexpected: keys of the checkpoint that the model lacks.
        misshaped: (key, shape in the checkpoint, shape in the model).
        total: entries of the model.
        beside: keys of the checkpoint that belong to something else, such as a criterion.
    """

    state: dict[str, Tensor]
    how: str
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    total: int
    beside: tuple[str, ...] = ()

    @property
    def shapes(self) -> list[str]:
        """The misshaped keys in words."""
        return [f"{key} {there}, not {here}" for key, there, here in self.misshaped]


def match_of(own: Mapping[str, Tensor], given: Mapping[str, Tensor], how: str = "") -> Match:
    """How given weights go onto a model's own, key by key."""
    shapes = {key: (tuple(given[key].shape), tuple(value.shape)) for key, value in own.items() if key in given}
    return Match(
        state={key: given[key] for key, (there, here) in shapes.items() if there == here},
        how=how,
        missing=tuple(key for key in own if key not in given),
        unexpected=tuple(key for key in given if key not in own),
        misshaped=tuple((key, there, here) for key, (there, here) in shapes.items() if there != here),
        total=len(own),
    )


def load_weights(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put a state dict into a model, all of it or nothing.

    Args:
        model: is filled in place; its dtype, device and memory layout stay.
        state: the model's own keys, wrapped by DataParallel or torch.compile or not.

    Raises:
        MissingError: keys are missing or unexpected, or shapes differ; names them. The model is untouched.
    """
    own = model.state_dict()
    names = {WRAPPERS.sub("", key): key for key in own}  # a model may wrap another one itself
    cleaned = state if state.keys() == own.keys() else clean_keys(state)
    given = cleaned if cleaned is state else {names.get(key, key): value for key, value in cleaned.items()}
    match = match_of(own, given)
    problems = (
        listing("missing", match.missing),
        listing("unexpected", match.unexpected),
        listing("of another shape", match.shapes),
    )
    if any(problems):
        raise MissingError(
            f"the weights do not fit {type(model).__name__}: {'; '.join(filter(None, problems))}",
            try_="the model that the weights were made with, and its number of classes",
        )
    model.load_state_dict(given)


def listing(what: str, keys: Iterable[str]) -> str:
    """`2 missing (a, b)`, at most NAMED keys; empty for none."""
    names = list(keys)
    if not names:
        return ""
    more = ", ..." if len(names) > NAMED else ""
    return f"{len(names)} {what} ({', '.join(names[:NAMED])}{more})"


def build_seeded(spec: ModelSpec, num_classes: int, seed: int) -> nn.Module:
    """The model with its native initialisation drawn from a seed; torch's global generator stays where it was."""
    with torch.random.fork_rng(devices=[]):  # models are built on the CPU, so no GPU's state need be copied
        # Not torch.manual_seed, which would reseed the accelerators too.
        torch.default_generator.manual_seed(seed)
        return spec.build(num_classes)


def shared_initialisation(spec: ModelSpec, canonical: ModelSpec, num_classes: int, seed: int) -> nn.Module:
    """The model holding the initialisation that `canonical` draws from the seed.

    Raises:
        MissingError: the two do not have the same entries; names those that differ.
    """
    model = build_seeded(spec, num_classes, seed)
    if spec != canonical:
        load_weights(model, convert(build_seeded(canonical, num_classes, seed).state_dict(), canonical, spec))
    return model


def on_device(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself, moved to where it is to compute: channels last, on a device that keeps freed memory.

    Tensor cores and oneDNN convolve with the channels innermost; the other layout is turned round at every call.
    """
    reuse_memory(device)
    model.to(device, memory_format=memory_format_of(model))  # type: ignore[call-overload]
    return model


def for_inference(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself on a device, in eval mode, its parameters frozen."""
    return on_device(model, device).eval().requires_grad_(False)
