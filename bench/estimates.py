"""How long work will take, judged by what was measured before it begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.machine import describe_device, product_rate
from bench.precision import resolved_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from bench.contracts import Progress
    from bench.recipes.recipe import Recipe
    from bench.schema.scores import Cost

LONG = 15 * 60  # seconds: beyond, a shorter way is offered
LONG_LIMIT = 500  # images that a CPU explains where all would take that long
GUESSED_RATE = 100.0  # forward passes a second where no evaluation measured them
PROCESS = 6.0  # seconds a fresh process takes to come up and work
CPU_RECIPE = "cpu"
EFFICIENCY = {"fp32": 0.7, "bf16": 0.25, "fp16": 0.25}  # share of the matrix-product rate that training reaches
BACKWARD_COST = 3.0  # a training step costs three forward passes: forward, input gradients, weight gradients


def say_how_long(seconds: float, images: int, recipe: Recipe, device: torch.device, progress: Progress) -> None:
    """Say what a training will take on this device, and what would be shorter.

    Args:
        seconds: of the whole.
        images: an epoch.
    """
    precision = resolved_precision(recipe.precision, device)
    total, where = images * recipe.epochs, describe_device(device) + (f" ({device})" if device.index else "")
    progress.say(
        f"{recipe.epochs} x {images:,} images: about {duration(seconds)} on {where} in {precision}, estimated "
        "from a few steps"
    )
    if seconds > LONG:
        fits = max(1, int(total * LONG / seconds))
        epochs = min(recipe.epochs, 6)
        progress.say(
            f"shorter: --limit {max(100, fits // epochs // 100 * 100)} --epochs {epochs} takes about {duration(LONG)}"
        )
        if device.type == "cpu" and recipe.name != CPU_RECIPE:
            progress.say(f"--recipe {CPU_RECIPE} learns more than {Path(recipe.name).stem} in the same time on a CPU")


def reached_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second that a net reaches: its usual share of the device's matrix-product rate.

    Args:
        precision: a resolved one.
    """
    return EFFICIENCY[precision] * product_rate(device, precision)


def affordable(images: int, seconds: float, device: torch.device, progress: Progress) -> int:
    """How many of the images to explain, where nobody said: on a CPU no more than 500 of what takes over 15 minutes."""
    if device.type != "cpu" or seconds <= LONG or images <= LONG_LIMIT:
        return images
    progress.warn(
        f"over {duration(LONG)} on a CPU: taking {LONG_LIMIT} of {images:,} images, balanced by true class; "
        "--limit all takes them all"
    )
    return LONG_LIMIT


def faithfulness_words(cost: Cost) -> str:
    """What the scores of faithfulness take."""
    images = f"{cost.images:,} misclassified image{'s' if cost.images != 1 else ''}"
    if cost.images == 0:
        return "no errors to look at"
    if cost.per_image == 0:
        return f"{images}: everything exists already, nothing to compute"
    return (
        f"{images}: at most {cost.per_image:,.0f} forward passes each, about {duration(cost.seconds)} at the "
        f"evaluation's {cost.rate:.0f} images/s"
    )


def known_answers_words(images: int, mosaics: int, seconds: float) -> str:
    """What the tests with known answers take."""
    return (
        f"{images:,} images with a sticker in up to four strengths, {mosaics:,} mosaics: at most about "
        f"{duration(seconds)}, estimated from the speed of the evaluation"
    )


def timing_seconds(calls: Sequence[float], rounds: int, *, block: float, process: float) -> float:
    """What `bench time` takes: three blocks of warm-up an arm, two a round, and then latency and peak memory.

    Args:
        calls: seconds of one call of each arm.
        block: seconds that a block lasts at least.
        process: seconds of the fresh process that measures an arm's peak memory; 0 where there is none.
    """
    blocks = [max(2 * call, call + block) for call in calls]
    return sum((3 + 2 * rounds) * each + 2 * block + process for each in blocks)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
