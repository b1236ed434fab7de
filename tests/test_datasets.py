import functools
import hashlib
import http.server
import multiprocessing
import os
import pickle
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from image_factory import encoded, files, folder_of, picture, png, tar_of, zip_of
from listening import Listener
from torchvision.datasets import CIFAR10

import bench.data.cache
import bench.data.cifar10
import bench.data.datasets
import bench.data.images
from bench.contracts import Dataset, Silence
from bench.data.datasets import BUILTIN, limit_balanced, load_dataset, planned_dataset, split_validation
from bench.errors import BenchError, DataError, UsageError


def load(source: object, cache: Path, *, skip_bad: bool = False, url: str | None = None) -> Dataset:
    return load_dataset(str(source), cache=cache, progress=Silence(), skip_bad=skip_bad, cifar10_url=url)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that were decoded instead of read from the cache."""
    paths: list[Path] = []
    read = bench.data.images.read_images

    def counted(path: Path, **options: object) -> bench.data.images.Decoded:
        paths.append(path)
        return read(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.data.images, "read_images", counted)
    return paths


# --- digits ------------------------------------------------------------------------------------------------


def test_digits_are_1437_and_360_images_that_share_none(cache: Path) -> None:
    digits = load("digits", cache)
    assert (digits.name, digits.source, digits.classes) == ("digits", "digits", tuple("0123456789"))
    assert digits.train.images.shape == (1437, 3, 32, 32) and digits.test.images.shape == (360, 3, 32, 32)
    assert digits.train.images.dtype == torch.uint8 and digits.train.labels.dtype == torch.int64
    assert (int(digits.train.images.min()), int(digits.train.images.max()), digits.mirror) == (0, 255, False)
    assert digits.test.labels.bincount().min() >= 35, "stratified"
    assert not cache.exists(), "nothing is written"


def test_digits_are_the_same_each_time_and_named_by_split_class_and_id(cache: Path) -> None:
    first, second = load("digits", cache), load("digits", cache)
    assert first.digest == second.digest and (first.train.images == second.train.images).all()
    assert first.test.names[7] == f"test/{first.classes[first.test.labels[7]]}/0007"


# --- names and paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "code", "says", "offers"),
    [
        ("cifr10", 2, "did you mean 'cifar10'", "cifar10"),
        ("CIFAR-10", 2, "did you mean 'cifar10'", "cifar10"),
        ("digit", 2, "did you mean 'digits'", "digits"),
        ("imagenette", 2, "cifar10 and digits", ""),
        ("", 2, "data set", ""),
        ("no/such/folder", 4, "does not exist", "--data"),
        ("missing.tar.xz", 4, "does not exist", "--data"),
        ("./digit", 4, "does not exist", "--data"),
    ],
)
def test_a_misspelt_name_gets_did_you_mean_and_a_missing_path_is_exit_4(
    cache: Path, typed: str, code: int, says: str, offers: str
) -> None:
    with pytest.raises(BenchError, match=says) as caught:
        load(typed, cache)
    assert caught.value.exit_code == code and offers in caught.value.try_


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("cifar10-jpeg.tar.xz", "cifar10-jpeg"),
        ("My_Cats & Dogs.tgz", "my-cats-dogs"),
        ("a.b.tar.gz", "a-b"),
        ("日本.zip", "data"),
        ("x" * 80 + ".tar", "x" * 30),
        ("y" * 29 + "-z.tar", "y" * 29),
    ],
)
def test_the_name_is_a_slug_of_the_file(tmp_path: Path, cache: Path, file: str, name: str) -> None:
    path = tmp_path / file
    assert load((zip_of if file.endswith("zip") else tar_of)(path, files()), cache).name == name


def test_every_builtin_has_its_line_and_listing_them_needs_no_torch() -> None:
    assert set(BUILTIN) == {"cifar10", "digits"}
    code = "import sys, bench.data.datasets; sys.exit(bool({'torch', 'numpy', 'sklearn', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- folders and archives ----------------------------------------------------------------------------------


def test_a_folder_and_its_archives_are_one_data_set(tmp_path: Path, cache: Path) -> None:
    contents = files(("cat", "dog", "owl"))
    backwards = dict(reversed(contents.items()))
    folder = load(folder_of(tmp_path / "set", contents), cache)
    for archive in (tar_of(tmp_path / "set.tar.xz", backwards), zip_of(tmp_path / "set.zip", backwards)):
        found = load(archive, cache)
        assert (found.digest, found.train.names) == (folder.digest, folder.train.names)
    assert folder.name == "set" and folder.mirror


def test_the_digest_tells_pixels_labels_classes_and_splits_apart(tmp_path: Path, cache: Path) -> None:
    contents, image = files(("cat", "dog")), picture(0)
    image.putpixel((3, 3), (1, 2, 3))
    cat, dog = "train/cat/0.png", "train/dog/0.png"
    changed = {
        "nothing": contents,
        "pixel": contents | {cat: encoded(image)},
        "label": contents | {cat: contents[dog], dog: contents[cat]},
        "class": {name.replace("dog", "dig"): content for name, content in contents.items()},
        "split": {name.replace("test/dog/2", "train/dog/3"): content for name, content in contents.items()},
    }
    digests = {load(tar_of(tmp_path / f"{name}.tar", each), cache).digest for name, each in changed.items()}
    assert len(digests) == len(changed)


def test_statistics_are_those_of_the_training_split_over_all_pixels(tmp_path: Path, cache: Path) -> None:
    dark = {
        f"test/{name}/{i}.png": encoded(picture(i).point(lambda level: level // 9))
        for name in ("cat", "dog")
        for i in range(3)
    }
    found = load(folder_of(tmp_path / "set", files() | dark), cache)
    pixels = found.train.images.double() / 255
    assert torch.tensor(found.mean, dtype=torch.float64).allclose(pixels.mean((0, 2, 3)), atol=1e-12)
    assert torch.tensor(found.std, dtype=torch.float64).allclose(pixels.std((0, 2, 3), correction=0), atol=1e-12)


def test_one_class_only_and_pictures_of_one_colour_are_refused(tmp_path: Path, cache: Path) -> None:
    grey = encoded(picture(0).point(lambda _: 7))
    for name, contents, says in (
        ("one", files(("cat",)), "1 class: 'cat'"),
        ("grey", dict.fromkeys(files(), grey), "the same value everywhere"),
    ):
        with pytest.raises(DataError, match=says) as caught:
            load(folder_of(tmp_path / name, contents), cache)
        assert caught.value.try_


def test_fewer_images_than_classes_are_refused() -> None:
    part = bench.data.images.Part(np.zeros((2, 3, 32, 32), np.uint8), np.array([0, 1]), ("a", "b"))
    with pytest.raises(DataError, match="2 images in train for 3 classes"):
        bench.data.datasets._check(bench.data.images.Decoded(("a", "b", "c"), part, part), "set")


def test_a_plan_knows_images_and_classes_without_decoding_one(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar_of(tmp_path / "a.tar.xz", files(("cat", "dog"), each=5))
    found = load(path, cache)
    for name in ("decode", "fetch"):
        where = bench.data.images if name == "decode" else bench.data.cifar10
        monkeypatch.setattr(where, name, mock.Mock(side_effect=AssertionError("it was decoded or fetched")))
    plan = planned_dataset(str(path), cache=cache, progress=Silence())
    assert (plan.name, plan.classes, plan.inventory) == (found.name, found.classes, found.inventory)
    assert torch.equal(plan.train.labels, found.train.labels) and plan.test.names == found.test.names
    assert len(planned_dataset("cifar10", cache=cache, progress=Silence()).train) == 50_000


# --- the cache ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapped", [False, True])
def test_the_second_load_decodes_nothing_and_is_equal(
    tmp_path: Path, cache: Path, decoding: list[Path], monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    """What would fill the memory stays in its file, and is none the worse for it."""
    monkeypatch.setattr(bench.data.cache, "free_memory", lambda: 1 if mapped else 2**40)
    path = tar_of(tmp_path / "a.tar.gz", files(("cat", "d\"\n'og")) | {"x.txt": b""})
    first, second = load(path, cache), load(path, cache)
    assert decoding == [path]
    assert replace(first, train=second.train, test=second.test) == second
    for left, right in ((first.train, second.train), (first.test, second.test)):
        assert left.names == right.names
        assert torch.equal(left.images, right.images) and torch.equal(left.labels, right.labels)
        right.images[0] = 0  # writable, and of no effect on the cache
    assert torch.equal(load(path, cache).train.images, first.train.images)


def test_a_relative_path_finds_the_entry_of_the_absolute_one(
    tmp_path: Path, cache: Path, decoding: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tar_of(tmp_path / "a.tar", files()), cache)
    monkeypatch.chdir(tmp_path)
    assert load("a.tar", cache).name == "a"
    assert len(decoding) == 1


def test_a_changed_archive_is_decoded_again_into_the_same_entry(
    tmp_path: Path, cache: Path, decoding: list[Path]
) -> None:
    path = tar_of(tmp_path / "a.tar", files())
    before = load(path, cache)
    entries = sorted((cache / "decoded").iterdir())
    tar_of(path, files() | {"train/cat/0.png": png(77)})
    os.utime(path, ns=(1, 1))
    assert load(path, cache).digest != before.digest
    assert len(decoding) == 2
    assert sorted((cache / "decoded").iterdir()) == entries, "no old pixels pile up"


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.with_name("9.png").write_bytes(png(50)),
        Path.unlink,
        lambda one: one.rename(one.with_name("9.png")),
        lambda one: os.utime(one, ns=(1, 1)),
    ],
    ids=["added", "removed", "renamed", "touched"],
)
def test_a_changed_folder_is_decoded_again(
    tmp_path: Path, cache: Path, decoding: list[Path], change: Callable[[Path], object]
) -> None:
    root = folder_of(tmp_path / "set", files())
    for _ in range(2):
        load(root, cache)
    assert len(decoding) == 1
    change(root / "train/dog/1.png")
    load(root, cache)
    assert len(decoding) == 2


def test_a_link_to_nowhere_is_no_image_and_no_failure(tmp_path: Path, cache: Path, decoding: list[Path]) -> None:
    root = folder_of(tmp_path / "set", files())
    (root / "train/cat/9.png").symlink_to(tmp_path / "nowhere.png")
    assert len(load(root, cache).train) == 6
    load(root, cache)
    assert len(decoding) == 1


@pytest.mark.parametrize("which", ["*-train.npy", "*-test.npy", "*.json"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(path.read_bytes()[:-50] + b"?" + path.read_bytes()[-49:]),
        lambda path: path.write_bytes(b""),
        Path.unlink,
    ],
    ids=["truncated", "changed", "emptied", "gone"],
)
def test_a_damaged_entry_is_made_anew(
    tmp_path: Path, cache: Path, decoding: list[Path], which: str, spoil: Callable[[Path], object]
) -> None:
    path = tar_of(tmp_path / "a.tar", files())
    first = load(path, cache)
    (damaged,) = (cache / "decoded").glob(which)
    spoil(damaged)
    again = load(path, cache)
    assert len(decoding) == 2
    assert again.digest == first.digest and torch.equal(again.train.images, first.train.images)
    load(path, cache)
    assert len(decoding) == 2, "the entry is whole again"


@dataclass
class Trap:
    """Whoever unpickles it makes a file."""

    path: Path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_in_the_cache_is_never_loaded(tmp_path: Path, cache: Path) -> None:
    path = tar_of(tmp_path / "a.tar", files())
    load(path, cache)
    (pixels,) = (cache / "decoded").glob("*-train.npy")
    trap = Trap(tmp_path / "trap")
    np.save(pixels, np.array([trap], dtype=object), allow_pickle=True)
    load(path, cache)
    assert not trap.path.exists()


def test_an_entry_that_skipped_files_does_not_hide_them_later_and_a_failure_leaves_nothing(
    tmp_path: Path, cache: Path
) -> None:
    path = tar_of(tmp_path / "a.tar", files() | {"train/cat/9.png": b"no"})
    for place in (cache, tmp_path / "other"):
        with pytest.raises(DataError, match=r"train/cat/9\.png"):
            load(path, place)
        assert written(place) == []
        for _ in range(2):
            assert "1 unreadable files skipped" in load(path, cache, skip_bad=True).notes[0]


@pytest.mark.parametrize("full", [True, False])
def test_a_cache_that_cannot_be_written_or_made_is_a_warning_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    progress, cache = Listener(), tmp_path / "cache"
    if full:
        failing = mock.Mock(side_effect=OSError(28, "No space left on device"))
        monkeypatch.setattr(bench.data.cache.np, "save", failing)
    else:
        cache.write_text("")
    found = load_dataset(str(tar_of(tmp_path / "a.tar", files())), cache=cache, progress=progress)
    assert (len(found.train), len(progress.warned)) == (6, 1)
    assert not full or ("No space left" in progress.warned[0] and written(cache) == [])


def written(cache: Path) -> list[Path]:
    """The files of a cache, without its locks."""
    return [entry for entry in cache.rglob("*") if entry.is_file() and entry.suffix != ".lock"]


def _load_in_process(path: str, cache: str) -> str:
    return load(path, Path(cache)).digest


def test_two_processes_at_once_agree(tmp_path: Path, cache: Path) -> None:
    path = tar_of(tmp_path / "a.tar.gz", files(each=20))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        digests = pool.starmap(_load_in_process, [(str(path), str(cache))] * 4)
    assert len(set(digests)) == 1


def test_who_waits_for_another_process_says_so(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    path, progress = tar_of(tmp_path / "a.tar", files()), Listener()
    load(path, cache)
    lock = FileLock(next((cache / "decoded").glob("*.lock")), thread_local=False)
    with ThreadPoolExecutor() as another:
        another.submit(lock.acquire).result()
        threading.Timer(1.3, lock.release).start()
        load_dataset(str(path), cache=cache, progress=progress)
    assert progress.said == ["another process reads a.tar; waiting for it"]


# --- cifar10, from a server of our own ---------------------------------------------------------------------

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def batch(seed: int, count: int = 20) -> bytes:
    data = np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)
    return pickle.dumps({"data": data, "labels": [index % 10 for index in range(count)]})


@pytest.fixture
def small_cifar10(tmp_path: Path) -> type[CIFAR10]:
    """torchvision's class with the sums of a small archive, which lies in `tmp_path`/server."""
    contents = {f"data_batch_{number}": batch(number) for number in range(1, 6)}
    contents |= {"test_batch": batch(6), "batches.meta": pickle.dumps({"label_names": CLASSES})}
    (tmp_path / "server").mkdir()
    archive = tmp_path / "server" / "cifar-10-python.tar.gz"
    tar_of(archive, {f"cifar-10-batches-py/{name}": content for name, content in contents.items()})
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    changes = {
        "tgz_md5": hashlib.md5(archive.read_bytes()).hexdigest(),
        "train_list": [[f"data_batch_{number}", sums[f"data_batch_{number}"]] for number in range(1, 6)],
        "test_list": [["test_batch", sums["test_batch"]]],
        "meta": {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]},
    }
    return type("SmallCIFAR10", (CIFAR10,), changes)


@pytest.fixture
def server(tmp_path: Path, small_cifar10: type[CIFAR10], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the small archive; `cifar10` knows the archive's sums."""

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(
        bench.data.cifar10, "cifar10", lambda url=None: type("At", (small_cifar10,), {"url": url} if url else {})
    )

    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(tmp_path / "server"))
    # torchvision asks for the address first and hangs up, which is no error
    calm = type("Calm", (http.server.ThreadingHTTPServer,), {"handle_error": lambda *_: None})
    with calm(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/cifar-10-python.tar.gz"
        running.shutdown()


def test_cifar10_is_downloaded_once_and_read(cache: Path, server: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = load("cifar10", cache, url=server)
    assert (found.name, found.source, found.mirror, found.classes) == ("cifar10", "cifar10", True, tuple(CLASSES))
    assert found.train.images.shape == (100, 3, 32, 32) and found.test.images.shape == (20, 3, 32, 32)
    assert (found.train.images[3].numpy() == pickle.loads(batch(1))["data"][3].reshape(3, 32, 32)).all()
    assert found.test.names[12] == "test/bird/00012"
    assert sorted(entry.name for entry in (cache / "cifar10").iterdir() if entry.suffix != ".lock") == [
        "cifar-10-batches-py"
    ]
    assert load("cifar10", cache, url="http://127.0.0.1:9/gone.tar.gz").digest == found.digest
    assert capfd.readouterr() == ("", ""), "only the command line prints"


def test_a_download_tells_its_progress_and_damaged_later_is_fetched_again(cache: Path, server: str) -> None:
    progress = Listener()
    before = load_dataset("cifar10", cache=cache, progress=progress, cifar10_url=server)
    assert any(server in line and "170 MB" in line for line in progress.said)
    (cache / "cifar10/cifar-10-batches-py/data_batch_2").write_bytes(b"x")
    assert load("cifar10", cache, url=server).digest == before.digest


def assert_refused_and_clean(cache: Path, url: str) -> str:
    with pytest.raises(DataError) as caught:
        load("cifar10", cache, url=url)
    assert caught.value.exit_code == 4 and url in caught.value.message
    assert "--data digits" in caught.value.try_ and "--data PATH" in caught.value.try_
    assert written(cache) == []
    return caught.value.message


def test_no_network_is_one_clear_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    assert "refused" in assert_refused_and_clean(cache, "http://127.0.0.1:9/cifar-10-python.tar.gz")


def test_a_missing_file_on_the_server_is_one_clear_error(cache: Path, server: str) -> None:
    assert "404" in assert_refused_and_clean(cache, server + ".moved")


def test_an_archive_of_another_md5_is_refused(cache: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = bench.data.cifar10.cifar10(server)
    monkeypatch.setattr(bench.data.cifar10, "cifar10", lambda url=None: type("Other", (kind,), {"tgz_md5": "0" * 32}))
    assert "MD5" in assert_refused_and_clean(cache, server)


def test_cifar10_keeps_the_sums_of_torchvision() -> None:
    kind = bench.data.cifar10.cifar10("http://127.0.0.1/x")
    assert (kind.url, kind.tgz_md5, kind.train_list) == ("http://127.0.0.1/x", CIFAR10.tgz_md5, CIFAR10.train_list)
    assert bench.data.cifar10.cifar10() is CIFAR10


@pytest.mark.parametrize("named", ["set", "set/cifar-10-batches-py"])
@pytest.mark.usefixtures("server")
def test_a_folder_of_batches_is_read(tmp_path: Path, cache: Path, named: str) -> None:
    with tarfile.open(tmp_path / "server/cifar-10-python.tar.gz") as archive:
        archive.extractall(tmp_path / "set", filter="data")
    found = load(tmp_path / named, cache)
    assert found.classes == tuple(CLASSES) and len(found.train) == 100


def test_a_folder_of_batches_is_never_unpickled_before_its_md5_check(tmp_path: Path, cache: Path) -> None:
    trap = Trap(tmp_path / "trap")
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch", "batches.meta"]
    root = folder_of(tmp_path / "set", {f"cifar-10-batches-py/{name}": pickle.dumps(trap) for name in names})
    with pytest.raises(DataError, match="MD5"):
        load(root, cache)
    assert not trap.path.exists()


# --- subsets -----------------------------------------------------------------------------------------------


def labels_of(*sizes: int) -> torch.Tensor:
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return labels[torch.randperm(len(labels), generator=seeded(7))]


@pytest.mark.parametrize("limit", [3, 10, 31, 89, 90])
def test_a_limit_is_balanced_exact_and_ascending(limit: int) -> None:
    labels = labels_of(30, 30, 30)
    chosen = limit_balanced(labels, limit, seeded())
    assert len(chosen) == limit and chosen.dtype == torch.int64 and (chosen.diff() > 0).all()
    sizes = labels[chosen].bincount(minlength=3)
    assert int(sizes.max() - sizes.min()) <= 1


@pytest.mark.parametrize(("sizes", "limit", "taken"), [((2, 50, 50), 42, [2, 20, 20]), ((5, 5), 99, [5, 5])])
def test_a_small_class_gives_all_and_the_others_make_up_for_it(
    sizes: tuple[int, ...], limit: int, taken: list[int]
) -> None:
    labels = labels_of(*sizes)
    assert labels[limit_balanced(labels, limit, seeded())].bincount().tolist() == taken


def test_a_limit_is_seeded_and_smaller_ones_nest() -> None:
    large, same, other, small = (
        limit_balanced(labels_of(40, 40, 40), count, seeded(seed)).tolist()
        for count, seed in ((50, 1), (50, 1), (50, 2), (20, 1))
    )
    assert large == same != other and set(small) < set(large)


def test_the_remainder_goes_to_random_classes() -> None:
    labels = labels_of(20, 20, 20)
    extra = {int(labels[limit_balanced(labels, 4, seeded(seed))].bincount().argmax()) for seed in range(20)}
    assert extra == {0, 1, 2}


@pytest.mark.parametrize("limit", [0, -1, 2])
def test_a_limit_below_the_classes_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match=f"limit of {limit} images .* 3 classes") as caught:
        limit_balanced(labels_of(5, 5, 5), limit, seeded())
    assert caught.value.try_ == "--limit 3"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.99])
def test_a_validation_split_is_stratified_disjoint_and_whole(share: float) -> None:
    labels = labels_of(100, 50, 10)
    train, val = split_validation(labels, share, seeded())
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(160))
    assert (train.diff() > 0).all() and (val.diff() > 0).all()
    wanted = [min(size - 1, max(1, round(size * share))) if share else 0 for size in (100, 50, 10)]
    assert labels[val].bincount(minlength=3).tolist() == wanted


def test_a_validation_split_is_seeded_and_leaves_a_single_image_to_training() -> None:
    labels = labels_of(40, 40, 1)
    first, second, other = (split_validation(labels, 0.2, seeded(seed))[1].tolist() for seed in (3, 3, 4))
    assert first == second != other
    assert 2 not in labels[first]


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="validation share"):
        split_validation(labels_of(5, 5), share, seeded())


# --- the real images ---------------------------------------------------------------------------------------


FIRST_READING = """
import sys
from pathlib import Path
from bench.contracts import Silence
from bench.data.datasets import load_dataset

load_dataset(sys.argv[1], cache=Path(sys.argv[2]), progress=Silence())
memory = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
sys.stdout.write(memory[0])
"""


@dataclass(frozen=True)
class Real:
    """CIFAR-10 as JPEG, and how many KiB of memory its first reading took at most."""

    dataset: Dataset
    path: str
    cache: Path
    memory: int


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    path = os.environ.get("BENCH_DATA", "")
    if not Path(path).is_file():
        pytest.skip("needs the real images: set BENCH_DATA to the archive of CIFAR-10 as JPEG")
    cache = tmp_path_factory.mktemp("cache")
    command = [sys.executable, "-c", FIRST_READING, path, str(cache)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Real(load(path, cache), path, cache, int(told))


@pytest.mark.images
@pytest.mark.slow
def test_the_known_statistics_of_cifar10_come_out_within_jpeg_error(real: Real) -> None:
    assert np.abs(np.array(real.dataset.mean) - (0.49140, 0.48216, 0.44653)).max() < 0.001
    assert np.abs(np.array(real.dataset.std) - (0.24703, 0.24349, 0.26159)).max() < 0.003, "JPEG loses some contrast"
    assert real.dataset.std[0] > 0.23, "not the mean of each picture's own deviation, which is 0.2023"


@pytest.mark.images
@pytest.mark.slow
def test_the_real_images_are_whole_and_in_order_and_take_less_than_1500_mb(real: Real) -> None:
    found = real.dataset
    assert real.memory < 1500 * 1000
    assert found.classes == tuple(CLASSES) and found.train.labels.bincount().tolist() == [5000] * 10
    assert found.test.labels.bincount().tolist() == [1000] * 10 and found.notes == ()
    assert found.train.names[5001] == "train/automobile/0001.jpg" and found.test.names[-1] == "test/truck/0999.jpg"


@pytest.mark.images
@pytest.mark.slow
def test_the_cache_decodes_and_hashes_nothing(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_measured", "_digest"):
        monkeypatch.setattr(bench.data.datasets, name, mock.Mock(side_effect=AssertionError("the cache was not used")))
    assert load(real.path, real.cache).digest == real.dataset.digest
