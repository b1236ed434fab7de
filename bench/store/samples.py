"""The explained images of a run on disk: pictures are added, and one that is there is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import StoreError
from bench.store.files import AGAIN, check_arrays, check_range, check_schema, read_npz, write_npz
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
    write_npz(samples_path(run), arrays)


def _joined(old: Samples, new: Samples) -> Samples:
    kept = np.flatnonzero(~np.isin(old.ids, new.ids))
    return Samples(
        ids=np.concatenate([old.ids[kept], new.ids]),
        pictures=np.concatenate([old.pictures[kept], new.pictures]),
        names=tuple(old.names[index] for index in kept) + new.names,
        labels=np.concatenate([old.labels[kept], new.labels]),
        logits=np.concatenate([old.logits[kept], new.logits]),
    )
