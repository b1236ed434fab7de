"""Which batch a training step fits into memory with, once one did not."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import RoomError
from bench.machine import resolved_precision
from bench.memory import free, ran_out
from bench.nets.weights import on_device
from bench.recipes.recipe import Recipe
from bench.training.optim import Lookahead, make_optimizer


def batch_that_fits(net: nn.Module, images: Tensor, recipe: Recipe, device: torch.device) -> int:
    """The largest of a half, a quarter, ... of the recipe's batch with which a step fits; 0 where no image does.

    Args:
        net: trained on for a step of each, and worth nothing afterwards.
        images: (N, 3, H, W) uint8, all that is trained on, which lie on the device beside it.
    """
    size = recipe.batch_size // 2
    while size and not _fits(net, images, recipe, size=size, device=device):
        size //= 2
        free()  # here, where the error and what it holds are gone
    return size


def batch_too_large(what: str, recipe: Recipe, fits: int, command: str) -> RoomError:
    """The error of some work with a recipe's batch.

    Args:
        fits: images of a batch that would do; 0 for none.
        command: the same work with that batch.
    """
    if not fits:
        return RoomError(what)
    return RoomError(what, f"a batch of {recipe.batch_size:,} images; {fits:,} at once fit", try_=command)


def _fits(net: nn.Module, images: Tensor, recipe: Recipe, *, size: int, device: torch.device) -> bool:
    """Whether there is room for one step with everything that a training holds, in the last epoch's image size."""
    try:
        on_device(net, device).train()
        held = [images.to(device), Lookahead(net, every=recipe.lookahead, total=1)]
        optimizer = make_optimizer(net, recipe, fused=device.type == "cuda")
        batch = torch.zeros(size, *images.shape[1:], device=device).contiguous(memory_format=torch.channels_last)
        narrow = resolved_precision(recipe.precision, device) == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
            logits = net(batch)
        labels = torch.zeros(size, dtype=torch.int64, device=device)
        functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    except Exception as error:
        if not ran_out(error):
            raise
        return False
    del held
    return True
