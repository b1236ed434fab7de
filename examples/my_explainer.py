"""An explainer of one's own, as bench wants it: a plain function, and one value that says what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from bench.contracts import ExplainerSpec


def hirescam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """HiResCAM: gradient times activation, position by position, summed over channels.

    Grad-CAM takes the mean of the gradient over the grid before it multiplies; HiResCAM does not. Where the
    gradient is the same at every position, as at the last stage of a net that ends in a mean and one linear layer,
    both give the same map.

    Args:
        model: gives logits (N, K); in eval mode, frozen. Left as found.
        layers: dotted module names whose outputs are (N, C, h, w).
        images: (N, 3, H, W), normalised as in training.
        targets: (N, T) int64, the classes each map speaks for.

    Returns:
        {layer: (N, T, h, w)} in the dtype of `images`, signed, before ReLU, scaling and resizing, detached.
        Unit: logits.

    Source: Draelos & Carin 2020, arXiv:2011.08891.
    """
    grids: dict[str, Tensor] = {}
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        for name in layers:
            handle = model.get_submodule(name).register_forward_hook(keep_output(name, grids))
            stack.callback(handle.remove)
        # The parameters are frozen, so the graph has to begin at the images: at a copy, which is ours to change.
        logits = model(images.detach().clone().requires_grad_())  # (N, K)
        maps = [products(logits, grids, column) for column in targets.unbind(1)]
    return {name: torch.stack([of_target[name] for of_target in maps], dim=1) for name in layers}


def keep_output(name: str, grids: dict[str, Tensor]) -> Callable[..., Tensor]:
    """A forward hook that keeps a layer's output and hands a clone on.

    The rest of the net works on the clone, so that an in-place ReLU cannot overwrite what was kept.
    """

    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        grids[name] = output
        return output.clone()

    return hook


def products(logits: Tensor, grids: dict[str, Tensor], target: Tensor) -> dict[str, Tensor]:
    """{layer: (N, h, w)} for one target an image, (N,); the graph stays for the next target."""
    score = logits.gather(1, target[:, None]).sum()
    # autograd.grad, unlike backward, leaves no .grad behind.
    slopes = torch.autograd.grad(score, list(grids.values()), retain_graph=True)
    pairs = zip(grids.items(), slopes, strict=True)
    return {name: (slope * grid).sum(dim=1).detach() for (name, grid), slope in pairs}


HIRESCAM = ExplainerSpec(
    name="my_hirescam",
    explain=hirescam,
    source="Draelos & Carin 2020, arXiv:2011.08891; docs/add-an-explainer.md",
    backend="torch",
)
