"""Where a training stands between two steps: all that its next step depends on, taken down and put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from bench.errors import StoreError
from bench.meter import Meter, now
from bench.training.ingredients import Lookahead

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class State:
    """A training between two steps, in tensors of the CPU that share no memory with it.

    Attributes:
        epoch: epochs that are finished.
        step: steps done of the epoch after those.
        done: steps done in all.
        seen, right, loss_sum: the running sums of the unfinished epoch.
        seconds: what the unfinished epoch took so far.
        laps: (images, seconds) of the finished epochs.
        order: state of the generator of the order, before it drew the unfinished epoch's permutation.
        pixels: state of the generator of the augmentation.
        ambient: states of PyTorch's own generators, which a model's dropout draws from, by device type.
        weights, optimizer: their state dicts.
        slow: the slow weights of the lookahead; empty without one.
    """

    epoch: int
    step: int
    done: int
    seen: int
    right: Tensor
    loss_sum: Tensor
    seconds: float
    laps: tuple[tuple[int, float], ...]
    order: Tensor
    pixels: Tensor
    ambient: dict[str, Tensor]
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    slow: dict[str, Tensor]


class Keeper(Protocol):
    """Decides when the state of a training is kept, and keeps it."""

    def due(self) -> bool:
        """Whether the state should be kept between the last step and the next."""
        ...

    def keep(self, state: State) -> None:
        """Keep it; whatever this raises ends the training."""
        ...


class Forgetful:
    """A Keeper for trainings that nobody continues."""

    def due(self) -> bool:
        """Never."""
        return False

    def keep(self, state: State) -> None:
        """Nothing to keep."""


@dataclass
class Tally:
    """The running sums of one epoch, on the device that trains: a value is read only when somebody looks."""

    right: Tensor
    loss_sum: Tensor
    order: Tensor  # the state the permutation was drawn from
    started: float
    step: int = 0
    seen: int = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one step's batch."""
        self.step += 1
        self.seen += len(labels)
        self.loss_sum += loss.detach() * len(labels)
        self.right += (logits.detach().argmax(dim=1) == labels).sum()

    @property
    def loss(self) -> float:
        """The mean loss so far."""
        return self.loss_sum.item() / self.seen


@dataclass(frozen=True)
class Position:
    """The parts of a running training that make up its state."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    lookahead: Lookahead
    order: torch.Generator
    pixels: torch.Generator
    meter: Meter

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.meter.device

    def begin(self, start: State | None = None) -> Tally:
        """The sums of a new epoch, or of the one that `start` left unfinished."""
        device = self.device
        if start is None:
            zero, zeros = torch.zeros((), dtype=torch.int64, device=device), torch.zeros((), device=device)
            return Tally(zero, zeros, self.order.get_state(), now(device))
        right, loss_sum = (each.clone().to(device) for each in (start.right, start.loss_sum))
        return Tally(right, loss_sum, start.order, now(device) - start.seconds, start.step, start.seen)

    def capture(self, epoch: int, steps: int, tally: Tally | None = None) -> State:
        """The state within an epoch of `steps` steps, or before the epoch where no sums are given."""
        tally, seconds = (tally, now(self.device) - tally.started) if tally else (self.begin(), 0.0)
        return State(
            epoch=epoch,
            step=tally.step,
            done=epoch * steps + tally.step,
            seen=tally.seen,
            right=_copied(tally.right),
            loss_sum=_copied(tally.loss_sum),
            seconds=seconds,
            laps=tuple(self.meter.laps),
            order=_copied(tally.order),
            pixels=_copied(self.pixels.get_state()),
            ambient=_ambient(self.device),
            weights=_copied(dict(self.model.state_dict())),
            optimizer=_copied(self.optimizer.state_dict()),
            slow=_copied(self.lookahead.slow),
        )

    def restore(self, state: State) -> None:
        """Put a state back; StoreError where it is that of another model or device."""
        try:
            self.model.load_state_dict(state.weights)
            self.optimizer.load_state_dict(_copied(state.optimizer))
            self.lookahead.restore(state.slow)
            self.order.set_state(state.order)
            self.pixels.set_state(state.pixels)
            torch.set_rng_state(state.ambient["cpu"])
            if self.device.type in state.ambient and self.device.type == "cuda":
                torch.cuda.set_rng_state(state.ambient["cuda"], self.device)
        except (RuntimeError, ValueError, KeyError, TypeError) as reason:
            raise StoreError(f"the state of step {state.done} does not fit this training: {reason}") from reason
        for images, seconds in state.laps:
            self.meter.add(images, seconds)


def _ambient(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _copied(value: Any) -> Any:  # noqa: ANN401 (state dicts hold anything)
    """The same with every tensor copied to the CPU, its memory format kept."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(each) for each in value)
    return value
