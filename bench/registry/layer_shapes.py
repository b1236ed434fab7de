"""Where a model has a grid to show, and which layers it is shown at."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.errors import ContractError, RoomError, in_one_line
from bench.memory import ran_out
from bench.modes import evaluating
from bench.registry.layouts import Layout, known_layouts
from bench.registry.looking import Flow, noting

Shapes = Mapping[str, tuple[int, ...]]


def shapes_of(model: nn.Module, size: int) -> tuple[dict[str, tuple[int, ...]], Tensor]:
    """What every module gives for one image, and the model's answer. The model is left as found.

    Args:
        model: takes (1, 3, size, size).
        size: pixels an edge.

    Returns:
        {name: shape for one image} in the order in which modules finish; () where a module gives no single tensor.
        A module that runs several times stands at its last. And the answer, as the model gave it.

    Raises:
        ContractError: the model cannot take such an image; says why.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, module: nn.Module, inputs: object, output: object) -> None:
        shapes.pop(name, None)
        shapes[name] = tuple(output.shape[1:]) if isinstance(output, torch.Tensor) else ()

    with noting(model, note):
        like = next(model.parameters(), torch.empty(0))
        try:
            with evaluating(model):
                answer = model(torch.zeros(1, 3, size, size, device=like.device, dtype=like.dtype))
        except Exception as reason:  # a model of anybody's may fail in any way
            if ran_out(reason):
                raise RoomError(type(model).__name__) from reason
            other = isinstance(reason, TypeError) or "channels" in str(reason)  # which no size of the image cures
            raise ContractError(
                f"{type(model).__name__} cannot take one image (3, {size}, {size}): {in_one_line(reason)}",
                try_="a class around it whose forward(images) gives it what it takes: docs/bring-your-own.md"
                if other
                else "--image-size with the edge in pixels that the model was made for",
            ) from reason
    return shapes, answer


def grids_of(model: nn.Module, size: int) -> dict[str, tuple[int, int, int]]:
    """Those layers that have a grid of more than one position: {name: (channels, height, width)}, in forward order.

    Raises:
        ContractError: the model cannot take an image of `size` pixels an edge.
    """
    layouts = known_layouts(model)
    if layouts is None:  # a net that came with bench: whatever has three axes is a map
        shapes = shapes_of(model, size)[0].items()
        grids = {name: (shape[0], shape[1], shape[2]) for name, shape in shapes if len(shape) == 3}
    else:
        grids = {name: layout.shape for name, layout in layouts.items()}
    return {name: shape for name, shape in grids.items() if max(shape[1:]) > 1}


def default_layers(
    layouts: Mapping[str, Layout], size: int, preferred: Sequence[str] = (), *, through: Flow | None = None
) -> tuple[str, ...]:
    """The layers CAM methods use unless told otherwise: of each grid size one, the outermost and last that has it.

    Of the trunk, as far as it is known: beside another layer the picture reaches the logits, too. Grids shrink on the
    way: what a pooling layer has enlarged is none.

    Args:
        layouts: of the net's layers, in the order in which they finish.
        size: pixels an edge of the image.
        preferred: names the library itself gives, such as timm's feature_info; of other grids there is none.
        through: which layers lie on the trunk and have a gradient.

    Returns:
        Names in forward order; empty when the model has no grid at all.
    """
    grids = {name: each for name, each in layouts.items() if max(each.grid) > 1 and each.grid[0] <= size}
    wanted = {grids[name].grid for name in preferred if name in grids}
    grids = {name: each for name, each in grids.items() if not wanted or each.grid in wanted}
    for known in (through.trunk & through.live, through.live) if through else ():
        grids = {name: each for name, each in grids.items() if name in known} or grids
    depths = through.depths if through else {}
    ranks = {name: (name in preferred, -depths.get(name, name.count("."))) for name in grids}
    chosen: list[str] = []
    for name, layout in grids.items():
        if not chosen or layout.grid[0] < grids[chosen[-1]].grid[0]:
            chosen.append(name)
        elif layout.grid[0] == grids[chosen[-1]].grid[0] and ranks[name] >= ranks[chosen[-1]]:
            chosen[-1] = name
    return tuple(_with_gradient(name, layouts, through) for name in chosen) if through else tuple(chosen)


def _with_gradient(chosen: str, layouts: Mapping[str, Layout], through: Flow) -> str:
    """A layer of the trunk; or a later one among tokens on its grid, where that one is but what they are made of.

    Where only the class token is read, patches have no gradient behind the last attention: then it is the norm whose
    output goes into that attention. Some nets add blocks up in their own forward, so that of a trunk but the embedding
    is a layer: then it is the last norm, too.
    """
    known = layouts[chosen]
    same = [name for name, each in layouts.items() if (each.grid, each.channels) == (known.grid, known.channels)]
    before, behind = same[: same.index(chosen)], same[same.index(chosen) + 1 :]
    tokens = [name for name in behind if not layouts[name].is_map]
    norms = [name for name in tokens if name in through.live & through.norms]
    trunk = [name for name in tokens if name in through.live & through.trunk]
    if not set(tokens) <= through.live:
        better = [name for name in tokens if name in norms or name in trunk]
    elif known.is_map and trunk:
        better = trunk
    else:
        better = norms if len(norms) > len(through.norms.intersection(before)) else []
    return better[-1] if better else chosen


def why_no_grid(name: str, shape: tuple[int, ...]) -> str:
    """What a layer gives that is no map, in words."""
    if not shape:
        return f"layer '{name}' does not run, or gives no single tensor, so there is no map to show"
    given = f"(N, {', '.join(map(str, shape))})"
    if len(shape) == 3 and max(shape[1:]) == 1:
        return f"layer '{name}' gives one position, ({', '.join(map(str, shape))}), and one position is no map"
    if len(shape) in (2, 3):
        why = "no rows and columns of the picture were found in it, as there are none in attention of tokens to tokens"
        return f"layer '{name}' gives {given}: {why}"
    return f"layer '{name}' gives {given}, and a map needs (N, C, h, w)"
