"""The demo: one line from nothing to a page that shows a wrong map, and what it does the second time."""

import json
from collections.abc import Iterator
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


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[pytest.MonkeyPatch]:
    """The demo with small nets, few images, a short recipe and a clock of numbers; all else is the same.

    The second of the nets overwrites what a layer gave.
    """
    with pytest.MonkeyPatch.context() as patch:
        few_digits(patch)
        patch.setattr(bench.commands.demo, "MODELS", tuple(NAMES))
        patch.setattr(bench.commands.demo, "LAYERS", ("layer3", "layer4.3.bn2"))
        patch.setattr(bench.commands.demo, "name_of", NAMES.get)
        patch.setattr(bench.commands.train, "recipe_of", lambda name: replace(QUICK, epochs=1))
        patch.setattr(runner, "busy_words", lambda *_, **__: "")
        patch.setattr(runner, "taker", lambda block: lambda work: (work(), (1, [0.01]))[1])
        yield patch


@pytest.fixture(scope="module")
def made(small: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The runs of a first demo, and what it printed.

    All maps are made on the CPU, where the fault is: none is left that `compare` would make on another device.
    """
    runs = tmp_path_factory.mktemp("demo") / "runs"
    result = done("demo", runs=runs)
    assert "to make" not in result.stderr
    return runs, result.stdout.splitlines()


def test_the_demo_finds_and_shows_the_wrong_map_and_ends_in_its_findings_and_the_page(
    made: tuple[Path, list[str]],
) -> None:
    runs, (*_, accuracy, _, wrong, why, speed, _, page) = made
    assert "accuracy" in accuracy or "right more often" in accuracy
    assert wrong.startswith("- gradcam_shipped at layer4.3.bn2 of tiny.py:IN_PLACE ") and wrong.endswith(
        "gives wrong maps"
    )
    assert "overwritten in place" in why and "speed" in speed
    assert [read_record(runs / name).settings["seed"] for name in NAMES.values()] == [0, 1]
    twin = json.loads(Path(page).with_name("page.json").read_text())
    judged = {(one["run"], one["verdict"]["explainer"], one["verdict"]["layer"]): one["verdict"]["verdict"]
              for one in twin["verdicts"]}  # fmt: skip
    assert [key for key, verdict in judged.items() if verdict == "wrong"] == [(1, "gradcam_shipped", "layer4.3.bn2")]
    beside = [each for each in twin["cells"] if (each["run"], each["layer"]) == (1, "layer4.3.bn2")]
    assert {(each["explainer"], each["missing"]) for each in beside} == {
        ("gradcam", 0), ("captum", 0), ("gradcam_shipped", 0),
    }  # fmt: skip


def test_the_second_demo_trains_and_times_nothing_and_makes_another_page(made: tuple[Path, list[str]]) -> None:
    runs, printed = made
    before = [read_record(runs / name) for name in NAMES.values()]
    second = bench.api.demo(workspace=Workspace(runs=runs))
    assert second.runs == tuple(NAMES.values())
    assert [read_record(runs / name) for name in second.runs] == before and len(read_timings(runs)) == 1
    assert second.page.parent.name == "2" and Path(printed[-1]).parent.name == "1" and Path(printed[-1]).is_file()
    told = [line for one in second.findings for line in (f"- {one.text}", f"    {one.evidence}")]
    assert told == [line.replace("\u00a0", " ") for line in printed[-7:-1]]


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
