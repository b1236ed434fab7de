"""Weights of other programs: pickles, zip archives, safetensors; whole, broken, and with programs inside."""

import collections
import io
import json
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from tiny import CLASSES, TINY, TINY_FILE

from bench.nets.weights import build_seeded
from fuzz.judging import OTHER, Outcome, outcome
from fuzz.mutations import VALUES, WORDS, bytes_broken, value_broken

OWNED = "owned"  # the file that a program inside a checkpoint would make


class Program:
    """Makes a file when it is unpickled the usual way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.path}",))


class Odd:
    """An object of a user's own."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _state(chance: random.Random) -> dict[Any, Any]:
    return dict(build_seeded(TINY, chance.choice((len(CLASSES),) * 4 + (3,)), chance.randrange(9)).state_dict())


def _odd_state(state: dict[Any, Any], chance: random.Random) -> dict[Any, Any]:
    """Weights of another type, shape, name or value."""
    name = chance.choice(list(state))
    value = state[name]
    ways: tuple[Any, ...] = (
        lambda: value.half(), lambda: value.bfloat16(), lambda: value.to(torch.int8), lambda: value.to(torch.complex64),
        lambda: value.bool(), lambda: value.double(), lambda: value.to_sparse() if value.ndim else value,
        lambda: value * float("nan"), lambda: value.flatten(), lambda: value[None],
        lambda: value[:0] if value.ndim else value,
        lambda: torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.int64), torch.ones(1), (2**50,)),
        lambda: torch.ones(1).expand(2**40), lambda: torch.empty(3, device="meta"), lambda: None, lambda: 7,
        lambda: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8), lambda: value.numpy(), lambda: [value],
        lambda: torch.nn.Parameter(value.float()), lambda: value.to_mkldnn() if value.dtype == torch.float32 else value,
    )  # fmt: skip
    state[name] = chance.choice(ways)()
    if chance.random() < 0.2:
        state[chance.choice((*WORDS, 3, None, (1, 2)))] = state.pop(name)
    if chance.random() < 0.2:
        state.pop(chance.choice(list(state)))
    return state


def _wrapped(state: dict[Any, Any], chance: random.Random, folder: Path) -> Any:
    prefix = chance.choice(("", "", "module.", "model.", "_orig_mod.module.", "net.backbone.", "teacher."))
    state = {f"{prefix}{key}": value for key, value in state.items()} if prefix else state
    key = chance.choice(("state_dict", "model", "state_dict_ema", "weights", *WORDS[:8]))
    endless: dict[Any, Any] = {"state_dict": state}
    endless["self"] = endless
    deep: Any = state
    for _ in range(chance.choice((3, 300))):
        deep = {"a": deep}
    return chance.choice((
        state, state, {key: state},
        {key: state, "epoch": 3, "acc": float("nan"), "classes": list(chance.sample(WORDS, 4))},
        {"ema": state, "raw": _state(chance)}, collections.OrderedDict(state), endless, deep, list(state.values()),
        {"state_dict": state, "run": Program(folder / OWNED)}, {"state_dict": state, "odd": Odd(state)},
        {"state_dict": state, "class_to_idx": chance.choice((dict.fromkeys(CLASSES, 0), {"a": "b"}, {}))},
        build_seeded(TINY, 4, 0), chance.choice(VALUES), {f"m{each}": state for each in range(50)},
    ))  # fmt: skip


def _safetensors(state: dict[Any, Any], chance: random.Random) -> bytes:
    """A safetensors file whose head may lie."""
    from safetensors.torch import save

    plain = {str(key).encode(errors="replace").decode(): value for key, value in state.items() if _is_plain(value)}
    try:
        data = save({key: value.contiguous() for key, value in plain.items()})
    except Exception:  # a tensor that it cannot hold
        data = save({"a": torch.ones(3)})
    size = struct.unpack("<Q", data[:8])[0]
    draw = chance.random()
    if draw < 0.3:
        head = json.dumps(value_broken(json.loads(data[8 : 8 + size]), chance)).encode()
        return struct.pack("<Q", len(head)) + head + data[8 + size :]
    if draw < 0.4:
        return struct.pack("<Q", chance.choice((2**63, 2**40, 0, 1, size + 1))) + data[8:]
    return bytes_broken(data, chance) if draw < 0.6 else data


def _is_plain(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and value.numel() < 10**6


def _zip_broken(data: bytes, chance: random.Random) -> bytes:
    """A checkpoint's archive with another pickle, other bytes or other names inside."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        members = old.namelist()
        chosen = chance.choice(members)
        for name in members:
            content = old.read(name)
            if name == chosen:
                content = bytes_broken(content, chance)
            odd = f"archive/{chance.choice(WORDS):.200}".replace("\0", "").replace("\ud800", "")
            new.writestr(odd if name == chosen and chance.random() < 0.25 else name, content)
    return out.getvalue()


def _content(chance: random.Random, folder: Path, ending: str) -> bytes:
    state = _state(chance)
    if chance.random() < 0.4:
        state = _odd_state(state, chance)
    if ending == ".safetensors":
        return _safetensors(state, chance)
    out = io.BytesIO()
    value = _wrapped(state, chance, folder)
    draw = chance.random()
    try:
        if draw < 0.1:
            pickle.dump(value, out)
        elif draw < 0.2:
            torch.save(value, out, _use_new_zipfile_serialization=False)
        else:
            torch.save(value, out)
    except Exception:  # what cannot be pickled
        torch.save(_state(chance), out)
    data = out.getvalue()
    if chance.random() < 0.4:
        return (
            _zip_broken(data, chance)
            if zipfile.is_zipfile(io.BytesIO(data)) and chance.random() < 0.7
            else bytes_broken(data, chance)
        )
    if chance.random() < 0.05:
        return chance.choice(
            (b"<!DOCTYPE html><html></html>", b"version https://git-lfs.github.com/spec/v1\n", b"{}", b"\x1f\x8b\x08")
        )
    return data


def case(chance: random.Random, folder: Path, base: Path) -> Outcome:
    """Bring weights, good or bad, and adopt them; nothing of them may be run."""
    path = folder / f"w{chance.choice(('.pt', '.pt', '.pth', '.safetensors', '.bin'))}"
    path.write_bytes(_content(chance, folder, path.suffix))
    adopt = ("adopt", "--weights", str(path), "--model", TINY_FILE, "--data", str(base / "pictures"))
    convert = ("adopt", "--weights", str(path), "--convert", str(folder / "out.safetensors"))
    key = (
        ("--weights-key", chance.choice(("ema", "state_dict", "nothing", *WORDS[:9]))) if chance.random() < 0.15 else ()
    )
    found = outcome(*chance.choice((adopt, adopt, convert)), *key, runs=folder / "runs")
    return Outcome(OTHER, f"{path.name} was run\n{found.words}") if (folder / OWNED).exists() else found
