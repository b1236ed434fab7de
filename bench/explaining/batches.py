"""Images in batches through one explainer: how large, from which seed, under the guard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import ContractError

if TYPE_CHECKING:
    from bench.nets.trained import Trained


LOGIT_TOLERANCE = 1e-3  # of the largest logit: another batch size or device moves logits by less


def _batches(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


def check_same_model(logits: np.ndarray[Any, Any], stored: np.ndarray[Any, Any], trained: Trained) -> None:
    """The model being explained is the one whose predictions are shown, or nothing is explained.

    Args:
        logits, stored: (N, K), just computed and from predictions.npz.
    """
    gap = float(np.abs(logits - stored).max(initial=0.0))
    if not gap <= LOGIT_TOLERANCE * max(1.0, float(np.abs(stored).max(initial=0.0))):
        raise ContractError(
            f"the model of run '{trained.record.name}' gives other logits than its predictions.npz "
            f"(largest difference {gap:.3g}): these maps would explain another model",
            try_=f"bench evaluate {trained.record.name}",
        )
