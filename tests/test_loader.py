"""From places in the split to what the model sees: the seed decides, and no image is seen twice in an epoch."""

import itertools
from dataclasses import replace

import pytest
import torch
from listening import Listener
from pretended import pretended
from pretended.steps import Steps
from tiny import BUSY, QUICK, RESIDUAL, tiny_data
from torch import Tensor

from bench.contracts import Silence, Split
from bench.data.transforms import Turns, normalise
from bench.nets.weights import build_seeded
from bench.recipes.recipe import Recipe
from bench.training.loader import Batches, InRam, placed
from bench.training.loop import TrainSettings, train_model

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


# --- images that stay in RAM ---------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [TURNING, replace(BUSY, sizes=((16, 0.5),))])
def test_batches_from_ram_are_those_of_images_on_the_device_bit_for_bit(recipe: Recipe) -> None:
    split, ids = Split(pictures(60), torch.arange(60), ("",) * 60), torch.randperm(60)[:50]
    from_ram, from_device = (
        Batches(images, recipe, mirror=True, seed=3, statistics=STATISTICS)
        for images in (InRam(split.images, ids, torch.device("cpu")), split.images[ids])
    )
    for epoch in range(2):
        for one, other in zip(from_ram.shuffled(), from_device.shuffled(), strict=True):
            assert torch.equal(one, other)
            assert torch.equal(from_ram.inputs(one, epoch), from_device.inputs(other, epoch))


def test_on_a_cpu_a_split_is_not_copied() -> None:
    split = Split(pictures(20), torch.arange(20), ("",) * 20)
    images, labels = placed(split, torch.arange(10, 20), torch.device("cpu"), Silence())
    assert isinstance(images, InRam) and images.whole is split.images
    assert torch.equal(images[torch.tensor([3])], split.images[13:14]) and labels[torch.tensor([3])].tolist() == [13]


def test_a_split_that_would_fill_a_gpu_stays_in_ram_and_that_is_said() -> None:
    split, said = Split(pictures(20), torch.arange(20), ("",) * 20), Listener()
    for memory, stays in ((split.images.nbytes, True), (3 * split.images.nbytes, False)):
        with pretended("cuda", memory=memory) as gpu:
            images, _ = placed(split, torch.arange(20), gpu.device, said)
            assert isinstance(images, InRam) is stays and images.device == gpu.device
    assert len(said.said) == 1 and "20 images take 0.0 GB" in said.said[0] and "stay in RAM" in said.said[0]


def test_a_training_whose_images_stay_in_ram_gives_the_same_weights_without_a_wait_in_a_step() -> None:
    found = []
    for share in (0.5, 0.0):
        net = build_seeded(RESIDUAL, 4, 0)
        with pretended("cuda") as gpu, pytest.MonkeyPatch.context() as patch:
            patch.setattr("bench.training.loader.SHARE", share)
            with gpu.counting() as count:
                steps = Steps(count, of_epoch=3)
                data = replace(tiny_data(train=16, test=8), mirror=True)
                settings = TrainSettings(BUSY, val=0.25)
                train_model(net, data, settings, device=gpu.device, progress=Silence(), keeper=steps)
            assert sum(each.waits.total() for each in steps.within) == 0, steps.within
        found.append([each.cpu() for each in net.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
