"""Layers that give no (N, C, h, w), and maps all the same.

Swin's stages give (N, h, w, C), transformers give tokens (N, T, C) with or without a class token, some layers a tuple.
A `Layout` says where the axes lie. `show_maps` makes such a layer hand a map (N, C, h, w) to whoever hooks it, and what
comes back goes on through the net in the layer's own layout: any explainer works on it, and knows of none of this.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

LAYOUTS = "bench_layouts"  # an attribute of a net whose layers were looked at


@dataclass(frozen=True)
class Layout:
    """Where a map lies in what a layer gives.

    Attributes:
        axes: of images, channels, then rows and columns or tokens.
        channels: how many.
        grid: (h, w).
        others: tokens that are no patches, such as a class token, by their positions.
        item: position in a tuple; None where the layer gives the tensor itself.
    """

    axes: tuple[int, ...]
    channels: int
    grid: tuple[int, int]
    others: tuple[int, ...] = ()
    item: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the map: (C, h, w)."""
        return (self.channels, *self.grid)

    @property
    def is_map(self) -> bool:
        """Whether the layer gives maps by itself."""
        return self.axes == (0, 1, 2, 3) and self.item is None

    def values(self, output: Any) -> Tensor | None:  # noqa: ANN401 (what a layer gave)
        """The tensor with the map in it, axes as in `axes`; None where this run of the layer gave something else."""
        if self.item is not None:
            output = output[self.item] if isinstance(output, tuple | list) and len(output) > self.item else None
        if not isinstance(output, Tensor) or output.ndim != len(self.axes):
            return None
        tokens = self.grid[0] * self.grid[1] + len(self.others)
        due = (self.channels, *(self.grid if len(self.axes) == 4 else (tokens,)))
        turned = output.permute(self.axes)
        return turned if tuple(turned.shape[1:]) == due else None

    def map_of(self, output: Any) -> Tensor | None:  # noqa: ANN401
        """(N, C, h, w); None where this run of the layer gave something else."""
        turned = self.values(output)
        if turned is None or turned.ndim == 4:
            return turned
        maps: Tensor = turned.index_select(2, self.patches(turned)).reshape(*turned.shape[:2], *self.grid)
        return maps

    def patches(self, turned: Tensor) -> Tensor:
        """The positions of the patches among tokens (N, C, T)."""
        return torch.tensor([each for each in range(turned.shape[2]) if each not in self.others], device=turned.device)

    def put_back(self, output: Any, maps: Tensor) -> Any:  # noqa: ANN401
        """What the layer gave, with other maps in it; tokens that are no patches stay."""
        turned = self.values(output)
        assert turned is not None  # `map_of` was asked before
        if turned.ndim == 3:
            maps = turned.index_copy(2, self.patches(turned), maps.flatten(2)) if self.others else maps.flatten(2)
        values = maps.permute([self.axes.index(axis) for axis in range(turned.ndim)])
        if self.item is None:
            return values.contiguous() if output.is_contiguous() else values  # someone behind may call `view`
        parts = [*output[: self.item], values.contiguous(), *output[self.item + 1 :]]
        return output._make(parts) if hasattr(output, "_make") else type(output)(parts)


class Shows(nn.Module):
    """Before the class of a layer: while anybody hooks the layer, it gives a map, and the net what it would else get.

    Unhooked it costs nothing. Hooks see (N, C, h, w), may replace it by another one, and gradients arrive likewise.
    """

    bench_layout: Layout
    bench_given: list[Any]  # what the layer itself gave, from the end of its forward to the end of its call

    def forward(self, *inputs: Any, **more: Any) -> Any:  # noqa: ANN401
        """The map, as hooks are to see it."""
        output = super().forward(*inputs, **more)
        if not looked_at(self):
            return output
        maps = self.bench_layout.map_of(output)
        self.bench_given.append(None if maps is None else output)
        return output if maps is None else maps

    def __call__(self, *inputs: Any, **more: Any) -> Any:  # noqa: ANN401
        """What the net gets."""
        if not looked_at(self):
            return super().__call__(*inputs, **more)
        depth = len(self.bench_given)
        try:
            output = super().__call__(*inputs, **more)
            given = self.bench_given[depth]
            return output if given is None else self.bench_layout.put_back(given, output)
        finally:
            del self.bench_given[depth:]


def looked_at(module: nn.Module) -> bool:
    """Whether anybody has hooked what a module gives."""
    return bool(module._forward_hooks or module._backward_hooks or module._backward_pre_hooks)


def show_maps(model: nn.Module, layouts: Mapping[str, Layout]) -> nn.Module:
    """The net itself, its layers made to show their maps; to whoever hooks none of them it is what it was."""
    modules = dict(model.named_modules())
    shown = {name: layout for name, layout in layouts.items() if name in modules and _can_show(modules[name], layout)}
    for name, layout in shown.items():
        if not layout.is_map:
            module, kind = modules[name], type(modules[name])
            module.__class__ = type(kind.__name__, (Shows, kind), {"__module__": kind.__module__})
            module.__dict__.update(bench_layout=layout, bench_given=[])
    setattr(model, LAYOUTS, shown)
    return model


def _can_show(module: nn.Module, layout: Layout) -> bool:
    """Whether a layer can be given another class; hooks of the net's own expect the layer's own layout."""
    odd = isinstance(module, torch.jit.ScriptModule) or "forward" in vars(module) or looked_at(module)
    return layout.is_map or not odd


@contextmanager
def as_built(model: nn.Module) -> Iterator[None]:
    """For a block layers give hooks what they give the net."""
    shown = [(module, type(module)) for module in model.modules() if isinstance(module, Shows)]
    try:
        for module, kind in shown:
            module.__class__ = kind.__bases__[1]
        yield
    finally:
        for module, kind in shown:
            module.__class__ = kind


def known_layouts(model: nn.Module) -> Mapping[str, Layout] | None:
    """Those of `show_maps`; None for a net that nobody looked at."""
    found: Mapping[str, Layout] | None = getattr(model, LAYOUTS, None)
    return found
