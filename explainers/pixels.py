"""What methods that answer in pixels have in common: their one layer, their checks, their random draws."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import ContractError
from bench.modes import generators_kept

from .activations import NO_GRADIENT, WITHOUT_GRADIENT, borrowed, finished, private
from .layers import check_logits, check_request

INPUT = "input"
AT_ONCE = 64  # images of a forward pass where one image becomes many; of more than 64x64 pixels fewer
PIXELS = AT_ONCE * 64 * 64


def at_once(images: Tensor) -> int:
    """How many images of this size go into one forward pass where one image becomes many: so many bytes, not more."""
    return max(1, min(AT_ONCE, PIXELS // (images.shape[2] * images.shape[3])))


@dataclass(frozen=True)
class Pixels:
    """A request that was checked.

    Attributes:
        images: (N, 3, H, W), free of the caller's graph, recording gradients.
        targets: (N, T) on their device.
    """

    images: Tensor
    targets: Tensor

    def maps(self, ask: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
        """{"input": (N, T, H, W)} of `ask(images, (N,) targets)`, which gives (N, H, W)."""
        return {INPUT: finished([ask(self.images, column) for column in self.targets.unbind(1)], self.images)}


@contextmanager
def pixels(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Iterator[Pixels]:
    """The model borrowed, the request checked, and Captum's warnings of the hooks it sets unheard.

    Raises:
        ContractError: another layer than `input`, what is no batch of images, a target that is not a class; no gradient
            reaches the images.
    """
    if tuple(layers) != (INPUT,):
        raise ContractError(
            f"this method gives maps in pixels, at the layer 'input', not at {', '.join(map(repr, layers))}"
        )
    check_request(layers, images, targets)
    with borrowed(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting (forward, )?backward hooks", category=UserWarning)
        check_classes(model, images, targets)
        try:
            # A tensor of our own: Captum would leave the caller's recording gradients.
            yield Pixels(private(images).requires_grad_(), targets.to(images.device))
        except RuntimeError:
            check_reached(model, images)  # autograd refuses without naming what it cannot reach
            raise


def check_classes(model: nn.Module, images: Tensor, targets: Tensor) -> None:
    """ContractError for the first target that is not one of the model's classes; one image tells their number."""
    with torch.no_grad():
        logits = check_logits(model(private(images[:1])), torch.zeros_like(targets[:1]))
    check_logits(logits.expand(len(targets), -1), targets)


def check_reached(model: nn.Module, images: Tensor) -> None:
    """ContractError where the logits have no graph that could lead to the images."""
    if not model(private(images[:1]).requires_grad_()).requires_grad:
        raise ContractError(
            f"the logits do not depend on the image, so there is no map in pixels: {NO_GRADIENT}", try_=WITHOUT_GRADIENT
        )


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators of torch and numpy start from a seed, and are afterwards where they were."""
    before = np.random.get_state()  # noqa: NPY002  Captum draws from the global generator
    with generators_kept(device, seed):
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


def one_by_one(ask: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """What gives (N, H, W) of images and targets from what gives (H, W) of one image (1, 3, H, W) by random draws.

    The generators start from one draw of torch's, and anew for each image and target: a map depends neither on its
    neighbours in the batch nor on the other target.
    """
    seed = int(torch.randint(2**31, ()))

    def one(image: Tensor, target: Tensor) -> Tensor:
        with seeded(seed, device):
            return ask(image[None].detach(), target).detach()

    return lambda images, targets: torch.stack([one(*pair) for pair in zip(images, targets, strict=True)])
