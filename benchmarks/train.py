"""Training speed: ours beside the loop everybody writes, interleaved in one run, and beside the machine's own limit.

    python benchmarks/train.py --data $BENCH_DATA --images 1024 --rounds 6

All arms train the same ResNet18 on the same images with the same batch size and optimiser, augmentation included;
ours with resume files as in `bench train`. The peer loop reads PIL images through torchvision's transforms in a
DataLoader with two workers, contiguous NCHW, fp32, and asks for the loss after every step. Where this machine
multiplies in bf16, ours is measured in fp32 too. Each arm lives in a process of its own, since ours changes how the C
library reuses memory, and only one works at a time: to call an arm is to send its process a message and to wait. A
round goes forwards and backwards, so that drift hits all arms.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from in_turns import timed, told
from tables import cell, finish, machine_words, parser_of, table
from torch import Tensor, nn

from bench.clock import now
from bench.contracts import Dataset, ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.estimates import BACKWARD_COST
from bench.machine import choose_device, product_rate, resolved_precision
from bench.nets.summary import summarise
from bench.nets.weights import build_seeded
from bench.recipes.recipe import Recipe, find_recipe
from bench.registry.registry import discover
from bench.stats.rates import ratio_interval, ratios_of
from bench.timing.rounds import Work
from bench.training.checkpoint import FileKeeper
from bench.training.loop import TrainSettings, train_model
from bench.workspace import default_cache

PEER = "peer loop, fp32"
LIMIT = "limit by the fp32 matrix product"


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
) -> float:
    """One epoch of the classic loop, which spends no seconds on compiling."""
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
    return 0.0


def our_epoch(net: nn.Module, data: Dataset, settings: TrainSettings, device: torch.device, folder: Path) -> float:
    """One epoch of ours, with its resume files; seconds of compiling in it."""
    keeper = FileKeeper(folder, "benchmark", 300.0, asked=lambda: False, stop=lambda: None)
    speed = train_model(net, data, settings, device=device, progress=Silence(), keeper=keeper)
    for left in folder.iterdir():
        left.unlink()
    return speed.compile_seconds or 0.0


def work_as(name: str, pipe: Connection, options: argparse.Namespace) -> None:
    """Work as one arm: an epoch for each message, answered with its seconds, compiling left out."""
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
            work: Callable[[], float] = lambda: peer_epoch(net, loader, recipe, device)  # noqa: E731
        else:
            work = lambda: our_epoch(net, data, settings, device, Path(folder))  # noqa: E731
        while pipe.recv():
            started = now(device)
            compiling = work()
            pipe.send(now(device) - started - compiling)


@contextmanager
def processes(
    names: Sequence[str], work_as: Callable[..., None], options: argparse.Namespace
) -> Iterator[dict[str, Work]]:
    """A process for each arm, and the call that makes it work once; they end with the block."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for name in names:
        pipes[name], theirs = context.Pipe()
        # The peer loop's process has children of its own, which a daemon must not have.
        context.Process(target=work_as, name=name, args=(name, theirs, options), daemon=name != PEER).start()
        theirs.close()  # so that a process that ends early is noticed

    def ask(pipe: Connection) -> float:
        pipe.send(True)
        return float(pipe.recv())

    try:
        yield {name: partial(ask, pipe) for name, pipe in pipes.items()}
    finally:
        for pipe in pipes.values():
            with suppress(OSError):  # it has ended already
                pipe.send(False)


def rows_of(seconds: Mapping[str, Sequence[float]], images: int) -> list[list[str]]:
    """The table: rates of all arms and of the limit, then ours over the peer loop and over the limit.

    Args:
        seconds: of an epoch by arm, round by round; at the limit those that its multiplications would take.
        images: of an epoch.
    """
    ours = [name for name in seconds if name not in (PEER, LIMIT)]
    rows = [[f"{name}, images/s", cell([images / each for each in found])] for name, found in seconds.items()]
    for name in ours:
        ratios = ratios_of(seconds[name], seconds[PEER])
        rows.append([f"{name}, over the peer loop, round by round", cell(ratios, ratio_interval)])
    for name in ours:
        shares = [100 * each for each in ratios_of(seconds[name], seconds[LIMIT])]
        rows.append([f"{name}, % of that limit", cell(shares)])
    return rows


def main() -> None:
    """Measure and print a table."""
    parser = parser_of(__doc__, data="digits", model="cifar_resnet18", rounds=6, device="auto", write=None)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile, too")
    options = parser.parse_args()
    device = choose_device(options.device)
    data = load_dataset(options.data, cache=default_cache(), progress=Silence())
    spec = discover("model", ModelSpec)[options.model]
    images = options.images // options.batch_size * options.batch_size
    flops = images * BACKWARD_COST * 2 * summarise(build_seeded(spec, 10, 0), spec.input_size).macs
    ours = list(dict.fromkeys(f"ours, {each}" for each in (resolved_precision("auto", device), "fp32")))
    ours += [name.replace("ours", "ours compiled") for name in ours] if options.compile else []
    with processes([*ours, PEER], work_as, options) as works:
        seconds = timed({**works, LIMIT: lambda: flops / product_rate(device)}, options.rounds, told)
    head = (
        f"{machine_words(device, 'torch', 'torchvision')}; `{options.model}`, {data.name}, epochs of {images:,} "
        f"images, batch {options.batch_size}, {options.rounds} rounds; median (interval)."
    )
    rows = rows_of(seconds, images)
    finish(f"{head}\n\n{table(['what', 'median (interval)'], rows, {'what'})}", options.write, "speed")


if __name__ == "__main__":
    main()
