"""What a check of the conformance kit found, in one word and in many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench.verifying.trial import largest_gap

Status = Literal["passed", "failed", "not applicable"]
Found = tuple[Status, str]

# Of a map's largest value, in float64: two ways to the same sum, and where a library goes through float32.
EXACT, CAST = 1e-12, 1e-6


@dataclass(frozen=True)
class Outcome:
    """What one check found.

    Attributes:
        name: of the check.
        status: `passed`, `failed` or `not applicable`.
        words: what was found, with the offending value; why, where it does not apply.
    """

    name: str
    status: Status
    words: str


def passed(words: str = "") -> Found:
    """The claim holds."""
    return "passed", words


def failed(words: str) -> Found:
    """The claim does not hold; `words` name the value."""
    return "failed", words


def does_not_apply(words: str) -> Found:
    """The spec makes no such claim."""
    return "not applicable", words


def agreed(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str, *, within: float = CAST) -> Found:
    """Passed where all maps are equal within a share of their largest value."""
    most, layer = largest_gap(found, wanted)
    if most <= within:
        return passed(f"within {most:.0e} of the largest value" if most else "bit for bit")
    return failed(f"{what}: apart by {most:.3g} of the map's largest value at {layer}")
