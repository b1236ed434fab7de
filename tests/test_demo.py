"""The demo: one line from nothing to a page, and what it does the second time."""

from dataclasses import replace
from pathlib import Path

import pytest
from pictures import few_digits
from tiny import QUICK, TINY_FILE

import bench.api
import bench.commands.demo
import bench.commands.train
from bench.store.runs import read_record
from bench.workspace import Workspace


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo with small nets, few images and a short recipe; what it does with them is the same."""
    few_digits(monkeypatch)
    monkeypatch.setattr(bench.commands.demo, "MODELS", (TINY_FILE,))
    monkeypatch.setattr(bench.commands.demo, "name_of", lambda model: "demo-tiny")
    monkeypatch.setattr(bench.commands.train, "recipe_of", lambda name: replace(QUICK, epochs=1))


@pytest.mark.usefixtures("small")
def test_the_second_demo_trains_nothing_and_makes_another_page(tmp_path: Path) -> None:
    place = Workspace(runs=tmp_path / "runs", cache=tmp_path / "cache")
    first = bench.api.demo(workspace=place)
    before = read_record(place.runs / "demo-tiny")
    second = bench.api.demo(workspace=place)
    assert first.runs == second.runs == ("demo-tiny",) and read_record(place.runs / "demo-tiny") == before
    assert (first.page.parent.name, second.page.parent.name, first.page.is_file()) == ("1", "2", True)


@pytest.mark.usefixtures("small")
def test_a_demo_that_was_interrupted_is_left_and_made_beside_it(tmp_path: Path) -> None:
    place = Workspace(runs=tmp_path / "runs", cache=tmp_path / "cache")
    (place.runs / "demo-tiny").mkdir(parents=True)
    assert bench.api.demo(workspace=place).runs == ("TINY-digits-s0-1",)
