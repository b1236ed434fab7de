"""Scores with a known answer: a good word needs the right net, and more than any row that knows no model."""

import numpy as np
import pytest
import torch

from bench.contracts import Floats
from bench.schema.known_answers import StickerScore
from bench.scoring.baselines import BASELINES
from bench.scoring.known_scores import (
    CountTest,
    GainTest,
    Planted,
    Shown,
    check_of,
    claims,
    closest,
    model_free,
    mosaic_scores,
    sticker_scores,
)
from bench.scoring.mosaics import TILES
from bench.scoring.stickers import cells_of_sticker, places_of, planted
from bench.stats.intervals import paired_gain, wilson

IDS, GRID = np.arange(60), (8, 8)
PLACES = places_of(IDS, 32)
AT = cells_of_sticker(PLACES, GRID, 32).astype(float)
NOISE = np.random.default_rng(0).normal(size=(2, len(IDS), *GRID))


def rows(reliant: Floats, control: Floats) -> list[Planted]:
    """The maps of an explainer and the rows that know no model, of images with nothing but the sticker."""
    images = torch.zeros(len(IDS), 3, 32, 32, dtype=torch.uint8)
    images = (planted(images, PLACES, np.ones(len(IDS))).float() / 64) + 0.01 * torch.rand(images.shape)
    pair = [Shown("mine", "layer4", each) for each in (reliant, control)]
    free = [model_free(one, images, IDS, np.zeros(len(IDS), np.int64)) for one in pair]
    every = [*zip(*free, strict=True), pair]
    return [Planted(1.0, one, other, PLACES, 32, GRID) for one, other in every]


def scores(reliant: Floats, control: Floats) -> dict[str, StickerScore]:
    return {one.explainer: one for one in sticker_scores(rows(reliant, control))}


def test_a_map_that_shows_the_sticker_in_the_net_that_relies_on_it_finds_it() -> None:
    found = scores(10 * AT + NOISE[0], NOISE[1])["mine"]
    assert found.finds and found.hits.value == 1
    assert found.hits_control.value < 0.1
    assert found.rank is not None and found.rank.value == 1
    assert found.rank_gain is not None and found.rank_gain.low > 0.3


def test_a_picture_stretched_from_a_coarse_grid_finds_what_the_maps_of_that_grid_find() -> None:
    grid = (4, 4)
    maps = 10 * cells_of_sticker(PLACES, grid, 32) + NOISE[0][:, :4, :4]
    stretched = np.kron(maps, np.ones((1, 8, 8)))
    first, second = (
        Planted(1.0, Shown("mine", "layer4", one), Shown("mine", "layer4", one), PLACES, 32, grid)
        for one in (maps, stretched)
    )
    (own_ranks, own_hits), (ranks, hits) = first.found(first.reliant), second.found(second.reliant)
    assert own_hits.mean() == 1
    np.testing.assert_array_equal(hits, own_hits)
    np.testing.assert_allclose(ranks, own_ranks)


def test_a_map_that_shows_the_sticker_in_both_nets_does_not_find_it() -> None:
    """It shows what stands out in the image, whatever the net looks at."""
    found = scores(10 * AT + NOISE[0], 10 * AT + NOISE[1])["mine"]
    assert found.hits.value == 1
    assert not found.claim.above and not found.finds


def test_a_map_that_shows_the_sticker_now_and_then_is_above_chance_and_does_not_find_it() -> None:
    sometimes = AT * (np.arange(len(IDS)) % 3 == 0)[:, None, None]
    found = scores(10 * sometimes + NOISE[0], NOISE[1])["mine"]
    assert found.claim.above and not found.finds


def test_no_row_that_knows_no_model_gets_a_good_word_though_the_contrast_always_hits() -> None:
    found = scores(10 * AT + NOISE[0], NOISE[1])
    assert found["contrast"].hits.value == found["contrast"].hits_control.value == 1
    assert not any(found[name].finds or found[name].claim.above for name in BASELINES)


@pytest.mark.parametrize(
    "reliant, control, unasked, counts",
    [(60, 0, 0, True), (60, 30, 0, False), (20, 0, 0, False), (40, 6, 10, True), (60, 0, 20, False)],
)
def test_a_strength_counts_where_one_net_follows_the_sticker_and_the_other_does_not(
    reliant: int, control: int, unasked: int, counts: bool
) -> None:
    flips = [(np.arange(60) < each).astype(np.int64) for each in (reliant, control)]
    assert check_of(0.5, *flips, wilson(unasked, 80)).counts is counts


# --- claims -------------------------------------------------------------------------------------------------


def test_the_interval_of_a_claim_leaves_out_0_just_where_the_adjusted_test_says_so() -> None:
    generator = np.random.default_rng(4)
    for _ in range(20):
        values = [generator.normal(0.1 * place, 1, 40) / 4 for place in range(5)]
        tests: list[GainTest | None] = [paired_gain(each, np.zeros(40), generator) for each in values]
        tests += [CountTest(*generator.integers(0, 12, 2).tolist(), 40) for _ in range(3)]
        for claim in claims(tests, [True] * 8):
            assert claim.gain is not None
            assert (claim.gain.low > 0 or claim.gain.high < 0) == (claim.p_value <= 0.05)


def test_a_good_word_needs_a_gain_over_every_row_that_knows_no_model() -> None:
    clear, near, worse = CountTest(30, 0, 60), CountTest(16, 12, 60), CountTest(3, 25, 60)
    assert closest([clear, near]) is near and closest([near, clear, worse]) is worse
    assert closest([clear, None]) is None and closest([]) is None


# --- mosaics ------------------------------------------------------------------------------------------------


def maps_of_mosaics(own: float) -> Floats:
    """(4M, 8, 8): each map has so much more in its own quarter than elsewhere."""
    maps = 1 + np.random.default_rng(6).random((30 * TILES, 8, 8))
    for row, each in enumerate(maps):
        y, x = divmod(row % TILES, 2)
        each[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] *= own
    return maps


@pytest.mark.parametrize("own, above", [(4.0, True), (1.0, False)])
def test_maps_that_lie_on_the_right_image_are_above_and_level_ones_are_not(own: float, above: bool) -> None:
    shown = Shown("mine", "layer4", maps_of_mosaics(own))
    images, ids = torch.rand(120, 3, 64, 64), np.arange(120)
    free = model_free(shown, images, ids, np.arange(120) % 7)
    *others, mine = mosaic_scores([*free, shown])
    assert mine.claim.above is above
    assert mine.share is not None and mine.share.value == pytest.approx(own / (own + 3), abs=0.02)
    assert {one.explainer for one in others} == set(BASELINES)
    assert not any(one.claim.above for one in others)


def test_a_table_of_many_rows_can_still_claim_what_is_clear() -> None:
    """A bootstrap of 5,000 resamples has no p-value that Holm would take for the first of 130 rows."""
    maps, images, ids = maps_of_mosaics(4.0), torch.rand(120, 3, 64, 64), np.arange(120)
    free = model_free(Shown("mine", "layer4", maps), images, ids, ids % 7)[:1]
    found = mosaic_scores([*free, *(Shown(f"mine{k}", "layer4", maps) for k in range(130))])
    assert all(one.claim.above for one in found[1:])


def test_maps_without_a_positive_value_are_counted_and_left_out() -> None:
    maps = maps_of_mosaics(4.0)
    maps[:3] = -1
    (mine,) = mosaic_scores([Shown("mine", "layer4", maps)])
    assert (mine.empty, mine.mosaics) == (3, 30)
    maps[3] = -1
    (mine,) = mosaic_scores([Shown("mine", "layer4", maps)])
    assert (mine.empty, mine.mosaics) == (4, 29)


@pytest.mark.parametrize("edge", [8, 16])
def test_what_rounding_leaves_of_a_map_that_knows_no_class_is_no_difference(edge: int) -> None:
    drawn = np.random.default_rng(0).random((30, edge, edge)).astype(np.float32)
    shown, images, ids = (
        Shown("mine", "layer4", drawn.repeat(TILES, axis=0)),
        torch.rand(120, 3, 64, 64),
        np.arange(120),
    )
    *_, mine = mosaic_scores([*model_free(shown, images, ids, ids % 7), shown])  # a quarter, but for 1e-17
    gain = mine.claim.gain
    assert gain is not None and -0.5 < gain.low <= 0 <= gain.high < 0.5 and mine.claim.p_value > 0.05
