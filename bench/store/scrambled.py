"""Maps of copies of a run's model whose weights were scrambled, kept by cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import StoreError
from bench.store.files import read_npz, write_npz

if TYPE_CHECKING:
    from bench.contracts import Floats, Integers

SCRAMBLED_SCHEMA = 1


def write_scrambled(path: Path, ids: Integers, raw: Floats, facts: Mapping[str, object]) -> None:
    """Write maps (S, N, h, w) of `ids` (N,), one for each stage; `facts` say of which model and explainer they are."""
    write_npz(path, {"head": np.array(_head(facts)), "ids": ids, "raw": raw})


def read_scrambled(path: Path, ids: Integers, facts: Mapping[str, object]) -> Floats | None:
    """The maps of `ids` (N,) with these facts, where the file begins with them; more images do no harm."""
    try:
        arrays = read_npz(path, ("head", "ids", "raw"))
    except StoreError:
        return None
    same = str(arrays["head"]) == _head(facts) and np.array_equal(arrays["ids"][: len(ids)], ids)
    return arrays["raw"][:, : len(ids)] if same else None


def _head(facts: Mapping[str, object]) -> str:
    return json.dumps({"schema": SCRAMBLED_SCHEMA, **facts}, sort_keys=True)
