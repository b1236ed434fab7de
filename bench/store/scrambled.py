"""Maps of copies of a run's model whose weights were scrambled, kept by cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import StoreError
from bench.store.files import read_npz, write_npz

if TYPE_CHECKING:
    from bench.contracts import Floats, Integers

SCRAMBLED_SCHEMA = 1


@dataclass(frozen=True)
class Scrambled:
    """Maps for the class that the trained model predicts.

    Attributes:
        head: of which model and explainer they are, as `head_of` gives it.
        ids: (N,) test ids.
        raw: (S, N, h, w), for each stage that was scrambled.
    """

    head: str
    ids: Integers
    raw: Floats

    def of(self, ids: Integers, head: str) -> Floats | None:
        """The maps (S, I, h, w) of `ids` (I,) with this head, where these begin with them; more images do no harm."""
        same = self.head == head and np.array_equal(self.ids[: len(ids)], ids)
        return self.raw[:, : len(ids)] if same else None


def head_of(facts: Mapping[str, object]) -> str:
    """What maps hang on, in one order."""
    return json.dumps({"schema": SCRAMBLED_SCHEMA, **facts}, sort_keys=True)


def write_scrambled(path: Path, found: Scrambled) -> None:
    """Write the maps of a cell."""
    write_npz(path, {"head": np.array(found.head), "ids": found.ids, "raw": found.raw})


def read_scrambled(path: Path) -> Scrambled | None:
    """The maps of a cell; None where there are none that can be read."""
    try:
        arrays = read_npz(path, ("head", "ids", "raw"))
    except StoreError:
        return None
    return Scrambled(str(arrays["head"]), arrays["ids"], arrays["raw"])
