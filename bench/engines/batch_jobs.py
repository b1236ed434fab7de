"""`slurm:PARTITION`: jobs of a SLURM cluster by submitit, on the disk that all its machines share."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from types import FrameType
from typing import Any

from bench.contracts import Broken, Engine, EngineSettings, EngineSpec, Outcome, Unit
from bench.engines.worker import LOST, differences, perform
from bench.errors import MissingError, RunError, UsageError
from bench.whole_file import replacing, written

UNITS_A_JOB = 30  # of about ten seconds each
BARREN = 10  # jobs in a row that end without one answer: then it is not the units
LOOK = {"slurm": 2.0, "local": 0.2}  # seconds between two looks for answers, by kind of cluster
INSTALL = "pip install 'cambench[slurm]'"
MINUTES = {"s": 1 / 60, "m": 1.0, "min": 1.0, "h": 60.0, "d": 1440.0}
GIGABYTES = {"m": 1 / 1024, "mb": 1 / 1024, "g": 1.0, "gb": 1.0, "t": 1024.0, "tb": 1024.0}
COUNTS = ("jobs", "cpus", "gpus")
ADVICE = "sinfo  # the partitions; what else your cluster asks for goes to --slurm, such as account=NAME"
ALIKE = "bench doctor  # there and here; all of them need the same virtual environment"


# --- in a job -----------------------------------------------------------------------------------------------


def work_through(units: Sequence[tuple[int, Unit]], answers: Path, cache: Path, versions: Mapping[str, str]) -> str:
    """Work on units one after the other; each outcome is a file of its own, so that a job that is cut loses one unit.

    Returns:
        How the versions differ here; then no unit was begun.
    """
    signal.signal(signal.SIGUSR2, _end)
    if other := differences(versions):
        return other
    for place, unit in units:
        outcome = perform(unit, cache, versions)
        with replacing(answers / str(place)) as file:
            pickle.dump(outcome, file)
    return ""


def _end(number: int, frame: FrameType | None) -> None:
    """End at once: submitit's own way is an exception, which would be taken for one of the unit."""
    os.write(2, b"the job was out of time, or made room for another one\n")
    os._exit(1)


# --- on the driver's side -----------------------------------------------------------------------------------


@dataclass
class Share:
    """A job and the places of its units that have no answer yet, in the order in which it works on them."""

    job: Any
    places: list[int]
    has_ended: bool = False


@dataclass(frozen=True)
class Jobs:
    """Jobs on a cluster, submitted as they are needed.

    Attributes:
        executor: submitit's.
        folder: of the jobs' files and logs, on the shared disk.
        workers: jobs at a time.
        most: units of a job.
        look: seconds between two looks for answers.
        lost: logs of jobs that ended early.
    """

    executor: Any
    folder: Path
    cache: Path
    versions: Mapping[str, str]
    workers: int
    threads: int
    most: int
    look: float
    lost: list[str] = field(default_factory=list)

    def attempt(self, units: Sequence[Unit]) -> Iterator[tuple[int, Outcome]]:
        """Work on units; of a job that ended early only the unit that it was at is broken, the rest goes on."""
        answers = self.folder / f"answers-{uuid.uuid4().hex[:8]}"
        with written(answers):
            answers.mkdir(parents=True)
        waiting, shares, barren = list(range(len(units))), list[Share](), 0
        try:
            while waiting or shares:
                if waiting:
                    shares += self._submitted(units, waiting, answers)
                    waiting = []
                time.sleep(self.look)
                ended = [share for share in shares if share.has_ended]  # by the look before: all its files are here
                for place, outcome in _come(answers, shares):
                    barren = 0
                    yield place, outcome
                for share in ended:
                    shares.remove(share)
                    if share.places:
                        barren += 1
                        broken = self._why(share, barren)
                        waiting += share.places[1:]
                        yield share.places[0], broken
                for share in shares:
                    share.has_ended = share.has_ended or share.job.done()
        finally:
            for share in shares:
                share.job.cancel(check=False)
            shutil.rmtree(answers, ignore_errors=True)

    def _submitted(self, units: Sequence[Unit], places: Sequence[int], answers: Path) -> list[Share]:
        """Jobs for units, as one array."""
        count = min(len(places), max(self.workers, ceil(len(places) / self.most)))
        shares = [list(places[start::count]) for start in range(count)]
        try:
            with _unheard(), self.executor.batch():
                jobs = [
                    self.executor.submit(
                        work_through, [(place, units[place]) for place in share], answers, self.cache, self.versions
                    )
                    for share in shares
                ]
        except Exception as reason:  # submitit raises several kinds, and passes on those of the shell
            raise RunError(f"the jobs cannot be submitted: {_last_line(str(reason))}", try_=ADVICE) from reason
        return [Share(job, share) for job, share in zip(jobs, shares, strict=True)]

    def _why(self, share: Share, barren: int) -> Broken:
        """Why a job ended early, in one line.

        Raises:
            RunError: it refused to work, or one job after the other ends so.
        """
        job, why = share.job, LOST
        if job.paths.result_pickle.exists():
            kind, result = job._get_outcome_and_result()
            if kind == "success" and result:
                raise RunError(f"the machines of the jobs have other versions: {result}", try_=ALIKE)
            why = _last_line(str(result)) or LOST
        elif line := _last_line(job.stderr() or ""):
            why = f"{LOST}; its log ends with: {line}"
        self.lost.append(str(job.paths.stderr))
        if barren >= BARREN:
            raise RunError(f"{barren} jobs in a row ended without an answer: {why}", try_=f"cat {job.paths.stderr}")
        return Broken(why)


@contextmanager
def _unheard() -> Iterator[None]:
    """Processes that begin inside have no standard error: at Ctrl-C each of submitit's would tell of it at length."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _come(answers: Path, shares: Sequence[Share]) -> Iterator[tuple[int, Outcome]]:
    """The answers that have come since the last look."""
    here = {int(each.name) for each in answers.iterdir() if each.name.isdecimal()}
    for share in shares:
        for place in [each for each in share.places if each in here]:
            path = answers / str(place)
            # Written by jobs of this call into a folder that it made; submitit's own files there are pickles as well.
            outcome: Outcome = pickle.loads(path.read_bytes())
            path.unlink()
            share.places.remove(place)
            yield place, outcome


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


@contextmanager
def _opened(settings: EngineSettings) -> Iterator[Engine]:
    try:
        import submitit
    except ImportError as reason:
        raise MissingError("--on slurm needs submitit, which is not here", try_=INSTALL) from reason
    options = dict(settings.options)
    kind = options.pop("cluster", "slurm")
    if kind not in LOOK:
        raise UsageError(f"--slurm cluster={kind} is not known", try_="--slurm cluster=local, or nothing of it")
    if kind == "slurm" and shutil.which("sbatch") is None:
        raise MissingError("this machine has no SLURM: there is no sbatch", try_="--slurm cluster=local  # to try it")
    folder = settings.cache.resolve() / "jobs" / f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"
    counts = {"jobs": 16 if kind == "slurm" else os.cpu_count() or 1, "cpus": 1, "gpus": 0}
    counts |= {name: _count(name, options.pop(name)) for name in COUNTS if name in options}
    with written(folder):
        folder.mkdir(parents=True)
    executor = submitit.AutoExecutor(folder=folder / "jobs", cluster=kind)
    executor.update_parameters(**parameters(options, counts, settings.address))
    most = UNITS_A_JOB if kind == "slurm" else 10**9  # local jobs all start at once
    jobs = Jobs(
        executor,
        folder,
        settings.cache.resolve(),
        dict(settings.versions),
        counts["jobs"],
        counts["cpus"],
        most,
        LOOK[kind],
    )
    try:
        yield jobs
    finally:
        if jobs.lost:
            settings.progress.warn(f"the logs of {len(jobs.lost)} jobs that ended early are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def parameters(options: Mapping[str, str], counts: Mapping[str, int], partition: str) -> dict[str, Any]:
    """What submitit is asked for; options that only SLURM knows are passed on to it."""
    others = dict(options)
    minutes = _measure("time", others.pop("time", "1h"), MINUTES, "time=2h")
    found: dict[str, Any] = {
        "name": "bench",
        "timeout_min": max(1, ceil(minutes)),
        "cpus_per_task": counts["cpus"],
        "slurm_array_parallelism": counts["jobs"],
    }
    if counts["gpus"]:
        found["gpus_per_node"] = counts["gpus"]
    if "memory" in others:
        found["mem_gb"] = _measure("memory", others.pop("memory"), GIGABYTES, "memory=16G")
    if partition:
        found["slurm_partition"] = partition
    if others:
        found["slurm_additional_parameters"] = others
    return found


def _count(name: str, word: str) -> int:
    if not word.isdecimal() or (int(word) < 1 and name != "gpus"):
        raise UsageError(f"--slurm {name}={word} is not a count", try_=f"--slurm {name}=1")
    return int(word)


def _measure(name: str, word: str, units: Mapping[str, float], example: str) -> float:
    """A number with a unit behind it, such as 2h or 16G."""
    number = word.rstrip("".join({*"".join(units), *"".join(units).upper()}))
    unit = word[len(number) :].lower()
    with suppress(ValueError):
        if unit in units and float(number) > 0:
            return float(number) * units[unit]
    raise UsageError(f"--slurm {name}={word} is not known", try_=f"--slurm {example}")


SPEC = EngineSpec("slurm", _opened, "submitit", "slurm:PARTITION")
