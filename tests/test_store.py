"""Files are written whole or not at all, and whatever is read may be damaged or hostile."""

import dataclasses
import io
import json
import os
import pickle
import sys
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import nn

import bench
from bench.errors import BenchError, StoreError, UsageError, WriteError
from bench.request import TrainRequest
from bench.schema.page import EpochPoint
from bench.schema.run import DataFacts, Environment, Results, RunRecord
from bench.store import files
from bench.store.files import (
    append_line,
    check_schema,
    read_checkpoint,
    read_lines,
    read_npz,
    read_value,
    sha256,
    write_bytes,
    write_checkpoint,
    write_json,
    write_npz,
)
from bench.store.paths import RECORD
from bench.store.runs import (
    NAME_LENGTH,
    RUN_SCHEMA,
    check_name,
    create_run,
    find_run,
    new_folder,
    read_record,
    run_names,
    updated,
    write_record,
)
from bench.training.checkpoint import new_run


def record(**changes: Any) -> RunRecord:
    plain = RunRecord(
        schema=RUN_SCHEMA,
        name="net-digits-s0-1",
        status="done",
        created="2026-11-21T02:52:00+00:00",
        command="bench train --model net",
        request=TrainRequest("net", epochs=1, origins={"epochs": "flag"}),
        data=DataFacts(name="digits", classes=("<script>", "cat")),
        environment=Environment(versions={"torch": "2"}),
        results=Results(accuracy=0.5),
        artefacts={"checkpoint.safetensors": "0" * 64},
    )
    return dataclasses.replace(plain, **changes)


def make_run(runs: Path, name: str) -> Path:
    folder = runs / name
    folder.mkdir(parents=True)
    write_record(folder, record(name=name))
    return folder


# --- writing -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("synced")
def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "c.bin", b"\0\xff")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"\0\xff"


def fail(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("owner", "step"), [(os, "fsync"), (Path, "replace"), (Path, "chmod")], ids=str)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str
) -> None:
    path = tmp_path / "run.json"
    write_bytes(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, fail)
        with pytest.raises(WriteError, match=r"run\.json cannot be written: No space"):
            write_bytes(path, b"new")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_bytes(tmp_path / "run.json", b"new")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("synced")
def test_a_file_is_on_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append("sync"), sync(handle)))
    monkeypatch.setattr(Path, "replace", lambda path, target: (steps.append("rename"), rename(path, target)))
    write_bytes(tmp_path / "run.json", b"new")
    assert steps[:2] == ["sync", "rename"]


@pytest.mark.parametrize("write", [write_json, append_line])
def test_what_json_cannot_say_is_refused_before_anything_is_written(
    tmp_path: Path, write: Callable[[Path, dict[str, float]], None]
) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write(tmp_path / "a.json", {"loss": float("nan"), "rate": float("inf")})
    assert not list(tmp_path.iterdir())


def test_json_keeps_text_of_all_scripts_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"class": "猫 </script>"})
    assert "猫 </script>" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# --- arrays ------------------------------------------------------------------------------------------------


def test_arrays_come_back_bit_for_bit(tmp_path: Path) -> None:
    arrays = {"a": np.array([np.nan, -0.0, np.inf], np.float32), "b": np.arange(6).reshape(2, 3), "c": np.array("text")}
    write_npz(tmp_path / "a.npz", arrays)
    found = read_npz(tmp_path / "a.npz", ("a", "b", "c"))
    assert {name: (each.dtype, each.tobytes()) for name, each in found.items()} == {
        name: (each.dtype, each.tobytes()) for name, each in arrays.items()
    }


def test_objects_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"array 'a' .* holds objects"):
        write_npz(tmp_path / "a.npz", {"a": np.array([{}], dtype=object)})
    assert not list(tmp_path.iterdir())


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return (open, (str(self.path), "w"))


def test_a_planted_pickle_is_refused_and_does_nothing(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    np.savez(tmp_path / "bomb.npz", ids=np.array([Bomb(planted)], dtype=object))
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Bomb(planted)))
    for name in ("bomb.npz", "bare.npz"):
        with pytest.raises(StoreError, match=f"{name} cannot be read"):
            read_npz(tmp_path / name, ("ids",))
    assert not planted.exists()
    np.load(tmp_path / "bomb.npz", allow_pickle=True)["ids"]
    assert planted.exists(), "the bomb itself works"


def whole_npz() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, ids=np.arange(100))
    return buffer.getvalue()


DAMAGED = {
    "flipped bits": whole_npz()[:60] + bytes([whole_npz()[60] ^ 0xFF]) + whole_npz()[61:],
    "empty": b"",
    "text": b"not an archive",
    "truncated": whole_npz()[:150],
    "end cut off": whole_npz()[:-10],
    "a bare array": b"\x93NUMPY\x01\x00" + b"\0" * 40,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_array_file_is_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.npz").write_bytes(DAMAGED[kind])
    with pytest.raises(StoreError, match=r"a\.npz cannot be read"):
        read_npz(tmp_path / "a.npz", ("ids",))


def test_an_array_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(whole_npz())
    with pytest.raises(StoreError, match="logits"):
        read_npz(tmp_path / "a.npz", ("ids", "logits"))


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda folder: read_npz(folder / "a.npz", ("ids",)), r"no file .*a\.npz"),
        (read_record, r"no file .*run\.json"),
        (lambda folder: read_checkpoint(folder / "a.safetensors"), r"no checkpoint .*a\.safetensors"),
    ],
)
def test_a_file_that_is_not_there_is_named(tmp_path: Path, read: Callable[[Path], object], words: str) -> None:
    with pytest.raises(StoreError, match=words):
        read(tmp_path)


# --- schemas -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [None, "1", 0, -1, True, 1.0, [1]])
def test_a_schema_that_is_no_number_is_refused_with_its_value(schema: object) -> None:
    with pytest.raises(StoreError, match=r"a\.json has no schema number"):
        check_schema({"schema": schema}, 3, Path("a.json"))


def test_a_newer_schema_says_what_reads_it() -> None:
    with pytest.raises(StoreError, match=r"a\.json has schema 4, this bench reads up to 3") as error:
        check_schema({"schema": 4}, 3, Path("a.json"))
    assert "upgrade" in error.value.try_


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_an_older_or_equal_schema_is_read(schema: int) -> None:
    check_schema({"schema": schema}, 3, Path("a.json"))


# --- names -------------------------------------------------------------------------------------------------

HOSTILE_NAMES = [
    "", ".", "..", "../x", "a/b", "/etc", "a\\b", "a b", "a\n", "a\0", "-rf", ".hidden", "a.", "x" * 61, "x" * 100,
    "latest", "compare", "timing", "show", "LATEST", "ſhow", "\u212aelvin", "é", "~", "a:b", "<script>",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_is_no_harmless_folder_is_refused_and_makes_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a run's name"):
        create_run(tmp_path / "runs", model="net", data="digits", seed=0, name=name)
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]


@pytest.mark.parametrize("name", ["a", "x" * 60, "My_run-2.1+b", "1", "a..b"])
def test_a_harmless_name_is_taken_as_it_is(name: str) -> None:
    assert check_name(name) == name


@given(st.text(max_size=80))
def test_every_accepted_name_is_one_folder_of_plain_characters(name: str) -> None:
    try:
        check_name(name)
    except UsageError:
        return
    assert name.isascii() and len(name) <= NAME_LENGTH
    assert (Path("runs") / name).parent == Path("runs") and Path(name).name == name


# --- making runs -------------------------------------------------------------------------------------------


def test_a_run_is_named_after_model_data_and_seed_and_counted_up(tmp_path: Path) -> None:
    made = [create_run(tmp_path, model="net", data="digits", seed=seed, name=None).name for seed in (0, 0, 3, 0)]
    assert made == ["net-digits-s0-1", "net-digits-s0-2", "net-digits-s3-1", "net-digits-s0-3"]


def test_a_run_takes_the_name_asked_for_and_never_a_folder_that_is_there(tmp_path: Path) -> None:
    folder = create_run(tmp_path, model="net", data="digits", seed=0, name="mine")
    assert folder == tmp_path / "mine" and folder.is_dir()
    (folder / "notes.txt").write_text("somebody's own")
    with pytest.raises(UsageError, match="run 'mine' exists already"):
        create_run(tmp_path, model="net", data="digits", seed=0, name="mine")
    (tmp_path / "net-digits-s0-1").write_text("a file, not a run")
    assert create_run(tmp_path, model="net", data="digits", seed=0, name=None).name == "net-digits-s0-2"


@given(model=st.text(min_size=1, max_size=90), data=st.text(min_size=1, max_size=90), seed=st.integers(0, 2**63))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_default_name_is_a_name(
    tmp_path_factory: pytest.TempPathFactory, model: str, data: str, seed: int
) -> None:
    runs = tmp_path_factory.mktemp("runs")
    first, second = (create_run(runs, model=model, data=data, seed=seed, name=None).name for _ in range(2))
    assert first.endswith(f"-s{seed}-1") and second.endswith(f"-s{seed}-2")
    assert check_name(first) == first and first[:-1] == second[:-1]


def test_a_default_name_keeps_model_and_data_where_both_fit(tmp_path: Path) -> None:
    model, data = "torchvision_resnet18", "cifar10-jpeg-of-2026-november1"
    assert create_run(tmp_path, model=model, data=data, seed=0, name=None).name == f"{model}-{data}-s0-1"


def test_a_page_takes_the_number_above_the_highest(tmp_path: Path) -> None:
    (tmp_path / "pages" / "7").mkdir(parents=True)
    (tmp_path / "pages" / "latest").mkdir()
    assert new_folder(tmp_path / "pages") == tmp_path / "pages" / "8"
    assert new_folder(tmp_path / "none") == tmp_path / "none" / "1" and (tmp_path / "none" / "1").is_dir()


def test_a_number_that_another_process_takes_between_look_and_making_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def outrun(path: Path, **options: Any) -> None:
        if path.name in ("1", "net-digits-s0-1"):
            make(path)
        make(path, **options)

    monkeypatch.setattr(Path, "mkdir", outrun)
    assert new_folder(tmp_path).name == "2"
    assert create_run(tmp_path, model="net", data="digits", seed=0, name=None).name == "net-digits-s0-2"


BROKEN_OFF = 9  # how a process of the next test ends there


@pytest.mark.slow
@pytest.mark.parametrize("killed", [True, False], ids=["SIGKILL", "SIGINT"])
def test_a_name_works_again_whenever_the_making_of_its_run_was_broken_off(tmp_path: Path, *, killed: bool) -> None:
    """At every line of bench and of the standard library's temporary files."""
    make = partial(new_run, model="net", data="digits", seed=0, name="mine")
    places = (str(Path(bench.__file__).parent), tempfile.__file__)
    with make(tmp_path / "whole"):
        pass  # what is imported late is there now

    def broken_off(runs: Path, last: int) -> bool:
        """Whether a process ended at that line, and not after all of them."""
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == BROKEN_OFF
        lines = count(1)

        def counted(frame: FrameType, event: str, _: object) -> Any:
            if not frame.f_code.co_filename.startswith(places):
                return None
            if event == "line" and next(lines) == last:
                if killed:
                    os._exit(BROKEN_OFF)
                raise KeyboardInterrupt
            return counted

        sys.settrace(counted)
        try:
            with make(runs):
                sys.settrace(None)
            os._exit(0)
        except BaseException:
            os._exit(BROKEN_OFF)

    for last in count(1):
        runs = tmp_path / str(last)
        whole = not broken_off(runs, last)
        left = [] if killed or whole else [path.name for path in runs.glob("mine/*")]
        assert not left, "Ctrl-C leaves at most an empty folder"
        with make(runs) as folder:
            assert {path.name for path in folder.iterdir()} == {".training.lock", ".training.pid"}
        if whole:
            break
    assert last > 50


def test_a_run_that_ends_while_its_name_is_asked_for_is_no_remnant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path, "mine")
    write_record(folder, record(name="mine", status="running"))

    def ending(asked: Path) -> None:
        """Nobody works there: the process that did has just written its result."""
        write_record(asked, record(name="mine"))

    monkeypatch.setattr("bench.store.runs.trainer_of", ending)
    with pytest.raises(UsageError, match="exists already"):
        create_run(tmp_path, model="net", data="digits", seed=0, name="mine")
    assert read_record(folder).status == "done"


# --- finding runs ------------------------------------------------------------------------------------------


def test_a_run_is_found_by_name_path_and_latest(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "mine")
    (tmp_path / "latest").write_text("mine\n")
    assert [find_run(tmp_path, name) for name in ("mine", str(folder), "latest")] == [folder] * 3
    (tmp_path / "latest").write_text("gone")
    with pytest.raises(StoreError, match="no run 'gone'"):
        find_run(tmp_path, "latest")


def test_a_run_that_is_not_there_offers_the_nearest(tmp_path: Path) -> None:
    make_run(tmp_path, "net-digits-s0-1")
    with pytest.raises(StoreError, match=r"no run 'net-digit-s0-1'.*did you mean 'net-digits-s0-1'") as error:
        find_run(tmp_path, "net-digit-s0-1")
    assert error.value.try_ == "bench list runs"


def test_without_any_run_the_hint_is_to_train(tmp_path: Path) -> None:
    for name in ("mine", "latest"):
        with pytest.raises(StoreError) as error:
            find_run(tmp_path / "runs", name)
        assert error.value.try_.startswith("bench train")


@pytest.mark.parametrize("content", [b"../../etc", b"/etc/passwd", b"", b"latest", b"\xff\xfe\0", b"x" * 500, b"a\nb"])
def test_a_hostile_latest_is_an_error_that_shows_it(tmp_path: Path, content: bytes) -> None:
    make_run(tmp_path, "mine")
    (tmp_path / "latest").write_bytes(content)
    with pytest.raises(StoreError, match="latest names no run") as error:
        find_run(tmp_path, "latest")
    assert len(error.value.message) < 300 and error.value.message.isprintable()


def test_run_names_are_the_folders_with_a_record(tmp_path: Path) -> None:
    for name in ("b", "a"):
        make_run(tmp_path, name)
    (tmp_path / "compare" / "1").mkdir(parents=True)
    (tmp_path / "latest").write_text("a")
    assert (run_names(tmp_path), run_names(tmp_path / "absent")) == (["a", "b"], [])


# --- records -----------------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    assert read_record(tmp_path) == record()


def test_a_record_is_changed_in_place(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    changed = updated(tmp_path, lambda one: dataclasses.replace(one, status="failed"))
    assert changed.status == "failed" and read_record(tmp_path) == changed


Change = Callable[[dict[str, Any]], object]
BAD_RECORDS: dict[str, tuple[Change, str]] = {
    "a field is missing": (lambda raw: raw.pop("command"), "command: .*required"),
    "a field has another type": (
        lambda raw: raw["request"].update(epochs="many"),
        r"request.train.epochs: .*found 'many'",
    ),
    "a section is a list": (lambda raw: raw.update(results=[0.5]), r"results: .*found \[0.5\]"),
    "a value in a mapping has another type": (
        lambda raw: raw["request"]["origins"].update(epochs=3),
        r"request.train.origins.epochs: .*found 3",
    ),
    "newer schema": (lambda raw: raw.update(schema=99), "schema 99, this bench reads up to 2"),
    "no schema": (lambda raw: raw.pop("schema"), "no schema number: None"),
    "a very long value": (lambda raw: raw.update(name=[0] * 9999), r"name: .{0,120}$"),
}


@pytest.mark.parametrize("kind", BAD_RECORDS)
def test_a_bad_record_is_refused_with_path_field_and_value(tmp_path: Path, kind: str) -> None:
    change, words = BAD_RECORDS[kind]
    raw = json.loads(json.dumps(record().as_json()))
    change(raw)
    (tmp_path / RECORD).write_text(json.dumps(raw))
    with pytest.raises(StoreError, match=rf"run\.json.* {words}|run\.json: {words}"):
        read_record(tmp_path)


NO_RECORDS = {
    "text": b"{half",
    "empty": b"",
    "bytes": b"\xff\xfe\x00",
    "list": b"[1, 2]",
    "null": b"null",
    "deep": b'{"schema": 2, "request": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a huge number": b'{"schema": ' + b"1" * 5000 + b"}",
}


@pytest.mark.parametrize("kind", NO_RECORDS)
def test_what_is_no_json_object_is_refused_with_its_path(tmp_path: Path, kind: str) -> None:
    (tmp_path / RECORD).write_bytes(NO_RECORDS[kind])
    with pytest.raises(StoreError, match=r"run\.json (is not JSON|holds)"):
        read_record(tmp_path)


def test_a_folder_in_the_place_of_a_record_is_named(tmp_path: Path) -> None:
    (tmp_path / RECORD).mkdir()
    with pytest.raises(StoreError, match=r"run\.json"):
        read_record(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(field=st.sampled_from([each.name for each in dataclasses.fields(RunRecord)]), value=JSON)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_field_holds_is_a_record_or_a_store_error(tmp_path: Path, field: str, value: object) -> None:
    (tmp_path / RECORD).write_text(json.dumps(record().as_json() | {field: value}))
    try:
        assert isinstance(read_record(tmp_path), RunRecord)
    except StoreError as error:
        assert RECORD in error.message


def test_any_value_of_the_contracts_is_read_and_checked(tmp_path: Path) -> None:
    point = EpochPoint(1, 2.0, 0.5, None, None, 100.0, 0.1)
    write_json(tmp_path / "point.json", {"schema": 1, **dataclasses.asdict(point)})
    assert read_value(tmp_path / "point.json", EpochPoint, 1) == point


# --- logs --------------------------------------------------------------------------------------------------


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    for epoch in (1, 2):
        append_line(tmp_path / "log.jsonl", {"epoch": epoch, "note": "a\u2028b\n"})
    assert read_lines(tmp_path / "log.jsonl") == [{"epoch": each, "note": "a\u2028b\n"} for each in (1, 2)]


def test_a_last_line_that_was_cut_is_left_out_and_one_after_it_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2, "lo')
    assert read_lines(path) == [{"epoch": 1}]
    append_line(path, {"epoch": 2})
    assert read_lines(path) == [{"epoch": 1}, {"epoch": 2}]


@pytest.mark.parametrize("line", ["[1]", "3", "null", "\xff", "[" * 100_000, ""])
def test_a_line_that_is_no_object_is_left_out(tmp_path: Path, line: str) -> None:
    (tmp_path / "log.jsonl").write_text(f'{line}\n{{"epoch": 1}}\n', encoding="latin-1")
    assert read_lines(tmp_path / "log.jsonl") == [{"epoch": 1}]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "log.jsonl") == []


# --- weights -----------------------------------------------------------------------------------------------

METADATA = {"classes": ["<b>", "猫"], "mean": [0.1, 0.2, 0.3]}


def test_a_checkpoint_comes_back_bit_for_bit_with_its_metadata(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    net[0].weight.data[0, 0, 0, :2] = torch.tensor([float("nan"), -0.0])
    digest = write_checkpoint(tmp_path / "a.safetensors", net.state_dict(), METADATA)
    state, head = read_checkpoint(tmp_path / "a.safetensors")
    assert (digest, head) == (sha256(tmp_path / "a.safetensors"), {"schema": 1, **METADATA})
    assert {key: (each.dtype, each.numpy().tobytes()) for key, each in state.items()} == {
        key: (each.dtype, each.contiguous().numpy().tobytes()) for key, each in net.state_dict().items()
    }


def test_the_same_weights_make_the_same_file(tmp_path: Path) -> None:
    state = nn.Linear(2, 2).state_dict()
    assert len({write_checkpoint(tmp_path / f"{name}.safetensors", state, METADATA) for name in "ab"}) == 1


def test_tied_weights_are_written_under_both_keys(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    write_checkpoint(tmp_path / "a.safetensors", net.state_dict(), METADATA)
    state, _ = read_checkpoint(tmp_path / "a.safetensors")
    assert torch.equal(state["0.weight"], net[0].weight) and torch.equal(state["1.weight"], net[0].weight)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "a.safetensors", nn.Linear(2, 2).state_dict(), METADATA)
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("content", [0, 5, 100, -4, b"garbage", b"\xff" * 64, b"PK\x03\x04" + b"\0" * 60])
def test_a_part_of_a_checkpoint_and_a_file_of_another_kind_are_none(checkpoint: Path, content: bytes | int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:content] if isinstance(content, int) else content)
    with pytest.raises(StoreError, match=r"a\.safetensors is not a safetensors file"):
        read_checkpoint(checkpoint)


def test_a_pickled_checkpoint_is_refused_and_does_nothing(checkpoint: Path, tmp_path: Path) -> None:
    torch.save(Bomb(tmp_path / "planted"), checkpoint)
    with pytest.raises(StoreError):
        read_checkpoint(checkpoint)
    assert not (tmp_path / "planted").exists()


FOREIGN: list[dict[str, str] | None] = [None, {"bench": "null"}, {"bench": "[]"}, {"other": "{}"}]
BAD_HEADERS = ("{half", '{"classes": []}', '{"schema": 99}', '{"schema": "1"}', "[" * 100_000)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        *((header, r"a\.safetensors was not written by bench") for header in FOREIGN),
        *(({"bench": header}, r"a\.safetensors") for header in BAD_HEADERS),
    ],
)
def test_weights_that_bench_did_not_write_and_bad_headers_are_refused(
    checkpoint: Path, header: dict[str, str] | None, words: str
) -> None:
    from safetensors.torch import save_file

    save_file(nn.Linear(2, 2).state_dict(), checkpoint, metadata=header)
    with pytest.raises(StoreError, match=words):
        read_checkpoint(checkpoint)


def test_every_error_of_reading_is_one_that_the_user_is_told() -> None:
    assert issubclass(StoreError, BenchError) and StoreError("x").exit_code == 4


# --- what a file says of its sizes --------------------------------------------------------------------------


def npz(path: Path, *, header: bytes, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    """A file with one array, "ids", of which the header says what it likes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("ids.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content)


HOSTILE_ARRAYS = {
    "unpacked to more": ("(4000000,)", b"|u1", bytes(4_000_000), zipfile.ZIP_DEFLATED, "would unpack to 4,000,"),
    "says more": ("(4000000000,)", b"<i8", bytes(80), zipfile.ZIP_DEFLATED, r"says \(4000000000,\) int64 and has"),
    "says less": ("(1,)", b"<i8", bytes(80), zipfile.ZIP_DEFLATED, r"says \(1,\) int64 and has"),
    "wide text": ("(2,)", b"<U500000000", bytes(80), zipfile.ZIP_DEFLATED, r"says \(2,\)"),
    "below nothing": ("(-1, 1)", b"<i8", b"", zipfile.ZIP_DEFLATED, r"says \(-1, 1\)"),
    "packed without a bound": ("(10,)", b"<i8", bytes(80), zipfile.ZIP_LZMA, "would unpack"),
    "objects": ("(1,)", b"|O", bytes(8), zipfile.ZIP_DEFLATED, "Object arrays"),
}


@pytest.mark.parametrize("name", HOSTILE_ARRAYS)
def test_what_an_array_says_of_its_size_is_checked_before_memory_is_taken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "UNPACKED", 2_000_000)
    shape, kind, content, method, words = HOSTILE_ARRAYS[name]
    header = b"{'descr': '%s', 'fortran_order': False, 'shape': %s}\n" % (kind, shape.encode())
    npz(tmp_path / "x.npz", header=header, content=content, method=method)
    size = (tmp_path / "x.npz").stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(StoreError, match=words):
            read_npz(tmp_path / "x.npz", ("ids",))
        assert tracemalloc.get_traced_memory()[1] < 2**20 + size
    finally:
        tracemalloc.stop()


def test_a_real_file_of_zeros_is_read(tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", {"ids": np.zeros(2_000_000)})
    assert read_npz(tmp_path / "x.npz", ("ids",))["ids"].shape == (2_000_000,)
