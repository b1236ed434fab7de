"""`dask:ADDRESS`: the workers of a Dask scheduler. They need no shared disk: files are sent to them by their hashes."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contracts import Broken, Engine, EngineSettings, EngineSpec, Need, Outcome, Unit
from bench.engines.driving import TRIES, refuse_options
from bench.engines.worker import WorkerFiles, differences, kept_path, perform
from bench.errors import MissingError, RunError, UsageError, in_one_line
from bench.workspace import default_cache

WAIT = 15  # seconds, for the scheduler and for its first worker
CHUNK = 16 * 2**20  # bytes that are sent at a time
AHEAD = 2  # units for each worker that the scheduler has: the next one is there when one ends


@dataclass(frozen=True)
class Lacking:
    """The answer of a worker that has not got files of a unit: its address and these files."""

    worker: str
    needs: tuple[Need, ...]


@dataclass(frozen=True)
class Cluster:
    """The workers of a scheduler; those that join during a call are used, too.

    Attributes:
        client: connected to the scheduler.
        workers: how many there are when the call begins.
        threads: the fewest that one of them has.
    """

    client: Any
    workers: int
    threads: int
    versions: Mapping[str, str]

    def attempt(self, units: Sequence[Unit]) -> Iterator[tuple[int, Outcome]]:
        """Work on units. What a worker lacks is sent to it, and the unit is handed out again."""
        from distributed import as_completed

        waiting = list(reversed(range(len(units))))
        running: dict[Any, int] = {}
        ended = as_completed(loop=self.client.loop)
        self._send({need for unit in units for need in unit.needs}, self._addresses())
        try:
            while waiting or running:
                while waiting and len(running) < AHEAD * max(1, len(self._addresses())):
                    place = waiting.pop()
                    future = self.client.submit(_perform, units[place], dict(self.versions), pure=False)
                    running[future] = place
                    ended.add(future)
                future = next(ended)
                place = running.pop(future)
                found = _outcome(future)
                if isinstance(found, Lacking):
                    self._send(found.needs, [found.worker])
                    waiting.append(place)
                else:
                    yield place, found
        finally:
            self.client.cancel(list(running))

    def _addresses(self) -> list[str]:
        """The workers that there are now."""
        return list(self.client.nthreads())

    def _send(self, needs: Collection[Need], workers: Sequence[str]) -> None:
        """Send files to those of the workers that lack them; one that has gone meanwhile is passed over."""
        lackers: dict[Need, list[str]] = {}
        for worker, found in self._asked(workers, _lacking, tuple(needs)).items():
            for need in found:
                lackers.setdefault(need, []).append(worker)
        for need, those in lackers.items():
            with need.path.open("rb") as file:
                for start in range(0, max(1, need.path.stat().st_size), CHUNK):
                    self._asked(those, _keep, need.sha256, start, file.read(CHUNK))
            self._asked(those, _finish, need.sha256)

    def _asked(self, workers: Sequence[str], function: Any, *given: object) -> dict[str, Any]:  # noqa: ANN401
        """What a function gives on each of these workers; those that cannot answer are left out."""
        if not workers:
            return {}
        found = self.client.run(function, *given, workers=list(workers), on_error="return")
        return {worker: value for worker, value in found.items() if not isinstance(value, BaseException)}


def _outcome(future: Any) -> Outcome | Lacking:  # noqa: ANN401 (Dask's own)
    """What became of a unit; one that was cancelled with its scheduler's workers is broken."""
    from distributed import KilledWorker

    if future.status == "finished":
        answer: Outcome | Lacking = future.result()
        return answer
    if future.status != "error":
        return Broken(f"Dask says: {future.status}")
    error = future.exception()
    if isinstance(error, KilledWorker):
        return Broken("the workers that began it died: killed, or out of memory", tries=TRIES)
    return Broken(in_one_line(error))


# --- on a worker --------------------------------------------------------------------------------------------


def _perform(unit: Unit, versions: Mapping[str, str]) -> Outcome | Lacking:
    from distributed import get_worker

    files = WorkerFiles(default_cache())
    if lacking := files.lacking(unit.needs):
        return Lacking(get_worker().address, tuple(lacking))
    return perform(unit, files.cache, versions)


def _lacking(needs: Sequence[Need]) -> list[Need]:
    return WorkerFiles(default_cache()).lacking(needs)


def _part(sha256: str) -> Path:
    path = kept_path(default_cache(), sha256)
    return path.with_name(f".{sha256}.{os.getpid()}")


def _keep(sha256: str, start: int, chunk: bytes) -> None:
    """Write a part of a file that is being sent; workers of one machine write one each."""
    part = _part(sha256)
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.write(chunk)


def _finish(sha256: str) -> None:
    """Give a file that is there whole its name; one with another content is deleted."""
    part = _part(sha256)
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == sha256:
        part.replace(kept_path(default_cache(), sha256))
    else:
        part.unlink()


# --- opening ------------------------------------------------------------------------------------------------


@contextmanager
def _opened(settings: EngineSettings) -> Iterator[Engine]:
    refuse_options(settings, "dask")
    if not settings.address:
        raise UsageError("dask needs the address of a scheduler", try_="--on dask:tcp://HOST:8786")
    with _quiet(), _connected(settings.address) as client:
        threads = client.nthreads()
        _check_versions(client, settings.versions)
        yield Cluster(client, len(threads), min(threads.values()), settings.versions)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Dask's own lines about workers that come and go: what matters of it is an outcome."""
    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as reason:
        raise MissingError("Dask is not installed", try_="pip install 'cambench[dask]'") from reason
    try:
        client = Client(address, timeout=WAIT, set_as_default=False, name="bench")
    except (OSError, ValueError, TypeError) as reason:  # a TimeoutError is an OSError
        raise MissingError(
            f"no Dask scheduler answers at '{address}': {in_one_line(reason):.200}",
            try_="dask scheduler  # it prints its address",
        ) from reason
    with client:
        try:
            client.wait_for_workers(1, timeout=WAIT)
        except TimeoutError as reason:
            raise MissingError(
                f"the Dask scheduler at {address} has no worker", try_=f"dask worker {address}"
            ) from reason
        yield client


def _check_versions(client: Any, versions: Mapping[str, str]) -> None:  # noqa: ANN401 (Dask's own)
    """RunError where a worker would compute with other versions, or cannot load bench."""
    for worker, found in client.run(differences, dict(versions), on_error="return").items():
        if isinstance(found, BaseException):
            raise RunError(f"Dask's worker {worker} cannot load bench: {in_one_line(found)}", try_=f"there: {INSTALL}")
        if found:
            raise RunError(
                f"Dask's worker {worker} has other versions: {found}", try_="the same versions on each worker"
            )


INSTALL = "pip install 'cambench[dask]'"
SPEC = EngineSpec("dask", _opened, "dask.distributed", "dask:tcp://HOST:8786")
