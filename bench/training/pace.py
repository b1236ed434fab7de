"""How fast a training will be, by a few of its own steps on pictures of noise."""

import copy
from collections import Counter
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from bench.clock import now
from bench.modes import generators_kept, kernels_for_training
from bench.nets.weights import on_device
from bench.precision import autocast, resolved_precision
from bench.recipes.recipe import Recipe
from bench.training.compiling import compiled
from bench.training.optim import make_stepper

SECONDS = 1.0  # steps of a size are taken until this is over
SHARE = 0.02  # or this part of what they tell
# Images a step at most on a CPU. In fp32 its rate hardly depends on them; tiles must be full.
ON_CPU = {"fp32": 32, "bf16": 128}


def training_seconds(
    net: nn.Module, recipe: Recipe, images: int, device: torch.device, *, size: int, compile_first: bool = False
) -> float:
    """What a training will take, without reading data, validation and resume files.

    Args:
        net: stays as it is, and so do torch's generators; a copy of it takes the steps.
        images: an epoch.
        size: pixels an edge of the images as they are.
        compile_first: the steps are those of the compiled net, and compiling counts. It takes up to a minute for each
            size; torch keeps what it compiled, so that the training itself does it in seconds.
    """
    epochs = Counter(recipe.edge(epoch, size) for epoch in range(recipe.epochs))
    with generators_kept(device), kernels_for_training(deterministic=False):
        return sum(
            _seconds(net, recipe, images * count, device, edge, compile_first=compile_first)
            for edge, count in epochs.items()
        )


def _seconds(
    net: nn.Module, recipe: Recipe, images: int, device: torch.device, edge: int, *, compile_first: bool
) -> float:
    precision = resolved_precision(recipe.precision, device)
    most = ON_CPU.get(precision) if device.type == "cpu" and not compile_first else None
    count, steps = min(recipe.batch_size, most or recipe.batch_size), images / recipe.batch_size
    step, compiling = step_of(net, recipe, device, edge, compiled_for=count if compile_first else 0)
    # Allocates and chooses kernels. In fp32 a CPU chooses for any number of images. Tiles have kernels of their own for
    # each, and there the second step, which still asks for memory, takes twice as long as those to come.
    for _ in range(2 if most and precision == "bf16" else 1):
        step(2 if most and precision == "fp32" else count)
    spent, updates, taken = 0.0, 0.0, 0
    while taken == 0 or spent + updates < min(SECONDS, SHARE * images / count * spent / taken):
        found = step(count)
        spent, updates, taken = spent + found[0], updates + found[1], taken + 1
    # An update costs the same for any batch.
    return compiling + images / count * spent / taken + steps * updates / taken


def step_of(
    net: nn.Module, recipe: Recipe, device: torch.device, edge: int, *, compiled_for: int = 0
) -> tuple[Callable[[int], tuple[float, float]], float]:
    """A training step of a copy of a net on so many pictures of noise; the seconds of gradients and of the update.

    Args:
        edge: pixels of an edge of the pictures.
        compiled_for: so many pictures, and no others; 0 for the net as it is.

    Returns:
        It, and the seconds that compiling took.
    """
    model = on_device(copy.deepcopy(net), device).train()
    precision = resolved_precision(recipe.precision, device)
    forward, compiling = model, 0.0
    if compiled_for:
        forward, compiling = compiled(model, [(compiled_for, 3, edge, edge)], device, precision=precision)
        model.train()
    stepper = make_stepper(model, recipe, device, precision)

    def step(count: int) -> tuple[float, float]:
        inputs = torch.randn(count, 3, edge, edge, device=device).contiguous(memory_format=torch.channels_last)
        labels = torch.zeros(count, dtype=torch.int64, device=device)
        started = now(device)
        with autocast(device, precision):
            logits = forward(inputs)
        loss = functional.cross_entropy(logits.float(), labels)
        stepper.backward(loss)
        middle = now(device)
        stepper.update()
        return middle - started, now(device) - middle

    return step, compiling
