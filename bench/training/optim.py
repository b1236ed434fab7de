"""What recipes switch on beside the plain loop: groups of parameters, quick statistics, slow weights.

Sources: Page 2019, How to Train Your ResNet; Jordan 2024, arXiv:2404.00498 (airbench). Each for its own networks;
what they are worth for this one stands in docs/measurements.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import StoreError
from bench.recipes.recipe import Recipe

SLOW = 0.95  # a step at the end of the training keeps this share of the slow weights


def make_optimizer(model: nn.Module, recipe: Recipe, *, fused: bool) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters that want gradients; a group's "scale" multiplies its rate."""
    groups = parameter_groups(model, recipe)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,  # as all sources have it; without momentum there is nothing to look ahead with
        weight_decay=recipe.weight_decay,
        fused=fused,
    )


def make_stepper(model: nn.Module, recipe: Recipe, device: torch.device, precision: str) -> Stepper:
    """What steps down a loss by the recipe, in a resolved precision."""
    fused = device.type in ("cpu", "cuda") or precision == "fp16"  # one kernel reads every value once
    return Stepper(make_optimizer(model, recipe, fused=fused), device, precision)


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters that want gradients, once each: biases of batch norms, scales of batch norms, the rest.

    A group whose settings are those of the rest is part of the rest.
    """
    # By identity: tensors compare element by element.
    biases, scales = set(), set()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            biases |= {id(module.bias)} if recipe.bias_scale != 1 else set()
            scales |= set() if recipe.norm_decay else {id(module.weight)}
    wanted = [each for each in model.parameters() if each.requires_grad]
    # A short training moves the biases of norms too little: 64 times the rate saved airbench a quarter of its epochs
    # (arXiv:2404.00498, section 3.4). SGD shrinks by rate x decay, so the decay is divided, and they shrink as before.
    # Not that of the head, which airbench's nets do not have: a softmax of ten classes bends by 0.1 along its biases,
    # and with a Nesterov momentum of 0.9 steps above 1.36 / 0.1 grow from one to the next.
    # The scale of a norm goes without: decay of the weights before a norm only changes how fast they turn
    # (van Laarhoven 2017, arXiv:1706.05350), that of the scale changes what the net computes.
    decay, scale = recipe.weight_decay, recipe.bias_scale
    groups: list[dict[str, Any]] = [
        {"params": [each for each in wanted if id(each) not in biases | scales], "scale": 1.0},
        {"params": [each for each in wanted if id(each) in biases], "scale": scale, "weight_decay": decay / scale},
        {"params": [each for each in wanted if id(each) in scales], "scale": 1.0, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    """Set the learning rate of all groups, each times its scale; gives back the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
    return rate


def set_bn_momentum(model: nn.Module, momentum: float) -> None:
    """Let running statistics follow with this momentum (PyTorch's sense: the share of the new batch)."""
    # At 0.1 they are those of about ten batches, and trail weights that move fast or jump back to an average: the
    # author of airbench found quick statistics and lookahead to help only together.
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum


# --- one step -----------------------------------------------------------------------------------------------


class Stepper:
    """Backward passes and steps of an optimiser, none of which makes a GPU wait.

    Gradients below 6e-8 are zero in fp16, so there the loss is multiplied first and the gradients are divided by the
    same number before the step. A step whose gradients overflow is left out, and the number halved; after 2,000 steps
    without it is doubled (Micikevicius et al. 2017, arXiv:1710.03740, section 3.2). The learning rate goes on by the
    number of the step either way.

    Attributes:
        skipped: steps left out since `begin`, on the device.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device, precision: str) -> None:
        """Begin at the optimiser's state; in fp16 it must be fused, since any other reads whether to step."""
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        if not self.scaler.is_enabled():
            return
        optimizer.register_step_pre_hook(self._count)
        for group in optimizer.param_groups:
            # Fused SGD makes these in its first step, and where that one is left out without values. At 0 they give
            # the first step that there would have been.
            for each in group["params"] if group.get("momentum") else ():
                optimizer.state[each]["momentum_buffer"] = torch.zeros_like(each)

    def step(self, loss: Tensor) -> None:
        """One step down a loss."""
        self.backward(loss)
        self.update()

    def backward(self, loss: Tensor) -> None:
        """Make the gradients of a loss, scaled where it is."""
        self.optimizer.zero_grad(set_to_none=True)  # backward then writes gradients instead of adding to zeros
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """Go down those gradients, unless one of them overflowed."""
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _count(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        self.skipped += optimizer.found_inf.long()  # type: ignore[attr-defined]

    def begin(self) -> None:
        """Count from 0 again."""
        self.skipped.zero_()

    def state(self) -> dict[str, int | float]:
        """What a training continues from, in numbers: a few reads in fp16, and nothing without a scaled loss."""
        return {**self.scaler.state_dict(), "skipped": self.skips()} if self.scaler.is_enabled() else {}

    def skips(self) -> int:
        """Steps left out since `begin`; nobody waits where none could be."""
        return int(self.skipped) if self.scaler.is_enabled() else 0

    def restore(self, state: Mapping[str, int | float]) -> None:
        """Put such a state back; KeyError or RuntimeError where it is of another precision."""
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(state))
            self.skipped.fill_(state["skipped"])


# --- while training ----------------------------------------------------------------------------------------


class Lookahead:
    """Slow weights that follow the trained ones, and to which these return every few steps.

    At step t of T, each time `every` steps are done and once more at T: slow += (1 - d) (fast - slow), then
    fast = slow, with d = 0.95^k (t/T)^3 and k the steps since the last time. So the slow weights are the fast ones at
    first and an average over many steps at the end, and no step is lost. The first time d is 0: weights from before
    any training belong in no average. Running statistics of batch norms are averaged too.

    Source: Zhang et al. 2019, arXiv:1907.08610, with the schedule of Jordan 2024, arXiv:2404.00498, section 3.4.
    """

    def __init__(self, model: nn.Module, *, every: int, total: int) -> None:
        """Begin at the model's weights; `every` 0 does nothing ever."""
        self.every, self.total = every, total
        # A state dict shares its tensors with the model, so `fast` are the trained weights themselves. Counts of
        # batches are integers and have no average.
        named = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
        self.fast: Mapping[str, Tensor] = named if every else {}
        self.slow = {name: value.detach().clone() for name, value in self.fast.items()}

    @torch.no_grad()
    def after(self, done: int) -> None:
        """Called after each step with the steps done in all."""
        if not self.every or (done % self.every and done < self.total):
            return
        steps = done % self.every or self.every
        slow, fast = list(self.slow.values()), list(self.fast.values())
        # At first weights move too fast for their average to be of use; at the end they swing about it, and it is
        # nearer to where they are going than any of them.
        kept = SLOW**steps * (done / self.total) ** 3 if done > self.every else 0.0
        torch._foreach_lerp_(slow, fast, 1 - kept)
        torch._foreach_copy_(fast, slow)

    def restore(self, slow: Mapping[str, Tensor]) -> None:
        """Put slow weights back; StoreError where they are of another model."""
        if set(slow) != set(self.slow):
            raise StoreError("the slow weights of the state do not fit this training")
        for name, value in slow.items():
            self.slow[name].copy_(value)
