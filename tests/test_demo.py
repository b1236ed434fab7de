"""The demo: one line from nothing to a page that shows a wrong map, and what it does the second time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import done
from pictures import few_digits
from tiny import IN_PLACE_FILE, QUICK, RESIDUAL_FILE

import bench.api
import bench.commands.demo
import bench.commands.train
from bench.commands.demo import most_telling
from bench.schema.page import Finding
from bench.store.runs import read_record
from bench.store.timings import read_timings
from bench.timing import runner
from bench.workspace import Workspace

NAMES = {RESIDUAL_FILE: "demo-residual", IN_PLACE_FILE: "demo-in-place"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo with small nets, few images, a short recipe and a clock of numbers; all else is the same.

    The second of the nets overwrites what a layer gave.
    """
    few_digits(monkeypatch)
    monkeypatch.setattr(bench.commands.demo, "MODELS", tuple(NAMES))
    monkeypatch.setattr(bench.commands.demo, "LAYERS", ("layer3", "layer4.3.bn2"))
    monkeypatch.setattr(bench.commands.demo, "name_of", NAMES.get)
    monkeypatch.setattr(bench.commands.train, "recipe_of", lambda name: replace(QUICK, epochs=1))
    monkeypatch.setattr(runner, "taker", lambda block: lambda work: (work(), (1, [0.01]))[1])


@pytest.mark.usefixtures("small")
def test_the_demo_finds_and_shows_the_wrong_map_and_ends_in_its_findings_and_the_page(tmp_path: Path) -> None:
    *_, accuracy, _, wrong, why, speed, _, page = done("demo", runs=tmp_path / "runs").stdout.splitlines()
    assert "accuracy" in accuracy or "right more often" in accuracy
    assert wrong.startswith("- gradcam_shipped at layer4.3.bn2 of tiny.py:IN_PLACE ") and wrong.endswith(
        "gives wrong maps"
    )
    assert "overwritten in place" in why and "speed" in speed
    assert [read_record(tmp_path / "runs" / name).settings["seed"] for name in NAMES.values()] == [0, 1]
    twin = json.loads(Path(page).with_name("page.json").read_text())
    judged = {(one["run"], one["verdict"]["explainer"], one["verdict"]["layer"]): one["verdict"]["verdict"]
              for one in twin["verdicts"]}  # fmt: skip
    assert [key for key, verdict in judged.items() if verdict == "wrong"] == [(1, "gradcam_shipped", "layer4.3.bn2")]
    beside = [each for each in twin["cells"] if (each["run"], each["layer"]) == (1, "layer4.3.bn2")]
    assert {(each["explainer"], each["missing"]) for each in beside} == {
        ("gradcam", 0), ("captum", 0), ("gradcam_shipped", 0),
    }  # fmt: skip


@pytest.mark.usefixtures("small")
def test_the_second_demo_trains_and_times_nothing_and_makes_another_page(tmp_path: Path) -> None:
    place = Workspace(runs=tmp_path / "runs", cache=tmp_path / "cache")
    first = bench.api.demo(workspace=place)
    before = [read_record(place.runs / name) for name in first.runs]
    second = bench.api.demo(workspace=Workspace(runs=place.runs, cache=place.cache))
    assert first.runs == second.runs == tuple(NAMES.values())
    assert [read_record(place.runs / name) for name in first.runs] == before and len(read_timings(place.runs)) == 1
    assert (first.page.parent.name, second.page.parent.name, first.page.is_file()) == ("1", "2", True)
    assert first.findings == second.findings and len(first.findings) == 3


@pytest.mark.usefixtures("small")
def test_a_demo_that_was_interrupted_is_left_and_made_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.commands.demo, "MODELS", (RESIDUAL_FILE,))
    monkeypatch.setattr("bench.commands.compare.paired_timing", lambda *_, **__: None)
    place = Workspace(runs=tmp_path / "runs", cache=tmp_path / "cache")
    (place.runs / "demo-residual").mkdir(parents=True)
    assert bench.api.demo(workspace=place).runs == ("RESIDUAL-digits-s0-1",)


def test_of_each_kind_of_finding_the_first_that_tells_a_difference_is_told() -> None:
    def finding(anchor: str, link: str) -> Finding:
        return Finding("", link, anchor, "", "")

    same, wrong = finding("pairs", "No measurable accuracy difference"), finding("verdicts", "gives wrong maps")
    even, slow, slower = (finding("speed", link) for link in ("No measurable difference", "more slowly", "faster"))
    maps = finding("explainers", "compute the same maps")
    assert most_telling([same, maps, wrong, even, slow, slower]) == (same, wrong, slow)
    assert most_telling([maps, even]) == (even,)
