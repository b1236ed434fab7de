"""Cells and samples on disk: rows are merged, never dropped."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import StoreError
from bench.schema.run import STATUSES, Cell
from bench.store.runs import SAMPLES, check_schema, read_npz, write_npz

if TYPE_CHECKING:
    from bench.contracts import Integers

CELL_SCHEMA = 1
SAMPLES_SCHEMA = 1
ROW_FIELDS = ("ids", "classes", "raw", "logits", "status")
KEY_FIELDS = ("checkpoint", "explainer", "revision", "layer", "versions", "dtype", "seeding")
FILE_NAME_LENGTH = 120
PLAIN = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*")
AGAIN = "delete it and explain again"


def cell_path(run: Path, explainer: str, layer: str) -> Path:
    """Where a cell lies: never outside the run, and two cells never in one file."""
    return run / "explain" / _file_name(explainer) / f"{_file_name(layer)}.npz"


def _file_name(name: str) -> str:
    """A registered or dotted name as it is; any other made harmless, with a digest that keeps it apart."""
    if PLAIN.fullmatch(name) and len(name) <= FILE_NAME_LENGTH:
        return name
    words = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-.")
    return f"{words[-FILE_NAME_LENGTH:]}@{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"


def write_cell(path: Path, cell: Cell) -> None:
    """Write a cell whole, its rows sorted by id and class."""
    order = np.lexsort((cell.classes, cell.ids))
    rows = {name: np.asarray(getattr(cell, name))[order] for name in ROW_FIELDS}
    head = {name: getattr(cell, name) for name in ("schema", *KEY_FIELDS, "device", "timing", "output", "steps")}
    head["versions"] = dict(cell.versions)
    write_npz(path, {"head": np.array(json.dumps(head)), **rows})


def read_cell(path: Path) -> Cell:
    """A cell, checked: shapes that do not belong together are refused."""
    arrays = read_npz(path, ("head", *ROW_FIELDS))
    head = _head(arrays.pop("head"), path)
    check_schema(head, CELL_SCHEMA, path)
    _check_rows(arrays, path)
    try:
        return Cell(
            schema=int(head["schema"]),
            checkpoint=str(head["checkpoint"]),
            explainer=str(head["explainer"]),
            revision=int(head["revision"]),
            layer=str(head["layer"]),
            versions={str(key): str(value) for key, value in head["versions"].items()},
            device=str(head["device"]),
            dtype=str(head["dtype"]),
            timing=str(head["timing"]),
            ids=arrays["ids"],
            classes=arrays["classes"],
            raw=arrays["raw"],
            logits=arrays["logits"],
            status=arrays["status"],
            output=str(head.get("output", "layer")),  # cells from before there were pictures have none
            steps=tuple(str(step) for step in head.get("steps", ())),
            seeding=str(head.get("seeding", "")),  # nor one by image: stochastic rows of then are made anew
        )
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as reason:
        raise StoreError(f"{path} is damaged: {reason!r}", try_=AGAIN) from reason


def _check_rows(arrays: Mapping[str, np.ndarray[Any, Any]], path: Path) -> None:
    """The arrays of a cell belong together, and every id, class and status means something."""
    _check_arrays(arrays, {"ids": "i1", "classes": "i1", "raw": "f3", "logits": "f2", "status": "u1"}, path)
    if 0 in arrays["raw"].shape[1:]:
        raise StoreError(f"{path} is damaged: its maps are {arrays['raw'].shape[1:]} large", try_=AGAIN)
    limits = {"ids": np.iinfo(np.int64).max, "classes": arrays["logits"].shape[1], "status": len(STATUSES)}
    for name, limit in limits.items():
        _check_range(arrays, name, limit, path)


def _check_arrays(arrays: Mapping[str, np.ndarray[Any, Any]], kinds: Mapping[str, str], path: Path) -> None:
    """Each array has the kind of values and the dimensions that `kinds` says ("f2"), and all are equally long."""
    odd = [name for name, kind in kinds.items() if f"{arrays[name].dtype.kind}{arrays[name].ndim}" != kind]
    if odd or len({len(arrays[name]) for name in kinds}) != 1:
        found = ", ".join(f"{name} {arrays[name].dtype} {arrays[name].shape}" for name in odd or kinds)
        raise StoreError(f"{path} is damaged: its arrays do not belong together: {found}", try_=AGAIN)


def _check_range(arrays: Mapping[str, np.ndarray[Any, Any]], name: str, limit: int, path: Path) -> None:
    outside = arrays[name][(arrays[name] < 0) | (arrays[name] >= limit)]
    if len(outside):
        raise StoreError(f"{path} is damaged: {name} holds {outside[0]}", try_=AGAIN)


def _head(text: np.ndarray[Any, Any], path: Path) -> dict[str, Any]:
    try:
        head = json.loads(str(text))
    except (ValueError, RecursionError) as reason:
        raise StoreError(f"{path} is damaged: {reason}", try_=AGAIN) from reason
    if not isinstance(head, dict):
        raise StoreError(f"{path} is damaged: its head is no object", try_=AGAIN)
    return head


def same_cell(first: Cell, second: Cell) -> bool:
    """Whether rows of two cells may be mixed: all that decides about a map is the same, but where it was computed."""
    return all(getattr(first, name) == getattr(second, name) for name in KEY_FIELDS)


def merge_cells(old: Cell | None, new: Cell) -> Cell:
    """All rows of both; a row in both is taken from `new`. An `old` of another key or grid is replaced whole."""
    if old is None or not same_cell(old, new):
        return new
    if len(new.ids) == 0:
        return old
    if old.raw.shape[1:] != new.raw.shape[1:] or old.logits.shape[1:] != new.logits.shape[1:]:
        return new
    keys = set(zip(new.ids.tolist(), new.classes.tolist(), strict=True))
    kept = np.array([key not in keys for key in zip(old.ids.tolist(), old.classes.tolist(), strict=True)], dtype=bool)
    rows: dict[str, Any] = {name: np.concatenate([getattr(old, name)[kept], getattr(new, name)]) for name in ROW_FIELDS}
    timing = new.timing if len(new.ids) >= kept.sum() else old.timing  # the rate of most rows, not of a top-up
    return replace(new, timing=timing, **rows)


def row_keys(cell: Cell | None) -> set[tuple[int, int]]:
    """The (test id, class) pairs a cell holds."""
    return set() if cell is None else set(zip(cell.ids.tolist(), cell.classes.tolist(), strict=True))


# --- samples: what a page needs of the images ---------------------------------------------------------------


@dataclass(frozen=True)
class Samples:
    """The explained images of a run, so that its folder renders its pages anywhere.

    Attributes:
        ids: (R,) int64, ascending.
        pictures: (R, H, W, 3) uint8.
        names: R file names.
        labels: (R,) int64.
        logits: (R, K) float32.
    """

    ids: Integers
    pictures: Integers
    names: tuple[str, ...]
    labels: Integers
    logits: np.ndarray[Any, Any]


def read_samples(run: Path) -> Samples | None:
    """The samples of a run; None when nothing was explained."""
    path = run / SAMPLES
    if not path.exists():
        return None
    arrays = read_npz(path, ("schema", "ids", "pictures", "names", "labels", "logits"))
    schema = arrays.pop("schema")
    check_schema({"schema": schema.tolist()}, SAMPLES_SCHEMA, path)
    kinds = {"ids": "i1", "pictures": "u4", "names": "U1", "labels": "i1", "logits": "f2"}
    _check_arrays(arrays, kinds, path)
    if arrays["pictures"].dtype != np.uint8 or arrays["pictures"].shape[3] != 3:
        found = f"{arrays['pictures'].dtype} {arrays['pictures'].shape}"
        raise StoreError(f"{path} is damaged: its pictures are {found}, not uint8 RGB", try_=AGAIN)
    _check_range(arrays, "labels", arrays["logits"].shape[1], path)
    names = tuple(str(name) for name in arrays["names"])
    return Samples(arrays["ids"], arrays["pictures"], names, arrays["labels"], arrays["logits"])


def write_samples(run: Path, new: Samples) -> None:
    """Add samples to those that are there; one that is there is replaced."""
    old = read_samples(run)
    if old is not None and all(
        getattr(old, name).shape[1:] == getattr(new, name).shape[1:] for name in ("logits", "pictures")
    ):
        new = _joined(old, new)
    order = np.argsort(new.ids, kind="stable")
    arrays: Mapping[str, np.ndarray[Any, Any]] = {
        "schema": np.array(SAMPLES_SCHEMA),
        "ids": new.ids[order],
        "pictures": new.pictures[order],
        "names": np.array(new.names)[order] if new.names else np.array([], dtype="U1"),
        "labels": new.labels[order],
        "logits": new.logits[order],
    }
    write_npz(run / SAMPLES, arrays)


def _joined(old: Samples, new: Samples) -> Samples:
    kept = np.flatnonzero(~np.isin(old.ids, new.ids))
    return Samples(
        ids=np.concatenate([old.ids[kept], new.ids]),
        pictures=np.concatenate([old.pictures[kept], new.pictures]),
        names=tuple(old.names[index] for index in kept) + new.names,
        labels=np.concatenate([old.labels[kept], new.labels]),
        logits=np.concatenate([old.logits[kept], new.logits]),
    )
