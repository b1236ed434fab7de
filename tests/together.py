"""What torchrun starts for test_team: nets of a FILE.py, and a training by the loop alone whose numbers are float64."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny import BUSY, CPU, TinyNet, tiny_data
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import ModelSpec, Silence
from bench.schema.page import EpochPoint
from bench.training.loop import TrainSettings, train_model
from bench.training.team import Team, formed

LAYERS = ("layer3", "layer4")


class Grouped(TinyNet):
    """Without batch norms, so that an image's logits do not depend on the other images; in float64."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.layer3[1], self.layer4[1] = nn.GroupNorm(2, 8), nn.GroupNorm(4, 16)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float32 to (N, num_classes) float64."""
        return super().forward(x.double())


class Spare(Grouped):
    """With a layer that nothing goes through."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.spare = nn.Linear(4, 4).double()


class Slow(TinyNet):
    """With batch norms and dropout, and steps as long as a test wants them, to end it between two."""

    def forward(self, x: Tensor) -> Tensor:
        """As the tiny net."""
        if self.training:
            time.sleep(float(os.environ.get("STEP_OF_TEST", "0")))
        features = self.layer4(self.layer3(x)).mean(dim=(2, 3))
        logits: Tensor = self.fc(functional.dropout(features, 0.2, self.training))
        return logits


class Broken(Slow):
    """Fails in the second process alone, once the first epoch is in the log."""

    def forward(self, x: Tensor) -> Tensor:
        """As the slow net."""
        log = Path(os.environ["LOG_OF_TEST"])
        if os.environ.get("RANK") == "1" and log.exists() and log.stat().st_size:
            raise ValueError("this part cannot be computed")
        return super().forward(x)


class Certain(TinyNet):
    """Gives probabilities, which a guard rail refuses."""

    def forward(self, x: Tensor) -> Tensor:
        """As the tiny net."""
        return super().forward(x).softmax(dim=1)


if "RANK" in os.environ:  # dropout draws from torch's own generator, which begins anywhere
    torch.default_generator.manual_seed(5)
SLOW, BROKEN, CERTAIN = (
    ModelSpec(name=net.__name__.lower(), build=net, layers=LAYERS, source="tests") for net in (Slow, Broken, Certain)
)


def trained(net: nn.Module, batch_size: int, team: Team) -> tuple[dict[str, Tensor], list[EpochPoint]]:
    """The weights and the curve of a training with every ingredient that needs no batch norm."""
    recipe = replace(BUSY, batch_size=batch_size, zero_init=False)
    points: list[EpochPoint] = []
    settings = TrainSettings(recipe, val=0.25, team=team)
    data = replace(tiny_data(), mirror=True)
    train_model(net, data, settings, device=CPU, progress=Silence(), on_epoch=points.append)
    return net.state_dict(), points


def every_training(team: Team) -> dict[str, Any]:
    """Parts that are equal, parts that are not, and a layer without gradients: weights and losses of each."""
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]  # the loss is taken in float64 then, too
    found = {}
    for name, kind, batch_size in (("equal", Grouped, 16), ("unequal", Grouped, 13), ("spare", Spare, 16)):
        torch.default_generator.manual_seed(team.rank)  # only the first one's weights may count
        weights, points = trained(kind(4), batch_size, team)
        found[name] = {
            "weights": weights,
            "curve": [[each.train_loss, each.train_accuracy, each.val_loss, each.val_accuracy] for each in points],
        }
    return found


def main() -> None:
    """Train as one of a team; the first process writes what came out."""
    torch.set_num_threads(1)
    with formed() as team:
        found = every_training(team)
    if team.first:
        torch.save(found, sys.argv[1])


if __name__ == "__main__":
    main()
