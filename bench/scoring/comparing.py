"""Explainer against explainer by every score, and score against score by the explainers that they put in order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import scipy

from bench.contracts import Floats
from bench.schema.scores import Difference, ScoresAlike
from bench.scoring.claims import ABOVE, BELOW, Asked, claims, smallest_found
from bench.scoring.layer_scores import Layer

FEWEST_ROWS = 5  # explainers at layers: of fewer, orders agree by chance too often to be shown


def differences_of(layers: Sequence[Layer]) -> list[Difference]:
    """Each two explainers of a layer by each score; all of it is one family."""
    every = [
        (first, second, score, first.figures[score], second.figures[score])
        for layer in layers
        for first, second in combinations([row for row in layer.rows if row.knows_a_model], 2)
        for score in first.figures
        if not np.isnan(first.figures[score] - second.figures[score]).all()
    ]
    # Those that are equal on every image say nothing, and no claim is made of them: they are not of the family.
    unequal = [each for each in every if not _equal(*each[3:])]
    said = iter(claims([Asked(own, other) for *_, own, other in unequal]))
    found = []
    for first, second, score, own, other in every:
        names = (first.layer, first.one.maps.name, second.one.maps.name, score)
        apart = own - other
        images = int((~np.isnan(apart)).sum())
        if _equal(own, other):
            found.append(Difference(*names, None, None, images, "equal"))
            continue
        claim = next(said)
        word = {ABOVE: "first", BELOW: "second"}.get(claim.verdict, claim.verdict)
        found.append(Difference(*names, claim.gain, smallest_found(apart, claim.level), images, word))
    return found


def _equal(own: Floats, other: Floats) -> bool:
    """Whether both say the same of every image; the rounding of float32 is no difference."""
    apart = (own - other)[~np.isnan(own - other)]
    return bool(np.abs(apart).max(initial=0.0) < np.finfo(np.float32).eps * 16)


def scores_alike(layers: Sequence[Layer]) -> list[ScoresAlike]:
    """How alike each two scores order explainers at layers; none of fewer than five that differ."""
    rows = [row for layer in layers for row in layer.rows if row.knows_a_model]
    if not rows:
        return []
    scores = [score for score in rows[0].figures if all((~np.isnan(row.figures[score])).any() for row in rows)]
    means = np.array([[np.nanmean(row.figures[score]) for score in scores] for row in rows])
    distinct = np.unique(means.round(5), axis=0)
    if len(distinct) < FEWEST_ROWS:
        return []
    return [
        ScoresAlike(scores[one], scores[other], _correlation(distinct[:, one], distinct[:, other]), len(distinct))
        for one, other in combinations(range(len(scores)), 2)
    ]


def _correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's; None where one of the two is the same for all."""
    if one.min() == one.max() or other.min() == other.max():
        return None
    return float(scipy.stats.spearmanr(one, other).statistic)
