"""The life of a run folder: begun, trained into, evaluated into, and honest about how it ended."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import Dataset, Progress
from bench.data.datasets import files_of
from bench.data.transforms import Statistics
from bench.errors import BenchError, GuardRailError, RoomError, RunError
from bench.evaluation import VIEWS, Scores, predict, score
from bench.machine import environment
from bench.memory import Room, unless_ran_out
from bench.modes import generators_kept, kernels_for_training
from bench.nets.tta import average_logits
from bench.precision import resolved_precision
from bench.request import AdoptRequest, TrainRequest
from bench.schema.page import EpochPoint
from bench.schema.run import AverageResult, DataFacts, Results, RunRecord
from bench.store.files import append_line, write_checkpoint
from bench.store.paths import CHECKPOINT, PREDICTIONS, checkpoint_path, log_path, resume_files
from bench.store.predictions import Predictions, write_predictions
from bench.store.runs import RUN_SCHEMA, read_record, updated, write_record
from bench.store.timings import Passed, add_timing, noted
from bench.training.checkpoint import (
    FileKeeper,
    Follower,
    Keeper,
    Resume,
    discard,
    fingerprint,
    resume_command,
    writing_into,
)
from bench.training.largest_batch import batch_that_fits, batch_too_large
from bench.training.loop import TrainingSpeed, TrainSettings, choose_images, train_model
from bench.training.team import Team
from bench.workspace import Workspace

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Job:
    """A training that a run folder was made for.

    Attributes:
        start: what it continues from; None begins it.
        average: test the means over mirrored and shifted views, too.
    """

    folder: Path
    net: nn.Module
    data: Dataset
    settings: TrainSettings
    device: torch.device
    start: Resume | None = None
    average: bool = True

    @property
    def team(self) -> Team:
        """The processes that train it."""
        return self.settings.team


def begin(
    folder: Path,
    place: Workspace,
    data: Dataset,
    request: TrainRequest | AdoptRequest,
    device: torch.device,
    notes: tuple[str, ...] = (),
    swept: int = 0,
    team: tuple[int, str] = (1, ""),
) -> None:
    """Write the first record of a run; its request must say everything that the run is made with.

    Args:
        team: how many processes train, and what batch norms see there: a key of `bench.training.team.NORMS`.
    """
    given = request if isinstance(request, TrainRequest) else None
    with kernels_for_training(deterministic=given.deterministic) if given else nullcontext():
        # With torch's switches as they are while it trains.
        on = replace(environment(device), processes=team[0], norms=team[1])
    record = RunRecord(
        schema=RUN_SCHEMA,
        name=folder.name,
        status="training",
        created=place.created,
        command=place.command or request.command(place.runs),
        request=request,
        data=DataFacts(
            name=data.name,
            source=data.source,
            digest=data.digest,
            mirror=data.mirror,
            classes=data.classes,
            mean=data.mean,
            std=data.std,
            notes=data.notes,
            train=len(data.train),
            test=len(data.test),
            size=data.train.images.shape[-1],
            files=files_of(data),
            inventory=data.inventory,
            levels=data.levels,
        ),
        environment=on,
        notes=notes,
        swept=swept,
    )
    write_record(folder, record)


@contextmanager
def recorded(folder: Path) -> Iterator[None]:
    """Whatever ends the block early is written into the run's record, and goes on with the command that resumes."""
    try:
        yield
    except BaseException as error:
        status = "failed" if isinstance(error, Exception) else "interrupted"
        message = error.message if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        if resume_files(folder):
            error.add_note(resume_command(folder))
        with suppress(OSError, BenchError):  # on a full disk what ended the block is what matters
            updated(folder, lambda record: replace(record, status=status, message=message.strip(": ")))
        raise


def complete(job: Job, place: Workspace) -> None:
    """Train, or go on training, then test once; nothing that only an unfinished run needs is left.

    Of several processes the first tests and writes.
    """
    if not job.team.first:
        trained(job, place, lambda point: None)
        return
    with recorded(job.folder):
        train_into(job, place)
        statistics = (job.data.mean, job.data.std)
        evaluate_into(
            job.folder, job.net, job.data, statistics, device=job.device, progress=place.progress, average=job.average
        )
    discard(job.folder)


def train_into(job: Job, place: Workspace) -> None:
    """Train, then write the checkpoint, once, and the figures."""
    folder, epochs = job.folder, job.settings.recipe.epochs

    def on_epoch(point: EpochPoint) -> None:
        with writing_into(folder):
            append_line(log_path(folder), dataclasses.asdict(point))
        place.progress.say(epoch_line(point, epochs))

    speed, resumed = trained(job, place, on_epoch)
    results = Results(
        epochs_run=epochs,
        train_images=len(choose_images(job.data, job.settings)[0]),
        train_images_per_second=speed.images_per_second,
        train_seconds=speed.seconds,
        compile_seconds=speed.compile_seconds,
        resumed=resumed,
    )
    with writing_into(folder):
        _note(job, speed, keep_weights(folder, job.net, results), place)


def _note(job: Job, speed: TrainingSpeed, record: RunRecord, workspace: Workspace) -> None:
    """Store the rates of a training's epochs."""
    recipe, rate = job.settings.recipe, speed.images_per_second
    if rate and job.team.world == 1:  # that of several processes is no device's
        work = Passed("train", record.name, recipe.batch_size, rate, speed.laps, precision=recipe.precision)
        models = {record.name: {"model": record.model, "checkpoint": record.artefacts[CHECKPOINT]}}
        edge, device = record.data.size, job.device
        add_timing(job.folder, noted("train", [work], models, image_size=edge, device=device, workspace=workspace))


def keep_weights(folder: Path, net: nn.Module, results: Results) -> RunRecord:
    """Write the checkpoint with what it takes to use it anywhere, and the figures known by now; gives the record."""

    def finish(record: RunRecord) -> RunRecord:
        facts = record.data
        about = {"model": record.model, "classes": facts.classes, "mean": facts.mean, "std": facts.std}
        digest = write_checkpoint(checkpoint_path(folder), net.state_dict(), {**about, "mirror": facts.mirror})
        known = replace(results, parameters=sum(each.numel() for each in net.parameters()))
        return replace(record, results=known, artefacts={CHECKPOINT: digest})

    return updated(folder, finish)


def trained(job: Job, place: Workspace, on_epoch: Callable[[EpochPoint], None]) -> tuple[TrainingSpeed, int]:
    """Train with resume files; how fast it was, and how often the run was continued in all."""
    folder, resumed = job.folder, job.start.resumed + 1 if job.start else 0
    try:
        with job.team.hearing(partial(again, folder)):
            speed = unless_ran_out(partial(_kept, job, place, on_epoch, resumed))
    except GuardRailError:  # to continue would only break the same rule again
        if job.team.first:
            discard(folder)
        raise
    if speed is None:
        raise _too_large(job)
    return speed, resumed


def again(folder: Path) -> str:
    """The command that goes on with a run, or makes it anew where nothing was kept."""
    return resume_command(folder) if resume_files(folder) else f"{read_record(folder).command}  # the same once more"


def _kept(job: Job, place: Workspace, on_epoch: Callable[[EpochPoint], None], resumed: int) -> TrainingSpeed:
    """Train, keep the state, and end where a signal asks for it."""
    with (
        kernels_for_training(deterministic=job.settings.deterministic),
        generators_kept(job.device, job.settings.seed),  # a model's dropout draws from them
        deferred(patient=job.team.world > 1) as question,
        _keeper(job, place.save_every, question, resumed) as keeper,
    ):
        return train_model(
            job.net,
            job.data,
            job.settings,
            device=job.device,
            progress=place.progress,
            on_epoch=on_epoch,
            start=job.start.state.of(job.team) if job.start else None,
            keeper=keeper,
        )


@contextmanager
def _keeper(job: Job, every: float, question: Question, resumed: int) -> Iterator[Keeper]:
    """Who keeps the state: of several processes the first writes it."""
    signals: dict[str, Any] = {"asked": question.asked, "stop": question.answer, "team": job.team}
    if not job.team.first:
        yield Follower(**signals)
        return
    run = fingerprint(read_record(job.folder))
    with FileKeeper(job.folder, run, every, resumed=resumed, **signals) as keeper:
        yield keeper


def _too_large(job: Job) -> RoomError:
    """The error of a training that ran out of memory, with the batch that fits and the command."""
    folder, recipe = job.folder, job.settings.recipe
    if job.team.world > 1:  # a trial would wait for the others, in norms that see the whole batch
        share = f"a batch of {recipe.batch_size:,} images in {job.team.world} processes"
        return RoomError("training", share, try_=f"--batch-size {recipe.batch_size // 2}, or more GPUs")
    images, edge = len(choose_images(job.data, job.settings)[0]), job.data.train.images.shape[-1]
    fits = batch_that_fits(job.net.cpu(), recipe, job.device, images=images, edge=edge)
    if job.start is None and len(resume_files(folder)) == 1:  # nothing was learned; the name of the run is free again
        discard(folder)
    given, name = read_record(folder).request, None if resume_files(folder) else folder.name
    command = given.command(folder.parent, batch_size=fits, run=name) if isinstance(given, TrainRequest) else ""
    return batch_too_large("training", recipe, fits, command)


def epoch_line(point: EpochPoint, epochs: int) -> str:
    """One epoch in words."""
    many = f"{point.skipped:,} step{'s' if point.skipped > 1 else ''}"
    skips = f"; {many} skipped, because gradients overflowed in fp16" if point.skipped else ""
    val = "" if point.val_accuracy is None else f", val {point.val_loss:.3f} {point.val_accuracy:.1%}"
    return (
        f"epoch {point.epoch}/{epochs}: loss {point.train_loss:.3f} accuracy {point.train_accuracy:.1%}"
        f"{val}, {point.images_per_second:,.0f} images/s{skips}"
    )


def evaluate_into(
    folder: Path,
    net: nn.Module,
    data: Dataset,
    statistics: Statistics,
    *,
    device: torch.device,
    progress: Progress,
    average: bool = True,
) -> Scores:
    """Look at the test split with the weights as they are; the run is done then.

    What is stored, and what everything else is made of, is the plain forward; of the averages over several views only
    the counts are kept. Their further views run in the precision that the run was trained in.

    Returns:
        The scores of the plain forward.
    """
    images, labels = data.test.images, data.test.labels
    room = Room(progress)
    logits, rate = predict(net, images, statistics, device=device, progress=progress, room=room)
    broken = int((~torch.isfinite(logits)).any(dim=1).sum())
    if broken:
        raise RunError(
            f"the model answers {broken:,} of {len(logits):,} test images with logits that are not finite",
            try_="other weights, or training with a lower --lr",
        )
    scores = score(logits, labels)
    averaged: dict[str, Tensor] = {}
    if average:
        precision = resolved_precision(_precision(read_record(folder)), device)
        averaged = average_logits(
            net, images, logits, statistics, mirror=data.mirror, precision=precision, device=device, room=room
        )
    counts = {name: score(each, labels) for name, each in averaged.items()}
    averages = {name: AverageResult(one.accuracy, one.correct, VIEWS[name]) for name, one in counts.items()}

    def done(record: RunRecord) -> RunRecord:
        # Under the record's lock, so that who reads both under it finds two that belong together.
        digest = write_predictions(folder, Predictions(np.arange(scores.total), labels.numpy(), logits.numpy()))
        results = replace(
            record.results,
            accuracy=scores.accuracy,
            correct=scores.correct,
            total=scores.total,
            loss=scores.loss,
            forward_images_per_second=rate,
            averages=averages if average else record.results.averages,
        )
        artefacts = {**record.artefacts, PREDICTIONS: digest}
        return replace(record, status="done", message="", results=results, artefacts=artefacts)

    updated(folder, done)
    return scores


def _precision(record: RunRecord) -> str:
    """In which precision a run was trained; what was adopted is tested in fp32."""
    return (record.request.precision if isinstance(record.request, TrainRequest) else None) or "fp32"


@dataclass
class Question:
    """Whether Ctrl-C was pressed or SIGTERM came.

    Attributes:
        number: the signal that came, 0 for none.
        patient: a second one waits, too: torchrun sends its own to processes that the terminal may have sent one.
        before: what signals did before, by number.
    """

    number: int = 0
    patient: bool = False
    before: dict[int, Any] = field(default_factory=dict)

    def asked(self) -> int:
        """The signal by which somebody asked; 0 where nobody did."""
        return self.number

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; who asks again will not wait."""
        again = self.asked()
        self.number = number
        if again and not self.patient:
            self.answer()

    def give_back(self) -> None:
        """Let signals do what they did before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before.clear()

    def answer(self, number: int = 0) -> None:
        """Do now what the signal, or one that another process got, does when nobody lets it wait."""
        number, self.number = number or self.number, 0
        self.give_back()
        if number:
            signal.raise_signal(number)


@contextmanager
def deferred(*, patient: bool = False) -> Iterator[Question]:
    """Let Ctrl-C and SIGTERM wait for whoever looks at the question; a second one does not wait, unless `patient`.

    A signal that is ignored stays ignored. Outside the main thread, where no signal arrives, nothing changes. A signal
    that nobody answered does its work at the end.
    """
    question = Question(patient=patient)
    if threading.current_thread() is threading.main_thread():
        for number in NUMBERS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                question.before[number] = signal.signal(number, question.hear)
    try:
        yield question
    finally:
        question.give_back()
    question.answer()
