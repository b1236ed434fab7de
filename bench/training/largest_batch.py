"""Which batch a training step fits into memory with, once one did not."""

import torch
from torch import nn

from bench.errors import RoomError
from bench.memory import unless_ran_out
from bench.modes import generators_kept
from bench.recipes.recipe import Recipe
from bench.training.optim import Lookahead
from bench.training.pace import step_of


def batch_that_fits(net: nn.Module, recipe: Recipe, device: torch.device, *, images: int, edge: int) -> int:
    """The largest of a half, a quarter, ... of the recipe's batch with which a step fits; 0 where no image does.

    Args:
        net: stays as it is; copies of it take the steps.
        images: all that is trained on, whose bytes lie on the device beside it.
        edge: pixels an edge of the images as they are.
    """
    net.zero_grad(set_to_none=True)
    size = recipe.batch_size // 2

    def step() -> tuple[float, float]:
        """One with everything that a training holds."""
        held = (
            torch.empty(images, 3, edge, edge, dtype=torch.uint8, device=device),
            Lookahead(net, every=recipe.lookahead, total=1),
        )
        take, _ = step_of(net, recipe, device, edge)
        seconds = take(size)
        del held
        return seconds

    with generators_kept(device):
        while size and unless_ran_out(step) is None:
            size //= 2
    return size


def batch_too_large(what: str, recipe: Recipe, fits: int, command: str) -> RoomError:
    """The error of some work with a recipe's batch.

    Args:
        fits: images of a batch that would do; 0 for none.
        command: the same work with that batch.
    """
    if not fits:
        words = "one image in each step, besides all training images"
        return RoomError(what, words, try_="--limit, a smaller net, or --device cpu")
    return RoomError(what, f"a batch of {recipe.batch_size:,} images; {fits:,} at once fit", try_=command)
