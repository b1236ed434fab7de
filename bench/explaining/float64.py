"""Explaining in float64, where rounding is no excuse: on a private copy, so that the model itself stays as it is."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from bench.contracts import ExplainerSpec
from bench.explaining.batches import explained
from bench.memory import Room

WITHOUT_FLOAT64 = ("mps",)  # types of devices


def in_float64(
    spec: ExplainerSpec,
    model: nn.Module,
    layers: Sequence[str],
    images: Tensor,
    targets: Tensor,
    *,
    room: Room | None = None,
) -> dict[str, Tensor]:
    """What the explainer gives where model and images are in float64: as `explained`, which see.

    Args:
        spec: any explainer. One that draws random numbers starts from the seed that it has in other precisions.
        model: gives logits (N, K), in any precision. A copy is explained, in eval mode.
        layers: dotted module names, or ("input",).
        images: (N, 3, H, W) in any precision, on the model's device.
        targets: (N, T) int64.
        room: as `explained` has it.

    Returns:
        {layer: (N, T, h, w) float64}, detached, where the images are; on the CPU where that device has no float64.

    Raises:
        ContractError: the explainer broke its contract on the copy.
    """
    home = home_of_float64(images.device)
    copy = double_copy(model)
    with torch.inference_mode(False):
        own = images.detach().to(home, copy=True).double()
        return explained(spec, copy, layers, own, targets.to(home, copy=True), room=room)


def double_copy(model: nn.Module) -> nn.Module:
    """A copy of the model in float64 and eval mode that shares no tensor with it and holds no gradients.

    It stands on the model's device, or on the CPU where that device has no float64.
    """
    with torch.inference_mode(False):
        copy = deepcopy(model)
        copy.zero_grad(set_to_none=True)
        if any(parameter.device.type in WITHOUT_FLOAT64 for parameter in copy.parameters()):
            copy.cpu()  # before the precision: such a device cannot make what it would send
        return copy.double().eval()


def home_of_float64(device: torch.device) -> torch.device:
    """The device itself, or the CPU where it has no float64."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device
