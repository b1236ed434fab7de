"""Training speed: ours beside the loop everybody writes, interleaved in one run, and beside the machine's own limit.

    python benchmarks/train.py --data $BENCH_DATA --images 1024 --rounds 6

Both arms train the same ResNet18 on the same images with the same batch size and optimiser, augmentation included.
The peer loop reads PIL images through torchvision's transforms in a DataLoader with two workers, contiguous NCHW,
and asks for the loss after every step. Rounds go A B B A, so that drift hits both arms.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.contracts import Dataset, ModelSpec, Silence
from bench.data import load_dataset
from bench.machine import choose_device, describe_device, product_rate, versions
from bench.recipes import Recipe, find_recipe
from bench.registry import discover
from bench.summary import summarise
from bench.training import TrainSettings, train_model
from bench.weights import build_seeded
from bench.workplace import default_cache

BACKWARD_COST = 3  # forward, input gradients, weight gradients


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images as PIL pictures, which is what torchvision's CIFAR10 gives."""

    def __init__(self, data: Dataset, count: int, transform: Callable[[object], Tensor]) -> None:
        ids = torch.arange(count) * len(data.train) // count
        self.pixels = data.train.images[ids].permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = data.train.labels[ids].tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def peer_loader(data: Dataset, images: int, batch_size: int) -> torch.utils.data.DataLoader[tuple[Tensor, int]]:
    """The loader of the classic loop."""
    from torchvision import transforms

    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.mean, data.std),
        ]
    )
    pictures = Pictures(data, images, transform)
    return torch.utils.data.DataLoader(pictures, batch_size=batch_size, shuffle=True, num_workers=2, drop_last=True)


def peer_epoch(
    net: nn.Module, loader: torch.utils.data.DataLoader[tuple[Tensor, int]], recipe: Recipe, device: torch.device
) -> int:
    """One epoch of the classic loop; images it trained on."""
    optimizer = torch.optim.SGD(net.parameters(), lr=recipe.lr, momentum=0.9, weight_decay=5e-4)
    criterion = nn.CrossEntropyLoss()
    net.train()
    total, correct, train_loss = 0, 0, 0.0
    for batch, classes in loader:
        inputs, targets = batch.to(device), classes.to(device)
        optimizer.zero_grad()
        outputs = net(inputs)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
        train_loss += loss.item()
        total += targets.size(0)
        correct += outputs.max(1)[1].eq(targets).sum().item()
    return total


def timed(work: Callable[[], int], device: torch.device) -> float:
    """Images a second of one block."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    images = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return images / (time.perf_counter() - started)


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--model", default="cifar_resnet18")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    data = load_dataset(options.data, cache=default_cache(), progress=Silence())
    spec = discover("model", ModelSpec)[options.model]
    recipe = replace(find_recipe("course"), epochs=1, batch_size=options.batch_size)
    settings = TrainSettings(recipe, val=0, limit=options.images, warm_start=True)
    ours, peer = (build_seeded(spec, len(data.classes), 0).to(device) for _ in range(2))
    flops = BACKWARD_COST * 2 * summarise(ours, spec.input_size).macs
    loader = peer_loader(data, options.images, options.batch_size)

    def our_epoch() -> int:
        train_model(ours, data, settings, device=device, progress=Silence())
        return options.images // options.batch_size * options.batch_size

    arms: dict[str, Callable[[], int]] = {"ours": our_epoch, "peer": lambda: peer_epoch(peer, loader, recipe, device)}
    for work in arms.values():  # warm-up, thrown away
        work()
    rates: dict[str, list[float]] = {name: [] for name in arms}
    ceilings = []
    for turn in range(options.rounds):
        ceilings.append(product_rate(device) / flops)
        for name in arms if turn % 2 == 0 else reversed(arms):
            rates[name].append(timed(arms[name], device))
    ratios = [ours / peer for ours, peer in zip(rates["ours"], rates["peer"], strict=True)]
    shares = [100 * rate / ceiling for rate, ceiling in zip(rates["ours"], ceilings, strict=True)]
    told = ", ".join(f"{name} {number}" for name, number in versions(("torch", "torchvision")).items())
    print(f"{describe_device(device)}; {told}; {options.model}, {Path(options.data).name}, {options.images} images,")
    print(f"batch {options.batch_size}, {options.rounds} rounds; median (smallest to largest)\n")
    print("| what | median (range) |\n| --- | ---: |")
    print(f"| ours, images/s | {spread(rates['ours'])} |")
    print(f"| peer loop, images/s | {spread(rates['peer'])} |")
    print(f"| ratio, round by round | {spread(ratios)} |")
    print(f"| limit by the matrix product, images/s | {spread(ceilings)} |")
    print(f"| ours, % of that limit | {spread(shares)} |")


if __name__ == "__main__":
    main()
