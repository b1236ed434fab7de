"""Weights that another program wrote: opened without running anything, unwrapped, and their keys brought to ours."""

import pickle
import re
import shlex
import zipfile
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.errors import MissingError, StoreError, UsageError, check_file, in_one_line
from bench.nets.weights import Match, listing, match_of

USUAL = ("state_dict", "model_state_dict", "model", "net", "model_state", "network", "weights")
DEEP, MANY = 6, 2000  # levels and dicts of a file that are looked into
LARGEST = 2**28  # values that a sparse tensor may say it has: a few bytes can claim any size
COUNTER = "num_batches_tracked"  # counts training steps, which no forward pass reads
FEW = 0.1  # of the model's entries: more unexpected ones than that are another model's
# Two families of names for the parts of a ResNet: nets written by hand for CIFAR-10, and torchvision's and timm's.
FAMILY = ((".shortcut.", ".downsample."), ("linear.", "fc."))
INNER = re.compile(r"(^|\.)(?:(?:module|_orig_mod)\.)+")  # what DataParallel and torch.compile put into keys, anywhere


@dataclass(frozen=True)
class Foreign:
    """A checkpoint of another program.

    Attributes:
        sets: every dict of tensors in it, by the keys that lead to it, the usual ones first; "" for the whole file.
        said: what else it says in plain values, such as accuracy and epoch.
        classes: the names of its outputs in their order, where it says them.
    """

    sets: Mapping[str, dict[str, Tensor]]
    said: tuple[tuple[str, object], ...] = ()
    classes: tuple[str, ...] = ()


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
    """The tensors in what a file holds, however deep they lie.

    Raises:
        StoreError: there are none; names what there is.
    """
    sets: dict[str, dict[str, Tensor]] = {}
    said: dict[str, object] = {}
    classes: tuple[str, ...] = ()
    waiting, seen = deque[tuple[tuple[str, ...], object]]([((), value)]), set[int]()
    while waiting and len(seen) < MANY:
        keys, one = waiting.popleft()
        if not isinstance(one, Mapping) or id(one) in seen or len(keys) > DEEP:
            continue
        seen.add(id(one))
        entries = {str(key): each for key, each in one.items()}
        if tensors := {key: each for key, each in entries.items() if isinstance(each, Tensor)}:
            sets[".".join(keys)] = _plain(tensors)
        if len(keys) < 2:
            said |= {key: each for key, each in entries.items() if isinstance(each, bool | int | float | str)}
            classes = classes or _classes_in(entries)
        waiting.extend(((*keys, key), each) for key, each in entries.items())
    if not sets:
        held = ", ".join(map(str, list(value)[:6])) if isinstance(value, Mapping) else f"a {type(value).__name__}"
        raise StoreError(f"{path} holds no weights: {held or 'nothing'}", try_="torch.save(model.state_dict(), FILE)")
    order = sorted(sets, key=lambda label: label not in USUAL)  # stable: then as they stand in the file
    return Foreign({label: sets[label] for label in order}, tuple(said.items()), classes)


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as a model holds them where that is exact: dense, and pruned weights with their mask."""
    small = {key for key, each in state.items() if each.layout != torch.strided and each.numel() <= LARGEST}
    dense = {key: each.to_dense() if key in small else each for key, each in state.items()}
    pruned = [key.removesuffix("_orig") for key in dense if key.endswith("_orig")]
    whole = {key: dense[f"{key}_orig"] * dense[f"{key}_mask"] for key in pruned if f"{key}_mask" in dense}
    parts = {f"{key}{end}" for key in whole for end in ("_orig", "_mask")}
    return {key: each for key, each in dense.items() if key not in parts} | whole


def _classes_in(entries: Mapping[str, object]) -> tuple[str, ...]:
    """The names of classes in the order of the outputs, of `class_to_idx` or a list."""
    numbers = entries.get("class_to_idx")
    if isinstance(numbers, Mapping) and sorted(map(str, numbers.values())) == sorted(map(str, range(len(numbers)))):
        return tuple(str(name) for name, _ in sorted(numbers.items(), key=lambda one: int(one[1])))
    names = next((entries[key] for key in ("classes", "class_names") if key in entries), ())
    return tuple(names) if isinstance(names, list | tuple) and all(isinstance(each, str) for each in names) else ()


def chosen_sets(foreign: Foreign, key: str | None) -> Mapping[str, dict[str, Tensor]]:
    """Those that a user's `--weights-key` means: all for None; UsageError for a key that leads to none.

    A key may lead into a set, as `teacher` does where keys begin with `teacher.`.
    """
    if key is None:
        return foreign.sets
    named = {label: state for label, state in foreign.sets.items() if f".{key}." in f".{label}."}
    inside = {
        ".".join(filter(None, (label, key))): {name: each for name, each in state.items() if name.startswith(f"{key}.")}
        for label, state in foreign.sets.items()
    }
    found = named or {label: state for label, state in inside.items() if state}
    if not found:
        known = ", ".join(repr(label) for label in foreign.sets if label) or "one set of weights without a name"
        raise UsageError(f"--weights-key '{key}' leads to no weights; there is {known}", try_="without --weights-key")
    return found


def convert_pickle(path: Path, out: Path, key: str | None = None) -> int:
    """Take the tensors out of a checkpoint that pickles whole objects, running nothing of it; how many there were.

    Of several sets those that `key` leads to, else those under a usual name, else the most.

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
    sets = chosen_sets(unwrapped(value, path), key)
    state = next((sets[label] for label in USUAL if label in sets), max(sets.values(), key=len))
    # A clone of each: safetensors writes no two tensors that share memory, and none with gaps, as tied weights and
    # channels-last ones are.
    tensors = {key: each.detach().clone(memory_format=torch.contiguous_format) for key, each in state.items()}
    write_bytes(out, save(tensors))
    return len(tensors)


# --- keys ----------------------------------------------------------------------------------------------------


def best_matches(model: nn.Module, sets: Mapping[str, dict[str, Tensor]]) -> dict[str, Match]:
    """Of each set of weights, and of each part of it that may be a model of its own, the renaming that fits best.

    Returns:
        The best first, among equals in the order of the sets; empty where nothing is nearly large enough.
    """
    own = {INNER.sub(r"\1", key): key for key in model.state_dict()}
    shapes = {short: model.state_dict()[key] for short, key in own.items()}
    found: dict[str, Match] = {}
    for label, state in sets.items():
        for prefix, keys, how in _parts(state, len(own)):
            every = [match_of(shapes, one, words) for one, words in _families(keys, how)]
            best = max(every, key=lambda one: len(one.state))
            beside = tuple(key for key in state if not key.startswith(prefix))
            whole = {own[key]: each for key, each in best.state.items()}
            missing = tuple(own[key] for key in best.missing)
            found[".".join(filter(None, (label, prefix.rstrip("."))))] = replace(
                best, state=whole, missing=missing, beside=beside
            )
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
    if value.is_quantized or value.is_complex() or value.is_floating_point() != own.is_floating_point():
        return f"{key} is {str(value.dtype).removeprefix('torch.')}, and the model computes in floating point"
    return "" if bool(torch.isfinite(value).all()) else f"{key} holds values that are not finite"


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
