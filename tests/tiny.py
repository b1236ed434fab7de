"""A small net and a small data set, for tests of behaviour; truth is tested on the real ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts import Dataset, ModelSpec, Split
from bench.nets.weights import build_seeded
from bench.recipes.recipe import Recipe
from bench.request import TrainRequest
from bench.workspace import Workspace

CPU = torch.device("cpu")
CLASSES = ("one", "two", "three", "four")


class TinyNet(nn.Module):
    """Two stages under the names users type, so that the default layers work."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer3 = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.layer4 = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, num_classes)."""
        logits: Tensor = self.fc(self.layer4(self.layer3(x)).mean(dim=(2, 3)))
        return logits


class Dropping(TinyNet):
    """The tiny net with a dropout, which draws from PyTorch's own generator."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(
            nn.functional.dropout(self.layer4(self.layer3(x)).mean(dim=(2, 3)), 0.3, self.training)
        )
        return result


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to the same."""
        residual = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        output: Tensor = (x + residual).relu()
        return output


class TinyResNet(TinyNet):
    """The tiny net with a residual block in its last stage."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.layer4.append(Block(16))


class InPlaceBlock(Block):
    """Overwrites what its last norm gave, as the blocks of timm and torchvision do."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to the same."""
        residual: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        residual += x
        return residual.relu_()


class TinyInPlace(TinyNet):
    """The tiny net with such a block in its last stage."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.layer4.append(InPlaceBlock(16))


TINY = ModelSpec(name="tiny", build=TinyNet, layers=("layer3", "layer4"), source="tests")
RESIDUAL = ModelSpec(name="residual", build=TinyResNet, layers=("layer3", "layer4"), source="tests")
IN_PLACE = ModelSpec(name="in_place", build=TinyInPlace, layers=("layer3", "layer4"), source="tests")
QUICK = Recipe(
    name="quick",
    epochs=2,
    batch_size=16,
    lr=0.05,
    source="tests",
    precision="fp32",  # the same on every processor
    flip="none",
    translate=2,
    cutout=0,
)
BUSY = Recipe(  # all that a recipe can switch on
    name="busy",
    epochs=4,
    batch_size=16,
    lr=0.02,
    source="tests",
    lr_start=0.25,
    lr_end=0.125,
    warm_up=0.25,
    momentum=0.85,
    weight_decay=1e-3,
    norm_decay=False,
    bias_scale=8.0,
    label_smoothing=0.1,
    bn_momentum=0.4,
    lookahead=5,
    whiten=True,
    zero_init=True,
    sizes=((16, 0.5), (24, 0.25)),
    precision="fp32",
    flip="alternating",
    translate=2,
    cutout=4,
)
TINY_FILE, RESIDUAL_FILE, IN_PLACE_FILE = (f"{Path(__file__)}:{name}" for name in ("TINY", "RESIDUAL", "IN_PLACE"))


def images_of(labels: Tensor, seed: int) -> Tensor:
    """(N, 3, 32, 32) uint8: each class is bright in its own quarter, under noise."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 90, (len(labels), 3, 32, 32), generator=generator, dtype=torch.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[label % 3, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] += 120
    return images


def make_split(name: str, per_class: int, seed: int) -> Split:
    """A balanced split, class by class."""
    labels = torch.arange(len(CLASSES)).repeat_interleave(per_class)
    names = tuple(f"{name}/{CLASSES[label]}/{index:04d}.png" for index, label in enumerate(labels.tolist()))
    return Split(images_of(labels, seed), labels, names)


def tiny_data(train: int = 64, test: int = 16) -> Dataset:
    """A data set of four classes with `train` and `test` images a class."""
    return Dataset(
        name="tiny",
        classes=CLASSES,
        train=make_split("train", train, 0),
        test=make_split("test", test, 1),
        mean=(0.25, 0.25, 0.25),
        std=(0.2, 0.2, 0.2),
        mirror=False,
        digest="0" * 64,
        source="tests",
    )


def finished_run(folder: Path, data: Dataset, **changes: Any) -> Path:
    """A folder as a training of one epoch (or of more) of the tiny net leaves it, on all training images."""
    from bench.training.loop import TrainSettings
    from bench.training.run import Job, begin, complete

    place, recipe = Workspace(runs=folder.parent), replace(QUICK, **{"epochs": 1, **changes})
    folder.mkdir(parents=True)
    begin(folder, place, data, TrainRequest(TINY_FILE), CPU)
    complete(Job(folder, build_seeded(TINY, len(CLASSES), 0), data, TrainSettings(recipe, val=0), CPU), place)
    return folder


def write_images(root: Path, data: Dataset, classes: tuple[str, ...] | None = None) -> Path:
    """The same data set as a folder of PNG files, its classes under other names if wanted."""
    from PIL import Image

    names = classes or data.classes
    for split, part in (("train", data.train), ("test", data.test)):
        for index, (image, label) in enumerate(zip(part.images, part.labels.tolist(), strict=True)):
            folder = root / split / names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{index:04d}.png")
    return root
