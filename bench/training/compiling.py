"""`--compile`: torch.compile, with the time it takes apart from the time of training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch

from bench.errors import UsageError
from bench.meter import now

if TYPE_CHECKING:
    from torch import Tensor, nn

    Forward = Callable[[Tensor], Tensor]


def compiled(
    model: nn.Module, shapes: Iterable[tuple[int, ...]], device: torch.device, *, narrow: bool
) -> tuple[Forward, float]:
    """A compiled forward of a model, ready for training on batches of these shapes, and the seconds that took.

    The model itself stays as it is: weights, running statistics and random states are put back.

    Args:
        shapes: (N, C, H, W) of the batches to come.
        narrow: whether training runs under bf16 autocast.

    Raises:
        UsageError: this machine cannot compile.
    """
    state, flags = copy.deepcopy(model.state_dict()), {each: each.training for each in model.modules()}
    started = now(device)
    try:
        forward: Forward = torch.compile(model, dynamic=False)  # refuses by itself where Python is too new
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            model.train()
            for shape in shapes:
                batch = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
                with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
                    logits = forward(batch)
                logits.float().sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError as reason:  # what the compiler raises
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
