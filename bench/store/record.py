"""run.json: what a run is made of, how it went, and whether it is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.data.datasets import SIZE
from bench.errors import StoreError
from bench.schema.run import RunRecord
from bench.store.files import locked, read_value, write_json
from bench.store.migrations import record_of_today
from bench.store.paths import record_path

RUN_SCHEMA = 2


def write_record(folder: Path, record: RunRecord) -> None:
    """Replace run.json."""
    write_json(record_path(folder), record.as_json())


def read_record(folder: Path) -> RunRecord:
    """run.json of a folder, validated."""
    return read_value(record_path(folder), RunRecord, RUN_SCHEMA, record_of_today)


def updated(folder: Path, change: Callable[[RunRecord], RunRecord]) -> RunRecord:
    """Read, change and replace a run's record, under its lock."""
    with locked(record_path(folder)):
        record = change(read_record(folder))
        write_record(folder, record)
    return record


def check_finished(record: RunRecord) -> None:
    """StoreError for a run that did not finish, with how it stands."""
    if record.status != "done":
        raise StoreError(
            f"run '{record.name}' did not finish: it is '{record.status}'"
            + (f" ({record.message})" if record.message else ""),
            try_="bench list runs",
        )


def status_of(folder: Path) -> str:
    """How the run in a folder stands; empty where there is none that can be read."""
    try:
        return read_record(folder).status
    except StoreError:
        return ""


def classes_of(record: RunRecord) -> tuple[str, ...]:
    """The class names of a run."""
    return record.data.classes


def size_of(record: RunRecord) -> int:
    """Pixels an edge of the pictures that a run was made on; runs that do not say so are older than the choice."""
    return record.data.size if record.data.size > 0 else SIZE
