"""What may be said of a figure: only what its images carry, and only beside all that is said in the same table.

A good word needs more than one thing at once: more than maps of other images of the class reach, and more than every
row that knows no model, each by a paired difference, image by image. All must hold, so the largest of the p-values is
that of the whole (Berger 1982, Technometrics 24, 295), and to have chosen the best row costs nothing extra. The words
of a table are one family: Holm's step-down keeps the chance of any false one below 5 %, and each difference is given
with the interval of the level at which it was tested, so that word and interval never disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy

from bench.contracts import Floats
from bench.schema.page import Estimate
from bench.schema.scores import FEWEST_IMAGES, NO_EVIDENCE
from bench.stats.intervals import holm_levels

FEWEST_DRAWS, FEWEST_CROSSED = 2, 10
ABOVE, BELOW = "above", "below"


@dataclass(frozen=True)
class Asked:
    """A figure of a table, image by image, before it is known what else stands in the table.

    Attributes:
        own: (I,) larger is better; NaN where an image says nothing.
        floor: (I,) what it must at least exceed, such as the null of its class; below it the word is `below`.
        rivals: (I,) each, the same figure of every row that knows no model.
    """

    own: Floats
    floor: Floats
    rivals: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What may be said.

    Attributes:
        gain: own minus floor, with its interval at the level of the claim; None below 30 images.
        over: own minus the row that knows no model which it exceeds least clearly; None where there is no such row.
        rival: that row.
        level: of both intervals, 0.95 or more.
    """

    gain: Estimate | None
    over: Estimate | None
    rival: str
    level: float
    verdict: str


def claims(family: Sequence[Asked]) -> list[Claim]:
    """The claims of one table."""
    levels = holm_levels([_p_value(each) for each in family])
    return [_claim(each, level) for each, level in zip(family, levels, strict=True)]


def _p_value(asked: Asked) -> float:
    over_floor, *over_rivals = (_test(asked.own - other) for other in (asked.floor, *asked.rivals.values()))
    if min(mean for mean, _ in (over_floor, *over_rivals)) > 0:
        return max(p for _, p in (over_floor, *over_rivals))
    return over_floor[1] if over_floor[0] < 0 else 1.0


def _test(differences: Floats) -> tuple[float, float]:
    """Mean and two-sided p-value by Student's t; 0 and 1 where nothing can be said."""
    known = differences[~np.isnan(differences)]
    if len(known) < FEWEST_IMAGES or known.std() < np.finfo(np.float32).eps:
        return 0.0, 1.0
    mean, error = float(known.mean()), float(known.std(ddof=1)) / np.sqrt(len(known))
    return mean, float(2 * scipy.special.stdtr(len(known) - 1, -abs(mean / error)))


def _claim(asked: Asked, level: float) -> Claim:
    gain = difference(asked.own - asked.floor, level)
    every = {name: _test(asked.own - other) for name, other in asked.rivals.items()}
    # The one whose exceeding is least sure, which is not always the largest one.
    rival = min(every, key=lambda name: np.copysign(1 - every[name][1], every[name][0]), default="")
    over = difference(asked.own - asked.rivals[rival], level) if rival else None
    if gain is not None and gain.high < 0:
        return Claim(gain, over, rival, level, BELOW)
    better = gain is not None and gain.low > 0 and (over is None or over.low > 0) and (over is not None or not rival)
    return Claim(gain, over, rival, level, ABOVE if better else NO_EVIDENCE)


def difference(values: Floats, level: float) -> Estimate | None:
    """The mean of paired differences with its interval by Student's t; None below 30 images or where all are alike.

    Not by bootstrap: with hundreds of words in a table Holm asks for levels that no bootstrap of 5,000 resamples tells.

    Args:
        values: (I,), one an image; NaN where there is none.
    """
    known = values[~np.isnan(values)].astype(np.float64)
    if len(known) < FEWEST_IMAGES or known.std() < np.finfo(np.float32).eps:
        return None
    # Of scipy.special: what scipy.stats does around it takes a thousand times as long, and tables ask for thousands.
    half = scipy.special.stdtrit(len(known) - 1, (1 + level) / 2) * known.std(ddof=1) / np.sqrt(len(known))
    return Estimate(float(known.mean()), float(known.mean() - half), float(known.mean() + half), level)


def smallest_found(values: Floats, level: float) -> float | None:
    """The smallest mean difference that as many such images would show in 4 of 5 samples; None as `difference` does.

    Source: Cohen 1988, Statistical Power Analysis, chapter 2, for paired values.
    """
    known = values[~np.isnan(values)].astype(np.float64)
    if len(known) < FEWEST_IMAGES:
        return None
    sides = scipy.stats.norm.ppf((1 + level) / 2) + scipy.stats.norm.ppf(0.8)
    return float(sides * known.std(ddof=1) / np.sqrt(len(known)))


def crossed(values: Floats) -> Estimate | None:
    """The mean over draws and images with its 95 % interval for new draws and new images alike.

    By the mean squares of a two-way table, whose sum of draws' and images' less the rest's is that of the mean, and
    with Satterthwaite's degrees of freedom: five draws of one image are no five images, nor the other way round.

    Args:
        values: (D, I); an image with NaN in a draw is left out.

    Returns:
        None below two draws or ten images.

    Source: Satterthwaite 1946, Biometrics Bull. 2, 110; Searle, Casella & McCulloch 1992, chapter 5.
    """
    known = values[:, ~np.isnan(values).any(axis=0)].astype(np.float64)
    draws, images = known.shape
    if draws < FEWEST_DRAWS or images < FEWEST_CROSSED:
        return None
    mean = float(known.mean())
    of_draws, of_images = known.mean(axis=1) - mean, known.mean(axis=0) - mean
    rest = known - mean - of_draws[:, None] - of_images[None, :]
    degrees = np.array([draws - 1, images - 1, (draws - 1) * (images - 1)])
    squares = np.array([images * (of_draws**2).sum(), draws * (of_images**2).sum(), (rest**2).sum()]) / degrees
    total, freedom = squares[0] + squares[1] - squares[2], 0.0
    # Where neither draws nor images differ by more than the rest, the rest alone is what moves the mean.
    if total > squares[2]:
        freedom = total**2 / (squares**2 / degrees).sum()
    else:
        total, freedom = squares[2], float(degrees[2])
    half = float(scipy.stats.t.ppf(0.975, freedom) * np.sqrt(total / (draws * images)))
    return Estimate(mean, mean - half, mean + half)
