"""The explained images of a run on disk: pictures are added, and one that is there is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import StoreError
from bench.store.files import AGAIN, check_arrays, check_range, check_schema, locked, read_npz, write_npz
from bench.store.paths import samples_path

if TYPE_CHECKING:
    from bench.contracts import Integers

SAMPLES_SCHEMA = 1


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
    path = samples_path(run)
    if not path.exists():
        return None
    arrays = read_npz(path, ("schema", "ids", "pictures", "names", "labels", "logits"))
    schema = arrays.pop("schema")
    check_schema({"schema": schema.tolist()}, SAMPLES_SCHEMA, path)
    kinds = {"ids": "i1", "pictures": "u4", "names": "U1", "labels": "i1", "logits": "f2"}
    check_arrays(arrays, kinds, path)
    if arrays["pictures"].dtype != np.uint8 or arrays["pictures"].shape[3] != 3:
        found = f"{arrays['pictures'].dtype} {arrays['pictures'].shape}"
        raise StoreError(f"{path} is damaged: its pictures are {found}, not uint8 RGB", try_=AGAIN)
    check_range(arrays, "labels", arrays["logits"].shape[1], path)
    names = tuple(str(name) for name in arrays["names"])
    return Samples(arrays["ids"], arrays["pictures"], names, arrays["labels"], arrays["logits"])


def add_samples(run: Path, new: Samples) -> Samples:
    """Add samples to those that are there, under the file's lock; gives all. One that is there is replaced."""
    path = samples_path(run)
    with locked(path):
        whole = _joined(read_samples(run), new)
        write_npz(path, {"schema": np.array(SAMPLES_SCHEMA), **vars(whole), "names": np.array(whole.names, dtype="U")})
    return whole


def holds(old: Samples | None, new: Samples) -> bool:
    """Whether all of the new ones are there as they are."""
    if old is None or not np.isin(new.ids, old.ids).all():
        return False
    order = np.argsort(old.ids)
    there = _rows(old, order[np.searchsorted(old.ids, new.ids, sorter=order)])
    return there.names == new.names and all(
        np.array_equal(getattr(there, name), getattr(new, name)) for name in ("pictures", "labels", "logits")
    )


def _joined(old: Samples | None, new: Samples) -> Samples:
    """Both, by id; of another number of classes or another size the new ones alone."""
    alike = old is not None and all(
        getattr(old, name).shape[1:] == getattr(new, name).shape[1:] for name in ("logits", "pictures")
    )
    kept = _rows(old, np.flatnonzero(~np.isin(old.ids, new.ids))) if old is not None and alike else _rows(new, [])
    both = Samples(
        ids=np.concatenate([kept.ids, new.ids]),
        pictures=np.concatenate([kept.pictures, new.pictures]),
        names=kept.names + new.names,
        labels=np.concatenate([kept.labels, new.labels]),
        logits=np.concatenate([kept.logits, new.logits]),
    )
    return _rows(both, np.argsort(both.ids, kind="stable"))


def _rows(samples: Samples, rows: Sequence[int] | Integers) -> Samples:
    places = np.asarray(rows, dtype=np.int64)
    names = tuple(samples.names[place] for place in places)
    return Samples(samples.ids[places], samples.pictures[places], names, samples.labels[places], samples.logits[places])
