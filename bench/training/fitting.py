"""Whether a kept state is one of a training: one that is not would be noticed late, or never."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import StoreError
from bench.precision import resolved_precision
from bench.recipes.recipe import Recipe
from bench.training.checkpoint import State
from bench.training.optim import Lookahead, Stepper, make_optimizer

OF_THE_MOMENT = {"lr", "fused", "foreach"}  # settings of an optimizer that differ by step or device


def check_fits(state: State, net: nn.Module, recipe: Recipe, steps: int, device: torch.device) -> None:
    """StoreError where a state cannot be one of this training, with what speaks against it.

    Args:
        net: the model as it was before the first step, on the CPU.
        steps: of an epoch.
        device: where it trains.
    """
    lookahead = Lookahead(net, every=recipe.lookahead, total=steps * recipe.epochs)
    doubts = chain(
        _odd_place(state, recipe, steps),
        _unlike("weights", state.weights, net.state_dict()),
        _unlike("slow weights", state.slow, lookahead.slow),
        _odd_optimizer(state, make_optimizer(net, recipe, fused=False)),
        _odd_generators(state, device),
        _odd_others(state, device),
        _odd_scaler(state, recipe, device),
    )
    try:
        doubt = next(doubts, "")
    except Exception as reason:  # a tensor may be of a kind that cannot be looked into
        doubt = f"{type(reason).__name__}: {reason}".partition("\n")[0]
    if doubt:
        raise StoreError(f"the state of step {state.done} does not fit this training: {doubt:.300}")


def _odd_place(state: State, recipe: Recipe, steps: int) -> Iterator[str]:
    """Where it stands, and the sums so far."""
    whole = 0 <= state.step <= steps and state.epoch >= 0 and state.done <= steps * recipe.epochs
    if not whole or state.done != state.epoch * steps + state.step:
        yield f"step {state.step} of epoch {state.epoch + 1} of {recipe.epochs} epochs of {steps} steps"
    if len(state.laps) != state.epoch or min((min(lap) for lap in state.laps), default=1) <= 0 or state.seconds < 0:
        yield f"{len(state.laps)} times of {state.epoch} finished epochs"
    if state.seen != state.step * recipe.batch_size or not 0 <= state.right.item() <= state.seen:
        yield f"{state.right.item()} of {state.seen} images right after {state.step} batches of {recipe.batch_size}"
    if not state.loss_sum.isfinite().item():
        yield f"a loss of {state.loss_sum.item()}"


def _unlike(what: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    """Other names, shapes or types than the model has, and numbers that are none where it has some."""
    odd = sorted(set(found) ^ set(wanted))
    if odd:
        yield f"{what}: {odd[0]} is {'missing' if odd[0] in wanted else 'not of this model'}"
    for name, tensor in wanted.items():
        if _kind(found[name]) != _kind(tensor):
            yield f"{what}: {name} is {_kind(found[name])}, the model has {_kind(tensor)}"
        if not bool((found[name].isfinite() | ~tensor.isfinite()).all()):  # a mask holds -inf by right
            yield f"{what}: {name} holds NaN or infinity"


def _kind(tensor: Tensor) -> str:
    layout = "" if tensor.layout is torch.strided else f" {tensor.layout}"
    return f"{tensor.dtype} {tuple(tensor.shape)}{layout}".removeprefix("torch.")


def _odd_optimizer(state: State, optimizer: torch.optim.Optimizer) -> Iterator[str]:
    """Settings that another recipe gives, and running means that are of no parameter or that went missing."""
    groups = [_settings(each) for each in optimizer.state_dict()["param_groups"]]
    if [_settings(each) for each in state.optimizer["param_groups"]] != groups:
        yield "its optimizer has the settings of another recipe"
    parameters = dict(enumerate(each for group in optimizer.param_groups for each in group["params"]))
    means: Mapping[int, Mapping[str, Any]] = state.optimizer["state"]
    if set(means) - set(parameters) or len({frozenset(each) for each in means.values()}) > 1:
        yield "its optimizer's running means are of other parameters, or some of them are missing"
    if bool(means) != _has_means(optimizer, state):
        yield f"its optimizer has running means of {len(means)} parameters"
    for index, values in means.items():
        for name, value in values.items():
            if not isinstance(value, Tensor) or value.shape not in ((), parameters[index].shape):
                yield f"its optimizer's {name} {index} has not the shape of its parameter"
            if not bool(value.isfinite().all()):
                yield f"its optimizer's {name} {index} holds NaN or infinity"


def _odd_scaler(state: State, recipe: Recipe, device: torch.device) -> Iterator[str]:
    """Where a scaled loss stands."""
    precision = resolved_precision(recipe.precision, device)
    wanted = Stepper(torch.optim.SGD([torch.zeros(1)]), torch.device("cpu"), precision).state()
    if set(state.scaler) != set(wanted):
        yield f"a scaled loss of {len(state.scaler)} numbers in {precision}"
    elif wanted and not (state.scaler["scale"] > 0 and 0 <= state.scaler["skipped"] <= state.step):
        yield f"a loss scaled by {state.scaler['scale']}, {state.scaler['skipped']} of {state.step} steps left out"


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in OF_THE_MOMENT}


def _has_means(optimizer: torch.optim.Optimizer, state: State) -> bool:
    if not isinstance(optimizer, torch.optim.SGD):
        return state.done > 0
    begun = state.done > 0 or bool(state.scaler)  # with a scaled loss they are there before the first step
    return begun and any(group["momentum"] for group in optimizer.param_groups)


def _odd_generators(state: State, device: torch.device) -> Iterator[str]:
    kept = {"order": state.order, "ambient": state.ambient["cpu"]}
    for name, value in kept.items():
        yield from _refused(name, value, torch.Generator())
    yield from _refused("pixels", state.pixels, torch.Generator(device))


def _odd_others(state: State, device: torch.device) -> Iterator[str]:
    """What is the own of processes beside the first."""
    sums = {"right": state.right, "loss_sum": state.loss_sum}
    for rank, each in enumerate(state.others, start=1):
        if set(each) != {*sums, *state.ambient}:
            yield f"process {rank} has {', '.join(sorted(each))}"
        if any(_kind(each[name]) != _kind(value) for name, value in sums.items()):
            yield f"the sums of process {rank} are of another kind"
        if not each["loss_sum"].isfinite().item():
            yield f"a loss of {each['loss_sum'].item()} in process {rank}"
        yield from _refused(f"of process {rank}", each["cpu"], torch.Generator())
    right = [int(each) for each in (state.right, *(one["right"] for one in state.others))]
    if min(right) < 0 or sum(right) > state.seen:
        yield f"{sum(right)} of {state.seen} images right in {len(right)} processes"


def _refused(name: str, value: Tensor, generator: torch.Generator) -> Iterator[str]:
    try:
        generator.set_state(value)
    except (RuntimeError, TypeError) as reason:
        yield f"its random numbers ({name}): {reason}".partition("\n")[0]
