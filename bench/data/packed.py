"""A data set in one file, named by what is in it, for workers that have no other way to it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bench.contracts import Dataset, Need, Split
from bench.errors import DataError, in_one_line
from bench.whole_file import written

SPLITS = ("train", "test")
KEPT_DAYS = 30  # after its last use


def packed(data: Dataset, cache: Path, splits: Sequence[str] = SPLITS) -> Need:
    """The file of a data set in the cache, with the splits that are needed; written where it is not there.

    Equal data sets have equal files. Files that were not used for a month are deleted.
    """
    from safetensors.torch import save_file

    folder = cache / "packed"
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _delete_old(folder)
        chosen: dict[str, Split] = {name: getattr(data, name) for name in splits}
        arrays = {f"{name}.images": split.images.contiguous() for name, split in chosen.items()}
        arrays |= {f"{name}.labels": split.labels.contiguous() for name, split in chosen.items()}
        facts = {each.name: getattr(data, each.name) for each in dataclasses.fields(data) if each.name not in SPLITS}
        names = {name: split.names for name, split in chosen.items()}
        handle, name = tempfile.mkstemp(dir=folder, prefix=".")
        os.close(handle)
        try:
            # In one text: several would stand in any order, and equal data sets would have files that differ.
            save_file(arrays, name, {"about": json.dumps({"facts": facts, "names": names}, sort_keys=True)})
            with Path(name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            path = folder / f"{digest}.safetensors"
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    return Need(digest, path)


def _delete_old(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > KEPT_DAYS * 86400:
                path.unlink()


def unpacked(path: Path) -> Dataset:
    """The data set of such a file; a split that was not needed has no image.

    Raises:
        DataError: the file is damaged or of another kind.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            facts, names = about["facts"], about["names"]
            splits = {
                name: Split(file.get_tensor(f"{name}.images"), file.get_tensor(f"{name}.labels"), tuple(names[name]))
                for name in names
            }
    except Exception as reason:  # safetensors raises its own and Rust's kinds
        raise DataError(f"{path} is not a complete data set: {in_one_line(reason):.160}") from reason
    edge = next(iter(splits.values())).images.shape[-1]
    nothing = Split(torch.zeros(0, 3, edge, edge, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), ())
    known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    return Dataset(**known, train=splits.get("train", nothing), test=splits.get("test", nothing))
