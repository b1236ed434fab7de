"""Maps before they are scored: how many say nothing, and how trustworthy the values of the others are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.contracts import STATUSES
from bench.values.scores import Health

if TYPE_CHECKING:
    from bench.contracts import Floats, Integers


def health(raw: Floats, status: Integers) -> Health:
    """What is the matter with the maps of a cell.

    Args:
        raw: (R, h, w) on the explainer's own grid.
        status: (R,) index into STATUSES.
    """
    counts = {word: int((status == index).sum()) for index, word in enumerate(STATUSES)}
    good = raw[status == STATUSES.index("ok")].astype(np.float64)
    kappas = amplification(good)
    return Health(
        maps=len(raw),
        dead=counts["dead"],
        constant=counts["constant"],
        non_finite=counts["non-finite"],
        tied=float(tied_share(good).mean()) if len(good) else None,
        kappa=float(np.median(kappas)) if len(kappas) else None,
        kappa_largest=float(kappas.max()) if len(kappas) else None,
    )


def tied_share(raw: Floats) -> Floats:
    """Share of each map's cells whose value after the ReLU another of its cells has too: (R, h, w) to (R,)."""
    heat = np.sort(np.maximum(raw, 0).reshape(len(raw), -1), axis=1)
    same = heat[:, 1:] == heat[:, :-1]
    edge = np.zeros((len(raw), 1), dtype=bool)
    tied = np.concatenate([edge, same], axis=1) | np.concatenate([same, edge], axis=1)
    share: Floats = tied.mean(axis=1)
    return share


def amplification(raw: Floats) -> Floats:
    """Kappa of each map, max |raw| / (max - min after the ReLU): how much an error of a raw value grows in the picture.

    Args:
        raw: (R, h, w), each `ok`: above 0 somewhere and not the same everywhere, so no kappa is infinite.
    """
    heat = np.maximum(raw, 0)
    top = np.abs(raw).max(axis=(1, 2), initial=0.0)
    found: Floats = top / (heat.max(axis=(1, 2), initial=0.0) - heat.min(axis=(1, 2), initial=np.inf))
    return found
