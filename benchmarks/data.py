"""How long the images take: the first reading, the cache, a batch of augmentation.

python benchmarks/data.py --data $BENCH_DATA
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bench.contracts import Augmentation, Silence
from bench.data.datasets import load_dataset
from bench.data.transforms import augment, fill_colour, normalise
from bench.machine import choose_device, describe_device


def seconds(work: Callable[[], object], times: int) -> list[float]:
    """Wall seconds of each call."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found


def row(what: str, values: list[float], unit: str, scale: float) -> str:
    """One line of the table."""
    low, high = scale * min(values), scale * max(values)
    return f"| {what} | {scale * statistics.median(values):.2f} {unit} | {low:.2f} to {high:.2f} | {len(values)} |"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:

        def load() -> object:
            return load_dataset(options.data, cache=Path(folder), progress=Silence())

        first, cached = seconds(load, 1), seconds(load, 5)
        data = load_dataset(options.data, cache=Path(folder), progress=Silence())
    batch, fill, generator = data.train.images[:128], fill_colour(data.mean), torch.Generator().manual_seed(0)
    changed = seconds(lambda: augment(batch, Augmentation(), fill=fill, generator=generator), 50)
    inputs = seconds(lambda: normalise(batch, data.mean, data.std), 50)
    print(f"{describe_device(choose_device('cpu'))}; {len(data.train) + len(data.test):,} images of {data.name}\n")
    print("| what | median | range | n |\n| --- | ---: | ---: | ---: |")
    print(row("first reading", first, "s", 1))
    print(row("from the cache", cached, "s", 1))
    print(row("augment a batch of 128", changed, "ms", 1000))
    print(row("normalise a batch of 128", inputs, "ms", 1000))


if __name__ == "__main__":
    main()
