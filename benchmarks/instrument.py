"""Whether `bench time` can be believed: one arm against itself, and against itself with a slowdown planted.

    python benchmarks/instrument.py --write docs/results.md

Every trial is a timing of two small arms at the default rounds, each arm a number of equal matrix products, warm-up
included. In A/A both do the same, so every claim of a difference is false. A planted slowdown is that many more
products in the second arm; its true ratio is known, and every interval either holds it or not. The trials of the three
kinds take turns, so that a machine that gets busy hurts all alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tables import table, write_between
from torch import Tensor

from bench.machine import choose_device, describe_device, versions
from bench.schema.timing import Sample
from bench.stats.rates import by_round, median_interval, spread
from bench.timing.environment import others_share, ticks
from bench.timing.results import ratio_to
from bench.timing.rounds import play, taker, warm_up
from bench.timing.runner import ROUNDS

UNITS = 200  # equal pieces of work in the faster arm
ARMS = ("one", "other")


@dataclass(frozen=True)
class Trial:
    """One timing of two arms.

    Attributes:
        planted: how much longer the second arm works, 0.1 for 10 %.
    """

    planted: float
    value: float
    low: float
    high: float
    verdict: str
    spread: float

    @property
    def truth(self) -> float:
        """The ratio of rates that was planted."""
        return 1 / (1 + self.planted)

    @property
    def claimed(self) -> bool:
        """Whether a difference was said to be there."""
        return self.verdict in ("faster", "slower")

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth."""
        return self.low <= self.truth <= self.high


def repeated(units: int, matrix: Tensor, out: Tensor) -> Callable[[], object]:
    """Work of so many equal pieces, on the same memory for all arms: where matrices lie decides about a per cent."""

    def work() -> object:
        for _ in range(units):
            torch.mm(matrix, matrix, out=out)
        return out

    return work


def trial(planted: float, options: argparse.Namespace, device: torch.device) -> Trial:
    """Time two arms as `bench time` does, and take its verdict."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(options.edge, options.edge, generator=generator).to(device)
    memory = matrix, torch.empty_like(matrix)
    works = {ARMS[0]: repeated(UNITS, *memory), ARMS[1]: repeated(round(UNITS * (1 + planted)), *memory)}
    take = taker(options.block)
    for name, work in works.items():
        warm_up(name, work, take)
    samples: list[Sample] = list(play(works, options.rounds, take))
    seconds = by_round(samples, ARMS[1])
    found = ratio_to(ARMS[0], seconds, samples)
    low, high = (float("nan") if each is None else each for each in (found.low, found.high))
    return Trial(planted, found.value, low, high, found.verdict, spread(seconds))


def plan(options: argparse.Namespace) -> list[float]:
    """What is planted in each trial, the kinds spread evenly over the whole."""
    kinds = [(0.0, options.same), (0.1, options.planted), (0.01, options.planted)]
    places = [((index + 0.5) / count, planted) for planted, count in kinds for index in range(count)]
    return [planted for _, planted in sorted(places)]


def row(planted: float, trials: list[Trial]) -> list[str]:
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
        f"{statistics.median(each.value for each in own):.4f} ({own[0].truth:.4f})",
        f"{100 * statistics.median((each.high - each.low) / 2 for each in own):.2f} %",
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
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--same", type=int, default=100, help="trials of an arm against itself")
    parser.add_argument("--planted", type=int, default=20, help="trials of each planted slowdown")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--block", type=float, default=0.05, help="seconds of a block; bench time takes 0.2")
    parser.add_argument("--edge", type=int, default=96, help="of the matrices")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--raw", type=Path, help="JSON file for all trials")
    parser.add_argument("--write", type=Path)
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
    others = others_share(before, ticks())
    if options.raw:
        options.raw.write_text(json.dumps([asdict(each) for each in trials]), encoding="utf-8")
    told = ", ".join(f"{name} {number}" for name, number in versions(("torch", "scipy")).items())
    rest = "" if others is None else f" Others took {others:.0%} of the machine meanwhile."
    text = (
        f"{describe_device(device)}; {told}; {options.rounds} rounds a trial, blocks of {options.block:g} s.{rest}\n\n"
        + table(HEADS, [row(each, trials) for each in (0.0, 0.1, 0.01)], {"planted"})
        + "\n\nDrawn by a generator instead, from noise with a long tail, the interval of the median of "
        f"{options.rounds} rounds held the truth {simulated(10_000, options.rounds)}."
    )
    print(text)
    if options.write:
        write_between(options.write, "instrument", text)


if __name__ == "__main__":
    main()
