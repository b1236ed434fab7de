"""The scripts that measure: what they compare, and which way a difference is counted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tiny import TINY, tiny_data

from bench.contracts import Dataset
from bench.recipes import RECIPES, Recipe
from bench.training import TrainSettings, choose_images

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))

import ablation  # noqa: E402 (from the folder above)
import tables  # noqa: E402


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_every_arm_of_an_ablation_is_another_training(recipe: Recipe) -> None:
    arms = ablation.arms_of(recipe)
    values = [repr(recipe.changed(changes).values()) for changes in arms.values()]
    assert values[0] == repr(recipe.values())
    same = [name for name, each in zip(arms, values, strict=True) if values.count(each) > 1]
    assert not same


def test_each_ingredient_that_a_recipe_has_is_taken_away_once() -> None:
    arms = ablation.arms_of(RECIPES["fast20"])
    recipe = RECIPES["fast20"]
    for name, field, value in [
        ("no whitening of the stem", "whiten", False),
        ("no bias group", "bias_scale", 1.0),
        ("no label smoothing", "label_smoothing", 0.0),
        ("no lookahead", "lookahead", 0),
        ("no zero-init residual", "zero_init", False),
    ]:
        assert getattr(recipe, field) != value
        assert getattr(recipe.changed(arms[name]), field) == value


def test_an_arm_that_is_not_there_is_refused_with_those_that_are() -> None:
    assert list(ablation.wanted(RECIPES["cpu"], ["half the batch"])) == ["the recipe", "half the batch"]
    assert ablation.wanted(RECIPES["cpu"], None) == ablation.arms_of(RECIPES["cpu"])
    with pytest.raises(SystemExit, match="no arm 'half the bach'; one of: the recipe, no whitening"):
        ablation.wanted(RECIPES["cpu"], ["half the bach"])


def test_what_was_trained_is_not_trained_again(tmp_path: Path) -> None:
    path, calls = tmp_path / "runs" / "kept.jsonl", []

    def train() -> dict[str, object]:
        calls.append(1)
        return {"right": "101"}

    assert [ablation.kept_or_trained(path, ["a", key], train) for key in (1, 1, 2)] == ["101"] * 3
    assert len(calls) == 2


def test_images_kept_apart_are_not_trained_on(tiny: Dataset) -> None:
    trained, _ = choose_images(tiny, TrainSettings(RECIPES["course"], val=0, limit=40))
    held = ablation.held_out(tiny, trained, 30)
    assert len(held) == len(set(held.tolist())) == 30
    assert not set(held.tolist()) & set(trained.tolist())
    assert len(ablation.held_out(tiny, trained, 10_000)) == len(tiny.train) - 40


def test_an_arm_that_is_better_than_the_recipe_has_a_positive_difference() -> None:
    whole, better = {0: "1100000000" * 40}, {0: "1111000000" * 40}
    name, n, accuracy, _, difference, interval = ablation.row_of("an arm", better, whole)
    assert (name, n, accuracy, difference) == ("an arm", "1", "40.0 %", "+20.0")
    low, high = (float(each) for each in interval.split(" to "))
    assert 0 < low < 20 < high


def test_several_seeds_give_students_interval_of_the_paired_differences() -> None:
    whole = {0: "1000000000", 1: "1100000000", 2: "1110000000"}
    own = {0: "1100000000", 1: "1100000000", 2: "1111100000"}
    row = ablation.row_of("an arm", own, whole)
    gaps = torch.tensor([0.1, 0.0, 0.2], dtype=torch.float64)
    half = 4.302652729749462 * float(gaps.std()) / 3**0.5  # t of two degrees of freedom, from a table
    assert row[4] == "+10.0"
    assert row[5] == f"{100 * (0.1 - half):+.1f} to {100 * (0.1 + half):+.1f}"


def test_an_ablation_of_the_tiny_net_is_the_same_twice(tiny: Dataset) -> None:
    settings = TrainSettings(RECIPES["demo"], val=0, limit=64)
    first, second = (ablation.trained_arm(TINY, tiny, settings, torch.device("cpu"), 20)["right"] for _ in range(2))
    assert first == second
    assert len(str(first)) == 20


def test_a_table_replaces_what_stands_between_its_marks_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a <!-- x: begin -->old\nold<!-- x: end --> b <!-- y: begin --><!-- y: end -->", encoding="utf-8")
    tables.write_between(page, "x", "new \\1")
    text = page.read_text(encoding="utf-8")
    assert text == "a <!-- x: begin -->\n\nnew \\1\n\n<!-- x: end --> b <!-- y: begin --><!-- y: end -->"
    with pytest.raises(SystemExit, match="no marks"):
        tables.write_between(page, "z", "new")


@pytest.fixture
def tiny() -> Dataset:
    return tiny_data()
