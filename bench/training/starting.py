"""What comes before the first step of a training: the weights to start from, and how long it will take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts import ModelSpec, Progress
from bench.errors import UsageError
from bench.machine import describe_device, product_rate, settled_precision
from bench.nets.summary import summarise
from bench.nets.weights import build_seeded, convert, load_weights, shared_initialisation
from bench.store import CHECKPOINT, find_run, read_checkpoint
from bench.training.loop import FULL, estimated_seconds

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from bench.contracts import Dataset
    from bench.recipes import Recipe

SHARED_FROM = "cifar_resnet18"  # whose native initialisation `--init shared` hands to all
CHEAP = "cpu"  # the recipe for processors
LONG = 15 * 60  # seconds


def initial_model(spec: ModelSpec, models: Mapping[str, ModelSpec], *, classes: int, seed: int, init: str) -> nn.Module:
    """An untrained model: natively initialised, or holding the one initialisation that all can share."""
    if init == "shared":
        return shared_initialisation(spec, models[SHARED_FROM], classes, seed)
    return build_seeded(spec, classes, seed)


def load_pretrained(
    net: nn.Module, source: str, spec: ModelSpec, models: Mapping[str, ModelSpec], runs: Path
) -> list[str]:
    """Put weights into a model; the head stays as it was where the number of classes differs.

    Args:
        source: `imagenet`, a run's name, or the path of a run folder or of a checkpoint.safetensors.

    Returns:
        The keys that were left as they were.
    """
    if source == "imagenet":
        if spec.imagenet is None:
            raise UsageError(f"{spec.name} has no ImageNet weights", try_="--model torchvision_resnet18")
        state = spec.imagenet()
    else:
        state = _from_checkpoint(source, spec, models, runs)
    own = net.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    left = sorted(key for key in own if key not in fitting)
    if len(left) * 2 > len(own):
        raise UsageError(
            f"the weights of {source} do not fit {spec.name}: {len(left)} of {len(own)} entries differ, "
            f"such as {left[0]}",
            try_="--pretrained with a run of the same family",
        )
    load_weights(net, {**own, **fitting})
    return left


def _from_checkpoint(source: str, spec: ModelSpec, models: Mapping[str, ModelSpec], runs: Path) -> dict[str, Tensor]:
    path = Path(source)
    if path.suffix != ".safetensors":
        path = find_run(runs, source) / CHECKPOINT
    state, about = read_checkpoint(path)
    return convert(state, models[str(about.get("model", spec.name))], spec)


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


def without_effect(recipe: Recipe, data: Dataset) -> list[str]:
    """What a recipe asks for and a training on this data will not do, in words, each with what to type instead."""
    augmentation, found = recipe.augmentation, []
    if augmentation.flip and not data.mirror:
        found.append(f"flip has no effect: {data.name} may not be mirrored; --flip none says so")
    if augmentation.alternate and not augmentation.flip:
        found.append("alternate has no effect without flip; --flip alternating switches both on")
    reached = {recipe.edge(epoch) for epoch in range(recipe.epochs)}
    for edge, share in recipe.sizes:
        if edge not in reached:
            found.append(f"size {edge}:{share:g} has no effect: {recipe.epochs} epochs are too few; --sizes full")
        elif edge == FULL:
            found.append(f"size {edge}:{share:g} has no effect: the images have {FULL} pixels; --sizes full")
    return found


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
