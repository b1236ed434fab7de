"""What a page shows beside its tables, as plain values. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from bench.values.timed import ArmTiming
from bench.values.verdicts import Verdict


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
class Rates:
    """Rates of one piece of work of a run, noted while it was done: images a second, in the order they were taken.

    `run` indexes Page.runs; each value is of one epoch of training or of one batch of explaining.

    Attributes:
        id: of the timing that holds the raw samples; empty for training, whose epochs are the run's own log.
    """

    run: int
    what: str
    each: str
    values: tuple[float, ...]
    id: str = ""


@dataclass(frozen=True)
class Speed:
    """One arm of `bench time` with what its rounds gave, in run order.

    Attributes:
        runs: of the page, by their index in Page.runs, that are timed by it.
        rounds, warm_up: units a second, of each round and of each block before the first.
        ratios: to the arm it is compared with, of each round; empty for a baseline.
    """

    runs: tuple[int, ...]
    arm: ArmTiming
    rounds: tuple[float, ...]
    warm_up: tuple[float, ...]
    ratios: tuple[float, ...]


@dataclass(frozen=True)
class Speeds:
    """One timing by `bench time`, as far as it is of a page's runs.

    Attributes:
        id: of the timing; its file is timing/ID.json beside the runs or in a run's folder.
        limits: the machine's own, timed in the same rounds.
    """

    id: str
    created: str
    command: str
    device: str
    batch_size: int
    memory_format: str
    rounds: int
    notes: tuple[str, ...]
    arms: tuple[Speed, ...]
    limits: tuple[ArmTiming, ...]


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
