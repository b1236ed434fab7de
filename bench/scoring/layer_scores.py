"""The scores of explainers at one layer, from their maps and from what the model answers when patches are covered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from bench.contracts import Booleans, Floats, Integers
from bench.schema.page import Estimate
from bench.schema.run import STATUSES
from bench.schema.scores import (
    TRUTH_ITSELF,
    ByFill,
    Ceiling,
    ExplainerScores,
    Flip,
    Gain,
    Health,
    Likeness,
    PairScores,
    Road,
)
from bench.scoring.baselines import RANDOM
from bench.scoring.claims import Asked, Claim, claims
from bench.scoring.fills import IMPUTED, MEAN_COLOUR
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
from bench.stats.agreement import Beside, beside, of_pair
from bench.stats.intervals import MIN_IMAGES, bootstrap_mean, mean_interval, rank_correlations, rank_matrix, wilson
from bench.store.rows import Answers

FLIP_SHARES = (1 / 8, 1 / 4)
ROAD_SHARES = (0.2, 0.4, 0.6, 0.8)  # of the patches that go, the first of an order or its last
ROAD_IMAGES = 50  # to fill an image takes as long as the net's answer
SAME_AS_TRUTH = 0.999  # rank correlation: the rounding of float32 may swap two patches that are all but equal


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

    def road_sets(self) -> tuple[Integers, Integers]:
        """Every set of imputed patches that ROAD needs: (M,) ids and (M,) sets."""
        first = self.ok & (np.arange(len(self.ids)) < ROAD_IMAGES)
        order = self.order[first]
        return flat([(self.ids[first], np.concatenate(road_sets_of(order), axis=1))])


def road_sets_of(order: Integers) -> tuple[Integers, Integers]:
    """The first and the last patches of orders, (I, C) to (I, S) each."""
    counts = [count_of(share, order.shape[1]) for share in ROAD_SHARES]
    return first_patches(order)[:, counts], first_patches(order[:, ::-1])[:, counts]


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
    whole = (ids, np.full((len(ids), 1), every_patch(patches)))
    singles, sets = single_sets(ids, patches)
    return flat([(singles, sets[:, None]), whole])


def single_sets(ids: Integers, patches: int) -> tuple[Integers, Integers]:
    """What the drops are of: nothing covered, and each patch alone."""
    sets = np.concatenate([[np.uint64(0)], bits(np.arange(patches))])
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
        answers: of every fill of covered patches; curves and flips are by the mean colour.
        random: several random orders of each image.
    """

    grid: tuple[int, int]
    answers: Mapping[str, Answers]
    random: Sequence[Ranked]

    def truth(self, fill: str = MEAN_COLOUR) -> tuple[Floats, Floats]:
        """Drop of the predicted class's logit, and of the margin, without each patch: (I, h, w) each."""
        return drops(self.answers[fill], self, self.grid)

    def areas(self, one: Ranked) -> tuple[Floats, Floats]:
        """Area under the deletion and the insertion curve of the predicted class's probability; NaN if not scored."""
        found = np.full((2, len(self.ids)), np.nan)
        for place, sets_of in enumerate((deletion_sets, insertion_sets)):
            logits = self.answers[MEAN_COLOUR].of(self.ids[one.ok], sets_of(one.order[one.ok]))
            found[place, one.ok] = area(probabilities(logits, self.predicted[one.ok]))
        return found[0], found[1]

    @cached_property
    def random_areas(self) -> tuple[Floats, Floats]:
        """The same, the mean of the random orders."""
        every = np.array([self.areas(each) for each in self.random])
        return every[:, 0].mean(axis=0), every[:, 1].mean(axis=0)

    def road(self, one: Ranked) -> tuple[Floats, Floats]:
        """Mean probability once the first, and once the last patches are imputed; NaN for later images."""
        found = np.full((2, len(self.ids)), np.nan)
        first = one.ok & (np.arange(len(self.ids)) < ROAD_IMAGES)
        for place, sets in enumerate(road_sets_of(one.order[first]) if IMPUTED in self.answers else ()):
            logits = self.answers[IMPUTED].of(self.ids[first], sets)
            found[place, first] = probabilities(logits, self.predicted[first]).mean(axis=1)
        return found[0], found[1]

    @property
    def fills(self) -> tuple[str, ...]:
        """What single patches took."""
        return tuple(fill for fill in self.answers if fill != IMPUTED)

    def turns(self, one: Ranked, patches: int) -> Floats:
        """1 where the true class is predicted once the first patches are covered, 0 where not; NaN if not scored."""
        found = np.full(len(self.ids), np.nan)
        sets = first_patches(one.difference_order[one.clear])[:, patches : patches + 1]
        logits = self.answers[MEAN_COLOUR].of(self.ids[one.clear], sets)
        found[one.clear] = turned(logits, self.true[one.clear])[:, 0]
        return found

    @property
    def flip_counts(self) -> tuple[int, ...]:
        """How many patches go in the flip tests."""
        return tuple(count_of(share, self.grid[0] * self.grid[1]) for share in FLIP_SHARES)

    @cached_property
    def random_turns(self) -> tuple[Floats, ...]:
        """The share of random draws that turn each image, for each count of patches."""
        every = [np.mean([self.turns(one, count) for one in self.random], axis=0) for count in self.flip_counts]
        return tuple(every)


def drops(answers: Answers, errors: Errors, grid: tuple[int, int]) -> tuple[Floats, Floats]:
    """Drop of the predicted class's logit, and of the margin, when each patch is covered alone: (I, h, w) each."""
    _, sets = single_sets(errors.ids, grid[0] * grid[1])
    logits = answers.of(errors.ids, sets.reshape(len(errors.ids), -1)).astype(np.float64)
    plain, without = logits[:, 0], logits[:, 1:]
    logit = logit_drops(plain, without, errors.predicted)
    margin = margin_drops(plain, without, predicted=errors.predicted, true=errors.true)
    return logit.reshape(-1, *grid), margin.reshape(-1, *grid)


@dataclass(frozen=True)
class Row:
    """All figures of one explainer or baseline at one layer, image by image.

    Attributes:
        logit: by fill.
        deletion, insertion: (I,) areas.
        turns: (I,) for each count of patches that go.
        morf, lerf: (I,) mean probability while the first, and while the last patches are imputed.
        sparse: (I,) Gini's index of the map.
        moved: (I,) maximal sensitivity; NaN where it was not measured.
    """

    layer: str
    one: Ranked
    logit: Mapping[str, Beside]
    margin: Beside
    deletion: Floats
    insertion: Floats
    turns: tuple[Floats, ...]
    morf: Floats
    lerf: Floats
    sparse: Floats
    moved: Floats
    alike: tuple[str, int]

    @property
    def road(self) -> Floats:
        """(I,) half of what the last patches leave over what the first leave: above 0 is better."""
        found: Floats = (self.lerf - self.morf) / 2
        return found

    @property
    def figures(self) -> dict[str, Floats]:
        """(I,) of every score, the larger the better; sparseness is neither."""
        return {
            **{f"covering by {fill}": each.own for fill, each in self.logit.items()},
            "margin": self.margin.own,
            "deletion": -self.deletion,
            "insertion": self.insertion,
            "turned": self.turns[-1],
            "ROAD": self.road,
            "steadiness": -self.moved,
        }

    @property
    def knows_a_model(self) -> bool:
        """Whether it is an explainer's; of any other row nothing good is said."""
        return self.one.maps.true is not None


@dataclass(frozen=True)
class Layer:
    """The rows of a layer, explainers before baselines, and what they are held against."""

    name: str
    ground: Ground
    rows: Sequence[Row]

    @property
    def baselines(self) -> dict[str, Row]:
        """The rows that know no model."""
        return {row.one.maps.name: row for row in self.rows if not row.knows_a_model}


def layer_of(name: str, ground: Ground, every: Sequence[Ranked], moved: Mapping[str, Floats] | None = None) -> Layer:
    """All figures of a layer, before anything is said of them.

    Args:
        moved: maximal sensitivity of the first images, by explainer.
    """
    truths = {fill: ground.truth(fill) for fill in ground.fills}
    rows = []
    for place, one in enumerate(every):
        logit = {
            fill: beside([rank_matrix(kept(one.predicted, one.ok), truth)], ground.predicted)
            for fill, (truth, _) in truths.items()
        }
        margins = kept(one.difference, one.clear)
        margin = beside([rank_matrix(margins, truths[MEAN_COLOUR][1])], ground.predicted)
        turns = tuple(ground.turns(one, count) for count in ground.flip_counts)
        known = (moved or {}).get(one.maps.name, np.zeros(0))[: len(ground.ids)]
        steps = np.concatenate([known, np.full(len(ground.ids) - len(known), np.nan)])
        sparse = gini(kept(one.maps.predicted, one.ok))
        alike = most_alike(one, every[:place])
        rows.append(Row(name, one, logit, margin, *ground.areas(one), turns, *ground.road(one), sparse, steps, alike))
    return Layer(name, ground, rows)


# --- what may be said -----------------------------------------------------------------------------------------


def scores_of_layers(layers: Sequence[Layer], seed: int) -> list[ExplainerScores]:
    """The lines of the tables; what is claimed in a table is one family, over its layers and columns.

    Args:
        seed: of the bootstrap, begun anew for each line, so that equal maps have equal intervals.
    """
    every = [(layer, row) for layer in layers for row in layer.rows]
    truths = said(every, truth_asked)
    curves = said(every, curves_asked)
    flips = said(every, flips_asked)
    roads = said(every, road_asked)
    return [
        explainer_scores(layer, row, words=(truths[place], curves[place], flips[place], roads[place]), seed=seed)
        for place, (layer, row) in enumerate(every)
    ]


Says = Sequence["Claim | None"]


def said(every: Sequence[tuple[Layer, Row]], asked: Callable[[Layer, Row], list[Asked]]) -> list[Says]:
    """What may be said of each row's figures in one table; nothing at all of those that know no model."""
    asking = [asked(layer, row) if row.knows_a_model else [] for layer, row in every]
    found = iter(claims([one for each in asking for one in each]))
    return [[next(found) for _ in each] for each in asking]


def truth_asked(layer: Layer, row: Row) -> list[Asked]:
    """The correlations with the drops by each fill, then the margin's."""
    rivals = layer.baselines
    return [
        *(
            Asked(each.own, each.null, {name: other.logit[fill].own for name, other in rivals.items()})
            for fill, each in row.logit.items()
        ),
        Asked(row.margin.own, row.margin.null, {name: other.margin.own for name, other in rivals.items()}),
    ]


def curves_asked(layer: Layer, row: Row) -> list[Asked]:
    """Deletion, which is good where the probability falls early, and insertion, where it comes back early."""
    (deletion, insertion), rivals = layer.ground.random_areas, layer.baselines
    return [
        Asked(-row.deletion, -deletion, {name: -other.deletion for name, other in rivals.items()}),
        Asked(row.insertion, insertion, {name: other.insertion for name, other in rivals.items()}),
    ]


def flips_asked(layer: Layer, row: Row) -> list[Asked]:
    """Whether errors turn, for each count of patches."""
    return [
        Asked(own, random, {name: other.turns[place] for name, other in layer.baselines.items()})
        for place, (own, random) in enumerate(zip(row.turns, layer.ground.random_turns, strict=True))
    ]


def road_asked(layer: Layer, row: Row) -> list[Asked]:
    """ROAD, which has the random map's row to exceed at least."""
    rivals = {name: other.road for name, other in layer.baselines.items()}
    return [Asked(row.road, rivals[RANDOM], rivals)]


def explainer_scores(layer: Layer, row: Row, *, words: tuple[Says, ...], seed: int) -> ExplainerScores:
    """One line of the tables."""
    one, generator = row.one, np.random.default_rng(seed)
    counts = (len(row.logit) + 1, 2, len(row.turns), 1)
    truths, curves, flips, roads = (each or [None] * count for each, count in zip(words, counts, strict=True))
    fills = {
        fill: likeness(each, generator, claim)
        for (fill, each), claim in zip(row.logit.items(), truths[:-1], strict=True)
    }
    deletion, insertion = layer.ground.random_areas
    return ExplainerScores(
        explainer=one.maps.name,
        layer=layer.name,
        height=layer.ground.grid[0],
        width=layer.ground.grid[1],
        images=int(one.ok.sum()),
        logit=fills[MEAN_COLOUR],
        margin=likeness(row.margin, generator, truths[-1]),
        fills=tuple(ByFill(**vars(each), fill=fill) for fill, each in fills.items() if fill != MEAN_COLOUR),
        deletion=gain(row.deletion, deletion - row.deletion, generator, curves[0]),
        insertion=gain(row.insertion, row.insertion - insertion, generator, curves[1]),
        flips=tuple(
            flip(count, own, random, generator=generator, claim=claim)
            for count, own, random, claim in zip(
                layer.ground.flip_counts, row.turns, layer.ground.random_turns, flips, strict=True
            )
        ),
        contrast=two_classes(one.maps, layer.ground.predicted, generator),
        health=one.maps.health,
        road=Road(
            bootstrap_mean(row.morf, generator),
            bootstrap_mean(row.lerf, generator),
            gain(row.road, row.road - layer.baselines[RANDOM].road, generator, roads[0]),
            int((~np.isnan(row.road)).sum()),
        ),
        sparseness=bootstrap_mean(row.sparse, generator),
        sensitivity=_mean_of_moves(row.moved),
        alike=row.alike[0],
        alike_images=row.alike[1],
    )


def _mean_of_moves(values: Floats) -> Estimate | None:
    """The mean sensitivity (I,) with its interval; None below ten images.

    By Student's t, because it has no largest value: maps can move by many times their own length.
    """
    known = values[~np.isnan(values)]
    found = mean_interval(known.tolist()) if len(known) >= MIN_IMAGES else None
    return found and Estimate(found.value, max(0.0, found.low), found.high)


def ceilings_of(layer: Layer, seed: int) -> list[Ceiling]:
    """How alike the drops by each two fills are, image by image: no map can be asked to do better by both."""
    truths = {fill: layer.ground.truth(fill)[0] for fill in layer.ground.fills}
    return [
        Ceiling(
            layer.name,
            one,
            other,
            bootstrap_mean(rank_correlations(truths[one], truths[other]), np.random.default_rng(seed)),
        )
        for one, other in combinations(truths, 2)
    ]


def likeness(found: Beside, generator: np.random.Generator, claim: Claim | None) -> Likeness:
    """Means with their intervals over images, and what is said of them; nothing without a claim."""
    value, null = bootstrap_mean(found.own, generator), bootstrap_mean(found.null, generator)
    images = int((~np.isnan(found.own)).sum())
    if claim is None:
        return Likeness(value, null, images, found.alone, verdict="")
    # A map that equals the drops was made by covering: to call it faithful would be to hold it against itself.
    word = TRUTH_ITSELF if value is not None and value.value > SAME_AS_TRUTH else claim.verdict
    return Likeness(value, null, images, found.alone, claim.gain, claim.over, claim.rival, word)


def gain(area_of: Floats, over_random: Floats, generator: np.random.Generator, claim: Claim | None) -> Gain:
    """The area and its gains with their intervals over images."""
    found = Gain(bootstrap_mean(area_of, generator), bootstrap_mean(over_random, generator), verdict="")
    return replace(found, over=claim.over, rival=claim.rival, verdict=claim.verdict) if claim else found


def flip(patches: int, own: Floats, random: Floats, *, generator: np.random.Generator, claim: Claim | None) -> Flip:
    """The flip test for a count of patches; the gain is paired, image by image."""
    known = ~np.isnan(own)
    # The gain is of differences, image by image: that an image turns easily is in both, and cancels.
    share: Estimate | None = wilson(int(own[known].sum()), int(known.sum())) if known.any() else None
    found = Flip(
        patches, share, bootstrap_mean(random[known], generator), bootstrap_mean(own - random, generator), verdict=""
    )
    return replace(found, over=claim.over, rival=claim.rival, verdict=claim.verdict) if claim else found


def two_classes(maps: Maps, classes: Integers, generator: np.random.Generator) -> Likeness | None:
    """How alike the maps of the predicted and of the true class are; None for a baseline."""
    if maps.true is None or maps.true_ok is None:
        return None
    predicted, true = kept(maps.predicted, maps.predicted_ok), kept(maps.true, maps.true_ok)
    found = beside([rank_matrix(predicted, true)], classes)
    return likeness(found, generator, claims([Asked(found.own, found.null)])[0])


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


def agreements_of(layers: Sequence[tuple[str, Sequence[Ranked]]], classes: Integers, seed: int) -> list[PairScores]:
    """Agreement of each two, both classes of an image together; all that is said of it is one family.

    Args:
        layers: name and rows of each.
        classes: (I,) what counts as one class of images.
    """
    pairs = [(layer, *pair) for layer, every in layers for pair in pairs_of(every)]
    found = [of_pair(side_by_side(first, second), classes) for _, first, second in pairs]
    every = iter(claims([Asked(each.own, each.null) for both in found for each in both]))
    return [
        PairScores(
            layer, first.maps.name, second.maps.name,
            *(likeness(each, np.random.default_rng(seed), next(every)) for each in both),
        )
        for (layer, first, second), both in zip(pairs, found, strict=True)
    ]  # fmt: skip


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


def gini(maps: Floats) -> Floats:
    """How much of a map few of its values are: 0 where all have one size, near 1 where one is all there is.

    Args:
        maps: (R, h, w); the sign counts for nothing.

    Returns:
        (R,) NaN for a map that is zero or not finite.

    Source: Hurley & Rickard 2009, IEEE Trans. Inf. Theory 55, 4723; for explanations Chalasani et al. 2020,
    arXiv:1810.06583.
    """
    sizes = np.sort(np.abs(maps.reshape(len(maps), -1)).astype(np.float64), axis=1)
    count = sizes.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = sizes / sizes.sum(axis=1, keepdims=True)
        found: Floats = 1 - 2 * (shares * (count - np.arange(count) - 0.5)).sum(axis=1) / count
    return found


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
