"""Which images and classes are explained: selections nest, coincide between runs and are balanced."""

from dataclasses import replace
from math import inf
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from listening import Listener
from run_factory import make_logits
from tiny import TinyNet

from bench.contracts import Explainer, ExplainerSpec, Progress
from bench.errors import UsageError
from bench.explaining.plan import (
    MissingRows,
    Wanted,
    ceilings,
    check_layers,
    choose_layers,
    cut_to_afford,
    layers_of,
    rate_of,
    say_costs,
)
from bench.nets.trained import Trained
from bench.store.predictions import Predictions, check_ids, choose_ids, fixed_order, wanted_targets

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda labels: np.array(labels, dtype=np.int64))


def predictions(labels: list[int], predicted: list[int]) -> Predictions:
    return Predictions(np.arange(len(labels)), np.array(labels), make_logits(predicted))


# --- the order ---------------------------------------------------------------------------------------------


@given(LABELS)
def test_the_order_holds_every_id_once_and_every_beginning_is_balanced_while_classes_last(labels: np.ndarray) -> None:
    assert sorted(fixed_order(labels).tolist()) == list(range(len(labels)))
    sizes = {each: int((labels == each).sum()) for each in set(labels.tolist())}
    seen = dict.fromkeys(sizes, 0)
    for each in labels[fixed_order(labels)].tolist():
        seen[each] += 1
        lasting = [seen[one] for one in sizes if seen[one] < sizes[one]]
        assert not lasting or max(seen.values()) <= min(lasting) + 1


def test_the_order_is_the_same_in_every_version_and_of_no_image_it_is_empty() -> None:
    """Cells of older runs were made in this order, so a change here would part them from new ones."""
    assert fixed_order(np.array([0, 1, 0, 1, 2, 0, 0])).tolist() == [6, 3, 4, 0, 1, 2, 5]
    assert fixed_order(np.zeros(0, dtype=np.int64)).tolist() == []


def test_the_order_depends_on_labels_alone_and_is_no_file_order() -> None:
    labels = np.zeros(100, dtype=np.int64)
    order = fixed_order(labels)
    assert (order == fixed_order(labels.astype(np.int32))).all() and (order != np.arange(100)).sum() > 80


def test_an_id_keeps_its_rank_within_its_class_when_other_classes_change() -> None:
    first, second = np.array([0, 1, 0, 1, 0, 0]), np.array([0, 2, 0, 0, 0, 0])
    order = fixed_order(second).tolist()
    ranks = [each for each in order if first[each] == 0]
    assert [each for each in fixed_order(first).tolist() if first[each] == 0] == ranks


# --- selections --------------------------------------------------------------------------------------------


@given(st.data(), st.integers(1, 70), st.integers(1, 70))
def test_selections_nest(data: st.DataObject, small: int, large: int) -> None:
    labels = data.draw(LABELS)
    predicted = data.draw(st.lists(st.integers(0, 2), min_size=len(labels), max_size=len(labels)))
    some = predictions((labels % 3).tolist(), predicted)
    for which in ("wrong", "all"):
        few, many = (choose_ids(some, which, limit).tolist() for limit in sorted((small, large)))
        assert many[: len(few)] == few


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_selections_of_two_runs_coincide_where_both_are_wrong(rows: list[tuple[int, int, int]]) -> None:
    labels = [row[0] for row in rows]
    first, second = (choose_ids(predictions(labels, [row[part] for row in rows]), "wrong", None) for part in (1, 2))
    both = set(first.tolist()) & set(second.tolist())
    assert [each for each in first.tolist() if each in both] == [each for each in second.tolist() if each in both]


def test_wrong_takes_the_wrong_images_and_all_takes_all() -> None:
    some = predictions([0, 1, 2, 0, 1], [0, 2, 2, 1, 1])
    assert [sorted(choose_ids(some, which, None)) for which in ("wrong", "all")] == [[1, 3], [0, 1, 2, 3, 4]]
    assert len(choose_ids(some, "all", 3)) == 3 and len(choose_ids(predictions([0, 1], [0, 1]), "wrong", 5)) == 0


# --- what a user names -------------------------------------------------------------------------------------


def test_ids_come_back_sorted_and_once() -> None:
    assert (check_ids([3, 0, 3, 1], 4).tolist(), check_ids([], 4).tolist()) == ([0, 1, 3], [])


@pytest.mark.parametrize(("ids", "bad"), [([0, 4], 4), ([-1], -1), ([10**30], 10**30)])
def test_an_id_outside_the_test_split_is_named_with_the_range(ids: list[int], bad: int) -> None:
    with pytest.raises(UsageError, match=f"no test image {bad}") as error:
        check_ids(ids, 4)
    assert "0 to 3" in error.value.try_


RECORD = SimpleNamespace(model="tiny", size=32)
SPEC = SimpleNamespace(layers=("layer3", "layer4"))
TRAINED = cast("Trained", SimpleNamespace(model=TinyNet(4), spec=SPEC, record=RECORD))


def test_every_module_with_a_grid_and_the_input_are_layers() -> None:
    check_layers(TRAINED, ["layer3", "layer4.0", "input"])


@pytest.mark.parametrize(
    ("layers", "words", "offer"),
    [
        (["layer3", "fc"], r"'fc' gives \(N, 4\).*with a grid: layer3, layer4", ""),
        (
            ["layer3", "layr4"],
            "'layr4' is not a layer of tiny; did you mean 'layer4'",
            "bench list layers --model tiny",
        ),
        ([], "no layer named", "--layer layer4"),
        ([""], "'' is not a layer of tiny", "bench list layers --model tiny"),
    ],
)
def test_what_is_no_layer_or_has_no_grid_is_refused_with_those_that_have_one(
    layers: list[str], words: str, offer: str
) -> None:
    with pytest.raises(UsageError, match=words) as error:
        check_layers(TRAINED, layers)
    assert offer in error.value.try_


@pytest.mark.parametrize(
    ("target", "columns"), [("predicted", [[2], [1]]), ("true", [[0], [1]]), ("both", [[2, 0], [1, 1]])]
)
def test_targets_are_the_predicted_and_the_true_class_in_this_order(target: str, columns: list[list[int]]) -> None:
    found = wanted_targets(predictions([9, 0, 1], [0, 2, 1]), np.array([1, 2]), target)
    assert found.tolist() == columns and found.dtype == np.int64


# --- layers, and what is too dear ---------------------------------------------------------------------------


def model_with(*layers: str) -> Trained:
    return cast("Trained", SimpleNamespace(spec=SimpleNamespace(layers=layers)))


def test_all_layers_are_those_that_the_model_names_in_its_order_and_none_means_the_last_two() -> None:
    runs = [model_with("layer1", "layer2", "layer3")]
    assert choose_layers(["all"], runs) == ("layer1", "layer2", "layer3")
    assert choose_layers([], runs) == ("layer2", "layer3")
    assert choose_layers(["layer1.0"], runs) == ("layer1.0",)
    assert choose_layers(["layer2", "all", "bn1"], runs) == ("layer2", "layer1", "layer3", "bn1")
    several = [model_with("stem", "layer1", "layer2"), model_with("layer2", "layer1")]
    assert choose_layers(["all"], several) == ("layer1", "layer2"), "those that they share"


COSTS = {"layer1": 60.0, "layer2": 200.0, "layer3": 201.0}


def spec(name: str, output: str = "layer") -> ExplainerSpec:
    return ExplainerSpec(
        name=name, explain=cast("Explainer", None), source="tests", backend="torch",
        output=cast("Any", output), cost=lambda layer: COSTS.get(layer, 65.0),
    )  # fmt: skip


def test_what_all_brought_in_is_left_out_cell_by_cell_above_its_ceiling_and_what_was_named_never() -> None:
    dear, pixels = spec("dear"), spec("pixels", "input")
    layers = ("layer1", "layer2", "layer3")
    named = Wanted({"dear": dear, "pixels": pixels}, layers)
    assert (layers_of(dear, named), layers_of(pixels, named)) == (layers, ("input",))
    brought = replace(named, ceilings={"dear": 200.0, "pixels": 200.0})
    assert (layers_of(dear, brought), layers_of(pixels, brought)) == (("layer1", "layer2"), ("input",))


def test_a_method_of_layers_that_all_brought_in_is_not_asked_at_the_input() -> None:
    wanted = Wanted({"cam": spec("cam")}, ("input", "layer1"), ceilings={"cam": 200.0})
    assert layers_of(wanted.specs["cam"], wanted) == ("layer1",)
    assert layers_of(wanted.specs["cam"], replace(wanted, ceilings={})) == ("input", "layer1")  # and refuses


def test_only_what_all_alone_brought_in_has_a_ceiling() -> None:
    specs = {"dear": spec("dear"), "other": spec("other")}
    assert ceilings(["all", "dear"], specs) == {"other": 200.0}
    assert ceilings(["all"], specs, slow=True) == {"dear": inf, "other": inf}
    assert ceilings(["dear", "other"], specs) == ceilings([], specs) == {}


def test_a_dear_cell_is_told_of_whether_it_is_left_out_or_made() -> None:
    said: list[str] = []
    progress = cast("Progress", SimpleNamespace(say=said.append))
    named = Wanted({"dear": spec("dear"), "pixels": spec("pixels", "input")}, ("layer2", "layer3"))
    say_costs(named, progress)
    say_costs(replace(named, ceilings={"dear": 200.0}), progress)
    words = "dear costs 201 at layer3 forward passes for one image and class"
    assert said == [words, f"left out: {words}; --slow or --explainer dear includes it"]


@pytest.mark.parametrize(("limit", "shared", "taken"), [(None, False, 500), (None, True, 2000), ("all", False, 2000)])
def test_a_long_work_is_cut_on_one_processor_and_not_on_workers(
    limit: str | None, shared: bool, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, said = np.arange(2000), Listener()
    job = MissingRows("gradcam", spec("gradcam"), ("layer3",), ids, np.zeros((2000, 2), np.int64))
    monkeypatch.setattr("bench.explaining.plan.plan", lambda *_: [job])
    results = SimpleNamespace(forward_images_per_second=0.5)
    trained = cast(Trained, SimpleNamespace(record=SimpleNamespace(results=results), device=torch.device("cpu")))
    found = cut_to_afford([trained], Wanted({}), ids, limit=limit, shared=shared, progress=said)
    assert len(found) == taken
    assert ("divided by the number of workers" in said.said[0]) == shared


@pytest.mark.parametrize(("measured", "rate"), [(250.0, 250.0), (None, 100.0), (0.0, 100.0), (-1.0, 100.0)])
def test_a_rate_that_was_never_measured_is_guessed(measured: float | None, rate: float) -> None:
    results = SimpleNamespace(forward_images_per_second=measured)
    assert rate_of(cast(Trained, SimpleNamespace(record=SimpleNamespace(results=results)))) == rate
