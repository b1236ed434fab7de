"""Private copies of a model, for libraries that put things into the model they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.errors import ContractError

from .activations import private

RELUS = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
IN_PLACE = (torch.relu_, Tensor.relu_)


def private_copy(model: nn.Module) -> nn.Module:
    """The same modules once more around the very same parameters: a copy that costs no memory to speak of."""
    # What stands in deepcopy's memo counts as copied already, and is taken as it is.
    return deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})


def with_own_relus(model: nn.Module, images: Tensor) -> OwnReLUs:
    """A private copy in which every call of a ReLU has a module to itself.

    Args:
        model: left as found. Call it inside `borrowed`.
        images: (N, 3, H, W); the first is sent through once, to count the calls.
    """
    counter = Counter()
    with torch.no_grad(), counter:
        model(private(images[:1]))
    return OwnReLUs(private_copy(model), counter.calls)


class OwnReLUs(nn.Module):
    """A net each of whose ReLU calls runs in a module of its own that writes nothing in place.

    Guided backprop and DeepLift hook the modules of type nn.ReLU. A block that runs one such module twice
    (torchvision's) makes them fail, and one that calls the function instead makes them wrong without a word. So
    here the net's own are replaced by calls of the function, and every call of it is sent to the next of `relus`.

    Attributes:
        model: the copy; its layers bear their usual names.
        relus: one for each call, in the order of the forward pass.
    """

    def __init__(self, model: nn.Module, calls: int) -> None:
        super().__init__()
        for module in list(model.modules()):
            for name, part in module.named_children():
                if isinstance(part, nn.ReLU):
                    module.register_module(name, Call())
        self.model = Call() if isinstance(model, nn.ReLU) else model
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(calls))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """What the model gives, (N, K)."""
        with Rerouted(self.relus):
            logits: Tensor = self.model(images)
        return logits


class Call(nn.Module):
    """Stands where an nn.ReLU stood, and is none."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return torch.relu(x)


class Counter(TorchFunctionMode):
    """Counts the calls of ReLU."""

    calls = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Torch asks here for every function it runs."""
        self.calls += func in RELUS
        return func(*args, **kwargs or {})


class Rerouted(TorchFunctionMode):
    """Sends every call of ReLU to the next of some modules."""

    def __init__(self, relus: Iterable[nn.Module]) -> None:
        super().__init__()
        self.relus = iter(relus)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Torch asks here for every function it runs; not for what runs in here."""
        if func not in RELUS:
            return func(*args, **kwargs or {})
        options = dict(zip(("input", "inplace"), args, strict=False)) | (kwargs or {})
        relu = next(self.relus, None)
        if relu is None:
            raise ContractError("the model runs more ReLUs than in the pass before, so none can be told from the other")
        made = relu(options["input"])
        # Whoever wrote in place may go on with what was given, not with what came back.
        return options["input"].copy_(made) if func in IN_PLACE or options.get("inplace") else made
