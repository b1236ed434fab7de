"""ResNet18 for 32x32 images, written as the paper describes it."""

from collections.abc import Iterator

from torch import Tensor, nn

from bench.contracts import ModelSpec

from .torchvision_resnet18 import imagenet_weights

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block
KEY_MAP = ((".shortcut.", ".downsample."), ("linear.", "fc."))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (figure 2 of the paper).

    Every ReLU is a module of its own and none writes in place, so that each may be hooked or replaced alone.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)  # the norm has a bias
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = projection(channels_in, channels, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, h, w) to (N, channels, h / stride, w / stride)."""
        residual = self.relu1(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        output: Tensor = self.relu2(residual + self.shortcut(x))
        return output


class ResNet18(nn.Module):
    """A 3x3 stem, four stages of two blocks, the mean over the grid, one linear layer.

    The stem has stride 1 and no max-pool, so the stages see 32, 16, 8 and 4 pixels an edge.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = nn.ReLU()
        self.layer1, self.layer2, self.layer3, self.layer4 = stages()
        self.pool = nn.AdaptiveAvgPool2d(1)  # as the libraries have it: avg_pool2d(4) differs from them in last bits
        self.linear = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to logits (N, num_classes)."""
        x = self.relu1(self.bn1(self.conv1(x)))  # (N, 64, 32, 32)
        x = self.layer1(x)  # (N, 64, 32, 32)
        x = self.layer2(x)  # (N, 128, 16, 16)
        x = self.layer3(x)  # (N, 256, 8, 8)
        x = self.layer4(x)  # (N, 512, 4, 4)
        logits: Tensor = self.linear(self.pool(x).flatten(1))
        return logits


def projection(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    """The shortcut: nothing where the shape stays, else a 1x1 convolution and its norm (option B of the paper)."""
    if channels_in == channels and stride == 1:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels))


def stages() -> Iterator[nn.Sequential]:
    """layer1 to layer4, two blocks each."""
    channels_in = 64
    for channels, stride in STAGES:
        yield nn.Sequential(BasicBlock(channels_in, channels, stride), BasicBlock(channels, channels, 1))
        channels_in = channels


def imagenet() -> dict[str, Tensor]:
    """The ImageNet weights of torchvision under this model's keys, all but conv1 and the head.

    Raises:
        MissingError: they are not cached and cannot be fetched.
    """
    return {key.replace(".downsample.", ".shortcut."): value for key, value in imagenet_weights().items()}


CIFAR_RESNET18 = ModelSpec(
    name="cifar_resnet18",
    build=ResNet18,
    source="He et al. 2016, arXiv:1512.03385, with a 3x3 stem for 32x32 images",
    backend="torch",
    key_map=KEY_MAP,
    imagenet=imagenet,
)
