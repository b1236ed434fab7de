"""A run folder that lies or is damaged: what it repeats is held against checksums, and one run does not stop others."""

import dataclasses
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_factory import make_cell, make_record, make_run, make_samples

from bench import api
from bench.errors import BenchError, StoreError
from bench.pages.build import run_page
from bench.schema.run import AverageResult, Results
from bench.store.folder import RunFolder, read_run
from bench.store.paths import LOG, PREDICTIONS, RECORD, SAMPLES, cell_path, samples_path, timings_path, verdicts_path
from bench.store.rows import read_samples, write_samples
from bench.store.runs import run_names
from bench.workspace import Workspace

ROWS = [(0, 1), (0, 2), (3, 0)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "runs", "one", labels=[0, 1, 2, 1], predicted=[1, 1, 2, 0], cells=[make_cell(ROWS)],
                    samples=make_samples([0, 3], [0, 1]))  # fmt: skip


def with_samples(run: Path, **changes: Any) -> None:
    found = read_samples(samples_path(run))
    assert found is not None
    write_samples(samples_path(run), dataclasses.replace(found, **changes))


def test_labels_beside_pictures_are_those_of_the_predictions(run: Path) -> None:
    assert read_run(run).samples is not None
    with_samples(run, labels=np.array([0, 2]))
    with pytest.raises(
        StoreError, match=r"samples\.npz is damaged: it has test image 3 as '.*', predictions\.npz as 'dog'"
    ):
        read_run(run)


IMPOSSIBLE = {
    "accuracy": Results(accuracy=3.7),
    "correct": Results(accuracy=0.9, correct=-3, total=4),
    "accuracy, correct": Results(accuracy=0.9, correct=2, total=4),
    "train_images_per_second": Results(train_images_per_second=float("inf")),
    "parameters": Results(parameters=10**400),
    "averages": Results(averages={"mirror": AverageResult(1.2, 5, 2)}),
}


@pytest.mark.parametrize("names", IMPOSSIBLE)
def test_figures_that_cannot_be_are_left_out_and_said(names: str, tmp_path: Path) -> None:
    results = IMPOSSIBLE[names]
    assert results.impossible == tuple(names.split(", "))
    record = dataclasses.replace(make_record("one"), results=results)
    page = run_page(
        read_run(make_run(tmp_path, "one", labels=[0, 1], predicted=[0, 0])).seen_as(record=record), created=""
    )
    said = [each.text for each in page.badges if "cannot be" in each.text]
    assert len(said) == len(results.impossible) and str(tmp_path) not in "".join(said)
    assert page.runs[0].correct == 1


def test_figures_that_can_be_are_kept() -> None:
    whole = Results(accuracy=1.0, correct=4, total=4, loss=0.0, epochs_run=0, train_images=3, parameters=1, resumed=0)
    assert (whole.impossible, whole.possible) == ((), whole)


@pytest.mark.parametrize(
    "epoch", [{"train_accuracy": 3.7}, {"epoch": -1}, {"images_per_second": 1e400}, {"epoch": 10**30}]
)
def test_epochs_that_cannot_be_are_left_out_and_said(run: Path, epoch: dict[str, Any]) -> None:
    line = json.loads((run / LOG).read_text())
    with (run / LOG).open("a") as log:
        log.write(json.dumps({**line, **epoch}) + "\n" + '{"a": ' * 3)
    page = run_page(read_run(run), created="")
    assert len(page.runs[0].curve) == 1
    assert [each.text for each in page.badges if LOG in each.text] == [
        "one/log.jsonl has 2 lines that are no epochs: left out"
    ]


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)  # a socket's path must be short
        made.bind(path.name)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "other types": lambda path: path.write_text('{"schema": 2, "name": 5}'),
    "newer": lambda path: path.write_text('{"schema": 999}'),
    "bytes": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "deep": lambda path: path.write_text("[" * 200_000),
    "long number": lambda path: path.write_text('{"schema": ' + "9" * 9000 + "}"),
    "folder": lambda path: path.mkdir(),
    "pipe": fifo,
    "socket": listening,
    "loop": lambda path: path.symlink_to(path.name),
    "nowhere": lambda path: path.symlink_to("gone"),
    "sparse": lambda path: (path.touch(), os.truncate(path, 2**40)),
    "device": lambda path: path.symlink_to("/dev/zero"),
}
FILES = {
    RECORD: lambda run: run / RECORD,
    PREDICTIONS: lambda run: run / PREDICTIONS,
    SAMPLES: samples_path,
    "cell": lambda run: cell_path(run, "gradcam", "layer4"),
    LOG: lambda run: run / LOG,
    "verdicts": verdicts_path,
    "timing": lambda run: timings_path(run) / "T1.json",
}


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_one_damaged_file_is_named_or_left_out_and_stops_no_other_run(
    run: Path, what: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    other = make_run(run.parent, "two", labels=[0, 1], predicted=[0, 0])
    path = FILES[what](run)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    DAMAGES[damage](path)
    try:
        run_page(read_run(run), created="")
    except BenchError as error:
        assert path.name in error.message and len(error.message) < 2500
    if what == RECORD and damage not in ("missing", "folder", "pipe", "socket", "loop", "nowhere", "device"):
        assert run_names(run.parent) == ["one", "two"]
    with monkeypatch.context() as patch:
        patch.setattr("bench.commands.report.write_run_page", lambda run, *_, **__: read_run(run.path).path / "page")
        assert other / "page" in api.report(workspace=Workspace(runs=run.parent))


def test_a_removed_run_is_not_made_anew_by_who_still_works_on_it(run: Path) -> None:
    working = RunFolder(run)
    assert working.cells
    run.rename(run.with_name(".gone"))
    for write in (lambda: working.add_rows(make_cell([(1, 1)])), lambda: working.add_samples(make_samples([1]))):
        with pytest.raises(StoreError, match="was removed while it was in use"):
            write()
    assert not run.exists()
