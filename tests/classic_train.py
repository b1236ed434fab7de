"""The training script that everybody copies, written by hand: no bench in it, its checkpoint in the classic wrapper.

python classic_train.py OUT.pth [EPOCHS [WIDTH]]
"""

import sys

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, planes_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes_in, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or planes_in != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(planes_in, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Net(nn.Module):
    def __init__(self, num_classes: int = 10, width: int = 64) -> None:
        super().__init__()
        w = width
        self.conv1, self.bn1 = nn.Conv2d(3, w, 3, padding=1, bias=False), nn.BatchNorm2d(w)
        self.layer1 = nn.Sequential(Block(w, w, 1), Block(w, w, 1))
        self.layer2 = nn.Sequential(Block(w, 2 * w, 2), Block(2 * w, 2 * w, 1))
        self.layer3 = nn.Sequential(Block(2 * w, 4 * w, 2), Block(4 * w, 4 * w, 1))
        self.layer4 = nn.Sequential(Block(4 * w, 8 * w, 2), Block(8 * w, 8 * w, 1))
        self.linear = nn.Linear(8 * w, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        logits: Tensor = self.linear(functional.avg_pool2d(out, 4).flatten(1))
        return logits


def narrow(num_classes: int) -> nn.Module:
    return Net(num_classes, width=8)


def digits() -> tuple[Tensor, Tensor]:
    """Digits of the training part, enlarged by repeating their pixels, normalised with one half."""
    found = load_digits()
    labels = found.target.astype(np.int64)
    train, _ = train_test_split(np.arange(len(labels)), test_size=360, stratify=labels, random_state=0)
    small = torch.tensor(found.images[train] / 16, dtype=torch.float32)[:, None]
    images = functional.interpolate(small, size=32, mode="bilinear").expand(-1, 3, -1, -1)
    return (images - 0.5) / 0.5, torch.tensor(labels[train])


def main(out: str, epochs: int, width: int) -> None:
    torch.manual_seed(0)
    images, labels = digits()
    net = nn.DataParallel(Net(width=width))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    acc = 0.0
    for epoch in range(epochs):
        net.train()
        right = 0
        for batch in torch.split(torch.randperm(len(images)), 64):
            logits = net(images[batch])
            targets = labels[batch].to(logits.device)
            loss = functional.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            right += int((logits.argmax(1) == targets).sum())
        acc = 100.0 * right / len(images)
        sys.stdout.write(f"epoch {epoch}: loss {loss.item():.3f} acc {acc:.1f}\n")
    torch.save({"net": net.state_dict(), "acc": acc, "epoch": epochs - 1}, out)


if __name__ == "__main__":
    settings = [int(word) for word in sys.argv[2:]]
    main(sys.argv[1], *settings, *(1, 64)[len(settings) :])
