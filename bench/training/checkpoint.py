"""The files a killed training continues from: written whole, checked before they are read, the newest two kept."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from filelock import FileLock, Timeout
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from bench.clock import Meter, now
from bench.errors import RoomError, RunError, StoreError, WriteError
from bench.machine import versions
from bench.memory import ran_out
from bench.modes import generator_state, set_generator_state
from bench.schema.run import RunRecord
from bench.store.files import LOG_BYTES, check_schema, locked, write_bytes
from bench.store.folder import RunFolder
from bench.store.paths import (
    latest_path,
    leftovers,
    log_path,
    resume_files,
    resume_path,
    training_holder,
    training_lock,
)
from bench.store.runs import create_run, trainer_of
from bench.training.optim import Lookahead, Stepper
from bench.training.team import ALONE, Team, program
from bench.whole_file import opened, written

RESUME_SCHEMA = 1
RESUME_BYTES, HEAD_BYTES = 2**34, 256  # the most that a file and its first line may have
KEPT = 2  # a disk may damage the newest; the one before it costs no more than the steps between the two
# Before the data, so that a file cut short is known before anything in it is unpickled.
HEAD = re.compile(rb"bench resume file, sha256 of the rest: ([0-9a-f]{64})\n")
# A file with a right checksum may still hold anything.
CHECKED = ConfigDict(arbitrary_types_allowed=True, strict=True, allow_inf_nan=False, revalidate_instances="always")


@dataclass(frozen=True)
class Resume:
    """What a resume file holds.

    Attributes:
        run: fingerprint of the run it belongs to.
        state: where the training stood.
        log_bytes: how much of log.jsonl was written then.
        threads, versions: what it ran with; with others the weights may end in other last bits.
        resumed: how often the run had been continued.
        processes: how many trained it.
    """

    run: str
    state: State
    log_bytes: int
    threads: int
    versions: dict[str, str]
    resumed: int = 0
    processes: int = 1

    __pydantic_config__ = CHECKED


# --- files -------------------------------------------------------------------------------------------------


def fingerprint(record: RunRecord) -> str:
    """What tells a run from every other: its settings, its data and when it was begun."""
    # What is tested at the end changes no step of the training, and runs from before it could be chosen do not hold it.
    settings = {name: value for name, value in record.settings.items() if name != "average"}
    facts = (settings, record.created, record.data.digest)
    return record.fingerprint or hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def write_resume(folder: Path, resume: Resume) -> Path:
    """Write one resume file and delete all but the newest two, and those of steps that are still to come."""
    # The head is written over a blank one: every copy of so much would keep the thread that trains from its next step.
    buffer = io.BytesIO(head_of(b""))
    start = buffer.seek(0, io.SEEK_END)
    torch.save({"schema": RESUME_SCHEMA, **vars(resume), "state": vars(resume.state)}, buffer)
    whole = buffer.getbuffer()
    whole[:start] = head_of(whole[start:])
    path = resume_path(folder, resume.state.done)
    write_bytes(path, whole)
    there = resume_files(folder)
    newest = there.index(path)
    for each in there[:newest] + there[newest + KEPT :]:
        each.unlink(missing_ok=True)
    return path


def head_of(data: bytes | memoryview) -> bytes:
    """The first line of a resume file, which is of one length whatever the data."""
    return f"bench resume file, sha256 of the rest: {hashlib.sha256(data).hexdigest()}\n".encode()


def read_resume(path: Path, run: str) -> Resume:
    """A resume file of the run with this fingerprint; StoreError where it is damaged, edited or of another run."""
    with opened(path, RESUME_BYTES) as file:
        match = HEAD.fullmatch(file.readline(HEAD_BYTES))
        if match is None:
            raise StoreError(f"{path} is not a resume file of bench")
        if hashlib.file_digest(file, "sha256").hexdigest() != match[1].decode():  # before anything is kept of it
            raise StoreError(f"{path} is damaged or was edited: its checksum does not fit")
        file.seek(match.end())
        data = file.read()
    try:
        # weights_only: nothing but tensors and plain values, so a file with a right checksum cannot run code either.
        value: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        check_schema(value, RESUME_SCHEMA, path)
        resume = Resume(**{key: each for key, each in value.items() if key != "schema"})
        resume = TypeAdapter(Resume).validate_python(dataclasses.replace(resume, state=State(**value["state"])))
    except StoreError:
        raise
    except Exception as reason:  # the unpickler raises many kinds
        words = str(reason).partition("\n")[0]
        if isinstance(reason, ValidationError):
            first = reason.errors()[0]
            words = f"{'.'.join(str(each) for each in first['loc']):.200}: {first['msg']}"
        raise StoreError(f"{path} contains what no resume file contains: {words:.300}") from reason
    if resume.run != run or path != resume_path(path.parent, resume.state.done):
        raise StoreError(f"{path} is of another run or another step, or the run's settings were edited")
    log = log_path(path.parent)
    if _size(log) < resume.log_bytes:
        raise StoreError(f"{log} has {_size(log)} bytes, and had {resume.log_bytes} when the resume file was written")
    return resume


def _size(log: Path) -> int:
    return log.stat().st_size if log.is_file() else 0


def newest_resume(
    folder: Path, run: str, warn: Callable[[str], None], check: Callable[[State], object] = lambda state: None
) -> Resume:
    """The newest intact resume file of a run whose state passes a check; those that are not are named in a warning."""
    files = resume_files(folder)
    reasons = []
    for path in files:
        try:
            found = read_resume(path, run)
            check(found.state)
        except StoreError as reason:
            reasons.append(reason.message if str(path) in reason.message else f"{path}: {reason.message}")
            continue
        for words in reasons:
            warn(f"{words}; continuing from the file before it, {path.name}")
        return found
    if not files:
        raise StoreError(
            f"run '{folder.name}' has no resume file", try_="bench train --help  # start again with its settings"
        )
    raise StoreError("; ".join(reasons), try_="bench train --help  # start again with its settings")


def cut_log(folder: Path, length: int) -> None:
    """Take from log.jsonl what was written after the resume file, since those epochs come again."""
    log = log_path(folder)
    if log.is_file():
        with opened(log, LOG_BYTES) as file:
            whole = file.read(length)
        write_bytes(log, whole)


def discard(folder: Path) -> None:
    """Delete what only an unfinished run needs: resume files, its lock, and what killed writes left of any file."""
    for path in (*resume_files(folder), *leftovers(folder)):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # not every system lets a lock go while it is held
        training_lock(folder).unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete what writes that were killed left behind; only who holds the run may."""
    for path in leftovers(folder):
        path.unlink(missing_ok=True)


# --- while it trains ---------------------------------------------------------------------------------------


class Keeper:
    """Decides when the state of a training is kept, and keeps it; this one never does, for nobody continues it.

    Of several processes each has one: where one of them finds it due, all keep their state after the same step.
    """

    def due(self) -> bool:
        """Whether the state should be kept between the last step and the next."""
        return False

    def keep(self, state: State) -> None:
        """Keep it; whatever this raises ends the training."""


@dataclass
class Follower(Keeper):
    """Of a process that is not the first of its team: writes nothing, and ends when the others do.

    Attributes:
        asked: the signal by which the process was asked to end; 0 for none.
        stop: ends the training as that signal asks; called when the state is safe.
        team: the processes that train.
    """

    asked: Callable[[], int]
    stop: Callable[[int], None]
    team: Team = ALONE

    def due(self) -> bool:
        """Whether somebody waits for this process to end."""
        return self.asked() != 0

    def keep(self, state: State) -> None:
        """End if one of the team was asked to."""
        if number := self.team.most(self.asked()):
            self.team.most(0)  # the first one's file is written
            self.stop(number)


@dataclass
class FileKeeper(Keeper):
    """Keeps states in a run's folder: every so many seconds, and at once when the process is asked to end.

    A thread writes while the training goes on; a write that failed ends the training at its next step. As a context it
    ends when everything is written.

    Attributes:
        run: the run's fingerprint.
        every: seconds between two files, more where a write takes longer; 0 keeps every step, and waits for the write.
        asked, stop, team: as in Follower.
    """

    folder: Path
    run: str
    every: float
    asked: Callable[[], int]
    stop: Callable[[int], None]
    resumed: int = 0
    team: Team = ALONE
    last: float = field(default_factory=time.monotonic)  # no correction of the clock moves it
    versions: dict[str, str] = field(default_factory=versions)
    writing: Future[Path] | None = None
    thread: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1))

    def due(self) -> bool:
        """Whether it is time, or whether somebody waits for the training to end."""
        if self.writing is not None and self.writing.done():
            self.wait()
        free = self.writing is None or not self.every
        return self.asked() != 0 or (free and time.monotonic() - self.last >= self.every)

    def keep(self, state: State) -> None:
        """Have the state written, once the one before it is, and end if asked to."""
        self.wait()
        # Threads, since each adds up a part of every sum, and parts put together otherwise end in other last bits.
        # They are counted here, as the log is measured: the thread that writes has its own, and the log grows.
        size, threads = _size(log_path(self.folder)), torch.get_num_threads()
        resume = Resume(self.run, state, size, threads, self.versions, self.resumed, self.team.world)
        self.writing, self.last = self.thread.submit(self._write, resume), time.monotonic()
        if number := self.team.most(self.asked()):
            self.wait()
            self.team.most(0)  # the others end no sooner
            self.stop(number)

    def wait(self) -> None:
        """Wait for the write; WriteError where it failed."""
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()

    def _write(self, resume: Resume) -> Path:
        with writing_into(self.folder):
            return write_resume(self.folder, resume)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        """Wait for the write, whose failure counts unless something else ended the training."""
        self.thread.shutdown()
        if error is None:
            self.wait()


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """A write that fails, on a full disk say, is an expected failure that leaves the older resume files."""
    try:
        with written(folder):
            yield
    except WriteError as error:
        if not resume_files(folder):
            raise
        kept, again = "what was kept before is intact", resume_command(folder)
        raise WriteError(error.path, error.reason, kept=kept, again=again) from error


def resume_command(folder: Path) -> str:
    """What to type to continue a run."""
    where = [] if folder.parent == Path("runs") else ["--runs-dir", str(folder.parent)]
    return shlex.join([*program(), "train", "--resume", folder.name, *where])


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Train in this folder as the only process; RunError names the other one.

    The process id lies beside the lock, since on some systems nobody else can read a locked file.
    """
    lock, holder = FileLock(training_lock(folder)), training_holder(folder)
    with written(training_lock(folder)):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"run '{folder.name}' is being trained by process {trainer_of(folder) or 'of unknown id'}",
                try_=f"wait until it ends, or end it and {resume_command(folder)}",
            ) from None
    try:
        with writing_into(folder):
            write_bytes(holder, f"{os.getpid()}\n".encode())
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def new_run(runs: Path, *, model: str, data: str, seed: int, name: str | None) -> Iterator[Path]:
    """The folder of a new run, held; see `create_run`.

    Where it ends by Ctrl-C, a full disk or too little memory before anything was kept, the folder goes, so that its
    name works again.
    """
    with ExitStack() as holding, ExitStack() as making:
        with written(runs):
            runs.mkdir(parents=True, exist_ok=True)
        # Or another call takes the folder for a remnant before it is held.
        making.enter_context(locked(latest_path(runs), runs))
        folder = create_run(runs, model=model, data=data, seed=seed, name=name)
        try:
            holding.enter_context(held(folder))
            making.close()
            yield folder
        except BaseException as error:
            ended = isinstance(error, WriteError | RoomError) or not isinstance(error, Exception)
            if ended and not resume_files(folder) and RunFolder(folder).status != "done":
                shutil.rmtree(folder, ignore_errors=True)
            raise


@dataclass(frozen=True)
class State:
    """A training between two steps, in tensors of the CPU that share no memory with it.

    Attributes:
        epoch: epochs that are finished.
        step: steps done of the epoch after those.
        done: steps done in all.
        seen, right, loss_sum: the running sums of the unfinished epoch.
        seconds: what the unfinished epoch took so far.
        laps: (images, seconds) of the finished epochs.
        order: state of the generator of the order, before it drew the unfinished epoch's permutation.
        pixels: state of the generator of the augmentation.
        ambient: states of PyTorch's own generators, which a model's dropout draws from, by device type.
        weights, optimizer: their state dicts.
        slow: the slow weights of the lookahead; empty without one.
        scaler: what a scaled loss stands at, and how many steps of the epoch were left out; empty without one.
        others: of several processes, what is their own in all but the first: right, loss_sum and ambient, by name.
    """

    epoch: int
    step: int
    done: int
    seen: int
    right: Tensor
    loss_sum: Tensor
    seconds: float
    laps: tuple[tuple[int, float], ...]
    order: Tensor
    pixels: Tensor
    ambient: dict[str, Tensor]
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    slow: dict[str, Tensor]
    scaler: dict[str, int | float] = field(default_factory=dict)
    others: tuple[dict[str, Tensor], ...] = ()

    __pydantic_config__ = CHECKED

    def of(self, team: Team) -> State:
        """The same with the sums and generators that are this process's own.

        Where the number of processes is another, the first takes the sums of all, and only its generators go on.
        """
        if team.world == 1 + len(self.others):
            if team.first:
                return self
            own = dict(self.others[team.rank - 1])
            return dataclasses.replace(self, right=own.pop("right"), loss_sum=own.pop("loss_sum"), ambient=own)
        every = [{"right": self.right, "loss_sum": self.loss_sum}, *self.others] if team.first else []
        right = sum((each["right"] for each in every), torch.zeros_like(self.right))
        loss_sum = sum((each["loss_sum"] for each in every), torch.zeros_like(self.loss_sum))
        return dataclasses.replace(self, right=right, loss_sum=loss_sum, ambient=self.ambient if team.first else {})


@dataclass
class Tally:
    """The running sums of one epoch, on the device that trains: a value is read only when somebody looks.

    Of several processes each has `right` and `loss_sum` of its own part; `seen` counts the images of all.
    """

    right: Tensor
    loss_sum: Tensor
    order: Tensor  # the state the permutation was drawn from
    started: float
    step: int = 0
    seen: int = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, batch_size: int) -> None:
        """Count one step's batch of so many images, of which these are this process's part."""
        self.step += 1
        self.seen += batch_size
        self.loss_sum += loss.detach() * len(labels)
        self.right += (logits.detach().argmax(dim=1) == labels).sum()

    def totals(self, team: Team) -> tuple[float, int]:
        """The mean loss and how many are right so far, over all processes."""
        return team.total(self.loss_sum).item() / self.seen, int(team.total(self.right))


@dataclass(frozen=True)
class Position:
    """The parts of a running training that make up its state."""

    model: nn.Module
    stepper: Stepper
    lookahead: Lookahead
    order: torch.Generator
    pixels: torch.Generator
    meter: Meter
    team: Team = ALONE

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.meter.device

    def begin(self, start: State | None = None) -> Tally:
        """The sums of a new epoch, or of the one that `start` left unfinished."""
        device = self.device
        if start is None:
            self.stepper.begin()
            zero, zeros = torch.zeros((), dtype=torch.int64, device=device), torch.zeros((), device=device)
            return Tally(zero, zeros, self.order.get_state(), now(device))
        right, loss_sum = (each.clone().to(device) for each in (start.right, start.loss_sum))
        return Tally(right, loss_sum, start.order, now(device) - start.seconds, start.step, start.seen)

    def capture(self, epoch: int, steps: int, tally: Tally | None = None) -> State:
        """The state within an epoch of `steps` steps, or before the epoch where no sums are given."""
        tally, seconds = (tally, now(self.device) - tally.started) if tally else (self.begin(), 0.0)
        ambient, of_device = {"cpu": torch.get_rng_state()}, generator_state(self.device)
        if of_device is not None:
            ambient[self.device.type] = of_device
        moving = {
            "right": tally.right,
            "loss_sum": tally.loss_sum,
            "weights": dict(self.model.state_dict()),
            "optimizer": self.stepper.optimizer.state_dict(),
            "slow": self.lookahead.slow,
        }
        kept: dict[str, Any] = copied(moving)
        own = {"right": kept["right"], "loss_sum": kept["loss_sum"], **ambient}
        return State(
            epoch=epoch,
            step=tally.step,
            done=epoch * steps + tally.step,
            seen=tally.seen,
            seconds=seconds,
            laps=tuple(self.meter.laps),
            order=tally.order,
            pixels=self.pixels.get_state(),
            ambient=ambient,
            scaler=self.stepper.state(),
            others=tuple(self.team.gathered(own)[1:]),
            **kept,
        )

    def restore(self, state: State) -> None:
        """Put a state back; StoreError where it is that of another model or device."""
        try:
            self.model.load_state_dict(state.weights)
            self.stepper.optimizer.load_state_dict(copied(state.optimizer))
            self.stepper.restore(state.scaler)
            self.lookahead.restore(state.slow)
            self.order.set_state(state.order)
            self.pixels.set_state(state.pixels)
            if "cpu" in state.ambient:
                torch.set_rng_state(state.ambient["cpu"])
            if self.device.type != "cpu" and self.device.type in state.ambient:
                set_generator_state(self.device, state.ambient[self.device.type])
        except (RuntimeError, ValueError, KeyError, TypeError) as reason:
            if ran_out(reason):
                raise
            raise StoreError(f"the state of step {state.done} does not fit this training: {reason}") from reason
        for images, seconds in state.laps:
            self.meter.add(images, seconds)


def copied(value: Any) -> Any:  # noqa: ANN401 (state dicts hold anything)
    """The same with every tensor copied to the CPU, its memory format kept; those of a device all at once.

    Each copy makes the host wait for the device, and a state has hundreds of tensors: they are stacked there, those of
    one type into one, and what is given are views of the copy, which is pinned where that makes it faster.
    """
    leaves, form = tree_flatten(value)
    kinds: dict[torch.dtype, list[int]] = {}
    for place, each in enumerate(leaves):
        if isinstance(each, Tensor) and each.device.type != "cpu" and _is_dense(each):
            kinds.setdefault(each.dtype, []).append(place)
        elif isinstance(each, Tensor):
            leaves[place] = each.detach().to("cpu", copy=True)
    for places in kinds.values():
        tensors = [leaves[place].detach() for place in places]
        # In the order in which they lie in memory, whatever their format.
        stacked = torch.cat([each.as_strided((each.numel(),), (1,)) for each in tensors])
        host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=stacked.device.type == "cuda").copy_(stacked)
        start = 0
        for place, each in zip(places, tensors, strict=True):
            leaves[place] = host.as_strided(each.shape, each.stride(), start)
            start += each.numel()
    return tree_unflatten(leaves, form)


def _is_dense(tensor: Tensor) -> bool:
    """Whether its values lie side by side, each once, in one of the two usual orders."""
    channels_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.layout is torch.strided and (tensor.is_contiguous() or channels_last)
