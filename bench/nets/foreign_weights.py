"""Weights that another program wrote: their keys brought to a model's, and what does not fit said."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.errors import MissingError
from bench.nets.foreign_files import DEEP
from bench.nets.weights import Match, listing, match_of

PARAMETRISED = re.compile(r"\.parametrizations\.|(?:_orig|_[guv])$")  # weight norm and spectral norm, new and old
COUNTER = "num_batches_tracked"  # counts training steps, which no forward pass reads
FEW = 0.1  # of the model's entries: more unexpected ones than that are another model's
# Two families of names for the parts of a ResNet: nets written by hand for CIFAR-10, and torchvision's and timm's.
FAMILY = ((".shortcut.", ".downsample."), ("linear.", "fc."))
# What DataParallel, torch.compile, FSDP and activation checkpointing put into keys, anywhere.
INNER = re.compile(r"(^|\.)(?:(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+")


def best_matches(model: nn.Module, sets: Mapping[str, dict[str, Tensor]]) -> dict[str, Match]:
    """Of each set of weights, and of each part of it that may be a model of its own, the renaming that fits best.

    Returns:
        The best first, among equals in the order of the sets; empty where nothing is nearly large enough.
    """
    own = {INNER.sub(r"\1", key): key for key in model.state_dict()}
    shapes = {short: model.state_dict()[key] for short, key in own.items()}
    found: dict[str, Match] = {}
    seen = set[frozenset[int]]()
    for label, state in sets.items():
        for prefix, keys, how in _parts(state, len(own)):
            every = [match_of(shapes, one, words) for one, words in _families(keys, how)]
            best = max(every, key=lambda one: len(one.state))
            beside = tuple(key for key in state if not key.startswith(prefix))
            whole = {own[key]: each for key, each in best.state.items()}
            missing = tuple(own[key] for key in best.missing)
            name, tensors = ".".join(filter(None, (label, prefix.rstrip(".")))), frozenset(map(id, whole.values()))
            if tensors not in seen and (name not in found or len(whole) > len(found[name].state)):
                found[name] = replace(best, state=whole, missing=missing, beside=beside)
            seen.add(tensors)
    return dict(sorted(found.items(), key=lambda one: -len(one[1].state)))


def _parts(state: Mapping[str, Tensor], entries: int) -> Iterator[tuple[str, dict[str, Tensor], str]]:
    """The keys behind every prefix that enough of them share, first as they are; and what that did, in words."""
    counts = Counter(prefix for key in state for prefix in _prefixes(key))
    names = {INNER.sub(r"\1", each): each for each, count in counts.items() if count >= entries / 2}
    for name, prefix in {"": "", **names}.items():
        keys = {key.removeprefix(prefix): each for key, each in state.items() if key.startswith(prefix)}
        short = {INNER.sub(r"\1", key): each for key, each in keys.items()}
        if len(short) == len(keys):
            wrapped = list(short) != list(keys) or name != prefix
            words = ("wrapper names taken off" if wrapped else "", f"'{name}' taken off" if name else "")
            yield prefix, short, ", ".join(filter(None, words))
        else:  # without its wrappers two entries would bear one name
            yield prefix, keys, ""
    # Where a net's parts lie in another one, as OpenMMLab's backbone and head: what each key begins with.
    inner = {key.partition(".")[2]: each for key, each in state.items() if "." in key}
    if len(inner) == len(state) > 0:
        begins = dict.fromkeys(f"'{key.partition('.')[0]}.'" for key in state)
        yield "", inner, f"{', '.join(list(begins)[:3])} taken off"


def _prefixes(key: str) -> list[str]:
    parts = key.split(".")[:-1][:DEEP]
    return [".".join(parts[: count + 1]) + "." for count in range(len(parts))]


def _families(keys: dict[str, Tensor], how: str) -> Iterator[tuple[dict[str, Tensor], str]]:
    """The keys as they are, and in the names of the other family of ResNets, with what was done in words."""
    yield keys, how
    for pairs in (FAMILY, tuple((there, here) for here, there in FAMILY)):
        renamed = {_renamed(key, pairs): value for key, value in keys.items()}
        if len(renamed) == len(keys) and list(renamed) != list(keys):
            words = ", ".join(f"{here.strip('.')} is {there.strip('.')}" for here, there in pairs)
            yield renamed, ", ".join(filter(None, (how, words)))


def _renamed(key: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for here, there in pairs:
        inside = here.startswith(".")
        if inside or key.startswith(here):
            key = key.replace(here, there) if inside else there + key.removeprefix(here)
    return key


def fits(match: Match) -> bool:
    """Whether nothing that the model computes with is missing or of another shape, and little is unexpected."""
    needed = [key for key in match.missing if not key.endswith(COUNTER)]
    return not needed and not match.shapes and len(match.unexpected) <= FEW * match.total


def checked_match(match: Match, model: str, net: nn.Module) -> tuple[str, ...]:
    """What is worth a line about a match that will do.

    Raises:
        MissingError: an entry that the model computes with is missing or of another shape, or many are unexpected:
            what is missing would stay random, and so would the answers. Or values that no model computes with.
    """
    missing = tuple(key for key in match.missing if not key.endswith(COUNTER))
    problems = (
        listing("missing", missing),
        listing("of another shape", match.shapes),
        listing("unexpected", match.unexpected),
    )
    if not fits(match):
        raise MissingError(
            f"the weights do not fit {model}: {len(match.state)} of {match.total} entries do; "
            f"{'; '.join(filter(None, problems))}",
            try_=advice(match),
        )
    own = net.state_dict()
    wrong = next((words for key, each in match.state.items() if (words := _unusable(key, each, own[key]))), "")
    if wrong:
        raise MissingError(f"the weights cannot be used: {wrong}", try_="a checkpoint in fp32, fp16 or bf16")
    lines = [f"keys: {match.how}"] if match.how else []
    beside = (*match.unexpected, *match.beside)
    lines += [f"{words}; left alone" for words in (listing("unexpected", beside),) if words]
    lines += [f"{words}; not needed" for words in (listing("missing", match.missing),) if words]
    return tuple(lines)


def _unusable(key: str, value: Tensor, own: Tensor) -> str:
    """Why a tensor can be no weights, in words; empty where it can."""
    if value.is_meta:
        return f"{key} has a shape but no values: the file was saved from the meta device"
    if value.is_quantized or value.is_complex() or value.is_floating_point() != own.is_floating_point():
        return f"{key} is {str(value.dtype).removeprefix('torch.')}, but the model computes in floating point"
    return "" if bool(torch.isfinite(value.float()).all()) else f"{key} holds values that are not finite"


def advice(match: Match) -> str:
    """What to type about weights that do not fit."""
    held = next((key for key in match.unexpected if PARAMETRISED.search(key)), "")
    if held:
        return f"remove_parametrizations of torch.nn.utils.parametrize before saving: {held} is only a part of a weight"
    kernels = [(there[2], here[2]) for _, there, here in match.misshaped if len(there) == len(here) == 4]
    if (3, 7) in kernels:
        return "--stem cifar: the weights have a 3x3 first convolution, the model a 7x7 one"
    if (7, 3) in kernels:
        return "the model without --stem cifar, or torchvision:resnet18: the weights have a 7x7 first convolution"
    heads = {there[0] for key, there, here in match.misshaped if len(there) == 1 or there[1:] == here[1:]}
    if len(match.misshaped) <= 2 and len(heads) == 1:
        return f"--classes with the names of all {heads.pop()} outputs, in their order, in a file with one a line"
    return "--model with the model that the weights were made with"
