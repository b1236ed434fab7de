"""A net as it lies in many a folder: nothing of bench in it, its layers called as its author liked."""

from __future__ import annotations

from torch import Tensor, nn


class TwoStages(nn.Module):
    """Two convolutional stages, `early` and `late`, the mean over the grid, one linear layer."""

    def __init__(self, num_classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2))
        self.late = nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Grey images (N, 1, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.head(self.late(self.early(x)).mean(dim=(2, 3)))
        return logits


def build(num_classes: int) -> nn.Module:
    """What `--model examples/my_net.py:build` calls."""
    return TwoStages(num_classes)
