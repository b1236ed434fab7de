"""What a file of another program holds: recognised by its content, opened without running anything, unwrapped."""

import json
import pickle
import re
import shlex
import warnings
import zipfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import MissingError, StoreError, UsageError, check_file, in_one_line

USUAL = ("state_dict", "model_state_dict", "model", "net", "model_state", "network", "weights")
DEEP, MANY = 6, 2000  # levels and dicts of a file that are looked into
LARGEST = 2**28  # values that a tensor may say it has beyond those in the file: a few bytes can claim any size
NUMBERED = ("class_to_idx", "label2id", "idx_to_class", "id2label")  # names of classes and numbers of outputs
Container = Mapping | list | tuple  # type: ignore[type-arg]  # for isinstance
ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")


@dataclass(frozen=True)
class Foreign:
    """A checkpoint of another program.

    Attributes:
        sets: every dict of tensors in it, by the keys that lead to it, the usual ones first; "" for the whole file.
        said: what else it says in plain values, such as accuracy and epoch.
        classes: the names of its outputs in their order, where it says them.
        unnamed: how many tensors there are in lists, which have no names, by the keys that lead to the list.
    """

    sets: Mapping[str, dict[str, Tensor]]
    said: tuple[tuple[str, object], ...] = ()
    classes: tuple[str, ...] = ()
    unnamed: Mapping[str, int] = field(default_factory=dict)


# --- reading -------------------------------------------------------------------------------------------------


def read_foreign(path: Path) -> Foreign:
    """The tensors and plain values of a file of safetensors or of torch.save, which its content tells apart.

    Raises:
        StoreError: a damaged file, one of another kind, one that would run code, or one without weights.
        MissingError: no such file, or a folder; names the weights in it.
    """
    _check_path(path)
    return unwrapped(_safetensors(path) if _is_safetensors(path) else _pickled(path), path)


def _check_path(path: Path) -> None:
    if not path.is_dir():
        check_file(path, "--weights with the path of a .pt, .pth or .safetensors file")
        return
    held = sorted(each.name for each in path.iterdir())
    weights = [name for name in held if name.endswith(ENDINGS)]
    if ".metadata" in held:
        command = f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {shlex.quote(str(path))} OUT.pt"
        raise MissingError(f"{path} is a folder, a sharded checkpoint of torch.distributed", try_=command)
    if any(name.endswith(".index.json") for name in held):
        what = f"{path} is a folder with weights in {len(weights)} pieces, as Hugging Face's large models are"
        raise MissingError(what, try_="model.save_pretrained(DIR, max_shard_size='100GB'), which writes one file")
    kind = "a folder as Hugging Face's models are" if "config.json" in held else "a folder"
    others = f"no weights ({', '.join(held[:3]) or 'it is empty'})"
    what = f"the weights {', '.join(weights[:3])}" if weights else others
    raise MissingError(
        f"{path} is {kind} and holds {what}",
        try_=f"--weights {shlex.quote(str(path / weights[0]))}" if weights else "--weights with the path of a file",
    )


def _is_safetensors(path: Path) -> bool:
    """A length of 8 bytes, then that much JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except Exception as reason:  # safetensors raises its own and Rust's kinds
        raise StoreError(
            f"{path} is not a complete safetensors file: {in_one_line(reason):.160}", try_="a complete copy of it"
        ) from reason


def _pickled(path: Path) -> object:
    _check_archive(path)
    try:
        # Opened here, as torch would judge a file by its name. Warnings are torch's own, about what it once wrote.
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as reason:  # the unpickler raises many kinds
        named = re.search(r"(?:GLOBAL|global:?) (?:GLOBAL )?([A-Za-z_][\w.]*)", str(reason))
        if isinstance(reason, pickle.UnpicklingError) and named is not None and not _is_plain_pickle(path):
            out = path.with_name(f"{path.stem}-weights.safetensors")
            command = ["bench", "adopt", "--weights", str(path), "--convert", str(out)]
            raise StoreError(
                f"{path} contains more than tensors ({named[1]}): reading it would run code that its author chose",
                try_=f"{shlex.join(command)}  # copies the tensors, runs no code",
            ) from reason
        raise _unreadable(path) from reason


def _check_archive(path: Path) -> None:
    """StoreError for a zip archive that is no file of torch.save: that of TorchScript would run code, too."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as reason:  # names that are no UTF-8, offsets behind the end and more
        raise _unreadable(path) from reason
    names, unpacked = [each.filename for each in members], sum(each.file_size for each in members)
    inside = {name.rpartition("/")[2] for name in names}
    what, read = next(((what, read) for mark, what, read in ARCHIVES if mark in inside), ("", ""))
    if all(name.endswith(".npy") for name in names):
        what, read = "an archive of numpy", "{k: torch.from_numpy(v) for k, v in numpy.load({path}).items()}"
    if what:
        code = f'import numpy, torch; torch.save({read.replace("{path}", json.dumps(str(path)))}, "weights.pth")'
        raise StoreError(f"{path} is {what}", try_=f"python -c {shlex.quote(code)}  # if you trust the file")
    if "data.pkl" not in inside:
        raise StoreError(
            f"{path} is a zip archive ({', '.join(names[:3])}), but not one that torch.save wrote",
            try_=f"unzip {shlex.quote(str(path))}, then --weights with a file of it",
        )
    if unpacked > path.stat().st_size:
        raise StoreError(
            f"{path} would unpack to {unpacked:,} bytes, but torch.save never compresses",
            try_="the file as it was saved",
        )


# What a file in a zip archive says that the archive is, and how its weights are read.
ARCHIVES = (
    (
        "constants.pkl",
        "a TorchScript archive, which contains code as well as weights",
        "torch.jit.load({path}).state_dict()",
    ),
    ("archive_format", "an archive of torch.export", "torch.export.load({path}).state_dict"),
)
# What the first bytes of a file say that it is, and what to do about it.
STARTS = (
    (b"version https://git-lfs", "a pointer of git-lfs; the weights themselves are not here", "git lfs pull"),
    (b"\x89HDF", "an HDF5 file, as Keras writes", "weights saved by torch.save or safetensors"),
    (b"GGUF", "a GGUF file, as llama.cpp reads", "weights saved by torch.save or safetensors"),
    (b"\x1f\x8b", "packed by gzip", "gunzip or tar xf, then --weights with the file inside"),
    (b"BZh", "packed by bzip2", "bunzip2 or tar xf, then --weights with the file inside"),
    (b"\xfd7zXZ", "packed by xz", "unxz or tar xf, then --weights with the file inside"),
    (b"7z\xbc\xaf", "a 7z archive", "7z x, then --weights with the file inside"),
    (b"Rar!", "a RAR archive", "unrar x, then --weights with the file inside"),
)


def _unreadable(path: Path) -> StoreError:
    """What a file is that is no checkpoint, as far as its first bytes say, and what to do."""
    with path.open("rb") as file:
        start = file.read(512)
    what, then = (
        "not a complete checkpoint of PyTorch: it is cut off or damaged",
        "a complete copy of it, saved by torch.save",
    )
    words = "".join(start.decode("utf-8", "replace").split())
    if known := next((one for one in STARTS if start.startswith(one[0])), None):
        _, what, then = known
    elif not start:
        what = "empty"
    elif words.startswith("<"):
        what, then = "a web page", "the address of the file itself, which the page's download button has"
    elif words.isprintable() and "\ufffd" not in words:
        what = f"a text, which begins with '{' '.join(start.decode('utf-8').split()):.40}'"
    elif _is_plain_pickle(path):
        code = f'import pickle, torch; torch.save(pickle.load(open({json.dumps(str(path))}, "rb")), "weights.pth")'
        what = "a plain pickle, which cannot be read without running what it says"
        then = f"python -c {shlex.quote(code)}  # only if you trust the file: this runs it"
    elif start[257:262] == b"ustar":
        what, then = "a tar archive", "tar xf, then --weights with the file inside"
    elif path.suffix in (".onnx", ".tflite", ".pb", ".mlmodel"):
        what, then = f"a file of another kind ({path.suffix})", "weights saved by torch.save or safetensors"
    return StoreError(f"{path} is {what}", try_=then)


def _is_plain_pickle(path: Path) -> bool:
    """A pickle, and not behind the number with which torch.save once began its files."""
    with path.open("rb") as file:
        start = file.read(4)
    return start[:1] == b"\x80" and start[2:] != b"\x8a\n"


def unwrapped(value: object, path: Path) -> Foreign:
    """The tensors in what a file holds, however deep they lie.

    Raises:
        StoreError: there are none; names what there is.
    """
    sets: dict[str, dict[str, Tensor]] = {}
    depths: dict[str, list[tuple[int, object]]] = {}  # of what is said: how deep, and what, the outermost first
    classes, unnamed = tuple[str, ...](), dict[str, int]()
    seen = set[int]()
    waiting: deque[tuple[tuple[str, ...], Any]] = deque([((), value)] if isinstance(value, Container) else ())
    while waiting and len(seen) < MANY:
        keys, one = waiting.popleft()
        if id(one) in seen or len(keys) > DEEP:
            continue
        seen.add(id(one))
        named = isinstance(one, Mapping)
        entries = {str(key): each for key, each in (one.items() if named else enumerate(one))}
        if tensors := {key: each for key, each in entries.items() if isinstance(each, Tensor)}:
            if named:
                sets[".".join(keys)] = _plain(tensors)
            else:
                unnamed[".".join(keys)] = len(tensors)
        if named and len(keys) < 2 and keys[-1:] not in {(name,) for name in NUMBERED}:
            for key, each in entries.items():
                if isinstance(each, bool | int | float | str):
                    depths.setdefault(key, []).append((len(keys), each))
            classes = classes or _classes_in(entries)
        waiting.extend(((*keys, key), each) for key, each in entries.items() if isinstance(each, Container))
    if not sets:
        held = ", ".join(map(str, list(value)[:6])) if isinstance(value, Mapping) else f"a {type(value).__name__}"
        loose = sum(unnamed.values())
        held = f"{loose} tensors without names" if loose else held or "nothing"
        raise StoreError(f"{path} holds no weights: {held}", try_="torch.save(model.state_dict(), FILE)")
    # What two sets of one depth say differently belongs to one of them alone.
    said = {
        key: found[0][1]
        for key, found in depths.items()
        if len({repr(each) for depth, each in found if depth == found[0][0]}) == 1
    }
    order = sorted(sets, key=lambda label: label not in USUAL)  # stable: then as they stand in the file
    return Foreign({label: sets[label] for label in order}, tuple(said.items()), classes, unnamed)


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as a model holds them where that is exact: dense, and pruned weights with their mask."""
    small = {key for key, each in state.items() if each.numel() <= LARGEST}
    dense = {
        key: each.to_dense() if key in small and each.layout != torch.strided else each for key, each in state.items()
    }
    pruned = [key.removesuffix("_orig") for key in dense if key.endswith("_orig")]
    whole = {
        key: dense[f"{key}_orig"] * dense[f"{key}_mask"] for key in pruned if {f"{key}_orig", f"{key}_mask"} <= small
    }
    parts = {f"{key}{end}" for key in whole for end in ("_orig", "_mask")}
    return {key: each for key, each in dense.items() if key not in parts} | whole


def _classes_in(entries: Mapping[str, object]) -> tuple[str, ...]:
    """The names of classes in the order of the outputs, of a mapping from or to their numbers, or of a list."""
    for numbers in (entries[key] for key in NUMBERED if isinstance(entries.get(key), Mapping)):
        pairs = [(str(number), str(name)) for name, number in numbers.items()]  # type: ignore[attr-defined]
        for names in (dict(pairs), {name: number for number, name in pairs}):
            if set(names) == set(map(str, range(len(pairs)))):
                return tuple(names[str(each)] for each in range(len(pairs)))
    found = next((entries[key] for key in ("classes", "class_names", "CLASSES") if key in entries), ())
    return tuple(found) if isinstance(found, list | tuple) and all(isinstance(each, str) for each in found) else ()


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


def convert_pickle(path: Path, out: Path, key: str | None = None) -> tuple[int, tuple[str, ...]]:
    """Take the tensors out of a checkpoint that pickles whole objects, running nothing of it.

    Of several sets those that `key` leads to, without the small ones, as an optimiser has them for each parameter;
    where several remain their keys begin with what leads to them, and `adopt` tells them apart.

    Returns:
        How many tensors there were, and the sets that they are of.

    Raises:
        StoreError: the file is missing or damaged, holds no weights, or claims far more of them than its size.
        UsageError: `out` exists already, or is not a .safetensors file.
    """
    from safetensors.torch import save

    from bench.nets.safe_pickle import read_inert
    from bench.store.files import write_bytes

    if out.suffix != ".safetensors":
        raise UsageError(f"{out} is not a .safetensors file", try_=f"--convert {out.with_suffix('.safetensors')}")
    if out.exists():
        raise UsageError(f"{out} exists already", try_="--convert with another name")
    _check_path(path)
    _check_archive(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            value = read_inert(path)
    except Exception as reason:  # a damaged pickle raises many kinds
        raise _unreadable(path) from reason
    found = chosen_sets(unwrapped(value, path), key)
    most = max(map(len, found.values()))
    sets = {label: state for label, state in found.items() if len(state) > most / 2}
    tensors = {
        f"{label}.{name}" if len(sets) > 1 and label else name: each
        for label, state in sets.items()
        for name, each in state.items()
    }
    size = sum(each.numel() * each.element_size() for each in tensors.values())
    if size > 4 * path.stat().st_size + LARGEST:
        raise StoreError(
            f"{path} claims {size:,} bytes of weights in a file of {path.stat().st_size:,}",
            try_="a complete checkpoint",
        )
    # A clone of each: safetensors writes no two tensors that share memory, and none with gaps, as tied weights and
    # channels-last ones are.
    whole = {name: each.detach().clone(memory_format=torch.contiguous_format) for name, each in tensors.items()}
    write_bytes(out, save(whole))
    return len(whole), tuple(sets)
