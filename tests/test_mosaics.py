"""The mosaic game: which images it is played with, and how much of a map counts."""

import numpy as np
import pytest
import torch

from bench.scoring.mosaics import choose_mosaics, halved, own_shares, tiled, top_four
from bench.store.predictions import Predictions


def predictions(classes: int = 5, each: int = 12) -> Predictions:
    """Every third image is wrong, every fourth unsure; the others are right and sure."""
    labels = np.tile(np.arange(classes), each)
    logits = np.zeros((len(labels), classes), np.float32)
    for image, label in enumerate(labels.tolist()):
        logits[image, (label + (image % 3 == 0)) % classes] = 1.0 if image % 4 == 0 else 9.0
    return Predictions(np.arange(len(labels)), labels, logits)


def test_mosaics_are_of_four_classes_of_images_that_the_net_is_right_and_sure_of() -> None:
    known = predictions()
    found = choose_mosaics(known, 100)
    fit = [image for image in range(60) if image % 3 and image % 4]
    assert 0 < len(found.ids) <= len(fit) // 4
    assert set(found.ids.ravel().tolist()) <= set(fit)
    assert len(set(found.ids.ravel().tolist())) == found.ids.size
    assert all(len(set(row)) == 4 for row in found.classes.tolist())
    assert np.array_equal(found.classes, known.labels[found.ids])
    assert len(found.ids) >= len(fit) // 4 - 1  # classes take turns, so that no images are left over


def test_fewer_mosaics_are_the_first_of_more_and_three_classes_make_none() -> None:
    known = predictions()
    assert np.array_equal(choose_mosaics(known, 3).ids, choose_mosaics(known, 5).ids[:3])
    assert choose_mosaics(predictions(classes=3), 5).ids.shape == (0, 4)


def test_the_four_images_stand_in_their_quarters() -> None:
    images = torch.arange(2 * 4 * 3 * 5 * 5).reshape(2, 4, 3, 5, 5)
    found = tiled(images)
    for quarter in range(4):
        row, column = divmod(quarter, 2)
        assert torch.equal(found[:, :, row * 5 : row * 5 + 5, column * 5 : column * 5 + 5], images[:, quarter])


def test_a_mosaic_of_flat_tiles_keeps_its_colours_at_half_the_size() -> None:
    tiles = torch.tensor([10, 80, 160, 250], dtype=torch.uint8).reshape(1, 4, 1, 1, 1).expand(1, 4, 3, 8, 8)
    small = halved(tiled(tiles))
    assert small.shape == (1, 3, 8, 8) and small.dtype == torch.uint8
    assert [int(small[0, 0, y, x]) for y, x in ((0, 0), (0, 7), (7, 0), (7, 7))] == [10, 80, 160, 250]


@pytest.mark.parametrize("size", [(4, 4), (7, 7), (1, 3), (64, 64)])
def test_shares_are_those_of_a_slow_count_at_twice_the_resolution(size: tuple[int, int]) -> None:
    maps = np.random.default_rng(1).normal(size=(12, *size))
    quadrants = np.arange(12) % 4
    found = own_shares(maps, quadrants)
    for raw, quadrant, share in zip(maps, quadrants.tolist(), found.tolist(), strict=True):
        heat = np.repeat(np.repeat(np.maximum(raw, 0), 2, axis=0), 2, axis=1)  # 2h x 2w: halves are whole numbers
        row, column = divmod(quadrant, 2)
        own = heat[row * size[0] : (row + 1) * size[0], column * size[1] : (column + 1) * size[1]]
        assert share == pytest.approx(own.sum() / heat.sum()) if heat.any() else np.isnan(share)


def test_a_map_without_a_positive_value_says_nothing_and_a_flat_one_is_at_chance() -> None:
    assert np.isnan(own_shares(-np.ones((1, 4, 4)), np.array([0]))).all()
    assert np.isnan(own_shares(np.full((1, 4, 4), np.inf), np.array([0]))).all()
    assert own_shares(np.ones((4, 7, 5)), np.arange(4)) == pytest.approx(0.25)


def test_the_top_four_are_counted_by_class() -> None:
    logits = np.array([[9, 8, 7, 6, 1, 0], [0, 1, 2, 3, 4, 5]], np.float32)
    assert top_four(logits, np.array([[0, 1, 2, 3], [0, 1, 2, 3]])).tolist() == [1.0, 0.5]
