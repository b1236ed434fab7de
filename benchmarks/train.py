"""Training speed: ours beside the loop everybody writes, interleaved in one run, and beside the machine's own limit.

    python benchmarks/train.py --data $BENCH_DATA --images 1024 --rounds 6

All arms train the same ResNet18 on the same images with the same batch size and optimiser, augmentation included;
ours with resume files as in `bench train`. The peer loop reads PIL images through torchvision's transforms in a
DataLoader with two workers, contiguous NCHW, fp32, and asks for the loss after every step. Where this machine
multiplies in bf16, ours is measured in fp32 too. Each arm lives in a process of its own, since ours changes how the C
library reuses memory, and only one works at a time; every second round goes backwards, so that drift hits all arms.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from tables import table, write_between
from torch import Tensor, nn

from bench.clock import synchronise
from bench.contracts import Dataset, ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.estimates import BACKWARD_COST
from bench.machine import choose_device, describe_device, product_rate, settled_precision, versions
from bench.nets.summary import summarise
from bench.nets.weights import build_seeded
from bench.recipes.recipe import Recipe, find_recipe
from bench.registry.registry import discover
from bench.training.checkpoint import FileKeeper
from bench.training.loop import TrainSettings, train_model
from bench.workspace import default_cache

PEER = "peer loop, fp32"


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
) -> tuple[int, float]:
    """One epoch of the classic loop; images it trained on, and no seconds of compiling."""
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
    return total, 0.0


def our_epoch(
    net: nn.Module, data: Dataset, settings: TrainSettings, device: torch.device, folder: Path
) -> tuple[int, float]:
    """One epoch of ours, with its resume files; images it trained on, and seconds of compiling."""
    keeper = FileKeeper(folder, "benchmark", 300.0, asked=lambda: False, stop=lambda: None)
    speed = train_model(net, data, settings, device=device, progress=Silence(), keeper=keeper)
    for left in folder.iterdir():
        left.unlink()
    size = settings.recipe.batch_size
    return (settings.limit or len(data.train)) // size * size, speed.compile_seconds or 0.0


def arm(pipe: Connection, name: str, options: argparse.Namespace) -> None:
    """Work as one arm: an epoch for each message, answered with its images a second."""
    device = choose_device(options.device)
    data = load_dataset(options.data, cache=default_cache(), progress=Silence())
    spec = discover("model", ModelSpec)[options.model]
    net = build_seeded(spec, len(data.classes), 0).to(device)
    recipe = replace(
        find_recipe("course"), epochs=1, batch_size=options.batch_size, precision=name.rsplit(maxsplit=1)[-1]
    )
    settings = TrainSettings(recipe, val=0, limit=options.images, warm_start=True, compile="compiled" in name)
    with tempfile.TemporaryDirectory() as folder:
        if name == PEER:
            loader = peer_loader(data, options.images, options.batch_size)
            work: Callable[[], tuple[int, float]] = lambda: peer_epoch(net, loader, recipe, device)  # noqa: E731
        else:
            work = lambda: our_epoch(net, data, settings, device, Path(folder))  # noqa: E731
        while pipe.recv():
            pipe.send(timed(work, device))


def timed(work: Callable[[], tuple[int, float]], device: torch.device) -> float:
    """Images a second of one block, compiling left out."""
    synchronise(device)
    started = time.perf_counter()
    images, compiling = work()
    synchronise(device)
    return images / (time.perf_counter() - started - compiling)


def spread(values: list[float], digits: int = 1) -> str:
    """Median and range."""
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--model", default="cifar_resnet18")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile, too")
    return parser.parse_args()


def measured(names: list[str], options: argparse.Namespace, flops: float) -> tuple[dict[str, list[float]], list[float]]:
    """Images a second of each arm and by the matrix product, round by round."""
    context, device = multiprocessing.get_context("spawn"), choose_device(options.device)
    pipes: dict[str, Connection] = {}
    for name in names:
        pipes[name], theirs = context.Pipe()
        context.Process(target=arm, args=(theirs, name, options), daemon=name != PEER).start()

    def epoch(name: str) -> float:
        pipes[name].send(True)
        return float(pipes[name].recv())

    for name in names:
        epoch(name)  # warm-up, thrown away
    rates: dict[str, list[float]] = {name: [] for name in names}
    ceilings = []
    for turn in range(options.rounds):
        ceilings.append(product_rate(device) / flops)
        for name in names if turn % 2 == 0 else reversed(names):
            rates[name].append(epoch(name))
    for pipe in pipes.values():
        pipe.send(False)
    return rates, ceilings


def main() -> None:
    """Measure and print a table."""
    options = read_options()
    device = choose_device(options.device)
    data = load_dataset(options.data, cache=default_cache(), progress=Silence())
    spec = discover("model", ModelSpec)[options.model]
    flops = BACKWARD_COST * 2 * summarise(build_seeded(spec, 10, 0), spec.input_size).macs
    best = settled_precision("auto", device)
    ours = list(dict.fromkeys(f"ours, {each}" for each in (best, "fp32")))
    ours += [name.replace("ours", "ours compiled") for name in ours] if options.compile else []
    rates, ceilings = measured([*ours, PEER], options, flops)
    rows = [[f"{name}, images/s", spread(found)] for name, found in rates.items()]
    for name in ours:
        ratios = [own / peer for own, peer in zip(rates[name], rates[PEER], strict=True)]
        rows.append([f"{name}, over the peer loop, round by round", spread(ratios, 2)])
    rows.append(["limit by the fp32 matrix product, images/s", spread(ceilings)])
    for name in ours:
        shares = [100 * rate / ceiling for rate, ceiling in zip(rates[name], ceilings, strict=True)]
        rows.append([f"{name}, % of that limit", spread(shares, 0)])
    told = ", ".join(f"{name} {number}" for name, number in versions(("torch", "torchvision")).items())
    text = (
        f"{describe_device(device)}; {told}; `{options.model}`, {data.name}, epochs of {options.images:,} images, "
        f"batch {options.batch_size}, {options.rounds} rounds; median (smallest to largest).\n\n"
        + table(["what", "median (range)"], rows, {"what"})
    )
    print(text)
    if options.write:
        write_between(options.write, "speed", text)


if __name__ == "__main__":
    main()
