"""Train in a child process, kill it with SIGKILL again and again, resume it each time; for test_resume.

A process of its own that only forks: PyTorch is imported once, and no thread of it has started before a fork.
"""

import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import bench.explaining.runner
import bench.pages.write  # noqa: F401 (imported before the forks, so that a child starts at once)
from bench import api
from bench.store import files
from bench.store.paths import resume_files
from bench.training import checkpoint as keeping
from bench.workspace import Workspace

SLOW = 0.02  # seconds that a write takes, planted, so that many kills fall inside one


def slow_writes(tell: Callable[[], None]) -> None:
    """Make every resume file arrive in two halves with a pause between them."""
    write = files.write_bytes

    def slowly(path: Path, data: bytes | memoryview) -> None:
        if path.name.startswith("resume-"):
            tell()
            temporary = path.parent / f".{path.name}.halfdone"
            temporary.write_bytes(data[: len(data) // 2])
            time.sleep(SLOW)
            temporary.unlink()
        write(path, data)

    keeping.write_bytes = slowly  # type: ignore[attr-defined]


def child(options: dict[str, Any], place: Workspace, pipe: int, slow: bool) -> None:
    """Train or resume, in a process that may end at any moment."""
    torch.set_num_threads(options.pop("threads"))

    def tell() -> None:
        os.write(pipe, b".")

    if slow:
        slow_writes(tell)
    else:
        write = keeping.write_resume

        def told(folder: Path, resume: keeping.Resume) -> Path:
            path = write(folder, resume)
            tell()
            return path

        keeping.write_resume = told
    api.train(**options, workspace=place)


def attempt(
    options: dict[str, Any], place: Workspace, *, slow: bool, patience: float | None, early: bool = False
) -> bool:
    """One child; killed so many seconds after its first resume file, or after its start, or never. Whether it ended."""
    reading, writing = os.pipe()
    number = os.fork()
    if number == 0:
        try:
            child(dict(options), place, writing, slow)
            os._exit(0)
        except BaseException as error:  # the parent tells
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
    os.close(writing)
    if patience is not None:
        if not early:
            select.select([reading], [], [], 60)
        time.sleep(patience)
        os.kill(number, signal.SIGKILL)
    status = os.waitpid(number, 0)[1]
    os.close(reading)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a child failed")
    return os.WIFEXITED(status)


def main() -> None:
    """Kill as often as asked, then let the run end; says how often and where the kills fell."""
    asked = json.loads(sys.argv[1])
    place = Workspace(runs=Path(asked["runs"]), cache=Path(asked["cache"]), save_every=asked["every"])
    chance, slow, folder = random.Random(asked["seed"]), asked["slow"], Path(asked["runs"]) / "killed"
    threads = {"threads": asked["threads"]}
    attempt(
        {**asked["options"], **threads, "run": "whole"}, Workspace(place.runs, place.cache), slow=False, patience=None
    )
    kills = inside = 0
    options = {**asked["options"], **threads, "run": "killed"}
    while kills < asked["kills"]:
        early = kills % 4 == 3  # some fall before its first step: while it reads files, and cuts the log
        patience = chance.uniform(*((0.05, 0.7) if early else asked["between"]))
        if attempt(options, place, slow=slow, patience=patience, early=early):
            raise SystemExit(f"the run came to its end after {kills} kills: too short for this test")
        kills += 1
        inside += any(folder.glob(".resume-*"))
        if resume_files(folder):
            options = {"resume": "killed", **threads}
        else:
            shutil.rmtree(folder)
    if not attempt(options, place, slow=False, patience=None):
        raise SystemExit("the last child did not end")
    sys.stdout.write(json.dumps({"kills": kills, "inside_writes": inside}))


if __name__ == "__main__":
    main()
