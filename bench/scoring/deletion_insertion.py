"""Scores of a map by what the model says when patches are gone: pure functions of logits."""

import numpy as np

from bench.contracts import Booleans, Floats, Integers
from bench.evaluation import softmax


def logit_drops(plain: Floats, without: Floats, classes: Integers) -> Floats:
    """How much a class's logit falls when one patch is gone: the ground truth of a map for that class.

    Args:
        plain: (I, K) logits of the whole images.
        without: (I, C, K) with one patch gone at a time.
        classes: (I,).

    Returns:
        (I, C) in logits; above 0 where the patch spoke for the class.

    Source: Zeiler & Fergus 2014, arXiv:1311.2901, section 4, with patches that do not overlap.
    """
    own = classes[:, None]
    before = np.take_along_axis(plain, own, axis=1)
    after = np.take_along_axis(without, own[:, :, None], axis=2)[:, :, 0]
    return before - after


def margin_drops(plain: Floats, without: Floats, *, predicted: Integers, true: Integers) -> Floats:
    """How much the margin, logit of the predicted minus logit of the true class, falls without one patch: (I, C)."""
    return logit_drops(plain, without, predicted) - logit_drops(plain, without, true)


def probabilities(logits: Floats, classes: Integers) -> Floats:
    """Softmax probability of each image's own class: (I, ..., K) and (I,) to (I, ...)."""
    # Probabilities, as the curves of Petsiuk et al. 2018 (arXiv:1806.07421) have it: logits have no common scale, and
    # one image with large ones would be most of the mean.
    own = classes.reshape(-1, *[1] * (logits.ndim - 1))
    return np.take_along_axis(softmax(logits), own, axis=-1)[..., 0]


def area(curves: Floats) -> Floats:
    """Area under curves over the share of patches, 0 to 1, by the trapezoid rule: (..., S + 1) to (...)."""
    under: Floats = np.trapezoid(curves, dx=1 / (curves.shape[-1] - 1), axis=-1)
    return under


def turned(logits: Floats, classes: Integers) -> Booleans:
    """Whether the model now says each image's own class: (I, ..., K) and (I,) to (I, ...)."""
    own = classes.reshape(-1, *[1] * (logits.ndim - 2))
    found: Booleans = logits.argmax(axis=-1) == own
    return found


def count_of(share: float, patches: int) -> int:
    """How many patches a share of them is, at least one."""
    return max(1, round(share * patches))
