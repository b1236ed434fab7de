"""Timings in turns that a comparison takes by itself. The blocks' clock is a number; no test asserts a time."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import SHORT, call, done
from listening import Listener
from timing_factory import make_timing
from tiny import TINY_FILE, tiny_data, write_images

from bench import api
from bench.commands import paired
from bench.commands.compare import Compared
from bench.commands.paired import EFFORT, serving, without_dear
from bench.commands.timing import LineUp
from bench.errors import RunError, UsageError
from bench.explaining.plan import find_explainers
from bench.machine import environment, host
from bench.request import CompareRequest, TimeRequest
from bench.schema.timing import Timing
from bench.store.timings import read_timings
from bench.timing import runner
from bench.timing.arms import ArmSpec, Subject
from bench.workspace import Workspace

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small runs, one with a few maps of two explainers."""
    folder = tmp_path_factory.mktemp("paired")
    pictures = write_images(folder / "pictures", tiny_data(train=16, test=6))
    for seed, name in enumerate("ab"):
        words = ("train", "--model", TINY_FILE, "--data", str(pictures), "--seed", str(seed), "--run", name)
        done(*words, *SHORT, runs=folder / "runs")
    done("explain", "a", "--explainer", "gradcam,captum", "--limit", "2", runs=folder / "runs")
    return folder / "runs"


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of them; every block takes 10 ms, whatever the machine is busy with."""
    monkeypatch.setattr(runner, "busy_words", lambda *_, **__: "")
    monkeypatch.setattr(runner, "taker", lambda block: lambda work: (work(), (1, [0.01]))[1])
    return Workspace(runs=Path(shutil.copytree(trained, tmp_path / "runs")), progress=Listener())


def compared(place: Workspace, **asked: Any) -> tuple[Compared, Listener]:
    """A comparison, with a new listener."""
    listener = Listener()
    found = api.compare("a", "b", limit=2, **asked, workspace=dataclasses.replace(place, progress=listener))
    return found, listener


def never(*_: object, **__: object) -> None:
    raise AssertionError("timed")


def test_the_page_comes_first_and_then_its_forward_passes_and_explainers_in_turns(place: Workspace) -> None:
    found, listener = compared(place)
    written, plan = (at for at, line in enumerate(listener.said) if "the page is written" in line or "in turns" in line)
    assert written < plan and str(found.page) in listener.said[written]
    assert "now its speeds: 2 forward passes, 2 explainers at layer3 in turns, about" in listener.said[plan]
    assert found.values is not None and json.loads(found.twin.read_text())["speeds"]
    (speeds,) = found.values.speeds
    assert [one.arm.name for one in speeds.arms] == [
        "forward[a]", "forward[b]", "explain[a,captum,layer3]", "explain[a,gradcam,layer3]",
    ]  # fmt: skip
    assert (speeds.batch_size, speeds.rounds, speeds.limits) == (16, 12, ())
    assert [badge.text for badge in found.values.badges if "speeds" in badge.text] == [
        f"speeds paired: timing {speeds.id}"
    ]
    assert speeds.id in found.page.read_text()


def test_what_was_measured_of_these_weights_is_used_again_and_time_adds_the_training_step(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared(place)
    more, _ = compared(place, time="5m")
    (first, second) = read_timings(place.runs)
    assert more.values is not None and more.values.speeds[0].id == second.id != first.id
    assert {"train[a]", "train[b]"} <= {arm.name for arm in second.arms} and second.budget_seconds == 300
    monkeypatch.setattr(paired, "timed", never)
    again, listener = compared(place)
    assert again.values is not None and again.values.speeds == more.values.speeds
    assert listener.said[-1] == f"speeds are those of timing {second.id}: the same weights on this machine"


@pytest.mark.parametrize(
    "asked", [{"no_time": True}, {"compute": False}, {"dry_run": True}, {"fail_if": "accuracy[a] < 0"}]
)
def test_no_speeds_are_measured_where_nobody_wants_them(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    monkeypatch.setattr(paired, "timed", never)
    found, listener = compared(place, **asked)
    assert not listener.warned and (found.values is None or found.values.speeds == ())
    assert ("then their speeds, in turns: at most 60 s" in listener.said) == ("dry_run" in asked)


@pytest.mark.parametrize("off", ["--no-time", "--no-compute"])
def test_time_and_no_time_exclude_each_other_before_anything_is_done(off: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--time and {off} cannot be used together"):
        _ = CompareRequest(["a", "b"], time="5m", no_time=off == "--no-time", compute=off != "--no-compute").timed


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (RuntimeError("boom"), "no speeds on the page, they could not be measured: RuntimeError: boom"),
        (RunError("too odd"), "no speeds on the page, they could not be measured: too odd"),
    ],
)
def test_what_cannot_be_timed_does_not_lose_the_page(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, reason: Exception, words: str
) -> None:
    def fails(*_: object) -> Timing:
        raise reason

    monkeypatch.setattr(paired, "timed", fails)
    found, listener = compared(place)
    assert listener.warned == [words] and "</html>" in found.page.read_text()


def test_ctrl_c_during_the_timings_leaves_the_page_whole(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Timing:
        raise KeyboardInterrupt

    monkeypatch.setattr(paired, "timed", interrupted)
    result = call("compare", "a", "b", "--limit", "2", runs=place.runs)
    (page,) = (place.runs / "compare").glob("1/index.html")
    assert result.exit_code == 130 and f"the page is written: {page.resolve()}" in result.stderr
    assert page.read_text().rstrip().endswith("</html>") and json.loads(page.with_name("page.json").read_text())["runs"]
    assert not list(page.parent.glob("*.tmp")) and not list((place.runs / "timing").glob("*"))


def test_what_would_take_far_too_long_is_not_begun_and_what_to_type_is_said(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "calls_of", lambda line, asked: {one.name: 20.0 for one in line.arms})
    monkeypatch.setattr(paired, "timed", never)
    found, listener = compared(place)
    assert found.page.is_file()
    assert listener.warned == ["no speeds on the page: they would take about 72 min; --time 73m measures them"]


# --- who is timed, and what serves ---------------------------------------------------------------------------


def line_of(*explainers: str) -> LineUp:
    """Two models, and explainers on the first."""
    subjects = {name: Subject(name, "net", torch.nn.Identity(), 32, f"sha-{name}") for name in "ab"}
    arms = [ArmSpec("forward", name) for name in subjects]
    arms += [ArmSpec("explain", "a", name, "layer3", name) for name in explainers]
    return LineUp(tuple(arms), subjects, find_explainers(explainers, Workspace()) if explainers else {}, CPU,
                  effort=EFFORT)  # fmt: skip


@pytest.mark.parametrize(
    ("call_seconds", "left"),
    [
        (0.01, ["gradcam", "smoothgrad", "occlusion"]),  # all fits
        (0.1, ["gradcam", "smoothgrad"]),
        (0.2, ["gradcam"]),
        (9.0, ["gradcam"]),  # what is cheap stays, with fewer rounds
    ],
)
def test_dear_explainers_make_room_for_the_ranking_of_the_others(call_seconds: float, left: list[str]) -> None:
    line, listener = line_of("gradcam", "smoothgrad", "occlusion"), Listener()
    passes = {"": 1.0, "gradcam": 2.0, "smoothgrad": 11.0, "occlusion": 64.0}
    calls = {one.name: call_seconds * passes[one.explainer] for one in line.arms}
    asked = TimeRequest(run=["a", "b"], budget=90.0, layer="layer3")
    found = without_dear(line, asked, calls, workspace=Workspace(progress=listener))
    assert [one.explainer for one in found.arms if one.explainer] == left
    assert len(listener.said) == (len(left) < 3)
    if left == ["gradcam"]:
        assert "; bench time a b --what explain --explainer occlusion,smoothgrad --layer layer3" in listener.said[0]


def here(line: LineUp) -> Timing:
    """A timing of a line-up on this machine."""
    on = environment(CPU)
    models = {name: {"model": "net", "checkpoint": f"sha-{name}"} for name in "ab"}
    plain = make_timing(
        {"a": [0.1] * 12, "b": [0.1] * 12}, models=models, host=host(), device=on.device, threads=on.threads,
        versions=on.versions, batch_size=16, fp32="ieee", budget_seconds=60.0,
    )  # fmt: skip
    arms = tuple(dataclasses.replace(plain.arms[0], name=one.name) for one in line.arms)
    return dataclasses.replace(plain, arms=arms)


CHANGES: dict[str, Callable[[Timing], dict[str, Any]]] = {
    "of other weights": lambda one: {"models": {**one.models, "b": {"model": "net", "checkpoint": "new"}}},
    "on another machine": lambda one: {"host": "other"},
    "by other versions": lambda one: {"versions": {**one.versions, "torch": "1.0"}},
    "with other threads": lambda one: {"threads": one.threads + 1},
    "of another batch": lambda one: {"batch_size": 64},
    "in TF32": lambda one: {"fp32": "tf32"},
    "without an explainer": lambda one: {"arms": one.arms[:-1]},
    "cut short by a smaller budget": lambda one: {"rounds": 9, "budget_seconds": 30.0},
    "noted in passing": lambda one: {"what": "explain"},
    "on a busy machine": lambda one: {"notes": ("the machine was busy: others took 34% of it during the rounds",)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_timing_of_anything_else_does_not_serve(change: str) -> None:
    line, asked = line_of("gradcam"), TimeRequest(run=["a", "b"], batch_size=16, budget=60.0)
    known = here(line)
    other = dataclasses.replace(known, id="T2", **CHANGES[change](known))
    assert serving([other], line, asked) is None
    assert serving([known, other], line, asked) == known


def test_a_timing_of_more_serves_and_so_does_one_that_the_same_budget_cut_short() -> None:
    line, asked = line_of(), TimeRequest(run=["a", "b"], batch_size=16, budget=60.0)
    more = here(line_of("gradcam"))
    assert serving([more], line, asked) == more
    short = dataclasses.replace(here(line), rounds=7)
    assert serving([short], line, asked) == short
