"""What a page shows beside its tables, as plain values. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from bench.verdicts import Verdict


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


@dataclass(frozen=True)
class Judged:
    """What the judge says of one explainer at one layer of a run; `run` indexes Page.runs."""

    run: int
    verdict: Verdict


@dataclass(frozen=True)
class Score:
    """How well maps order the cells by what covering them does to the logit: mean rank correlation over images.

    Attributes:
        run: indexes Page.runs.
        value, low, high: the mean with its 95 % interval over images; None below ten images.
        null: what maps of other images reach.
        images: scored.
        evidence: `above` or `below` the null where the intervals lie apart, else `no evidence`.
    """

    run: int
    explainer: str
    layer: str
    value: float | None
    low: float | None
    high: float | None
    null: float | None
    images: int
    evidence: str
