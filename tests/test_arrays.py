"""Data sets in one .npz file: what is read, what is refused, and that neither costs more memory than it must."""

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bench.data.arrays
from bench.contracts import Silence
from bench.data.arrays import is_arrays, read_arrays
from bench.data.datasets import load_dataset
from bench.data.images import Decoded
from bench.errors import DataError

RNG = np.random.default_rng(0)


def pictures(count: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, *shape), np.uint8)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def read(path: Path, size: int = 32) -> Decoded:
    return read_arrays(path, progress=Silence(), size=size)


def labels(count: int) -> np.ndarray:
    return np.arange(count) % 3


FORMS = {
    "Keras": {"x_train": (9, 32, 32, 3), "y_train": (9,), "x_test": (6, 32, 32, 3), "y_test": (6,)},
    "MedMNIST": {"train_images": (9, 32, 32, 3), "train_labels": (9, 1), "test_images": (6, 32, 32, 3),
                 "test_labels": (6, 1)},
    "of other words": {"trainX": (0,), "images_train": (9, 32, 32, 3), "labels_train": (9,),
                       "X_val": (6, 32, 32, 3), "Y_val": (6,)},
    "channels first": {"X_train": (9, 3, 32, 32), "y_train": (9,), "X_test": (6, 3, 32, 32), "y_test": (6,)},
    "no underscore": {"xtrain": (9, 32, 32, 3), "ytrain": (9,), "xtest": (6, 32, 32, 3), "ytest": (6,)},
}  # fmt: skip


@pytest.mark.parametrize("what", FORMS)
def test_arrays_of_every_usual_name_and_order_are_read(tmp_path: Path, what: str) -> None:
    arrays = {
        name: pictures(*shape) if len(shape) == 4 else labels(shape[0]).reshape(shape)
        for name, shape in FORMS[what].items()
    }
    found = read(saved(tmp_path / "a.npz", **arrays))
    first = next(each for each in arrays.values() if each.ndim == 4)
    expected = first if first.shape[1] == 3 else first.transpose(0, 3, 1, 2)
    assert (found.train.images == expected).all() and len(found.test.labels) == 6
    assert found.train.labels.tolist() == [0, 1, 2] * 3 and found.classes == ("0", "1", "2")
    assert found.inventory == "15 images found, 9 + 6 images of 3 classes taken for training and testing"


def test_of_val_and_test_the_latter_tests_and_it_is_said(tmp_path: Path) -> None:
    arrays = {f"{split}_images": pictures(6, 28, 28) for split in ("train", "val", "test")}
    arrays |= {f"{split}_labels": labels(6) for split in ("train", "val", "test")}
    found = read(saved(tmp_path / "a.npz", **arrays))
    assert "test is the test set; val is not used" in found.notes and found.inventory.endswith("left out: 6 in val")
    assert any("brought to 32x32 from arrays of (28, 28)" in note for note in found.notes)


def test_without_a_test_set_a_share_of_each_class_is_one(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", images=pictures(30, 32, 32), labels=labels(30))
    found = read(path)
    assert found.test.labels.tolist().count(1) == 2 and len(found.train.labels) == 24
    assert any("20% of each class" in note for note in found.notes)
    assert read(path).test.names == found.test.names and not set(found.test.names) & set(found.train.names)


def test_names_of_classes_text_labels_and_columns_of_ones_are_understood(tmp_path: Path) -> None:
    images = {"x_train": pictures(6, 8, 8), "x_test": pictures(3, 8, 8)}
    ones = {"y_train": np.eye(3)[labels(6)], "y_test": np.eye(3)[labels(3)]}
    texts = {"y_train": np.array(["b", "a", "c"] * 2), "y_test": np.array(["a", "b", "c"])}
    named = read(saved(tmp_path / "a.npz", **images, **ones, class_names=np.array(["ant", "bee", "cow"])))
    assert named.classes == ("ant", "bee", "cow") and named.train.labels.tolist() == [0, 1, 2] * 2
    told = read(saved(tmp_path / "b.npz", **images, **texts))
    assert told.classes == ("a", "b", "c") and told.train.labels.tolist() == [1, 0, 2] * 2


def test_numbers_keep_their_order_as_classes(tmp_path: Path) -> None:
    many = np.arange(24) % 12
    found = read(saved(tmp_path / "a.npz", images=pictures(24, 8, 8), labels=many))
    assert found.classes == tuple(map(str, range(12)))


@pytest.mark.parametrize(
    "make",
    [
        lambda plain: plain.astype(np.uint16) * 257,
        lambda plain: plain.astype(np.float64) / 255,
        lambda plain: plain.astype(np.float32) / 127.5 - 1,
        lambda plain: plain.astype(np.int64),
        np.asfortranarray,
        lambda plain: plain.astype(">i2"),
    ],
)
def test_numbers_of_every_kind_give_the_images_they_were_made_of(tmp_path: Path, make: Any) -> None:
    plain = pictures(9, 32, 32)
    plain[0, 0, :2] = 0, 255
    found = read(
        saved(tmp_path / "a.npz", x_train=make(plain), y_train=labels(9), x_test=make(plain), y_test=labels(9))
    )
    assert (found.train.images == plain[:, None]).all() and (found.test.images == plain[:, None]).all()


def test_flattened_squares_are_images(tmp_path: Path) -> None:
    plain = pictures(9, 64)
    found = read(saved(tmp_path / "a.npz", data=plain, target=labels(9)), size=8)
    assert (found.train.images[0, 2].ravel() == plain[int(found.train.names[0].split("/")[-1])]).all()


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise AssertionError('unpickled')",))


def member(path: Path, header: str, body: bytes) -> Path:
    """A file whose images declare what the header says."""
    text = header.encode().ljust(118) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body
    labelled = io.BytesIO()
    np.save(labelled, np.zeros(4, np.int64))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", array)
        file.writestr("labels.npy", labelled.getvalue())
    return path


REFUSED = {
    "objects": ({"images": np.array([Trap()] * 3, object), "labels": labels(3)}, "contains Python objects"),
    "lengths": ({"images": pictures(5, 8, 8), "labels": labels(4)}, "do not fit together"),
    "volumes": ({"images": pictures(5, 8, 8, 8, 1), "labels": labels(5)}, "holds no images"),
    "several classes": ({"images": pictures(4, 8, 8), "labels": np.ones((4, 3), int)}, "several classes for each"),
    "halves": ({"images": pictures(4, 8, 8), "labels": np.full(4, 0.5)}, "not class numbers"),
    "text as images": ({"images": np.array([["a" * 9] * 4] * 4), "labels": labels(4)}, "no pixels"),
    "no training": ({"x_test": pictures(4, 8, 8), "y_test": labels(4)}, "to train on, but test"),
    "other arrays": ({"weights": pictures(4, 8, 8)}, "to train on, but nothing"),
    "no number": ({"images": np.full((4, 8, 8), np.nan), "labels": labels(4)}, "not finite"),
    "no rows": ({"images": pictures(0, 8, 8), "labels": labels(0)}, ""),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_meant_is_refused_in_words_and_never_unpickled(tmp_path: Path, what: str) -> None:
    arrays, words = REFUSED[what]
    with pytest.raises(DataError) as caught:
        load_dataset(str(saved(tmp_path / "a.npz", **arrays)), cache=tmp_path / "cache", progress=Silence())
    assert words in caught.value.message and "\n" not in caught.value.message and caught.value.try_


@pytest.mark.parametrize("shape", ["(4, 100000, 100000)", "(4, -8, 8)", "(99999999999999999999, 8)", "(4, 8, 9)"])
def test_an_array_that_declares_more_than_there_is_costs_no_memory(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    path = member(tmp_path / "a.npz", header, bytes(256))
    tracemalloc.start()
    with pytest.raises(DataError, match="declares"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_small_file_that_unpacks_to_much_is_read_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.data.arrays, "AT_ONCE", 2**20)
    images = np.zeros((40, 300, 300, 3), np.uint8)
    images[:, :150] = 255
    path = saved(tmp_path / "a.npz", images=images, labels=labels(40))
    del images
    assert path.stat().st_size < 1e5
    tracemalloc.start()
    assert read(path).train.images.mean() > 100
    assert tracemalloc.get_traced_memory()[1] < 6e6, "of 11 MB"
    tracemalloc.stop()


def test_an_archive_whose_list_is_damaged_holds_no_arrays(tmp_path: Path) -> None:
    path = saved(tmp_path / "d.npz", images=pictures(3, 8, 8), labels=labels(3))
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")  # the first entry of the list, which then claims a part of the second
    content[place + 30 : place + 32] = (8).to_bytes(2, "little")
    path.write_bytes(content)
    assert zipfile.is_zipfile(path) and not is_arrays(path)
    with pytest.raises(DataError, match="is corrupt"):
        load_dataset(str(path), cache=tmp_path / "cache", progress=Silence())
    path.write_bytes(content.replace(end := b"PK\x05\x06", struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 2) + end))
    assert not is_arrays(path)  # one of two disks: is_zipfile itself fails


def test_an_npz_file_is_a_data_set_by_its_path(tmp_path: Path) -> None:
    path = saved(tmp_path / "my set.npz", images=pictures(30, 28, 28), labels=labels(30))
    first, again = (load_dataset(str(path), cache=tmp_path / "cache", progress=Silence()) for _ in range(2))
    assert is_arrays(path) and first.name == "my-set" and len(first.train) == 24
    assert first.digest == again.digest and torch.equal(first.test.images, again.test.images)
