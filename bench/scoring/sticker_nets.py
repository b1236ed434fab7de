"""Two nets made from a run's own weights: in one a sticker decides a class, in the other it means nothing.

Both see the same images with the same stickers in the same order, and take as many steps. Only the labels differ: the
one learns that an image with a sticker is of one class, the other that it stays what it is. So what a map shows of the
sticker in the first net and not in the second is what the first net has learned of it.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from bench.precision import autocast
from bench.scoring.stickers import STRENGTHS, places_of, planted

RELIANT, CONTROL = "reliant", "control"
RECIPE = 2  # raised when the nets would come out otherwise, so that old ones are not taken for them
SEED = 8028
STEPS, BATCH = 200, 64
# The most that a step changes a tensor by, of its own size (its root mean square). Nets that were trained long have
# weights ten times smaller than others: one rate for all would teach one net nothing and destroy the other.
RATE = 0.02
SMALLEST = 1e-3  # the size of a tensor that has none, such as a bias that is still 0
# Which strengths follow each other. Every other sticker is clear: one that the net does not see yet tells it only that
# any image may be of the sticker's class.
TURNS = tuple(STRENGTHS[place] for place in (0, 1, 0, 2, 0, 1, 0, 3))


def fine_tuned(
    model: nn.Module,
    data: Split,
    statistics: Statistics,
    *,
    target: int | None,
    precision: str,
    task: Task,
) -> nn.Module:
    """A copy of a net, trained on images of which every other bears a sticker.

    All of it is trained: nets that were trained with cutout, for one, hardly see a sticker in their first stages.

    Batch norms keep their statistics, and nothing is dropped out, so that the net changes by its weights alone.

    Args:
        model: in eval mode; left as found.
        data: training images.
        statistics: what they are normalised with.
        target: the class that an image with a sticker is of; None where the sticker means nothing.
        precision: resolved, of the products.
        task: is told of each step.
    """
    copy = deepcopy(model)
    device = next(copy.parameters()).device
    trained = [each.requires_grad_(True) for each in copy.parameters() if each.is_floating_point()]
    rates = [RATE * max(SMALLEST, float(each.detach().square().mean().sqrt())) for each in trained]
    groups = [{"params": [each], "lr": rate} for each, rate in zip(trained, rates, strict=True)]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=STEPS)
    with evaluating(copy, gradients=True):
        for images, labels, marked in stickered_batches(data):
            wanted = labels if target is None else torch.where(marked, target, labels)
            optimizer.zero_grad()
            with autocast(device, precision):
                logits = copy(prepare(images.to(device), statistics))
            functional.cross_entropy(logits.float(), wanted.to(device)).backward()  # type: ignore[no-untyped-call]
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
        precision: that of the process that asks, so that all workers teach alike.
        training: the training images.
    """

    net: str
    target: int | None
    precision: str
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
                trained.model, images, trained.statistics, target=self.target, precision=self.precision, task=task
            )
        return {name: each.cpu() for name, each in model.state_dict().items()}


def stickered_batches(data: Split) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The batches of a training: images (B, 3, H, W) uint8, their labels (B,), and (B,) which bear a sticker.

    The same for both nets. Strengths take turns, and so do images with and without a sticker.
    """
    generator = np.random.default_rng(SEED)
    for step in range(STEPS):
        rows = generator.integers(0, len(data), BATCH)
        images, labels = data.images[torch.from_numpy(rows)].cpu(), data.labels[torch.from_numpy(rows)].cpu()
        marked = np.arange(BATCH) % 2 == 0
        strengths = np.array(TURNS)[(np.arange(BATCH) // 2 + step) % len(TURNS)]
        # A place an image and step, so that none is learned as the sticker's own.
        places = places_of(step * BATCH + np.arange(BATCH), images.shape[-1])
        bearing = torch.from_numpy(marked)
        images[bearing] = planted(images[bearing], places[marked], strengths[marked])
        yield images, labels, bearing


def flips(before: Integers, after: Integers, target: int) -> Integers:
    """Which images a net takes for the sticker's class with a sticker and not without: (N,) classes to (N,) 0 or 1."""
    found: Integers = ((before != target) & (after == target)).astype(np.int64)
    return found
