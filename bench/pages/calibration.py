"""Does a probability of 0.8 mean right in eight of ten? Bins of the highest probability."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.stats import wilson
from bench.values.evidence import CalibrationBin

if TYPE_CHECKING:
    from bench.contracts import Floats, Integers

BINS = 15  # of equal width, as published figures have it


def calibration_bins(probabilities: Floats, labels: Integers, bins: int = BINS) -> tuple[CalibrationBin, ...]:
    """Images by their highest probability, in `bins` ranges of equal width over 0..1; empty ones are left out.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: (N,) true classes.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2; a range has its upper end.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for each in range(bins):
        inside = place == each
        if total := int(inside.sum()):
            correct = int(right[inside].sum())
            interval = wilson(correct, total)
            mean = float(confidence[inside].mean())
            found.append(CalibrationBin(total, correct, mean, interval.low, interval.high))
    return tuple(found)


def calibration_error(bins: tuple[CalibrationBin, ...]) -> float | None:
    """Expected calibration error: mean |share right - confidence| over images; None without any.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    total = sum(each.total for each in bins)
    return sum(abs(each.correct - each.total * each.confidence) for each in bins) / total if total else None


def softmax(logits: Floats) -> Floats:
    """Probabilities (N, K) of logits (N, K)."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares
