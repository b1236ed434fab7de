"""Grad-CAM once more, slow and plain, to hold the adapters against. It shares no code with them.

    weight[c] = mean over positions of d logit[target] / d A[c]
    map       = sum over c of weight[c] * A[c]

where A is the layer's output at the moment the layer gives it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def gradcam_by_hand(model: nn.Module, layer: str, images: Tensor, targets: Tensor, *, at_once: int = 1) -> Tensor:
    """(N, T, h, w) raw maps in the model's precision, `at_once` images a forward pass.

    Batches of another size may take other kernels and so flip ReLUs near zero; fp32 maps are compared at equal size.
    """
    starts = range(0, len(images), at_once)
    pairs = [(images[start : start + at_once], targets[start : start + at_once]) for start in starts]
    return torch.cat([maps_of(model, layer, some, theirs) for some, theirs in pairs])


def maps_of(model: nn.Module, layer: str, images: Tensor, targets: Tensor) -> Tensor:
    """The same for one forward pass."""
    activations, columns = activations_and_slopes(model, layer, images, targets)
    maps = [
        [(slope.mean(dim=(1, 2))[:, None, None] * values).sum(dim=0) for slope in row]
        for values, *row in zip(activations, *columns, strict=True)
    ]
    return torch.stack([torch.stack(row) for row in maps])


def activations_and_slopes(
    model: nn.Module, layer: str, images: Tensor, targets: Tensor, score: Callable[[Tensor], Tensor] = Tensor.clone
) -> tuple[Tensor, list[Tensor]]:
    """(N, C, h, w) what the layer gave, and for each column of targets the slope there of a score of the logits."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            scores = score(model(images.detach().clone().requires_grad_()))
    finally:
        handle.remove()
    # In eval mode images do not touch one another, so the gradient of the sum holds each image's own.
    totals = [scores.gather(1, column[:, None]).sum() for column in targets.unbind(1)]
    return kept[-1].detach(), [torch.autograd.grad(total, kept[-1], retain_graph=True)[0] for total in totals]
