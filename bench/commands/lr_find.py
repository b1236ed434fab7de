"""`bench lr-find`: names in, a range test and its picture out."""

from __future__ import annotations

from pathlib import Path

from bench.data.datasets import load_dataset
from bench.errors import UsageError
from bench.machine import choose_device
from bench.pages.write import draw_curve
from bench.recipes.files import recipe_of
from bench.registry.registry import settled, short
from bench.training.init import initial_model
from bench.training.loop import TrainSettings
from bench.training.lr_finder import HIGHEST, LOWEST, RangeTest, find_rate
from bench.workspace import Workspace


def find_learning_rate(  # noqa: PLR0913 (one parameter for each option of the command)
    model: str = "cifar_resnet18",
    *,
    data: str = "cifar10",
    recipe: str = "course",
    batch_size: int | None = None,
    optimizer: str | None = None,
    steps: int = 100,
    highest: float = HIGHEST,
    seed: int = 0,
    device: str = "auto",
    out: Path | None = None,
    workspace: Workspace | None = None,
) -> tuple[RangeTest, Path]:
    """A learning-rate range test of an untrained model; gives what was found and where its curve was drawn.

    Args:
        model: a registered name, or path/to/file.py:attribute.
        data: as in `bench.train`.
        recipe: whose optimiser, batch size and augmentation are used.
        steps: how many rates, from 1e-7 to `highest`.
        out: .png or .pdf of the curve.
    """
    if not LOWEST < highest < float("inf"):
        raise UsageError(f"--highest {highest} is not above {LOWEST}", try_="--highest 10")
    place, where = workspace or Workspace(), choose_device(device)
    chosen = recipe_of(recipe).changed({"batch_size": batch_size, "optimizer": optimizer})
    spec = place.models[settled(model)]
    dataset = load_dataset(data, cache=place.cache, progress=place.progress, size=spec.input_size)
    net = initial_model(spec, place.models, classes=len(dataset.classes), seed=seed, init="native")
    settings = TrainSettings(chosen, seed=seed, val=0.0)
    found = find_rate(net, dataset, settings, device=where, progress=place.progress, steps=steps, highest=highest)
    path = out or place.runs / "show" / f"lr-{spec.name}-{dataset.name}.png"
    how = f"{short(model)} on {dataset.name}, {chosen.optimizer}, batch {chosen.batch_size}"
    draw_curve(path, found.rates, found.losses, found.suggestion, how)
    return found, path
