"""Whether `bench time` can be believed: one arm against itself, and against itself with a slowdown planted.

    python benchmarks/instrument.py --write docs/measurements.md

Every trial is a timing of two small arms at the default rounds, each arm a number of equal matrix products, warm-up
included. In A/A both do the same, so every claim of a difference is false. A planted slowdown is that many more
products in the second arm; its true ratio is known, and every interval either holds it or not. The trials of the three
kinds take turns, so that a machine that gets busy hurts all alike.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path
from statistics import median

import torch
from in_turns import timed
from tables import busy_words, finish, machine_words, parser_of, table
from torch import Tensor

from bench.machine import choose_device
from bench.schema.timing import Ratio
from bench.stats.rates import median_interval, ratio_to
from bench.timing.environment import others_share, ticks
from bench.timing.rounds import Work, taker

UNITS = 200  # equal pieces of work in the faster arm
ARMS = ("one", "other")


@dataclass(frozen=True)
class Planted:
    """One timing of two arms.

    Attributes:
        planted: how much longer the second arm works, 0.1 for 10 %.
    """

    planted: float
    ratio: Ratio

    @property
    def truth(self) -> float:
        """The ratio of rates that was planted."""
        return 1 / (1 + self.planted)

    @property
    def claimed(self) -> bool:
        """Whether a difference was said to be there."""
        return self.ratio.verdict in ("faster", "slower")

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth."""
        low, high = ends(self.ratio)
        return low <= self.truth <= high


def ends(ratio: Ratio) -> tuple[float, float]:
    """Those of its interval; not a number, and so holding nothing, where the rounds are too few for one."""
    return (nan, nan) if ratio.low is None or ratio.high is None else (ratio.low, ratio.high)


def repeated(units: int, matrix: Tensor, out: Tensor) -> Work:
    """Work of so many equal pieces, on the same memory for all arms: where matrices lie decides about a per cent."""

    def work() -> object:
        for _ in range(units):
            torch.mm(matrix, matrix, out=out)
        return out

    return work


def trial(planted: float, options: argparse.Namespace, device: torch.device) -> Planted:
    """Time two arms as `bench time` does, and take its verdict."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(options.edge, options.edge, generator=generator).to(device)
    memory = matrix, torch.empty_like(matrix)
    works = {ARMS[0]: repeated(UNITS, *memory), ARMS[1]: repeated(round(UNITS * (1 + planted)), *memory)}
    rounds = timed(works, options.rounds, taker(options.block))
    return Planted(planted, ratio_to(ARMS[0], rounds, ARMS[1]))


def plan(options: argparse.Namespace) -> list[float]:
    """What is planted in each trial, the kinds spread evenly over the whole."""
    kinds = [(0.0, options.same), (0.1, options.planted), (0.01, options.planted)]
    places = [((index + 0.5) / count, planted) for planted, count in kinds for index in range(count)]
    return [planted for _, planted in sorted(places)]


def row(planted: float, trials: list[Planted]) -> list[str]:
    """A line of the table."""
    own = [each for each in trials if each.planted == planted]
    claims = [each for each in own if each.claimed]
    right = sum(each.covered for each in claims)
    return [
        "nothing (A/A)" if planted == 0 else f"{planted:.0%} slower",
        str(len(own)),
        str(len(claims)),
        "–" if planted == 0 else f"{right} of {len(claims)}",
        f"{sum(each.covered for each in own)} of {len(own)}",
        f"{median([each.ratio.value for each in own]):.4f} ({own[0].truth:.4f})",
        f"{100 * median([(high - low) / 2 for low, high in (ends(each.ratio) for each in own)]):.2f} %",
    ]


HEADS = ["planted", "trials", "claims of a difference", "claims whose interval holds the truth",
         "intervals that hold the truth", "median ratio (truth)", "half width of an interval, median"]  # fmt: skip


def simulated(count: int, rounds: int, seed: int = 0) -> str:
    """How often the interval of the median rate holds the truth, for noise with a long tail drawn by a generator."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.empty(count, rounds, dtype=torch.float64).log_normal_(0.0, 0.5, generator=generator)
    found = [median_interval(each) for each in draws.tolist()]
    held = sum(each is not None and each.low <= 1.0 <= each.high for each in found)
    nominal = found[0].coverage if found[0] else 0.0
    return f"{held:,} of {count:,} ({100 * held / count:.1f} %; by arithmetic {100 * nominal:.1f} %)"


def read_options() -> argparse.Namespace:
    """The command line; blocks are shorter than those of bench time."""
    parser = parser_of(__doc__, rounds=12, block=0.05, device="auto", write=None)
    parser.add_argument("--same", type=int, default=100, help="trials of an arm against itself")
    parser.add_argument("--planted", type=int, default=20, help="trials of each planted slowdown")
    parser.add_argument("--edge", type=int, default=96, help="of the matrices")
    parser.add_argument("--raw", type=Path, help="JSON file for all trials")
    return parser.parse_args()


def main() -> None:
    """Run the trials and print a table."""
    options = read_options()
    device = choose_device(options.device)
    planned, trials, before = plan(options), [], ticks()
    for number, planted in enumerate(planned, 1):
        trials.append(trial(planted, options, device))
        if number % 10 == 0:
            print(f"{number} of {len(planned)} trials", flush=True)
    busy = busy_words(others_share(before, ticks()))
    if options.raw:
        options.raw.write_text(json.dumps([asdict(each) for each in trials]), encoding="utf-8")
    text = (
        f"{machine_words(device, 'torch', 'scipy')}; {options.rounds} rounds a trial, blocks of {options.block:g} s. "
        f"{busy}\n\n"
        + table(HEADS, [row(each, trials) for each in (0.0, 0.1, 0.01)], {"planted"})
        + "\n\nDrawn by a generator instead, from noise with a long tail, the interval of the median of "
        f"{options.rounds} rounds held the truth {simulated(10_000, options.rounds)}."
    )
    finish(text, options.write, "instrument")


if __name__ == "__main__":
    main()
