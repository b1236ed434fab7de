"""A raw map as colours, the way every picture of this suite has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.postprocess import postprocess
from bench.values.views import CellView, MapView

if TYPE_CHECKING:
    import numpy as np

    Picture = np.ndarray[tuple[int, ...], np.dtype[Any]]


def heat(one: MapView, cell: CellView, size: int) -> Picture:
    """(size, size, 3) float colours in 0..1: a raw map after the one post-processing, a finished picture as it is."""
    import torch
    from matplotlib import colormaps

    levels = torch.frombuffer(bytearray(one.levels), dtype=torch.uint8).reshape(cell.height, cell.width)
    raw = one.low + levels.to(torch.float64) / 255 * (one.high - one.low)
    shares = postprocess(raw, size, scale=1.0 if cell.picture else "map")
    coloured: Picture = colormaps["viridis"](shares.numpy())[..., :3]
    return coloured
