"""Guard rails: figures that no training that works can show end the run, and say which and why."""

import math
from copy import deepcopy

import torch
from torch import Tensor, nn

from bench.errors import ContractError, GuardRailError, in_one_line
from bench.stats.intervals import above_chance

# Nats around ln(K) in which an untrained classifier's loss lies. Label smoothing leaves it there: a smoothed label
# still sums to 1, and where all logits are alike the loss is ln(K) whatever the label.
FIRST_LOSS_BAND = 0.5
CHANCE_STEPS = 500  # before that many steps an honest run may still be near chance
SKIPS = 30  # in a row: the loss is then divided by thousands, and nothing overflows that its scale made
CHANCE_P = 1e-3  # how often a net that learnt nothing passes


def check_net(net: nn.Module, size: int, classes: int) -> None:
    """Refuse, before any time is spent, a net that cannot be trained or has no one answer to an image.

    Args:
        net: left as found: a copy is tried on two images of noise.
        size: pixels an edge.

    Raises:
        ContractError: its forward pass fails in training mode, gives no logits (N, K), or in eval mode other ones each
            time or beside other images; or no gradient reaches a parameter.
    """
    kind = type(net).__name__
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        images, copy = torch.randn(2, 3, size, size), deepcopy(net)
        answers, alone = [], images
        for mode in (False, False, True):
            copy.train(mode)
            try:
                answers.append(copy(images.clone()))  # which a model may write over
                alone = alone if mode else copy(images[:1].clone())
            except Exception as reason:  # a model of anybody's may fail in any way
                words = f"{kind} fails on two images in {'training' if mode else 'eval'} mode: {in_one_line(reason)}"
                raise ContractError(
                    words, try_="docs/bring-your-own.md, which shows what a model must take"
                ) from reason
            check_answer(answers[-1], kind, classes)
    once, again = (each.detach().nan_to_num() for each in answers[:2])
    if not torch.allclose(once, again, atol=1e-3 * float(once.abs().max())):
        raise ContractError(
            f"{kind} gives random answers: two passes over the same images give different logits in eval mode",
            try_="F.dropout(x, training=self.training), or nn.Dropout; noise only where self.training",
        )
    if not torch.allclose(once[:1], alone.detach().nan_to_num(), atol=1e-3 * float(once.abs().max())):
        raise ContractError(
            f"{kind} gives an image other logits alone than beside another one in eval mode: they depend on the batch",
            try_="means over the batch only where self.training, as in nn.BatchNorm2d",
        )
    if not any(each.requires_grad for each in net.parameters()):
        raise ContractError(
            f"{kind} has no parameter that could be trained: all are frozen, or there are none",
            try_="requires_grad_() on the parameters to train; for trained weights use bench adopt",
        )
    if not answers[2].requires_grad:
        raise ContractError(
            f"no gradient reaches a parameter of {kind}, as if under torch.no_grad() or after detach()",
            try_="a forward() that computes at least the last layer with gradients",
        )


def check_answer(answer: object, kind: str, classes: int) -> None:
    """ContractError for what is no logits (2, K) of two images."""
    if isinstance(answer, Tensor) and answer.shape == (2, classes):
        return
    what = f"{tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
    if isinstance(answer, dict):
        what += f" with {', '.join(map(repr, list(answer)[:6]))}"
    raise ContractError(
        f"{kind} gives {what} for two images, not (2, {classes}): one logit for each class",
        try_="logits as a tensor, first in a tuple, or as 'logits' in a dict",
    )


def check_logits(logits: Tensor, classes: int) -> None:
    """Refuse a model that gives another number of values than classes, probabilities or log-probabilities."""
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise GuardRailError(
            f"the model gives {tuple(logits.shape)} for a batch of {len(logits)}, "
            f"not ({len(logits)}, {classes}): one logit for each class"
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
        raise GuardRailError(
            f"the loss is {loss} in epoch {epoch + 1}, step {step + 1}",
            try_="a lower --lr, or --precision fp32 if it is fp16",
        )
    if loss < 0:
        raise GuardRailError(
            f"the loss is negative ({loss:.4g}) in epoch {epoch + 1}, step {step + 1}: "
            "a cross entropy is never negative, so this is another loss"
        )


def check_skips(skipped: int, epoch: int, steps: int) -> None:
    """So many halvings of a scaled loss end every overflow that its scale makes."""
    if skipped == steps >= SKIPS:
        raise GuardRailError(
            f"all {steps} steps of epoch {epoch + 1} were skipped, because their gradients overflow in fp16",
            try_="--precision fp32",
        )


def check_chance(correct: int, total: int, share: float, *, steps_done: int) -> None:
    """After enough steps the training accuracy must be above the largest class's share (binomial, one-sided)."""
    if steps_done >= CHANCE_STEPS and above_chance(correct, total, share) >= CHANCE_P:
        raise GuardRailError(
            f"after {steps_done} steps the training accuracy is {correct / total:.1%}, "
            f"chance level ({share:.1%} is the largest class): the model learns nothing",
            try_="another --lr, or bench show data to look at the labels",
        )
