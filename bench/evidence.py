"""What a page shows beside its tables, as plain values. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CalibrationBin:
    """Test images whose highest probability lies in one range.

    Attributes:
        total, correct: images, and how many of them are right.
        confidence: mean of their highest probability.
        low, high: 95 % Wilson interval of the share that is right.
    """

    total: int
    correct: int
    confidence: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """Rates of one piece of work of a run, in images a second and in the order they were taken.

    `run` indexes Page.runs; each value is of one epoch of training or of one batch of explaining.
    """

    run: int
    what: str
    each: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """One setting, version or part of the machine in which compared runs differ; a value for each run."""

    group: str
    name: str
    values: tuple[str, ...]
