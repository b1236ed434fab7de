"""Explainers that are wrong in one way each, and the honest one they are made from."""

import itertools
import math
import random
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from reference_cam import maps_of
from torch import Tensor, nn

from bench.contracts import ExplainerSpec

Maps = dict[str, Tensor]
Explain = Callable[[nn.Module, Sequence[str], Tensor, Tensor], Maps]


def honest(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
    """Grad-CAM, slow and plain. Classes are counted from 0, and a wrong one is an IndexError."""
    with torch.enable_grad():
        return careless(model, layers, images, targets)


def careless(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
    """The same for callers that record gradients."""
    if (targets < 0).any():
        raise IndexError("a target below 0")
    return {layer: maps_of(model, layer, images, targets) for layer in layers}


def hirescam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
    """Gradient times activation, position by position: not Grad-CAM where gradients differ between them."""
    maps = {}
    for layer in layers:
        kept: list[Tensor] = []
        hook = lambda module, inputs, output, kept=kept: (kept.append(output), output.clone())[1]  # noqa: E731
        handle = model.get_submodule(layer).register_forward_hook(hook)
        with torch.enable_grad():
            logits = model(images.clone().requires_grad_())
        handle.remove()
        columns = []
        for column in targets.unbind(1):
            total = logits.gather(1, column[:, None]).sum()
            (slope,) = torch.autograd.grad(total, kept[0], retain_graph=True)
            columns.append((slope * kept[0]).sum(1).detach())
        maps[layer] = torch.stack(columns, dim=1)
    return maps


def aliasing(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
    """Grad-CAM whose activation is no copy, so that what is computed in place later overwrites it."""
    maps = {}
    for layer in layers:
        kept: list[Tensor] = []
        slopes: list[Tensor] = []

        def keep(module: nn.Module, inputs: object, output: Tensor, kept: Any = kept, slopes: Any = slopes) -> None:
            kept.append(output.detach())
            output.register_hook(slopes.append)  # type: ignore[no-untyped-call]

        handle = model.get_submodule(layer).register_forward_hook(keep)
        columns = []
        for column in targets.unbind(1):
            with torch.enable_grad():
                model(images.clone().requires_grad_()).gather(1, column[:, None]).sum().backward()
            columns.append((slopes[-1].mean((2, 3), keepdim=True) * kept[-1]).sum(1))
        handle.remove()
        maps[layer] = torch.stack(columns, dim=1)
    return maps


def of_pixels(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
    """The gradient of the target's logit by the pixels: an honest input method, of two passes an image and target."""
    if list(layers) != ["input"]:
        raise KeyError("it knows the input only")
    if (targets < 0).any():
        raise IndexError("a target below 0")
    columns = []
    for column in targets.unbind(1):
        with torch.enable_grad():
            leaf = images.detach().clone().requires_grad_()
            logits = model(leaf)
            total = sum(logits[n, target] for n, target in enumerate(column.tolist()))
        columns.append(torch.autograd.grad(total, leaf)[0].sum(1))
    return {"input": torch.stack(columns, dim=1)}


def each(change: Callable[[Tensor], Any], explain: Explain = honest) -> Explain:
    """The honest maps, each changed by a function of (N, T, h, w)."""
    return lambda m, l, x, t: {layer: change(maps) for layer, maps in explain(m, l, x, t).items()}  # noqa: E741


def in_place_of_error(instead: Callable[..., Maps]) -> Explain:
    """The honest maps, and something else where an IndexError comes."""

    def explain(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
        try:
            return honest(model, layers, images, targets)
        except IndexError:
            return instead(layers, images, targets)

    return explain


def besides(deed: Callable[[nn.Module, Tensor, Tensor], object]) -> Explain:
    """The honest maps, and something done besides."""

    def explain(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
        maps = honest(model, layers, images, targets)
        deed(model, images, targets)
        return maps

    return explain


def asked(change: Callable[[Tensor], Tensor]) -> Explain:
    """The honest maps of other targets than those asked for."""
    return lambda m, l, x, t: honest(m, l, x, change(t))  # noqa: E741


def spec_of(explain: Explain, **changes: Any) -> ExplainerSpec:
    """An entry that claims nothing but what `changes` says."""
    return ExplainerSpec(**{"name": "planted", "explain": explain, "source": "tests", "backend": "torch", **changes})


def over_cells(reduce: str) -> Callable[[Tensor], Tensor]:
    return lambda maps: getattr(maps, reduce)((2, 3), keepdim=True)


def min_max(maps: Tensor) -> Tensor:
    low, high = over_cells("amin")(maps), over_cells("amax")(maps)
    return (maps - low) / (1e-7 + high - low)


def fail(*values: object) -> Any:
    raise ZeroDivisionError("planted\nwith a second line")


def leave(*values: object) -> Any:
    raise SystemExit(2)


def remembering() -> Explain:
    """Adds what it gave before."""
    before: list[Maps] = []

    def explain(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
        before.append(honest(model, layers, images, targets))
        now = before[-1]
        return {name: maps + sum(float(old[name].sum()) for old in before[:-1]) for name, maps in now.items()}

    return explain


def hoarding() -> Explain:
    kept: list[Tensor] = []
    return besides(lambda model, images, targets: kept.append(images.clone()))


def counting() -> Explain:
    calls = itertools.count(1)
    return each(lambda maps: next(calls) * maps)


def no_maps(layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
    return {name: images.new_zeros(*targets.shape, 4, 4) for name in layers}


def another_error(*values: object) -> Maps:
    raise KeyError("no such class") from None


def of_the_last_layer(m: nn.Module, layers: Sequence[str], x: Tensor, t: Tensor) -> Maps:
    return dict.fromkeys(layers, honest(m, ["layer4"], x, t)["layer4"])


def pixels_for_any_layer(m: nn.Module, layers: Sequence[str], x: Tensor, t: Tensor) -> Maps:
    return dict.fromkeys(layers, of_pixels(m, ["input"], x, t)["input"])


def backward(model: nn.Module, images: Tensor, targets: Tensor) -> None:
    if images.requires_grad:
        with torch.enable_grad():
            model(images).sum().backward()


def too_bright(m: nn.Module, layers: Sequence[str], x: Tensor, t: Tensor) -> Maps:
    ramp = torch.linspace(0, 1.5, 32 * 32, dtype=x.dtype).view(32, 32)
    return {name: ramp.expand(*t.shape, 32, 32).clone() for name in layers}


drawing = each(lambda maps: maps * random.uniform(1, 2))


def of_the_first_layer(m: nn.Module, layers: Sequence[str], x: Tensor, t: Tensor) -> Maps:
    maps = honest(m, layers, x, t)
    return {name: each + maps[layers[0]].mean() for name, each in maps.items()}


def where_trainable(m: nn.Module, layers: Sequence[str], x: Tensor, t: Tensor) -> Maps:
    return each(lambda maps: maps * (1 + sum(p.requires_grad for p in m.parameters())))(m, layers, x, t)


# check -> (what is planted, words of the outcome)
PLANTED: dict[str, list[tuple[ExplainerSpec, str]]] = {
    "spec": [
        (spec_of(honest, name="My CAM"), "its name is 'My CAM'"),
        (spec_of(honest, source=" "), "it names no source"),
        (spec_of(honest, max_batch=0), "max_batch is 0"),
        (spec_of(honest, cost=lambda layer: math.nan), r"cost\('layer3'\) is nan"),
        (spec_of(honest, output="picture"), "does not name its steps"),
    ],
    "answers": [
        (spec_of(fail), "^raised ZeroDivisionError: planted$"),
        (spec_of(leave), "^raised SystemExit: 2$"),
        (spec_of(lambda *values: [1]), "returned a list"),  # type: ignore[arg-type]
        (
            spec_of(lambda m, layers, x, t: honest(m, layers[:1], x, t)),
            r"returned \['layer3'\] for layers \['layer3', 'layer4'\]",
        ),
        (spec_of(each(lambda maps: maps.numpy())), "returned a ndarray at layer3, not a tensor"),
    ],
    "shape": [
        (spec_of(each(lambda maps: maps[:, 0])), r"\(3, 8, 8\) at layer3, not \(3, 2, 8, 8\)"),
        (spec_of(each(lambda maps: maps.repeat_interleave(4, 3))), r"\(3, 2, 8, 32\) at layer3, not \(3, 2, 8, 8\)"),
        (spec_of(honest, output="picture", steps=("none",)), r"\(3, 2, 8, 8\) at layer3, not \(3, 2, 32, 32\)"),
    ],
    "dtype": [
        (spec_of(each(Tensor.float)), "torch.float32 at layer3 for a model and images in torch.float64"),
        (spec_of(each(Tensor.double)), "torch.float64 at layer3 for a model and images in torch.float32"),
        (spec_of(lambda m, l, x, t: honest(m, l, x.float(), t)), "^raised RuntimeError: .*FloatTensor"),  # noqa: E741
    ],
    "detached": [(spec_of(each(lambda maps: maps.requires_grad_())), "layer3, layer4 is not detached")],
    "raw": [
        (spec_of(each(min_max)), "^min-max scaled: every map runs from 0 to 1 at layer3"),
        (spec_of(each(lambda m: min_max(m.relu()) + 0.0)), "^min-max scaled"),
        (spec_of(each(lambda m: m - over_cells("amax")(m) + 1)), "the largest value of every map is 1 at layer3"),
        (spec_of(each(lambda m: m / over_cells("amax")(m.abs()))), "the largest absolute value of every map is 1 at"),
        (spec_of(each(lambda m: m.flatten(2).softmax(2).view_as(m)), signed=False), "the sum of every map is 1 at"),
        (spec_of(each(lambda m: m / m.square().sum((2, 3), keepdim=True).sqrt())), "the norm of every map is 1 at"),
    ],
    "finite": [
        (spec_of(each(lambda m: m.masked_fill(m == m.max(), torch.nan))), "^1 of 384 values at layer3 are no numbers"),
        (spec_of(each(lambda maps: maps / 0.0)), "^384 of 384 values at layer3 are no numbers"),
        (spec_of(each(torch.zeros_like)), "^every map is constant at layer3"),
    ],
    "signed": [
        (spec_of(each(torch.relu)), "no value below zero .*says signed"),
        (spec_of(honest, signed=False), "^down to -.* at layer3, but the spec says that it is not signed"),
    ],
    "picture": [
        (spec_of(too_bright, output="picture", steps=("none",)), "from .* to .* at layer3, not within 0 and 1"),
    ],
    "repeatable": [
        (spec_of(drawing), "two calls differ: apart by"),
        (spec_of(drawing, stochastic=True), "two calls differ under the same seed of torch's generator"),
        (spec_of(counting()), "two calls differ"),
        (spec_of(remembering()), "two calls differ"),
    ],
    "batch": [
        (spec_of(each(lambda maps: maps / maps.abs().amax())), "a batch of 3 differs from its images alone"),
        (spec_of(asked(lambda t: t[:1].expand_as(t))), "a batch of 3 differs"),
    ],
    "layers-together": [(spec_of(of_the_first_layer), "2 layers in one call differ from one at a time")],
    "targets-together": [(spec_of(each(lambda maps: maps.cumsum(1))), "two targets in one call differ")],
    "no-grad-mode": [(spec_of(careless), "raised RuntimeError: element 0 of tensors does not require grad")],
    "trainable": [(spec_of(where_trainable), "maps of a model with trainable parameters differ")],
    "class-specific": [
        (spec_of(asked(torch.zeros_like)), "are equal at layer3, but the spec says class_specific"),
        (spec_of(asked(lambda t: torch.cat([t[:1] * 0, t[1:]]))), "of image 0 are equal at layer3"),
        (spec_of(honest, class_specific=False), "differ by .* but the spec denies class_specific"),
    ],
    "wrong-target": [
        (spec_of(asked(lambda t: t.clamp(max=9))), "target 10 of 10 classes gives a map instead of an error"),
        (spec_of(asked(lambda t: t.clamp(min=0))), "target -1 of 10 classes gives a map instead of an error"),
    ],
    "wrong-layer": [
        (spec_of(of_the_last_layer), "^layer 'no_such_layer' gives a map instead of an error"),
        (spec_of(pixels_for_any_layer, output="input"), "^layer 'no_such_layer' gives a map instead of an error"),
    ],
    "training-flags": [(spec_of(besides(lambda m, x, t: m.train())), "it left training = True in the model")],
    "grad": [(spec_of(besides(lambda m, x, t: m.zero_grad())), r"it changed the \.grad of conv1\.weight")],
    "requires-grad": [
        (spec_of(besides(lambda m, x, t: m.requires_grad_(True))), r"it changed requires_grad of bn1\.weight"),
        (spec_of(besides(lambda m, x, t: m.requires_grad_(False))), r"it changed requires_grad of conv1\.weight"),
    ],
    "hooks": [
        (
            spec_of(besides(lambda m, x, t: m.get_submodule("layer3").register_forward_hook(print))),
            "it left a forward hook on layer3",
        ),
    ],
    "buffers": [
        (
            spec_of(besides(lambda m, x, t: m.get_buffer("bn1.running_mean").add_(1))),
            r"it changed buffer bn1\.running_mean",
        )
    ],
    "parameters": [
        (
            spec_of(besides(lambda m, x, t: next(m.parameters()).data.mul_(1.001))),
            r"it changed parameter conv1\.weight",
        )
    ],
    "modules": [(spec_of(besides(lambda m, x, t: m.add_module("added", nn.ReLU()))), "it changed module added")],
    "inputs": [(spec_of(besides(lambda m, x, t: x.mul_(2))), "it changed the images")],
    "modes": [
        (
            spec_of(besides(lambda m, x, t: torch.set_grad_enabled(not torch.is_grad_enabled()))),
            "it left the recording of gradients switched",
        )
    ],
    "random-state": [(spec_of(besides(lambda *rest: torch.rand(1))), "it drew from torch's global generator")],
    "image-gradients": [
        (spec_of(besides(backward)), "left a gradient on images that require gradients"),
        (spec_of(besides(lambda m, x, t: x.requires_grad_(False))), "switched off the gradients of the images"),
    ],
    "error": [
        (spec_of(in_place_of_error(no_maps)), "^an error in forward pass 1 of 2 gives a map instead of an error"),
        (spec_of(in_place_of_error(another_error)), "^an error in forward pass 1 of 2 became KeyError"),
        (spec_of(hirescam), "^after an error in forward pass 1 of 2 it left a forward hook on layer3"),
    ],
    "silent": [
        (spec_of(besides(lambda *rest: print("half done"))), "^it prints 'half done"),  # noqa: T201
        (spec_of(besides(lambda *rest: sys.stderr.write("50 %"))), "^it prints '50 %'"),
        (spec_of(besides(lambda *rest: warnings.warn("old", stacklevel=1))), "^it warns: old"),
    ],
    "cost": [
        (
            spec_of(of_pixels, output="input", cost=lambda layer: 1.0),
            "takes 2.00 forward passes, but the spec says 1.00",
        ),
    ],
    "memory": [(spec_of(hoarding()), r"^0\.[23] MB more after 20 batches$")],
    "head-scale": [(spec_of(each(min_max), claims="grad-cam"), "twice the head's weights do not give twice the map")],
    "reference": [
        (spec_of(hirescam, claims="grad-cam"), "not Grad-CAM: apart by .* at layer3"),
        (spec_of(each(torch.neg), claims="grad-cam"), "not Grad-CAM: apart by 2 of the map's largest value"),
    ],
}
