"""Cells on disk: rows are merged, never dropped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import StoreError
from bench.schema.run import STATUSES, Cell
from bench.store.files import AGAIN, check_arrays, check_range, check_schema, json_object, locked, read_npz, write_npz

CELL_SCHEMA = 1
ROW_FIELDS = ("ids", "classes", "raw", "logits", "status")
KEY_FIELDS = ("checkpoint", "explainer", "revision", "layer", "versions", "dtype", "seeding")


def write_cell(path: Path, cell: Cell) -> Cell:
    """Write a cell whole, its rows sorted by id and class; gives it so."""
    order = np.lexsort((cell.classes, cell.ids))
    rows: dict[str, Any] = {name: np.asarray(getattr(cell, name))[order] for name in ROW_FIELDS}
    head = {name: getattr(cell, name) for name in ("schema", *KEY_FIELDS, "device", "timing", "output", "steps")}
    head["versions"] = dict(cell.versions)
    write_npz(path, {"head": np.array(json.dumps(head)), **rows})
    return replace(cell, **rows)


def read_cell(path: Path) -> Cell:
    """A cell, checked: shapes that do not belong together are refused."""
    arrays = read_npz(path, ("head", *ROW_FIELDS))
    head = json_object(arrays.pop("head"), path)
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
    check_arrays(arrays, {"ids": "i1", "classes": "i1", "raw": "f3", "logits": "f2", "status": "u1"}, path)
    if 0 in arrays["raw"].shape[1:]:
        raise StoreError(f"{path} is damaged: its maps are {arrays['raw'].shape[1:]} large", try_=AGAIN)
    limits = {"ids": np.iinfo(np.int64).max, "classes": arrays["logits"].shape[1], "status": len(STATUSES)}
    for name, limit in limits.items():
        check_range(arrays, name, limit, path)


def same_cell(first: Cell, second: Cell) -> bool:
    """Whether rows of two cells may be mixed: all that decides about a map is the same, but where it was computed."""
    return all(getattr(first, name) == getattr(second, name) for name in KEY_FIELDS)


def joined(cells: Sequence[Cell]) -> Cell:
    """The rows of several cells of one key and one grid, one after the other."""
    rows: dict[str, Any] = {name: np.concatenate([getattr(cell, name) for cell in cells]) for name in ROW_FIELDS}
    return replace(cells[0], **rows)


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


def add_rows(path: Path, new: Cell) -> Cell:
    """Merge rows into a cell's file under its lock; gives the whole cell. A file that cannot be read is replaced."""
    with locked(path):
        old = None
        if path.exists():
            with suppress(StoreError):
                old = read_cell(path)
        return write_cell(path, merge_cells(old, new))


def row_keys(cell: Cell | None) -> set[tuple[int, int]]:
    """The (test id, class) pairs a cell holds."""
    return set() if cell is None else set(zip(cell.ids.tolist(), cell.classes.tolist(), strict=True))
