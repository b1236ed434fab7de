"""Private copies of a model, for libraries that put things into the model they are given."""

from copy import deepcopy

from torch import nn


def private_copy(model: nn.Module) -> nn.Module:
    """The same modules once more around the very same parameters: a copy that costs no memory to speak of."""
    # What stands in deepcopy's memo counts as copied already, and is taken as it is.
    return deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
