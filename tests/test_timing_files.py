"""Timing files: what is stored comes back, and the newest that knows the weights is found."""

import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from timing_factory import arm_of, make_timing

from bench.errors import StoreError
from bench.pages.speeds import ratio_words, timing_badge
from bench.store.files import write_json
from bench.store.paths import timing_path
from bench.store.timings import (
    Passed,
    add_timing,
    newest_timing,
    noted,
    rates_of,
    read_timing,
    read_timings,
    timings_of,
    write_timing,
)
from bench.workspace import Workspace

TWO = {"a": [0.04] * 12, "b": [0.05, 0.051, 0.049, 0.05] * 3}


def test_a_timing_comes_back_as_it_was_stored_with_every_sample_in_run_order(tmp_path: Path) -> None:
    timing = make_timing(TWO)
    path = write_timing(tmp_path, timing)
    assert (path, read_timing(path)) == (tmp_path / "timing" / "T1.json", timing)
    stored = [each["arm"] for each in json.loads(path.read_text())["samples"]]
    assert stored == [each.arm for each in timing.samples] and len(set(stored[:2])) == 2


def test_a_newer_or_damaged_timing_is_refused(tmp_path: Path) -> None:
    path = write_timing(tmp_path, make_timing(TWO))
    value = json.loads(path.read_text())
    for changes, words in (({"schema": 3}, "has schema 3"), ({"arms": [{"name": 3}]}, "arms")):
        path.write_text(json.dumps({**value, **changes}))
        with pytest.raises(StoreError, match=words):
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
    first = "forward[a]" if "arm" in change else make_timing(TWO).samples[0].arm
    with pytest.raises(StoreError, match=re.escape(first)):
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


def test_an_old_timing_and_one_of_today_of_the_same_work_are_shown_alike(tmp_path: Path) -> None:
    laps = [(4, 1.0), (4, 0.5), (4, 0.25), (3, 0.5)]
    work = Passed("explain", "run", 4, 8.0, laps, "captum", ("layer3", "layer4"), 2)
    today = noted("explain", [work], {}, image_size=32, device=torch.device("cpu"), workspace=Workspace())
    write_timing(tmp_path, today)
    row = {
        "explainer": "captum", "layers": ["layer3", "layer4"], "targets": 2, "batch_size": 4, "images_per_second": 8.0,
        "samples": laps,
    }  # fmt: skip
    old = {"schema": 1, "id": "old", "what": "explain", "device": today.device, "versions": {}, "rows": [row]}
    write_json(timing_path(tmp_path, "old"), old)
    every = read_timings(tmp_path)
    shown = timings_of(0, every, (), {"old", today.id})
    assert {one.id: one.values for one in shown} == dict.fromkeys(("old", today.id), (4.0, 8.0, 16.0, 6.0))
    assert dataclasses.replace(shown[0], id="") == dataclasses.replace(shown[1], id="")
    cells = {key: dataclasses.replace(arm, name="", model="") for key, arm in rates_of(every).items()}
    assert [cells["old", "captum", layer] == cells[today.id, "captum", layer] for layer in work.layers] == [True, True]


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

    assert (found(run, tmp_path), found(tmp_path)) == ("20260104T", "20260103T")
    assert (found(run, tmp_path, a=None), found(run, tmp_path, a=None, b=None)) == ("20260103T", "20260103T")
    assert found(run, tmp_path, a=None, run=None) is None and found(run, run="c1") == "20260104T"
    assert found(run, run="c2") is None and found(tmp_path / "none") is None


def test_a_timing_that_does_not_say_how_fp32_was_multiplied_used_tf32_on_cuda_alone() -> None:
    old = {kind: make_timing(TWO, device_type=kind).known_fp32 for kind in ("cpu", "mps", "cuda")}
    assert old == {"cpu": "ieee", "mps": "ieee", "cuda": "tf32"}
    assert make_timing(TWO, device_type="cuda", fp32="ieee").known_fp32 == "ieee"


# --- words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "grade", "words"),
    [
        (TWO, "steady", "0.800× (slower), 0.784 to 0.816"),
        ({"a": [0.04] * 12, "b": [0.04, 0.08] * 6}, "unusable", "struck out: spread over 25 %"),
        ({"a": [0.04] * 5, "b": [0.08] * 5}, "steady", "n too small"),
    ],
)
def test_a_ratio_is_told_with_its_interval_or_with_why_there_is_none(
    rounds: dict[str, list[float]], grade: str, words: str
) -> None:
    arm = arm_of(make_timing(rounds), "forward[b]")
    assert (arm.grade, ratio_words(arm.ratio), arm.coverage is None) == (grade, words, len(rounds["a"]) < 6)


def test_a_badge_says_which_timing_and_whether_the_machine_was_busy() -> None:
    assert timing_badge(make_timing(TWO)).text == "speeds paired: timing T1"
    busy = timing_badge(make_timing(TWO, notes=("the machine was busy: others took 34% of it",)))
    assert busy.ok is False and "busy" in busy.text
