"""What the model answers when patches are covered, on disk: computed once a run, shared by all explainers.

Every score of faithfulness is read off these answers, so an interrupted call continues where it stopped, and
explainers whose patches come in the same order cost nothing extra.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import StoreError
from bench.store.files import check_schema, json_object, locked, read_npz, write_npz

if TYPE_CHECKING:
    from bench.contracts import Floats, Integers

ANSWERS_SCHEMA = 1
Key = tuple[int, int]


@dataclass(frozen=True)
class Answers:
    """Logits of images with sets of patches covered.

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
        return {key: place for place, key in enumerate(zip(self.ids.tolist(), self.sets.tolist(), strict=True))}

    def missing(self, ids: Integers, sets: Integers) -> tuple[Integers, Integers]:
        """Of (I,) ids with (I, ...) sets each those without an answer, each once, sorted: (M,) ids, (M,) sets."""
        wanted = set(_keys(ids, sets)) - self.places.keys()
        found = sorted(wanted)
        return (
            np.array([each for each, _ in found], dtype=np.int64),
            np.array([bits for _, bits in found], dtype=np.uint64),
        )

    def of(self, ids: Integers, sets: Integers) -> Floats:
        """Logits (I, ..., K) of (I,) ids with (I, ...) sets each; all must be there."""
        rows = np.array([self.places[key] for key in _keys(ids, sets)], dtype=np.int64)
        found: Floats = self.logits[rows].reshape(*sets.shape, self.logits.shape[1])
        return found

    def joined(self, ids: Integers, sets: Integers, logits: Floats) -> Answers:
        """These and more."""
        return Answers(
            np.concatenate([self.ids, ids]), np.concatenate([self.sets, sets]), np.concatenate([self.logits, logits])
        )


def _keys(ids: Integers, sets: Integers) -> list[Key]:
    each = sets.size // max(1, len(ids))
    return list(zip(np.repeat(ids, each).tolist(), sets.ravel().tolist(), strict=True))


def add_answers(path: Path, new: Answers, head: Mapping[str, object]) -> Answers:
    """Add answers to those on disk, under the file's lock; gives all. `head` says of which model they are."""
    with locked(path):
        old = read_answers(path, head, new.logits.shape[1])
        fresh = np.array([key not in old.places for key in new.places], dtype=bool)
        whole = old.joined(new.ids[fresh], new.sets[fresh], new.logits[fresh])
        write_answers(path, whole, head)
    return whole


def write_answers(path: Path, answers: Answers, head: Mapping[str, object]) -> None:
    """Write answers whole; `head` says of which model they are."""
    told = {"schema": ANSWERS_SCHEMA, **head}
    arrays = {"ids": answers.ids, "sets": answers.sets, "logits": answers.logits}
    write_npz(path, {"head": np.array(json.dumps(told, sort_keys=True)), **arrays})


def read_answers(path: Path, head: Mapping[str, object], classes: int) -> Answers:
    """The answers on disk; none where there are none, or they are of another model, or the file is damaged.

    Raises:
        StoreError: a newer bench wrote the file.
    """
    nothing = Answers(np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros((0, classes), np.float32))
    if not path.exists():
        return nothing
    try:
        arrays = read_npz(path, ("head", "ids", "sets", "logits"))
        told = json_object(arrays.pop("head"), path)
    except StoreError:
        return nothing  # they can be computed again
    check_schema(told, ANSWERS_SCHEMA, path)
    found = Answers(**arrays)
    fits = (
        [found.ids.dtype.name, found.sets.dtype.name] == ["int64", "uint64"]
        and found.ids.shape == found.sets.shape == found.logits.shape[:1]
        and found.logits.shape[1:] == (classes,)
    )
    same = {key: value for key, value in told.items() if key != "schema"} == json.loads(json.dumps(dict(head)))
    return found if same and fits else nothing
