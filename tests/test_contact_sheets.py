from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bench.contracts import Augmentation, Dataset, Split
from bench.data.contact_sheets import augment_sheet, class_sheet, describe, printable, seen_by_model, taken
from bench.data.transforms import augment, fill_colour
from bench.errors import UsageError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dataset(*classes: str, each: int = 12) -> Dataset:
    labels = torch.arange(len(classes)).repeat_interleave(each)
    images = torch.randint(0, 256, (len(labels), 3, 32, 32), dtype=torch.uint8, generator=seeded())
    split = Split(images, labels, tuple(f"train/{label}/{index}" for index, label in enumerate(labels)))
    return Dataset("small", classes, split, split, (0.5, 0.4, 0.3), (0.29, 0.2, 0.25), True, "0" * 64, "small")


def holds(sheet: Image.Image, image: torch.Tensor, scale: int) -> bool:
    """Whether the enlarged picture stands somewhere on the sheet, pixel for pixel."""
    wanted = image.permute(1, 2, 0).numpy().repeat(scale, 0).repeat(scale, 1)
    pixels = np.asarray(sheet)
    height, width = wanted.shape[:2]
    corners = np.argwhere((pixels[: -height + 1, : -width + 1] == wanted[0, 0]).all(2))
    return any((pixels[y : y + height, x : x + width] == wanted).all() for y, x in corners)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_class_sheet_shows_the_first_ten_of_each_class_and_no_more(scale: int) -> None:
    small, few = dataset("cat", "dog"), dataset("cat", "dog", each=3)
    sheet, whole = class_sheet(small, scale=scale), class_sheet(few, scale=scale)
    assert [holds(sheet, image, scale) for image in small.train.images] == ([True] * 10 + [False] * 2) * 2
    assert all(holds(whole, image, scale) for image in few.train.images)


def test_class_names_are_drawn() -> None:
    assert class_sheet(dataset("cat", "dog")).tobytes() != class_sheet(dataset("cat", "owl")).tobytes()


@pytest.mark.parametrize(
    "name", ["", "\x1b[31m\0\n", "\u202eevil", "<script>alert(1)<", "日本語", "é\u0301", "x" * 5000, "\\xff"]
)
def test_a_hostile_class_name_makes_a_sheet_of_usual_width(name: str) -> None:
    assert class_sheet(dataset("cat", name)).width < 1200


def test_hundreds_of_classes_stay_one_picture_that_says_so() -> None:
    many = dataset(*(f"class {index:03d}" for index in range(130)), each=1)
    sheet = class_sheet(many, scale=1)
    assert (sheet.height < 4000, *(holds(sheet, many.train.images[n], 1) for n in (99, 100))) == (True, True, False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cat", "cat"),
        ("a\nb\x1b[0m", "a?b?[0m"),
        ("\u202eright to left", "?right to left"),
        ("x" * 24, "x" * 24),
        ("x" * 25, "x" * 23 + "…"),
        ("<b>&amp;", "<b>&amp;"),
    ],
)
def test_hostile_text_becomes_one_printable_line(name: str, text: str) -> None:
    assert printable(name) == text


def test_an_augment_sheet_shows_the_very_tensors_of_the_batch() -> None:
    small, augmentation = dataset("cat", "dog"), Augmentation()
    sheet = augment_sheet(small, augmentation, seeded(4), count=24)
    batch = augment(small.train.images, augmentation, fill=fill_colour(small.mean), generator=seeded(4))
    for original, seen in zip(small.train.images, batch, strict=True):
        assert holds(sheet, original, 2) and holds(sheet, seen, 2)


def test_an_augmented_copy_stands_right_of_its_original() -> None:
    small = dataset("cat", "dog")
    originals, seen = seen_by_model(small, Augmentation(), seeded(4), count=5)
    white = torch.full((5, 3, 32, 2), 255, dtype=torch.uint8)
    sheet = augment_sheet(small, Augmentation(), seeded(4), count=5, scale=1)
    assert all(holds(sheet, pair, 1) for pair in torch.cat([originals, white, seen], dim=3))


def test_a_data_set_that_forbids_mirroring_is_not_mirrored() -> None:
    digits = replace(dataset("6", "9"), mirror=False)
    flip_only = Augmentation(translate=0, cutout=0)
    sheets = (augment_sheet(digits, each, seeded()) for each in (flip_only, replace(flip_only, flip=False)))
    assert len({sheet.tobytes() for sheet in sheets}) == 1


def test_the_images_are_spread_over_the_training_split() -> None:
    small = dataset("cat", "dog", each=50)
    originals, seen = seen_by_model(small, Augmentation(), seeded(), count=4)
    assert torch.equal(originals, small.train.images[[0, 25, 50, 75]])
    assert seen.dtype == torch.uint8 and seen.shape == originals.shape


def test_more_images_than_there_are_shows_all_once() -> None:
    assert len(seen_by_model(dataset("cat", "dog", each=3), Augmentation(), seeded(), count=40)[0]) == 6


def test_statistics_that_differ_from_the_data_still_come_back() -> None:
    odd = replace(dataset("cat", "dog"), mean=(0.1, 0.9, 0.5), std=(0.01, 0.9, 0.3))
    nothing = Augmentation(translate=0, flip="none", cutout=0)
    originals, seen = seen_by_model(odd, nothing, seeded(), count=8)
    assert torch.equal(originals, seen)


def test_a_refused_augmentation_makes_no_sheet() -> None:
    with pytest.raises(UsageError, match="cutout 30"):
        augment_sheet(dataset("cat", "dog"), Augmentation(cutout=30), seeded())


def test_an_augmentation_is_told_in_words() -> None:
    assert describe(Augmentation(translate=0, flip="none", cutout=0)) == "no augmentation"
    told = describe(Augmentation())
    assert "translate 4" in told and "mirrored" in told and "16 pixels" in told
    assert "mirrored" not in describe(taken(Augmentation(), replace(dataset("6", "9"), mirror=False)))
