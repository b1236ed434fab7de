"""Guard rails: figures that no training that works can show end the run, and say which and why."""

import math

import torch
from torch import Tensor

from bench.errors import GuardRailError
from bench.stats.intervals import above_chance

# Nats around ln(K) in which an untrained classifier's loss lies. Label smoothing leaves it there: a smoothed label
# still sums to 1, and where all logits are alike the loss is ln(K) whatever the label.
FIRST_LOSS_BAND = 0.5
CHANCE_STEPS = 500  # before that many steps an honest run may still be near chance
CHANCE_P = 1e-3  # how often a net that learnt nothing passes


def check_logits(logits: Tensor, classes: int) -> None:
    """Refuse a model that gives another number of values than classes, probabilities or log-probabilities."""
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise GuardRailError(
            f"the model gives {tuple(logits.shape)} for a batch of {len(logits)}, "
            f"not ({len(logits)}, {classes}): one logit a class"
        )
    slack = max(1e-3, 2 * torch.finfo(logits.dtype).eps)  # bf16 rounds a probability near 1 by as much as 0.004
    values = logits.float()
    sums, floors = values.sum(dim=1), values.min()
    if floors >= 0 and torch.allclose(sums, torch.ones_like(sums), atol=slack):
        raise GuardRailError(
            "the model gives probabilities, not logits: cross entropy would apply softmax twice",
            try_="take the softmax out of the model",
        )
    # Softmax of log-probabilities gives the probabilities back, so training would work; what judges logits would not.
    if torch.allclose(values.logsumexp(dim=1), torch.zeros_like(sums), atol=slack):
        raise GuardRailError(
            "the model gives log-probabilities, not logits", try_="take the log_softmax out of the model"
        )


def check_first_loss(loss: float, classes: int, *, warm_start: bool) -> None:
    """An untrained classifier knows nothing: its first loss is near ln(K)."""
    expected = math.log(classes)
    if not warm_start and not abs(loss - expected) <= FIRST_LOSS_BAND:
        raise GuardRailError(
            f"the first loss is {loss:.3f}, an untrained classifier of {classes} classes has about "
            f"{expected:.3f}: the loss, the labels or the initialisation is wrong"
        )


def check_loss(loss: float, epoch: int, step: int) -> None:
    """A cross entropy is finite and never negative."""
    if not math.isfinite(loss):
        raise GuardRailError(f"the loss is {loss} in epoch {epoch + 1}, step {step + 1}", try_="a lower --lr")
    if loss < 0:
        raise GuardRailError(
            f"the loss is negative ({loss:.4g}) in epoch {epoch + 1}, step {step + 1}: "
            "a cross entropy cannot be, so this is not one"
        )


def check_chance(correct: int, total: int, share: float, *, steps_done: int) -> None:
    """After enough steps the training accuracy must be above the largest class's share (binomial, one-sided)."""
    if steps_done >= CHANCE_STEPS and above_chance(correct, total, share) >= CHANCE_P:
        raise GuardRailError(
            f"after {steps_done} steps the training accuracy is {correct / total:.1%}, "
            f"chance level ({share:.1%} is the largest class): the model learns nothing",
            try_="another --lr, or bench show data to look at the labels",
        )
