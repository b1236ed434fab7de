"""What a covered patch takes: what is left of a logit hangs on it, and so does which map does best."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from bench.contracts import Integers
from bench.data.transforms import Statistics

MEAN_COLOUR, BLUR, OTHER_IMAGE, BLACK = "mean colour", "blur", "another image", "black"
IMPUTED = "imputed"  # for ROAD alone: what it takes hangs on all that is covered
FILLS = (MEAN_COLOUR, BLUR, OTHER_IMAGE)  # black is left out unless asked for: few images have an object in it
BLUR_SHARE = 1 / 8  # of the image's edge, the standard deviation: what is smaller than the largest patches goes
OTHER_SEED = 8008


def blurred(images: Tensor) -> Tensor:
    """The images without what is smaller than a patch of an 8x8 grid: (N, 3, H, W).

    Source: Fong & Vedaldi 2017, arXiv:1704.03296, section 4.1, where blur is one of three ways to take a part away.
    """
    edge = min(images.shape[2:])
    sigma = BLUR_SHARE * edge
    reach = min(math.ceil(2 * sigma), edge - 1)  # what reflects at the border must be inside
    return gaussian_blur(images, [2 * reach + 1, 2 * reach + 1], [sigma, sigma])


def others_of(ids: Integers, labels: Integers, predicted: Integers) -> Integers:
    """For each image another test image, which is of neither of its classes; of two classes, of the true one's.

    Args:
        ids: (I,) test ids.
        labels, predicted: (N,) true and predicted class of every test image.

    Returns:
        (I,) test ids, of each image always the same.
    """
    found = []
    for each in ids.tolist():
        strange = np.flatnonzero((labels != labels[each]) & (labels != predicted[each]))
        if not len(strange):
            strange = np.flatnonzero(labels != predicted[each])
        if not len(strange):  # all images are of one class
            strange = np.flatnonzero(np.arange(len(labels)) != each)
        found.append(np.random.default_rng([OTHER_SEED, each]).choice(strange) if len(strange) else each)
    return np.array(found, dtype=np.int64)


def black(images: Tensor, statistics: Statistics) -> Tensor:
    """Black as a normalised image has it: (N, 3, H, W)."""
    mean, std = (torch.tensor(each, device=images.device)[:, None, None] for each in statistics)
    return (-mean / std).to(images.dtype).expand_as(images)
