"""The test set, once, with the plain forward: logits, and every count that a page shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.clock import Meter
from bench.contracts import Booleans, Floats, Integers, Progress
from bench.data.transforms import Statistics, prepare
from bench.memory import Room
from bench.modes import evaluating
from bench.schema.page import Average, CalibrationBin, ClassRow
from bench.schema.run import Results
from bench.stats.intervals import wilson

BATCH = 250
EVALUATE = "evaluate"
VIEWS = {"mirror": 2, "mirror and shifts": 6, "shifts": 3}  # forward passes an image
WORDS = {"mirror": "mirror average", "mirror and shifts": "mirror and shifts", "shifts": "shifts alone"}
FIGURES = {
    "mirror average": "accuracy_mirror",
    "mirror and shifts": "accuracy_shifts",
    "shifts alone": "accuracy_shifts",
}
AT_ONCE = 2**20  # logits that are looked at together
BINS = 15  # of equal width, as published figures have it


@dataclass(frozen=True)
class Scores:
    """What a set of logits says about a set of labels.

    Attributes:
        loss: mean cross entropy over all images, in nats, whatever the batch size was.
        correct, total: counts over all images.
        confusion: (K, K) counts, by true and predicted class.
    """

    loss: float
    correct: int
    total: int
    confusion: Integers

    @property
    def accuracy(self) -> float:
        """Share of the images that are right."""
        return self.correct / self.total


def score(logits: Tensor | Floats, labels: Tensor | Integers) -> Scores:
    """Loss and counts over a whole set, never a mean of means.

    Args:
        logits: (N, K).
        labels: (N,) int64.
    """
    logits, labels, classes = torch.as_tensor(logits), torch.as_tensor(labels), logits.shape[1]
    predicted, loss = logits.argmax(dim=1), 0.0
    counts = torch.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    # A sum over images: the mean of batch means counts the images of a smaller last batch more.
    for rows in in_blocks(*logits.shape):
        loss += functional.cross_entropy(logits[rows].double(), labels[rows], reduction="sum").item()
    return Scores(loss / len(labels), int(counts.diagonal().sum()), len(labels), counts.numpy())


def in_blocks(images: int, classes: int) -> Iterator[slice]:
    """Slices of images whose logits are looked at together, so that float64 copies of them stay small."""
    count = max(1, AT_ONCE // classes)
    return (slice(start, min(start + count, images)) for start in range(0, images, count))


def predict(
    model: nn.Module,
    images: Tensor,
    statistics: Statistics,
    *,
    device: torch.device,
    progress: Progress,
    room: Room | None = None,
) -> tuple[Tensor, float | None]:
    """Logits of images by the plain forward in eval mode and fp32; training flags are put back.

    Args:
        model: on `device`.
        images: (N, 3, H, W) uint8.
        statistics: mean and std the model was trained with.
        room: how many images fit at once, where that is known.

    Returns:
        logits (N, K) float32 on the CPU, and images a second.
    """
    meter, room = Meter(device), room or Room(progress)

    def answers(rows: slice) -> Tensor:
        with meter.lap(rows.stop - rows.start):
            return forward(model, images[rows], statistics, device)

    parts = []
    with evaluating(model), progress.track("evaluate", len(images)) as task:
        for part in room.batches(EVALUATE, len(images), BATCH, answers):
            parts.append(part)
            task.advance(len(part))
    return torch.cat(parts), meter.rate


def forward(model: nn.Module, images: Tensor, statistics: Statistics, device: torch.device) -> Tensor:
    """Logits (N, K) float32 on the CPU of one batch (N, 3, H, W) uint8."""
    logits: Tensor = model(prepare(images.to(device), statistics))
    return logits.float().cpu()


def class_rows(confusion: Integers | Sequence[Sequence[int]], classes: tuple[str, ...]) -> tuple[ClassRow, ...]:
    """The per-class table: how many of a class there are, how many are right, how often it was predicted."""
    counts = np.asarray(confusion)
    columns = (counts.diagonal().tolist(), counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist())
    return tuple(
        ClassRow(name, correct, total, predicted, wilson(correct, total))
        for name, correct, total, predicted in zip(classes, *columns, strict=False)
    )


def most_confused(confusion: Integers, count: int) -> tuple[tuple[int, int, int], ...]:
    """As `confused_pairs`, of a matrix (K, K) of many classes: (true class, predicted class, how often)."""
    errors = confusion - np.diag(confusion.diagonal())
    true, predicted = np.nonzero(errors)
    often = errors[true, predicted]
    order = np.lexsort((predicted, true, -often))[:count]
    return tuple(zip(true[order].tolist(), predicted[order].tolist(), often[order].tolist(), strict=True))


def averages_of(*, mirror: bool) -> tuple[str, ...]:
    """The averages that there are of a data set: where mirroring would change the class, shifts alone."""
    return ("mirror", "mirror and shifts") if mirror else ("shifts",)


def read_averages(results: Results, total: int) -> tuple[Average, ...]:
    """What a run's results say of `total` test images; counts that are missing or cannot be are left out."""
    counts = {name: results.averages[name].correct for name in VIEWS if name in results.averages}
    return tuple(
        Average(WORDS[name], wilson(correct, total), correct, VIEWS[name])
        for name, correct in counts.items()
        if 0 <= correct <= total
    )


def calibration_bins(confidence: Floats, right: Booleans, bins: int = BINS) -> tuple[CalibrationBin, ...]:
    """Images by their highest probability, in `bins` ranges of equal width over 0..1; empty ones are left out.

    Args:
        confidence: (N,) the highest probability of each image.
        right: (N,) whether it is that of the true class.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2; a range has its upper end.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for each in np.unique(place):
        inside = place == each
        total, correct, mean = int(inside.sum()), int(right[inside].sum()), float(confidence[inside].mean())
        interval = wilson(correct, total)
        found.append(CalibrationBin(total, correct, mean, interval.low, interval.high))
    return tuple(found)


def calibration_error(bins: tuple[CalibrationBin, ...]) -> float | None:
    """Expected calibration error: mean |share right - confidence| over images; None without any.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    total = sum(each.total for each in bins)
    return sum(abs(each.correct - each.total * each.confidence) for each in bins) / total if total else None


def calibration_floor(bins: tuple[CalibrationBin, ...]) -> float | None:
    """What the calibration error comes to on average of a model that is right just as often as it says; None as there.

    It is not 0: of few images the share that is right differs from any probability by chance. In each bin the number
    that is right is taken as binomial, whose mean absolute deviation is 2 m (1 - p) P(X = m), m the first whole
    number above n p.

    Source: De Moivre 1730; Johnson 1957, Biometrika 44, 532.
    """
    import scipy

    total = sum(each.total for each in bins)
    if not total:
        return None
    counts, shares = np.array([each.total for each in bins]), np.array([each.confidence for each in bins])
    first = np.floor(counts * shares) + 1
    return float((2 * first * (1 - shares) * scipy.stats.binom.pmf(first, counts, shares)).sum() / total)


def sureness(logits: Floats) -> tuple[Floats, Integers]:
    """(N,) the highest probability of each image by its logits (N, K), and (N,) its class."""
    sure = [softmax(logits[rows]).max(axis=1) for rows in in_blocks(*logits.shape)]
    return np.concatenate(sure), logits.argmax(axis=1)


def softmax(logits: Floats) -> Floats:
    """Probabilities (..., K) of logits (..., K)."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))  # at most 1, so nothing overflows
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares
