"""A raw map as colours, the way every picture of this suite has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.postprocess import postprocess
from bench.views import MapView

if TYPE_CHECKING:
    import numpy as np

    Picture = np.ndarray[tuple[int, ...], np.dtype[Any]]


def heat(one: MapView, height: int, width: int, size: int, colours: str = "viridis") -> Picture:
    """(size, size, 3) float colours in 0..1 of a raw map after the one post-processing."""
    import torch
    from matplotlib import colormaps

    levels = torch.frombuffer(bytearray(one.levels), dtype=torch.uint8).reshape(height, width)
    raw = one.low + levels.to(torch.float64) / 255 * (one.high - one.low)
    coloured: Picture = colormaps[colours](postprocess(raw, size).numpy())[..., :3]
    return coloured
