"""What turns a ResNet made for 224x224 images into one for 32x32."""

from __future__ import annotations

from torch import Tensor, nn

from bench.errors import MissingError

# The 7x7 stem has another shape here, and the 1000-class head other classes.
NOT_SHARED = ("conv1.weight", "fc.weight", "fc.bias")


def small_stem(model: nn.Module) -> None:
    """Put a 3x3 stride-1 convolution for the 7x7 stride-2 one, and nothing for the max-pool.

    Without it a 32x32 image reaches layer4 as a single cell, which no map can show.
    """
    stem = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    model.conv1 = stem
    model.maxpool = nn.Identity()


def shared_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The part of an ImageNet ResNet18 that fits the net with the small stem."""
    return {key: value for key, value in state.items() if key not in NOT_SHARED}


def not_fetched(library: str, reason: Exception) -> MissingError:
    """The error for weights that are neither cached nor reachable."""
    lines = str(reason).splitlines() or [""]
    why = f"{type(reason).__name__}: {lines[0]}".removesuffix(": ")
    return MissingError(
        f"{library}'s ImageNet weights of resnet18 are not cached here and cannot be fetched ({why})",
        try_="bench train without --pretrained, or --pretrained CHECKPOINT of an earlier run",
    )
