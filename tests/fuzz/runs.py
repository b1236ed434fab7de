"""Run folders of which a file was broken, swapped or taken away."""

import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from command_line import SHORT, call, done
from tiny import TINY_FILE, tiny_data, write_images

from bench import api
from bench.contracts import Silence, Task
from bench.store.paths import CHECKPOINT, PREDICTIONS, resume_files
from bench.workspace import Workspace
from fuzz.judging import Outcome, outcome
from fuzz.mutations import file_broken

CELL = ("--explainer", "gradcam,reference", "--layer", "layer4", "--limit", "4")
ASKED = (
    ("show", "run", "a", "--format", "markdown"), ("show", "run", "a", "--format", "csv"), ("report", "a"), ("report",),
    ("compare", "a", "b", "--no-compute"), ("compare", "a", "b", "--limit", "2", "--no-time"), ("list", "runs"),
    ("show", "run", "a"),
    ("explain", "a", "--dry-run"), ("explain", "a", *CELL), ("judge", "a", "--limit", "1", *CELL[:4]),
    ("judge", "a", "--faithfulness", "--limit", "2", "--sanity", "0", *CELL[:4]), ("evaluate", "a"),
    ("rm", "a", "--yes"),
    ("explain", "--limit", "2", *CELL[:4]), ("train", "--resume", "u"), ("train", "--resume", "latest"),
)  # fmt: skip


class StoppedError(Exception):
    """A training was cut off, as by a kill."""


class _Stopping(Silence):
    """Ends a training in its second epoch."""

    steps = 0

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Task]:
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.steps += 1
        if self.steps > 16:
            raise StoppedError


def make_base(folder: Path) -> None:
    """Two finished runs that hold a file of every kind, and one that can be resumed."""
    pictures, runs = write_images(folder / "pictures", tiny_data(train=12, test=5)), folder / "runs"
    for seed, name in enumerate(("a", "b")):
        done(
            "train",
            "--model",
            TINY_FILE,
            "--data",
            str(pictures),
            "--run",
            name,
            "--seed",
            str(seed),
            *SHORT,
            runs=runs,
        )
        done("explain", name, *CELL, "--which", "all", runs=runs)
    done("judge", "a", "--limit", "2", *CELL[:4], runs=runs)
    done("judge", "a", "--faithfulness", "--limit", "4", "--sanity", "2", *CELL[:4], runs=runs)
    done("time", "--run", "a", "--what", "forward", "--rounds", "6", "--budget", "1s", "--batch-size", "8", runs=runs)
    place = Workspace(runs=runs, cache=folder / "cache", progress=_Stopping(), save_every=0.0)
    with suppress(StoppedError):
        api.train(TINY_FILE, data=str(pictures), run="u", epochs=3, batch_size=8, lr=0.05, val=0.0, workspace=place)
    if not resume_files(runs / "u"):
        raise AssertionError("the training that was stopped left no resume file")
    assert call("list", "runs", runs=runs).exit_code == 0


def case(chance: random.Random, folder: Path, base: Path) -> Outcome:
    """Break one file or more of a copy of the runs, then read them."""
    runs = Path(shutil.copytree(base / "runs", folder / "runs"))
    words = chance.choice(ASKED)
    run = runs / ("u" if "--resume" in words else "a")
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        _break(run, chance)
    if chance.random() < 0.5:
        _sealed_again(run)
    return outcome(*words, runs=runs)


def _break(run: Path, chance: random.Random) -> None:
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.suffix not in (".html", ".lock", ".pid"))
    kinds = sorted({_kind_of(path) for path in files})
    kind = chance.choice(kinds)
    path = chance.choice([each for each in files if _kind_of(each) == kind])
    match chance.randrange(14):
        case 0:
            path.unlink()
        case 1:
            path.write_bytes(chance.choice(files).read_bytes())
        case 2:
            path.unlink()
            path.mkdir()
        case 3:
            path.unlink()
            path.symlink_to(chance.choice(("/etc/passwd", "/dev/zero", "nowhere", path.name, "..")))
        case _:
            file_broken(path, chance)


def _kind_of(path: Path) -> str:
    return (
        path.parent.name + path.suffix
        if path.suffix in (".json", ".npz") and path.name != "run.json"
        else path.name[:6]
    )


def _sealed_again(run: Path) -> None:
    """Give broken files the checksums that fit them, as whoever breaks them on purpose would."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        record = json.loads((run / "run.json").read_bytes() if (run / "run.json").is_file() else b"")
        for name in (CHECKPOINT, PREDICTIONS):
            if name in record["artefacts"] and (run / name).is_file():
                record["artefacts"][name] = hashlib.sha256((run / name).read_bytes()).hexdigest()
        (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    for path in filter(Path.is_file, resume_files(run)):  # not /dev/zero, which has no end
        with suppress(OSError):
            data = path.read_bytes().partition(b"\n")[2]
            path.write_bytes(
                f"bench resume file, sha256 of the rest: {hashlib.sha256(data).hexdigest()}\n".encode() + data
            )
