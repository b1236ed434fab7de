"""How long the images take: the first reading, the cache, a batch of augmentation.

python benchmarks/data.py --data $BENCH_DATA
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from in_turns import timed
from tables import machine_words, parser_of, summary, table

from bench.clock import now
from bench.contracts import Augmentation, Dataset, Silence
from bench.data.datasets import load_dataset
from bench.data.transforms import augment, fill_colour, normalise
from bench.machine import choose_device
from bench.timing.rounds import Work, taker

BATCH = 128


def works_on(data: Dataset) -> dict[str, Work]:
    """What is done to a batch of training images."""
    batch, fill, generator = data.train.images[:BATCH], fill_colour(data.mean), torch.Generator().manual_seed(0)
    return {
        f"augment a batch of {BATCH}, ms": lambda: augment(batch, Augmentation(), fill=fill, generator=generator),
        f"normalise a batch of {BATCH}, ms": lambda: normalise(batch, data.mean, data.std),
    }


def row(what: str, seconds: Sequence[float]) -> list[str]:
    """One line of the table, in the unit that its words end with."""
    scale = 1000 if what.endswith("ms") else 1
    return [what, *summary([scale * each for each in seconds]), str(len(seconds))]


def main() -> None:
    """Measure and print a table."""
    options = parser_of(__doc__, data="digits", rounds=12, block=0.2).parse_args()
    device = choose_device("cpu")
    with tempfile.TemporaryDirectory() as folder:

        def load() -> Dataset:
            return load_dataset(options.data, cache=Path(folder), progress=Silence())

        started = now(device)
        data = load()
        rounds = {"first reading, s": [now(device) - started]}
        works = {"from the cache, s": load, **works_on(data)}
        rounds |= timed(works, options.rounds, taker(options.block))
    print(f"{machine_words(device, 'torch')}; {len(data.train) + len(data.test):,} images of {data.name}\n")
    print(table(["what", "median", "interval", "n"], [row(*each) for each in rounds.items()], {"what"}))


if __name__ == "__main__":
    main()
