"""The training loop, from top to bottom, with the guard rails that stop a run whose numbers cannot be right."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.clock import Meter, now
from bench.contracts import Dataset, Progress
from bench.data.datasets import limit_balanced, split_validation
from bench.data.transforms import Statistics, prepare
from bench.errors import DataError, UsageError
from bench.evaluation import BATCH, score
from bench.memory import Room
from bench.modes import own_modes
from bench.nets.weights import on_device
from bench.precision import autocast, resolved_precision
from bench.recipes.recipe import Recipe
from bench.schema.page import EpochPoint
from bench.training.checkpoint import Keeper, Position, State, Tally
from bench.training.checks import check_chance, check_first_loss, check_logits, check_loss, check_skips
from bench.training.compiling import compiled, compiling_pays
from bench.training.init import initialise
from bench.training.loader import Batches, Rows, placed
from bench.training.optim import Lookahead, make_stepper, set_bn_momentum, set_rate
from bench.training.team import ALONE, Team

AT_ONCE = 2000  # images that a device validates on

NOT_KEPT = Keeper()
# Steps between two looks at the loss, for which a GPU is waited for: none at CUDA's, which are the fastest, some at a
# Mac's, and each step elsewhere.
LOOKS = {"cuda": 0, "mps": 20}


@dataclass(frozen=True)
class TrainSettings:
    """One training.

    Attributes:
        recipe: how.
        seed: of the split, of the order and of the augmentation.
        val: share of the training images kept apart for the curves.
        limit: train on a class-balanced subset of this many images; None for all.
        warm_start: weights were loaded, so the first loss says nothing and no initialisation is changed.
        compile: train through torch.compile; None for where that saves time.
        deterministic: the same bits each time on a GPU, too, where that costs speed.
        team: the processes that train together, each on its part of every batch.
    """

    recipe: Recipe
    seed: int = 0
    val: float = 0.1
    limit: int | None = None
    warm_start: bool = False
    compile: bool | None = False
    deterministic: bool = False
    team: Team = ALONE

    def __post_init__(self) -> None:
        """Refuse values that leave nothing to train on."""
        if not 0 <= self.val < 1:
            raise UsageError(f"val {self.val} is not a share", try_="--val 0.1, or --val 0 to train on everything")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit {self.limit} leaves no image", try_="--limit 10000")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed} is out of range", try_="--seed 0")


@dataclass(frozen=True)
class TrainingSpeed:
    """How fast a training was.

    Attributes:
        images_per_second: over whole epochs, augmentation included, compilation and validation not.
        laps: (images, seconds) of each epoch, those before a break included.
        compile_seconds: what torch.compile took before the first step; None without it.
    """

    images_per_second: float | None
    laps: tuple[tuple[int, float], ...]
    compile_seconds: float | None

    @property
    def seconds(self) -> float:
        """Of all epochs."""
        return sum(seconds for _, seconds in self.laps)


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
) -> TrainingSpeed:
    """Train a model in place; the test split is never looked at.

    Args:
        model: gives logits (N, K) for (N, 3, H, W).
        data: whose training split is used.
        on_epoch: called with the figures of each epoch.
        start: a state that `keeper` was given before; the training goes on from there as if it had never ended.
        keeper: is asked after each step, and given the state before the first and after the last. What it takes counts
            in the images a second.

    Returns:
        How fast it was.

    Raises:
        GuardRailError: the loss or the accuracy cannot be that of a training that works; says which and why.
        DataError: fewer images than a batch.
    """
    recipe, team, classes = settings.recipe, settings.team, len(data.classes)
    on_device(model, device)
    train_ids, val_ids = choose_images(data, settings)
    # Where it fits the whole split lies on the device as bytes (150 MB of CIFAR-10) and is augmented there: a GPU takes
    # fifty epochs in the time in which a loader on the host feeds it one (Jordan's cifar10-loader).
    images, labels = placed(data.train, train_ids, device, progress)
    apart, room = (placed(data.train, val_ids, device, progress)[0], data.train.labels[val_ids]), Room(progress)
    steps, batch_size = steps_per_epoch(len(images), recipe.batch_size), recipe.batch_size
    total, statistics = steps * recipe.epochs, (data.mean, data.std)
    batches = Batches(
        images,
        recipe,
        mirror=data.mirror,
        seed=settings.seed,
        statistics=statistics,
        part=team.part(batch_size),
    )
    if start is None and not settings.warm_start:
        initialise(model, recipe, images, statistics)
    set_bn_momentum(model, recipe.bn_momentum)
    precision = resolved_precision(recipe.precision, device)
    forward, compile_seconds = forward_of(model, batches.shapes(), settings, device, progress, images)
    stepper = make_stepper(model, recipe, device, precision)
    optimizer, lookahead = stepper.optimizer, Lookahead(model, every=recipe.lookahead, total=total)
    share = data.train.labels[train_ids].bincount().max().item() / len(labels)
    meter, look_every = Meter(device), LOOKS.get(device.type, 1)
    position = Position(model, stepper, lookahead, batches.order, batches.pixels, meter, team)
    position.restore(start) if start else keeper.keep(position.capture(0, steps))

    for epoch in range(start.epoch if start else 0, recipe.epochs):
        model.train()
        tally = position.begin(start if start and epoch == start.epoch else None)
        places = batches.shuffled()
        with progress.track(f"epoch {epoch + 1}/{recipe.epochs}", (steps - tally.step) * batch_size) as task:
            for step in range(tally.step, steps):
                rate = set_rate(optimizer, recipe.learning_rate(epoch * steps + step, total))
                with autocast(device, precision):
                    logits = forward(batches.inputs(places[step], epoch))
                if epoch == step == 0:
                    check_logits(logits.detach(), classes)
                # In float32: the loss of a sure prediction is a small difference of two large numbers, and bf16 has
                # eight bits for each.
                loss = functional.cross_entropy(
                    logits.float(), labels[places[step]], label_smoothing=recipe.label_smoothing
                )
                if epoch == step == 0:
                    first = team.total(team.weighed(loss, batch_size)).item()
                    check_first_loss(first, classes, warm_start=settings.warm_start)
                stepper.step(team.scaled(loss, batch_size))
                lookahead.after(epoch * steps + step + 1)
                own = labels[places[step]]
                tally.add(plain_loss(loss, logits, own, recipe), logits, own, batch_size)
                looks = look_every and (step + 1) % look_every == 0
                note = note_of_step(loss, tally, (epoch, step), rate, team) if looks else ""
                task.advance(batch_size, note)
                if team.most(keeper.due()) or epoch * steps + step + 1 == total:
                    keeper.keep(position.capture(epoch, steps, tally))
        (mean, right), seen, skipped = tally.totals(team), tally.seen, stepper.skips()  # a GPU is waited for, once
        meter.add(seen, now(device) - tally.started)
        check_loss(mean, epoch, steps)
        check_skips(skipped, epoch, steps)
        check_chance(right, seen, share, steps_done=(epoch + 1) * steps)
        val_loss, val_accuracy = validate(
            model, *apart, statistics=statistics, precision=precision, room=room, team=team
        )
        speed, rate = seen / meter.laps[-1][1], optimizer.param_groups[0]["lr"]
        on_epoch(EpochPoint(epoch + 1, mean, right / seen, val_loss, val_accuracy, speed, rate, skipped))
    return TrainingSpeed(meter.rate, tuple(meter.laps), compile_seconds)


# --- the pieces of the loop --------------------------------------------------------------------------------


def forward_of(
    model: nn.Module,
    shapes: set[tuple[int, ...]],
    settings: TrainSettings,
    device: torch.device,
    progress: Progress,
    images: Rows,
) -> tuple[nn.Module, float | None]:
    """What batches of these shapes go through: the model, maybe compiled, its gradients shared with the team.

    Where nobody said whether to compile, it is tried if that saves time.

    Args:
        images: (N, C, H, W) of an epoch.

    Returns:
        It, and the seconds that compiling took.
    """
    team, precision = settings.team, resolved_precision(settings.recipe.precision, device)
    group = team.group(device)
    team.synchronise(model, device, group)
    forward, seconds, graphs = model, None, device.type == "cuda" and team.world == 1
    if compiles(settings, model, len(images), images.shape[-1], device):
        if settings.compile is None:
            progress.say("compiling first, which saves time in a training this long; --no-compile goes without")
        try:
            forward, seconds = compiled(model, shapes, device, precision=precision, graphs=graphs)
        except UsageError as reason:
            if settings.compile:
                raise
            progress.warn(f"{reason.message.removeprefix('--compile: ')}; it is trained as it is")
    team.draw_apart(device)
    return team.wrapped(model, forward, group, max(shapes)), seconds


def compiles(settings: TrainSettings, model: nn.Module, images: int, size: int, device: torch.device) -> bool:
    """Whether a training compiles the model: where that was asked for, and where nobody said so but it saves time.

    Args:
        images: of an epoch.
        size: pixels an edge of the images as they are.
    """
    if settings.compile is None:
        return settings.team.world == 1 and compiling_pays(model, settings.recipe, images, size, device)
    return settings.compile


def plain_loss(loss: Tensor, logits: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    """The cross entropy with the labels themselves, so that curves of recipes with and without smoothing compare."""
    return functional.cross_entropy(logits.detach().float(), labels) if recipe.label_smoothing else loss


def note_of_step(loss: Tensor, tally: Tally, place: tuple[int, int], rate: float, team: Team = ALONE) -> str:
    """Read the loss of a step, stop at one that cannot be, and say where the epoch stands. One wait for a GPU."""
    of_step = team.weighed(loss.detach(), tally.seen // tally.step)
    of_step, loss_sum, right = team.total(torch.stack([of_step, tally.loss_sum, tally.right.float()])).tolist()
    check_loss(of_step, *place)
    return f"loss {loss_sum / tally.seen:.3f}, accuracy {right / tally.seen:.1%}, lr {rate:.3f}"


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


def validate(
    model: nn.Module,
    images: Rows,
    labels: Tensor,
    *,
    statistics: Statistics,
    precision: str,
    room: Room,
    team: Team = ALONE,
) -> tuple[float | None, float | None]:
    """Loss and accuracy on the images kept apart, in the precision of the training; None for both when there are none.

    Of several processes each looks at its part of them.

    Args:
        images: (N, 3, H, W) uint8, on the device or in RAM.
        labels: (N,) on the CPU.
    """
    if len(images) == 0:
        return None, None
    own = team.rows(len(images))
    count, labels = own.stop - own.start, labels[own]
    team.one_net(model)

    def answers(rows: slice) -> Tensor:
        with autocast(images.device, precision):
            logits: Tensor = model(prepare(images[own.start + rows.start : own.start + rows.stop], statistics))
        return logits.float()

    most = BATCH if images.device.type == "cpu" else AT_ONCE
    with torch.no_grad(), own_modes(model):
        model.eval()
        parts = list(room.batches("validate", count, most, answers))
    # Here a GPU is waited for, once; of very few images a process may have none.
    found = score(torch.cat(parts).cpu(), labels) if parts else None
    here = torch.tensor([found.loss, found.accuracy] if found else [0.0, 0.0], dtype=torch.float64)
    loss, accuracy = team.total(team.weighed(here, len(images))).tolist()
    check_loss(loss, -1, 0)
    return loss, accuracy
