"""Where a model has a grid to show: found by one forward pass of one black image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from bench.errors import ContractError, in_one_line
from bench.modes import evaluating

Shapes = Mapping[str, tuple[int, ...]]


@contextmanager
def noting(model: nn.Module, note: Callable[[str, nn.Module, object], None]) -> Iterator[None]:
    """Within a block `note` is told whatever a module of the model gives, but for the model itself."""
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name:
                hook = module.register_forward_hook(lambda module, _, output, name=name: note(name, module, output))
                stack.callback(hook.remove)
        yield


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

    def note(name: str, module: nn.Module, output: object) -> None:
        shapes.pop(name, None)
        shapes[name] = tuple(output.shape[1:]) if isinstance(output, torch.Tensor) else ()

    with noting(model, note):
        like = next(model.parameters(), torch.empty(0))
        try:
            with evaluating(model):
                answer = model(torch.zeros(1, 3, size, size, device=like.device, dtype=like.dtype))
        except Exception as reason:  # a model of anybody's may fail in any way
            raise ContractError(
                f"{type(model).__name__} cannot take one image (3, {size}, {size}): {in_one_line(reason)}",
                try_="--image-size with the pixels an edge that the model was made for",
            ) from reason
    return shapes, answer


def grids_in(shapes: Shapes) -> dict[str, tuple[int, int, int]]:
    """Those modules whose output has a grid of more than one position: {name: (channels, height, width)}."""
    return {
        name: (shape[0], shape[1], shape[2]) for name, shape in shapes.items() if len(shape) == 3 and max(shape[1:]) > 1
    }


def default_layers(shapes: Shapes, size: int, preferred: Sequence[str] = ()) -> tuple[str, ...]:
    """The layers CAM methods use unless told otherwise: of each grid size one, the outermost and last that has it.

    A square image gives square grids that shrink on the way: heads x tokens of attention are none, nor is what a
    pooling layer has enlarged.

    Args:
        size: pixels an edge of the image.
        preferred: names the library itself gives, such as timm's feature_info; used as far as they have a grid.

    Returns:
        Names in forward order; empty when the model has no grid at all.
    """
    found: dict[int, str] = {}
    grids = {name: grid for name, grid in grids_in(shapes).items() if grid[1] == grid[2] <= size}
    for name in [each for each in grids if each in preferred] or grids:
        edge = grids[name][1]
        outermost = edge not in found or name.count(".") <= found[edge].count(".")
        if outermost and edge <= min(found, default=edge):
            found[edge] = name
    return tuple(found[edge] for edge in sorted(found, reverse=True))


def why_no_grid(name: str, shape: tuple[int, ...]) -> str:
    """What a layer gives that is no map, in words."""
    if not shape:
        return f"layer '{name}' does not run, or gives no single tensor, so there is no map to show"
    if len(shape) == 2:
        return (
            f"layer '{name}' gives {shape[0]} tokens of {shape[1]} values: a sequence, which may hold a class token, "
            "and not the (N, C, h, w) of a map"
        )
    if len(shape) == 3:
        return f"layer '{name}' gives one position, ({', '.join(map(str, shape))}), and one position is no map"
    return f"layer '{name}' gives (N, {', '.join(map(str, shape))}), and a map needs (N, C, h, w)"
