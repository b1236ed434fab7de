"""Trainings as units of work: what a worker is handed, what it answers, and the folders that the driver makes of it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from bench.contracts import Dataset, Files, Need
from bench.data.datasets import load_dataset, told
from bench.data.packed import packed
from bench.engines.driving import GivenUp, Workers, answers, refuse_given_up
from bench.errors import ContractError, GuardRailError, UsageError
from bench.explaining.units import images
from bench.fields import names, numbers
from bench.homes import at
from bench.machine import versions
from bench.registry.from_python import is_from_python
from bench.registry.model_names import is_file_name, parse_model
from bench.registry.registry import file_in
from bench.request import TrainRequest
from bench.schema.run import RunRecord
from bench.store.files import locked, readable, sha256, write_bytes
from bench.store.paths import CHECKPOINT, LOG, PREDICTIONS, checkpoint_path, file_path, record_path
from bench.store.runs import find_run, read_record, run_folders, write_record
from bench.training.checkpoint import discard, new_run
from bench.workspace import Workspace

SENT = (CHECKPOINT, PREDICTIONS, LOG)  # what a worker answers with, beside the record
IMAGENET = "imagenet"
KEPT_DAYS = 30  # what a killed worker left in its cache

Outcome = Path | GuardRailError


@dataclass(frozen=True)
class Handed:
    """What a worker is given and does not look for.

    Attributes:
        data: the data set, decoded.
        device: where it trains, as users name it.
        weights: a checkpoint to start from; None for none, or for weights that come with the model's library.
    """

    data: Dataset
    device: str
    weights: Path | None


class Trainer(Protocol):
    """What trains: a function of a module, so that it can be pickled."""

    def __call__(
        self, asked: TrainRequest, workspace: Workspace, swept: int = 0, *, handed: Handed | None = None
    ) -> Path:
        """The folder of the run."""
        ...


@dataclass(frozen=True)
class Made:
    """What came of a training.

    Attributes:
        record: what run.json says on the worker.
        files: content by name.
        stopped: message and advice of the guard rail that ended it; empty where none did.
    """

    record: RunRecord
    files: dict[str, bytes]
    stopped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        request: it says every value of its recipe.
        train: what does it.
        data: both splits.
        weights: the checkpoint to start from.
        code: the file that defines the model, which must lie where it lies with the driver.
        swept: as the run's record keeps it.
    """

    request: TrainRequest
    train: Trainer
    data: Need
    weights: Need | None
    code: Need | None
    swept: int
    threads: int
    device: str

    @property
    def label(self) -> str:
        """Which training it is."""
        return in_words(self.request)

    @property
    def needs(self) -> tuple[Need, ...]:
        """The data, and the weights to start from."""
        return (self.data, self.weights) if self.weights else (self.data,)

    @property
    def digest(self) -> str:
        """What decides about the weights, in 64 hexadecimal digits."""
        settings = {name: each for name, each in self.request.stored().items() if name not in ("origins", "objects")}
        files = [need.sha256 for need in (*self.needs, self.code) if need]
        about = {"settings": settings, "files": files, "versions": versions(), "threads": self.threads}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def work(self, files: Files) -> Made:
        """The run's files, made in a folder of the worker's cache."""
        self._check_code()
        weights = files.folder([self.weights]) / self.weights.path.name if self.weights else None
        handed = Handed(images(files.path(self.data)), self.device, weights)
        place, digest = files.cache / "trainings", self.digest
        place.mkdir(parents=True, exist_ok=True)
        _sweep(place, digest[:16])
        with TemporaryDirectory(prefix=f"{digest[:16]}-", dir=place) as runs:
            # Nobody continues it here, so nothing is kept on the way.
            workspace = Workspace(runs=Path(runs), cache=files.cache, save_every=math.inf)
            stopped: tuple[str, ...] = ()
            try:
                folder = self.train(self.request, workspace, self.swept, handed=handed)
            except GuardRailError as error:
                folder, stopped = run_folders(workspace.runs)[0], (error.message, error.try_)
            paths = {name: file_path(folder, name) for name in SENT}
            there = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
            return Made(read_record(folder), there, stopped)

    def _check_code(self) -> None:
        if self.code is None:
            return
        path = self.code.path
        if not path.is_file() or sha256(path) != self.code.sha256:
            raise ContractError(
                f"the worker has no {path} with the content that the driver's has",
                try_="the file at the same place on every worker, or a model that an installed package registers",
            )


def _sweep(place: Path, own: str) -> None:
    """Delete what was left by a worker that was killed: of the same training, or long ago."""
    for each in os.scandir(place):
        with suppress(OSError):
            if each.name.startswith(own) or time.time() - each.stat().st_mtime > KEPT_DAYS * 86400:
                shutil.rmtree(each, ignore_errors=True)


def in_words(training: TrainRequest) -> str:
    """A training by what tells it from the others."""
    rates = [f"lr {rate:g}" for rate in numbers(training.lr)]
    return ", ".join([*names(training.model), *names(training.optimizer), *rates, f"seed {training.seed}"])


# --- the driver's side --------------------------------------------------------------------------------------


def units_of(
    trainings: Sequence[TrainRequest], train: Trainer, *, on: Workers, workspace: Workspace, swept: int
) -> list[Training]:
    """Trainings as units; each request says every value of its recipe.

    Raises:
        UsageError: a model that Python gave, which no other process knows.
    """
    assert on.engine is not None
    data: dict[int, Need] = {}
    found = []
    for each in trainings:
        request = replace(each, workspace=None)  # it is the driver's
        model = names(request.model)[0]
        if is_from_python(model):
            raise UsageError(
                f"workers do not know the model '{model}', which was given from Python",
                try_="FILE.py:NAME, with the file at the same place on every worker",
            )
        size = workspace.models[model].input_size
        if size not in data:
            data[size] = packed(_loaded(request, size, workspace), workspace.cache)
        base = parse_model(model).base
        code = _need(file_in(base)) if is_file_name(base) else None
        weights = _weights(request, workspace)
        found.append(Training(request, train, data[size], weights, code, swept, on.engine.threads, on.device))
    return found


def _loaded(request: TrainRequest, size: int, workspace: Workspace) -> Dataset:
    progress = workspace.progress
    data = load_dataset(request.data, cache=workspace.cache, progress=progress, skip_bad=request.skip_bad, size=size)
    return told(data, progress)


def _weights(request: TrainRequest, workspace: Workspace) -> Need | None:
    source = request.pretrained
    if source is None or source == IMAGENET:
        return None
    path = at(source)
    return _need(path if path.suffix == ".safetensors" else checkpoint_path(find_run(workspace.runs, source)))


def _need(path: Path) -> Need:
    return Need(sha256(path), path.resolve())


def made_before(units: Sequence[Training], workspace: Workspace) -> dict[str, Path]:
    """The runs of trainings that are done already, by digest."""
    wanted = {each.digest: each for each in units}
    found = {}
    for folder in run_folders(workspace.runs):
        for record in readable(read_record, [folder]):
            if record.unit in wanted and record.status == "done":
                found[record.unit] = folder
    for digest, folder in found.items():
        workspace.progress.say(f"{wanted[digest].label}: done already, as run '{folder.name}'")
    return found


def made_by(on: Workers, units: Sequence[Training], workspace: Workspace) -> Iterator[tuple[Training, Outcome]]:
    """Have trainings done by workers; each with its run's folder, or with the guard rail that stopped it.

    Raises:
        RunError: at the end, where some failed each time; names them.
    """
    assert on.engine is not None
    failed: list[GivenUp[Any]] = []
    try:
        for unit, answer in answers(on.engine, units, label="trainings", progress=workspace.progress):
            if isinstance(answer, GivenUp):
                failed.append(answer)
                workspace.progress.warn(answer.line)
                continue
            folder = _received(answer, unit, workspace)
            if answer.stopped:
                workspace.progress.warn(f"{unit.label}: {answer.stopped[0]}")
                yield unit, GuardRailError(answer.stopped[0], try_=answer.stopped[1])
            else:
                workspace.progress.say(f"{unit.label}: run '{folder.name}'")
                yield unit, folder
    except BaseException as reason:
        if not isinstance(reason, Exception) and workspace.command:
            reason.add_note(workspace.command)  # the same call trains what is missing
        raise
    refuse_given_up(failed, len(units), workspace.command)


def _received(made: Made, unit: Training, workspace: Workspace) -> Path:
    """A folder with a training's files, under the next free name or the one that was asked for."""
    request, runs = unit.request, workspace.runs
    model = names(request.model)[0]
    with new_run(runs, model=model, data=made.record.data.name, seed=request.seed, name=request.run) as folder:
        for name, content in made.files.items():
            write_bytes(file_path(folder, name), content)
        command = workspace.command or request.command(runs)
        with locked(record_path(folder), folder):  # last, since it says that the rest is there
            write_record(folder, replace(made.record, name=folder.name, command=command, unit=unit.digest))
    discard(folder)
    return folder
