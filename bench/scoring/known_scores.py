"""Scores of maps where the right answer is known: a sticker's place, a mosaic's quarter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import copysign
from typing import Protocol

import numpy as np
from torch import Tensor

from bench.contracts import Booleans, Floats, Integers
from bench.schema.known_answers import UNASKED, Claim, MosaicScore, StickerCheck, StickerScore
from bench.schema.page import Estimate
from bench.scoring.baselines import (
    BASELINES,
    CENTRE,
    CONTRAST,
    EDGES,
    RANDOM,
    TEMPLATE,
    centre_maps,
    class_templates,
    contrast_maps,
    edge_maps,
    random_maps,
)
from bench.scoring.mosaics import TILES, own_shares
from bench.scoring.stickers import found_at
from bench.stats.intervals import (
    LEVEL,
    MeanTest,
    bootstrap_mean,
    holm,
    holm_levels,
    mcnemar,
    paired_difference,
    paired_gain,
    wilson,
)

FOLLOWS, IGNORES = 0.5, 0.25  # bounds of the two nets' flip rates within which a strength counts
SEED = 8038


@dataclass(frozen=True)
class Shown:
    """The maps of an explainer, or of a row that knows no model, at one layer.

    Attributes:
        maps: (R, h, w) raw.
    """

    explainer: str
    layer: str
    maps: Floats

    @property
    def knows_model(self) -> bool:
        """Whether a model had a part in it."""
        return self.explainer not in BASELINES

    def part(self, rows: Booleans) -> Shown:
        """The maps of some of the images."""
        return replace(self, maps=self.maps[rows])


def model_free(shown: Shown, images: Tensor, ids: Integers, classes: Integers) -> list[Shown]:
    """The rows that know no model, on the grid of a layer's maps.

    Args:
        shown: maps of that layer, for the class template: the mean of those of the other images of the same class.
        images: (R, 3, H, W), normalised, as the maps are of.
        ids: (R,) that random maps are drawn for.
        classes: (R,) the class that each map speaks for.
    """
    grid = (int(shown.maps.shape[1]), int(shown.maps.shape[2]))
    maps = {
        RANDOM: random_maps(ids, grid, 0),
        CENTRE: centre_maps(ids, grid),
        CONTRAST: contrast_maps(images, grid),
        EDGES: edge_maps(images, grid),
        TEMPLATE: class_templates(shown.maps.astype(np.float64), classes),
    }
    return [Shown(name, shown.layer, each) for name, each in maps.items()]


class GainTest(Protocol):
    """A mean difference that can be told with its p-value and with an interval that agrees with it."""

    @property
    def value(self) -> float:
        """The difference."""
        ...

    @property
    def p_value(self) -> float:
        """Two-sided."""
        ...

    def interval(self, level: float) -> Estimate:
        """The difference with its interval."""
        ...


@dataclass(frozen=True)
class CountTest:
    """Of images that one way finds and the other does not: exact, since counts of few images have no normal errors.

    Attributes:
        more, less: images in which only the first finds it, and only the second.
        total: all images.
    """

    more: int
    less: int
    total: int

    @property
    def value(self) -> float:
        """The share of the images in which the first finds it, less that of the second."""
        return (self.more - self.less) / self.total

    @property
    def p_value(self) -> float:
        """By McNemar's exact test."""
        return mcnemar(self.less, self.more)

    def interval(self, level: float) -> Estimate:
        """The difference with its interval, which leaves out 0 just where the test does."""
        return paired_difference(self.less, self.more, self.total, level)


def claims(tests: Sequence[GainTest | None], knows: Sequence[bool]) -> list[Claim]:
    """What may be said of the rows of a table: all p-values of the rows that know a model are adjusted together.

    Args:
        tests: each row's gain over the row that knows no model and comes closest; None where nothing can be said.
        knows: for each row whether a model had a part in it.
    """
    family = [place for place, known in enumerate(knows) if known]
    p_values = [1.0 if (test := tests[place]) is None else test.p_value for place in family]
    levels = dict(zip(family, holm_levels(p_values), strict=True))
    adjusted = dict(zip(family, holm(p_values), strict=True))
    return [
        Claim(test.interval(levels.get(place, LEVEL)) if test else None, adjusted.get(place, 1.0), knows[place])
        for place, test in enumerate(tests)
    ]


def closest(tests: Sequence[GainTest | None]) -> GainTest | None:
    """Of a row's gains over the rows that know no model the least certain: a good word needs all of them."""
    known = [test for test in tests if test is not None]
    if len(known) < len(tests) or not known:
        return None
    return min(known, key=lambda test: (copysign(1 - test.p_value, test.value), test.value))


# --- the sticker --------------------------------------------------------------------------------------------


def check_of(strength: float, reliant: Integers, control: Integers, unasked: Estimate) -> StickerCheck:
    """Whether a strength counts, by the images (I,) that each net takes for the sticker's class with it: 0 or 1.

    Args:
        unasked: share of all images that one of the nets takes for that class without it, which are not among these.
    """
    one, other = (wilson(int(each.sum()), len(each)) for each in (reliant, control))
    learned = one.low >= FOLLOWS and other.high <= IGNORES
    return StickerCheck(strength, len(reliant), one, other, learned and unasked.high <= UNASKED)


@dataclass(frozen=True)
class Planted:
    """Maps of images with a sticker by the two nets.

    Attributes:
        reliant, control: of the same images, for the sticker's class.
        places: (I, 2) of the stickers in pixels.
        pixels: an edge of the images.
        grid: of the cells that maps are summed to. That of the layer, also where a library stretched its maps to the
            size of the image: a stretched cell is as large as several, of which none alone could be the top.
    """

    strength: float
    reliant: Shown
    control: Shown
    places: Integers
    pixels: int
    grid: tuple[int, int]

    def found(self, shown: Shown) -> tuple[Floats, Floats]:
        """(I,) ranks of the sticker's place in the maps, and whether it is the top, as 0 or 1."""
        rank, hit = found_at(shown.maps, self.places, grid=self.grid, pixels=self.pixels)
        return rank, hit.astype(np.float64)


def sticker_scores(rows: Sequence[Planted]) -> list[StickerScore]:
    """The scores of all explainers, layers and strengths, which make one table."""
    every = [(row.found(row.reliant), row.found(row.control)) for row in rows]
    gains = [reliant[1] - control[1] for reliant, control in every]  # 1, 0 or -1 for each image

    def beside(row: Planted) -> list[Floats]:
        return [
            gains[place] for place, other in enumerate(rows)
            if not other.reliant.knows_model and other.strength == row.strength
            and other.reliant.layer == row.reliant.layer
        ]  # fmt: skip

    tests = [
        closest([_counted(own - other) for other in (np.zeros_like(own), *beside(row))])
        for own, row in zip(gains, rows, strict=True)
    ]
    said = claims(tests, [row.reliant.knows_model for row in rows])
    return [
        StickerScore(
            explainer=row.reliant.explainer,
            layer=row.reliant.layer,
            strength=row.strength,
            images=len(row.places),
            rank=bootstrap_mean(reliant[0], np.random.default_rng(SEED), within=(0, 1)),
            rank_control=bootstrap_mean(control[0], np.random.default_rng(SEED), within=(0, 1)),
            hits=wilson(int(reliant[1].sum()), len(row.places)),
            hits_control=wilson(int(control[1].sum()), len(row.places)),
            rank_gain=_interval(paired_gain(reliant[0], control[0], np.random.default_rng(SEED), (-1, 1))),
            claim=claim,
        )
        for row, (reliant, control), claim in zip(rows, every, said, strict=True)
    ]


def _counted(differences: Floats) -> CountTest:
    return CountTest(int((differences > 0).sum()), int((differences < 0).sum()), len(differences))


def _interval(test: MeanTest | None) -> Estimate | None:
    return test.interval() if test else None


# --- the mosaic ---------------------------------------------------------------------------------------------


def mosaic_scores(rows: Sequence[Shown]) -> list[MosaicScore]:
    """The scores of all explainers and layers, which make one table.

    Args:
        rows: each with (4M, h, w) maps, four a mosaic, one for the class of each quarter in turn.
    """
    shares = [_by_mosaic(row.maps) for row in rows]
    free = [place for place, row in enumerate(rows) if not row.knows_model]
    tests = [
        closest(
            [
                paired_gain(own, shares[place], np.random.default_rng(SEED), (-1, 1), len(rows))
                for place in free
                if rows[place].layer == row.layer
            ]
        )
        for own, row in zip(shares, rows, strict=True)
    ]
    said = claims(tests, [row.knows_model for row in rows])
    return [
        MosaicScore(
            explainer=row.explainer,
            layer=row.layer,
            mosaics=int((~np.isnan(own)).sum()),
            empty=int(np.isnan(own_shares(row.maps, _quadrants(row.maps))).sum()),
            share=bootstrap_mean(own, np.random.default_rng(SEED), within=(0, 1)),
            claim=claim,
        )
        for row, own, claim in zip(rows, shares, said, strict=True)
    ]


def _quadrants(maps: Floats) -> Integers:
    return np.arange(len(maps)) % TILES


def _by_mosaic(maps: Floats) -> Floats:
    """The mean share of a mosaic's maps, (4M, h, w) to (M,); NaN where none has a positive value."""
    shares = own_shares(maps, _quadrants(maps)).reshape(-1, TILES)
    known = ~np.isnan(shares)
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(known, shares, 0.0).sum(axis=1) / known.sum(axis=1)
    return found
