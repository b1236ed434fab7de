"""A replayed recipe is what the libraries do, and the one that made a picture is found again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.judging.picture_steps import (
    KNOWN,
    OURS,
    RESIZES,
    UNTOUCHED,
    PictureRecipe,
    by_cumulative_sum,
    by_range,
    find_recipe,
    replayed,
    steps_between,
)
from bench.postprocess import postprocess

GRADCAMS, CAPTUMS = KNOWN
SIZE = (32, 32)


def maps(count: int = 6, edge: int = 8, *, seed: int = 0) -> torch.Tensor:
    """Signed maps (count, edge, edge) in float64; the second has no negative value."""
    raw = torch.randn(count, edge, edge, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    raw[1] = raw[1].abs() + 0.3
    return raw


def test_our_recipe_is_the_post_processing_of_the_pages() -> None:
    assert torch.equal(replayed(maps(), OURS, SIZE), postprocess(maps(), 32))


def test_recipe_of_pytorch_grad_cam_is_what_its_own_function_does() -> None:
    from pytorch_grad_cam.utils.image import scale_cam_image

    once = scale_cam_image(np.maximum(maps().numpy(), 0), SIZE)
    assert np.abs(replayed(maps(), GRADCAMS, SIZE).numpy() - scale_cam_image(once)).max() <= 1e-6


@pytest.mark.parametrize("edge", [8, 32])  # of 32x32 cells many lie between 97 and 98 % of the sum
def test_recipe_of_captum_is_what_its_own_functions_do(edge: int) -> None:
    from captum.attr import LayerAttribution
    from captum.attr._utils.visualization import _normalize_attr

    raw = maps(edge=edge)
    large = LayerAttribution.interpolate(raw[:, None], SIZE)[:, 0].numpy()
    drawn = np.stack([_normalize_attr(each, "positive", 2) for each in large])
    assert np.abs(replayed(raw, CAPTUMS, SIZE).numpy() - drawn).max() <= 1e-12


def test_signed_maps_are_cut_at_both_ends_as_captum_does() -> None:
    from captum.attr._utils.visualization import _normalize_attr

    drawn = np.stack([_normalize_attr(each, "all", 2) for each in maps(edge=32).numpy()])
    assert drawn.min() == -1
    assert np.abs(by_cumulative_sum(maps(edge=32)).numpy() - drawn).max() <= 1e-12


def test_cumulative_sum_is_cut_where_98_of_100_are_reached() -> None:
    top = torch.tensor([[[1.0, 1.0], [48.0, 50.0]]])  # sums 1, 2, 50, 100: only the last reaches 98
    assert torch.equal(by_cumulative_sum(top), top / 50)
    flat = torch.ones(1, 10, 10)
    flat[0, 0, 0] = 1.5  # 99 ones are 98.5 % of 100.5, so 1 is what is divided by, and 1.5 is cut
    assert torch.equal(by_cumulative_sum(flat), torch.ones(1, 10, 10))
    assert torch.equal(by_cumulative_sum(torch.zeros(1, 2, 2)), torch.zeros(1, 2, 2))


def test_constant_positive_map_becomes_zero_by_the_min_shift_and_one_by_ours() -> None:
    constant = torch.full((1, 1, 1), 3.0)
    steps = steps_between(constant, GRADCAMS, SIZE)
    assert (by_range(constant, 0) == 0).all() and (replayed(constant, OURS, SIZE) == 1).all()
    assert [step.difference for step in steps] == [1.0, 0.0] and "smallest value subtracted" in steps[0].words


@pytest.mark.parametrize("resize", list(RESIZES))
def test_every_way_to_resize_is_found_again_and_none_is_taken_for_another(resize: str) -> None:
    picture = replayed(maps(), PictureRecipe("before", "max", resize, "none"), SIZE)
    assert find_recipe(picture, maps(), 1e-12).resize == resize


@pytest.mark.parametrize(
    "recipe",
    [
        PictureRecipe("before", "98 %", "bilinear", "none"),
        PictureRecipe("after", "none", "bilinear", "max"),
        PictureRecipe("none", "min-max", "bicubic", "none"),
        PictureRecipe("none", "none", "aligned", "min-max"),
        PictureRecipe("before", "max + 1e-8", "bilinear", "98 %"),
        GRADCAMS,
        CAPTUMS,
    ],
)
def test_recipe_that_was_found_makes_the_very_picture(recipe: PictureRecipe) -> None:
    picture = replayed(maps(edge=4), recipe, SIZE)
    found = find_recipe(picture, maps(edge=4), 1e-12)
    assert (replayed(maps(edge=4), found, SIZE) - picture).abs().max() <= 1e-12


def test_of_recipes_that_no_map_can_tell_apart_a_librarys_own_is_named_and_else_the_nearest_to_ours() -> None:
    """Before and after the nearest cell is taken the ReLU does the same."""
    assert [find_recipe(replayed(maps(), recipe, SIZE), maps(), 1e-12) for recipe in KNOWN] == list(KNOWN)
    other = PictureRecipe("after", "none", "nearest", "none")
    assert find_recipe(replayed(maps(), other, SIZE), maps(), 1e-12) == replace(other, relu=OURS.relu)


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e9])
def test_picture_of_other_maps_fits_no_recipe_and_its_own_do_in_every_unit(unit: float) -> None:
    """Maps of faint gradients are no better known than those of strong ones."""
    recipe = PictureRecipe("before", "none", "bilinear", "none")  # keeps the unit
    picture, noise = replayed(unit * maps(), recipe, SIZE), 1 + 0.9e-6 * maps(edge=32, seed=2).sign()
    assert find_recipe(picture * noise, unit * maps(), 1e-6) == recipe
    assert find_recipe(replayed(unit * maps(seed=1), recipe, SIZE), unit * maps(), 1e-6) is None
    assert find_recipe(replayed(maps(seed=1), OURS, SIZE), maps(), 1e-6) is None


def test_raw_map_is_found_untouched() -> None:
    assert find_recipe(maps(), maps(), 1e-12, nearest_to=UNTOUCHED) == UNTOUCHED


@pytest.mark.parametrize("recipe", KNOWN)
def test_steps_lead_from_our_picture_to_the_librarys(recipe: PictureRecipe) -> None:
    steps = steps_between(maps(), recipe, SIZE)
    total = float((replayed(maps(), recipe, SIZE) - replayed(maps(), OURS, SIZE)).abs().max())
    assert max(step.difference for step in steps) <= 1 and sum(step.difference for step in steps) >= total - 1e-12
    assert steps_between(maps(), OURS, SIZE) == ()
    nearest, relu, _ = steps_between(maps(), CAPTUMS, SIZE)
    assert nearest.difference > 0.1 and relu.difference == 0, "the order of ReLU and nearest cell makes no difference"
