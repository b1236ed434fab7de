"""Cells and samples: rows are merged and never dropped, and what is read may be damaged or hostile."""

import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from run_factory import make_cell, make_samples

from bench.data.decoding import edge_of, kept
from bench.errors import StoreError
from bench.schema.run import Cell
from bench.store.files import read_npz, write_npz
from bench.store.folder import RunFolder
from bench.store.on_disk import ChangedError, OnDisk
from bench.store.paths import SAMPLES, cell_path
from bench.store.rows import (
    CELL_ROWS,
    CELL_SCHEMA,
    Samples,
    merge_cells,
    read_cell,
    read_samples,
    row_keys,
    same_cell,
    write_cell,
)

Rows = list[tuple[int, int]]
ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), unique=True, max_size=12)


HEAD = [field.name for field in dataclasses.fields(Cell) if field.name not in CELL_ROWS]


def content(cell: Cell) -> dict[tuple[int, int], bytes]:
    """What a cell says of each row, by the row's key."""
    return {
        (int(cell.ids[row]), int(cell.classes[row])): b"".join(getattr(cell, name)[row].tobytes() for name in CELL_ROWS)
        for row in range(len(cell.ids))
    }


# --- merging -----------------------------------------------------------------------------------------------


@given(ROWS, ROWS)
def test_merging_keeps_every_row_of_both_once(first: Rows, second: Rows) -> None:
    old, new = make_cell(first), make_cell(second)
    new = dataclasses.replace(new, raw=new.raw + 100)
    merged = merge_cells(old, new)
    assert content(merged) == content(old) | content(new)  # a row of both is that of the new cell
    assert len(merged.ids) == len(row_keys(merged)) == len(set(first) | set(second))


def test_without_an_old_cell_the_new_one_is_all() -> None:
    new = make_cell([(1, 0)])
    assert content(merge_cells(None, new)) == content(new) and row_keys(None) == set()


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"checkpoint": "d" * 64}, False),
        ({"explainer": "captum"}, False),
        ({"revision": 2}, False),
        ({"layer": "layer3"}, False),
        ({"versions": {"torch": "9"}}, False),
        ({"dtype": "float64"}, False),
        ({"fp32": "tf32"}, False),
        ({"device": "other"}, True),
        ({"timing": "T2"}, True),
    ],
    ids=str,
)
def test_a_cell_of_another_key_is_replaced_whole_and_device_and_timing_are_no_key(
    changes: dict[str, Any], same: bool
) -> None:
    old, new = make_cell([(1, 0)]), make_cell([(2, 0)], **changes)
    assert same_cell(old, new) is same
    assert row_keys(merge_cells(old, new)) == {(2, 0), *([(1, 0)] if same else [])}


def test_a_new_cell_without_rows_drops_none() -> None:
    old, empty = make_cell([(1, 0)]), make_cell([], raw=np.zeros((0, 1, 1), np.float32))
    assert content(merge_cells(old, empty)) == content(old)


def test_maps_of_another_size_replace_the_old_ones() -> None:
    old, new = make_cell([(1, 0)]), make_cell([(2, 0)], raw=np.zeros((1, 8, 8), np.float32))
    assert row_keys(merge_cells(old, new)) == {(2, 0)}


# --- on disk -----------------------------------------------------------------------------------------------


@given(ROWS)
@settings(max_examples=20, deadline=None)
def test_a_cell_comes_back_with_its_rows_sorted(tmp_path_factory: pytest.TempPathFactory, rows: Rows) -> None:
    path, cell = tmp_path_factory.mktemp("cell") / "layer4.npz", make_cell(rows)
    write_cell(path, merge_cells(None, cell))
    found = read_cell(path)
    assert [*content(found)] == sorted(rows) and content(found) == content(cell)
    assert {name: vars(found)[name] for name in HEAD} == {name: vars(cell)[name] for name in HEAD}


def test_values_that_are_not_finite_come_back(tmp_path: Path) -> None:
    raw = np.array([[[np.nan, np.inf], [-np.inf, -0.0]]], np.float32)
    write_cell(tmp_path / "a.npz", make_cell([(0, 0)], raw=raw))
    assert read_cell(tmp_path / "a.npz").raw.tobytes() == raw.tobytes()


def rewrite(path: Path, **changes: Any) -> None:
    """The file of a cell or of samples with some arrays replaced."""
    with np.load(path, allow_pickle=False) as file:
        names = tuple(file.files)
    write_npz(path, read_npz(path, names) | {name: np.asarray(value) for name, value in changes.items()})


@pytest.fixture
def cell_file(tmp_path: Path) -> Path:
    write_cell(tmp_path / "layer4.npz", make_cell([(0, 0), (1, 2)]))
    return tmp_path / "layer4.npz"


HEADS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no checkpoint": lambda head: head.pop("checkpoint"),
    "no schema": lambda head: head.pop("schema"),
    "newer": lambda head: head.update(schema=99),
    "revision in words": lambda head: head.update(revision="one"),
    "endless revision": lambda head: head.update(revision=float("inf")),
    "no revision": lambda head: head.update(revision=None),
    "versions in a list": lambda head: head.update(versions=["torch"]),
}


@pytest.mark.parametrize("change", HEADS.values(), ids=HEADS)
def test_a_cell_with_a_damaged_head_is_refused_with_its_path(
    cell_file: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    head = json.loads(str(read_npz(cell_file, ("head",))["head"]))
    change(head)
    rewrite(cell_file, head=json.dumps(head))
    with pytest.raises(StoreError, match=r"layer4\.npz"):
        read_cell(cell_file)


@pytest.mark.parametrize("head", ["{half", "[]", "3", "", "[" * 100_000], ids=lambda head: head[:6])
def test_a_head_that_is_no_object_is_refused(cell_file: Path, head: str) -> None:
    rewrite(cell_file, head=head)
    with pytest.raises(StoreError, match=r"layer4\.npz is damaged"):
        read_cell(cell_file)


ROWS_DAMAGED: dict[str, dict[str, Any]] = {
    "a row too few": {"ids": [0]},
    "one number": {"ids": 0},
    "ids in words": {"ids": ["0", "1"]},
    "ids with fractions": {"ids": [0.0, 1.0]},
    "negative id": {"ids": [-1, 1]},
    "class below 0": {"classes": [-1, 0]},
    "unknown status": {"status": np.array([0, 4], np.uint8)},
    "status in words": {"status": ["ok", "ok"]},
    "flat maps": {"raw": np.zeros((2, 4), np.float32)},
    "maps of nothing": {"raw": np.zeros((2, 0, 4), np.float32)},
    "maps of integers": {"raw": np.zeros((2, 2, 4), np.int64)},
    "maps of complex numbers": {"raw": np.zeros((2, 2, 4), np.complex64)},
}


@pytest.mark.parametrize("kind", ROWS_DAMAGED)
def test_rows_that_mean_nothing_are_refused_with_what_is_odd(cell_file: Path, kind: str) -> None:
    rewrite(cell_file, **ROWS_DAMAGED[kind])
    with pytest.raises(StoreError, match=rf"layer4\.npz is damaged: .*({'|'.join(ROWS_DAMAGED[kind])}|maps)") as error:
        read_cell(cell_file)
    assert error.value.try_


# --- names -------------------------------------------------------------------------------------------------

HOSTILE = [
    "../../x.py:y", "/etc/passwd", "..", ".", "", "a/b.py:C", "a\\b", "\0", "x" * 5000, "猫" * 200, "a\nb", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_no_name_leads_out_of_the_run(tmp_path: Path, name: str) -> None:
    for path in (cell_path(tmp_path, name, "layer4"), cell_path(tmp_path, "gradcam", name)):
        assert path.resolve().relative_to(tmp_path.resolve() / "explain").parts == path.parts[-2:]
        write_cell(path, make_cell([(0, 0)]))
        assert path in set((tmp_path / "explain").glob("*/*.npz"))


@given(st.text(max_size=30), st.text(max_size=30))
def test_two_names_never_share_a_file(first: str, second: str) -> None:
    assert [one == other for one, other in zip(paths(first), paths(second), strict=True)] == [first == second] * 2


def paths(name: str) -> tuple[Path, Path]:
    """The files of cells whose explainer or layer has this name."""
    return cell_path(Path("run"), name, "layer4"), cell_path(Path("run"), "gradcam", name)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a/b.py:C", "a-b.py:C"),
        ("../x.py:y", "x.py:y"),
        ("a.", "a"),
        ("", "."),
        ("x" * 130 + "a", "x" * 130 + "b"),
        ("é", "e"),
    ],
)
def test_names_that_look_alike_when_made_harmless_stay_apart(first: str, second: str) -> None:
    assert not {*paths(first)} & {*paths(second)}


def test_a_name_that_copies_a_made_harmless_one_stays_apart() -> None:
    first, _ = paths("a/b.py:C")
    assert paths(first.parent.name)[0] != first


@pytest.mark.parametrize("layer", ["layer4", "layer4.1.bn2", "input", "block_2-a+"])
def test_a_plain_name_is_the_name_of_its_file(layer: str) -> None:
    assert cell_path(Path("run"), "gradcam", layer) == Path("run") / "explain" / "gradcam" / f"{layer}.npz"


# --- samples -----------------------------------------------------------------------------------------------


def test_a_run_that_explained_nothing_has_no_samples(tmp_path: Path) -> None:
    assert read_samples(tmp_path / SAMPLES) is None


def test_samples_are_added_sorted_and_the_new_one_counts(tmp_path: Path) -> None:
    RunFolder(tmp_path).add_samples(make_samples([7, 3], labels=[1, 2]))
    RunFolder(tmp_path).add_samples(make_samples([5, 7], labels=[0, 0], names=["five", "seven"]))
    found = read_samples(tmp_path / SAMPLES)
    assert found is not None and found.names.tolist() == ["test/3.png", "five", "seven"]
    assert found.ids.tolist() == found.pictures[:, 0, 0, 0].tolist() == [3, 5, 7] and found.labels.tolist() == [2, 0, 0]


def test_hostile_file_names_come_back_as_text(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "../../etc/passwd", "a\nb", "猫\u202e", "x" * 5000, "\ud800", ""]
    RunFolder(tmp_path).add_samples(make_samples(range(len(names)), names=names))
    found = read_samples(tmp_path / SAMPLES)
    assert found is not None and found.names.tolist() == names


def test_no_samples_are_samples(tmp_path: Path) -> None:
    for ids in ([], [4], []):
        RunFolder(tmp_path).add_samples(make_samples(ids))
    found = read_samples(tmp_path / SAMPLES)
    assert found is not None and found.ids.tolist() == [4]


def large_samples(ids: Sequence[int], edge: int = 96) -> Samples:
    pictures = [np.full((edge, edge, 3), each, np.uint8) for each in ids]
    return dataclasses.replace(make_samples(ids), pictures=kept(pictures, edge))


def test_pictures_over_64_pixels_are_kept_as_small_files_and_merged(tmp_path: Path) -> None:
    RunFolder(tmp_path).add_samples(large_samples([7, 3]))
    RunFolder(tmp_path).add_samples(large_samples([5, 7]))
    found = read_samples(tmp_path / SAMPLES)
    assert found is not None and found.ids.tolist() == [3, 5, 7]
    for level, file in zip((3, 5, 7), found.pictures.tolist(), strict=True):
        assert (np.asarray(Image.open(io.BytesIO(file))) == level).all()
    with np.load(tmp_path / SAMPLES, allow_pickle=False) as file:
        assert all(not file[name].dtype.hasobject for name in file.files)


def test_what_a_net_saw_at_299_pixels_is_kept_at_224_and_at_64_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 299, 299, 3), dtype=np.uint8)
    assert [edge_of(each) for each in kept(noise, 299).tolist()] == [224, 224]
    assert (kept(noise[:, :64, :64], 64) == noise[:, :64, :64]).all()


def test_large_pictures_that_were_once_kept_whole_are_read_and_merged(tmp_path: Path) -> None:
    old = dataclasses.replace(make_samples([4]), pictures=np.full((1, 96, 96, 3), 4, np.uint8))
    write_npz(tmp_path / SAMPLES, {"schema": np.array(1), "logits": np.zeros((1, 3), np.float32), **vars(old)})
    RunFolder(tmp_path).add_samples(large_samples([9]))
    found = read_samples(tmp_path / SAMPLES)
    assert found is not None and found.ids.tolist() == [4, 9] and [edge_of(each) for each in found.pictures] == [96, 96]


FILES_DAMAGED: dict[str, dict[str, Any]] = {
    "an end too few": {"ends": [10]},
    "ends that go back": {"ends": [900, 10]},
    "an end beyond": {"ends": [10, 10**6]},
    "ends below 0": {"ends": [-5, 10]},
    "no files": {"files": np.zeros(0, np.uint8)},
    "other files": {"files": np.frombuffer(b"<script>alert(1)</script>", np.uint8), "ends": [10, 25]},
    "files in words": {"files": ["a", "b"]},
}


@pytest.mark.parametrize("kind", FILES_DAMAGED)
def test_damaged_files_of_pictures_are_refused_with_their_path(tmp_path: Path, kind: str) -> None:
    RunFolder(tmp_path).add_samples(large_samples([1, 2]))
    rewrite(tmp_path / SAMPLES, **FILES_DAMAGED[kind])
    with pytest.raises(StoreError, match=r"samples\.npz"):
        read_samples(tmp_path / SAMPLES)


SAMPLES_DAMAGED: dict[str, dict[str, Any]] = {
    "newer": {"schema": 99},
    "schema in words": {"schema": "one"},
    "two schemas": {"schema": [1, 1]},
    "one id": {"ids": 1},
    "ids in words": {"ids": ["1", "2"]},
    "a name too few": {"names": ["a"]},
    "names that are numbers": {"names": [1, 2]},
    "grey pictures": {"pictures": np.zeros((2, 32, 32), np.uint8)},
    "pictures with alpha": {"pictures": np.zeros((2, 32, 32, 4), np.uint8)},
    "pictures of floats": {"pictures": np.zeros((2, 32, 32, 3), np.float32)},
    "wide pictures": {"pictures": np.zeros((2, 32, 32, 3), np.uint16)},
    "a label below 0": {"labels": [0, -1]},
}


@pytest.mark.parametrize("kind", SAMPLES_DAMAGED)
def test_damaged_samples_are_refused_with_their_path(tmp_path: Path, kind: str) -> None:
    RunFolder(tmp_path).add_samples(make_samples([1, 2]))
    rewrite(tmp_path / SAMPLES, **SAMPLES_DAMAGED[kind])
    with pytest.raises(StoreError, match=r"samples\.npz"):
        read_samples(tmp_path / SAMPLES)


def test_a_sample_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / SAMPLES).write_bytes(b"PK")
    with pytest.raises(StoreError, match=r"samples\.npz cannot be read"):
        RunFolder(tmp_path).add_samples(make_samples([1]))


@pytest.mark.parametrize(
    ("device", "fp32"),
    [
        ("AMD EPYC 7763 64-Core Processor, 2 threads", "ieee"),
        ("Intel(R) Xeon(R) Processor, 1 thread", "ieee"),
        ("Apple GPU of arm64", "ieee"),
        ("NVIDIA H200", "tf32"),
    ],
)
def test_a_cell_that_does_not_say_how_fp32_was_multiplied_is_ieee_but_on_cuda(
    device: str, fp32: str, cell_file: Path
) -> None:
    head = json.loads(str(read_npz(cell_file, ("head",))["head"]))
    assert head.pop("fp32") == "ieee"
    rewrite(cell_file, head=json.dumps({**head, "device": device}))
    old = read_cell(cell_file)
    assert old.fp32 == fp32 and same_cell(old, make_cell([(3, 1)])) is (fp32 == "ieee")


# --- what earlier versions wrote, and maps that stay on disk -------------------------------------------------


def test_pictures_in_files_of_schema_2_which_had_logits_are_read(tmp_path: Path) -> None:
    RunFolder(tmp_path).add_samples(large_samples([1, 2]))
    rewrite(tmp_path / SAMPLES, schema=2, logits=np.zeros((2, 3), np.float32))
    found = read_samples(tmp_path / SAMPLES)
    assert found is not None and found.ids.tolist() == [1, 2] and "logits" not in vars(found)


def test_a_cell_of_schema_1_is_read_without_its_logits_and_written_without_them(cell_file: Path) -> None:
    head = {**json.loads(str(read_npz(cell_file, ("head",))["head"])), "schema": 1}
    rewrite(cell_file, head=json.dumps(head), logits=np.zeros((2, 3), np.float32))
    old = read_cell(cell_file)
    assert old.schema == 1 and np.array_equal(old.raw, make_cell([(0, 0), (1, 2)]).raw[[0, 1]])
    write_cell(cell_file, merge_cells(old, make_cell([(3, 1)])))
    with np.load(cell_file, allow_pickle=False) as file:
        assert "logits" not in file.files and json.loads(str(file["head"]))["schema"] == CELL_SCHEMA


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the maps of small cells stay on disk."""
    monkeypatch.setattr("bench.store.files.WHOLE", 0)
    monkeypatch.setattr("bench.store.on_disk.WHOLE", 0)
    monkeypatch.setattr("bench.store.on_disk.AT_ONCE", 64)  # two maps of a cell here


MANY = [(each, of) for each in range(9) for of in range(3)]


@pytest.mark.usefixtures("on_disk")
@pytest.mark.parametrize(
    "key", [3, -1, slice(2, 9), slice(None, None, 5), slice(4, 4), [7, 3, 4, 5, 3], np.arange(27) % 4 == 1], ids=str
)
def test_maps_that_stay_on_disk_give_the_rows_that_an_array_gives(tmp_path: Path, key: Any) -> None:
    write_cell(tmp_path / "a.npz", cell := make_cell(MANY))
    found = read_cell(tmp_path / "a.npz").raw
    assert isinstance(found, OnDisk) and (found.shape, found.dtype, len(found)) == ((27, 2, 4), cell.raw.dtype, 27)
    assert np.array_equal(found[key], cell.raw[key])


@pytest.mark.usefixtures("on_disk")
def test_rows_are_merged_from_disk_as_in_memory(tmp_path: Path) -> None:
    old, new = make_cell(MANY[::2]), make_cell(MANY[1:9])
    new = dataclasses.replace(new, raw=-new.raw)
    RunFolder(tmp_path).add_rows(old)
    folder = RunFolder(tmp_path)
    folder.add_rows(new)
    found, expected = folder.cell("gradcam", "layer4"), merge_cells(old, new)
    assert found is not None and isinstance(found.raw, OnDisk)
    assert all(np.array_equal(getattr(found, name), getattr(expected, name)) for name in ("ids", "classes", "raw"))


@pytest.mark.usefixtures("on_disk")
def test_maps_of_a_file_that_was_replaced_or_damaged_meanwhile_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_cell(path, make_cell(MANY))
    found = read_cell(path)
    write_cell(path, make_cell(MANY[:5]))
    with pytest.raises(ChangedError, match=r"a\.npz was changed by another process"):
        found.raw[0]
    content = bytearray(path.read_bytes())
    content[content.index(make_cell(MANY[:1]).raw.tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"a\.npz cannot be read: Bad CRC-32"):
        read_cell(path)


@pytest.mark.usefixtures("on_disk")
def test_no_row_is_read_of_a_cell_whose_ids_alone_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cell(tmp_path / "a.npz", make_cell(MANY))
    monkeypatch.setattr(OnDisk, "taken", lambda *_: pytest.fail("rows were read"))
    assert len(row_keys(read_cell(tmp_path / "a.npz"))) == len(MANY)
