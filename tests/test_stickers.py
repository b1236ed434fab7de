"""A sticker is planted where it is said, and a map is held to that place alone."""

import numpy as np
import pytest
import torch

from bench.scoring.stickers import (
    CELLS,
    cells_of_sticker,
    found_at,
    places_of,
    planted,
    sticker,
    sticker_edge,
)

IDS = np.arange(40)


@pytest.mark.parametrize("pixels", [8, 32, 30, 224])
def test_a_sticker_changes_its_own_square_alone_and_by_its_strength(pixels: int) -> None:
    images = torch.randint(0, 256, (4, 3, pixels, pixels), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    before, places, edge = images.clone(), places_of(IDS[:4], pixels), sticker_edge(pixels)
    strengths = np.array([1.0, 0.5, 0.125, 0.0])
    found, picture = planted(images, places, strengths), sticker(edge)
    assert torch.equal(images, before)
    for image in range(4):
        for row in range(pixels):
            for column in range(pixels):
                y, x = row - places[image, 0], column - places[image, 1]
                due = before[image, :, row, column].double()
                if 0 <= y < edge and 0 <= x < edge:
                    due = strengths[image] * picture[:, y, x].double() + (1 - strengths[image]) * due
                assert (found[image, :, row, column].double() - due).abs().max() <= 0.5


def test_the_sticker_has_a_pattern_of_two_colours_and_places_are_an_images_own() -> None:
    assert len(torch.unique(sticker(4).flatten(1).T, dim=0)) == 2
    assert np.array_equal(places_of(IDS, 32)[10:12], places_of(IDS[10:12], 32))
    assert len(np.unique(places_of(np.arange(2000), 32), axis=0)) == CELLS**2


@pytest.mark.parametrize("grid", [(8, 8), (4, 4), (2, 2), (7, 7), (5, 3)])
def test_the_cells_of_a_sticker_are_those_that_hold_most_of_its_pixels(grid: tuple[int, int]) -> None:
    pixels, places = 32, places_of(IDS, 32)
    found, edge, fine = cells_of_sticker(places, grid, pixels), sticker_edge(pixels), 105  # 3 x 5 x 7 parts a pixel
    for image, (top, left) in enumerate(places.tolist()):
        counts = np.zeros(grid)
        rows = (np.arange(top * fine, (top + edge) * fine) * grid[0]) // (pixels * fine)
        columns = (np.arange(left * fine, (left + edge) * fine) * grid[1]) // (pixels * fine)
        np.add.at(counts, np.ix_(rows, columns), 1)
        assert np.array_equal(found[image], counts == counts.max())
    if grid in ((8, 8), (4, 4), (2, 2)):
        assert (found.sum(axis=(1, 2)) == 1).all()


def test_a_map_that_points_at_the_sticker_hits_and_one_that_points_elsewhere_does_not() -> None:
    places = places_of(IDS, 32)
    at = cells_of_sticker(places, (8, 8), 32).astype(float)
    rank, hit = found_at(at, places, grid=(8, 8), pixels=32)
    assert (rank == 1).all() and hit.all()
    rank, hit = found_at(-at, places, grid=(8, 8), pixels=32)
    assert (rank == 0).all() and not hit.any()
    rank, hit = found_at(np.roll(at, 1, axis=2), places, grid=(8, 8), pixels=32)
    assert rank == pytest.approx(62 / 63 * 0 + 31 / 63, abs=1e-9) and not hit.any()  # level with 62, below one


def test_a_tie_for_the_top_is_no_hit_and_a_map_without_a_difference_says_nothing() -> None:
    places = places_of(IDS, 32)
    at = cells_of_sticker(places, (8, 8), 32).astype(float)
    rank, hit = found_at(at + np.roll(at, 1, axis=2), places, grid=(8, 8), pixels=32)
    assert rank == pytest.approx(62.5 / 63) and not hit.any()
    for empty in (np.zeros_like(at), np.full_like(at, np.nan)):
        rank, hit = found_at(empty, places, grid=(8, 8), pixels=32)
        assert np.isnan(rank).all() and not hit.any()


def test_random_maps_rank_the_sticker_in_the_middle_and_pixels_are_summed_to_cells() -> None:
    ids = np.arange(2000)
    places, maps = places_of(ids, 32), np.random.default_rng(0).normal(size=(2000, 32, 32))
    rank, hit = found_at(maps, places, grid=(8, 8), pixels=32)
    assert rank.mean() == pytest.approx(0.5, abs=0.03) and hit.mean() == pytest.approx(1 / 64, abs=0.01)
    by_hand = maps[0].reshape(8, 4, 8, 4).sum(axis=(1, 3))
    own = by_hand[tuple(places[0] // 4)]
    assert rank[0] == pytest.approx((by_hand < own).sum() / 63)
