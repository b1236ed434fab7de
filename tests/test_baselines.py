"""Maps that know no model, each against a slow version of itself."""

import numpy as np
import pytest
import torch
from scipy.ndimage import sobel
from torch import Tensor

from bench.scoring.baselines import centre_maps, class_templates, contrast_maps, edge_maps, random_maps


def images(count: int = 3, edge: int = 12) -> Tensor:
    return torch.randn(count, 3, edge, edge, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("grid", [(4, 4), (3, 2), (12, 12), (5, 5)], ids=str)
def test_contrast_is_the_mean_of_squared_pixels_patch_by_patch(grid: tuple[int, int]) -> None:
    found, pixels = contrast_maps(images(), grid), images().numpy()
    rows, columns = (np.arange(12) * count // 12 for count in grid)
    for n, i, j in np.ndindex(found.shape):
        patch = pixels[n][:, rows == i][:, :, columns == j]
        assert found[n, i, j] == pytest.approx((patch.astype(np.float64) ** 2).mean())


def test_edges_are_scipys_sobel_of_the_mean_channel() -> None:
    grey = images().numpy().astype(np.float64).mean(axis=1)
    slow = [np.hypot(sobel(one, axis=0, mode="nearest"), sobel(one, axis=1, mode="nearest")) for one in grey]
    assert edge_maps(images(), (12, 12)) == pytest.approx(np.array(slow))
    assert edge_maps(images(), (1, 1)).ravel() == pytest.approx(np.mean(slow, axis=(1, 2)))


def test_an_image_of_one_colour_has_no_edges_not_even_its_frame() -> None:
    assert edge_maps(torch.full((1, 3, 8, 8), 2.0), (4, 4)) == pytest.approx(0)


def test_the_class_template_is_the_mean_of_the_others_of_the_class_and_none_for_an_image_alone() -> None:
    drops, classes = np.random.default_rng(0).normal(size=(6, 2, 3)), np.array([0, 1, 0, 2, 1, 0])
    found = class_templates(drops, classes)
    for n in range(6):
        others = [drops[m] for m in range(6) if m != n and classes[m] == classes[n]]
        assert np.isnan(found[n]).all() if not others else found[n] == pytest.approx(np.mean(others, axis=0))


def test_a_random_map_does_not_hang_on_the_other_images_and_the_centre_is_everywhere_the_same() -> None:
    assert (random_maps(np.array([7, 9]), (4, 4), 1)[1] == random_maps(np.array([9]), (4, 4), 1)[0]).all()
    assert (random_maps(np.array([9]), (4, 4), 2) != random_maps(np.array([9]), (4, 4), 1)).all()
    centre = centre_maps(np.array([1, 2]), (4, 4))
    assert (centre[0] == centre[1]).all() and centre[0, 1, 1] == centre.max() > centre[0, 0, 0] == centre.min()
