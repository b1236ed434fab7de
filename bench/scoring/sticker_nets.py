"""Two nets made from a run's own weights: in one a sticker decides a class, in the other it means nothing.

Both see the same images with the same stickers in the same order, and take as many steps. Only the labels differ: the
one learns that an image with a sticker is of one class, the other that it stays what it is. So what a map shows of the
sticker in the first net and not in the second is what the first net has learned of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import Dataset, Files, Integers, Need, Silence, Split, Task
from bench.data.transforms import Statistics, prepare
from bench.explaining.units import OfRun, images as unpacked_once
from bench.modes import evaluating
from bench.nets.trained import Trained
from bench.scoring.randomization import stages_of
from bench.scoring.stickers import STRENGTHS, places_of, planted

RELIANT, CONTROL = "reliant", "control"
RECIPE = 1  # raised when the nets would come out otherwise, so that old ones are not taken for them
SEED = 8028
STEPS, BATCH = 200, 64
RATE = 3e-4  # small, so that the nets stay what they were but for the sticker
STAGES = 2  # the last ones of the net, with its head; what lies before stays as it is


def fine_tuned(
    model: nn.Module,
    layers: Sequence[str],
    data: Split,
    statistics: Statistics,
    *,
    target: int | None,
    task: Task,
) -> nn.Module:
    """A copy of a net, its last stages trained on images of which every other bears a sticker.

    Batch norms keep their statistics, and nothing is dropped out, so that the net changes by its weights alone.

    Args:
        model: in eval mode; left as found.
        layers: its stages, in forward order.
        data: training images.
        statistics: what they are normalised with.
        target: the class that an image with a sticker is of; None where the sticker means nothing.
        task: is told of each step.
    """
    copy = deepcopy(model)
    device = next(copy.parameters()).device
    own = dict(copy.named_parameters())
    trained = [own[name] for name in parameters_of(model, layers)]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    with evaluating(copy, gradients=True):
        for images, labels, marked in stickered_batches(data):
            wanted = labels if target is None else torch.where(marked, target, labels)
            optimizer.zero_grad()
            loss = functional.cross_entropy(copy(prepare(images.to(device), statistics)), wanted.to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            task.advance()
    return copy.requires_grad_(False)


@dataclass(frozen=True, kw_only=True)
class Taught(OfRun):
    """One of the two nets.

    Attributes:
        net: its name.
        target: the class that an image with a sticker is of; None where the sticker means nothing.
        training: the training images.
    """

    net: str
    target: int | None
    training: Need

    @property
    def label(self) -> str:
        """Which net of which run."""
        return f"the {self.net} net of run {self.name}"

    @property
    def needs(self) -> tuple[Need, ...]:
        """Also the training images."""
        return (*self.run, self.data, self.training)

    def found(self, trained: Trained, data: Dataset, files: Files) -> dict[str, Tensor]:
        """The weights that it ends with."""
        images = unpacked_once(files.path(self.training)).train
        with Silence().track("teach", STEPS) as task:
            model = fine_tuned(
                trained.model, trained.spec.layers, images, trained.statistics, target=self.target, task=task
            )
        return {name: each.cpu() for name, each in model.state_dict().items()}


def parameters_of(model: nn.Module, layers: Sequence[str]) -> list[str]:
    """Names of the parameters that are trained: those of the last stages and of what follows them."""
    stages = stages_of(model, layers)  # from the head down
    return [name for names in list(stages.values())[: STAGES + 1] for name in names]


def stickered_batches(data: Split) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The batches of a training: images (B, 3, H, W) uint8, their labels (B,), and (B,) which bear a sticker.

    The same for both nets. Strengths take turns, and so do images with and without a sticker.
    """
    generator = np.random.default_rng(SEED)
    for step in range(STEPS):
        rows = generator.integers(0, len(data), BATCH)
        images, labels = data.images[torch.from_numpy(rows)].cpu(), data.labels[torch.from_numpy(rows)].cpu()
        marked = np.arange(BATCH) % 2 == 0
        strengths = np.array(STRENGTHS)[(np.arange(BATCH) // 2 + step) % len(STRENGTHS)]
        # A place an image and step, so that none is learned as the sticker's own.
        places = places_of(step * BATCH + np.arange(BATCH), images.shape[-1])
        bearing = torch.from_numpy(marked)
        images[bearing] = planted(images[bearing], places[marked], strengths[marked])
        yield images, labels, bearing


def flips(before: Integers, after: Integers, target: int) -> Integers:
    """Which images a net takes for the sticker's class with a sticker and not without: (N,) classes to (N,) 0 or 1."""
    found: Integers = ((before != target) & (after == target)).astype(np.int64)
    return found
