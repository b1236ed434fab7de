"""How long work will take, judged by what was measured before it begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.transforms import FULL
from bench.machine import describe_device, product_rate, settled_precision

if TYPE_CHECKING:
    import torch

    from bench.contracts import Progress
    from bench.recipes.recipe import Recipe

LONG = 15 * 60  # seconds: beyond, a shorter way is offered
CPU_RECIPE = "cpu"
EFFICIENCY = {"fp32": 0.7, "bf16": 0.25}  # share of the matrix-product rate that training reaches
BACKWARD_COST = 3.0  # a training step costs three forward passes: forward, input gradients, weight gradients


def say_how_long(flops: float, images: int, recipe: Recipe, device: torch.device, progress: Progress) -> None:
    """Say what a training will take on this device, and what would be shorter.

    Args:
        flops: floating-point operations of one forward pass of one image at its own size.
        images: an epoch.
    """
    precision = settled_precision(recipe.precision, device)
    rate = product_rate(device, precision)
    seconds = estimated_seconds(flops, images, recipe, rate=rate, precision=precision)
    total = images * recipe.epochs
    progress.say(
        f"{recipe.epochs} x {images:,} images: about {duration(seconds)} on {describe_device(device)} "
        f"in {precision}, judged by its matrix product"
    )
    if seconds > LONG:
        fits = max(1, int(total * LONG / seconds))
        epochs = min(recipe.epochs, 6)
        progress.say(
            f"shorter: --limit {max(100, fits // epochs // 100 * 100)} --epochs {epochs} takes about {duration(LONG)}"
        )
        if device.type == "cpu" and recipe.name != CPU_RECIPE:
            progress.say(f"--recipe {CPU_RECIPE} learns more than {Path(recipe.name).stem} in the same time on a CPU")


def estimated_seconds(flops_per_image: float, images: int, recipe: Recipe, *, rate: float, precision: str) -> float:
    """What a training will take at the usual share of the device's matrix-product rate.

    Args:
        flops_per_image: of one forward pass at the images' own size.
        images: an epoch.
        rate: floating-point operations a second of a large matrix product in this precision.
        precision: `fp32` or `bf16`.
    """
    epochs = sum(((recipe.edge(epoch) or FULL) / FULL) ** 2 for epoch in range(recipe.epochs))
    return images * epochs * flops_per_image * BACKWARD_COST / (EFFICIENCY[precision] * rate)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
