"""The training loop, from top to bottom, with the guard rails that stop a run whose numbers cannot be right."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from bench.augment import augment, fill_colour
from bench.contracts import Silence
from bench.data import limit_balanced, split_validation
from bench.errors import DataError, GuardRailError, UsageError
from bench.evaluation import predict, prepare, score
from bench.meter import Meter, now
from bench.resuming import Forgetful, Keeper, Position, State
from bench.stats import above_chance
from bench.views import EpochPoint

if TYPE_CHECKING:
    from torch import Tensor

    from bench.contracts import Dataset, Progress
    from bench.recipes import Recipe

FIRST_LOSS_BAND = 0.5  # nats around ln(K) in which an untrained classifier's loss lies
CHANCE_STEPS = 500  # before that many steps an honest run may still be near chance
CHANCE_P = 1e-3
NOT_KEPT = Forgetful()
BACKWARD_COST = 3.0  # a training step costs three forward passes: forward, input gradients, weight gradients


@dataclass(frozen=True)
class TrainSettings:
    """One training.

    Attributes:
        recipe: how.
        seed: of the split, of the order and of the augmentation.
        val: share of the training images kept apart for the curves.
        limit: train on a class-balanced subset of this many images; None for all.
        warm_start: weights were loaded, so the first loss says nothing.
    """

    recipe: Recipe
    seed: int = 0
    val: float = 0.1
    limit: int | None = None
    warm_start: bool = False

    def __post_init__(self) -> None:
        """Refuse values that leave nothing to train on."""
        if not 0 <= self.val < 1:
            raise UsageError(f"val {self.val} is not a share", try_="--val 0.1, or --val 0 to train on everything")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit {self.limit} leaves no image", try_="--limit 10000")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed} is out of range", try_="--seed 0")


def train_model(
    model: nn.Module,
    data: Dataset,
    settings: TrainSettings,
    *,
    device: torch.device,
    progress: Progress,
    on_epoch: Callable[[EpochPoint], None] = lambda point: None,
    start: State | None = None,
    keeper: Keeper = NOT_KEPT,
) -> float | None:
    """Train a model in place; the test split is never looked at.

    Args:
        model: gives logits (N, K) for (N, 3, H, W).
        data: whose training split is used.
        on_epoch: called with the figures of each epoch.
        start: a state that `keeper` was given before; the training goes on from there as if it had never ended.
        keeper: is asked between steps, and given the state before the first epoch and after each.

    Returns:
        Training images a second over whole epochs, augmentation included.

    Raises:
        GuardRailError: the loss or the accuracy cannot be that of a training that works; says which and why.
        DataError: fewer images than a batch.
    """
    recipe, classes = settings.recipe, len(data.classes)
    train_ids, val_ids = choose_images(data, settings)
    images, labels = data.train.images[train_ids].to(device), data.train.labels[train_ids].to(device)
    steps, batch_size = steps_per_epoch(len(images), recipe.batch_size), recipe.batch_size
    augmentation = replace(recipe.augmentation, flip=recipe.augmentation.flip and data.mirror)
    order = torch.Generator().manual_seed(settings.seed)
    pixels = torch.Generator(device).manual_seed(settings.seed + 1)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    set_bn_momentum(model, recipe.bn_momentum)
    optimizer = make_optimizer(model, recipe, fused=device.type == "cuda")
    share = labels.bincount().max().item() / len(labels)
    fill, meter, look_every = fill_colour(data.mean).to(device), Meter(device), 50 if device.type == "cuda" else 1
    position = Position(model, optimizer, order, pixels, meter)
    position.restore(start) if start else keeper.keep(position.capture(0, steps))

    for epoch in range(start.epoch if start else 0, recipe.epochs):
        model.train()
        tally = position.begin(start if start and epoch == start.epoch else None)
        permutation = torch.randperm(len(images), generator=order).to(device)
        with progress.track(f"epoch {epoch + 1}/{recipe.epochs}", (steps - tally.step) * batch_size) as task:
            for step in range(tally.step, steps):
                rate = set_rate(optimizer, recipe.learning_rate(epoch * steps + step, steps * recipe.epochs))
                batch = permutation[step * batch_size : (step + 1) * batch_size]
                inputs = augment(images[batch], augmentation, fill=fill, generator=pixels)
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                    logits = model(prepare(inputs, (data.mean, data.std)))
                if epoch == step == 0:
                    check_logits(logits.detach(), classes)
                loss = functional.cross_entropy(logits.float(), labels[batch])
                if epoch == step == 0:
                    check_first_loss(loss.item(), classes, warm_start=settings.warm_start)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                tally.add(loss, logits, labels[batch])
                note = ""
                if step % look_every == look_every - 1:  # reading a value makes a GPU wait
                    check_loss(loss.item(), epoch, step)
                    note = f"loss {tally.loss:.3f}, accuracy {tally.right.item() / tally.seen:.1%}, lr {rate:.3f}"
                task.advance(batch_size, note)
                if keeper.due():
                    keeper.keep(position.capture(epoch, steps, tally))
        seen, right = tally.seen, int(tally.right)
        meter.add(seen, now(device) - tally.started)
        check_loss(tally.loss, epoch, steps)
        check_chance(right, seen, share, steps_done=(epoch + 1) * steps)
        val_loss, val_accuracy = validate(model, data, val_ids, device)
        speed, rate = seen / meter.laps[-1][1], optimizer.param_groups[0]["lr"]
        on_epoch(EpochPoint(epoch + 1, tally.loss, right / seen, val_loss, val_accuracy, speed, rate))
        keeper.keep(position.capture(epoch + 1, steps))
    return meter.rate


# --- the pieces of the loop --------------------------------------------------------------------------------


def choose_images(data: Dataset, settings: TrainSettings) -> tuple[Tensor, Tensor]:
    """Indices into the training split: those to train on and those kept apart, both stratified and seeded."""
    generator = torch.Generator().manual_seed(settings.seed)
    labels = data.train.labels
    chosen = torch.arange(len(labels))
    if settings.limit is not None and settings.limit < len(labels):
        chosen = limit_balanced(labels, settings.limit, generator)
    train, val = split_validation(labels[chosen], settings.val, generator)
    return chosen[train], chosen[val]


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches in an epoch; DataError where there is none."""
    if images < batch_size:
        raise DataError(
            f"{images} training images are fewer than a batch of {batch_size}",
            try_=f"--batch-size {max(2, images // 8)}",
        )
    return images // batch_size


def make_optimizer(model: nn.Module, recipe: Recipe, *, fused: bool) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters that want gradients."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=fused,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    """Set and give back the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def set_bn_momentum(model: nn.Module, momentum: float) -> None:
    """Let running statistics follow with this momentum (PyTorch's sense: the share of the new batch)."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum


def validate(model: nn.Module, data: Dataset, ids: Tensor, device: torch.device) -> tuple[float | None, float | None]:
    """Loss and accuracy on the images kept apart; None for both when there are none."""
    if len(ids) == 0:
        return None, None
    logits, _ = predict(model, data.train.images[ids], (data.mean, data.std), device=device, progress=Silence())
    scores = score(logits, data.train.labels[ids])
    check_loss(scores.loss, -1, 0)
    return scores.loss, scores.accuracy


# --- guard rails -------------------------------------------------------------------------------------------


def check_logits(logits: Tensor, classes: int) -> None:
    """Refuse a model that gives another number of values than classes, probabilities or log-probabilities."""
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise GuardRailError(
            f"the model gives {tuple(logits.shape)} for a batch of {len(logits)}, "
            f"not ({len(logits)}, {classes}): one logit a class"
        )
    values = logits.float()
    sums, floors = values.sum(dim=1), values.min()
    if floors >= 0 and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise GuardRailError(
            "the model gives probabilities, not logits: cross entropy would apply softmax twice",
            try_="take the softmax out of the model",
        )
    if torch.allclose(values.logsumexp(dim=1), torch.zeros_like(sums), atol=1e-3):
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


# --- how long it will take ---------------------------------------------------------------------------------


def estimated_seconds(flops_per_image: float, images: int, recipe: Recipe, rate: float) -> float:
    """What a training will take at 70 % of the device's matrix-product rate.

    Args:
        flops_per_image: of one forward pass.
        images: an epoch.
        rate: floating-point operations a second of a large matrix product.
    """
    return images * recipe.epochs * flops_per_image * BACKWARD_COST / (0.7 * rate)
