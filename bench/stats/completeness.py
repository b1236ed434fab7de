"""Whether maps add up to what their method promises: the difference of the logits of image and baseline."""

from __future__ import annotations

import numpy as np

from bench.contracts import Floats
from bench.schema.verdicts import Completeness

MOST = 1e6  # a sum that is off by more is off by that


def completeness(promise: str, sums: Floats, due: Floats) -> Completeness | None:
    """How far sums of maps are from what is due; None where nothing was promised, or no row is known.

    Args:
        promise: as in `ExplainerSpec.complete`.
        sums: (R,) of the maps.
        due: (R,) logit of the image less that of the baseline; NaN where it is not known.
    """
    known = np.isfinite(sums) & np.isfinite(due)
    if not promise or not known.any():
        return None
    gap, size = np.abs(sums - due)[known].astype(np.float64), np.abs(due[known]).astype(np.float64)
    size = np.maximum(size, np.median(size))  # or an image that differs from the baseline by nothing would decide
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(gap == 0, 0.0, np.minimum(gap / size, MOST))
    return Completeness(promise, float(np.median(off)), float(off.max()), int(known.sum()))
