"""Weights that another program wrote: opened without running anything, unwrapped, and their keys brought to ours."""

import pickle
import re
import shlex
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.errors import MissingError, StoreError, UsageError, check_file, in_one_line
from bench.nets.weights import Match, clean_keys, listing, match_of

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "model_state", "network", "weights")
COUNTER = "num_batches_tracked"  # counts training steps, which no forward pass reads
FEW = 0.1  # of the model's entries: more unexpected ones than that are another model's
# Two families of names for the parts of a ResNet: nets written by hand for CIFAR-10, and torchvision's and timm's.
FAMILY = ((".shortcut.", ".downsample."), ("linear.", "fc."))


@dataclass(frozen=True)
class Foreign:
    """A checkpoint of another program.

    Attributes:
        state: its tensors, without what wraps them.
        said: what else it says in plain values, such as accuracy and epoch.
    """

    state: dict[str, Tensor]
    said: tuple[tuple[str, object], ...] = ()


# --- reading -------------------------------------------------------------------------------------------------


def read_foreign(path: Path) -> Foreign:
    """A .safetensors file, or a .pt or .pth one, read as tensors and plain values only.

    Raises:
        StoreError: no such file, a damaged one, one that would run code, or one without weights.
    """
    check_file(path, "--weights with the path of a .pt, .pth or .safetensors file")
    return unwrapped(_safetensors(path) if path.suffix == ".safetensors" else _pickled(path), path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except Exception as reason:  # safetensors raises its own and Rust's kinds
        raise StoreError(
            f"{path} is no whole safetensors file: {in_one_line(reason):.160}", try_="a whole copy of it"
        ) from reason


def _pickled(path: Path) -> object:
    _refuse_script(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as reason:  # the unpickler raises many kinds
        named = re.search(r"(?:GLOBAL|global:?) (?:GLOBAL )?([A-Za-z_][\w.]*)", str(reason))
        if isinstance(reason, pickle.UnpicklingError) and named is not None:
            out = path.with_name(f"{path.stem}-weights.safetensors")
            command = ["bench", "adopt", "--weights", str(path), "--convert", str(out)]
            raise StoreError(
                f"{path} pickles more than tensors ({named[1]}): to read it would run code of whoever wrote it",
                try_=f"{shlex.join(command)}  # takes out the tensors, runs nothing",
            ) from reason
        # torch's own words for a broken pickle advise reading it unsafely.
        why = "it cannot be unpickled" if isinstance(reason, pickle.UnpicklingError) else in_one_line(reason)[:160]
        raise StoreError(
            f"{path} is no whole checkpoint of PyTorch: {why}", try_="a whole copy of it, saved by torch.save"
        ) from reason


def _refuse_script(path: Path) -> None:
    """StoreError for a TorchScript archive, which torch would hand to another reader that runs its code."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise StoreError(
                    f"{path} is a TorchScript archive, which holds code beside its weights",
                    try_="torch.save(torch.jit.load(FILE).state_dict(), OUT), where the file is trusted",
                )


def unwrapped(value: object, path: Path) -> Foreign:
    """The state dict in what a file holds, however deep it lies.

    Raises:
        StoreError: there is none; names what there is.
    """
    said: dict[str, object] = {}
    while isinstance(value, Mapping):
        entries = {str(key): each for key, each in value.items()}
        tensors = {key: each for key, each in entries.items() if isinstance(each, Tensor)}
        said |= {key: each for key, each in entries.items() if isinstance(each, bool | int | float | str)}
        inner = _inner(entries)
        if inner is None or len(tensors) > 2:
            if tensors:
                return Foreign(tensors, tuple(said.items()))
            break
        value = entries[inner]
    held = ", ".join(map(str, list(value)[:6])) if isinstance(value, Mapping) else f"a {type(value).__name__}"
    raise StoreError(f"{path} holds no weights: {held or 'nothing'}", try_="torch.save(model.state_dict(), FILE)")


def _inner(entries: Mapping[str, object]) -> str | None:
    """The entry that holds the weights: one of the usual names, or the only one that is full of tensors."""
    usual = [name for name in WRAPPERS if isinstance(entries.get(name), Mapping)]
    if usual:
        return usual[0]
    inside = {name: list(each.values()) for name, each in entries.items() if isinstance(each, Mapping)}
    full = [name for name, each in inside.items() if each and all(isinstance(one, Tensor) for one in each)]
    return full[0] if len(full) == 1 else None


def convert_pickle(path: Path, out: Path) -> int:
    """Take the tensors out of a checkpoint that pickles whole objects, running nothing of it; how many there were.

    Raises:
        StoreError: the file is missing or damaged, or holds no weights.
        UsageError: `out` is there already, or is no .safetensors file.
    """
    from safetensors.torch import save

    from bench.nets.safe_pickle import read_inert
    from bench.store.files import write_bytes

    if out.suffix != ".safetensors":
        raise UsageError(f"{out} is no .safetensors file", try_=f"--convert {out.with_suffix('.safetensors')}")
    if out.exists():
        raise UsageError(f"{out} is there already", try_="--convert with another name")
    check_file(path, "--weights with the path of a .pt or .pth file")
    _refuse_script(path)
    try:
        value = read_inert(path)
    except Exception as reason:  # a damaged pickle raises many kinds
        raise StoreError(f"{path} cannot be read: {in_one_line(reason):.160}", try_="a whole copy of it") from reason
    state = unwrapped(value, path).state
    # A clone of each: safetensors writes no two tensors that share memory, and none with gaps, as tied weights and
    # channels-last ones are.
    tensors = {key: each.detach().clone(memory_format=torch.contiguous_format) for key, each in state.items()}
    write_bytes(out, save(tensors))
    return len(tensors)


# --- keys ----------------------------------------------------------------------------------------------------


def best_match(model: nn.Module, state: Mapping[str, Tensor]) -> Match:
    """The renaming of a checkpoint's keys that fits most of the model's entries; among equals the least of it."""
    own = model.state_dict()
    return max((match_of(own, keys, how) for keys, how in _renamings(state)), key=lambda one: len(one.state))


def _renamings(state: Mapping[str, Tensor]) -> Iterator[tuple[dict[str, Tensor], str]]:
    """The checkpoint under every name its keys may be meant by, least changed first."""
    cleaned = clean_keys(state)
    first = "wrapper names taken off" if list(cleaned) != list(state) else ""
    heads = {key.partition(".")[0] for key in cleaned}
    stripped = [(cleaned, first)]
    if len(heads) == 1 and all("." in key for key in cleaned):
        (head,) = heads
        short = {key.removeprefix(f"{head}."): value for key, value in cleaned.items()}
        stripped.append((short, ", ".join(filter(None, (first, f"'{head}.' taken off")))))
    for keys, how in stripped:
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


def checked_match(match: Match, model: str) -> tuple[str, ...]:
    """What is worth a line about a match that will do.

    Raises:
        MissingError: an entry that the model computes with is missing or of another shape, or many are unexpected:
            what is missing would stay random, and so would the answers.
    """
    missing = tuple(key for key in match.missing if not key.endswith(COUNTER))
    problems = (
        listing("missing", missing),
        listing("of another shape", match.shapes),
        listing("unexpected", match.unexpected),
    )
    if missing or match.shapes or len(match.unexpected) > FEW * match.total:
        raise MissingError(
            f"the weights do not fit {model}: {len(match.state)} of {match.total} entries do; "
            f"{'; '.join(filter(None, problems))}",
            try_=advice(match),
        )
    lines = [f"keys: {match.how}"] if match.how else []
    lines += [f"{words}; left alone" for words in (listing("unexpected", match.unexpected),) if words]
    lines += [f"{words}; not needed" for words in (listing("missing", match.missing),) if words]
    return tuple(lines)


def advice(match: Match) -> str:
    """What to type about weights that do not fit."""
    kernels = [(there[2], here[2]) for _, there, here in match.misshaped if len(there) == len(here) == 4]
    if (3, 7) in kernels:
        return "--stem cifar: the weights have a 3x3 stem where the model has a 7x7 one"
    if (7, 3) in kernels:
        return "the model without --stem cifar, or torchvision:resnet18: the weights have a 7x7 stem"
    heads = {there[0] for key, there, here in match.misshaped if len(there) == 1 or there[1:] == here[1:]}
    if len(match.misshaped) <= 2 and len(heads) == 1:
        return f"--classes with the names of all {heads.pop()} outputs, in their order, one a line in a file"
    return "--model with the model that the weights were made with"
