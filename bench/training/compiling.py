"""torch.compile before a training: when it pays, and a model that is ready for every shape of its batches."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from bench.clock import now
from bench.errors import UsageError
from bench.estimates import BACKWARD_COST
from bench.memory import ran_out
from bench.modes import generators_kept, without_words_of_cuda
from bench.nets.summary import summarise
from bench.precision import autocast, resolved_precision
from bench.recipes.recipe import Recipe

CALLS = 3  # of a compiled net for each shape until a GPU replays its graph
# Floating-point operations for each shape from which compiling is worth its time on a CPU in bf16. Two cores with AMX
# take 20 minutes for them; a shape takes a minute to compile, and the steps are then a tenth faster.
PAYS = 1e15


def compiling_pays(model: nn.Module, recipe: Recipe, images: int, size: int, device: torch.device) -> bool:
    """Whether torch.compile saves more time than it takes: where that was measured, in long trainings on a CPU in bf16.

    Args:
        images: of an epoch.
        size: pixels an edge of the images as they are.
    """
    if device.type != "cpu" or resolved_precision(recipe.precision, device) != "bf16":
        return False
    edges = [recipe.edge(epoch, size) for epoch in range(recipe.epochs)]
    flops = BACKWARD_COST * 2 * summarise(model, size).macs * images  # of an epoch at full size
    return sum((edge / size) ** 2 for edge in edges) * flops >= PAYS * len(set(edges))


def compiled(
    model: nn.Module, shapes: Iterable[tuple[int, ...]], device: torch.device, *, precision: str, graphs: bool = False
) -> tuple[nn.Module, float]:
    """A compiled forward of a model, ready for training on batches of these shapes, and the seconds that took.

    The model itself stays as it is: weights, running statistics and random states are put back.

    Args:
        shapes: (N, C, H, W) of the batches to come.
        precision: that of the training.
        graphs: launch all kernels of a GPU as one graph; not where DDP takes gradients out on the way back.

    Raises:
        UsageError: this machine cannot compile.
    """
    state, flags = copy.deepcopy(model.state_dict()), {each: each.training for each in model.modules()}
    started = now(device)
    try:
        # Every shape is compiled ahead, each for itself, so that no step of an epoch waits and is timed waiting;
        # torch.compile refuses by itself where Python is too new. A GPU's kernels are launched as one graph, which is
        # recorded at the second call. To try kernels against each other too (mode "max-autotune") took over three
        # minutes on an H100 in use by others, where all of `fast20` takes less than half a minute.
        forward: Any = torch.compile(
            model, dynamic=False, mode="reduce-overhead" if graphs and device.type == "cuda" else None
        )
        with generators_kept(device), without_words_of_cuda():
            model.train()
            for shape in [each for each in shapes for _ in range(CALLS if graphs else 1)]:
                batch = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
                with autocast(device, precision):
                    logits = forward(batch)
                logits.float().sum().backward()  # compiled at its first call, too
    except RuntimeError as reason:  # what the compiler raises
        if ran_out(reason):
            raise
        words = str(reason).strip().partition("\n")[0]
        raise UsageError(
            f"--compile: this machine cannot compile the model: {words:.200}", try_="--no-compile"
        ) from reason
    finally:
        model.load_state_dict(state)
        model.zero_grad(set_to_none=True)
        for module, flag in flags.items():
            module.training = flag
    return forward, now(device) - started
