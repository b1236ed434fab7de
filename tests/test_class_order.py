"""Pictures of the size that a model asks for: decoded so, kept apart in the cache, in the class order of the run."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from run_factory import make_record
from tiny import tiny_data, write_images

from bench.contracts import ModelSpec, Silence
from bench.data.datasets import files_of, in_class_order, load_dataset
from bench.data.images import Decoded, Part, enlarged
from bench.errors import DataError, MissingError
from bench.registry.registry import discover
from bench.schema.run import DataFacts


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("pictures"), tiny_data(train=2, test=2))


def load(source: str | Path, cache: Path, size: int = 32) -> Any:
    return load_dataset(str(source), cache=cache, progress=Silence(), size=size)


def resized(picture: Image.Image, size: int) -> np.ndarray:
    """(3, size, size) uint8, by Pillow."""
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def test_files_are_decoded_at_the_size_asked_for_and_that_is_noted(pictures: Path, tmp_path: Path) -> None:
    data = load(pictures, tmp_path, 20)
    assert data.test.images.shape == (8, 3, 20, 20)
    assert np.array_equal(data.test.images[0].numpy(), resized(Image.open(pictures / data.test.names[0]), 20))
    assert any("resized to 20x20 from 32x32" in note for note in data.notes)


def test_sizes_are_kept_apart_in_the_cache_and_have_identities_of_their_own(pictures: Path, tmp_path: Path) -> None:
    first, second = load(pictures, tmp_path, 20), load(pictures, tmp_path)
    again = load(pictures, tmp_path, 20)
    assert torch.equal(first.train.images, again.train.images) and second.train.images.shape[-1] == 32
    assert first.digest == again.digest != second.digest
    assert files_of(first) == files_of(second)
    assert {path.name for path in tmp_path.iterdir()} == {"decoded", "decoded-20"}


def test_digits_are_enlarged_once_from_their_own_pixels(tmp_path: Path) -> None:
    data, own = load("digits", tmp_path, 28), load("digits", tmp_path, 8)
    assert "enlarged from 8x8 grey to 28x28" in data.notes[0]
    assert set(own.test.images.unique().tolist()) == {round(level * 255 / 16) for level in range(17)}
    picture = Image.fromarray(own.test.images[7].permute(1, 2, 0).numpy())
    assert np.array_equal(data.test.images[7].numpy(), resized(picture, 28))


def test_images_that_come_without_files_are_resized_with_a_note() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    part = Part(images, np.zeros(3, np.int64), ("a", "b", "c"))
    found = enlarged(Decoded(("x", "y"), part, part, ("before",)), 48)
    assert np.array_equal(found.train.images[1], resized(Image.fromarray(images[1].transpose(1, 2, 0)), 48))
    assert found.train.images.flags.c_contiguous  # or there is no digest of them
    assert found.notes == ("before", "all images resized to 48x48 from 32x32 (bilinear)")
    assert enlarged(found, 48) is found


@pytest.mark.parametrize(("said", "size"), [(64, 64), (0, 32)])
def test_a_run_that_does_not_say_its_size_is_of_32_pixels(said: int, size: int) -> None:
    assert make_record("x", data=DataFacts(size=said)).size == size


def test_labels_follow_the_order_of_the_models_classes() -> None:
    data = tiny_data(train=2, test=2)
    found = in_class_order(data, ("four", "owl", "three", "two", "one"))
    first, second = ([each.classes[label] for label in each.test.labels] for each in (data, found))
    assert (first, data.digest, files_of(data)) == (second, found.digest, files_of(found))
    assert in_class_order(data, data.classes) is data


def test_a_class_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(DataError, match="class 'four' of tests is not one of the model's 3"):
        in_class_order(tiny_data(train=2, test=2), ("one", "two", "three"))


def test_files_differ_where_a_name_or_a_class_does() -> None:
    data = tiny_data(train=2, test=2)
    other = replace(data.test, names=(*data.test.names[:-1], "other.png"))
    assert files_of(data) != files_of(replace(data, test=other))
    assert files_of(data) != files_of(replace(data, test=replace(data.test, labels=data.test.labels.flip(0))))


@pytest.mark.parametrize(
    ("name", "maker"),
    [("timm:resnet10t", "timm.create_model"), ("torchvision:resnet18", "torchvision.models.get_model_weights")],
)
def test_imagenet_weights_that_cannot_be_fetched_are_told_as_that(
    name: str, maker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = discover("model", ModelSpec)[name]
    monkeypatch.setattr(maker, mock.Mock(side_effect=OSError("no network here")))
    with pytest.raises(MissingError, match=rf"weights of {name.split(':')[1]} are not cached.*no network here"):
        spec.imagenet()
