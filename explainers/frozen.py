"""Using someone's model without leaving a trace."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


@contextmanager
def borrowed(model: nn.Module) -> Iterator[None]:
    """The model in eval mode and frozen, with gradients recorded; afterwards as it was found, come what may.

    Frozen parameters are what makes a CAM cheap: nothing below the first recorded layer enters the graph, and no
    gradient of a weight is computed. The gradient at the layer stays the same bit for bit.
    """
    training = [(module, module.training) for module in model.modules()]
    frozen = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    with ExitStack() as stack:
        # Both: inference mode makes tensors that autograd refuses for good, and enable_grad does not end it.
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        try:
            model.eval()
            model.requires_grad_(False)
            yield
        finally:
            for module, flag in training:
                module.training = flag
            for parameter, needs_grad, grad in frozen:
                parameter.requires_grad_(needs_grad)
                parameter.grad = grad  # pytorch-grad-cam calls zero_grad, between two steps of a training say
