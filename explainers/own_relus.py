"""A net as Captum's DeepLift and guided backprop need it: a module for every call of a function that they change."""

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.errors import ContractError

from .activations import private

RELUS = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
NOTHING: Mapping[Any, Any] = MappingProxyType({})


class OwnReLUs(nn.Module):
    """A net in which every call of a ReLU runs in a module of its own, on a tensor of its own, nothing in place.

    The libraries hook the modules of type nn.ReLU and the tensors that enter and leave them. A block that runs one
    such module twice (torchvision's) makes them fail; one that calls the function instead, or whose ReLU stands
    between two of them or beside a shortcut, makes them wrong without a word. So here they find nothing of the net
    but `relus`, and every call is sent to the next of these.

    Attributes:
        net: the model, left as found; in a tuple, where no search for modules looks.
        relus: one for each call, in the order of the forward pass.
        functions: whose calls are sent there: they are told by what enters and what leaves, not by what is between.
        instead: what runs in the place of other functions.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        *,
        functions: Collection[Any] = RELUS,
        instead: Mapping[Any, Callable[..., Tensor]] = NOTHING,
    ) -> None:
        """Call it inside `borrowed`. The first of the images (N, 3, H, W) is sent through once, to count the calls."""
        super().__init__()
        self.net, self.functions, self.instead = (model,), functions, instead
        counter = Rerouted((), functions)
        with torch.no_grad(), counter:
            model(private(images[:1]))
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(counter.calls))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """What the model gives, (N, K)."""
        with Rerouted(self.relus, self.functions, self.instead):
            logits: Tensor = self.net[0](images)
        return logits


class Rerouted(TorchFunctionMode):
    """Sends every call of some functions to the next of some modules; without modules it only counts the calls."""

    def __init__(
        self,
        relus: Iterable[nn.Module],
        functions: Collection[Any],
        instead: Mapping[Any, Callable[..., Tensor]] = NOTHING,
    ) -> None:
        super().__init__()
        self.relus, self.functions, self.instead, self.calls = tuple(relus), functions, instead, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Torch asks here for every function it runs; not for what runs in here."""
        options = kwargs or {}
        if func in self.instead:
            return self.instead[func](*args, **options)
        if func not in self.functions:
            return func(*args, **options)
        self.calls += 1
        given = args[0] if args else options["input"]
        if not (self.relus and given.requires_grad):
            return func(*args, **options)
        if self.calls > len(self.relus):
            raise ContractError("the model runs more ReLUs than in the pass before, so they cannot be matched")
        relu, more = self.relus[self.calls - 1], args[1:]  # not the tensor, whose graph leads back to the module
        options = {name: value for name, value in options.items() if name != "input"}
        vars(relu)["forward"] = lambda own: func(own, *more, **options)
        made = relu(given.clone())
        # Whoever wrote in place may go on with what was given, not with what came back.
        return given.copy_(made) if func.__name__.endswith("_") or options.get("inplace") else made
