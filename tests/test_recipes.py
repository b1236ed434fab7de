"""Recipes hold the values they claim, and their learning rate is the written-out one."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, strategies as st
from pydantic import TypeAdapter

from bench.contracts import Augmentation
from bench.errors import UsageError
from bench.recipes.recipe import RECIPES, SETTINGS, Recipe, find_recipe
from bench.request import TrainRequest

COURSE = RECIPES["course"]


def learning_rate_by_hand(recipe: Recipe, step: int, total: int) -> float:
    """Two straight lines through (0, start), (warm_up x total, peak) and (total, end)."""
    start, peak, end, top = recipe.lr * recipe.lr_start, recipe.lr, recipe.lr * recipe.lr_end, recipe.warm_up * total
    if step < top:
        return start + (peak - start) * step / top
    return end + (peak - end) * (total - step) / (total - top)


@given(
    total=st.integers(1, 2000),
    warm_up=st.floats(0, 0.9),
    lr=st.floats(1e-6, 10),
    lr_start=st.floats(0, 1),
    lr_end=st.floats(0, 1),
)
def test_the_learning_rate_is_two_straight_lines_and_never_negative(
    total: int, warm_up: float, lr: float, lr_start: float, lr_end: float
) -> None:
    recipe = replace(COURSE, warm_up=warm_up, lr=lr, lr_start=lr_start, lr_end=lr_end)
    for step in {0, 1, int(warm_up * total), int(warm_up * total) + 1, total // 2, total - 1}:
        if step < total:
            found = recipe.learning_rate(step, total)
            assert found == pytest.approx(learning_rate_by_hand(recipe, step, total), rel=1e-9, abs=1e-12)
            assert 0 <= found <= lr * (1 + 1e-12)


@pytest.mark.parametrize("total", [1, 2, 7, 10, 100, 7820])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_the_learning_rate_rises_to_its_peak_and_then_falls(recipe: Recipe, total: int) -> None:
    rates = [recipe.learning_rate(step, total) for step in range(total)]
    peak = rates.index(max(rates))
    assert abs(peak - total * recipe.warm_up) < 1 and min(rates) > 0
    assert (rates[: peak + 1], rates[peak:]) == (sorted(rates[: peak + 1]), sorted(rates[peak:], reverse=True))


def test_course_goes_from_002_to_01_at_a_fifth_to_0() -> None:
    rates = [COURSE.learning_rate(step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02) and rates[200] == max(rates) == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.1 / 800)


@pytest.mark.parametrize(("step", "total"), [(-1, 10), (10, 10), (0, 0)])
def test_a_step_outside_the_training_is_refused(step: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"step {step} of {total}"):
        COURSE.learning_rate(step, total)


# --- values ------------------------------------------------------------------------------------------------


def test_course_holds_the_values_of_the_20_epoch_course() -> None:
    values = {
        "epochs": 20, "batch_size": 128, "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4,
        "bn_momentum": 0.1, "warm_up": 0.2, "translate": 4, "flip": "random", "cutout": 16, "whiten": False,
        "zero_init": False, "lookahead": 0, "sizes": (), "label_smoothing": 0, "norm_decay": True, "bias_scale": 1,
    }  # fmt: skip
    assert {name: getattr(COURSE, name) for name in values} == values
    assert COURSE.lr * COURSE.lr_start == pytest.approx(0.02)


def test_demo_holds_the_values_that_learn_digits_in_one_epoch() -> None:
    values = {"epochs": 1, "batch_size": 16, "lr": 0.02, "bn_momentum": 0.25, "flip": "none", "cutout": 0}
    assert values.items() <= RECIPES["demo"].values().items()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_found_by_its_name_and_says_where_it_is_from(name: str) -> None:
    assert find_recipe(name).name == name and find_recipe(name).source


def test_an_unknown_recipe_offers_the_nearest_and_the_list() -> None:
    with pytest.raises(UsageError, match="no recipe 'corse'; did you mean 'course'") as error:
        find_recipe("corse")
    assert error.value.try_ == "bench list recipes"


BAD = [
    ({"epochs": 0}, "epochs is 0, must be from 1 to 1,000,000"),
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
    ({"lr_end": 1.5}, "lr_end is 1.5, must be from 0 to 1"),
    ({"label_smoothing": 1.0}, "label_smoothing is 1.0, must be 0 or more and below 1"),
    ({"bias_scale": 0.0}, "bias_scale is 0.0, must be above 0 and finite"),
    ({"bias_scale": float("inf")}, "bias_scale is inf"),
    ({"bias_scale": float("nan")}, "bias_scale is nan"),
    ({"lookahead": -1}, "lookahead is -1, must be 0 or more"),
    ({"precision": "bf61"}, "no precision 'bf61'; did you mean 'bf16'"),
    ({"translate": 17}, "translate is 17, must be from 0 to 16"),
    ({"cutout": -1}, "cutout is -1, must be from 0 to 16"),
    ({"flip": "randm"}, "no flip 'randm'; did you mean 'random'"),
    ({"optimizer": "adam"}, "no optimizer 'adam'; did you mean 'adamw'"),
    ({"sizes": ((7, 0.5),)}, "sizes holds 7:0.5: the edge must be from 8 to 1,024"),
    ({"sizes": ((1025, 0.5),)}, "sizes holds 1025:0.5"),
    ({"sizes": ((16, 0.0),)}, "sizes holds 16:0.0"),
    ({"sizes": ((16, float("nan")),)}, "sizes holds 16:nan"),
    ({"sizes": ((16, 1.0),)}, "sizes holds 16:1.0"),
    ({"sizes": ((16, 0.5), (24, 0.5))}, "the shares must sum to less than 1"),
    ({"epoch": 3}, "a recipe has no 'epoch'; did you mean 'epochs'"),
    ({"pad": 3}, "a recipe has no 'pad'"),
    ({"augmentation": Augmentation()}, "a recipe has no 'augmentation'"),
    ({"measured": "99 %"}, "a recipe has no 'measured'"),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=str)
def test_a_value_that_cannot_train_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        COURSE.changed(changes)


@pytest.mark.parametrize("word", ["16", "", "16:0.5:1", "16.5:0.5"])
def test_a_word_that_is_no_list_of_sizes_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=f"'{word}' is not a list of edge:share"):
        TrainRequest(sizes=word)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 1, "batch_size": 2, "lr": 0.0, "weight_decay": 0.0, "lookahead": 0, "label_smoothing": 0.0},
        {"lr_start": 0.0, "lr_end": 0.0, "warm_up": 0.0, "momentum": 0.0, "translate": 0},
        {"lr_start": 1.0, "lr_end": 1.0, "warm_up": 1.0, "bn_momentum": 1.0, "cutout": 16},
        {"sizes": ((8, 0.5), (32, 0.49)), "translate": 16, "cutout": 0},
    ],
    ids=str,
)
def test_a_value_at_the_edge_of_what_can_train_is_kept(changes: dict[str, Any]) -> None:
    recipe = replace(COURSE, **changes)
    assert {key: getattr(recipe, key) for key in changes} == changes


def test_a_change_of_nothing_keeps_every_field() -> None:
    measured = replace(COURSE, measured="so and so")
    assert measured.changed({"epochs": None, "lr": None, "flip": None, "sizes": None}) == measured


OTHER: dict[str, Any] = {
    "epochs": 3, "batch_size": 8, "lr": 0.0, "optimizer": "adamw", "lr_start": 0.5, "lr_end": 0.5, "warm_up": 0.5,
    "momentum": 0.5, "weight_decay": 0.25, "norm_decay": False, "bias_scale": 2.0, "label_smoothing": 0.5,
    "bn_momentum": 0.5, "lookahead": 2, "whiten": True, "zero_init": True, "sizes": ((16, 0.5),), "flip": "none",
    "translate": 0, "cutout": 0, "precision": "bf16",
}  # fmt: skip


def test_a_change_replaces_its_value_and_no_other_and_says_no_more_what_was_measured() -> None:
    before = replace(COURSE, measured="so and so")
    assert {*OTHER} == {*SETTINGS}
    for name, value in OTHER.items():
        assert getattr(before, name) != value
        assert before.changed({name: value}) == replace(COURSE, measured="", **{name: value})
    assert before == replace(COURSE, measured="so and so")


def test_full_takes_the_sizes_and_random_the_turns_of_a_recipe_away() -> None:
    changed = RECIPES["cpu"].changed(TrainRequest(sizes="full", flip="random").changes())
    assert changed == replace(RECIPES["cpu"], sizes=(), flip="random", measured="")


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_what_a_run_stores_makes_the_same_recipe_again(recipe: Recipe) -> None:
    values = json.loads(json.dumps(recipe.values()))
    assert not values.keys() & {"name", "source", "measured"}
    again = TypeAdapter(Recipe).validate_python({**values, "name": recipe.name, "source": recipe.source})
    assert again == replace(recipe, measured="")


# --- sizes --------------------------------------------------------------------------------------------------


SHARES = st.lists(st.tuples(st.integers(8, 31), st.floats(1e-12, 1, exclude_max=True)), max_size=4)


@given(epochs=st.integers(1, 60), sizes=SHARES)
def test_every_epoch_has_the_size_its_end_falls_into_and_the_last_is_full(
    epochs: int, sizes: list[tuple[int, float]]
) -> None:
    assume(sum(share for _, share in sizes) < 1)
    recipe = replace(COURSE, epochs=epochs, sizes=tuple(sizes))
    edges = [recipe.edge(epoch, 24) for epoch in range(epochs)]
    assert edges[-1] == 24
    bounds = [sum(share for _, share in sizes[: count + 1]) for count in range(len(sizes))]
    for epoch in range(epochs - 1):
        end = (epoch + 1) / epochs
        if all(abs(end - bound) > 1e-6 for bound in bounds):  # those on a bound are in the next test
            stage = sum(end > bound for bound in bounds)
            assert edges[epoch] == (min(24, sizes[stage][0]) if stage < len(sizes) else 24)


def test_an_epoch_that_ends_where_a_size_ends_belongs_to_it_and_the_last_is_full() -> None:
    recipe = replace(COURSE, epochs=10, sizes=((8, 0.1), (16, 0.2), (24, 0.3)))  # 0.1 + 0.2 is above 0.3, in floats
    assert [recipe.edge(epoch, 32) for epoch in range(10)] == [8, 16, 16, 24, 24, 24, 32, 32, 32, 32]
    assert replace(COURSE, epochs=2, sizes=((16, 1 - 1e-12),)).edge(1, 32) == 32
    assert [RECIPES["cpu"].edge(epoch, 32) for epoch in range(16)] == [16] * 8 + [24] * 4 + [32] * 4
