"""Maps that know nothing of the image: what an explainer has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bench.contracts import Floats

CENTRE, RANDOM = "centre", "random"


def centre_map(height: int, width: int) -> Floats:
    """A Gaussian in the middle, its standard deviation a quarter of the edges: objects tend to be there.

    All scores are of ranks, so only the order counts: from the middle outwards.

    Returns:
        (height, width) in 0..1.
    """
    row = (np.arange(height) - (height - 1) / 2) / (height / 4)
    column = (np.arange(width) - (width - 1) / 2) / (width / 4)
    gaussian: Floats = np.exp(-(row[:, None] ** 2 + column[None, :] ** 2) / 2)
    return gaussian


def random_map(height: int, width: int, generator: np.random.Generator) -> Floats:
    """Independent normal values, (height, width)."""
    return generator.standard_normal((height, width))
