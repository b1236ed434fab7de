"""A training that shares no code with bench: is its loop right, and what does JPEG cost?

    python benchmarks/plain_loop.py cifar10-jpeg.tar.xz --times 1 2 --write docs/results.md

It reads the files by itself and trains the ResNet18 of kuangliu/pytorch-cifar, written down here again, the way most
people do: in bf16, batches of 128, SGD with momentum at 0.1 falling by a cosine, weight decay 5e-4, images shifted by
up to 4 pixels and mirrored, cross-entropy. The test images are used once, at the end.

`--times 2` compresses all images once more before anything else, with their own quantisation tables, moved by half a
block so that it is no repetition. What that costs tells how much the first compression may have cost.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, JpegImagePlugin
from tables import finish, machine_words, parser_of, table
from torch import Tensor, nn
from torch.nn import functional

from bench.stats.intervals import wilson

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
HALF = 4  # of the 8 pixels of a block
BATCH = 128


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, planes: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(planes, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or planes != out:
            self.shortcut = nn.Sequential(nn.Conv2d(planes, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


def network() -> nn.Module:
    """ResNet18 for 32x32 pixels and ten classes."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    planes = 64
    for out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(planes, out, stride), Block(out, out, 1)]
        planes = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def decoded(content: bytes, *, times: int) -> np.ndarray:
    """(32, 32, 3) uint8 of a file, compressed so many times in all."""
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(content))
    pixels = np.asarray(image.convert("RGB"))
    for _ in range(times - 1):
        again = io.BytesIO()
        moved = Image.fromarray(np.roll(pixels, (HALF, HALF), (0, 1)))
        sampling = JpegImagePlugin.get_sampling(image)
        moved.save(again, "JPEG", qtables=image.quantization, subsampling=sampling)
        pixels = np.roll(np.asarray(Image.open(again).convert("RGB")), (-HALF, -HALF), (0, 1))
    return pixels


def read(archive: Path, times: int) -> tuple[Tensor, Tensor, Tensor]:
    """(N, 3, 32, 32) uint8, (N,) classes, and (N,) whether it is a test image."""
    contents, labels, tests = [], [], []
    with tarfile.open(archive) as files:
        for member in files:
            path = PurePosixPath(member.name)
            if member.isfile() and path.suffix == ".jpg" and (file := files.extractfile(member)):
                contents.append(file.read())
                labels.append(path.parts[-2])
                tests.append("test" in path.parts[-3])
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        images = np.stack(list(workers.map(partial(decoded, times=times), contents, chunksize=500)))
    classes = np.unique(labels, return_inverse=True)[1]
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(classes), torch.tensor(tests)


def varied(padded: Tensor, edge: int) -> Tensor:
    """A window of each padded image (N, C, H, W) at a random place, half of them mirrored."""
    count, device = len(padded), padded.device
    down, right = (torch.randint(0, padded.shape[-1] - edge + 1, (count, 1), device=device) for _ in range(2))
    rows = torch.arange(edge, device=device) + down
    columns = torch.arange(edge, device=device) + right
    columns = torch.where(torch.rand(count, 1, device=device) < 0.5, columns.flip(1), columns)
    images = torch.arange(count, device=device)[:, None, None]
    return padded[images, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def trained(images: Tensor, labels: Tensor, *, epochs: int, seed: int) -> nn.Module:
    """The network after so many epochs, in bf16."""
    device = images.device
    torch.manual_seed(seed)
    net = network().to(device).to(memory_format=torch.channels_last).train()
    steps = len(images) // BATCH
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    padded = functional.pad(images, (4,) * 4)
    for epoch in range(epochs):
        order, total = torch.randperm(len(images), device=device), torch.zeros((), device=device)
        for chosen in order[: steps * BATCH].split(BATCH):  # type: ignore[no-untyped-call]
            inputs = normalised(varied(padded[chosen], images.shape[-1]))
            with torch.autocast(device.type, torch.bfloat16):
                logits = net(inputs)
            loss = functional.cross_entropy(logits.float(), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.detach()
        print(f"epoch {epoch + 1}: loss {float(total) / steps:.4f}", flush=True)
    return net.eval()


def normalised(images: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 to float, channels last."""
    mean, std = (torch.tensor(each, device=images.device).view(1, 3, 1, 1) for each in (MEAN, STD))
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def correct_of(net: nn.Module, images: Tensor, labels: Tensor) -> int:
    """How many are right, in fp32."""
    with torch.no_grad():
        parts = zip(images.split(500), labels.split(500), strict=True)  # type: ignore[no-untyped-call]
        return sum(int((net(normalised(some)).argmax(1) == right).sum()) for some, right in parts)


def drawn(ids: Tensor, count: int) -> Tensor:
    """So many of them, always the same."""
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))
    return ids[order[:count].to(ids.device)]


def row_of(times: int, seed: int, epochs: int, seconds: float, correct: int, total: int) -> list[str]:
    """A line of the table."""
    share = wilson(correct, total)
    interval = f"{100 * share.low:.1f} to {100 * share.high:.1f}"
    return [f"{times}", f"{seed}", f"{epochs}", f"{seconds:,.0f}", f"{100 * share.value:.2f} %", interval]


def report(rows: list[list[str]], device: str) -> str:
    """The table under the line of the machine."""
    heads = ["times compressed", "seed", "epochs", "training, s", "accuracy", "95 % interval"]
    return f"{device}; bf16.\n\n{table(heads, rows, set())}"


def main() -> None:
    """Train for each number of compressions."""
    parser = parser_of(__doc__, device="cuda" if torch.cuda.is_available() else "cpu", write=None)
    parser.add_argument("archive", type=Path)
    parser.add_argument(
        "--times", type=int, nargs="+", default=[1], help="how often the images are compressed, the files included"
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=int, help="train on so many, and test on a fifth as many")
    options = parser.parse_args()
    rows, device = [], torch.device(options.device)
    for times in options.times:
        images, labels, test = (each.to(device) for each in read(options.archive, times))
        train, tested = (torch.nonzero(part).flatten() for part in (~test, test))
        if options.images:
            train, tested = drawn(train, options.images), drawn(tested, options.images // 5)
        started = time.perf_counter()
        net = trained(images[train], labels[train], epochs=options.epochs, seed=options.seed)
        seconds = time.perf_counter() - started
        correct = correct_of(net, images[tested], labels[tested])
        rows.append(row_of(times, options.seed, options.epochs, seconds, correct, len(tested)))
    finish(report(rows, machine_words(device, "torch")), options.write, "plain loop")


if __name__ == "__main__":
    main()
