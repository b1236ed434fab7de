"""Why three nets of the same arithmetic differ in speed: what overwrites its input moves less memory.

python benchmarks/inplace.py --write docs/measurements.md

The three models as they are, and the hand-written one with every ReLU and every sum of a block in place, in turns. With
them it gives the same logits, bit for bit, and should be as fast as the other two.
"""

import argparse
import copy
import types
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from in_turns import timed
from tables import busy_words, finish, machine_words, parser_of, summary, table
from torch import Tensor, nn

from bench.commands.timing import find_subjects
from bench.machine import choose_device
from bench.pages.speeds import ratio_words
from bench.stats.rates import (
    ratio_to,
)
from bench.timing.arms import batch_of, forward_work
from bench.timing.environment import others_share, ticks
from bench.timing.rounds import taker
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
            module.forward = types.MethodType(_summed_in_place, module)
    return changed


def _summed_in_place(self: Any, x: Tensor) -> Tensor:  # noqa: ANN401 (a block of the net, by the names of its parts)
    residual = self.relu1(self.bn1(self.conv1(x)))
    residual = self.bn2(self.conv2(residual))
    residual += self.shortcut(x)
    output: Tensor = self.relu2(residual)
    return output


def row(name: str, rounds: Mapping[str, Sequence[float]], batch: int) -> list[str]:
    """A line of the table: rate with its interval, ratio to the hand-written net with its own."""
    against = None if name == OWN else ratio_to(OWN, rounds, name)
    return [f"`{name}`", *summary([batch / each for each in rounds[name]]), ratio_words(against)]


def figures(options: argparse.Namespace) -> str:
    """The table, with the machine and how busy it was."""
    device = choose_device(options.device)
    subjects = find_subjects(MODELS, (), Workspace(), device)
    images = batch_of(options.batch_size, 32, device)
    nets = {name: subjects[name].net for name in MODELS}
    nets[CHANGED] = in_place(nets[OWN])
    works = {name: forward_work(net, images) for name, net in nets.items()}
    if not torch.equal(nets[OWN](images), nets[CHANGED](images)):
        raise SystemExit("in place the net gives other logits: nothing is explained")
    before = ticks()
    rounds = timed(works, options.rounds, taker(options.block))
    head = (
        f"{machine_words(device, 'torch')}; forward passes, batch {options.batch_size}, channels_last, fp32, "
        f"{options.rounds} rounds. {busy_words(others_share(before, ticks()))}"
    )
    rows = [row(name, rounds, options.batch_size) for name in works]
    return f"{head}\n\n{table(['what', 'images/s', 'interval', 'against the first'], rows, {'what'})}"


def main() -> None:
    """Print the table, and put it into a file where one is named."""
    parser = parser_of(__doc__, rounds=30, block=0.3, device="auto", write=None)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    finish(figures(options), options.write, "inplace")


if __name__ == "__main__":
    main()
