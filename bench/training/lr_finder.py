"""The learning-rate range test: one short training whose rate grows from step to step, of a copy of the model.

Source: Smith 2015, arXiv:1506.01186, section 3.3; the suggestion is where the smoothed loss falls fastest.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import Dataset, Progress
from bench.errors import UsageError
from bench.modes import kernels_for_training
from bench.nets.weights import on_device
from bench.precision import autocast, resolved_precision
from bench.training.init import initialise
from bench.training.loader import Batches, placed
from bench.training.loop import TrainSettings, choose_images, steps_per_epoch
from bench.training.optim import make_stepper, set_bn_momentum, set_rate

LOWEST = 1e-7  # nothing is learned there: a curve without its flat beginning is steepest at its left end
HIGHEST = 10.0
SMOOTHING = 0.9  # share of the past in the running mean of the loss
DIVERGED = 4.0  # times the best smoothed loss: nothing is learned beyond
EDGE = 0.05  # share of the curve at either end in which a suggestion says little


@dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    Attributes:
        rates: learning rates tried, ascending.
        losses: smoothed cross entropy of each, in nats.
        suggestion: the rate at which the smoothed loss falls fastest.
        at_edge: the suggestion lies within 5 % of an end of the curve, so the range was not right for it.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float
    at_edge: bool


def find_rate(
    model: nn.Module,
    data: Dataset,
    settings: TrainSettings,
    *,
    device: torch.device,
    progress: Progress,
    steps: int = 100,
    highest: float = HIGHEST,
) -> RangeTest:
    """Train a copy of the model with a learning rate that grows from 1e-7 to `highest`.

    Args:
        model: left as found.
        data: whose training split is used, augmented as the recipe says.
        settings: the recipe whose optimiser and batch size are tested.
        steps: how many rates.

    Raises:
        UsageError: too few steps for a curve.
    """
    if steps < 10:
        raise UsageError(f"{steps} steps make no curve", try_="--steps 100")
    own = on_device(copy.deepcopy(model), device).train()
    set_bn_momentum(own, settings.recipe.bn_momentum)
    initialise(own, settings.recipe, data.train.images, (data.mean, data.std))
    with kernels_for_training(deterministic=settings.deterministic):
        found = _climb(own, data, settings, device=device, progress=progress, steps=steps, highest=highest)
    return suggest(*found)


def _climb(
    model: nn.Module,
    data: Dataset,
    settings: TrainSettings,
    *,
    device: torch.device,
    progress: Progress,
    steps: int,
    highest: float,
) -> tuple[list[float], list[float]]:
    """The rates that were tried and the smoothed loss at each; ends early where the loss has blown up."""
    growth = (highest / LOWEST) ** (1 / (steps - 1))
    rates: list[float] = []
    losses: list[float] = []
    mean, best = 0.0, math.inf
    batches, recipe = _inputs(data, settings, device, progress), settings.recipe
    precision = resolved_precision(recipe.precision, device)
    stepper = make_stepper(model, recipe, device, precision)
    with progress.track("learning rates", steps) as task:
        for step in range(steps):
            rate = set_rate(stepper.optimizer, LOWEST * growth**step)
            inputs, labels = next(batches)
            with autocast(device, precision):
                logits = model(inputs)
            loss = functional.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
            stepper.step(loss)
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss.item()
            smooth = mean / (1 - SMOOTHING ** (step + 1))  # as if there had been no start at 0
            if not math.isfinite(smooth) or smooth > DIVERGED * best:
                break
            best = min(best, smooth)
            rates.append(rate)
            losses.append(smooth)
            task.advance(1, f"lr {rate:.1e}, loss {smooth:.3f}")
    return rates, losses


def _inputs(
    data: Dataset, settings: TrainSettings, device: torch.device, progress: Progress
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end, as training draws them, and their labels."""
    ids, _ = choose_images(data, settings)
    steps_per_epoch(len(ids), settings.recipe.batch_size)  # refuses less than a batch
    images, labels = placed(data.train, ids, device, progress)
    statistics = (data.mean, data.std)
    batches = Batches(images, settings.recipe, mirror=data.mirror, seed=settings.seed, statistics=statistics)
    while True:
        for batch in batches.shuffled():
            # As in the last epoch, in which images have all their pixels.
            yield batches.inputs(batch, settings.recipe.epochs - 1), labels[batch]


def suggest(rates: Sequence[float], losses: Sequence[float]) -> RangeTest:
    """The rate at which the smoothed loss falls fastest over the logarithm of the rate, and whether it is at an edge.

    Args:
        rates, losses: of the same length.

    Raises:
        UsageError: the curve is too short, since the loss blew up at once.
    """
    if len(rates) < 3:
        raise UsageError(
            f"the loss diverged after {len(rates)} steps: no rate can be suggested",
            try_="a smaller --highest, or bench show data to look at the images",
        )
    # Over the logarithm, for rates grow by a factor; from both neighbours, for one step's loss is noise.
    slopes = [
        (losses[place + 1] - losses[place - 1]) / math.log(rates[place + 1] / rates[place - 1])
        for place in range(1, len(rates) - 1)
    ]
    place = 1 + min(range(len(slopes)), key=slopes.__getitem__)
    share = place / (len(rates) - 1)
    return RangeTest(tuple(rates), tuple(losses), rates[place], not EDGE < share < 1 - EDGE)
