"""Every way in which people lay out pictures: what is taken, what tests, and what is said of the rest."""

import io
import json
import os
import socket
import struct
import sys
import time
import types
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_factory import encoded, files, folder_of, png, tar_of, zip_of
from PIL import Image

from bench.contracts import Silence
from bench.data import decoding
from bench.data.images import Decoded, read_images
from bench.errors import DataError

Contents = dict[str, bytes]


def read(path: Path, *, skip_bad: bool = False) -> Decoded:
    return read_images(path, progress=Silence(), skip_bad=skip_bad)


def refusal(path: Path, *, skip_bad: bool = False) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        read(path, skip_bad=skip_bad)
    assert "\n" not in caught.value.message and caught.value.try_
    return caught.value.message, caught.value.try_


def flat(folder: str, count: int, first: int = 0) -> Contents:
    return {f"{folder}/{index}.png": png(index) for index in range(first, first + count)}


def classes(*names: str, each: int = 5, below: str = "") -> Contents:
    found: Contents = {}
    for place, name in enumerate(names):
        found |= flat(f"{name}{below}", each, 100 * place)
    return found


def under(folder: str, contents: Contents) -> Contents:
    return {f"{folder}/{name}": content for name, content in contents.items()}


def table(*rows: str) -> bytes:
    return "\n".join(rows).encode()


def of(found: Decoded) -> dict[str, list[str]]:
    """The names of each split."""
    return {"train": list(found.train.names), "test": list(found.test.names)}


# --- folders ------------------------------------------------------------------------------------------------

TWO = ("cat", "dog")


@pytest.mark.parametrize(
    "words", ["train val", "Train VAL", "training valid", "TRAIN Validation", "train dev", "Training Testing"]
)
def test_the_test_set_is_that_folder_beside_the_training_images_whose_name_means_it(tmp_path: Path, words: str) -> None:
    train, test = words.split()
    root = folder_of(tmp_path, under(train, classes(*TWO)) | under(test, classes(*TWO, each=2)))
    found = read(root)
    assert (len(found.train.names), len(found.test.names), found.classes) == (10, 4, TWO)
    assert found.test.names[0] == f"{test}/cat/0.png"
    assert any(f"{test}/ is the test set" in note for note in found.notes) != (test == "Testing")


def test_of_val_and_test_it_is_said_which_tests_and_that_the_other_is_not_used(tmp_path: Path) -> None:
    three = under("train", classes(*TWO)) | under("val", classes(*TWO, each=3)) | under("test", classes(*TWO, each=2))
    found = read(folder_of(tmp_path, three))
    assert all(name.startswith("test/") for name in found.test.names)
    assert "test/ is the test set; val/ is not used" in found.notes
    assert found.inventory.endswith("left out: 6 in val/")


@pytest.mark.parametrize("top", ["", "train/", "my set/train/", "photos/"])
def test_without_a_test_set_a_share_of_each_class_is_one_and_always_the_same(tmp_path: Path, top: str) -> None:
    contents = {f"{top}{name}": content for name, content in classes("cat", "dog", each=10).items()}
    found = read(folder_of(tmp_path / "set", contents))
    assert found.train.labels.tolist() == [0] * 8 + [1] * 8 and found.test.labels.tolist() == [0] * 2 + [1] * 2
    assert not set(found.train.names) & set(found.test.names)
    assert any("20% of each class" in note and "seed 0" in note for note in found.notes)
    again = read(tar_of(tmp_path / "a.tar", dict(reversed(contents.items()))))
    assert of(again) == of(found) and (again.test.images == found.test.images).all()
    plain = read(folder_of(tmp_path / "plain", classes("cat", "dog", each=10)))
    assert [name.rsplit("/", 2)[1:] for name in plain.test.names] == [
        name.rsplit("/", 2)[1:] for name in found.test.names
    ]


def test_images_deeper_in_a_class_belong_to_it_as_torchvision_reads_them(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    deep = files() | under("train/cat/second/batch", flat("x", 4)) | under("test/dog/more", flat("y", 2))
    found = read(folder_of(tmp_path, deep))
    assert len(found.train.names) == len(ImageFolder(tmp_path / "train")) == 10
    assert found.train.labels.tolist() == [label for _, label in sorted(ImageFolder(tmp_path / "train").samples)]
    assert len(found.test.names) == 8


def test_a_split_within_each_class_is_one(tmp_path: Path) -> None:
    contents = classes(*TWO, each=4, below="/train") | classes(*TWO, each=2, below="/test")
    found = read(folder_of(tmp_path, contents))
    assert found.classes == TWO and len(found.train.names) == 8 and found.test.names[0] == "cat/test/0.png"


def test_a_class_named_after_a_split_is_a_class(tmp_path: Path) -> None:
    assert read(folder_of(tmp_path, classes("bus", "car", "train"))).classes == ("bus", "car", "train")


def test_images_without_a_class_are_not_taken_and_said(tmp_path: Path) -> None:
    found = read(folder_of(tmp_path, under("train", classes(*TWO)) | flat("test", 7) | under("extra", flat("x", 3))))
    assert found.inventory.endswith("left out: 7 without a class in test/, 3 without a class in extra/")
    assert any("20% of each class" in note for note in found.notes)


@pytest.mark.parametrize("contents", [flat("train", 3) | flat("test", 3), flat("cat", 5), flat(".", 5)])
def test_pictures_of_which_nothing_says_the_class_are_refused(tmp_path: Path, contents: Contents) -> None:
    message, hint = refusal(folder_of(tmp_path, contents))
    assert "nothing says their classes" in message and "labels.csv" in hint


@pytest.mark.parametrize("form", ["nfc nfd", "nfd nfc"])
def test_one_name_in_two_forms_of_unicode_is_one_class(tmp_path: Path, form: str) -> None:
    first, second = (unicodedata.normalize(each.upper(), "café") for each in form.split())
    found = read(
        tar_of(tmp_path / "a.tar", under("train", classes(first, "tea")) | under("test", classes(second, "tea")))
    )
    assert found.classes == ("café", "tea") and len(found.train.names) == len(found.test.names) == 10
    both = read(zip_of(tmp_path / "a.zip", classes(first, second, "tea")))
    assert both.classes == ("café", "tea") and len({*both.train.names, *both.test.names}) == 15


def test_classes_that_differ_in_capitals_stay_apart_and_across_splits_are_named(tmp_path: Path) -> None:
    found = read(folder_of(tmp_path / "a", classes("Cat", "cat")))
    assert found.classes == ("Cat", "cat") and any("differ in capital letters alone" in note for note in found.notes)
    message, hint = refusal(
        folder_of(tmp_path / "b", under("train", classes("Cat", "dog")) | under("test", classes("cat", "dog")))
    )
    assert "'Cat' with images in train but none in test" in message and "capital letters" in hint


# --- ImageNet and its kin -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_tiny_imagenet_is_read_as_it_comes(tmp_path: Path, kind: str) -> None:
    contents: Contents = {
        "wnids.txt": b"n01443537\nn01629819\n",
        "words.txt": b"n01443537\tgoldfish, Carassius\nn01629819\tnewt\n",
    }
    for place, synset in enumerate(("n01443537", "n01629819")):
        contents |= flat(f"train/{synset}/images", 4, 10 * place) | {
            f"train/{synset}/{synset}_boxes.txt": b"0.png\t0\t0\t9\t9"
        }
    contents |= flat("val/images", 6) | flat("test/images", 5)
    rows = [f"{index}.png\t{('n01629819', 'n01443537')[index % 2]}\t0\t0\t9\t9" for index in range(6)]
    contents["val/val_annotations.txt"] = table(*rows)
    contents = under("tiny-imagenet-200", contents)
    made = {"folder": folder_of, "zip": zip_of, "tar.gz": tar_of}[kind]
    found = read(made(tmp_path / ("set" if kind == "folder" else f"a.{kind}"), contents))
    assert found.classes == ("n01443537 goldfish", "n01629819 newt")
    assert found.train.labels.tolist() == [0] * 4 + [1] * 4 and found.test.labels.tolist() == [1, 0] * 3
    assert any("val/ is the test set" in note for note in found.notes)
    assert "5 without a known class in test/" in found.inventory


# --- lists --------------------------------------------------------------------------------------------------

NAMES = [f"images/{index}.png" for index in range(8)]
LISTS: dict[str, tuple[str, bytes]] = {
    "path, class, split": ("labels.csv", table("path,class,split", *(
        f"{name},{TWO[k % 2]},{'test' if k > 5 else 'train'}" for k, name in enumerate(NAMES)))),
    "other words": ("annotations.csv", table("Subset;File Name;Label", *(
        f"{'TEST' if k > 5 else 'Training'};{name};{TWO[k % 2]}" for k, name in enumerate(NAMES)))),
    "bare names": ("labels.tsv", table("image_id\tspecies\tpartition", *(
        f"{Path(name).stem}\t{TWO[k % 2]}\t{'val' if k > 5 else 'train'}" for k, name in enumerate(NAMES)))),
    "absolute paths": ("list.csv", table("filepath,label,set", *(
        f"/home/me/data/{name},{TWO[k % 2]},{'valid' if k > 5 else 'train'}" for k, name in enumerate(NAMES)))),
    "of Windows": ("labels.csv", ("\r\n".join(["file,target,split", *(
        f"images\\{k}.png,{TWO[k % 2]},{'test' if k > 5 else 'train'}" for k in range(8))])).encode("utf-16")),
    "objects": ("metadata.jsonl", table(*(
        json.dumps({"file_name": name, "label": TWO[k % 2], "split": ("train", "test")[k > 5]})
        for k, name in enumerate(NAMES)))),
}  # fmt: skip


@pytest.mark.parametrize("what", LISTS)
def test_a_list_says_class_and_split(tmp_path: Path, what: str) -> None:
    name, content = LISTS[what]
    contents = {each: png(index) for index, each in enumerate(NAMES)} | {name: content, "images/more.png": png(99)}
    found = read(folder_of(tmp_path, contents))
    assert found.classes == TWO and found.train.labels.tolist() == [0, 1] * 3 and found.test.labels.tolist() == [0, 1]
    assert found.test.names == ("6.png", "7.png")
    assert any(f"'{name}'" in note for note in found.notes) and "1 without a class" in found.inventory


def test_a_list_without_splits_gives_classes_and_a_share_tests(tmp_path: Path) -> None:
    rows = [f"{index}.png,{TWO[index % 2]}" for index in range(10)]
    found = read(zip_of(tmp_path / "a.zip", flat(".", 10) | {"labels.csv": table("image,label", *rows)}))
    assert len(found.train.names) == 8 and sorted(found.test.labels.tolist()) == [0, 1]


def test_a_list_for_each_split_by_its_name_and_without_a_head(tmp_path: Path) -> None:
    contents = flat("train", 6) | flat("val", 4, 50)
    contents |= {"train.txt": table(*(f"train/{k}.png {k % 2}" for k in range(6)))}
    contents |= {"val.txt": table(*(f"{k}.png {k % 2}" for k in range(50, 54)))}
    found = read(folder_of(tmp_path, contents))
    assert found.classes == ("0", "1") and len(found.train.names) == 6 and found.test.labels.tolist() == [0, 1, 0, 1]


def test_a_competition_s_list_of_bare_names_means_the_folder_of_its_split(tmp_path: Path) -> None:
    rows = [f"{index},{TWO[index % 2]}" for index in range(10)]
    contents = flat("train", 10) | flat("test", 6, 3) | {"train.csv": table("id,label", *rows)}
    contents["sample_submission.csv"] = table("id,label", *(f"{index},cat" for index in range(3, 9)))
    found = read(folder_of(tmp_path, contents))
    assert found.classes == TWO and len(found.train.names) == 8 and len(found.test.names) == 2
    assert all(name.startswith("train/") for name in (*found.train.names, *found.test.names))
    assert "6 without a class in test/" in found.inventory


def test_a_row_that_names_another_folder_is_not_of_the_picture_that_has_its_name(tmp_path: Path) -> None:
    """Else pictures of dogs get the class of cats that are lost."""
    rows = [*(f"dogs/{k}.png,dog" for k in range(5)), *(f"cats/{k}.png,cat" for k in range(5, 10))]
    contents = flat("dogs", 10) | flat("birds", 10, 10) | {"labels.csv": table("path,label", *rows)}
    found = read(folder_of(tmp_path, contents))
    assert "cats" not in found.classes and "cat" not in found.classes
    assert "5 named in a list and not there, 5 without a class" in found.inventory


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_an_image_folder_of_hugging_face_is_read_by_its_metadata(tmp_path: Path, suffix: str) -> None:
    contents: Contents = {}
    for split, count in (("train", 6), ("validation", 4)):
        rows = [(f"{index}.png", TWO[index % 2]) for index in range(count)]
        lines = [f"{name},{label},a text" for name, label in rows]
        objects = [json.dumps({"file_name": name, "label": label, "more": [1]}) for name, label in rows]
        contents |= flat(split, count) | {
            f"{split}/metadata.{suffix}": table("file_name,label,text", *lines) if suffix == "csv" else table(*objects)
        }
    found = read(folder_of(tmp_path, contents))
    assert len(found.train.names) == 6 and found.test.names[0] == "validation/0.png" and found.classes == TWO


def test_a_list_of_other_things_or_of_a_few_examples_changes_nothing(tmp_path: Path) -> None:
    plain = read(folder_of(tmp_path / "plain", files()))
    more = files() | {"metadata.csv": table("file_name,text", "train/cat/0.png,a cat")}
    more |= {"sizes.csv": table("name,width", "0.png,32"), "few.csv": table("path,label", "train/cat/0.png,dog")}
    found = read(folder_of(tmp_path / "set", more))
    assert of(found) == of(plain) and (found.train.labels == plain.train.labels).all()
    assert any("few.csv" in note and "not used for 1 pictures" in note for note in found.notes)


def test_rows_of_a_list_without_their_picture_are_counted(tmp_path: Path) -> None:
    rows = [f"{index}.png,{TWO[index % 2]}" for index in range(12)]
    found = read(folder_of(tmp_path, flat(".", 10) | {"labels.csv": table("image,label", *rows)}))
    assert "2 named in a list and not there" in found.inventory


WRONG_LISTS = {
    "two classes": (table("path,label", "0.png,cat", "0.png,dog", "1.png,dog"), "two classes, 'cat' and 'dog'"),
    "a split of its own": (table("path,label,split", "0.png,cat,fold3", "1.png,dog,fold4"), "a split 'fold3'"),
    "no table": (b'path,label\n0.png,cat\n"' + b"x" * 200_000, "cannot be read as a list"),
}


@pytest.mark.parametrize("what", WRONG_LISTS)
def test_a_list_that_cannot_be_meant_is_refused_by_name(tmp_path: Path, what: str) -> None:
    content, words = WRONG_LISTS[what]
    message, _ = refusal(folder_of(tmp_path, flat(".", 4) | {"labels.csv": content}))
    assert "labels.csv" in message and words in message


def test_several_labels_of_an_object_are_refused(tmp_path: Path) -> None:
    rows = table(json.dumps({"file_name": "0.png", "label": ["a", "b"]}))
    assert "several classes" in refusal(folder_of(tmp_path, flat(".", 4) | {"metadata.jsonl": rows}))[0]


# --- formats ------------------------------------------------------------------------------------------------

KINDS = ("jfif:JPEG", "JPG:JPEG", "jpe:JPEG", ":JPEG", ":PNG", "x:WEBP", "webp:WEBP", "bmp:BMP", "TIF:TIFF", "gif:GIF",
         "avif:AVIF", "jp2:JPEG2000", "tga:TGA", "pcx:PCX", "ppm:PPM", "ico:ICO", "dds:DDS", "sgi:SGI")  # fmt: skip


def test_every_format_and_a_file_without_suffix_is_a_picture(tmp_path: Path) -> None:
    contents: Contents = {}
    for split in ("train", "test"):
        for name in TWO:
            for place, each in enumerate(KINDS):
                suffix, kind = each.split(":")
                image = Image.fromarray(
                    np.full((32, 32, 3), 9 * place + 20 * len(name), np.uint8) + np.uint8(place % 3)
                )
                contents[f"{split}/{name}/{place:02}{'.' if suffix else ''}{suffix}"] = encoded(image, kind)
    contents |= {
        "train/cat/README": b"a text that is long enough to be looked at",
        "train/cat/film.mov": b"\0\0\0\x14ftypqt  " * 9,
    }
    for path in (folder_of(tmp_path / "set", contents), zip_of(tmp_path / "a.zip", contents)):
        found = read(path)
        assert len(found.train.names) == len(found.test.names) == 2 * len(KINDS)
        assert found.inventory.endswith("left out: 1 without suffix, 1 .mov")


def test_of_an_animation_the_first_frame_is_taken_and_said(tmp_path: Path) -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    found = read(folder_of(tmp_path, files() | {"train/cat/a.gif": file.getvalue()}))
    assert found.train.images[list(found.train.names).index("train/cat/a.gif")][:, 0, 0].tolist() == [255, 0, 0]
    assert "of 1 animated images the first frame is taken" in found.notes


HEIC = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(100)


@pytest.mark.parametrize("name", ["train/cat/IMG_1.HEIC", "train/cat/IMG_1"])
def test_a_picture_whose_plugin_is_missing_is_named_with_what_to_install(tmp_path: Path, name: str) -> None:
    path = folder_of(tmp_path, files() | {name: HEIC})
    message, hint = refusal(path)
    assert f"'{name}'" in message and "plug-in pillow-heif" in message and hint.startswith("pip install pillow-heif")
    assert read(path, skip_bad=True).inventory.endswith("left out: 1 unreadable")


def test_heic_under_another_name_is_named_as_what_it_is(tmp_path: Path) -> None:
    assert "pip install pillow-heif" in refusal(folder_of(tmp_path, files() | {"train/cat/IMG_1.jpg": HEIC}))[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"), (b"\n<!DOCTYPE html><html>", "a web page")],
)
def test_what_lies_in_the_place_of_a_picture_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(folder_of(tmp_path, files() | {"train/cat/1.jpg": content}))[0]


def test_a_camera_s_raw_file_is_named_as_what_it_is(tmp_path: Path) -> None:
    assert "export it as JPEG" in refusal(folder_of(tmp_path, files() | {"train/cat/1.nef": b"II*\0" + bytes(99)}))[0]


# --- more than 8 bits ---------------------------------------------------------------------------------------


def png_of(values: np.ndarray, colour: int) -> bytes:
    """A PNG of 16 bits a value, (h, w, channels), which Pillow cannot write in colour."""
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    chunks = ((b"IHDR", struct.pack(">II5B", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)),
              (b"IDAT", zlib.compress(lines)), (b"IEND", b""))  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def tiff(values: np.ndarray) -> bytes:
    return encoded(Image.fromarray(values), "TIFF")


Deep = Callable[[np.ndarray], bytes]
DEEP: dict[str, Deep] = {
    "grey PNG": lambda values: encoded(Image.fromarray(values.astype(np.uint16))),
    "colour PNG": lambda values: png_of(np.repeat(values[..., None], 3, axis=2), 2),
    "PNG with alpha": lambda values: png_of(np.dstack([values, values, values, np.full_like(values, 65535)]), 6),
    "PNG of grey with alpha": lambda values: png_of(np.dstack([values, np.full_like(values, 65535)]), 4),
    "colour PPM": lambda values: b"P6 32 32 65535\n" + np.repeat(values[..., None], 3, axis=2).astype(">u2").tobytes(),
    "grey TIFF": lambda values: tiff(values.astype(np.uint16)),
    "TIFF of 32 bits": lambda values: tiff(values.astype(np.int32)),
    "TIFF of floats": lambda values: tiff(values.astype(np.float32)),
}


@pytest.mark.parametrize("what", DEEP)
@pytest.mark.parametrize(("low", "span"), [(0, 255), (0, 4080), (30_000, 510), (0, 65535)])
def test_deep_pictures_are_brought_to_8_bits_by_the_range_of_the_whole_data_set(
    tmp_path: Path, what: str, low: int, span: int
) -> None:
    """Values that use 8 or 12 of 16 bits, or lie far from zero, come out as the 8-bit pictures they were made of."""
    rng, plain, deep = np.random.default_rng(0), {}, {}
    for name in files(each=2):
        levels = rng.integers(40, 200, (32, 32), np.uint8)
        levels[0, 0], levels[0, 1] = (0, 255) if name == "train/cat/0.png" else levels[0, :2]
        plain[name] = encoded(Image.fromarray(levels))
        deep[name.replace("png", "tif" if "TIFF" in what else "png")] = DEEP[what](
            low + np.round(levels * (span / 255)).astype(np.int64)
        )
    first, second = read(tar_of(tmp_path / "8.tar", plain)), read(tar_of(tmp_path / "16.tar", deep))
    assert (first.train.images == second.train.images).all() and (first.test.images == second.test.images).all()
    assert second.levels == (low, low + span) and first.levels == ()
    assert any("16-bit" in note and f"{low:,} to {low + span:,}" in note for note in second.notes)


def test_pictures_of_8_bits_among_deep_ones_stay_as_they_are(tmp_path: Path) -> None:
    deep = encoded(Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32)))
    found = read(folder_of(tmp_path, files() | {"train/cat/z.png": deep}))
    assert (found.train.images[:3] == read(folder_of(tmp_path / "b", files())).train.images[:3]).all()
    assert found.levels == (0, 1023) and found.train.images[3, 0, -1, -1] == 255


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    values = np.ones((32, 32), np.float32)
    values[3, 3] = np.nan
    assert "not finite" in refusal(folder_of(tmp_path, files() | {"train/cat/x.tiff": tiff(values)}))[0]


# --- what is left out, and what vanishes ----------------------------------------------------------------------


def test_odd_and_empty_folders_are_said(tmp_path: Path) -> None:
    root = folder_of(tmp_path, files() | {"train/@eaDir/x/0.png": png(0), "train/cat/.ipynb_checkpoints/0.png": png(1)})
    (root / "train/owl").mkdir()
    (root / "test/owl").mkdir()
    (root / "train/cat/Thumbs.db").write_bytes(b"x")
    found = read(root)
    assert found.classes == TWO and "Thumbs" not in found.inventory
    assert found.inventory.endswith("left out: 1 folder @eaDir, 1 folder .ipynb_checkpoints")
    assert "2 empty class folders: 'test/owl', 'train/owl'" in found.notes


@pytest.mark.parametrize("held", [{"owl/0.mov": b"x", "owl/1.mov": b"x"}, {"owl/notes.txt": b"x"}])
def test_a_class_without_a_picture_is_refused_and_with_skip_bad_left_out_and_said(
    tmp_path: Path, held: Contents
) -> None:
    root = folder_of(tmp_path, files() | under("train", held) | under("test", held))
    message, hint = refusal(root)
    assert "class 'owl'" in message and "holds no picture" in message and "--skip-bad" in hint
    assert any("class 'owl' left out" in note for note in read(root, skip_bad=True).notes)


def test_a_class_all_of_whose_files_are_broken_is_named(tmp_path: Path) -> None:
    root = folder_of(tmp_path, files() | {f"{split}/owl/0.png": b"no" for split in ("train", "test")})
    assert "owl/0.png" in refusal(root)[0]
    assert "class 'owl' left out: none of its files can be read" in read(root, skip_bad=True).notes


def test_a_folder_of_notes_beside_classes_is_no_class(tmp_path: Path) -> None:
    found = read(folder_of(tmp_path, classes(*TWO) | {"docs/readme.txt": b"x", "labels.txt": b"cat\ndog\n"}))
    assert found.classes == TWO and found.inventory.endswith("left out: 2 .txt")


def test_classes_of_one_split_alone_are_all_named(tmp_path: Path) -> None:
    contents = under("train", classes("a", "b", "c")) | under("test", classes("b", "c", "x", "y"))
    message, hint = refusal(folder_of(tmp_path, contents))
    assert "class 'a' with images in train but none in test" in message and "classes 'x', 'y'" in message
    assert "--skip-bad" in hint
    found = read(folder_of(tmp_path, contents), skip_bad=True)
    assert found.classes == ("b", "c") and sum("left out" in note for note in found.notes) == 3


# --- hostile folders ----------------------------------------------------------------------------------------


def test_a_folder_full_of_traps_is_read_without_waiting(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", files())
    os.mkfifo(root / "train/cat/pipe.png")
    (root / "train/cat/zero.png").symlink_to("/dev/zero")
    (root / "train/cat/up").symlink_to("..")
    (root / "train/cat/circle").symlink_to("circle")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(root / "s.png"))
    found = read(root)
    assert len(found.train.names) == 6
    for words in ("3 pipes, sockets and devices", "1 links to a folder above", "1 links that lead nowhere"):
        assert words in found.inventory


def test_a_sparse_file_and_a_bomb_cost_no_memory_and_are_named(tmp_path: Path) -> None:
    root = folder_of(tmp_path, files())
    with (root / "train/cat/big.png").open("wb") as file:
        file.truncate(2**40)
    assert "declares 1,099,511,627,776 bytes" in refusal(root)[0]
    (root / "train/cat/big.png").unlink()
    (root / "train/cat/9.qoi").write_bytes(b"qoif" + struct.pack(">II", 8000, 8000) + b"\3\0" + b"\xfd" * 90)
    assert "64000000" not in refusal(root)[0] and "the limit is 4,000,000" in refusal(root)[0]


def test_one_line_of_65500_pixels_is_a_picture(tmp_path: Path) -> None:
    line = encoded(Image.new("RGB", (65500, 1), "red"), "JPEG")
    found = read(folder_of(tmp_path, files() | {"train/cat/line.jpg": line}))
    assert len(found.train.names) == 7 and any("65500x1" in note for note in found.notes)


def test_more_images_than_memory_holds_are_refused_before_one_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.data.images.free_memory", lambda: 30_000)
    message, hint = refusal(folder_of(tmp_path, files()))
    assert "12 images of 32x32" in message and "at most 9 of these images, or --image-size 28" in hint


def test_a_thousand_classes_are_read_in_seconds(tmp_path: Path) -> None:
    one, before = png(0), time.monotonic()
    contents = {f"{split}/{number:03}/{split}.png": one for split in ("train", "test") for number in range(1000)}
    assert len(read(zip_of(tmp_path / "a.zip", contents)).classes) == 1000
    assert time.monotonic() - before < 20


def test_a_plugin_for_heic_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    module = types.ModuleType("pillow_heif")
    module.register_heif_opener = lambda: called.append(1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    decoding.formats.cache_clear()
    assert decoding.formats() and called
    decoding.formats.cache_clear()


def test_a_zip_within_a_folder_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as archive:
        archive.writestr("train/cat/0.png", png(0))
    message, hint = refusal(tmp_path)
    assert "1 .zip" in message and "inner.zip" in hint
