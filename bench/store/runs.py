"""Run folders by name: which names there may be, making one, finding one; and run.json, what a run is made of."""

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from bench.errors import RunError, StoreError, UsageError, did_you_mean
from bench.homes import at
from bench.registry.model_names import name_parts, parse_model
from bench.registry.registry import resolved
from bench.schema.run import RunRecord
from bench.store.files import locked, read_value, readable, write_bytes, write_json
from bench.store.migrations import record_of_today
from bench.store.paths import (
    BESIDE_RUNS,
    CHECKPOINT,
    LATEST,
    LOG,
    PREDICTIONS,
    RECORD,
    latest_path,
    leftovers,
    record_path,
    resume_files,
    run_path,
    training_holder,
    training_lock,
)
from bench.whole_file import read_text, written
from bench.workspace import Workspace

RUN_SCHEMA = 2
POINTER_BYTES = 1000
NAME_LENGTH = 60
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def check_name(name: str) -> str:
    """A name that is one harmless folder name; UsageError otherwise."""
    if not SLUG.fullmatch(name) or len(name) > NAME_LENGTH or name.lower() in BESIDE_RUNS or name.endswith("."):
        raise UsageError(
            f"'{name}' cannot be a run's name",
            try_=f"letters, digits and . _ + -, at most {NAME_LENGTH} characters, not {' or '.join(BESIDE_RUNS)}",
        )
    return name


def create_run(runs: Path, *, model: str, data: str, seed: int, name: str | None) -> Path:
    """Make the folder of a new run: the name asked for, or the first free <model>-<data>-s<seed>-<n>.

    A folder that is there is never taken (UsageError names it), but for one that a killed call left empty-handed.
    """
    with written(runs):
        runs.mkdir(parents=True, exist_ok=True)
    if name is not None:
        folder = run_path(runs, check_name(name))
        if is_remnant(folder):
            remove_run(folder)
        if not _made(folder):
            raise UsageError(f"run '{name}' exists already", try_="another --run NAME, or bench rm " + name)
        return folder
    names = (_default_name(model, data, f"-s{seed}-{number}") for number in count(1))
    return next(folder for each in names if _made(folder := run_path(runs, check_name(each))))


def new_folder(parent: Path) -> Path:
    """Make the folder with the first number above those that there are."""
    with written(parent):
        parent.mkdir(parents=True, exist_ok=True)
    highest = max((int(each.name) for each in parent.iterdir() if each.name.isdecimal()), default=0)
    return next(folder for number in count(highest + 1) if _made(folder := parent / str(number)))


def _made(folder: Path) -> bool:
    """Whether a folder was made now: of two processes that try the same one mkdir refuses one."""
    with written(folder), suppress(FileExistsError):
        folder.mkdir()
        return True
    return False


def is_remnant(folder: Path) -> bool:
    """Whether a folder holds nothing but what a training or an adoption left that was killed before anything was kept.

    Somebody else's file, a resume file, a result, a reason why it failed, or a process that works there speak against.
    """
    # Asked first: a process that ends its work between two questions has written its result by then.
    if folder.is_symlink() or not folder.is_dir() or trainer_of(folder) is not None or resume_files(folder):
        return False
    ours = {RECORD, LOG, CHECKPOINT, PREDICTIONS, *(path.name for path in leftovers(folder))}
    if any(each.name not in ours and not each.name.startswith((".training.", ".lock")) for each in folder.iterdir()):
        return False
    with suppress(StoreError):
        record = read_record(folder)
        if record.status == "done" or (record.status == "failed" and record.request.verb == "train"):
            return False
    return True


def trainer_of(folder: Path) -> str | None:
    """The id of the process that trains in a folder; None where none does."""
    lock, holder = training_lock(folder), training_holder(folder)
    if not lock.is_file():
        return None
    try:
        FileLock(lock).acquire(timeout=0).lock.release()
    except Timeout:
        name = holder.read_text(errors="replace").strip()[:20] if holder.is_file() else ""
        return name or "of unknown id"
    return None


def _default_name(model: str, data: str, tail: str) -> str:
    """`<model>-<data><tail>` without what a name may not hold; where it is too long model and data share the room."""
    model = name_parts(model)[1]  # of a file or a library what it names there
    model, data = (re.sub(r"[^A-Za-z0-9._+-]+", "-", each).strip("._+-") or "unnamed" for each in (model, data))
    room = NAME_LENGTH - len(tail) - 1
    model = model[: max(room - len(data), room // 2)]
    return f"{model}-{data[: room - len(model)]}{tail}"


def find_run(runs: Path, name: str) -> Path:
    """The folder of a run: its name, `latest`, or a path to it."""
    if name == LATEST:
        return _latest(runs)
    folder = at(name) if "/" in name or os.sep in name else run_path(runs, check_name(name))
    if not record_path(folder).is_file():
        known = run_names(runs)
        hint = "bench list runs" if known else "bench train --model cifar_resnet18"
        raise StoreError(f"no run '{name}' in {runs}{did_you_mean(name, known)}", try_=hint)
    return folder


def check_known(runs: Path, name: str) -> None:
    """StoreError for a name that no folder has; whether it is a whole run shows when it is read."""
    if name != LATEST and not (runs / name).is_dir():
        find_run(runs, name)


def _latest(runs: Path) -> Path:
    pointer = latest_path(runs)
    if not pointer.is_file():
        raise StoreError(f"no run has finished training in {runs}", try_="bench train --model cifar_resnet18")
    name = read_text(pointer, POINTER_BYTES, "replace").strip()
    try:
        check_name(name)
    except UsageError as reason:
        raise StoreError(f"{pointer} names no run: {name!r:.60}", try_="bench list runs") from reason
    return find_run(runs, name)


def run_folders(runs: Path) -> list[Path]:
    """All folders that hold a run record, by name."""
    return sorted(each for each in runs.iterdir() if record_path(each).is_file()) if runs.is_dir() else []


def run_names(runs: Path) -> list[str]:
    """Names of all folders that hold a run record, sorted."""
    return [folder.name for folder in run_folders(runs)]


def write_latest(folder: Path) -> None:
    """Let `latest` mean this run."""
    write_bytes(latest_path(folder.parent), folder.name.encode())


def any_folder(runs: Path, name: str) -> Path:
    """The folder of a run's name, even one without run.json, as a training that was killed at once leaves."""
    check_known(runs, check_name(name))
    return run_path(runs, name)


def remove_run(folder: Path) -> None:
    """Delete a run's folder; nothing is the latest run then if this one was.

    Raises:
        RunError: a process trains in it.
    """
    trainer = trainer_of(folder)
    if trainer is not None:
        raise RunError(f"run '{folder.name}' is being trained by process {trainer}", try_="wait until it ends")
    remove_folder(folder)
    pointer = latest_path(folder.parent)
    with suppress(StoreError):
        if read_text(pointer, POINTER_BYTES, "replace").strip() == folder.name:
            pointer.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Delete a folder of bench's own."""
    with written(folder):
        # In one step, so that who writes there at this moment finds no folder, and not half of one.
        grave = folder.with_name(f".{folder.name}.removed")
        shutil.rmtree(grave, ignore_errors=True)
        shutil.rmtree(folder.rename(grave))


# --- run.json -----------------------------------------------------------------------------------------------


def write_record(folder: Path, record: RunRecord) -> None:
    """Replace run.json."""
    write_json(record_path(folder), record.as_json())


def read_record(folder: Path) -> RunRecord:
    """run.json of a folder, validated."""
    return read_value(record_path(folder), RunRecord, RUN_SCHEMA, record_of_today)


def updated(folder: Path, change: Callable[[RunRecord], RunRecord]) -> RunRecord:
    """Read, change and replace a run's record, under its lock."""
    with locked(record_path(folder), folder):
        record = change(read_record(folder))
        write_record(folder, record)
    return record


def check_finished(record: RunRecord) -> None:
    """StoreError for a run that did not finish, with how it stands."""
    if record.status != "done":
        why = f" ({record.message})" if record.message else ""
        raise StoreError(f"run '{record.name}' did not finish: it is '{record.status}'{why}", try_="bench list runs")


def newest_run(model: str, workspace: Workspace) -> str:
    """Name of the run of a model that was started last and finished; StoreError where there is none."""
    wanted = resolved(model)  # without a size or a stem it means any
    found = [
        record
        for record in readable(read_record, run_folders(workspace.runs))
        if record.status == "done" and wanted in (record.model, parse_model(record.model).base)
    ]
    if not found:
        raise StoreError(f"no finished run of model '{model}' in {workspace.runs}", try_=f"bench train --model {model}")
    return max(found, key=lambda record: (record.created, record.name)).name
