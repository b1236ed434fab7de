"""Timing files: what is stored comes back, the newest is found, and what is not paired is said to be."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from timing_factory import make_timing

from bench.errors import StoreError, UsageError
from bench.pages.speeds import ratio_words, timing_badge
from bench.store.paths import timing_path
from bench.store.runs import check_name
from bench.store.timings import (
    Passed,
    add_timing,
    newest_timing,
    not_paired,
    noted,
    read_timing,
    read_timings,
    write_timing,
)
from bench.workspace import Workspace

TWO = {"a": [0.04] * 12, "b": [0.05, 0.051, 0.049, 0.05] * 3}


def test_a_timing_comes_back_as_it_was_stored_with_every_sample_in_run_order(tmp_path: Path) -> None:
    timing = make_timing(TWO)
    path = write_timing(tmp_path, timing)
    assert path == tmp_path / "timing" / "T1.json"
    assert read_timing(path) == timing
    assert [each["arm"] for each in json.loads(path.read_text())["samples"][:5]] == [
        "forward[a]", "forward[b]", "forward[b]", "forward[a]", "forward[b]",
    ]  # fmt: skip


def test_a_newer_or_damaged_timing_is_refused(tmp_path: Path) -> None:
    path = write_timing(tmp_path, make_timing(TWO))
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "schema": 3}))
    with pytest.raises(StoreError, match="has schema 3"):
        read_timing(path)
    path.write_text(json.dumps({**value, "arms": [{"name": 3}]}))
    with pytest.raises(StoreError, match="arms"):
        read_timing(path)


def damaged(value: dict, arm: dict | None = None, sample: dict | None = None) -> dict:
    """The file with its first arm and its first sample changed."""
    first, *arms = value["arms"]
    one, *samples = value["samples"]
    return {**value, "arms": [{**first, **(arm or {})}, *arms], "samples": [{**one, **(sample or {})}, *samples]}


@pytest.mark.parametrize(
    "change",
    [
        {"arm": {"rate": 0.0}},
        {"arm": {"rate": float("nan")}},
        {"arm": {"low": -1.0}},
        {"arm": {"p90": float("inf")}},
        {"arm": {"spread": -0.1}},
        {"arm": {"batch_size": 0}},
        {"arm": {"ratio": {"baseline": "x", "value": 0.0, "low": None, "high": None, "coverage": None, "n": 5,
                           "verdict": "slower"}}},
        {"sample": {"seconds": []}},
        {"sample": {"seconds": [0.0]}},
        {"sample": {"seconds": [float("nan")]}},
        {"sample": {"calls": 0}},
    ],
    ids=str,
)  # fmt: skip
def test_figures_that_no_clock_can_give_are_damage(change: dict[str, dict], tmp_path: Path) -> None:
    path = write_timing(tmp_path, make_timing(TWO))
    path.write_text(json.dumps(damaged(json.loads(path.read_text()), **change)))
    with pytest.raises(StoreError, match="forward\\[a\\]"):
        read_timing(path)
    assert read_timings(tmp_path) == ()


def test_rates_noted_in_passing_come_back_and_a_call_that_also_times_has_both(tmp_path: Path) -> None:
    work = Passed(
        "explain", "run", 4, 8.0, [(4, 1.0), (4, 0.5), (4, 0.25), (3, 0.5)], "captum", ("layer3", "layer4"), 2
    )
    timing = noted("explain", [work], {}, image_size=32, device=torch.device("cpu"), workspace=Workspace())
    add_timing(tmp_path, timing)
    write_timing(tmp_path, make_timing(TWO, id=timing.id))
    assert {one.what: one for one in read_timings(tmp_path)} == {
        "time": make_timing(TWO, id=timing.id), "explain": timing
    }  # fmt: skip
    (arm,) = timing.arms
    assert (arm.rate, arm.n, arm.p10 <= 8.0 <= arm.p90, arm.ratio, arm.low) == (8.0, 4, True, None, None)
    assert [(one.round, one.images, one.seconds) for one in timing.samples] == [
        (0, 4, (1.0,)), (1, 4, (0.5, 0.25)), (1, 3, (0.5,))
    ]  # fmt: skip


def test_no_run_may_be_called_as_the_folder_of_timings() -> None:
    with pytest.raises(UsageError, match="'timing' cannot be a run's name"):
        check_name("timing")


def test_the_newest_timing_that_knows_the_weights_is_found(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name, folder in (("20260101T", tmp_path), ("20260102T", run), ("20260103T", tmp_path)):
        write_timing(folder, make_timing(TWO, id=name))
    write_timing(run, make_timing(TWO, id="20260104T", models={"run": {"model": "net", "checkpoint": "c1"}}))
    work = Passed("explain", "run", 4, 9.0, [(4, 0.5)], "captum", ("layer4",))
    place = Workspace(started=datetime(2026, 1, 5, tzinfo=UTC))
    models = {"run": {"model": "net", "checkpoint": "c1"}}
    write_timing(run, noted("explain", [work], models, image_size=32, device=torch.device("cpu"), workspace=place))
    timing_path(run, "20260106T").write_text("{")
    timing_path(run, "20260107T").write_text('{"schema": 9, "what": "time"}')

    def found(*folders: Path, **models: str | None) -> str | None:
        timing = newest_timing([one for folder in folders for one in read_timings(folder)], models)
        return timing.id if timing else None

    assert found(run, tmp_path) == "20260104T"
    assert found(tmp_path) == "20260103T"
    assert found(run, tmp_path, a=None) == "20260103T"
    assert found(run, tmp_path, a=None, b=None) == "20260103T"
    assert found(run, tmp_path, a=None, run=None) is None
    assert found(run, run="c1") == "20260104T"
    assert found(run, run="c2") is None
    assert found(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"id": "T2"}, "not paired: taken at different times"),
        ({"host": "other"}, "not paired: other hosts"),
        ({"id": "T2", "threads": 1}, "not paired: other threads"),
        ({"id": "T2", "versions": {"torch": "2.1"}}, "not paired: other versions"),
        ({"id": "T2", "batch_size": 8, "device": "GPU"}, "not paired: other devices, batch sizes"),
    ],
)
def test_only_rates_of_one_and_the_same_timing_are_paired(changes: dict[str, object], words: str) -> None:
    assert not_paired(make_timing(TWO), make_timing(TWO, **changes)) == words


def test_another_precision_is_not_paired() -> None:
    first = make_timing(TWO)
    other = dataclasses.replace(
        first, id="T2", arms=tuple(dataclasses.replace(arm, precision="bf16") for arm in first.arms)
    )
    assert not_paired(first, other) == "not paired: other precisions"


# --- words --------------------------------------------------------------------------------------------------


def test_slower_is_written_as_slower_with_its_interval() -> None:
    arm = make_timing(TWO).arm("forward[b]")
    assert arm is not None
    assert ratio_words(arm.ratio) == "0.800× (slower), 0.784 to 0.816"


def test_what_is_spread_too_far_is_struck_out() -> None:
    arm = make_timing({"a": [0.04] * 12, "b": [0.04, 0.08] * 6}).arm("forward[b]")
    assert arm is not None
    assert arm.grade == "unusable"
    assert ratio_words(arm.ratio) == "struck out: spread over 25 %"


def test_five_rounds_have_no_interval_and_no_verdict() -> None:
    arm = make_timing({"a": [0.04] * 5, "b": [0.08] * 5}).arm("forward[b]")
    assert arm is not None
    assert (arm.low, arm.high, arm.coverage) == (None, None, None)
    assert ratio_words(arm.ratio) == "n too small"


def test_a_badge_says_which_timing_and_whether_the_machine_was_busy() -> None:
    assert timing_badge(make_timing(TWO)).text == "speeds paired: timing T1"
    busy = timing_badge(make_timing(TWO, notes=("the machine was busy: others took 34% of it",)))
    assert busy.ok is False
    assert "busy" in busy.text
