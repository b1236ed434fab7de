"""What the layers of anybody's net give, found out by trying: a few forward passes, each of which changes one thing.

An axis that grows with the number of images is that of the images, one that grows with the height of the picture holds
rows, with its width columns, with either tokens; one that never changes holds channels. A net that takes one size only
fails in some of these passes: then the channels are where the layers that know (linear layers, norms, convolutions)
have them, in tensors of the same shape.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from bench.modes import evaluating
from bench.registry.layouts import Layout

Shape = tuple[int, ...]
Place = tuple[str, int | None]  # a layer, and which tensor of what it gives
Arranged = tuple[tuple[int, int], tuple[int, ...]]  # a grid (h, w), and the positions of tokens that are not on it
Note = Callable[[str, nn.Module, tuple[Any, ...], Any], None]

LAST = (nn.Linear, nn.LayerNorm)  # have the channels last
SECOND = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.AdaptiveAvgPool2d, nn.MaxPool2d)


@contextmanager
def noting(model: nn.Module, note: Note) -> Iterator[None]:
    """Within a block `note` is told what each module of the model is given and gives, but for the model itself."""
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name:
                hook = module.register_forward_hook(
                    lambda module, inputs, output, name=name: note(name, module, inputs, output)
                )
                stack.callback(hook.remove)
        yield


def tensors_in(output: Any) -> dict[int | None, Tensor]:  # noqa: ANN401 (what a layer gave)
    """The tensor that a layer gave, under None, or those in a tuple by their positions."""
    if isinstance(output, Tensor):
        return {None: output}
    parts = enumerate(output) if isinstance(output, tuple | list) else ()
    return {place: each for place, each in parts if isinstance(each, Tensor)}


def pictures(model: nn.Module, count: int, height: int, width: int) -> Tensor:
    """(count, 3, height, width) noise, where the model is; the same each time."""
    like = next(model.parameters(), torch.empty(0))
    drawn = torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))
    return drawn.to(device=like.device, dtype=like.dtype if like.is_floating_point() else torch.float32)


def run(model: nn.Module, images: Tensor, note: Note) -> None:
    """One forward pass with notes; one that fails ends where it does."""
    with torch.random.fork_rng(devices=[]), noting(model, note):
        try:
            model(images)
        except Exception:  # anybody's net may fail in any way, and a size of ours is no fault of it
            return


# --- where axes lie -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """Shapes of one pass.

    Attributes:
        shapes: what each layer gave last, in the order in which layers finish.
        channels: of shapes that a layer with channels at a known axis was given or gave, these axes.
        shares: the axes along which what a layer gave adds up to 1, as the weights of an attention do.
    """

    shapes: dict[Place, Shape] = field(default_factory=dict)
    channels: defaultdict[Shape, set[int]] = field(default_factory=lambda: defaultdict(set))
    shares: dict[Place, set[int]] = field(default_factory=dict)

    def note(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        """A hook's."""
        for place, values in tensors_in(output).items():
            self.shapes.pop((name, place), None)
            self.shapes[name, place] = tuple(values.shape)
            self.shares[name, place] = shared_axes(values)
        for values in (*tensors_in(inputs).values(), *tensors_in(output).values()):
            shape = tuple(values.shape)
            if (axis := channel_axis(module, shape)) is not None:
                self.channels[shape].add(axis)


def shared_axes(values: Tensor) -> set[int]:
    """The axes along which a tensor with three of them holds shares, none of them negative, that add up to 1."""
    if values.ndim != 3 or not values.is_floating_point() or not values.numel() or values.min() < 0:
        return set()
    sums = {axis: values.float().sum(axis) for axis in range(3) if values.shape[axis] > 1}
    return {axis for axis, each in sums.items() if torch.allclose(each, torch.ones_like(each), atol=1e-2)}


def channel_axis(module: nn.Module, shape: Shape) -> int | None:
    """Where a layer of a known kind has its channels; None where that cannot be said."""
    if len(shape) < 3:
        return None
    if isinstance(module, nn.LayerNorm):  # some inherit from it and turn the axes round
        size = module.normalized_shape[-1]
        return None if (shape[-1] == size) == (shape[1] == size) else 1 if shape[1] == size else len(shape) - 1
    if isinstance(module, SECOND):
        return 1
    return len(shape) - 1 if isinstance(module, LAST) else None


@dataclass(frozen=True)
class Probes:
    """One picture; two of them; one of twice the height; one of twice the width."""

    one: Seen
    two: Seen
    tall: Seen
    wide: Seen

    @classmethod
    def of(cls, model: nn.Module, size: int) -> "Probes":
        """Four passes."""
        made = [Seen() for _ in range(4)]
        with evaluating(model):
            for seen, (count, height, width) in zip(made, ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)), strict=True):
                run(model, pictures(model, count, height * size, width * size), seen.note)
        return cls(*made)

    def axes(self, place: Place) -> tuple[int, ...] | None:
        """Of images, channels, then rows and columns or tokens; None where it is not so or cannot be told."""
        shape = self.one.shapes[place]
        many, tall, wide = (changed(shape, seen.shapes.get(place)) for seen in (self.two, self.tall, self.wide))
        if many is None or len(many) != 1 or len(shape) not in (3, 4):
            return None
        (images,) = many
        if shape[images] != 1 or self.two.shapes[place][images] != 2 or (tall or set()) | (wide or set()) >= many:
            return None
        if tall and wide:
            positions = [*tall] if tall == wide else [*tall, *wide]
            if len(tall) != 1 or len(wide) != 1 or len(positions) != len(shape) - 2:
                return None
        else:
            channel = self.channel(shape)
            if channel is None or (tall is not None and wide is not None and channel != 1):
                return None  # the picture's size has no say in it, so it holds no positions
            positions = [axis for axis in range(len(shape)) if axis not in (images, channel)]
            if not self.square(shape, positions, channel):
                return None
        (channels,) = {*range(len(shape))} - {images, *positions}
        return (images, channels, *positions)

    def channel(self, shape: Shape) -> int | None:
        """The one axis that layers have had as channels in tensors of this shape."""
        known = self.one.channels.get(shape, set())
        return next(iter(known)) if len(known) == 1 else None

    def square(self, shape: Shape, positions: Sequence[int], channel: int) -> bool:
        """Whether rows and columns may be such: as many of each, with channels last no more than convolutions had."""
        if len(positions) == 1:
            return True
        most = max((each[2] for each, axes in self.one.channels.items() if len(each) == 4 and axes == {1}), default=0)
        return shape[positions[0]] == shape[positions[1]] and (channel == 1 or not most or shape[positions[0]] <= most)

    def patches(self, place: Place, tokens: int) -> int | None:
        """How many of a layer's tokens are patches: as many as come with a picture of twice the height."""
        tall = self.tall.shapes.get(place)
        return tall[tokens] - self.one.shapes[place][tokens] if tall else None


def changed(shape: Shape, other: Shape | None) -> set[int] | None:
    """The axes that differ; None where there is nothing to compare."""
    if other is None or len(other) != len(shape):
        return None
    return {axis for axis, (one, two) in enumerate(zip(shape, other, strict=True)) if one != two}


def layouts_of(model: nn.Module, size: int) -> dict[str, Layout]:
    """The layers that give maps, or what maps can be made of, in the order in which they finish. Leaves it as found.

    Args:
        model: takes (N, 3, size, size).
        size: pixels an edge.
    """
    probes = Probes.of(model, size)
    shapes = probes.one.shapes
    axes = {place: where for place in shapes if (where := probes.axes(place))}
    grids = [(shapes[place][where[2]], shapes[place][where[3]]) for place, where in axes.items() if len(where) == 4]
    tokens = {probes.two.shapes[place]: where for place, where in axes.items() if len(where) == 3}
    fixed = constant_tokens(model, size, tokens) if tokens else {}
    found: dict[str, list[Layout]] = defaultdict(list)
    for place, (images, channels, *positions) in axes.items():
        if len(positions) == 1 and positions[0] in probes.one.shares[place]:
            continue  # how much a query looks at each token
        sizes = [shapes[place][axis] for axis in positions]
        patches = probes.patches(place, positions[0])
        made = ((sizes[0], sizes[1]), ()) if len(sizes) == 2 else grid_of(sizes[0], patches, grids, fixed)
        if made is not None:
            where = (images, channels, *positions)
            found[place[0]].append(Layout(where, shapes[place][channels], *made, place[1]))
    return {name: those[0] for name, those in found.items() if len(those) == 1}


def constant_tokens(model: nn.Module, size: int, tokens: Mapping[Shape, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """Of sequences by their length: the positions that hold the same whatever the picture, where they are made.

    Args:
        tokens: shapes of layers' outputs for two pictures, with their axes of images, channels, tokens.
    """
    found: dict[int, tuple[int, ...]] = {}

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        for values in (*tensors_in(inputs).values(), *tensors_in(output).values()):
            axes = tokens.get(tuple(values.shape))
            if axes is not None and values.shape[axes[2]] not in found:
                first, second = values.detach().permute(axes)
                same = (first == second).all(dim=0)
                if not same.all():  # as embeddings of positions are
                    found[len(same)] = tuple(same.nonzero().flatten().tolist())

    with evaluating(model):
        run(model, pictures(model, 2, size, size), note)
    return found


def grid_of(
    length: int, patches: int | None, grids: Sequence[tuple[int, int]], fixed: Mapping[int, tuple[int, ...]]
) -> Arranged | None:
    """The grid of a sequence of tokens, and the positions of those that are no patches; None where none fits.

    Args:
        length: tokens.
        patches: how many of them are patches, where that is known.
        grids: (h, w) of layers that have rows and columns.
        fixed: by length the positions that do not depend on the picture.
    """
    own = fixed.get(length, ())
    # A class token that another stage begins with has seen the picture; it stands where it stood before.
    tried = [own, *(each for each in fixed.values() if each and each[-1] < len(each))]
    if patches is not None:
        tried = [each for each in tried if len(each) == length - patches] or [tuple(range(length - patches))]
    for others in tried:
        count = length - len(others)
        known = next((grid for grid in grids if grid[0] * grid[1] == count), None)
        edge = isqrt(max(count, 0))
        if known or edge * edge == count > 0:
            return known or (edge, edge), others
    return None


# --- what the logits depend on --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flow:
    """What two pictures and a way back show.

    Attributes:
        trunk: layers through which all goes that the logits know of the picture.
        live: layers whose maps have a gradient somewhere.
        norms: those that normalise, by the names of their classes.
        depths: within how many other layers each lies.
    """

    trunk: frozenset[str] = frozenset()
    live: frozenset[str] = frozenset()
    norms: frozenset[str] = frozenset()
    depths: Mapping[str, int] = field(default_factory=dict)


def awake(model: nn.Module) -> nn.Module:
    """The model itself, with other weights where all of a tensor are equal.

    Many nets begin with a head or with branches that are zero, and nothing would flow.
    """
    drawing = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.numel() and parameter.min() == parameter.max():
            parameter.data.add_(0.02 * torch.randn(parameter.shape, generator=drawing).to(parameter))
    return model


def flow(model: nn.Module, size: int, layouts: Mapping[str, Layout]) -> Flow:
    """Which layers lie on the trunk and which have a gradient. Leaves the model as found."""
    made: dict[str, tuple[Any, Tensor]] = {}
    nodes: dict[str, Node | None] = {}

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        layout = layouts.get(name)
        values = tensors_in(output).get(layout.item) if layout else None
        if values is not None and values.requires_grad:
            made[name], nodes[name] = (output, values), values.grad_fn

    images = pictures(model, 2, size, size).requires_grad_()
    answers: list[Any] = []
    with torch.inference_mode(False), evaluating(model, gradients=True), noting(model, note):
        start = images.clone()  # which a model may write over
        begun = start.grad_fn
        with torch.random.fork_rng(devices=[]):
            answers.append(model(start))
    logits = answers[0]
    if not isinstance(logits, Tensor) or not logits.requires_grad or not made:
        return Flow()
    weights = torch.linspace(1, 2, logits.numel(), device=logits.device, dtype=logits.dtype).view_as(logits)
    slopes = torch.autograd.grad((logits * weights).sum(), [values for _, values in made.values()], allow_unused=True)
    live = [
        name
        for (name, (output, _)), slope in zip(made.items(), slopes, strict=True)
        if slope is not None and _reaches(layouts[name], output, slope)
    ]
    modules = dict(model.named_modules())
    return Flow(
        trunk=frozenset(names_on_all_paths(logits, begun, nodes)),
        live=frozenset(live),
        norms=frozenset(name for name, module in modules.items() if "norm" in type(module).__name__.lower()),
        depths={name: depth_of(name, modules, layouts) for name in layouts},
    )


def depth_of(name: str, modules: Mapping[str, nn.Module], layouts: Mapping[str, Layout]) -> int:
    """Within how many layers one lies; a row of stages is none, nor a list of layers, which has no output."""
    parts = name.split(".")
    around = {".".join(parts[:length]) for length in range(1, len(parts))} & layouts.keys()
    if any(modules[name].children()):
        around = {each for each in around if type(modules[each]).forward is not nn.Sequential.forward}
    return len(around)


def _reaches(layout: Layout, output: Any, slope: Tensor) -> bool:  # noqa: ANN401
    """Whether a gradient lies on the patches of a layer, not on its class token alone."""
    given = slope if layout.item is None else [*output[: layout.item], slope, *output[layout.item + 1 :]]
    maps = layout.map_of(given)
    return maps is not None and bool(maps.any())


def names_on_all_paths(logits: Tensor, start: Node | None, nodes: Mapping[str, Node | None]) -> list[str]:
    """The names whose node lies on every path of the graph from the logits back to the start."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node | None, bool]] = [(logits.grad_fn, False)]
    while stack:  # children before parents
        node, done = stack.pop()
        if node is not None and done:
            order.append(node)
        elif node is not None and node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((child, False) for child, _ in node.next_functions)
    below: dict[Node | None, int] = {}  # paths to the start
    for node in order:
        below[node] = 1 if node is start else sum(below.get(child, 0) for child, _ in node.next_functions)
    above: dict[Node | None, int] = defaultdict(int, {logits.grad_fn: 1})  # paths from the logits
    for node in reversed(order):
        for child, _ in node.next_functions:
            above[child] += above[node]
    total = below.get(logits.grad_fn, 0)
    return [name for name, node in nodes.items() if total and above[node] * below.get(node, 0) == total]
