"""Maps that know no model: what any map must beat before a good word is said of it.

Each needs the images, their ids or the size of the grid alone, but the class template, which knows what the model
answered to *other* images of the class.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.contracts import Floats, Integers
from bench.scoring.patches import pooled

RANDOM, CENTRE, CONTRAST, EDGES, TEMPLATE = "random", "centre", "contrast", "edges", "class template"
BASELINES = (RANDOM, CENTRE, CONTRAST, EDGES, TEMPLATE)
RANDOM_SEED = 5005


def random_maps(ids: Integers, size: tuple[int, int], draw: int) -> Floats:
    """A random map of each image, of its own whatever other images there are: (N,) to (N, h, w)."""
    maps = [np.random.default_rng([RANDOM_SEED, int(each), draw]).standard_normal(size) for each in ids]
    return np.array(maps).reshape(-1, *size)


def centre_map(height: int, width: int) -> Floats:
    """A Gaussian in the middle, its standard deviation a quarter of the edges: objects tend to be there.

    All scores are of ranks, so only the order counts: from the middle outwards.

    Returns:
        (height, width) in 0..1.
    """
    row = (np.arange(height) - (height - 1) / 2) / (height / 4)
    column = (np.arange(width) - (width - 1) / 2) / (width / 4)
    return np.exp(-(row[:, None] ** 2 + column[None, :] ** 2) / 2)


def centre_maps(ids: Integers, size: tuple[int, int]) -> Floats:
    """The same Gaussian for every image: (N,) to (N, h, w)."""
    return np.tile(centre_map(*size), (len(ids), 1, 1))


def contrast_maps(images: Tensor, grid: tuple[int, int]) -> Floats:
    """How far the pixels of each patch lie from the mean colour: the mean of their squares.

    Args:
        images: (N, 3, H, W), normalised, so that the data set's mean colour is 0.

    Returns:
        (N, h, w), 0 or more, in squared standard deviations of a channel.
    """
    return patch_means(images.cpu().double().square().mean(dim=1), grid)


def edge_maps(images: Tensor, grid: tuple[int, int]) -> Floats:
    """How strong the edges of each patch are: the mean length of Sobel's gradient of the mean channel.

    Args:
        images: (N, 3, H, W), normalised.

    Returns:
        (N, h, w), 0 or more.

    Source: Sobel & Feldman 1968; a baseline of explanations in Clark et al. 2026, arXiv:2602.09238.
    """
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    kernels = torch.stack([across, across.T])[:, None]
    # The border repeats, so that the frame of the image is no edge.
    grey = functional.pad(images.cpu().double().mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return patch_means(functional.conv2d(grey, kernels).square().sum(dim=1).sqrt(), grid)


def patch_means(pixels: Tensor, grid: tuple[int, int]) -> Floats:
    """The mean of each patch: (N, H, W) to (N, h, w)."""
    values = pixels.cpu().numpy()
    found: Floats = pooled(values, grid) / pooled(np.ones((1, *values.shape[1:])), grid)
    return found


def class_templates(drops: Floats, classes: Integers) -> Floats:
    """What covering patches does to the *other* images of each image's class, on the mean.

    It knows the class and where its objects tend to be, and nothing of the image itself.

    Args:
        drops: (N, h, w) of the logit or the margin when a patch is covered.
        classes: (N,) the class that each image's drops are of.

    Returns:
        (N, h, w); NaN for an image that is alone in its class.
    """
    same = (classes[:, None] == classes[None, :]).astype(np.float64)
    np.fill_diagonal(same, 0.0)
    with np.errstate(invalid="ignore"):
        found: Floats = np.einsum("ij,jhw->ihw", same, drops) / same.sum(axis=1)[:, None, None]
    return found
