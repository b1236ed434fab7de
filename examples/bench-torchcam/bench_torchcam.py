"""torch-cam's GradCAM as an explainer of bench: its own hooks, weights and sum, before its ReLU and its scaling."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.contracts import ExplainerSpec


def gradcam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """{layer: (N, T, h, w)} raw maps of images (N, 3, H, W) for targets (N, T) int64, in logits, detached."""
    from torchcam.methods import GradCAM

    maps = []
    with torch.enable_grad(), GradCAM(model, list(layers)) as cam:
        cam._relu = False  # torch-cam has no public switch for it; normalized=False leaves out the scaling
        for column in targets.unbind(1):
            logits = model(images.detach().clone().requires_grad_())  # the parameters may be frozen
            maps.append(cam(column.tolist(), logits, normalized=False))
    return {layer: torch.stack([of_target[index] for of_target in maps], dim=1) for index, layer in enumerate(layers)}


TORCHCAM = ExplainerSpec(
    name="torchcam",
    explain=gradcam,
    source="Selvaraju et al. 2017, arXiv:1610.02391; torchcam.methods.GradCAM",
    backend="torchcam",
    claims="grad-cam",
)
