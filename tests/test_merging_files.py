"""What is read, merged and written back keeps what two processes add at once, and saves grow rarer with the file."""

import multiprocessing
import threading
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from run_factory import CHECKPOINT_SHA, make_cell, make_record, make_samples

from bench import clock as bench_clock
from bench.clock import Pace
from bench.errors import StoreError
from bench.schema.verdicts import Judgement, Verdict
from bench.store import files, folder, rows, runs
from bench.store.folder import RunFolder
from bench.store.paths import CHECKPOINT, cell_path, record_path

HEAD = {"checkpoint": "c"}


def add_row(run: Path, number: int) -> None:
    RunFolder(run).add_rows(make_cell([(number, 0)]))


def add_samples(run: Path, number: int) -> None:
    mine = RunFolder(run)
    vars(mine)["samples"] = None  # Python 3.11 lets one thread at a time compute a cached property
    mine.add_samples(make_samples([number]))


def add_answer(run: Path, number: int) -> None:
    one = rows.Answers(np.array([number]), np.array([1], np.uint64), np.zeros((1, 3), np.float32))
    RunFolder(run).add_answers((8, 8), one, HEAD)


def add_verdict(run: Path, number: int) -> None:
    found = (Verdict(str(number), "layer4", 1, "same"),)
    RunFolder(run).add_verdicts(Judgement(1, "one", CHECKPOINT_SHA, "now", "CPU", {"torch": "2"}, (), found))


def add_artefact(run: Path, number: int) -> None:
    runs.updated(run, lambda one: replace(one, artefacts={**one.artefacts, str(number): "sha256"}))


def verdicts_of(run: Path) -> set[int]:
    found = RunFolder(run).judgement
    return {int(one.explainer) for one in found.verdicts} if found else set()


@dataclass(frozen=True)
class Kind:
    """A file that is read, merged and written back: who reads it, how one thing is added, and what it holds then."""

    module: Any
    read: str
    add: Callable[[Path, int], object]
    held: Callable[[Path], Iterable[int]]


KINDS = {
    "cell": Kind(folder, "read_cell", add_row, lambda run: rows.read_cell(cell_path(run, "gradcam", "layer4")).ids),
    "samples": Kind(
        folder, "read_samples", add_samples, lambda run: RunFolder(run).samples.ids  # type: ignore[union-attr]
    ),
    "verdicts": Kind(folder, "read_value", add_verdict, verdicts_of),
    "record": Kind(
        runs, "read_record", add_artefact, lambda run: [int(each) for each in runs.read_record(run).artefacts
                                                        if each != CHECKPOINT]
    ),
    "answers": Kind(folder, "read_answers", add_answer, lambda run: RunFolder(run).answers((8, 8), HEAD, 3).ids),
}  # fmt: skip


def together(both: Iterable[threading.Thread | BaseProcess]) -> None:
    """Start all of them, and wait for all."""
    started = list(both)
    for each in started:
        each.start()
    for each in started:
        each.join()


def added_at_once(kind: Kind, run: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is kept when 2 and 3 are added at one time beside 1: each reader waits for the other."""
    runs.write_record(run, make_record("one"))
    kind.add(run, 1)
    read, both = getattr(kind.module, kind.read), threading.Barrier(2)

    def met(*values: Any, **named: Any) -> Any:
        found = read(*values, **named)
        with suppress(threading.BrokenBarrierError):  # whoever is kept out by the lock does not come
            both.wait(timeout=0.5)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(kind.module, kind.read, met)
        together(threading.Thread(target=kind.add, args=(run, number)) for number in (2, 3))
    return sorted(int(each) for each in kind.held(run))


@pytest.mark.parametrize("name", KINDS)
def test_what_two_add_at_once_is_all_kept(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert added_at_once(KINDS[name], tmp_path, monkeypatch) == [1, 2, 3]


@pytest.mark.parametrize("name", KINDS)
def test_without_the_lock_one_of_them_is_lost(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KINDS[name].module, "locked", lambda path, within: nullcontext())
    assert len(added_at_once(KINDS[name], tmp_path, monkeypatch)) == 2


def add_rows_of(run: Path, first: int) -> None:
    for number in range(first, first + 10):
        add_row(run, number)


def test_two_processes_that_add_rows_to_one_cell_keep_all_of_them(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process
    together(process(target=add_rows_of, args=(tmp_path, first)) for first in (0, 10))
    assert rows.read_cell(cell_path(tmp_path, "gradcam", "layer4")).ids.tolist() == list(range(20))


def test_a_lock_is_hidden_and_no_data(tmp_path: Path) -> None:
    add_row(tmp_path, 1)
    path = cell_path(tmp_path, "gradcam", "layer4")
    assert [each.name for each in sorted(path.parent.iterdir())] == [".lock", "layer4.npz"]
    assert path.with_name(".lock").read_bytes() == b""


def test_a_file_that_stays_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.01)
    with (
        files.locked(record_path(tmp_path), tmp_path),
        pytest.raises(StoreError, match=r"run\.json is being written by another process"),
    ):
        runs.updated(tmp_path, lambda one: one)


def test_a_lock_is_given_back_when_the_change_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.01)
    for _ in range(2):
        with pytest.raises(StoreError, match="no file"):
            runs.updated(tmp_path, lambda one: one)


# --- how often ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("took", "least"), [(None, 60), (0.0, 60), (1.0, 60), (3.0, 60), (5.0, 100), (30.0, 600)])
def test_twenty_times_as_long_as_a_save_took_passes_before_the_next_and_a_minute_at_least_and_before_the_first(
    took: float | None, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(seconds=1000.0)  # they pass only when somebody says so
    monkeypatch.setattr(bench_clock.time, "monotonic", lambda: clock.seconds)
    pace = Pace(clock.seconds)
    if took is not None:
        with pace.saving():
            clock.seconds += took
    clock.seconds += least
    assert not pace.due()
    clock.seconds += 0.1
    assert pace.due()
