"""The test set, once, with the plain forward: logits, and every count that a page shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bench.data.augment import normalise
from bench.errors import UsageError
from bench.meter import Meter
from bench.stats import wilson
from bench.values.views import ClassRow

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.contracts import Progress

    Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]

BATCH = 250


@dataclass(frozen=True)
class Scores:
    """What a set of logits says about a set of labels.

    Attributes:
        loss: mean cross entropy over all images, in nats, whatever the batch size was.
        correct, total: counts over all images.
        confusion: confusion[true][predicted] counts.
    """

    loss: float
    correct: int
    total: int
    confusion: tuple[tuple[int, ...], ...]

    @property
    def accuracy(self) -> float:
        """Share of the images that are right."""
        return self.correct / self.total


def score(logits: Tensor, labels: Tensor) -> Scores:
    """Loss and counts over a whole set, never a mean of means.

    Args:
        logits: (N, K).
        labels: (N,) int64.
    """
    classes = logits.shape[1]
    predicted = logits.argmax(dim=1)
    counts = torch.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    loss = functional.cross_entropy(logits.double(), labels, reduction="sum").item() / len(labels)
    rows = tuple(tuple(int(count) for count in row) for row in counts.tolist())
    return Scores(loss, int(counts.diagonal().sum()), len(labels), rows)


def predict(
    model: nn.Module, images: Tensor, statistics: Statistics, *, device: torch.device, progress: Progress
) -> tuple[Tensor, float | None]:
    """Logits of images by the plain forward in eval mode and fp32; training flags are put back.

    Args:
        model: on `device`.
        images: (N, 3, H, W) uint8.
        statistics: mean and std the model was trained with.

    Returns:
        logits (N, K) float32 on the CPU, and images a second.
    """
    meter, parts = Meter(device), []
    with evaluating(model), progress.track("evaluate", len(images)) as task:
        for batch in torch.split(images, BATCH):
            with meter.lap(len(batch)):
                parts.append(forward(model, batch, statistics, device))
            task.advance(len(batch))
    return torch.cat(parts), meter.rate


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; training flags are put back as they were, module by module."""
    flags = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, flag in flags.items():
            module.training = flag


def forward(model: nn.Module, images: Tensor, statistics: Statistics, device: torch.device) -> Tensor:
    """Logits (N, K) float32 on the CPU of one batch (N, 3, H, W) uint8."""
    logits: Tensor = model(prepare(images.to(device), statistics))
    return logits.float().cpu()


def prepare(images: Tensor, statistics: Statistics) -> Tensor:
    """What the model sees of (N, 3, H, W) uint8: normalised float32, channels last."""
    mean, std = statistics
    return normalise(images, mean, std).contiguous(memory_format=torch.channels_last)


def class_rows(confusion: tuple[tuple[int, ...], ...], classes: tuple[str, ...]) -> tuple[ClassRow, ...]:
    """The per-class table: how many of a class there are, how many are right, how often it was predicted."""
    return tuple(
        ClassRow(
            name=name,
            correct=confusion[index][index],
            total=sum(confusion[index]),
            predicted=sum(row[index] for row in confusion),
            recall=wilson(confusion[index][index], sum(confusion[index])),
        )
        for index, name in enumerate(classes)
    )


def confused_pairs(confusion: tuple[tuple[int, ...], ...], count: int = 8) -> list[tuple[int, int, int]]:
    """The most confused pairs as (true class, predicted class, how often), most frequent first."""
    pairs = [
        (true, predicted, errors)
        for true, row in enumerate(confusion)
        for predicted, errors in enumerate(row)
        if true != predicted and errors
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))[:count]


def broken_threshold(expression: str, metrics: Mapping[str, float]) -> str:
    """Whether `NAME < NUMBER` (or `>`) holds: words that say so, or nothing.

    Args:
        expression: such as "accuracy < 0.92".
        metrics: the names that may be used.

    Raises:
        UsageError: the expression is of another form or names something else.
    """
    parts = expression.split()
    if len(parts) != 3 or parts[1] not in ("<", ">") or parts[0] not in metrics:
        raise UsageError(
            f"cannot read the threshold '{expression}'", try_=f'"accuracy < 0.92"; names: {", ".join(sorted(metrics))}'
        )
    try:
        limit = float(parts[2])
    except ValueError:
        raise UsageError(f"'{parts[2]}' is not a number", try_='"accuracy < 0.92"') from None
    value = metrics[parts[0]]
    holds = value < limit if parts[1] == "<" else value > limit
    return f"{parts[0]} is {value:.4f}, {parts[1]} {limit:g}" if holds else ""
