"""Why adopted weights are no better than guessing: other statistics, or another order of the classes?"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from bench.contracts import Dataset, Silence
from bench.data.transforms import Statistics
from bench.evaluation import predict, score
from bench.stats.intervals import above_chance, mcnemar

TRIED = 300  # test images
SURE = 1e-3  # p-value under which a difference is believed
SWAPPED = "the other order of colours"
CLEAR = 0.25  # of the images: so many more right under another order of the classes are no accident


# What training scripts normalise with, under the name a reader knows it by.
COMMON: Mapping[str, Statistics] = MappingProxyType(
    {
        "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "CIFAR-10's, with deviations of single images": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        "CIFAR-100's": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
        "one half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "those of handwritten digits": ((0.1307, 0.1307, 0.1307), (0.3081, 0.3081, 0.3081)),
        "none, pixels in 0..1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        "none, pixels in 0..255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    }
)


@dataclass(frozen=True)
class Fit:
    """One way to look at the images, and how many of them are right so.

    Attributes:
        order: the data's class that each output answers best for, by output; None for the order as it is.
        bgr: the colours are in the other order than those in use.
    """

    name: str
    statistics: Statistics
    right: int
    total: int
    order: tuple[int, ...] | None = None
    bgr: bool = False


def at_chance(correct: int, total: int, labels: Tensor) -> bool:
    """Whether that many right are no more than naming the largest class would give (one-sided binomial test)."""
    share = float(labels.bincount().max()) / len(labels)
    return above_chance(correct, total, share) >= SURE


def better_fit(model: nn.Module, data: Dataset, ids: Tensor, device: torch.device) -> Fit | None:
    """Statistics, else an order of the classes, with which clearly more images are right; None where there is none.

    Args:
        model: on `device`, gives logits (N, K).
        data: its mean and std are those in use; its labels number the model's outputs.
        ids: test images to try it on, such as the first TRIED of the fixed order.
    """
    images, labels = data.test.images[ids], data.test.labels[ids]
    ways = {"as it is": (data.mean, data.std), **COMMON}
    answers = {
        name: predict(model, images, statistics, device=device, progress=Silence())[0]
        for name, statistics in ways.items()
    }
    own = ways["as it is"]
    swapped = (own[0][::-1], own[1][::-1])  # the statistics are those of the colours, wherever they stand
    answers[SWAPPED] = predict(model, images.flip(1), swapped, device=device, progress=Silence())[0]
    ways[SWAPPED] = own
    right = {name: logits.argmax(dim=1) == labels for name, logits in answers.items()}
    best = max(right, key=lambda name: int(right[name].sum()))
    used = right["as it is"]
    gained, lost = int((right[best] & ~used).sum()), int((used & ~right[best]).sum())
    fit = Fit(best, ways[best], int(right[best].sum()), len(ids), bgr=best == SWAPPED)
    other = _other_order(answers, ways, labels, fit.right)
    if other is not None or at_chance(fit.right, fit.total, labels):
        return other
    return fit if gained > lost and mcnemar(gained, lost) < SURE else None


def _other_order(
    answers: Mapping[str, Tensor], ways: Mapping[str, Statistics], labels: Tensor, used: int
) -> Fit | None:
    """The assignment of classes to outputs that makes most images right, if it is clearly more than `used`."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[attr-defined]

    fits = []
    for name, logits in answers.items():
        counts = torch.tensor(score(logits, labels).confusion)  # [true][output]
        classes, outputs = linear_sum_assignment(counts.numpy(), maximize=True)
        order = dict(zip(outputs.tolist(), classes.tolist(), strict=True))
        right = int(counts[torch.from_numpy(classes), torch.from_numpy(outputs)].sum())
        fits.append(
            Fit(name, ways[name], right, len(labels), tuple(order[each] for each in range(len(order))), name == SWAPPED)
        )
    best = max(fits, key=lambda fit: fit.right)
    guessing = int(labels.bincount().max())
    return best if best.right > max(used, guessing) + CLEAR * best.total else None


def probabilities_of(logits: Tensor) -> str:
    """What made probabilities of the logits (N, K): `softmax` or `sigmoid`; empty where they are none."""
    if not bool(((logits >= 0) & (logits <= 1)).all()):
        return ""
    return "softmax" if torch.allclose(logits.sum(1), logits.new_ones(len(logits)), atol=1e-3) else "sigmoid"
