"""Weights on their way: between implementations, into a model, and from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from bench.contracts import ModelSpec
from bench.errors import ContractError, MissingError
from bench.machine import reuse_memory

WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every key
NAMED = 5  # keys an error names


def clean_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict as it was before DataParallel or torch.compile wrapped the model, in any nesting.

    Raises:
        ContractError: two entries would bear one key.
    """
    return renamed(state, {key: unwrapped(key) for key in state}, "without its wrappers")


def unwrapped(key: str) -> str:
    """The key without leading wrapper names."""
    for wrapper in WRAPPERS:
        if key.startswith(wrapper):
            return unwrapped(key.removeprefix(wrapper))
    return key


def convert(state: Mapping[str, Tensor], source: ModelSpec, target: ModelSpec) -> dict[str, Tensor]:
    """One implementation's weights under another's keys, in the same order.

    Keys go from the source's own names to the family's common names, and on to the target's. Tensors are not
    copied. Whether they fit is for `load_weights` to say.

    Raises:
        ContractError: a key map is not one to one on these keys; names the model and the first such key.
    """
    own = clean_keys(state)
    common = {key: to_common(key, source) for key in own}
    for key, name in common.items():
        if from_common(name, source) != key:
            raise ContractError(f"the key map of {source.name} is not one to one: {key} and {name} do not lead back")
    found = {key: from_common(name, target) for key, name in common.items()}
    return renamed(own, found, f"from {source.name} to {target.name}")


def to_common(key: str, spec: ModelSpec) -> str:
    """A model's own key in the family's common names."""
    for own, common in spec.key_map:
        key = key.replace(own, common)
    return key


def from_common(key: str, spec: ModelSpec) -> str:
    """A common key in a model's own names; undoes `to_common`."""
    for own, common in reversed(spec.key_map):
        key = key.replace(common, own)
    return key


def renamed(state: Mapping[str, Tensor], names: Mapping[str, str], how: str) -> dict[str, Tensor]:
    """The state dict under other names; ContractError when two entries would share one."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if names[key] in found:
            raise ContractError(f"two entries of the weights are called {names[key]} {how}, one of them {key}")
        found[names[key]] = value
    return found


def load_weights(model: nn.Module, state: Mapping[str, Tensor], *, strict: bool = True) -> tuple[str, ...]:
    """Put a state dict into a model, all of it or nothing.

    Args:
        model: is filled in place; its dtype, device and memory layout stay.
        state: the model's own keys, wrapped by DataParallel or torch.compile or not.
        strict: refuse missing keys. Otherwise those entries keep the model's values.

    Returns:
        The model's keys that the state dict lacks; empty when strict.

    Raises:
        MissingError: keys are missing or unexpected, or shapes differ; names them. The model is untouched.
    """
    given = clean_keys(state)
    own = model.state_dict()
    missing = tuple(key for key in own if key not in given)
    unexpected = [key for key in given if key not in own]
    misshaped = [
        f"{key} {tuple(given[key].shape)}, not {tuple(value.shape)}"
        for key, value in own.items()
        if key in given and given[key].shape != value.shape
    ]
    problems = [
        listing("missing", missing if strict or len(missing) == len(own) else ()),
        listing("unexpected", unexpected),
        listing("of another shape", misshaped),
    ]
    if any(problems):
        raise MissingError(
            f"the weights do not fit {type(model).__name__}: {'; '.join(filter(None, problems))}",
            try_="the model that the weights were made with, and its number of classes",
        )
    model.load_state_dict(given, strict=False)
    return missing


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
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def for_inference(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself on a device, in eval mode, its parameters frozen."""
    return on_device(model, device).eval().requires_grad_(False)
