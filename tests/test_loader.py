"""From places in the split to what the model sees: the seed decides, and no image is seen twice in an epoch."""

import itertools
from dataclasses import replace

import pytest
import torch
from tiny import BUSY, QUICK
from torch import Tensor

from bench.data.transforms import Turns, normalise
from bench.recipes.recipe import Recipe
from bench.training.loader import Batches

STATISTICS = ((0.25, 0.3, 0.35), (0.2, 0.25, 0.3))
TURNING = replace(QUICK, translate=0, flip="alternating", cutout=0)


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def batches(recipe: Recipe, *, count: int = 50, seed: int = 0, mirror: bool = True) -> Batches:
    return Batches(pictures(count), recipe, mirror=mirror, seed=seed, statistics=STATISTICS)


def mirrored_in(found: Batches, epoch: int) -> list[bool]:
    """Which of the images an epoch of nothing but mirroring shows mirrored, by comparing pixels."""
    seen = found.inputs(torch.arange(len(found.images)), epoch)
    plain = normalise(found.images, *STATISTICS)
    turned = [torch.equal(one, other.flip(2)) for one, other in zip(seen, plain, strict=True)]
    kept = [torch.equal(one, other) for one, other in zip(seen, plain, strict=True)]
    assert all(one != other for one, other in zip(turned, kept, strict=True))
    return turned


def test_an_epoch_shows_every_image_once_but_those_that_fill_no_batch() -> None:
    found = batches(QUICK)
    for _ in range(2):
        places = torch.cat(list(found.shuffled()))
        assert len(places) == 48 == len(set(places.tolist())) and found.steps == 3


def test_every_image_is_seen_in_both_orientations_in_any_two_epochs() -> None:
    epochs = [mirrored_in(batches(TURNING), epoch) for epoch in range(4)]
    for one, other in itertools.pairwise(epochs):
        assert all(a != b for a, b in zip(one, other, strict=True))
    assert epochs[0] == epochs[2] and 10 < sum(epochs[0]) < 40


def test_turns_belong_to_images_whatever_batch_they_come_in() -> None:
    found, whole = batches(TURNING), mirrored_in(batches(TURNING), 1)
    plain = normalise(found.images, *STATISTICS)
    for places in found.shuffled():
        for place, seen in zip(places.tolist(), found.inputs(places, 1), strict=True):
            assert torch.equal(seen, plain[place].flip(2) if whole[place] else plain[place])


def test_the_seed_decides_the_turns_and_nothing_else_does() -> None:
    torch.manual_seed(1)
    one = mirrored_in(batches(TURNING, seed=4), 0)
    torch.manual_seed(2)
    same = batches(TURNING, seed=4)
    same.shuffled()
    assert mirrored_in(same, 0) == one and mirrored_in(batches(TURNING, seed=5), 0) != one


def test_turns_are_no_part_of_the_order_or_of_the_augmentation() -> None:
    one, other = (batches(replace(QUICK, translate=4, flip=flip, cutout=8)) for flip in ("alternating", "none"))
    assert all(torch.equal(a, b) for a, b in zip(one.shuffled(), other.shuffled(), strict=True))
    one.inputs(torch.arange(8), 0)
    other.inputs(torch.arange(8), 0)
    assert torch.equal(one.pixels.get_state(), other.pixels.get_state())


@pytest.mark.parametrize(("flip", "mirror"), [("random", False), ("alternating", False), ("none", True)])
def test_a_data_set_or_a_recipe_that_forbids_mirroring_is_not_mirrored(flip: str, mirror: bool) -> None:
    found = batches(replace(TURNING, flip=flip), mirror=mirror)
    assert found.turns is None
    for epoch in range(2):
        assert torch.equal(found.inputs(torch.arange(50), epoch), normalise(found.images, *STATISTICS))


def test_turns_of_a_seed_are_half_and_the_same_again() -> None:
    turns = Turns.of(4000, 3, torch.device("cpu"))
    assert 1850 < int(turns.first.sum()) < 2150  # 4.7 standard deviations
    assert torch.equal(turns.first, Turns.of(4000, 3, torch.device("cpu")).first)
    places = torch.tensor([7, 0, 7, 3999])
    first, second = (turns.mirrored(places, epoch) for epoch in (0, 1))
    assert torch.equal(first, turns.first[places]) and torch.equal(second, 1 - first)


def test_batches_have_the_shapes_they_say() -> None:
    found = batches(BUSY)
    seen = {tuple(found.inputs(torch.arange(16), epoch).shape) for epoch in range(BUSY.epochs)}
    assert found.shapes() == seen == {(16, 3, 16, 16), (16, 3, 24, 24), (16, 3, 32, 32)}
    assert batches(QUICK).shapes() == {(16, 3, 32, 32)}
    assert batches(replace(BUSY, sizes=((32, 0.5),))).shapes() == {(16, 3, 32, 32)}


def test_images_stay_as_they_are() -> None:
    found = batches(BUSY)
    for epoch in range(4):
        found.inputs(torch.arange(50), epoch).zero_()
    assert torch.equal(found.images, pictures(50))
