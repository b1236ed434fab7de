"""Memory, disk and saving at ten times the data: each step in a process of its own.

python benchmarks/scale.py --write docs/measurements.md

The pictures are made up: a colour for each class under noise, and one in four has a label of chance. The net is tiny,
since memory that grows with the data does not hang on the net. `--share 0.1` takes a tenth of the small pictures and
`--large-share 0.1` of the large ones.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import copytree
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from tables import finish, machine_words, parser_of, table

from bench import api
from bench.contracts import Silence
from bench.data.datasets import load_dataset
from bench.estimates import duration
from bench.explaining.making import Explaining
from bench.schema.run import Cell
from bench.store.folder import RunFolder
from bench.store.paths import cell_files, predictions_path, record_path, report_path, samples_path
from bench.workspace import Workspace

TIMES = (1, 10)
WRONG = 0.25  # share of the labels that are drawn by chance
MODEL = f"{Path(__file__).resolve().parents[1] / 'tests' / 'tiny.py'}:TINY"
EXPLAINERS = ["gradcam", "reference"]
LAYER = "layer4"
STEPS = {
    "reading": "decode the data set and keep it",
    "train": "train for an epoch, test",
    "explain": f"explain all errors: {len(EXPLAINERS)} explainers, one layer, two classes",
    "report": "write the run's page",
    "compare": "compare two runs",
}


@dataclass(frozen=True)
class Size:
    """A data set to make: half of a few large pictures, or a sixth of many small ones, are for testing.

    Attributes:
        images, edge, classes: how many, pixels an edge, and how many classes.
        test: share of the images.
    """

    images: int
    edge: int
    classes: int
    test: float

    @property
    def words(self) -> str:
        """In the head of a table."""
        return f"{self.images:,} of {self.edge}x{self.edge}"


KINDS = (Size(60_000, 32, 10, 1 / 6), Size(2000, 224, 1000, 1 / 2))


def scaled(kind: Size, times: float) -> Size:
    """So many times the images, and no more classes than images to test."""
    images = int(kind.images * times)
    return Size(images, kind.edge, min(kind.classes, int(images * kind.test)), kind.test)


def make_data(path: Path, size: Size) -> None:
    """An .npz file as Keras gives them, written picture by picture: nothing of it has to fit into memory."""
    import zipfile

    from numpy.lib import format as npy

    tested = int(size.images * size.test)
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for split, count in (("train", size.images - tested), ("test", tested)):
            true = np.arange(count) % size.classes
            labels = np.where(random.random(count) < WRONG, random.integers(0, size.classes, count), true)
            labels[: size.classes] = true[: size.classes]
            with archive.open(f"y_{split}.npy", "w") as stream:
                npy.write_array(stream, labels.astype(np.int64))
            with archive.open(f"x_{split}.npy", "w", force_zip64=True) as stream:
                shape = (count, size.edge, size.edge, 3)
                npy.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": "|u1"})
                for start in range(0, count, 500):
                    stream.write(pictures(true[start : start + 500], size.edge, random).tobytes())


def pictures(classes: np.ndarray, edge: int, random: np.random.Generator) -> np.ndarray:
    """(N, edge, edge, 3) uint8: each class a colour of its own, ten shades a channel, under noise."""
    digits = np.stack([classes // 10**place % 10 for place in range(3)], axis=1)
    noise = random.integers(0, 64, (len(classes), edge, edge, 3), dtype=np.uint8)
    return noise + (19 * digits[:, None, None]).astype(np.uint8)


# --- one step in a process of its own ------------------------------------------------------------------------


def step(name: str, place: Path) -> dict[str, float]:
    """Do a step and say what it took: seconds, bytes of memory at most, bytes of the data, seconds of saving."""
    begun = time.perf_counter()
    saving = getattr(Steps(place), name)() or 0.0
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds, "peak": peak, "data": data_bytes(name, place), "saving": saving}


@dataclass(frozen=True)
class Steps:
    """What is measured, on a folder that holds the data and the runs."""

    place: Path

    @property
    def workspace(self) -> Workspace:
        """Where it works; nobody is told."""
        return Workspace(runs=self.place / "runs", cache=self.place / "cache", progress=Silence())

    @property
    def data(self) -> str:
        """The made-up data set."""
        return str(self.place / "data.npz")

    def nothing(self) -> None:
        """What Python and its libraries take."""

    def reading(self) -> None:
        """Decode and keep."""
        load_dataset(self.data, cache=self.workspace.cache, progress=Silence(), size=edge_of(self.place))

    def train(self) -> None:
        """One epoch."""
        asked: dict[str, Any] = {"image_size": edge_of(self.place), "epochs": 1, "val": 0, "batch_size": 50}
        api.train(MODEL, data=self.data, recipe="cpu", run="one", average=False, workspace=self.workspace, **asked)

    def explain(self) -> float:
        """All errors; gives the seconds in which rows were saved."""
        seconds, save = [], Explaining.save

        def timed(of: Explaining, parts: list[list[Cell]]) -> None:
            begun = time.perf_counter()
            save(of, parts)
            seconds.append(time.perf_counter() - begun)

        with patch.object(Explaining, "save", timed):
            api.explain("one", explainer=EXPLAINERS, layer=LAYER, limit=10**9, workspace=self.workspace)
        return sum(seconds)

    def report(self) -> None:
        """The page again."""
        api.report("one", workspace=self.workspace)

    def compare(self) -> None:
        """Of the run and its copy."""
        other = self.place / "runs" / "two"
        copytree(self.place / "runs" / "one", other)
        record = json.loads(record_path(other).read_text())
        record_path(other).write_text(json.dumps({**record, "name": "two"}))
        api.compare("one", "two", compute=False, no_time=True, limit=10**9, workspace=self.workspace)


def edge_of(place: Path) -> int:
    """Pixels an edge of the data in a folder."""
    return int(json.loads((place / "size.json").read_text())["edge"])


def data_bytes(name: str, place: Path) -> int:
    """The data that a step cannot do without: the images; or predictions, pictures and the keys of rows."""
    size = Size(**json.loads((place / "size.json").read_text()))
    if name in ("nothing", "reading", "train", "explain"):
        return 0 if name == "nothing" else 3 * size.images * size.edge**2
    folders = [RunFolder(place / "runs" / each) for each in (("one",) if name == "report" else ("one", "two"))]
    return sum(bytes_of(folder) for folder in folders)


def bytes_of(folder: RunFolder) -> int:
    """Of what a page reads of a run whole; maps are none of it."""
    arrays = [*vars(folder.predictions).values(), *vars(folder.samples).values()]
    kept = sum(each.nbytes for each in arrays if isinstance(each, np.ndarray))
    files = folder.samples.pictures if folder.samples is not None else np.empty(0)
    kept += sum(map(len, files.tolist())) if files.dtype == object else 0
    return kept + sum(each.nbytes for cell in folder.cells for each in (cell.ids, cell.classes, cell.status))


# --- all of them ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What the steps took on one data set, by their names, and bytes on disk by what they hold."""

    size: Size
    steps: dict[str, dict[str, float]]
    disk: dict[str, int]


def measured(size: Size, root: Path) -> Found:
    """Make the data, do every step in a process of its own, and look at the disk."""
    place = root / f"{size.images}-{size.edge}"
    place.mkdir()
    (place / "size.json").write_text(json.dumps(asdict(size)))
    make_data(place / "data.npz", size)
    steps = {}
    for name in ("nothing", *STEPS):
        command = [sys.executable, __file__, "--step", name, "--place", str(place)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        steps[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{size.words}: {name} {steps[name]}", file=sys.stderr)
    one = place / "runs" / "one"
    disk = {
        "decoded images": sum(each.stat().st_size for each in (place / "cache").rglob("*.npy")),
        "predictions": predictions_path(one).stat().st_size,
        "pictures of the errors": samples_path(one).stat().st_size,
        "a cell": max(each.stat().st_size for each in cell_files(one)),
        "the page": page_bytes(one),
    }
    return Found(size, steps, disk)


def page_bytes(run: Path) -> int:
    """Of the page in one file or in a folder."""
    page = report_path(run)
    folder = page.with_suffix("")
    return page.stat().st_size if page.is_file() else sum(each.stat().st_size for each in folder.rglob("*"))


def rows_of(few: Found, many: Found) -> Iterator[list[str]]:
    """A line for each step: memory beyond the data at 1 and 10 times, and how much more that is."""
    for name, words in STEPS.items():
        beyond = [found.steps[name]["peak"] - found.steps[name]["data"] for found in (few, many)]
        data = [found.steps[name]["data"] for found in (few, many)]
        seconds = [found.steps[name]["seconds"] for found in (few, many)]
        rest = f"{beyond[1] / beyond[0]:.2f}"
        yield [words, *map(megabytes, data), *map(megabytes, beyond), rest, *(f"{each:.0f}" for each in seconds)]


def megabytes(count: float) -> str:
    """With as many digits as help."""
    return f"{count / 1e6:,.0f}" if count >= 1e7 else f"{count / 1e6:.1f}"


def memory_table(few: Found, many: Found) -> str:
    """Memory, time, saving and disk of one kind of pictures."""
    times = many.size.images / few.size.images
    heads = [
        "",
        "data, MB",
        f"at {times:g} times",
        "beyond, MB",
        f"at {times:g} times ",
        "ratio",
        "s",
        f"s at {times:g}",
    ]
    disk = [[name, megabytes(size), megabytes(many.disk[name])] for name, size in few.disk.items()]
    share = many.steps["explain"]["saving"] / many.steps["explain"]["seconds"]
    base = many.steps["nothing"]["peak"]
    lines = (
        f"{few.size.words} pixels of {few.size.classes:,} classes, and {times:g} times as many ({many.size.words} of "
        f"{many.size.classes:,} classes). Of what is beyond the data Python and its libraries take "
        f"{megabytes(base)} MB. Of the time of explaining {100 * share:.1f} % was spent saving.",
        table(heads, list(rows_of(few, many)), {""}),
        table(["on disk, MB", "1 time", f"{times:g} times"], disk, {"on disk, MB"}),
    )
    return "\n\n".join(lines)


# --- hours and gigabytes ---------------------------------------------------------------------------------------


RESULTS = Path(__file__).resolve().parents[1] / "docs" / "measurements.md"
MACHINES = (1, 10, 100)
LARGER = 3.64 / 1.11  # GFLOP of a forward pass of ResNet-18 at 224x224 over that of cifar_resnet18 at 32x32


@dataclass(frozen=True)
class Work:
    """Work that can be shared among machines.

    Attributes:
        passes: images, each as often as it goes through.
        rate: images a second of one machine.
        data, kept: bytes that every machine needs, and that come of it.
    """

    words: str
    passes: float
    rate: float
    data: float
    kept: float

    @property
    def row(self) -> list[str]:
        """How long it takes on so many machines, and gigabytes."""
        seconds = [self.passes / self.rate / count for count in MACHINES]
        return [self.words, *map(duration, seconds), *map(gigabytes, (self.data, self.kept))]


def gigabytes(count: float) -> str:
    """With two digits; no more than a hundredth of one."""
    return f"{count / 1e9:,.0f}" if count >= 1e10 else "under 0.01" if count < 1e7 else f"{count / 1e9:.2g}"


def rate_in(text: str, line: str) -> float:
    """The images a second in a line of the results: the first figure where `line` ends."""
    found = re.search(rf"^\| {line} *([\d.]+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{RESULTS} has no line {line}")
    return float(found[1])


def hours_table() -> str:
    """How long work takes on 1, 10 and 100 machines, by the rates of training and explaining in the results."""
    text = RESULTS.read_text(encoding="utf-8")
    train = rate_in(text, r"ours, bf16, images/s \|")
    explain = rate_in(text, r"64 \| reference \|[^|]*\|[^|]*\|")  # at layer3, and layer4 comes with it
    forward = rate_in(text, r"64 \| plain forward \| – \| – \| – \|")
    small, large, values = 3 * 32**2, 3 * 224**2, 4 * 2  # bytes of a picture, and of a position for two classes
    both = "2 explainers at 2 layers"
    works = (
        Work("CIFAR-10, 100 trainings of 20 epochs", 100 * 20 * 50_000, train, 60_000 * small, 100 * 45e6),
        Work(f"CIFAR-10, all 10,000 test images, {both}", 20_000, explain, 10_000 * small, 20_000 * values * 80),
        Work("CIFAR-10, 1,000 errors, two classes, ScoreCAM at the last layer (512 forward passes each)",
             1000 * 2 * 512, forward, 10_000 * small, 1000 * values * 16),
        Work(f"ten times CIFAR-10, all 100,000 test images, {both}", 200_000, explain, 100_000 * small,
             200_000 * values * 80),
        Work("ImageNet, one training of 16 epochs", 16 * 1_281_167, train / LARGER, 1_331_167 * large, 47e6),
        Work(f"ImageNet, all 50,000 validation images, {both}", 100_000, explain / LARGER, 50_000 * large,
             100_000 * values * 245),
    )  # fmt: skip
    heads = ["work", *(f"{count} machine{'s' if count > 1 else ''}" for count in MACHINES), "GB of images", "GB kept"]
    told = (
        f"From {train:g} images/s of training in bf16, {explain:g} images/s of maps at the last two layers and "
        f"{forward:g} images/s of forward passes; for ImageNet these are divided by {LARGER:.1f}."
    )
    return f"{told}\n\n{table(heads, [work.row for work in works], {'work'})}"


def main() -> None:
    """Measure and tell."""
    parser = parser_of(__doc__, write=None)
    parser.add_argument(
        "--share", type=float, default=1.0, help="of all images; 1 makes 600,000 small ones at 10 times"
    )
    parser.add_argument("--large-share", type=float, default=1.0, help="of the large ones; 1 makes 20,000 at 10 times")
    parser.add_argument("--places", type=Path, help="folder for 10 GB of made-up data, removed afterwards")
    parser.add_argument("--hours", type=Path, help="only put hours and gigabytes on several machines into this file")
    parser.add_argument("--step", help="one step alone, in this process")
    parser.add_argument("--place", type=Path, help="folder of the step")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(options.step, options.place)))
        return
    if options.hours:
        finish(hours_table(), options.hours, "hours")
        return
    with tempfile.TemporaryDirectory(dir=options.places) as root:
        shares = (options.share, options.large_share)
        found = [
            [measured(scaled(kind, share * times), Path(root)) for times in TIMES]
            for kind, share in zip(KINDS, shares, strict=True)
        ]
    machine = machine_words(torch.device("cpu"), "torch", "numpy")
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    shares = ((options.share, "small"), (options.large_share, "large"))
    less = [f"{share:g} of the {kind} pictures" for share, kind in shares if share != 1]
    part = f" Of the full size: {' and '.join(less)}." if less else ""
    intro = f"{machine}; {free:.0f} GB of memory.{part}"
    finish("\n\n".join([intro, *(memory_table(*pair) for pair in found)]), options.write, "scale")


if __name__ == "__main__":
    main()
