"""Training speed: ours beside the loop everybody writes, interleaved in one run, and beside the machine's own limit.

    python benchmarks/train.py --data $BENCH_DATA --images 1024 --rounds 6
    python benchmarks/train.py --data $BENCH_DATA --images 2048 --arms ours "bare step" --precision bf16 --name long

All arms train the same ResNet18 on the same images with the same batch size and optimiser; ours with augmentation and
resume files as in `bench train`. The bare step is the same training on one batch that lies ready: no data, no loss
that is read, no state that is kept. The peer loop reads PIL images through torchvision's transforms in a DataLoader
with two workers, contiguous NCHW, and asks for the loss after every step. Where this machine multiplies in bf16, all
three are measured in it too, the peer under autocast. Each arm lives in a process of its own, since ours changes how
the C library reuses memory, and only one works at a time: to call an arm is to send its process a message and to wait.
A round goes forwards and backwards, so that drift hits all arms. The limit is the machine's own matrix product, before
and after each round; a ratio counts the rounds in which it moved by less than a tenth.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import compress, pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from in_turns import told
from tables import cell, finish, machine_words, parser_of, table
from torch import Tensor, nn

from bench.clock import now
from bench.contracts import Dataset, ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.data.transforms import prepare
from bench.estimates import BACKWARD_COST
from bench.machine import choose_device, product_rate
from bench.nets.summary import summarise
from bench.nets.weights import build_seeded, on_device
from bench.precision import PRECISIONS, autocast, dtype_of, resolved_precision
from bench.recipes.recipe import Recipe, find_recipe
from bench.registry.registry import discover
from bench.stats.rates import ratio_interval, ratios_of, rounds_of
from bench.timing.rounds import Work, play, warm_up
from bench.training.checkpoint import FileKeeper
from bench.training.loop import TrainSettings, train_model
from bench.training.optim import make_stepper
from bench.workspace import default_cache

OURS, COMPILED, BARE, PEER = "ours", "ours compiled", "bare step", "peer loop"  # arms: one of these and a precision
Rounds = Mapping[str, Sequence[float]]
Limits = Mapping[str, float]  # by precision
STEADY = 0.1  # a round in which the machine's own limit moved by as much says nothing of what runs on it


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
    """One epoch of the classic loop, under autocast where it is not fp32; it spends no seconds on compiling."""
    optimizer = torch.optim.SGD(net.parameters(), lr=recipe.lr, momentum=0.9, weight_decay=5e-4)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    criterion = nn.CrossEntropyLoss()
    net.train()
    total, correct, train_loss = 0, 0, 0.0
    for batch, classes in loader:
        inputs, targets = batch.to(device), classes.to(device)
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype_of(recipe.precision), enabled=recipe.precision != "fp32"):
            outputs = net(inputs)
            loss = criterion(outputs, targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        train_loss += loss.item()
        total += targets.size(0)
        correct += outputs.max(1)[1].eq(targets).sum().item()
    return 0.0


def our_epoch(net: nn.Module, data: Dataset, settings: TrainSettings, device: torch.device, folder: Path) -> float:
    """One epoch of ours, with its resume files; seconds of compiling in it."""
    with FileKeeper(folder, "benchmark", 300.0, asked=lambda: 0, stop=lambda number: None) as keeper:
        speed = train_model(net, data, settings, device=device, progress=Silence(), keeper=keeper)
    for left in folder.iterdir():
        left.unlink()
    return speed.compile_seconds or 0.0


def bare_epoch(net: nn.Module, data: Dataset, steps: int, recipe: Recipe, device: torch.device) -> float:
    """As many steps as an epoch has, each on the same batch, which lies ready."""
    batch = slice(recipe.batch_size)
    inputs, labels = prepare(data.train.images[batch].to(device), (data.mean, data.std)), data.train.labels[batch]
    targets = labels.to(device)
    stepper = make_stepper(on_device(net, device).train(), recipe, device, recipe.precision)
    for _ in range(steps):
        with autocast(device, recipe.precision):
            logits = net(inputs)
        stepper.step(nn.functional.cross_entropy(logits.float(), targets))
    return 0.0


def work_as(name: str, pipe: Connection, options: argparse.Namespace) -> None:
    """Work as one arm: an epoch for each message, answered with its seconds, compiling left out."""
    device = choose_device(options.device)
    data = load_dataset(options.data, cache=default_cache(), progress=Silence())
    spec = discover("model", ModelSpec)[options.model]
    net = build_seeded(spec, len(data.classes), 0).to(device)
    kind, precision = name.split(", ")
    recipe = replace(find_recipe("course"), epochs=1, batch_size=options.batch_size, precision=precision)
    settings = TrainSettings(recipe, val=0, limit=options.images, warm_start=True, compile=kind == COMPILED)
    with tempfile.TemporaryDirectory() as folder:
        work = partial(our_epoch, net, data, settings, device, Path(folder))
        if kind == PEER:
            work = partial(peer_epoch, net, peer_loader(data, options.images, options.batch_size), recipe, device)
        elif kind == BARE:
            work = partial(bare_epoch, net, data, options.images // options.batch_size, recipe, device)
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
        context.Process(
            target=work_as, name=name, args=(name, theirs, options), daemon=not name.startswith(PEER)
        ).start()
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


def measured(works: Mapping[str, Work], rounds: int, limits: Callable[[], Limits]) -> tuple[Rounds, list[Limits]]:
    """Seconds an epoch of each arm, round by round, and the limit before the first and after each of them."""
    for name, work in works.items():
        warm_up(name, work, told)
    samples, found = [], [limits()]
    for sample in play(works, rounds, told):
        samples.append(sample)
        if len(samples) % (2 * len(works)) == 0:  # a round is over: there and back
            found.append(limits())
    return rounds_of(samples), found


def rows_of(seconds: Rounds, limits: Mapping[str, Sequence[float]], images: int) -> list[list[str]]:
    """The table: rates of all arms and of the limits, then ours over the peer loops, the bare step and the limit.

    Args:
        seconds: of an epoch by arm, round by round.
        limits: images a second that the matrix product allows, by precision: before the first round and after each.
        images: of an epoch.
    """
    rows = [[f"{name}, images/s", cell([images / each for each in found])] for name, found in seconds.items()]
    rows += [[f"limit by the {name} matrix product, images/s", cell(found)] for name, found in limits.items()]
    steady = [
        all(abs(found[after] / found[after - 1] - 1) < STEADY for found in limits.values())
        for after in range(1, len(next(iter(limits.values()))))
    ]
    kept = {name: list(compress(found, steady)) for name, found in seconds.items()}
    rows.append(["rounds in which the limit moved by less than 10 %", f"{sum(steady)} of {len(steady)}"])
    for name in (each for each in seconds if each.startswith(OURS) and any(steady)):
        precision = name.split(", ")[1]
        for other in (each for each in seconds if each.startswith(PEER)):
            ratios = ratios_of(kept[name], kept[other])
            rows.append([f"{name}, over the {other}, round by round", cell(ratios, ratio_interval)])
        bare = kept.get(f"{BARE}, {precision}", [])
        if bare and name.startswith(f"{OURS},"):  # the bare step is not compiled
            shares = [100 * each for each in ratios_of(kept[name], bare)]
            rows.append([f"{name}, % of the bare step", cell(shares, ratio_interval)])
        own = limits[precision]
        middle = [images / ((before + after) / 2) for before, after in pairwise(own)]
        shares = [100 * each for each in ratios_of(kept[name], list(compress(middle, steady)))]
        rows.append([f"{name}, % of the {precision} limit", cell(shares)])
    return rows


def main() -> None:
    """Measure and print a table."""
    parser = parser_of(__doc__, data="digits", model="cifar_resnet18", rounds=6, device="auto", write=None)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--arms", nargs="+", choices=(OURS, COMPILED, BARE, PEER), default=[OURS, BARE, PEER])
    parser.add_argument("--precision", choices=PRECISIONS, help="one alone; else the best of this machine, and fp32")
    parser.add_argument("--name", default="speed", help="of the table in the document")
    options = parser.parse_args()
    device = choose_device(options.device)
    data = load_dataset(options.data, cache=default_cache(), progress=Silence())
    spec = discover("model", ModelSpec)[options.model]
    images = options.images // options.batch_size * options.batch_size
    flops = BACKWARD_COST * 2 * summarise(build_seeded(spec, 10, 0), spec.input_size).macs  # an image
    own = resolved_precision(options.precision or "auto", device)
    precisions = [own] if options.precision else list(dict.fromkeys((own, "fp32")))
    names = [f"{kind}, {precision}" for kind in options.arms for precision in precisions]
    with processes(names, work_as, options) as works:
        seconds, products = measured(
            works, options.rounds, lambda: {each: product_rate(device, each) for each in precisions}
        )
    limits = {each: [one[each] / flops for one in products] for each in precisions}
    head = (
        f"{machine_words(device, 'torch', 'torchvision')}; `{options.model}`, {data.name}, epochs of {images:,} "
        f"images, batch {options.batch_size}, {options.rounds} rounds; median (interval)."
    )
    rows = rows_of(seconds, limits, images)
    finish(f"{head}\n\n{table(['what', 'median (interval)'], rows, {'what'})}", options.write, options.name)


if __name__ == "__main__":
    main()
