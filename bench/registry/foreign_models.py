"""What anybody's build function gives, made a module that takes pictures and answers with logits (N, K)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import MissingError
from bench.modes import evaluating
from bench.registry.layouts import Layout, show_maps
from bench.registry.looking import layouts_of

WHOLE = "docs/bring-your-own.md shows a complete one"
LOGITS = ("logits", "out", "output", "outputs", "pred", "preds", "prediction", "predictions")  # keys and attributes


@dataclass(frozen=True)
class ForeignBuild:
    """The build function of a spec from outside.

    Attributes:
        build: from a number of classes to a model.
        name: what the user typed.
        size: pixels an edge of the pictures.
        layouts: of its layers; None where each model is to be looked at.
    """

    build: Callable[[int], object]
    name: str
    size: int
    layouts: Mapping[str, Layout] | None = None

    def __call__(self, num_classes: int) -> nn.Module:
        """The model itself, without what wraps it; hooks on it make the input and the answer what bench expects.

        Raises:
            MissingError: it is no module, or one that keeps its inside to itself.
        """
        value = without_wrappers(self.build(num_classes))
        if not isinstance(value, nn.Module):
            what = f"model '{self.name}' builds a {type(value).__name__}"
            raise MissingError(f"{what}, not a torch.nn.Module", try_=WHOLE)
        if isinstance(value, torch.jit.ScriptModule):
            what = f"model '{self.name}' builds TorchScript, whose layers cannot be read"
            raise MissingError(what, try_="the Python module that it was made of")
        first = next((each for each in value.modules() if isinstance(each, nn.Conv2d)), None)
        if first is not None and first.in_channels == 1:
            value.register_forward_pre_hook(grey)
        value.register_forward_hook(Logits(num_classes))
        self._settle(value)
        return show_maps(value, layouts_of(value, self.size) if self.layouts is None else self.layouts)

    def _settle(self, model: nn.Module) -> None:
        """Give lazy layers their weights, and find out whether the net takes images with the channels innermost."""
        images = torch.linspace(-1, 1, 2 * 3 * self.size**2).reshape(2, 3, self.size, self.size)
        with trying(model):
            plain = model(images)  # what fails here fails again where it is told
            if not same_with_channels_last(model, images, plain):
                model.to(memory_format=torch.contiguous_format)
                model.register_forward_pre_hook(contiguous)


@contextmanager
def trying(model: nn.Module) -> Iterator[None]:
    """A forward pass or two that leave no trace, and may fail."""
    with torch.random.fork_rng(devices=[]), evaluating(model):
        try:
            yield
        except Exception:  # anybody's code may fail in any way
            return


def same_with_channels_last(model: nn.Module, images: Tensor, plain: Any) -> bool:  # noqa: ANN401
    """Whether a model gives the same for weights and images with the channels innermost; its weights then are."""
    try:
        model.to(memory_format=torch.channels_last)
        other = model(images.contiguous(memory_format=torch.channels_last))
        return torch.allclose(other, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))
    except Exception:  # a `view` that needs another layout, and whatever else
        return False


def without_wrappers(value: Any) -> Any:  # noqa: ANN401 (what a build gave)
    """The module inside DataParallel, DistributedDataParallel and torch.compile, in any nesting."""
    while isinstance(value, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(value, "_orig_mod"):
        value = value._orig_mod if hasattr(value, "_orig_mod") else value.module
    return value


def grey(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The mean over the colours of images (N, 3, H, W), as (N, 1, H, W), for a model that takes grey ones."""
    images, *others = inputs
    return (images.mean(dim=1, keepdim=True) if images.ndim == 4 and images.shape[1] == 3 else images, *others)


def contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Images with the columns innermost, for a net that flattens with `view`."""
    images, *others = inputs
    return (images.contiguous(), *others)


def memory_format_of(model: nn.Module) -> torch.memory_format:
    """The layout of weights with which a model works."""
    return torch.contiguous_format if contiguous in model._forward_pre_hooks.values() else torch.channels_last


@dataclass(frozen=True)
class Logits:
    """A forward hook: whatever a model gives becomes logits (N, K), where it holds them."""

    classes: int

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> Any:  # noqa: ANN401
        """The logits in what the model gave; as it is where there are none to be seen."""
        images = len(inputs[0]) if inputs else 0
        found = logits_in(output, (images, self.classes))
        if not isinstance(found, torch.Tensor):
            return output
        if found.ndim > 2 and found.shape[2:].numel() == 1:  # (N, K, 1, 1) of a convolution as head
            found = found.flatten(1)
        if found.ndim == 1 and images == 1 and len(found) == self.classes:  # one image's, squeezed
            found = found[None]
        if found.ndim < 2 and found.numel() == images:  # one logit an image, squeezed
            found = found.reshape(images, 1)
        if self.classes == 2 and found.shape == (images, 1):  # one logit for two classes
            found = found * found.new_tensor([-0.5, 0.5])
        return found


def logits_in(output: Any, shape: tuple[int, int]) -> Any:  # noqa: ANN401 (what a model gave)
    """The logits of a mapping, a tuple or an object: what is called so, else the one of this shape.

    Of a plain tuple the first that has the shape, since auxiliary heads come behind. Anything else as it is.
    """
    if isinstance(output, torch.Tensor):
        return output
    fields = output if isinstance(output, Mapping) else getattr(output, "__dict__", {})
    if isinstance(output, list | tuple):  # the fields of a named tuple are attributes
        fields = {**{key: getattr(output, key) for key in LOGITS if hasattr(output, key)}, **dict(enumerate(output))}
    named = [fields[key] for key in LOGITS if key in fields]
    alike = [each for each in [*named, *fields.values()] if tuple(getattr(each, "shape", ())) == shape]
    if alike and (named or isinstance(output, list | tuple) or len(alike) == 1):
        return alike[0]
    return next(iter([*named, *(output if isinstance(output, list | tuple) else ())]), output)


def bgr(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Images (N, 3, H, W) with blue first, for a model that was trained on such."""
    images, *others = inputs
    return (images.flip(1), *others)


def logits_of_probabilities(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Logits that give the probabilities back: their logarithm after a softmax, else the inverse of the sigmoid."""
    tiny = torch.finfo(output.dtype).tiny
    known = output.clamp(min=tiny)
    if torch.allclose(output.sum(1), output.new_ones(len(output)), atol=1e-3):
        return known.log()
    return known.log() - (1 - output).clamp(min=tiny).log()


def described(model: nn.Module, *, channels: str, outputs: str) -> nn.Module:
    """The model itself, with hooks for what a user says of it: `bgr`, and `probabilities`."""
    if channels == "bgr":
        model.register_forward_pre_hook(bgr)
    if outputs == "probabilities":
        model.register_forward_hook(logits_of_probabilities)
    return model
