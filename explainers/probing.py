"""What comes back from a class of a library, found out on a small net with the habits of the real ones."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import log
from operator import truediv
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.modes import generators_kept
from bench.total_flops import TotalFlops

from .by_name import Manner, Method, Question, RefusedError, explain
from .costs import by_size
from .pixels import INPUT

MOST_PASSES = 1000  # of one image and target: more would be minutes an image of a real net
SAME = 1e-6  # of a map's largest value, in float64: some libraries go through float32
AT_ONCE = 16  # images a call
EDGE = 16  # pixels of the probe's images
# What the number of forward passes may grow with, and how much of it there is in two tries.
OF_LAYERS = {"": (1, 1), "channels": (12, 6), "positions": (16, 64)}
OF_IMAGES = {"": (1, 1), "pixels": ((EDGE // 2) ** 2, EDGE**2)}
FINISHED = ("whatever the library does before it hands out a picture",)

Output = Literal["layer", "input", "pixels", "picture"]


class Block(nn.Module):
    """A residual block with torchvision's habits: one in-place ReLU for two calls, and a sum in place; or with none.

    Args:
        plain: without them, as the textbook has it.
    """

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(6, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12)
        self.conv2, self.bn2 = nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.shortcut = nn.Conv2d(6, 12, 1, stride=2)
        self.relu = nn.ReLU(inplace=not plain)
        self.last = nn.ReLU() if plain else self.relu
        self.plain = plain

    def forward(self, x: Tensor) -> Tensor:
        """(N, 6, h, w) to (N, 12, h / 2, w / 2)."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.plain:
            out = out + self.shortcut(x)
        else:
            out += self.shortcut(x)
        found: Tensor = self.last(out)
        return found


class ProbeNet(nn.Module):
    """A stem and a block: from 16 pixels `stem` makes 6 channels of 8x8 positions, `block` 12 of 4x4."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=not plain)
        )
        self.block = Block(plain=plain)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to logits (N, 5)."""
        logits: Tensor = self.head(self.pool(self.block(self.stem(images))).flatten(1))
        return logits


def probe_net(*, plain: bool = False) -> nn.Module:
    """The net in float64, always the same, never trained: with logits near each other, as in the conformance kit."""
    with generators_kept(torch.device("cpu"), 0), torch.enable_grad():
        net = ProbeNet(plain=plain)
        net(torch.randn(16, 3, EDGE, EDGE))  # statistics of the norms
    return net.double().eval().requires_grad_(False)


def probe_images(edge: int) -> Tensor:
    """(2, 3, edge, edge) float64, as bright as normalised images are."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, edge, edge, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Tried:
    """What a call gave.

    Attributes:
        maps: (images, targets, h, w).
        passes: how many images went through the net.
        drew: whether a generator of torch's or numpy's moved.
    """

    maps: Tensor
    passes: int
    drew: bool


def drawn() -> tuple[bytes, str]:
    """Where the generators are that libraries draw from."""
    return torch.get_rng_state().numpy().tobytes(), str(np.random.get_state())  # noqa: NPY002


@dataclass(frozen=True)
class Probe:
    """A class on the probe's net, which may be the plain one."""

    method: Method
    plain: bool = False

    def maps(self, manner: Manner, **where: Any) -> Tensor:  # noqa: ANN401 (as `tried` has them)
        """(images, targets, h, w) at a layer, where the class takes one."""
        return self.tried(manner, **where).maps

    def tried(
        self,
        manner: Manner,
        *,
        layer: str = "block",
        edge: int = EDGE,
        images: int = 2,
        targets: int = 2,
    ) -> Tried:
        """One call.

        Raises:
            RefusedError: more of them than anybody would wait for.
        """
        net, passes, drew, most = probe_net(plain=self.plain), 0, False, images * targets * MOST_PASSES

        def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            nonlocal passes
            passes += len(inputs[0])
            if passes > most:
                raise RefusedError(f"it takes over {MOST_PASSES:,} forward passes for an image of {edge}x{edge} pixels")

        def watched(question: Question) -> Tensor:
            nonlocal drew
            before = drawn()
            found = self.method.ask(question)
            drew |= drawn() != before
            return found

        net.register_forward_pre_hook(count)
        name, classes = layer if self.method.layered else INPUT, torch.tensor([[0, 1], [2, 3]])[:images, :targets]
        with generators_kept(torch.device("cpu"), 0), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            method = replace(self.method, ask=watched)
            return Tried(explain(method, manner, net, [name], probe_images(edge)[:images], classes)[name], passes, drew)

    def output(self, maps: Tensor) -> Output:
        """What the maps are, as `ExplainerSpec.output` has it."""
        height, width = maps.shape[2:]
        if self.method.layered and (height, width) == (EDGE // 4, EDGE // 4):
            return "layer"
        if (height, width) != (EDGE, EDGE):
            raise RefusedError(f"it gives {height}x{width} values, neither a layer's positions nor an image's pixels")
        if not self.method.layered:
            return "input"
        ends = torch.stack([maps.amin((2, 3)), maps.amax((2, 3)) - 1])
        return "picture" if bool((ends.abs() < 1e-3).all()) else "pixels"

    def independent(self, maps: Tensor, inside: Tensor) -> bool:
        """Whether a batch gives what its images have alone, at `block` and where activations are below zero."""
        together = Manner(alone=False, drawing=False)
        try:
            return same(maps, self.maps(together)) and same(inside, self.maps(together, layer="block.bn2"))
        except Exception:  # classes that take but one image fail in any way
            return False

    def cost(self, manner: Manner) -> Callable[[str], float]:
        """Forward passes an image and target, counted in multiplications, by what their number grows with."""
        if self.method.layered:
            sizes, found = OF_LAYERS, [self.passes(manner, layer=layer) for layer in ("block", "stem")]
        else:
            sizes, found = OF_IMAGES, [self.passes(manner, edge=edge) for edge in (EDGE // 2, EDGE)]
        (costs, numbers) = zip(*found, strict=True)
        grows = min(sizes, key=lambda name: abs(log(numbers[1] / numbers[0] * sizes[name][0] / sizes[name][1])))
        if not grows:
            return partial(by_size, grows=grows, fixed=max(costs), each=0.0)
        each = (costs[1] - costs[0]) / (sizes[grows][1] - sizes[grows][0])
        if each <= 0:  # where the layer itself is left out of the passes, which is much of so small a net
            return partial(by_size, grows=grows, fixed=0.0, each=max(map(truediv, costs, sizes[grows])))
        return partial(by_size, grows=grows, fixed=costs[0] - each * sizes[grows][0], each=each)

    def passes(self, manner: Manner, **where: Any) -> tuple[float, float]:  # noqa: ANN401 (layer or edge)
        """What one more image takes for one target: in the work of a forward pass, and in images through the net."""
        work, numbers, net = [], [], probe_net()
        with TotalFlops() as forward, torch.no_grad():
            net(probe_images(where.get("edge", EDGE))[:1])
        for images in (1, 2):
            with TotalFlops() as counter:
                numbers.append(self.tried(manner, images=images, targets=1, **where).passes)
            work.append(counter.get_total_flops())
        return (work[1] - work[0]) / forward.get_total_flops(), max(1, numbers[1] - numbers[0])


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two batches of maps are equal but for rounding."""
    return bool((one - other).abs().max() <= SAME * one.abs().max())


def facts_of(method: Method) -> dict[str, Any]:
    """The fields of an ExplainerSpec that a class turns out to have.

    Raises:
        RefusedError: it cannot be an explainer. Whatever the library raises passes.
    """
    probe, drawing = Probe(method), Probe(method).tried(Manner()).drew
    manner = Manner(drawing=drawing)
    maps = probe.maps(manner)
    output, below = probe.output(maps), probe.maps(manner, layer="stem") if method.layered else maps
    if not bool(maps.isfinite().all() & below.isfinite().all()):
        raise RefusedError("its maps contain values that are not finite")
    if torch.equal(maps.amax((2, 3)), maps.amin((2, 3))):
        raise RefusedError("for a single image every map is constant" + " at a net's last stage" * method.layered)
    if output in ("pixels", "picture") and same(maps, below):
        raise RefusedError("it gives the same map at every layer")
    inside = [each.maps(manner, layer="block.bn2") for each in (probe, Probe(method, plain=True))]
    if not same(*inside):
        raise RefusedError("it gives another map if a net's ReLUs run twice or in place")
    alone = drawing or not probe.independent(maps, inside[0])
    targeted = not all(same(each[:, 0], each[:, 1]) for each in (maps, below))
    manner = Manner(alone, drawing, targeted)
    return {
        "explain": partial(explain, method, manner),
        "output": output,
        "signed": output != "picture" and bool((maps < 0).any() | (below < 0).any()),
        "stochastic": drawing,
        "class_specific": manner.targeted,
        "steps": FINISHED if output == "picture" else (),
        "joint": False,
        "cost": probe.cost(manner),
        "max_batch": 1 if alone else AT_ONCE,
    }
