"""A ResNet18 an eighth as wide, with everything that trips explainers up, for trying them out in seconds."""

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from bench.contracts import ModelSpec
from bench.nets.weights import build_seeded

WIDTH = 8
CLASSES = 10


class SmallNet(nn.Module):
    """layer1 to layer4 of two blocks each: maps of 32, 16, 8 and 4 positions an edge from 32x32 images."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = stage(WIDTH, WIDTH, stride=1)
        self.layer2 = stage(WIDTH, 2 * WIDTH, stride=2)
        self.layer3 = stage(2 * WIDTH, 4 * WIDTH, stride=2)
        self.layer4 = stage(4 * WIDTH, 8 * WIDTH, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * WIDTH, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to logits (N, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def stage(inputs: int, channels: int, *, stride: int) -> nn.Sequential:
    """Two blocks, the first of which changes the size; their one in-place ReLU serves twice, the sum is in place."""
    block = BasicBlock(inputs, channels, stride)
    if stride != 1:
        shortcut = nn.Conv2d(inputs, channels, 1, stride=stride, bias=False)
        block.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))
    return nn.Sequential(block, BasicBlock(channels, channels))


SMALL = ModelSpec(
    name="small", build=SmallNet, source="bench.verifying.toy_net: a ResNet18 of width 8, nothing trained"
)


def small_net(seed: int = 0) -> nn.Module:
    """The net in eval mode and frozen, always with the same weights.

    Norms have statistics, scales and shifts of their own: with those of a fresh net BatchNorm does next to nothing,
    and a plug-in that runs it in training mode would hardly be noticed.
    """
    net = build_seeded(SMALL, CLASSES, seed)
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval().requires_grad_(False)


def small_images(count: int, seed: int = 0) -> Tensor:
    """(count, 3, 32, 32) float32 of soft blobs under noise, as bright as normalised images are; always the same."""
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.randn(count, 3, 5, 5, generator=generator)
    soft = nn.functional.interpolate(blobs, size=(32, 32), mode="bilinear", align_corners=False)
    return soft + 0.3 * torch.randn(count, 3, 32, 32, generator=generator)
