"""A net of one's own, as bench wants it: a module that gives logits, and one value that says what it is."""

from __future__ import annotations

from torch import Tensor, nn

from bench.contracts import ModelSpec


class TinyNet(nn.Module):
    """Four stages of one 3x3 convolution each, the mean over the grid, one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer1 = stage(3, 16, stride=1)
        self.layer2 = stage(16, 32, stride=2)
        self.layer3 = stage(32, 64, stride=2)
        self.layer4 = stage(64, 128, stride=2)
        self.head = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 32, 32) to logits (N, num_classes)."""
        x = self.layer1(x)  # (N, 16, 32, 32)
        x = self.layer2(x)  # (N, 32, 16, 16)
        x = self.layer3(x)  # (N, 64, 8, 8)
        x = self.layer4(x)  # (N, 128, 4, 4)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def stage(channels_in: int, channels: int, *, stride: int) -> nn.Sequential:
    """A convolution, its norm, a ReLU that writes to a tensor of its own."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


TINY = ModelSpec(
    name="tiny",
    build=TinyNet,
    layers=("layer1", "layer2", "layer3", "layer4"),
    source="docs/add-a-model.md",
)
