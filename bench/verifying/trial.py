"""How a plug-in is called while it is tried: as bench calls it, on copies, and whatever it did is put back."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor, nn

from bench.clock import Stopwatch
from bench.contracts import Explainer, ExplainerSpec, Layer
from bench.explaining.batches import explained
from bench.explaining.guard import drawn_by
from bench.explaining.side_effects import changes, watch, watch_randomness
from bench.judging.diagnosis import Scene, plain_maps
from bench.nets.summary import layers_in, summarise


class CrashError(Exception):
    """The plug-in raised, or gave what cannot be read as maps; the message is its reason."""


@dataclass(frozen=True, eq=False)
class Stage:
    """What explainers are tried on.

    Attributes:
        model: gives logits (N, K); in eval mode, frozen, float32, on the CPU. Never touched: every call gets a copy.
        layers: what maps are asked for.
        images: (N, 3, H, W) float32, normalised, N >= 2.
        targets: (N, 2) int64, two different classes an image, and not the same ones for all images.
        classes: K.
    """

    model: nn.Module
    layers: tuple[str, ...]
    images: Tensor
    targets: Tensor
    classes: int

    @property
    def measured(self) -> tuple[Layer, ...]:
        """The layers with what one pass of one image shows of them."""
        return layers_in(summarise(self.model, self.images.shape[-1]), self.layers)


@dataclass(frozen=True, eq=False)
class Trial(Stage):
    """A plug-in on a stage.

    Attributes:
        spec: the plug-in.
        reference: an explainer known to be Grad-CAM; None for the slow one of `bench judge`.
    """

    spec: ExplainerSpec
    reference: Explainer | None = None

    @property
    def at_once(self) -> int:
        """Images a call, as bench would give them."""
        return 1 if self.spec.stochastic else max(1, min(self.spec.max_batch, len(self.images)))

    @cached_property
    def maps(self) -> dict[str, Tensor]:
        """{layer: (N, 2, h, w)} of all images, in float32."""
        return self.ask(self.images, self.targets)

    @cached_property
    def doubles(self) -> dict[str, Tensor]:
        """The same in float64, where two ways to the same map differ by next to nothing.

        In float32 they may differ by a hundredth of the map, where a ReLU near zero falls to the other side.
        """
        return self.ask(self.images.double(), self.targets)

    @cached_property
    def alone(self) -> tuple[dict[str, Tensor], ...]:
        """{layer: (N, 1, h, w)} for each of the two targets, asked for by itself, in float64."""
        return tuple(self.ask(self.images.double(), column[:, None]) for column in self.targets.unbind(1))

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        """{layer: (N, C, h, w)} of the layers themselves, as each gave it; none for an input method."""
        found: dict[str, Tensor] = {}
        model = self.copy()
        if self.spec.output != "input":
            for layer in self.layers:
                model.get_submodule(layer).register_forward_hook(  # clones: what follows may write into an output
                    lambda _module, _inputs, output, layer=layer: found.update({layer: output.clone()})
                )
            with torch.no_grad():
                model(self.images)
        return found

    @cached_property
    def grids(self) -> dict[str, tuple[int, ...]]:
        """(h, w) of each layer's maps: the last two sizes of its output, or of the images."""
        sizes = self.outputs if self.spec.output == "layer" else dict.fromkeys(self.layers, self.images)
        return {layer: tuple(values.shape[2:]) for layer, values in sizes.items()}

    def head(self, model: nn.Module) -> tuple[str, nn.Linear] | None:
        """The name of the layer that gives the logits, and the layer; None where the model has no linear one."""
        linear = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.Linear)]
        return next((each for each in reversed(linear) if each[1].out_features == self.classes), None)

    @cached_property
    def crash(self) -> str:
        """Why the plug-in does not answer at all; empty where it does."""
        try:
            return "" if self.maps else "it returned no maps"
        except CrashError as error:
            return str(error)

    @cached_property
    def left(self) -> dict[str, list[str]]:
        """What a call with one image left behind, by kind; after a first call, which may import its library."""
        if self.crash:
            raise CrashError(self.crash)
        found, error = self.left_by(self.copy())
        if error:
            raise CrashError(
                f"raised {type(error).__name__} where some parameters are trainable: {first_line(error)}"
            ) from error
        return found

    def left_by(self, model: nn.Module) -> tuple[dict[str, list[str]], BaseException | None]:
        """What a call with one image left behind, kind by kind, and what it raised.

        Args:
            model: a copy that nobody else needs. Every other parameter is made trainable and gets a gradient, so that
                one that is lost, changed or new is seen, and a `requires_grad` that is switched in either direction.
        """
        for index, parameter in enumerate(model.parameters()):
            parameter.requires_grad_(index % 2 == 0)
            parameter.grad = torch.ones_like(parameter) if index % 2 == 0 else None
        images, targets = self.images[:1].clone(), self.targets[:1, : 1 if self.spec.stochastic else None].clone()
        own = partial(drawn_by, self.spec, model, self.layers, images, targets)
        watchers = watch(model, images, targets, stochastic=self.spec.stochastic, own=own)
        raised: BaseException | None = None
        try:
            self.spec.explain(model, self.layers, images, targets)
        except (Exception, SystemExit) as error:
            raised = error
        found = {kind: changes({kind: those}) for kind, those in watchers.items()}
        found["requires-grad"] = [fault for fault in found["grad"] if "requires_grad" in fault]
        found["grad"] = [fault for fault in found["grad"] if "requires_grad" not in fault]
        return found, raised

    def ask(
        self,
        images: Tensor,
        targets: Tensor,
        *,
        layers: Sequence[str] | None = None,
        model: nn.Module | None = None,
        at_once: int | None = None,
    ) -> dict[str, Tensor]:
        """Maps of some images, in the calls that bench would make; whatever a call leaves behind is undone.

        Args:
            layers: instead of all.
            model: instead of a fresh copy in the precision of the images.
            at_once: images a call, instead.

        Raises:
            CrashError: the plug-in raised, or did not give a tensor for each layer.
        """
        net = model if model is not None else self.copy(images.dtype)
        names = tuple(layers or self.layers)
        spec = replace(self.spec, max_batch=at_once or self.at_once)
        try:
            return explained(spec, net, names, images, targets, call=self.tried)
        except (RuntimeError, IndexError) as error:
            raise CrashError(
                f"its maps of one image and of another do not fit together: {first_line(error)}"
            ) from error

    def copy(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The model once more, sharing no tensor with it."""
        return deepcopy(self.model).to(dtype)

    def tried(
        self,
        spec: ExplainerSpec,
        model: nn.Module,
        layers: Sequence[str],
        images: Tensor,
        targets: Tensor,
        watch: Stopwatch,
    ) -> Mapping[str, Tensor]:
        """One call in the place of the guard's: what it leaves behind is undone and held against nobody here."""
        with put_back(model, images, targets):
            return as_maps(self.call(model, layers, images, targets), layers)

    def call(self, model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> object:
        """One call.

        Raises:
            CrashError: the plug-in raised.
        """
        try:
            return self.spec.explain(model, layers, images, targets)
        except (Exception, SystemExit) as error:  # a plug-in may fail in any way, and must fail by its name
            raise CrashError(f"raised {type(error).__name__}: {first_line(error)}") from error


@contextmanager
def put_back(model: nn.Module, images: Tensor, targets: Tensor) -> Iterator[None]:
    """Whatever a plug-in does to model, inputs and global states is undone, but for the values of parameters."""
    watchers = watch(model, images, targets, stochastic=True)
    try:
        yield
    finally:
        changes(watchers)


@contextmanager
def moved_generators() -> Iterator[None]:
    """The global generators elsewhere than they were, so that whoever draws from them draws other numbers."""
    watcher = watch_randomness(stochastic=True)
    next(watcher)
    torch.rand(1), np.random.random(), random.random()  # noqa: NPY002 (those that plug-ins use)
    try:
        yield
    finally:
        next(watcher)


def first_line(error: BaseException) -> str:
    """What an error says, without the rest of it."""
    return (str(error).strip().splitlines() or ["(no words)"])[0]


def as_maps(raw: object, layers: Sequence[str]) -> Mapping[str, Tensor]:
    """What a plug-in gave, once it is clear that it is one tensor a layer."""
    if not isinstance(raw, Mapping):
        raise CrashError(f"returned a {type(raw).__name__}, not {{layer: maps}}")
    if set(raw) != set(layers):
        raise CrashError(f"returned {sorted(map(str, raw))} for layers {sorted(layers)}")
    for layer, values in raw.items():
        if not isinstance(values, Tensor):
            raise CrashError(f"returned a {type(values).__name__} at {layer}, not a tensor")
    return raw


# --- what maps are held against -----------------------------------------------------------------------------


def gap(found: Tensor, wanted: Tensor) -> float:
    """The largest difference of two maps over the largest value of that map, over all maps (..., h, w).

    Infinite where the shapes differ, or where one is not finite and the other is something else; zero where both
    are zero everywhere.
    """
    if found.shape != wanted.shape:
        return float("inf")
    found, wanted = found.detach(), wanted.detach()
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    apart = (found - wanted).abs().nan_to_num(nan=torch.inf, posinf=torch.inf).masked_fill(same, 0.0)
    size = torch.maximum(found.abs(), wanted.abs()).nan_to_num(nan=0.0, posinf=0.0)
    top = size.flatten(-2).amax(-1) if size.ndim > 1 else size
    most = apart.flatten(-2).amax(-1) if apart.ndim > 1 else apart
    return float(torch.where(most > 0, most / top, 0.0).max())


def slow_gradcam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Grad-CAM with nothing clever about it, layer by layer: {layer: (N, T, h, w)} raw maps, detached.

    Source: Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2, without the ReLU.
    """
    return {layer: plain_maps(Scene(model, layer, images, targets)).detach() for layer in layers}
