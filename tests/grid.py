"""A small grid of runs x explainers x layers, and its cells as they are compared between engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from command_line import SHORT, done
from listening import Listener
from tiny import TINY_FILE, tiny_data, write_images

from bench.commands.explain import Explained, explain
from bench.contracts import Progress, Silence
from bench.request import ExplainRequest
from bench.store.folder import RunFolder
from bench.workspace import Workspace

RUNS, EXPLAINERS, LAYERS = ("one", "two"), ("reference", "gradcam", "captum"), ("layer3", "layer4")
BATCH = 64  # images of a unit, where units are as small as they can be
IMAGES = 6 * BATCH
UNITS = len(EXPLAINERS) * IMAGES // BATCH  # of a run, where an explainer makes both layers at once
Cells = dict[tuple[str, str, str], dict[str, np.ndarray]]


class Acting(Listener):
    """Does something once, when so many units have ended; counts nothing but units."""

    def __init__(self, after: int, deed: Callable[[], object]) -> None:
        super().__init__()
        self.after, self.deed = after, deed

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Listener]:
        counting = label.endswith("units")
        with super().track(label, total) if counting else nullcontext(Listener()) as task:
            yield task

    def advance(self, amount: int = 1, note: str = "") -> None:
        super().advance(amount, note)
        if self.advanced == self.after:
            self.deed()


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch with one thread, as the units have it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_grid(root: Path) -> Path:
    """A folder of two trained runs, no row of which is explained."""
    images = write_images(root / "images", tiny_data(16, IMAGES // 4))
    for seed, name in enumerate(RUNS):
        words = ("--model", TINY_FILE, "--data", str(images), "--recipe", "cpu", "--seed", str(seed), "--run", name)
        done("train", *words, *SHORT, runs=root / "runs", env={"BENCH_CACHE": str(root / "cache")})
    return root / "runs"


def explained(
    runs: Path, on: str, *, cache: Path, progress: Progress | None = None, slurm: str | None = None
) -> list[Explained]:
    """Explain all images of both runs with all explainers at all layers."""
    place = Workspace(runs=runs, cache=cache, progress=progress or Silence(), command="bench explain again")
    with one_thread():
        return [
            explain(
                ExplainRequest(name, explainer=EXPLAINERS, layer=LAYERS, which="all", on=on, device="cpu", slurm=slurm),
                place,
            )
            for name in RUNS
        ]


def cells_of(runs: Path) -> Cells:
    """The arrays of all cells."""
    found: Cells = {}
    for name in RUNS:
        run = RunFolder(runs / name)
        for explainer in EXPLAINERS:
            for layer in LAYERS:
                cell = run.cell(explainer, layer)
                assert cell is not None, (name, explainer, layer)
                arrays = {part: np.array(getattr(cell, part)) for part in ("ids", "classes", "raw", "status")}
                found[name, explainer, layer] = arrays
    return found


def assert_equal(one: Cells, other: Cells) -> None:
    """Bit for bit, and as many rows as there are images and classes."""
    assert one.keys() == other.keys()
    for key, arrays in one.items():
        for part, values in arrays.items():
            assert values.dtype == other[key][part].dtype, (key, part)
            assert values.tobytes() == other[key][part].tobytes(), (key, part)
        assert len(set(arrays["ids"].tolist())) == IMAGES
