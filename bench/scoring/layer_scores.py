"""The scores of explainers at one layer, from their maps and from what the model answers when patches are covered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.contracts import Booleans, Floats, Integers
from bench.schema.page import Estimate
from bench.schema.run import STATUSES
from bench.schema.scores import ExplainerScores, Flip, Gain, Health, Likeness, PairScores
from bench.scoring.patches import (
    area,
    bits,
    count_of,
    deletion_sets,
    every_patch,
    first_patches,
    insertion_sets,
    logit_drops,
    margin_drops,
    orders,
    pooled,
    probabilities,
    turned,
)
from bench.stats.agreement import likeness, pair_scores
from bench.stats.intervals import bootstrap_mean, rank_matrix, wilson
from bench.store.rows import Answers

FLIP_SHARES = (1 / 8, 1 / 4)


@dataclass(frozen=True)
class Maps:
    """Maps of one explainer, or of a baseline, at one layer, image by image.

    Attributes:
        predicted, true: (I, H, W) raw maps of the two classes; of a baseline, whose one map speaks for no class,
            `true` is None.
        predicted_ok, true_ok: (I,) whether the status is `ok`.
        health: None for a baseline.
    """

    name: str
    predicted: Floats
    predicted_ok: Booleans
    true: Floats | None = None
    true_ok: Booleans | None = None
    health: Health | None = None


@dataclass(frozen=True)
class Ranked:
    """Maps on the grid of the patches that are covered, and the order of the patches.

    Attributes:
        ids: (I,) test ids.
        predicted, difference: (I, h, w) maps for the predicted class, and of predicted minus true class; a
            baseline's one map stands for both.
        ok: (I,) whether the predicted class's map is `ok`; no other image is scored.
        clear: (I,) `ok`, and the difference is finite and not the same everywhere. A map for the true class that is
            dead is a part of it all the same: the difference is of raw maps.
    """

    maps: Maps
    ids: Integers
    predicted: Floats
    difference: Floats
    ok: Booleans
    clear: Booleans

    @cached_property
    def order(self) -> Integers:
        """(I, C) patches by what they say for the predicted class."""
        return orders(self.predicted, self.ids)

    @cached_property
    def difference_order(self) -> Integers:
        """(I, C) patches by what they say for the predicted and against the true class."""
        return orders(self.difference, self.ids)

    def sets(self) -> tuple[Integers, Integers]:
        """Every set of covered patches that the scores need: (M,) ids and (M,) sets."""
        order, flips = self.order[self.ok], first_patches(self.difference_order[self.clear])
        counts = [count_of(share, self.order.shape[1]) for share in FLIP_SHARES]
        parts = [
            (self.ids[self.ok], np.concatenate([deletion_sets(order), insertion_sets(order)], axis=1)),
            (self.ids[self.clear], flips[:, counts]),
        ]
        return flat(parts)


def flat(parts: Sequence[tuple[Integers, Integers]]) -> tuple[Integers, Integers]:
    """(I,) ids with (I, S) sets each, as pairs."""
    ids = np.concatenate([np.repeat(ids, sets.shape[1]) for ids, sets in parts])
    return ids, np.concatenate([sets.ravel() for _, sets in parts])


def ranked(maps: Maps, ids: Integers, grid: tuple[int, int]) -> Ranked:
    """Maps summed to the grid, with what is not `ok` marked."""
    predicted = pooled(maps.predicted, grid)
    if maps.true is None:
        return Ranked(maps, ids, predicted, predicted, maps.predicted_ok, maps.predicted_ok)
    # Of raw maps: Grad-CAM is linear in the logit, so their difference is the map of the margin.
    with np.errstate(invalid="ignore"):
        difference: Floats = predicted - pooled(maps.true, grid)
        spread = difference.max(axis=(1, 2)) - difference.min(axis=(1, 2))
    clear = maps.predicted_ok & np.isfinite(spread) & (spread > 0)
    return Ranked(maps, ids, predicted, difference, maps.predicted_ok, clear)


def shared_sets(ids: Integers, patches: int) -> tuple[Integers, Integers]:
    """The sets that all explainers share: nothing covered, each patch alone, and everything."""
    sets = np.concatenate([[np.uint64(0)], bits(np.arange(patches)), [every_patch(patches)]])
    return flat([(ids, np.tile(sets, (len(ids), 1)))])


# --- scores -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Errors:
    """The errors that are looked at.

    Attributes:
        ids, predicted, true: (I,) test ids and their two classes.
    """

    ids: Integers
    predicted: Integers
    true: Integers


@dataclass(frozen=True)
class Ground(Errors):
    """What the maps of a layer are held against.

    Attributes:
        random: several random orders of each image.
        centre: the order from the middle outwards.
    """

    grid: tuple[int, int]
    answers: Answers
    random: Sequence[Ranked]
    centre: Ranked

    @cached_property
    def truth(self) -> tuple[Floats, Floats]:
        """Drop of the predicted class's logit, and of the margin, without each patch: (I, h, w) each."""
        patches = self.grid[0] * self.grid[1]
        sets = np.tile(np.concatenate([[np.uint64(0)], bits(np.arange(patches))]), (len(self.ids), 1))
        logits = self.answers.of(self.ids, sets).astype(np.float64)
        plain, without = logits[:, 0], logits[:, 1:]
        logit = logit_drops(plain, without, self.predicted)
        margin = margin_drops(plain, without, predicted=self.predicted, true=self.true)
        return logit.reshape(-1, *self.grid), margin.reshape(-1, *self.grid)

    def areas(self, one: Ranked) -> tuple[Floats, Floats]:
        """Area under the deletion and the insertion curve of the predicted class's probability; NaN if not scored."""
        found = np.full((2, len(self.ids)), np.nan)
        for place, sets_of in enumerate((deletion_sets, insertion_sets)):
            logits = self.answers.of(self.ids[one.ok], sets_of(one.order[one.ok]))
            found[place, one.ok] = area(probabilities(logits, self.predicted[one.ok]))
        return found[0], found[1]

    @cached_property
    def random_areas(self) -> tuple[Floats, Floats]:
        """The same, the mean of the random orders."""
        every = np.array([self.areas(each) for each in self.random])
        return every[:, 0].mean(axis=0), every[:, 1].mean(axis=0)

    @cached_property
    def centre_areas(self) -> tuple[Floats, Floats]:
        """The same of the order from the middle outwards."""
        return self.areas(self.centre)

    def turns(self, one: Ranked, patches: int) -> Floats:
        """1 where the true class is predicted once the first patches are covered, 0 where not; NaN if not scored."""
        found = np.full(len(self.ids), np.nan)
        sets = first_patches(one.difference_order[one.clear])[:, patches : patches + 1]
        found[one.clear] = turned(self.answers.of(self.ids[one.clear], sets), self.true[one.clear])[:, 0]
        return found


def explainer_scores(
    layer: str, one: Ranked, *, ground: Ground, earlier: Sequence[Ranked], generator: np.random.Generator
) -> ExplainerScores:
    """One line of the table.

    Args:
        earlier: lines above, of which one may have the same order of patches.
    """
    deletion, insertion = ground.areas(one)
    logit_truth, margin_truth = ground.truth
    (random_deletion, random_insertion), (centre_deletion, centre_insertion) = ground.random_areas, ground.centre_areas
    alike, count = most_alike(one, earlier)
    return ExplainerScores(
        explainer=one.maps.name,
        layer=layer,
        height=ground.grid[0],
        width=ground.grid[1],
        images=int(one.ok.sum()),
        logit=likeness([rank_matrix(kept(one.predicted, one.ok), logit_truth)], generator),
        margin=likeness([rank_matrix(kept(one.difference, one.clear), margin_truth)], generator),
        # Deletion is good where the probability falls early, insertion where it comes back early.
        deletion=gain(random_deletion - deletion, centre_deletion - deletion, generator),
        insertion=gain(insertion - random_insertion, insertion - centre_insertion, generator),
        flips=tuple(flip(one, ground, share, generator) for share in FLIP_SHARES),
        contrast=contrast(one.maps, generator),
        health=one.maps.health,
        alike=alike,
        alike_images=count,
    )


def gain(over_random: Floats, over_centre: Floats, generator: np.random.Generator) -> Gain:
    """Both gains with their intervals over images."""
    return Gain(bootstrap_mean(over_random, generator), bootstrap_mean(over_centre, generator))


def flip(one: Ranked, ground: Ground, share: float, generator: np.random.Generator) -> Flip:
    """The flip test for a share of the patches; the gain is paired, image by image."""
    patches = count_of(share, ground.grid[0] * ground.grid[1])
    own = ground.turns(one, patches)
    random = np.mean([ground.turns(each, patches) for each in ground.random], axis=0)
    known = ~np.isnan(own)
    # The gain is of differences, image by image: that an image turns easily is in both, and cancels.
    turned_share: Estimate | None = wilson(int(own[known].sum()), int(known.sum())) if known.any() else None
    return Flip(
        patches, turned_share, bootstrap_mean(random[known], generator), bootstrap_mean(own - random, generator)
    )


def contrast(maps: Maps, generator: np.random.Generator) -> Likeness | None:
    """How alike the maps of the predicted and of the true class are; None for a baseline."""
    if maps.true is None or maps.true_ok is None:
        return None
    predicted, true = kept(maps.predicted, maps.predicted_ok), kept(maps.true, maps.true_ok)
    return likeness([rank_matrix(predicted, true)], generator)


def kept(maps: Floats, good: Booleans) -> Floats:
    """Maps with NaN in place of those that are not good, so that no mean takes them in."""
    return np.where(good[:, None, None], maps, np.nan)


def most_alike(one: Ranked, earlier: Sequence[Ranked]) -> tuple[str, int]:
    """The earlier explainer whose patches come in the same order most often, and in how many images."""
    same = [
        (int((one.ok & other.ok & (one.order == other.order).all(axis=1)).sum()), other.maps.name)
        for other in earlier
        if other.maps.true is not None
    ]
    count, name = max(same, key=lambda each: each[0], default=(0, ""))
    return (name, count) if count else ("", 0)


def pairs_of(every: Sequence[Ranked]) -> list[tuple[Ranked, Ranked]]:
    """Each two explainers, and each with each baseline; two baselines have nothing to agree on."""
    return [
        (first, second)
        for place, first in enumerate(every)
        for second in every[place + 1 :]
        if first.maps.true is not None or second.maps.true is not None
    ]


def agreement_of(layer: str, first: Ranked, second: Ranked, generator: np.random.Generator) -> PairScores:
    """Agreement of the two, both classes of an image together."""
    return pair_scores(layer, (first.maps.name, second.maps.name), side_by_side(first, second), generator)


def side_by_side(first: Ranked, second: Ranked) -> list[tuple[Floats, Floats]]:
    """Maps of predicted and of true class of two explainers, on their own grid where they share it, else on patches."""
    native = first.maps.predicted.shape == second.maps.predicted.shape
    return [
        (of_class(first, role, native=native), of_class(second, role, native=native)) for role in ("predicted", "true")
    ]


def of_class(one: Ranked, role: str, *, native: bool) -> Floats:
    """(I, h, w) maps of the predicted or the true class, NaN where not `ok`; a baseline has one map for both."""
    role = "predicted" if one.maps.true is None else role
    maps, good = getattr(one.maps, role), getattr(one.maps, f"{role}_ok")
    height, width = one.predicted.shape[1:]
    return kept(maps if native else pooled(maps, (height, width)), good)


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
    """Share of each map's values that stand at another of its positions, too, after the ReLU: (R, h, w) to (R,)."""
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
