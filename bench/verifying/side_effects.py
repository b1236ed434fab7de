"""What one call of a plug-in left behind, kind by kind, on a model where each kind would show."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.contracts import ExplainerSpec
from bench.explaining.side_effects import (
    Check,
    watch_buffers,
    watch_forwards,
    watch_gradients,
    watch_hooks,
    watch_inputs,
    watch_modes,
    watch_parameters,
    watch_parts,
    watch_randomness,
    watch_switches,
)

NEEDS = "requires_grad"


def left_behind(
    spec: ExplainerSpec, model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor
) -> tuple[dict[str, tuple[str, ...]], BaseException | None]:
    """{kind: faults in words} of one call; a kind without a fault has none. Beside it what the plug-in raised.

    Args:
        model: a copy that nobody else needs. Every other parameter is made trainable and gets a gradient, so that
            one that is lost, changed or new is seen, and a `requires_grad` that is switched in either direction.
    """
    half_trainable(model)
    checks = watched(model, images, targets, stochastic=spec.stochastic)
    raised: BaseException | None = None
    try:
        spec.explain(model, layers, images, targets)
    except (Exception, SystemExit) as error:
        raised = error
    found = {kind: [fault for check in of_kind for fault in check()] for kind, of_kind in checks.items()}
    found["requires-grad"] = [fault for fault in found["grad"] if NEEDS in fault]
    found["grad"] = [fault for fault in found["grad"] if NEEDS not in fault]
    return {kind: tuple(faults) for kind, faults in found.items()}, raised


def watched(model: nn.Module, images: Tensor, targets: Tensor, *, stochastic: bool) -> dict[str, list[Check]]:
    """The checks of `bench.explaining.side_effects` by kind, in the order in which things are put back."""
    return {
        "modes": [watch_modes()],
        "modules": [watch_parts(model), watch_forwards(model)],
        "hooks": [watch_hooks(model)],
        "training-flags": [watch_switches(model)],
        "grad": [watch_gradients(model)],
        "buffers": [watch_buffers(model)],
        "parameters": [watch_parameters(model)],
        "random-state": [watch_randomness(stochastic=stochastic)],
        "inputs": [watch_inputs(images, targets)],
    }


def half_trainable(model: nn.Module) -> None:
    """Make every other parameter trainable, with a gradient of ones; freeze the rest."""
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 2 == 0)
        parameter.grad = torch.ones_like(parameter) if index % 2 == 0 else None
