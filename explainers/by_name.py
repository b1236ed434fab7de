"""Any class of a library as an explainer, by its name there: called by what its classes have in common.

What comes back is found out on a net of two stages and two images, before the explainer is used: on a layer's grid or
in pixels, signed or not, whether target and random numbers have a say, whether a map depends on the other images of
its batch, and what it costs. A class for which that does not come out well is refused, with the reason.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from inspect import isclass, signature
from io import StringIO
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts import ExplainerSpec
from bench.errors import ContractError, UsageError, did_you_mean, in_one_line

from .activations import finished, record
from .layers import shape_of
from .pixels import INPUT, pixels, seeded
from .private_copy import private_copy


class RefusedError(ContractError):
    """A class cannot be an explainer; the message says why."""


@dataclass(frozen=True)
class Question:
    """What a class is asked, for one target an image.

    Attributes:
        net: a private copy of the model, for libraries that put things into it.
        layer: of that copy; None for a class that takes none.
        grid: (h, w) of the layer; of the image for a class that takes none.
        images: (N, 3, H, W), recording gradients.
        targets: (N,) int64.
    """

    net: nn.Module
    layer: nn.Module | None
    grid: tuple[int, ...]
    images: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Method:
    """A class of a library, and how it is called.

    Attributes:
        layered: whether it takes a layer.
        ask: gives (N, h, w).
    """

    layered: bool
    ask: Callable[[Question], Tensor]


@dataclass(frozen=True)
class Manner:
    """How a class has to be asked.

    Attributes:
        alone: image by image, since a map depends on its neighbours in the batch.
        drawing: it draws random numbers. What it draws starts anew for each image and target, so that neighbours have
            no say; of one that was not seen to draw always from 0, since some libraries draw where a layer is large.
        targeted: the target has a say.
    """

    alone: bool = True
    drawing: bool = True
    targeted: bool = True


def explain(
    method: Method, manner: Manner, model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """The maps of a class of a library, as the contract has them (`bench.contracts.Explainer`).

    Raises:
        UsageError, ContractError: as in `gradcam` for a class that takes a layer, else as in `saliency`.
    """
    with pixels(model, (INPUT,) if method.layered else layers, images, targets) as request:
        outputs = record(model, layers, images[:1], targets[:1]).outputs if method.layered else {INPUT: images}
        copy, seed = private_copy(model), int(torch.randint(2**31, ())) if manner.drawing else 0
        columns = (request.targets if manner.targeted else request.targets[:, :1]).unbind(1)
        found = {}
        for name in layers:
            layer = copy.get_submodule(name) if method.layered else None
            with handing_on_copies(layer):
                asked = [
                    Question(copy, layer, tuple(outputs[name].shape[2:]), request.images, column) for column in columns
                ]
                maps = finished([answer(method, each, alone=manner.alone, seed=seed) for each in asked], images)
            found[name] = maps if manner.targeted else maps.repeat(1, targets.shape[1], 1, 1)
        return found


def answer(method: Method, asked: Question, *, alone: bool, seed: int) -> Tensor:
    """(N, h, w), in one call or one an image.

    Raises:
        RefusedError: the class gives something else.
    """
    found = []
    for rows in torch.split(torch.arange(len(asked.images)), 1 if alone else len(asked.images)):
        images = asked.images[rows].detach().requires_grad_()
        with seeded(seed, images.device):
            maps = method.ask(Question(asked.net, asked.layer, asked.grid, images, asked.targets[rows]))
        if maps.ndim != 3 or len(maps) != len(images):
            raise RefusedError(f"it gives {shape_of(maps)} for {len(images)} images")
        found.append(maps.detach())
    return torch.cat(found)


@contextmanager
def handing_on_copies(layer: nn.Module | None) -> Iterator[None]:
    """What follows a layer gets a copy of its output, and so cannot write over what a library keeps of it.

    The copy must be made behind the library's own hooks, which come later than this one: so it is hooked in anew
    whenever the layer is about to run.
    """
    if layer is None:
        yield
        return
    handles = [layer.register_forward_hook(copied)]

    def again(module: nn.Module, inputs: object) -> None:
        handles.pop().remove()
        handles.append(module.register_forward_hook(copied))

    first = layer.register_forward_pre_hook(again)
    try:
        yield
    finally:
        first.remove()
        handles.pop().remove()


def copied(module: nn.Module, inputs: object, output: Any) -> Any:  # noqa: ANN401 (what a layer gives)
    """A forward hook that hands on a copy of a tensor, and anything else as it is."""
    return output.clone() if isinstance(output, Tensor) else output


class Classes(Mapping[str, ExplainerSpec]):
    """The classes of a library that explain something, by name; each is probed when it is asked for."""

    def __init__(
        self, library: str, backend: str, package: Callable[[], ModuleType], ways: Callable[[type], list[Method]]
    ) -> None:
        """The classes of a library.

        Args:
            library: what stands before the colon.
            backend: the distribution.
            package: imports the library.
            ways: of calling a class, the best first; none for one that explains nothing.
        """
        self.library, self.backend, self.package, self.ways = library, backend, package, ways

    def __iter__(self) -> Iterator[str]:
        return (name for name, each in self._classes().items() if self.ways(each))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, name: str) -> ExplainerSpec:
        """The explainer.

        Raises:
            UsageError: no such class, or one that cannot be an explainer; says why.
        """
        from .probing import facts_of

        known, advice = self._classes(), f"bench list explainers --library {self.library}"
        if name not in known:
            raise UsageError(f"{self.library} has no class '{name}'{did_you_mean(name, known)}", try_=advice)
        reason = "it explains nothing"
        for method in self.ways(known[name]):
            try:
                with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                    facts = facts_of(method)
            except Exception as error:  # a library may fail in any way
                reason = error.message if isinstance(error, RefusedError) else in_one_line(error)
                continue
            source = f"{known[name].__module__.partition('.')[0]}'s {name}, with the library's own settings"
            return ExplainerSpec(f"{self.library}_{name.lower()}", source=source, backend=self.backend, **facts)
        raise UsageError(f"{self.library}:{name} is no explainer: {reason}", try_=advice)

    def _classes(self) -> dict[str, type]:
        return {name: each for name, each in vars(self.package()).items() if isclass(each) and not name.startswith("_")}


def parameters(function: Callable[..., Any]) -> dict[str, bool]:
    """The parameters of a function or class by name, and whether each must be given."""
    return {
        each.name: each.default is each.empty
        for each in signature(function).parameters.values()
        if each.name != "self" and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    }
