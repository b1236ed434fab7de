"""Recipes hold the values they claim, and their learning rate is the written-out one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contracts import Augmentation
from bench.errors import UsageError
from bench.recipes import RECIPES, Recipe, find_recipe

COURSE = RECIPES["course"]


def learning_rate_by_hand(recipe: Recipe, step: int, total: int) -> float:
    """Two straight lines through (0, start), (warm_up x total, peak) and (total, 0)."""
    start, peak, top = recipe.lr * recipe.lr_start, recipe.lr, recipe.warm_up * total
    if step < top:
        return start + (peak - start) * step / top
    return peak * (total - step) / (total - top)


@given(
    total=st.integers(1, 2000),
    warm_up=st.floats(0, 0.9),
    lr=st.floats(1e-6, 10),
    lr_start=st.floats(0, 1),
)
def test_the_learning_rate_is_two_straight_lines_and_never_negative(
    total: int, warm_up: float, lr: float, lr_start: float
) -> None:
    recipe = replace(COURSE, warm_up=warm_up, lr=lr, lr_start=lr_start)
    for step in {0, 1, int(warm_up * total), int(warm_up * total) + 1, total // 2, total - 1}:
        if step < total:
            found = recipe.learning_rate(step, total)
            assert found == pytest.approx(learning_rate_by_hand(recipe, step, total), rel=1e-9, abs=1e-12)
            assert 0 <= found <= lr * (1 + 1e-12)


@pytest.mark.parametrize("total", [1, 2, 7, 10, 100, 7820])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_the_learning_rate_rises_to_a_peak_at_a_fifth_and_then_falls(recipe: Recipe, total: int) -> None:
    rates = [recipe.learning_rate(step, total) for step in range(total)]
    peak = rates.index(max(rates))
    assert abs(peak - total / 5) < 1
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert min(rates) > 0


def test_course_goes_from_002_to_01_at_a_fifth_to_0() -> None:
    rates = [COURSE.learning_rate(step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[200] == max(rates) == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.1 / 800)


@pytest.mark.parametrize(("step", "total"), [(-1, 10), (10, 10), (0, 0)])
def test_a_step_outside_the_training_is_refused(step: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"step {step} of {total}"):
        COURSE.learning_rate(step, total)


# --- values ------------------------------------------------------------------------------------------------


def test_course_holds_the_values_of_the_20_epoch_course() -> None:
    assert (COURSE.epochs, COURSE.batch_size, COURSE.optimizer, COURSE.lr) == (20, 128, "sgd", 0.1)
    assert (COURSE.momentum, COURSE.weight_decay, COURSE.bn_momentum) == (0.9, 5e-4, 0.1)
    assert (COURSE.lr * COURSE.lr_start, COURSE.warm_up) == (pytest.approx(0.02), 0.2)
    assert COURSE.augmentation == Augmentation(pad=4, flip=True, cutout=16)


def test_demo_holds_the_values_that_learn_digits_in_one_epoch() -> None:
    demo = RECIPES["demo"]
    assert (demo.epochs, demo.batch_size, demo.lr, demo.bn_momentum) == (1, 16, 0.02, 0.25)
    assert not demo.augmentation.flip and demo.augmentation.cutout == 0


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_found_by_its_name_and_says_where_it_is_from(name: str) -> None:
    assert find_recipe(name).name == name
    assert find_recipe(name).source


def test_an_unknown_recipe_offers_the_nearest_and_the_list() -> None:
    with pytest.raises(UsageError, match="no recipe 'corse'; did you mean 'course'") as error:
        find_recipe("corse")
    assert error.value.try_ == "bench list recipes"


BAD = [
    ({"epochs": 0}, "epochs is 0, must be 1 or more"),
    ({"epochs": -3}, "epochs is -3"),
    ({"batch_size": 1}, "batch_size is 1, must be 2 or more"),
    ({"lr": -0.1}, "lr is -0.1, must be 0 or more and finite"),
    ({"lr": float("nan")}, "lr is nan"),
    ({"lr": float("inf")}, "lr is inf"),
    ({"weight_decay": -1.0}, "weight_decay is -1.0"),
    ({"weight_decay": float("nan")}, "weight_decay is nan"),
    ({"lr_start": 1.1}, "lr_start is 1.1, must be from 0 to 1"),
    ({"lr_start": -0.1}, "lr_start is -0.1"),
    ({"warm_up": 2}, "warm_up is 2, must be from 0 to 1"),
    ({"warm_up": float("nan")}, "warm_up is nan"),
    ({"momentum": 1.0}, "momentum is 1.0, must be 0 or more and below 1"),
    ({"momentum": -0.1}, "momentum is -0.1"),
    ({"bn_momentum": 0.0}, "bn_momentum is 0.0, must be above 0 and at most 1"),
    ({"bn_momentum": 1.5}, "bn_momentum is 1.5"),
    ({"augmentation": Augmentation(pad=17)}, "pad is 17, must be from 0 to 16"),
    ({"augmentation": Augmentation(cutout=-1)}, "cutout is -1, must be from 0 to 16"),
    ({"optimizer": "adam"}, "no optimizer 'adam'; did you mean 'adamw'"),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=str)
def test_a_value_that_cannot_train_is_refused_by_name(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        COURSE.changed(changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 1, "batch_size": 2, "lr": 0.0, "weight_decay": 0.0},
        {"lr_start": 0.0, "warm_up": 0.0, "momentum": 0.0, "augmentation": Augmentation(pad=0, cutout=0)},
        {"lr_start": 1.0, "warm_up": 1.0, "bn_momentum": 1.0, "augmentation": Augmentation(pad=16, cutout=16)},
    ],
    ids=str,
)
def test_a_value_at_the_edge_of_what_can_train_is_kept(changes: dict[str, object]) -> None:
    assert COURSE.changed(changes) == replace(COURSE, **changes)


def test_a_change_of_nothing_keeps_every_field() -> None:
    assert COURSE.changed({"epochs": None, "lr": None}) == COURSE


def test_a_change_replaces_its_fields_and_no_other() -> None:
    changed = COURSE.changed({"epochs": 3, "optimizer": "adamw", "data": "digits"})
    assert changed == replace(COURSE, epochs=3, optimizer="adamw")
    assert COURSE.epochs == 20


def test_what_a_run_stores_makes_the_same_recipe_again() -> None:
    values = COURSE.values()
    assert "name" not in values and "source" not in values
    augmentation = values.pop("augmentation")
    assert isinstance(augmentation, dict)
    assert COURSE.changed({**values, "augmentation": Augmentation(**augmentation)}) == COURSE
