import io
import os
import random
import re
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_factory import encoded, files, folder_of, picture, png, tar_of, zip_of
from listening import Listener
from PIL import Image

from bench.contracts import Silence
from bench.data import archives
from bench.data.decoding import decode
from bench.data.images import Decoded, read_images
from bench.errors import DataError

ARCHIVES = ("a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.zip")


def read(path: Path, *, skip_bad: bool = False) -> Decoded:
    return read_images(path, progress=Silence(), skip_bad=skip_bad)


def archive_of(path: Path, contents: dict[str, bytes]) -> Path:
    return zip_of(path, contents) if path.suffix == ".zip" else tar_of(path, contents)


def assert_same(first: Decoded, second: Decoded) -> None:
    assert first.classes == second.classes
    for left, right in ((first.train, second.train), (first.test, second.test)):
        assert left.names == right.names and (left.images == right.images).all()
        assert (left.labels == right.labels).all()


def refusal(path: Path, *, skip_bad: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        read(path, skip_bad=skip_bad)
    assert caught.value.try_, "every refusal says what to do"
    assert "\n" not in caught.value.message
    return caught.value.message


# --- what comes out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_gives_what_its_folder_gives(tmp_path: Path, name: str) -> None:
    contents = files(("dog", "cat", "Bat"))
    shuffled = random.Random(0).sample(list(contents.items()), len(contents))
    folder, path = read(folder_of(tmp_path / "set", contents)), archive_of(tmp_path / name, dict(shuffled))
    assert_same(folder, read(path))
    assert {*tmp_path.iterdir()} == {path, tmp_path / "set"}  # nothing is written beside an archive


def test_pixels_are_those_of_the_file_channel_first(tmp_path: Path) -> None:
    images = read(folder_of(tmp_path, files())).train.images
    assert images.shape == (6, 3, 32, 32)
    assert (images[2].transpose(1, 2, 0) == np.asarray(Image.open(tmp_path / "train/cat/2.png"))).all()


def test_classes_and_ids_are_byte_sorted_not_by_locale_or_number(tmp_path: Path) -> None:
    contents = files(("b", "B", "é", "a-b", "a"), each=1)
    contents |= {"train/a/10.png": png(90), "train/a/9.png": png(91), "train/a/Z.png": png(92)}
    found = read(tar_of(tmp_path / "a.tar", contents))
    assert found.classes == ("B", "a", "a-b", "b", "é")
    assert list(found.train.names) == sorted(found.train.names, key=lambda name: name.encode())
    assert [found.classes[label] for label in found.train.labels] == [name.split("/")[1] for name in found.train.names]


def test_one_top_folder_is_stripped(tmp_path: Path) -> None:
    inner = {f"my-set/{name}": content for name, content in files().items()}
    plain = read(tar_of(tmp_path / "plain.tar", files()))
    assert_same(plain, read(tar_of(tmp_path / "inner.tar", inner)))
    assert_same(plain, read(folder_of(tmp_path / "outer", inner)))


def test_what_is_left_out_is_counted_by_why_and_what_systems_leave_behind_is_not(tmp_path: Path) -> None:
    contents = files() | {"README.md": b"x", "train/cat/notes.txt": b"x", "train/cat/deep/er.png": png(0)}
    contents |= {"__MACOSX/train/cat/._0.png": b"x", "train/cat/.DS_Store": b"x", "@eaDir/train/cat/0.png": png(1)}
    found = read(tar_of(tmp_path / "a.tar", contents))
    assert (found.notes, len(found.train.names)) == ((), 7)
    assert found.inventory == (
        "16 files found, 7 + 6 images of 2 classes taken for training and testing; left out: 1 in @eaDir, 1 .md, 1 .txt"
    )


def test_a_class_name_that_is_no_utf8_becomes_text(tmp_path: Path) -> None:
    contents = files(("cat", os.fsdecode(b"d\xffg")), each=1)
    found = read(tar_of(tmp_path / "a.tar", contents))
    assert found.classes == ("cat", "d\\xffg")
    assert_same(found, read(folder_of(tmp_path / "set", contents)))


def test_a_link_in_a_folder_is_followed(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", files())
    before, one = read(root), root / "train/cat/0.png"
    one.symlink_to(one.rename(tmp_path / "elsewhere.png"))
    assert_same(before, read(root))


# --- sizes and modes ---------------------------------------------------------------------------------------


def test_another_size_is_resized_and_said_once(tmp_path: Path) -> None:
    contents = files() | {f"train/cat/{index}.png": encoded(picture(index, (64, 64))) for index in (7, 8)}
    found = read(folder_of(tmp_path, contents))
    assert (found.train.images.shape, found.notes) == (
        (8, 3, 32, 32), ("2 images resized to 32x32 from 64x64 (bilinear, antialiased)",),
    )  # fmt: skip


def test_several_sizes_are_one_note_that_says_proportions_are_lost(tmp_path: Path) -> None:
    extra = {f"train/cat/{i}.png": encoded(picture(i, size)) for i, size in ((7, (8, 8)), (8, (64, 48)), (9, (64, 48)))}
    (note,) = read(folder_of(tmp_path, files() | extra)).notes
    assert re.match("3 images resized to 32x32 from 2 sizes, most of them 64x48.*proportions not kept", note)


def test_resizing_averages_instead_of_picking() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels, size, *_ = decode(encoded(Image.fromarray(stripes)))
    assert size == (64, 64) and pixels[:, 8:24, 8:24].min() > 100 and pixels[:, 8:24, 8:24].max() < 155


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = picture(1, mode=mode)
    pixels, _, before, *_ = decode(encoded(image))
    assert before == mode and (pixels.transpose(1, 2, 0) == np.asarray(image.convert("RGB"))).all()


def test_conversions_are_one_note(tmp_path: Path) -> None:
    extra = {f"train/cat/{index}.png": encoded(picture(index, mode=mode)) for index, mode in ((7, "L"), (8, "RGBA"))}
    found = read(folder_of(tmp_path, files() | extra))
    assert found.notes == ("2 images converted to RGB (1 L, 1 RGBA; alpha is dropped)",)


def test_cmyk_becomes_rgb() -> None:
    pixels, _, before, *_ = decode(encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG"))
    assert before == "CMYK" and pixels[0].min() > 240 and pixels[1:].max() < 15


def test_a_palette_with_transparency_is_read_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    image = picture(1, mode="P")
    image.info["transparency"] = bytes(range(256))
    decode(encoded(image))
    assert not recwarn.list


def test_a_photo_is_turned_as_its_camera_says() -> None:
    image = Image.new("RGB", (32, 32))
    image.paste((255, 255, 255), (0, 0, 32, 8))  # white on top
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    pixels = decode(file.getvalue()).pixels
    assert pixels[:, :, -8:].min() == 255 and pixels[:, :, :24].max() == 0


# --- files that are no images ------------------------------------------------------------------------------


def without(split: str) -> dict[str, bytes]:
    """Files of which none is in a split."""
    return {name: content for name, content in files().items() if not name.startswith(split)}


BAD = "test/dog/1.png"
REFUSED = {
    "truncated": (files() | {BAD: png(0)[:200]}, ["'test/dog/1.png'"]),
    "text": (files() | {BAD: b"not an image"}, ["'test/dog/1.png'"]),
    "empty": (files() | {BAD: b""}, ["'test/dog/1.png'"]),
    "page": (files() | {BAD: b"%!PS-Adobe-3.0 EPSF-3.0\n"}, ["'test/dog/1.png'"]),
    "truncated jpeg": (
        files() | {"train/cat/x.jpg": encoded(picture(0, (64, 64)), "JPEG")[:-400]}, ["'train/cat/x.jpg'"],
    ),
    "hostile name": (files() | {"train/cat/\x1b[2J\n.png": b"no"}, ["x1b[2J"]),
    "no training": (without("train"), ["no image in train/"]),
    "nothing": ({}, ["no image in train/"]),
    "class of train": (files() | {"train/owl/0.png": png(0)}, ["'owl'", "in train but none in"]),
    "class of test": (files() | {"test/owl/0.png": png(0)}, ["'owl'", "in test but none in"]),
    "two top folders": (
        {f"{top}/{name}": content for top in ("one", "two") for name, content in files().items()},
        ["two data sets", "'one/'", "'two/'"],
    ),
    "batches": ({"cifar-10-batches-py/data_batch_1": b"x"}, ["cifar-10-batches-py"]),
}  # fmt: skip


@pytest.mark.parametrize(("contents", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_data_set_or_no_image_is_refused_in_words(
    tmp_path: Path, contents: dict[str, bytes], words: list[str]
) -> None:
    message = refusal(tar_of(tmp_path / "a.tar", contents))
    assert [word for word in words if word not in message] == []
    assert "0x" not in message and "\x1b" not in message and len(message) < 400  # no address of an object


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "no image in train/" in refusal(tmp_path)


def test_skip_bad_goes_on_and_counts(tmp_path: Path) -> None:
    contents = files() | {"test/dog/1.png": b"no", "train/cat/0.png": b"no"}
    found = read(tar_of(tmp_path / "a.tar", contents), skip_bad=True)
    assert (found.skipped, found.notes) == (
        2,
        ("2 unreadable files skipped, the first 'test/dog/1.png' (cannot identify image file)",),
    )
    assert found.inventory.endswith("left out: 2 unreadable")
    assert "train/cat/0.png" not in found.train.names and len(found.train.names) == 5


def test_a_class_that_lost_all_images_of_a_split_is_left_out_with_skip_bad_and_named(tmp_path: Path) -> None:
    root = folder_of(tmp_path, files(("cat", "dog", "owl"), each=1) | {"test/dog/0.png": b"no"})
    assert "'test/dog/0.png'" in refusal(root)
    found = read(root, skip_bad=True)
    assert found.classes == ("cat", "owl") and found.train.labels.tolist() == [0, 1]
    assert "class 'dog' left out: 1 images in train but none in test" in found.notes
    assert found.inventory.endswith("left out: 1 unreadable, 1 of classes left out")


@pytest.mark.parametrize("edge", [9_000, 60_000])
def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, edge: int) -> None:
    header = b"IHDR" + struct.pack(">II5B", edge, edge, 8, 2, 0, 0, 0)
    bomb = png(0)[:12] + header + struct.pack(">I", zlib.crc32(header)) + png(0)[33:]
    message = refusal(folder_of(tmp_path, files() | {"train/cat/9.png": bomb}))
    assert "'train/cat/9.png'" in message and "pixels" in message


# --- hostile archives --------------------------------------------------------------------------------------

UNSAFE = ("/train/cat/9.png", "../train/cat/9.png", "train/../cat/9.png", "C:/train/cat/9.png", "\\train\\cat\\9.png")


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("kind", ["a.tar.gz", "a.zip"])
def test_a_name_that_leaves_the_archive_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    message = refusal(archive_of(tmp_path / kind, files() | {name: png(0)}))
    assert "unsafe name" in message and repr(name) in message


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("train/cat/9.png")
    entry.type, entry.linkname = kind, "train/cat/0.png"
    assert "link or a device" in refusal(tar_of(tmp_path / "a.tar", files(), entry))


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("train/cat/9.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = zip_of(tmp_path / "a.zip", files())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "/etc/hostname")
    assert "link or a device" in refusal(path)


@pytest.mark.parametrize("name", ["", "a.tar.xz", "a.zip"])
def test_a_picture_that_is_too_large_is_refused_by_its_declared_size_and_other_files_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    contents = files() | {"train/cat/9.png": bytes(100_000), "train/cat/film.mov": bytes(100_000)}
    path = archive_of(tmp_path / name, contents) if name else folder_of(tmp_path, contents)
    monkeypatch.setattr(archives, "MAX_BYTES", 50_000)
    assert re.search("'train/cat/9.png'.* declares 100,000 bytes; the limit is 50,000", refusal(path))
    assert read(path, skip_bad=True).inventory.endswith("left out: 1 .mov, 1 unreadable")


def test_a_member_of_a_tar_that_would_take_hours_to_pass_over_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive_of(tmp_path / "a.tar.xz", files() | {"zeros.bin": bytes(100_000)})
    monkeypatch.setattr(archives, "MAX_OTHER", 50_000)
    assert re.search("'zeros.bin'.* declares 100,000 bytes; the limit is 50,000", refusal(path))


def test_a_header_that_asks_for_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 7 * 2**30
    path = tmp_path / "a.tar"
    path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    assert "corrupt" in refusal(path)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = archive_of(tmp_path / kind, files())
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    assert "more than 10 members" in refusal(path)


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", files())
    with tarfile.open(path, "a") as archive:
        entry = tarfile.TarInfo("./train//cat/0.png")
        entry.size = len(png(5))
        archive.addfile(entry, io.BytesIO(png(5)))
    assert "comes twice" in refusal(path)


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_truncated_archive_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = archive_of(tmp_path / kind, files())
    content = path.read_bytes().rstrip(b"\0" if kind == "a.tar" else b"")
    path.write_bytes(content[: int(len(content) * share)])
    assert "corrupt" in refusal(path)


def test_a_tar_that_breaks_between_two_members_is_not_taken_for_a_short_one(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", files())
    with tarfile.open(path) as archive:
        header = archive.getmembers()[-1].offset
    content = path.read_bytes()
    for broken in (content[:header], content[: header + 100], content[:header] + b"x" * 512 + content[header + 512 :]):
        path.write_bytes(broken)
        assert "corrupt" in refusal(path)


def test_a_flipped_byte_in_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar.xz", files())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "corrupt" in refusal(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", files())
    content = path.read_bytes()
    path.write_bytes(
        re.sub(rb"(PK\x01\x02.{4})\x00\x00", lambda found: found[1] + b"\x01\x00", content, flags=re.DOTALL)
    )
    assert "encrypted" in refusal(path)


def test_a_file_that_is_no_archive_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(png(0))
    os.mkfifo(tmp_path / "pipe.tar")
    for path in tmp_path.iterdir():
        assert "neither a folder nor an archive" in refusal(path)


def test_progress_reaches_its_total(tmp_path: Path) -> None:
    for path in (folder_of(tmp_path / "set", files()), *(archive_of(tmp_path / kind, files()) for kind in ARCHIVES)):
        progress = Listener()
        read_images(path, progress=progress)
        assert sum(progress.tracked.values()) == progress.advanced > 0


def test_every_format_is_read_in_a_fresh_process(tmp_path: Path) -> None:
    code = """if True:
        import os, sys
        from pathlib import Path
        from bench.data.images import decode
        for path in sys.argv[1:]:
            if not os.fork():  # what one format loads must not serve the next one
                decode(Path(path).read_bytes())
                os._exit(0)
            if os.wait()[1]:
                sys.exit(path)
    """
    for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF"):
        (tmp_path / kind).write_bytes(encoded(picture(3), kind))
    subprocess.run([sys.executable, "-c", code, *map(str, tmp_path.iterdir())], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_archive_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", files())
    path.chmod(0)
    assert "cannot be read" in refusal(path)
