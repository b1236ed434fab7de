"""Ways to break a file: its bytes, the values of its JSON, the arrays of its npz."""

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Words that terminals, shells, pages, paths and parsers take for more than words.
WORDS = (
    "", " ", "\x1b[31mred\x1b]0;owned\x07", "\x1b]8;;http://x\x07y", "\x1b]52;c;aGk=\x07", "\x9b2J", "a\nb", "\r", "\0",
    "[red]x[/]", "[/]", "[link=file:///]x", "\u202egpj.exe", "a\u200bb", "e" + "\u0301" * 500, "\ud800", "\U0001f469",
    "../../etc/passwd", "/", "~", "~root/x", "-rf", "--help", "$(touch owned)", "`touch owned`", "'; --", "%s%n", "{0}",
    "<script>alert(1)</script>", "x" * 100_000, "nan", "1e400", "-0", "١٢", "²", "latest", "all", "None",
    "CON", ".", "..",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *WORDS, None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 1e308, -1e308, 5e-324, float("nan"), float("inf"), 0.5,
    [], {}, [None], [[]], {"": {}}, [1, "a"], [0] * 1000, {"schema": 1},
)  # fmt: skip


def bytes_broken(data: bytes, chance: random.Random) -> bytes:
    """Some bytes flipped, cut off, doubled, zeroed, or put elsewhere."""
    if not data:
        return chance.randbytes(chance.randrange(64))
    place, other = sorted((chance.randrange(len(data)), chance.randrange(len(data))))
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: data[:place],
        lambda: data[place:],
        lambda: data[:place] + data[other:],
        lambda: data[:other] + data[place:],
        lambda: data[:place] + bytes(other - place) + data[other:],
        lambda: data[:place] + chance.randbytes(min(64, other - place)) + data[other:],
        lambda: b"",
        lambda: chance.randbytes(chance.randrange(300)),
        lambda: _flipped(data, chance),
        lambda: _flipped(data, chance),
        lambda: _flipped(data, chance),
    )
    return chance.choice(ways)()


def _flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value, however deep."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def value_broken(value: Any, chance: random.Random) -> Any:
    """One or more values of a JSON text replaced, removed, doubled or renamed."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            return chance.choice(VALUES)
        holder, key = chance.choice(places)
        match chance.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[chance.choice(WORDS)] = holder.pop(key)
            case 2 if isinstance(holder, list):
                holder.append(holder[key])
            case 3:
                holder[key] = _near(holder[key], chance)
            case _:
                holder[key] = chance.choice(VALUES)
    return value


def _near(value: Any, chance: random.Random) -> Any:
    """Another value of the same type, which a check of types lets through."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return chance.choice((-value, value + 1, value * 1000, value - 1, 0, type(value)(1)))
    if isinstance(value, str):
        return chance.choice(
            (value[::-1], value[:1], value * 2, f"{value}\x1b[2J", value.upper(), chance.choice(WORDS))
        )
    if isinstance(value, list):
        return chance.choice((value[::-1], value[:-1], value * 3))
    return dict(reversed(value.items()))


def json_broken(text: bytes, chance: random.Random) -> bytes:
    """A JSON text with other values, or one that is no JSON any more."""
    if chance.random() < 0.1:
        return chance.choice((b"[" * 100_000, b"{}", b"[]", b"null", b'{"schema":1}', b"\xff\xfe", b'{"a":1}{"b":2}'))
    if chance.random() < 0.15:
        return bytes_broken(text, chance)
    try:
        value = json.loads(text)
    except ValueError:
        return bytes_broken(text, chance)
    return json.dumps(value_broken(value, chance)).encode()


def npz_broken(data: bytes, chance: random.Random) -> bytes:
    """An npz whose arrays have other values, types, shapes or claims, or that is no whole file any more."""
    if chance.random() < 0.35:
        return bytes_broken(data, chance)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception:  # it was broken before
        return bytes_broken(data, chance)
    name = chance.choice(list(arrays))
    if chance.random() < 0.15:
        return _claiming(arrays, name, chance)
    arrays[name] = _array_broken(arrays[name], chance)
    if chance.random() < 0.1:
        del arrays[name]
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _claiming(arrays: dict[str, np.ndarray[Any, Any]], name: str, chance: random.Random) -> bytes:
    """An npz of which one array says that it is huge, and may be: zeros compress well."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            content = buffer.getvalue()
            if each == name:
                shape = chance.choice(("(1000000000000,)", "(30000000, 32, 32, 3)", "(-1, 4)", "(2, 0, 9)"))
                kind = chance.choice(("|u1", "<f4", "<f8", "|O", "<U9"))
                head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
                padded = head.ljust(117) + "\n"
                content = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()
                content += bytes(chance.choice((0, 1000, 50_000_000)))
            archive.writestr(f"{each}.npy", content)
    return out.getvalue()


def _array_broken(array: np.ndarray[Any, Any], chance: random.Random) -> np.ndarray[Any, Any]:
    ways: tuple[Callable[[], Any], ...] = (
        lambda: array[:-1] if array.ndim else array.reshape(1),
        lambda: np.concatenate([array, array]) if array.ndim else array,
        lambda: array.astype(chance.choice(("f8", "f2", "i4", "u1", "c8", "U8", "?", "f4", "u8"))),
        lambda: array.ravel(),
        lambda: array[None],
        lambda: array[::-1].copy() if array.ndim else array,
        lambda: np.full_like(array, chance.choice((-1, 0, 127))) if array.dtype.kind in "iuf" else array,
        lambda: _one_changed(array, chance),
        lambda: _one_changed(array, chance),
        lambda: np.zeros((0, *array.shape[1:]), array.dtype),
        lambda: np.array(chance.choice(WORDS).replace("\ud800", "?")),
    )
    try:
        found: np.ndarray[Any, Any] = np.asarray(chance.choice(ways)())
    except (ValueError, TypeError, OverflowError):
        return np.zeros(0)
    return found


def _one_changed(array: np.ndarray[Any, Any], chance: random.Random) -> np.ndarray[Any, Any]:
    if not array.size:
        return array
    changed = array.copy()
    special = (np.nan, np.inf, -np.inf, 1e38, -1.0) if array.dtype.kind == "f" else (-1, 2**40, 99, 0)
    words = [each.replace("\ud800", "?") for each in WORDS]
    changed.flat[chance.randrange(array.size)] = (
        chance.choice(words) if array.dtype.kind == "U" else chance.choice(special)
    )
    return changed


def file_broken(path: Path, chance: random.Random) -> None:
    """Break a file in a way that suits its kind."""
    data = path.read_bytes()
    kinds = {".json": json_broken, ".npz": npz_broken}
    if path.suffix == ".jsonl":
        lines = data.splitlines() or [b"{}"]
        place = chance.randrange(len(lines))
        lines[place] = json_broken(lines[place], chance)
        path.write_bytes(b"\n".join(lines))
        return
    path.write_bytes(kinds.get(path.suffix, bytes_broken)(data, chance))
