"""Maps that know the class, or the image, but no model: planted, and never called good."""

import numpy as np
import pytest
import torch

from bench.scoring.baselines import CONTRAST, EDGES, TEMPLATE, class_templates, contrast_maps, edge_maps
from bench.scoring.claims import ABOVE, NO_EVIDENCE, Asked, claims
from bench.stats.agreement import beside
from bench.stats.intervals import rank_matrix

COUNT, GRID = 80, (4, 4)
CLASSES = np.arange(COUNT) % 3


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def pictures() -> torch.Tensor:
    """Images whose patches are grainy by different degrees."""
    grain = rng(0).uniform(0.1, 2, (COUNT, 1, *GRID)).repeat(4, axis=2).repeat(4, axis=3)
    return torch.from_numpy(grain * rng(1).normal(size=(COUNT, 3, 16, 16)))


CONTRASTS, EDGE_MAPS = contrast_maps(pictures(), GRID), edge_maps(pictures(), GRID)
OWN = rng(2).normal(size=(COUNT, *GRID))
# What covering does: where the class's objects are, how grainy the patch is, and what the model saw in this image.
DROPS = 2 * rng(3).normal(size=(3, *GRID))[CLASSES] + CONTRASTS / CONTRASTS.std() + OWN
ROWS = {CONTRAST: CONTRASTS, EDGES: EDGE_MAPS, TEMPLATE: class_templates(DROPS, CLASSES)}


def noise(seed: int) -> np.ndarray:
    return 0.05 * rng(seed).normal(size=(COUNT, *GRID))


def said_of(maps: np.ndarray, classes: np.ndarray = CLASSES) -> str:
    found = beside([rank_matrix(maps, DROPS)], classes)
    rivals = {name: beside([rank_matrix(each, DROPS)], classes).own for name, each in ROWS.items()}
    return claims([Asked(found.own, found.null, rivals)])[0].verdict


@pytest.mark.parametrize("name", list(ROWS))
def test_a_map_that_knows_no_model_is_never_good_even_as_somebodys_explainer(name: str) -> None:
    assert {said_of(ROWS[name] + noise(seed) * ROWS[name].std()) for seed in range(100, 108)} <= {NO_EVIDENCE, "below"}
    assert said_of(ROWS[name]) != ABOVE


def test_maps_of_other_images_of_the_class_are_not_good() -> None:
    """What a class shares is much of every map, and says nothing of the image."""
    moved = DROPS.copy()
    for each in range(3):
        places = np.flatnonzero(each == CLASSES)
        moved[places] = DROPS[np.roll(places, 1)]
    assert said_of(moved) != ABOVE


def test_against_images_of_any_class_the_class_alone_would_pass() -> None:
    """The fault that the class null is there for."""
    template = ROWS[TEMPLATE]
    for classes, passes in ((CLASSES, False), (np.zeros(COUNT, dtype=int), True)):
        found = beside([rank_matrix(template, DROPS)], classes)
        assert (claims([Asked(found.own, found.null)])[0].verdict == ABOVE) == passes


def test_a_map_of_what_the_model_saw_is_good() -> None:
    assert said_of(DROPS + 0.5 * rng(9).normal(size=DROPS.shape)) == ABOVE


def test_the_null_is_the_mean_over_other_images_of_the_class_and_an_image_alone_is_counted() -> None:
    classes = np.array([0, 0, 0, 1, 1, 2])
    matrix = rng(4).normal(size=(6, 6))
    found = beside([matrix], classes)
    assert found.alone == 1 and np.isnan(found.null[5]) and found.own.tolist() == np.diagonal(matrix).tolist()
    for places in ([0, 1, 2], [3, 4]):
        pairs = [matrix[i, j] for i in places for j in places if i != j]
        assert found.null[places].mean() == pytest.approx(np.mean(pairs))
