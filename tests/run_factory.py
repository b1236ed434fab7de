"""Small cells, samples and finished run folders, made without training, for the tests of what reads them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.request import TrainRequest
from bench.schema.page import EpochPoint
from bench.schema.run import STATUSES, Cell, DataFacts, Environment, Results, RunRecord
from bench.store.files import append_line, write_npz
from bench.store.folder import RunFolder
from bench.store.paths import CHECKPOINT, LOG, PREDICTIONS, cell_path
from bench.store.rows import CELL_SCHEMA, Samples, write_cell
from bench.store.runs import RUN_SCHEMA, write_record

CLASSES = ("cat", "dog", "<script>alert(1)<")
CHECKPOINT_SHA = "c" * 64
DIGITS = DataFacts(name="digits", source="digits", digest="d" * 64, classes=CLASSES)


def make_cell(rows: Sequence[tuple[int, int]], **changes: Any) -> Cell:
    """A cell whose maps and status tell the row they belong to."""
    ids, classes = (np.array([row[part] for row in rows], dtype=np.int64) for part in (0, 1))
    noise = np.random.default_rng(0).normal(size=(max(rows, default=(0, 0))[0] + 1, len(CLASSES), 2, 4))
    raw = noise[ids, classes].astype(np.float32) + ids[:, None, None]
    plain = Cell(
        schema=CELL_SCHEMA,
        checkpoint=CHECKPOINT_SHA,
        explainer="gradcam",
        revision=1,
        layer="layer4",
        versions={"torch": "2.0", "grad-cam": "1.5"},
        device="some CPU",
        dtype="float32",
        timing="T1",
        ids=ids,
        classes=classes,
        raw=raw,
        status=np.zeros(len(ids), dtype=np.uint8),
    )
    return dataclasses.replace(plain, **changes)


def make_samples(
    ids: Sequence[int], labels: Sequence[int] | None = None, names: Sequence[str] | None = None
) -> Samples:
    """Pictures that are as bright as their id."""
    numbers = np.array(ids, dtype=np.int64)
    return Samples(
        ids=numbers,
        pictures=np.broadcast_to(numbers[:, None, None, None], (len(ids), 32, 32, 3)).astype(np.uint8),
        names=np.array(names or [f"test/{each}.png" for each in ids], dtype="U"),
        labels=np.array(labels if labels is not None else [0] * len(ids), dtype=np.int64),
    )


def make_logits(predicted: Sequence[int]) -> np.ndarray:
    """(N, K) float32 whose largest logit is that of the predicted class, and surer of later images."""
    logits = np.zeros((len(predicted), len(CLASSES)), dtype=np.float32)
    logits[np.arange(len(predicted)), predicted] = 1 + np.arange(len(predicted))
    return logits


def make_request(**values: Any) -> TrainRequest:
    """What the run of a record was asked for, some values replaced."""
    return TrainRequest(**{"model": "net", "recipe": "demo", "epochs": 1, **values})


def make_record(name: str, **changes: Any) -> RunRecord:
    plain = RunRecord(
        schema=RUN_SCHEMA,
        name=name,
        status="done",
        created="2026-11-21T02:52:00+00:00",
        command=f"bench train --run {name}",
        request=make_request(),
        data=DIGITS,
        environment=Environment(device="some CPU", system="Linux", versions={"torch": "2.0"}),
        results=Results(train_images=30, parameters=7, train_images_per_second=50.0),
        artefacts={CHECKPOINT: CHECKPOINT_SHA},
    )
    return dataclasses.replace(plain, **changes)


def make_run(
    runs: Path,
    name: str,
    *,
    labels: Sequence[int],
    predicted: Sequence[int],
    cells: Sequence[Cell] = (),
    samples: Samples | None = None,
    **changes: Any,
) -> Path:
    """A folder as a finished run leaves it, but without weights."""
    folder = runs / name
    folder.mkdir(parents=True)
    write_record(folder, make_record(name, **changes))
    arrays = {"ids": np.arange(len(labels)), "labels": np.array(labels), "logits": make_logits(predicted)}
    write_npz(folder / PREDICTIONS, arrays)
    append_line(folder / LOG, dataclasses.asdict(EpochPoint(1, 1.5, 0.5, None, None, 50.0, 0.1)))
    for cell in cells:
        write_cell(cell_path(folder, cell.explainer, cell.layer), cell)
    if samples is not None:
        RunFolder(folder).add_samples(samples)
    return folder


def status(word: str) -> int:
    return STATUSES.index(word)
