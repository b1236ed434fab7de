"""TODO"""

from __future__ import annotations

from bench.data.transforms import FULL

from bench.contracts import ModelSpec
from bench.contracts import Progress
from bench.machine import describe_device
from bench.machine import product_rate
from bench.machine import settled_precision
from bench.nets.summary import summarise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.recipes.recipe import Recipe
    from torch import nn
    import torch



CHEAP = "cpu"  # the recipe for processors

LONG = 15 * 60  # seconds



def say_how_long(
    net: nn.Module, spec: ModelSpec, images: int, recipe: Recipe, device: torch.device, progress: Progress
) -> None:
    """Say what a training will take on this device, and what would be shorter."""
    flops = 2 * summarise(net, spec.input_size).macs
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
        if device.type == "cpu" and recipe.name != CHEAP:
            progress.say(f"--recipe {CHEAP} learns more than {Path(recipe.name).stem} in the same time on a CPU")



def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


EFFICIENCY = {"fp32": 0.7, "bf16": 0.25}  # share of the matrix-product rate that training reaches

BACKWARD_COST = 3.0  # a training step costs three forward passes: forward, input gradients, weight gradients



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
