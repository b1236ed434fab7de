from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from bench.contracts import Augmentation
from bench.data.transforms import augment, denormalise, fill_colour, normalise, shrink
from bench.errors import UsageError

MEAN, STD = (0.49140, 0.48216, 0.44653), (0.24703, 0.24349, 0.26159)
FILL = torch.tensor([125, 123, 114], dtype=torch.uint8)
NOTHING = Augmentation(translate=0, flip="none", cutout=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=seeded(7))


def noise(count: int, height: int = 32, width: int = 32) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), generator=seeded(99), dtype=torch.uint8)


def plain(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """The same, one image after the other, as the papers tell it; numbers drawn in the same order."""
    count, _, height, width = images.shape

    def draw(below: int) -> list[int]:
        return torch.randint(below, (count, 1), generator=generator).flatten().tolist()

    border = augmentation.translate
    down, right = (draw(2 * border + 1), draw(2 * border + 1)) if border else ([0] * count, [0] * count)
    mirrored = draw(2) if augmentation.flip == "random" else [0] * count
    centre_y, centre_x = (draw(height), draw(width)) if augmentation.cutout else ([0] * count, [0] * count)
    results = []
    for index, image in enumerate(images.numpy()):
        large = np.pad(image, ((0, 0), (border, border), (border, border)), mode="reflect")
        crop = large[:, down[index] : down[index] + height, right[index] : right[index] + width].copy()
        if mirrored[index]:
            crop = crop[:, :, ::-1].copy()
        if augmentation.cutout:
            top, left = centre_y[index] - augmentation.cutout // 2, centre_x[index] - augmentation.cutout // 2
            bottom, end = top + augmentation.cutout, left + augmentation.cutout
            crop[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(end, 0)] = FILL.numpy()[:, None, None]
        results.append(crop)
    return torch.from_numpy(np.stack(results))


@settings(max_examples=60, deadline=None)
@given(
    translate=st.integers(0, 6),
    flip=st.sampled_from(["none", "random"]),
    cutout=st.integers(0, 6),
    height=st.integers(12, 17),
    width=st.integers(12, 17),
    seed=st.integers(0, 2**31),
)
def test_a_batch_is_what_the_slow_plain_way_gives(
    translate: int, flip: Literal["none", "random"], cutout: int, height: int, width: int, seed: int
) -> None:
    images, augmentation = noise(9, height, width), Augmentation(translate, flip, cutout)
    fast = augment(images, augmentation, fill=FILL, generator=seeded(seed))
    assert (fast == plain(images, augmentation, seeded(seed))).all()


def test_two_epochs_of_the_default_differ_and_the_first_is_what_the_slow_plain_way_gives() -> None:
    images, generator = noise(200), seeded(5)
    first, second = (augment(images, Augmentation(), fill=FILL, generator=generator) for _ in range(2))
    assert all((left != right).any() for left, right in zip(first, second, strict=True))
    assert torch.equal(first, plain(images, Augmentation(), seeded(5))) and first.dtype == torch.uint8


def test_the_images_given_stay_as_they_are_and_are_not_shared_and_global_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    images = noise(4)
    before = images.clone()
    for augmentation in (Augmentation(), NOTHING):
        augment(images, augmentation, fill=FILL, generator=seeded()).zero_()
        assert torch.equal(images, before) and torch.equal(torch.get_rng_state(), state)


def test_nothing_to_do_changes_nothing_and_draws_nothing() -> None:
    images, generator = noise(4), seeded()
    state = generator.get_state()
    assert (augment(images, NOTHING, fill=FILL, generator=generator) == images).all()
    assert (generator.get_state() == state).all()


def test_half_are_mirrored() -> None:
    images = noise(1).expand(2000, -1, -1, -1)
    mirrored = augment(images, Augmentation(translate=0, cutout=0), fill=FILL, generator=seeded())
    as_before, turned = ((mirrored == each).flatten(1).all(1) for each in (images, images.flip(3)))
    assert (as_before ^ turned).all()
    assert 900 < int(turned.sum()) < 1100  # 4.5 standard deviations


def test_every_one_of_81_crops_comes_and_no_other() -> None:
    image = torch.arange(1024).view(1, 1, 32, 32)
    image = torch.cat([image % 256, image // 256, image * 0], dim=1).to(torch.uint8)
    images = image.expand(3000, -1, -1, -1)
    crops = augment(images, Augmentation(flip="none", cutout=0), fill=FILL, generator=seeded())
    centre = crops[:, 0, 16, 16].long() + 256 * crops[:, 1, 16, 16].long()
    offsets = {(int(value) // 32 - 16, int(value) % 32 - 16) for value in centre}
    assert offsets == {(y, x) for y in range(-4, 5) for x in range(-4, 5)}


def test_the_border_is_reflected_so_no_new_colour_appears() -> None:
    images = noise(50)
    crops = augment(images, Augmentation(flip="none", cutout=0), fill=FILL, generator=seeded())
    for before, after in zip(images.flatten(0, 1), crops.flatten(0, 1), strict=True):  # channel by channel
        assert set(after.flatten().tolist()) <= set(before.flatten().tolist())


def test_the_square_may_be_cut_by_the_border_and_lies_anywhere() -> None:
    images = torch.zeros(4000, 3, 32, 32, dtype=torch.uint8)
    cut = augment(images, Augmentation(translate=0, flip="none"), fill=FILL, generator=seeded())
    covered = (cut == FILL.view(1, 3, 1, 1)).all(1)
    assert covered.any(0).all(), "every pixel is covered at times"
    areas = covered.flatten(1).sum(1)
    assert (int(areas.max()), int(areas.min())) == (256, 64), "a centre in the corner leaves a quarter"
    assert ((cut == 0) | (cut == FILL.view(1, 3, 1, 1))).all()


def test_the_square_has_the_mean_colour_which_is_near_zero_for_the_model() -> None:
    fill = fill_colour(MEAN)
    assert fill.tolist() == [125, 123, 114]
    assert float(normalise(fill.view(1, 3, 1, 1), MEAN, STD).abs().max()) < 0.5 / 255 / min(STD)


@pytest.mark.parametrize(
    ("augmentation", "word"),
    [
        (Augmentation(cutout=17), "cutout 17"),
        (Augmentation(cutout=-1), "cutout -1"),
        (Augmentation(translate=17), "translate 17"),
        (Augmentation(translate=-4), "translate -4"),
    ],
)
def test_more_than_half_of_the_picture_is_refused(augmentation: Augmentation, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        augment(noise(2), augmentation, fill=FILL, generator=seeded())
    assert caught.value.try_


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("drawn_on", ["cpu", "cuda"])
def test_on_cuda_nothing_waits_and_a_cpu_generator_gives_the_cpu_result(drawn_on: str) -> None:
    images, fill = noise(64), FILL.cuda()
    on_device = images.cuda()
    generator = torch.Generator(drawn_on).manual_seed(3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        changed = augment(on_device, Augmentation(), fill=fill, generator=generator)
        pixels = denormalise(normalise(changed, MEAN, STD), MEAN, STD)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (pixels == changed).all()
    if drawn_on == "cpu":
        assert (changed.cpu() == augment(images, Augmentation(), fill=FILL, generator=seeded(3))).all()


# --- normalised space --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("statistics", [(MEAN, STD), ((0.1, 0.5, 0.9), (0.001, 0.3, 0.5)), ((0.0,) * 3, (1.0,) * 3)])
def test_all_256_levels_come_back(dtype: torch.dtype, statistics: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, -1, -1)
    values = normalise(levels, *statistics, dtype)
    assert values.dtype == dtype and (denormalise(values, *statistics) == levels).all()


def test_normalised_values_are_the_formula() -> None:
    images = noise(3)
    wanted = (images.numpy() / 255 - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    assert np.abs(normalise(images, MEAN, STD, torch.float64).numpy() - wanted).max() < 1e-13
    plain = normalise(images, MEAN, STD)
    assert plain.dtype == torch.float32 and np.abs(plain.numpy() - wanted).max() < 1e-6
    assert torch.equal(normalise(images, MEAN, STD, torch.bfloat16), plain.bfloat16()), "a narrow type is rounded once"


def test_values_out_of_range_are_clamped_never_wrapped() -> None:
    values = torch.tensor([-100.0, 100.0, torch.nan, torch.inf, -torch.inf]).expand(1, 3, 1, 5)
    before = values.clone()
    assert denormalise(values, MEAN, STD)[0, 0, 0].tolist() == [0, 255, 0, 255, 0]
    assert torch.equal(values.nan_to_num(), before.nan_to_num())


def test_dark_frames_show_when_a_fill_is_in_the_wrong_space() -> None:
    wrong = torch.tensor(MEAN).to(torch.uint8)  # 0.49 cast to a pixel is black
    assert float(normalise(wrong.view(1, 3, 1, 1), MEAN, STD).abs().min()) > 1.5


# --- smaller images -----------------------------------------------------------------------------------------


def tent(images: Tensor, edge: int) -> Tensor:
    """Each new pixel is the mean of the old ones under a tent of twice the new pixel's width, pixel by pixel."""
    whole = images.shape[-1]
    scale = whole / edge
    away = [[abs((old + 0.5) / scale - (new + 0.5)) for old in range(whole)] for new in range(edge)]
    weights = torch.tensor([[max(0.0, 1 - each) for each in row] for row in away], dtype=torch.float64)
    weights /= weights.sum(dim=1, keepdim=True)
    return torch.einsum("yh,nchw,xw->ncyx", weights, images.double(), weights)


@pytest.mark.parametrize("edge", [8, 16, 20, 24, 31])
def test_smaller_images_are_means_under_a_tent(edge: int) -> None:
    images = normal(3)
    small = shrink(images, edge)
    assert (small.shape, small.dtype) == ((3, 3, edge, edge), torch.float32)
    assert small.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(small.double(), tent(images, edge), atol=1e-5)


def test_half_the_edge_of_a_smooth_image_is_the_plain_average_of_four() -> None:
    ramp = torch.linspace(-1, 1, 32).view(1, 1, 1, 32).expand(1, 3, 32, 32)
    average = nn.functional.avg_pool2d(ramp, 2)
    assert torch.allclose(shrink(ramp, 16)[:, :, :, 1:-1], average[:, :, :, 1:-1], atol=1e-6)


def test_a_pattern_finer_than_the_new_pixels_disappears() -> None:
    stripes = torch.tensor([1.0, -1.0]).repeat(16).view(1, 1, 1, 32).expand(1, 3, 32, 32)
    assert shrink(stripes, 8)[:, :, 1:-1, 1:-1].abs().max() < 1e-6
    planted = nn.functional.interpolate(stripes, size=(31, 31), mode="nearest")
    assert planted.abs().min() == 1  # what without antialiasing would come of them


@pytest.mark.parametrize("edge", [None, 32, 40])
def test_images_that_need_not_be_smaller_are_given_back_as_they_are(edge: int | None) -> None:
    images = normal(2)
    assert shrink(images, edge) is images
