"""Using someone's model without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from bench.modes import evaluating


@contextmanager
def borrowed(model: nn.Module) -> Iterator[None]:
    """The model in eval mode and frozen, with gradients recorded; afterwards as it was found, come what may.

    Frozen parameters are what makes a CAM cheap: nothing below the first recorded layer enters the graph, and no
    gradient of a weight is computed. The gradient at the layer stays the same bit for bit.
    """
    frozen = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    # Both: inference mode makes tensors that autograd refuses for good, and to record gradients does not end it.
    with torch.inference_mode(False), evaluating(model, gradients=True):
        try:
            model.requires_grad_(False)
            yield
        finally:
            for parameter, needs_grad, grad in frozen:
                parameter.requires_grad_(needs_grad)
                parameter.grad = grad  # pytorch-grad-cam calls zero_grad, between two steps of a training say
