"""Run folders on disk. Every write is temp file, fsync, rename; everything read is checked and may be hostile."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from bench.data.datasets import SIZE
from bench.errors import StoreError, UsageError, did_you_mean
from bench.registry.model_names import parse_model
from bench.registry.registry import settled
from bench.request import LATEST
from bench.schema.run import RunRecord
from bench.store.migrations import record_of_today
from bench.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

RUN_SCHEMA = 2
CHECKPOINT_SCHEMA = 1
NAME_LENGTH = 60
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
RESERVED = {"compare", "latest", "show", "timing"}
RECORD, LOG, CHECKPOINT = "run.json", "log.jsonl", "checkpoint.safetensors"
PREDICTIONS, SAMPLES, REPORT = "predictions.npz", "samples.npz", "report.html"
TIMING = "timing"  # a folder, in that of a run or of all runs

Value = TypeVar("Value")
Migration = Callable[[Mapping[str, Any]], dict[str, Any]]


# --- files -------------------------------------------------------------------------------------------------


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder to sync it
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object) -> None:
    """Write readable JSON; NaN and infinity are refused, since no other reader takes them."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_npz(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write arrays, compressed, none of them with objects."""
    import numpy as np

    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"array '{name}' for {path} holds objects, which only unpickling could read")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray[Any, Any]]:
    """The named arrays of a file; StoreError where it is missing, damaged or holds objects."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except FileNotFoundError as reason:
        raise StoreError(f"no file {path}") from reason
    except Exception as reason:  # zip, zlib and numpy raise many kinds for a damaged file
        raise StoreError(f"{path} cannot be read: {reason}", try_="delete it and run the step again") from reason


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_schema(value: Mapping[str, object], known: int, path: Path) -> None:
    """Refuse a file that a newer bench wrote, or one that says nothing about itself."""
    found = value.get("schema")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise StoreError(f"{path} has no schema number: {found!r}")
    if found > known:
        raise StoreError(
            f"{path} has schema {found}, this bench reads up to {known}", try_="pip install --upgrade cambench"
        )


# --- run folders -------------------------------------------------------------------------------------------


def check_name(name: str) -> str:
    """A name that is one harmless folder name; UsageError otherwise."""
    if not SLUG.fullmatch(name) or len(name) > NAME_LENGTH or name.lower() in RESERVED or name.endswith("."):
        raise UsageError(
            f"'{name}' cannot be a run's name",
            try_=f"letters, digits and . _ + -, at most {NAME_LENGTH} characters, not {' or '.join(sorted(RESERVED))}",
        )
    return name


def create_run(runs: Path, *, model: str, data: str, seed: int, name: str | None) -> Path:
    """Make the folder of a new run: the name asked for, or the first free <model>-<data>-s<seed>-<n>.

    A folder that is there is never taken: UsageError names it.
    """
    runs.mkdir(parents=True, exist_ok=True)
    if name is not None:
        folder = runs / check_name(name)
        try:
            folder.mkdir()
        except FileExistsError:
            raise UsageError(f"run '{name}' is there already", try_="another --run NAME, or bench rm " + name) from None
        return folder
    number = 1
    while True:
        folder = runs / check_name(_default_name(model, data, f"-s{seed}-{number}"))
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        return folder


def _default_name(model: str, data: str, tail: str) -> str:
    """`<model>-<data><tail>` without what a name may not hold; where it is too long model and data share the room."""
    model = model.rpartition(":")[2]  # of a file or a library what it names there
    model, data = (re.sub(r"[^A-Za-z0-9._+-]+", "-", each).strip("._+-") or "unnamed" for each in (model, data))
    room = NAME_LENGTH - len(tail) - 1
    model = model[: max(room - len(data), room // 2)]
    return f"{model}-{data[: room - len(model)]}{tail}"


def next_folder(parent: Path) -> Path:
    """The first number above those that there are, as a folder that is not yet there."""
    numbers = [int(each.name) for each in parent.glob("*") if each.name.isdigit()] if parent.is_dir() else []
    return parent / str(max(numbers, default=0) + 1)


def find_run(runs: Path, name: str) -> Path:
    """The folder of a run: its name, `latest`, or a path to it."""
    if name == LATEST:
        return _latest(runs)
    folder = Path(name) if "/" in name or os.sep in name else runs / check_name(name)
    if not (folder / RECORD).is_file():
        known = run_names(runs)
        hint = "bench list runs" if known else "bench train --model cifar_resnet18"
        raise StoreError(f"no run '{name}' in {runs}{did_you_mean(name, known)}", try_=hint)
    return folder


def _latest(runs: Path) -> Path:
    pointer = runs / LATEST
    if not pointer.is_file():
        raise StoreError(f"no run has finished training in {runs}", try_="bench train --model cifar_resnet18")
    name = pointer.read_text(encoding="utf-8", errors="replace").strip()
    try:
        check_name(name)
    except UsageError as reason:
        raise StoreError(f"{pointer} names no run: {name!r:.60}", try_="bench list runs") from reason
    return find_run(runs, name)


def write_latest(folder: Path) -> None:
    """Let `latest` mean this run."""
    write_bytes(folder.parent / LATEST, folder.name.encode())


def run_names(runs: Path) -> list[str]:
    """Names of all folders that hold a run record, sorted."""
    if not runs.is_dir():
        return []
    return sorted(each.name for each in runs.iterdir() if (each / RECORD).is_file())


# --- records -----------------------------------------------------------------------------------------------


def write_record(folder: Path, record: RunRecord) -> None:
    """Replace run.json."""
    write_json(folder / RECORD, record.as_json())


def read_record(folder: Path) -> RunRecord:
    """run.json of a folder, validated."""
    return read_value(folder / RECORD, RunRecord, RUN_SCHEMA, record_of_today)


def read_value(path: Path, kind: type[Value], schema: int, migrated: Migration = dict) -> Value:
    """A JSON file as a value, validated field by field; StoreError names what is wrong.

    Args:
        migrated: makes what an earlier version wrote what today's would have written.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as reason:
        raise StoreError(f"no file {path}") from reason
    except (OSError, ValueError, RecursionError) as reason:
        raise StoreError(f"{path} is not JSON: {reason}") from reason
    if not isinstance(raw, dict):
        raise StoreError(f"{path} holds {type(raw).__name__}, not an object")
    check_schema(raw, schema, path)
    try:
        return TypeAdapter(kind).validate_python(migrated(raw))
    except ValidationError as reason:
        first = reason.errors()[0]
        where = ".".join(str(each) for each in first["loc"])
        raise StoreError(f"{path}: {where}: {first['msg']} (found {first['input']!r:.60})") from reason


def append_line(path: Path, value: object) -> None:
    """One more line of JSON; behind a line that was cut off it starts a new one."""
    line = json.dumps(value, allow_nan=False).encode() + b"\n"
    with path.open("a+b") as file:
        if file.tell() and not _ends_a_line(file):
            line = b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


# --- weights -----------------------------------------------------------------------------------------------


def write_checkpoint(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, object]) -> str:
    """Write weights with their metadata as safetensors; gives the file's sha256."""
    import torch
    from safetensors.torch import save

    # Tied weights are one tensor under two keys, which safetensors refuses: each key gets a copy of its own.
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    header = {"bench": json.dumps({"schema": CHECKPOINT_SCHEMA, **metadata}, allow_nan=False)}
    data = save(tensors, metadata=header)
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and metadata of a checkpoint; StoreError where it is missing, damaged or not ours."""
    from safetensors import safe_open

    if not path.is_file():
        raise StoreError(f"no checkpoint {path}", try_="bench train --model cifar_resnet18")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("bench", "null"))
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except Exception as reason:  # safetensors raises its own and Rust's kinds
        raise StoreError(f"{path} is not a safetensors file: {reason}") from reason
    if not isinstance(header, dict):
        raise StoreError(f"{path} was not written by bench: it lacks the names of its classes")
    check_schema(header, CHECKPOINT_SCHEMA, path)
    return state, header


def updated(folder: Path, change: Callable[[RunRecord], RunRecord]) -> RunRecord:
    """Read, change and replace a run's record."""
    record = change(read_record(folder))
    write_record(folder, record)
    return record


def newest_run(model: str, workspace: Workspace) -> str:
    """Name of the run of a model that was started last and finished; StoreError where there is none."""
    done = [name for name in run_names(workspace.runs) if is_done(workspace.runs / name)]
    wanted = settled(model)  # without a size or a stem it means any
    records = [
        record
        for record in (read_record(workspace.runs / name) for name in done)
        if wanted in (record.model, parse_model(record.model).base)
    ]
    if not records:
        raise StoreError(f"no finished run of model '{model}' in {workspace.runs}", try_=f"bench train --model {model}")
    return max(records, key=lambda record: (record.created, record.name)).name


def classes_of(record: RunRecord) -> tuple[str, ...]:
    """The class names of a run."""
    return record.data.classes


def finished_record(folder: Path) -> RunRecord:
    """The record of a run that can be explained; StoreError says what the run is instead."""
    record = read_record(folder)
    if record.status != "done":
        raise StoreError(
            f"run '{record.name}' did not finish: it is '{record.status}'"
            + (f" ({record.message})" if record.message else ""),
            try_="bench list runs",
        )
    if not (folder / CHECKPOINT).is_file():
        raise StoreError(f"run '{record.name}' has no {CHECKPOINT}", try_="bench list runs")
    return record


def size_of(record: RunRecord) -> int:
    """Pixels an edge of the pictures that a run was made on; runs that do not say so are older than the choice."""
    return record.data.size if record.data.size > 0 else SIZE


def is_done(folder: Path) -> bool:
    """Whether a folder holds a run that finished; one that cannot be read did not."""
    try:
        return read_record(folder).status == "done"
    except StoreError:
        return False
