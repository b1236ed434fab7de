"""What a run holds row by row: cells, pictures, answers. Rows are merged, never dropped."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.contracts import Floats, Integers
from bench.data.decoding import KEPT, LOSSLESS, edge_of, kept
from bench.errors import StoreError
from bench.precision import IEEE
from bench.schema.run import MOST, MOST_LABELS, STATUSES, Cell
from bench.schema.verdicts import Completeness
from bench.stats.completeness import completeness
from bench.store.files import (
    AGAIN,
    check_arrays,
    check_range,
    check_schema,
    json_object,
    read_npz,
    write_npz,
)
from bench.store.on_disk import Joined, OnDisk, blocks, joined

Key = tuple[int, int]
Table = TypeVar("Table", "Answers", Cell, "Samples")


def merged(parts: Sequence[Table], *keys: str) -> Table:
    """The rows of all parts by their keys, the rest of the last part; of one key the row of the latest part.

    A part whose rows have another shape than the last one's is left out.
    """
    arrays: list[dict[str, Any]] = [
        {name: each for name, each in vars(part).items() if isinstance(each, np.ndarray | OnDisk | Joined)}
        for part in parts
    ]
    last = arrays[-1]
    alike = [one for one in reversed(arrays) if all(one[name].shape[1:] == last[name].shape[1:] for name in last)]
    keyed = [np.concatenate([one[key].astype(np.int64) for one in alike]) for key in keys]  # bits of sets, no floats
    order = np.lexsort(keyed[::-1])  # stable, so that of equal keys the latest part's comes first
    differs = [np.diff(each[order], prepend=each[order[:1]] - 1) != 0 for each in keyed]
    places = order[np.logical_or.reduce(differs)]
    rows: dict[str, Any] = {name: joined([one[name] for one in alike], places) for name in last}
    return replace(parts[-1], **rows)


# --- cells --------------------------------------------------------------------------------------------------

CELL_SCHEMA = 2  # 1 had the logits of each row, which are those of predictions.npz
CELL_ROWS = {"ids": "i1", "classes": "i1", "raw": "f3", "status": "u1"}
DUE = {"due": "f1"}  # only where a method promises a sum
KEY_FIELDS = ("checkpoint", "explainer", "revision", "layer", "versions", "dtype", "fp32", "seeding")
ON_NO_GPU = re.compile(r" threads?$|^Apple GPU of ")  # how the devices are called on which fp32 was always IEEE's


def write_cell(path: Path, cell: Cell) -> None:
    """Write a cell whole."""
    fields = ("schema", *KEY_FIELDS, "device", "timing", "output", "steps", "promise")
    adds_up = sums_of(cell)
    head = {**{name: getattr(cell, name) for name in fields}, "complete": adds_up.verdict if adds_up else ""}
    head["schema"] = CELL_SCHEMA
    head["versions"] = dict(cell.versions)
    rows = (*CELL_ROWS, *(DUE if cell.due is not None else ()))
    arrays = {"head": np.array(json.dumps(head)), **{name: getattr(cell, name) for name in rows}}
    # Maps pack to nine tenths of their size, which takes longer than making some of them.
    write_npz(path, arrays, plain=("raw",))


def read_cell(path: Path) -> Cell:
    """A cell, checked: shapes that do not fit together are refused."""
    arrays = read_npz(path, ("head", *CELL_ROWS), more=tuple(DUE), rows=("raw",))
    head = json_object(arrays.pop("head"), path)
    check_schema(head, CELL_SCHEMA, path)
    check_arrays(arrays, {**CELL_ROWS, **(DUE if "due" in arrays else {})}, path)
    if 0 in arrays["raw"].shape[1:]:
        raise StoreError(f"{path} is damaged: its maps are {arrays['raw'].shape[1:]} large", try_=AGAIN)
    for name, limit in {"ids": MOST // MOST_LABELS, "classes": MOST_LABELS, "status": len(STATUSES)}.items():
        check_range(arrays, name, limit, path)
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
            output=str(head.get("output", "layer")),  # cells from before there were pictures have none
            steps=tuple(str(step) for step in head.get("steps", ())),
            seeding=str(head.get("seeding", "")),  # nor one by image: stochastic rows of then are made anew
            promise=str(head.get("promise", "")),  # nor sums
            fp32=str(head.get("fp32", IEEE if ON_NO_GPU.search(str(head["device"])) else "tf32")),
            **arrays,
        )
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as reason:
        raise StoreError(f"{path} is damaged: {reason!r}", try_=AGAIN) from reason


def same_cell(first: Cell, second: Cell) -> bool:
    """Whether rows of two cells may be mixed: all that decides about a map is the same, but where it was computed."""
    return all(getattr(first, name) == getattr(second, name) for name in KEY_FIELDS)


def merge_cells(old: Cell | None, new: Cell) -> Cell:
    """All rows of both; a row in both is taken from `new`. An `old` of another key or grid is replaced whole."""
    if old is None or not same_cell(old, new):
        return merged([new], "ids", "classes")
    if len(new.ids) == 0:
        return old
    if new.due is not None and old.due is None:
        old = replace(old, due=np.full(len(old.ids), np.nan, new.due.dtype))
    whole = merged([old, new], "ids", "classes")
    few = 2 * len(new.ids) < len(whole.ids)
    return replace(whole, timing=old.timing) if few else whole  # the rate of most rows, not of a top-up


def sums_of(cell: Cell) -> Completeness | None:
    """How the maps of a cell add up, where its method promises it and its rows tell."""
    if cell.due is None:
        return None
    with np.errstate(invalid="ignore"):
        sums = [cell.raw[rows].sum(axis=(1, 2), dtype=np.float64) for rows in blocks(cell.raw)]
        return completeness(cell.promise, np.concatenate([*sums, np.empty(0)]), cell.due)


def row_keys(cell: Cell | None) -> set[Key]:
    """The (test id, class) pairs a cell holds."""
    return set() if cell is None else set(zip(cell.ids.tolist(), cell.classes.tolist(), strict=True))


# --- pictures -----------------------------------------------------------------------------------------------

SAMPLES_SCHEMA = 3  # 1 and 2 had the logits of each image, which are those of predictions.npz
SAMPLE_ROWS = {"ids": "i1", "pictures": "u4", "names": "U1", "labels": "i1"}
SAMPLE_FILES = ("files", "ends")  # in the place of pictures that are large


@dataclass(frozen=True)
class Samples:
    """The explained images of a run, so that its folder renders its pages anywhere.

    Attributes:
        ids: (R,) int64, ascending.
        pictures: (R, H, W, 3) uint8, or (R,) objects: the JPEG files of large ones.
        names: (R,) file names.
        labels: (R,) int64.
    """

    ids: Integers
    pictures: np.ndarray[tuple[int, ...], np.dtype[Any]]
    names: np.ndarray[tuple[int, ...], np.dtype[np.str_]]
    labels: Integers


def write_samples(path: Path, samples: Samples) -> None:
    """Write the explained images of a run."""
    arrays = dict(vars(samples))
    if samples.pictures.dtype == object:
        files = arrays.pop("pictures").tolist()
        arrays["files"] = np.frombuffer(b"".join(files), np.uint8)
        arrays["ends"] = np.cumsum([len(each) for each in files], dtype=np.int64)
    write_npz(path, {"schema": np.array(SAMPLES_SCHEMA), **arrays})


def read_samples(path: Path) -> Samples | None:
    """The explained images of a run; None when nothing was explained."""
    if not os.path.lexists(path):
        return None
    alone = tuple(name for name in SAMPLE_ROWS if name != "pictures")
    arrays = read_npz(path, ("schema", *alone), more=("pictures", *SAMPLE_FILES))
    number = arrays.pop("schema")
    check_schema({"schema": number.item() if number.size == 1 else number.shape}, SAMPLES_SCHEMA, path)
    if "pictures" not in arrays:
        if missing := [name for name in SAMPLE_FILES if name not in arrays]:
            raise StoreError(f"{path} is damaged: it has neither pictures nor {missing[0]}", try_=AGAIN)
        arrays = _with_files(arrays, path)
    whole = arrays["pictures"].ndim == 4
    check_arrays(arrays, {**SAMPLE_ROWS, "pictures": "u4" if whole else "O1"}, path)
    if whole and (arrays["pictures"].dtype != np.uint8 or arrays["pictures"].shape[3] != 3):
        found = f"{arrays['pictures'].dtype} {arrays['pictures'].shape}"
        raise StoreError(f"{path} is damaged: its pictures are {found}, not uint8 RGB", try_=AGAIN)
    check_range(arrays, "labels", np.iinfo(np.int64).max, path)
    if whole and len(arrays["ids"]) and (edge := max(arrays["pictures"].shape[1:3])) > LOSSLESS:
        arrays["pictures"] = kept(arrays["pictures"], edge)  # they were kept whole once
    return Samples(**{name: arrays[name] for name in SAMPLE_ROWS})


def _with_files(arrays: dict[str, Any], path: Path) -> dict[str, Any]:
    """The arrays with the files of pictures in the place of their bytes and ends."""
    content, ends = arrays.pop("files"), arrays.pop("ends")
    check_arrays({"files": content}, {"files": "u1"}, path)
    check_arrays({"ends": ends}, {"ends": "i1"}, path)
    starts = np.concatenate([[0], ends[:-1]])
    right = (ends >= starts).all() and int(ends.max(initial=0)) == len(content)
    pairs = zip(starts.tolist(), ends.tolist(), strict=True) if right else ()
    files = [content[start:end].tobytes() for start, end in pairs]
    if not right or not all(map(edge_of, files)):
        raise StoreError(f"{path} is damaged: its pictures are no JPEG files of at most {KEPT} pixels", try_=AGAIN)
    arrays["pictures"] = np.empty(len(files), dtype=object)
    arrays["pictures"][:] = files
    return arrays


def merge_samples(old: Samples | None, new: Samples) -> Samples:
    """All images of both; one in both is taken from `new`. Of another size `old` is replaced whole."""
    return merged([old, new] if old else [new], "ids")


def same_rows(first: Samples, second: Samples) -> bool:
    """Whether both hold the same."""
    return all(np.array_equal(here, vars(second)[name]) for name, here in vars(first).items())


# --- answers ------------------------------------------------------------------------------------------------

ANSWERS_SCHEMA = 1
ANSWER_ROWS = {"ids": "i1", "sets": "u1", "logits": "f2"}


@dataclass(frozen=True)
class Answers:
    """Logits of images with sets of patches covered: computed once a run, shared by all explainers.

    Every score of faithfulness is read off these, so an interrupted call continues where it stopped, and explainers
    whose patches come in the same order cost nothing extra.

    Attributes:
        ids: (M,) int64 test ids.
        sets: (M,) uint64, the covered patches as bits, row by row of the grid; 0 for the whole image.
        logits: (M, K) float32.
    """

    ids: Integers
    sets: Integers
    logits: Floats

    @cached_property
    def places(self) -> dict[Key, int]:
        """Where each answer stands."""
        return {key: place for place, key in enumerate(_keys(self.ids, self.sets))}

    def missing(self, ids: Integers, sets: Integers) -> tuple[Integers, Integers]:
        """Of (I,) ids with (I, ...) sets each those without an answer, each once, sorted: (M,) ids, (M,) sets."""
        found = sorted(set(_keys(ids, sets)) - self.places.keys())
        return (
            np.array([each for each, _ in found], dtype=np.int64),
            np.array([bits for _, bits in found], dtype=np.uint64),
        )

    def of(self, ids: Integers, sets: Integers) -> Floats:
        """Logits (I, ..., K) of (I,) ids with (I, ...) sets each; all must be there."""
        rows = np.array([self.places[key] for key in _keys(ids, sets)], dtype=np.int64)
        found: Floats = self.logits[rows].reshape(*sets.shape, self.logits.shape[1])
        return found


def _keys(ids: Integers, sets: Integers) -> list[Key]:
    each = sets.size // max(1, len(ids))
    return list(zip(np.repeat(ids, each).tolist(), sets.ravel().tolist(), strict=True))


def write_answers(path: Path, answers: Answers, head: Mapping[str, object]) -> None:
    """Write answers whole; `head` says of which model they are."""
    told = json.dumps({"schema": ANSWERS_SCHEMA, **head}, sort_keys=True)
    write_npz(path, {"head": np.array(told), **{name: getattr(answers, name) for name in ANSWER_ROWS}})


def read_answers(path: Path, head: Mapping[str, object], classes: int) -> Answers:
    """The answers on disk; none where there are none, or they are of another model, or the file is damaged.

    Raises:
        StoreError: a newer bench wrote the file.
    """
    nothing = Answers(np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros((0, classes), np.float32))
    try:
        arrays = read_npz(path, ("head", *ANSWER_ROWS))
        told = json_object(arrays.pop("head"), path)
        check_arrays(arrays, ANSWER_ROWS, path)
    except StoreError:
        return nothing  # they can be computed again
    check_schema(told, ANSWERS_SCHEMA, path)
    same = told == {"schema": told["schema"], **head} and arrays["logits"].shape[1] == classes
    return Answers(**arrays) if same else nothing
