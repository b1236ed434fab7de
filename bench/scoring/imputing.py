"""Covered patches filled from what is left around them, so that no edge tells where something was taken away."""

from __future__ import annotations

from itertools import product

import numpy as np
import scipy
import torch
from torch import Tensor
from torch.nn import functional

from bench.contracts import Booleans, Floats, Integers

NOISE = 0.01  # in units of normalised pixels
NOISE_SEED = 9009
LARGEST = 64  # pixels an edge at which it is solved: what fills a patch has no detail, and 224x224 would take minutes

Neighbours = tuple[scipy.sparse.csr_array, Floats]  # (P, P) weights of each pixel's neighbours, and (P,) their sums


def imputed(images: Tensor, masks: Booleans, seeds: Integers) -> Tensor:
    """Images whose covered pixels are each the weighted mean of its neighbours, and a little noise.

    The neighbours beside a pixel weigh 1/6 each, those at its corners 1/12; covered neighbours are unknowns as well, so
    this is a system of linear equations an image. The noise keeps a net from telling the smooth parts.

    Args:
        images: (M, 3, H, W), normalised.
        masks: (M, H, W), True where a pixel is covered; some pixel must not be.
        seeds: (M, S) numbers that the noise of each image is drawn from.

    Returns:
        (M, 3, H, W). Images of more than 64 pixels an edge are solved at 64 and enlarged.

    Source: Rong et al. 2022, arXiv:2202.00449, section 4.2.
    """
    height, width = images.shape[2:]
    small = (min(height, LARGEST), min(width, LARGEST))
    reduced = images if small == (height, width) else functional.interpolate(images, small, mode="area")
    rows, columns = (np.arange(count) * edge // count for count, edge in zip(small, (height, width), strict=True))
    values = reduced.cpu().double().numpy()
    neighbours = _neighbours(*small)
    solved = [
        _solved(each, mask[np.ix_(rows, columns)], seed, neighbours=neighbours)
        for each, mask, seed in zip(values, masks, seeds.tolist(), strict=True)
    ]
    filling = torch.from_numpy(np.stack(solved)).to(images.dtype).to(images.device)
    if small != (height, width):
        filling = functional.interpolate(filling, (height, width), mode="bilinear", align_corners=False)
    return torch.where(torch.from_numpy(masks).to(images.device)[:, None], filling, images)


def _solved(image: Floats, mask: Booleans, seed: list[int], *, neighbours: Neighbours) -> Floats:
    """One image (3, h, w) with its covered pixels (h, w) filled."""
    weights, sums = neighbours
    hidden, found = mask.ravel(), image.reshape(3, -1).copy()
    if not hidden.any():
        return image
    of_hidden = weights[hidden]
    system = scipy.sparse.diags_array(sums[hidden]) - of_hidden[:, hidden]
    known = of_hidden[:, ~hidden] @ found[:, ~hidden].T
    noise = np.random.default_rng([NOISE_SEED, *seed]).standard_normal((3, int(hidden.sum())))
    found[:, hidden] = scipy.sparse.linalg.spsolve(system.tocsc(), known).reshape(-1, 3).T + NOISE * noise
    return found.reshape(image.shape)


def _neighbours(height: int, width: int) -> Neighbours:
    """The weights of each pixel's neighbours (P, P), and their sums (P,), which are less at the border."""
    places = np.arange(height * width).reshape(height, width)
    rows, columns, weights = [], [], []
    for down, right in product((-1, 0, 1), repeat=2):
        if not (down or right):
            continue
        here = places[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
        there = places[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
        rows.append(here.ravel())
        columns.append(there.ravel())
        weights.append(np.full(here.size, 1 / 12 if down and right else 1 / 6))
    every = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    found = scipy.sparse.csr_array(every, shape=(height * width, height * width))
    return found, np.asarray(found.sum(axis=1)).ravel()
