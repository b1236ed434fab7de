"""Why three nets of the same arithmetic differ in speed: what overwrites its input moves less memory.

python benchmarks/inplace.py --write docs/results.md

The three models as they are, and the hand-written one with every ReLU and every sum of a block in place, in turns. With
them it gives the same logits, bit for bit, and should be as fast as the other two.
"""

from __future__ import annotations

import argparse
import copy
import types
from collections.abc import Callable
from pathlib import Path

import torch
from tables import table, write_between
from torch import Tensor, nn

from bench.machine import choose_device, describe_device, versions
from bench.schema.timing import Sample
from bench.stats.rates import by_round, interval_words, median, median_interval, number_words, ratio_interval, verdict
from bench.timing.arms import batch_of
from bench.timing.environment import others_share, ticks
from bench.timing.rounds import play, taker, warm_up
from bench.timing.suite import find_subjects
from bench.workspace import Workspace

MODELS = ("cifar_resnet18", "timm_resnet18", "torchvision_resnet18")
OWN = MODELS[0]
CHANGED = f"{OWN}, all in place"


def in_place(net: nn.Module) -> nn.Module:
    """A copy of the hand-written net whose ReLUs and sums overwrite their input."""
    changed = copy.deepcopy(net)
    for module in changed.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
        if type(module).__name__ == "BasicBlock":
            module.forward = types.MethodType(_summed_in_place, module)  # type: ignore[method-assign]
    return changed


def _summed_in_place(self: nn.Module, x: Tensor) -> Tensor:
    residual = self.relu1(self.bn1(self.conv1(x)))
    residual = self.bn2(self.conv2(residual))
    residual += self.shortcut(x)
    output: Tensor = self.relu2(residual)
    return output


def answering(net: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    """A forward pass without gradients."""

    def work() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = net(images)
            return logits

    return work


def row(name: str, samples: list[Sample], batch: int) -> list[str]:
    """A line of the table: rate with its interval, ratio to the hand-written net with its own."""
    seconds, base = by_round(samples, name), by_round(samples, OWN)
    rates = [batch / each for each in seconds]
    held = median_interval(rates)
    low, high = (held.low, held.high) if held else (None, None)
    ratios = [other / own for own, other in zip(seconds, base, strict=True)]
    found = ratio_interval(ratios)
    told = "baseline"
    if name != OWN and found:
        value = number_words(median(ratios), found.low, found.high)
        told = f"{value}× ({verdict(found)}), {interval_words(median(ratios), found.low, found.high)}"
    return [f"`{name}`", number_words(median(rates), low, high), interval_words(median(rates), low, high), told]


def figures(options: argparse.Namespace) -> str:
    """The table, with the machine and how busy it was."""
    device = choose_device(options.device)
    subjects = find_subjects(MODELS, (), Workspace(), device)
    images = batch_of(options.batch_size, 32, device)
    nets = {name: subjects[name].net for name in MODELS}
    nets[CHANGED] = in_place(nets[OWN])
    with torch.inference_mode():
        if not torch.equal(nets[OWN](images), nets[CHANGED](images)):
            raise SystemExit("in place the net gives other logits: nothing is explained")
    works = {name: answering(net, images) for name, net in nets.items()}
    take = taker(options.block)
    for name, work in works.items():
        warm_up(name, work, take)
    before = ticks()
    samples = list(play(works, options.rounds, take))
    others = others_share(before, ticks())
    numbers = ", ".join(f"{name} {number}" for name, number in versions().items() if name in ("python", "torch"))
    head = (
        f"{describe_device(device)}; {numbers}; forward passes, batch {options.batch_size}, channels_last, fp32, "
        f"{options.rounds} rounds. Others took {'–' if others is None else f'{others:.0%}'} of the machine meanwhile."
    )
    heads = ["what", "images/s", "interval", "against the first"]
    return f"{head}\n\n{table(heads, [row(name, samples, options.batch_size) for name in works], {'what'})}"


def main() -> None:
    """Print the table, and put it into a file where one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--block", type=float, default=0.3, help="seconds of a block")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", type=Path, help="put the table between its marks in this file")
    options = parser.parse_args()
    text = figures(options)
    print(text)
    if options.write:
        write_between(options.write, "inplace", text)


if __name__ == "__main__":
    main()
