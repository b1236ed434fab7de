"""Cells and samples on disk: rows are merged, never dropped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contracts import Cell
from bench.errors import StoreError
from bench.store import SAMPLES, check_schema, read_npz, write_npz

if TYPE_CHECKING:
    from bench.contracts import Integers

CELL_SCHEMA = 1
SAMPLES_SCHEMA = 1
ROW_FIELDS = ("ids", "classes", "raw", "logits", "status")
KEY_FIELDS = ("checkpoint", "explainer", "revision", "layer", "versions", "dtype")
LAYER_NAME_LENGTH = 120


def cell_path(run: Path, explainer: str, layer: str) -> Path:
    """Where a cell lies. Names of files given as path.py:attribute become harmless folder names."""
    safe = "".join(each if each.isalnum() or each in "._+-" else "-" for each in explainer)[:LAYER_NAME_LENGTH]
    place = "".join(each if each.isalnum() or each in "._-" else "-" for each in layer)[:LAYER_NAME_LENGTH]
    return run / "explain" / safe.strip(".") / f"{place.strip('.')}.npz"


def write_cell(path: Path, cell: Cell) -> None:
    """Write a cell whole, its rows sorted by id and class."""
    order = np.lexsort((cell.classes, cell.ids))
    rows = {name: np.asarray(getattr(cell, name))[order] for name in ROW_FIELDS}
    head = {name: getattr(cell, name) for name in ("schema", *KEY_FIELDS, "device", "timing")}
    head["versions"] = dict(cell.versions)
    write_npz(path, {"head": np.array(json.dumps(head)), **rows})


def read_cell(path: Path) -> Cell:
    """A cell, checked: shapes that do not belong together are refused."""
    arrays = read_npz(path, ("head", *ROW_FIELDS))
    head = _head(arrays.pop("head"), path)
    rows = len(arrays["ids"])
    if any(len(values) != rows for values in arrays.values()) or arrays["raw"].ndim != 3 or arrays["logits"].ndim != 2:
        raise StoreError(f"{path} is damaged: its arrays do not belong together", try_="delete it and explain again")
    check_schema(head, CELL_SCHEMA, path)
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
        )
    except (KeyError, TypeError, ValueError, AttributeError) as reason:
        raise StoreError(f"{path} is damaged: {reason!r}", try_="delete it and explain again") from reason


def _head(text: np.ndarray[Any, Any], path: Path) -> dict[str, Any]:
    try:
        head = json.loads(str(text))
    except ValueError as reason:
        raise StoreError(f"{path} is damaged: {reason}", try_="delete it and explain again") from reason
    if not isinstance(head, dict):
        raise StoreError(f"{path} is damaged: its head is no object", try_="delete it and explain again")
    return head


def same_cell(first: Cell, second: Cell) -> bool:
    """Whether rows of two cells may be mixed: same checkpoint, explainer, revision, versions, dtype and layer."""
    return all(getattr(first, name) == getattr(second, name) for name in KEY_FIELDS)


def merge_cells(old: Cell | None, new: Cell) -> Cell:
    """All rows of both; a row in both is taken from `new`. An `old` of another key is replaced whole."""
    if old is None or not same_cell(old, new) or old.raw.shape[1:] != new.raw.shape[1:]:
        return new
    keys = set(zip(new.ids.tolist(), new.classes.tolist(), strict=True))
    kept = np.array([key not in keys for key in zip(old.ids.tolist(), old.classes.tolist(), strict=True)], dtype=bool)
    rows: dict[str, Any] = {name: np.concatenate([getattr(old, name)[kept], getattr(new, name)]) for name in ROW_FIELDS}
    return replace(new, **rows)


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
    check_schema({"schema": int(arrays["schema"])}, SAMPLES_SCHEMA, path)
    names = tuple(str(name) for name in arrays["names"])
    found = Samples(arrays["ids"], arrays["pictures"], names, arrays["labels"], arrays["logits"])
    sizes = {len(found.ids), len(found.pictures), len(names), len(found.labels), len(found.logits)}
    if len(sizes) != 1 or found.pictures.ndim != 4 or found.pictures.dtype != np.uint8:
        raise StoreError(f"{path} is damaged: its arrays do not belong together", try_="delete it and explain again")
    return found


def write_samples(run: Path, new: Samples) -> None:
    """Add samples to those that are there; one that is there is replaced."""
    old = read_samples(run)
    if old is not None and old.logits.shape[1:] == new.logits.shape[1:]:
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
