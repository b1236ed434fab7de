"""Runs side by side: only on the same images, and every count against plain sets."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_items import items_of
from hypothesis import HealthCheck, given, settings, strategies as st
from run_factory import DIGITS, make_cell, make_request, make_run, make_samples

from bench.errors import DataError
from bench.pages.build import (
    comparison_page,
    labels_of,
    only_wrong,
    pair_tests,
    run_page,
    same_settings,
    wrong_in_any,
)
from bench.pages.class_alignment import check_comparable
from bench.request import AdoptRequest
from bench.stats.intervals import holm, holm_levels, mcnemar, paired_difference
from bench.store.folder import RunFolder, read_run
from bench.store.predictions import fixed_order

LABELS = (0, 0, 1, 1, 2, 2)
GUESSES = st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=30)
NOW = "2026-11-21T03:00:00+00:00"


def load(tmp_path: Path, name: str, predicted: Sequence[int], **changes: Any) -> RunFolder:
    return read_run(make_run(tmp_path, name, **{"labels": LABELS, "predicted": predicted, **changes}))


@pytest.fixture
def runs(tmp_path: Path) -> list[RunFolder]:
    """Wrong are {1, 3}, {1, 5} and nothing."""
    guesses = {"one": (0, 1, 1, 0, 2, 2), "two": (0, 2, 1, 1, 2, 0), "three": LABELS}
    return [
        load(tmp_path, name, each, artefacts={"checkpoint.safetensors": name * 8}) for name, each in guesses.items()
    ]


def many(tmp_path: Path, rows: list[tuple[int, int, int, int]]) -> tuple[list[RunFolder], list[set[int]]]:
    """Three runs and the images each gets wrong; the first part of a row is the label."""
    labels, *guesses = ([row[part] for row in rows] for part in range(4))
    loaded = [load(tmp_path, f"run{index}", each, labels=labels) for index, each in enumerate(guesses)]
    wrong = [{place for place, one in enumerate(each) if one != labels[place]} for each in guesses]
    return loaded, wrong


# --- what may be compared ----------------------------------------------------------------------------------


def test_runs_on_the_same_data_may_be_compared(runs: list[RunFolder]) -> None:
    for some in (runs, runs[:1]):
        check_comparable(some)


@pytest.mark.parametrize(
    ("labels", "data", "says"),
    [
        (LABELS, {"digest": "e" * 64, "name": "cifar10"}, r"were made on different data \(digits and cifar10\)"),
        (LABELS, {"digest": ""}, "different data"),
        ((0, 0, 1, 1, 2, 1), {}, "the test labels of 'one' and 'other' differ"),
        ((0, 0, 1, 1, 2), {}, "the test labels of 'one' and 'other' differ"),
    ],
)
def test_runs_on_different_data_are_refused_naming_both(
    tmp_path: Path, runs: list[RunFolder], labels: tuple[int, ...], data: dict[str, str], says: str
) -> None:
    other = load(tmp_path, "other", labels, labels=labels, data=replace(DIGITS, **data))
    for some in ([*runs, other], *([[other, other]] if data == {"digest": ""} else [])):
        with pytest.raises(DataError, match=says):
            check_comparable(some)


# --- counts ------------------------------------------------------------------------------------------------


@given(GUESSES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_wrong_counts_the_images_that_no_other_run_gets_wrong(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int, int]]
) -> None:
    loaded, wrong = many(tmp_path_factory.mktemp("runs"), rows)
    others = [set().union(*(wrong[:index] + wrong[index + 1 :])) for index in range(3)]
    assert only_wrong(loaded) == [len(own - other) for own, other in zip(wrong, others, strict=True)]


@given(GUESSES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_pair_is_tested_on_the_images_that_one_alone_gets_wrong(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int, int]]
) -> None:
    loaded, wrong = many(tmp_path_factory.mktemp("runs"), rows)
    found = pair_tests(loaded)
    assert [(each.first, each.second) for each in found] == [(0, 1), (0, 2), (1, 2)]
    levels = holm_levels([each.p_value for each in found])
    assert [each.adjusted for each in found] == list(holm([each.p_value for each in found]))
    for each, level in zip(found, levels, strict=True):
        a, b = len(wrong[each.first] - wrong[each.second]), len(wrong[each.second] - wrong[each.first])
        assert (each.only_first_wrong, each.only_second_wrong) == (a, b)
        assert (each.p_value, each.difference) == (mcnemar(a, b), paired_difference(a, b, len(rows), level))


@given(GUESSES, st.integers(1, 40) | st.none())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wrong_in_any_is_the_union_in_the_fixed_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int, int]], limit: int | None
) -> None:
    loaded, wrong = many(tmp_path_factory.mktemp("runs"), rows)
    order = fixed_order(loaded[0].predictions.labels).tolist()
    expected = [each for each in order if each in set().union(*wrong)]
    assert wrong_in_any(loaded, limit).tolist() == expected[:limit]


def test_runs_without_errors_have_no_image_to_show(tmp_path: Path) -> None:
    assert wrong_in_any([load(tmp_path, "one", LABELS)], None).tolist() == []


# --- pages -------------------------------------------------------------------------------------------------


def test_a_comparison_shows_every_run_pair_and_cell(tmp_path: Path, runs: list[RunFolder]) -> None:
    cells = [make_cell([(1, 0), (1, 1)]), make_cell([(1, 0), (1, 1)], explainer="captum")]
    one = load(tmp_path, "explained", (0, 1, 1, 0, 2, 2), cells=cells, samples=make_samples([1]))
    page = comparison_page([one, *runs[1:]], wrong_in_any([one, *runs[1:]], None), created=NOW)
    assert [(view.run, view.only_wrong) for view in page.runs] == [("explained", 1), ("two", 1), ("three", 0)]
    assert len(page.pairs) == 3 and len(page.provenance) == 3
    assert [(cell.run, cell.explainer) for cell in page.cells] == [(0, "captum"), (0, "gradcam")]
    assert [(each.first, each.second) for each in page.agreements] == [("captum", "gradcam")]
    assert (page.shown, page.wanted, page.created, page.kind) == (1, 3, NOW, "comparison")


def test_a_comparison_misses_the_rows_of_both_classes_of_every_image(tmp_path: Path, runs: list[RunFolder]) -> None:
    cell = make_cell([(1, 1), (3, 0), (5, 2)])  # of 1, 3 and 5 the predicted class; of 5 it is the true one too
    one = load(tmp_path, "explained", (0, 1, 1, 0, 2, 2), cells=[cell])
    page = comparison_page([one, runs[1]], np.array([1, 3, 5]), created=NOW)
    assert [view.missing for view in page.cells] == [2]


def test_runs_with_the_same_logits_are_said_to_be_one(tmp_path: Path, runs: list[RunFolder]) -> None:
    def says_so(loaded: list[RunFolder]) -> bool:
        page = comparison_page(loaded, wrong_in_any(loaded, None), created=NOW)
        return any(badge.text == "two of the runs are one" for badge in page.badges)

    assert says_so([runs[0], runs[0]]) and not says_so(runs)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"model": "a", "seed": 0}, {"model": "b", "seed": 1}, True),
        ({"recipe": "/here/a.toml"}, {"recipe": "/there/b.toml"}, True),
        ({"lr": 0.1}, {"lr": 0.2}, False),
        ({"recipe": "/here/a.toml"}, {"recipe": "/here/a.toml", "lr": 0.2}, False),
    ],
)
def test_settings_are_the_same_when_only_model_seed_and_name_of_the_recipe_differ(
    runs: list[RunFolder], first: dict[str, object], second: dict[str, object], same: bool
) -> None:
    requests = (make_request(**{"lr": 0.1, **changes}) for changes in (first, second))
    two = [runs[0].seen_as(record=replace(runs[0].record, request=request)) for request in requests]
    assert same_settings(two) is same


def test_a_run_page_shows_its_errors_as_far_as_they_were_explained(tmp_path: Path) -> None:
    cell = make_cell([(1, 0), (1, 1)])
    page = run_page(load(tmp_path, "one", (0, 1, 1, 0, 2, 2), cells=[cell], samples=make_samples([1])), created=NOW)
    assert (page.kind, page.shown, page.wanted) == ("run", 1, 2)
    assert [item.id for item in items_of(page)] == [1]
    assert page.pairs == () and page.runs[0].only_wrong is None
    assert page.title and page.findings and page.badges and page.pipeline


def test_a_run_page_never_shows_more_than_it_wants(tmp_path: Path) -> None:
    cell = make_cell([(each, 0) for each in range(6)])
    samples = make_samples(range(6), labels=LABELS)
    page = run_page(load(tmp_path, "one", (0, 1, 1, 0, 2, 2), cells=[cell], samples=samples), created=NOW)
    assert (page.shown, page.wanted) == (6, 6)


def test_a_run_page_misses_only_rows_that_were_asked_for(tmp_path: Path) -> None:
    full = make_cell([(1, 0), (3, 1)])  # true classes alone: nobody asked for the predicted ones
    half = make_cell([(1, 0)], explainer="captum")
    data = load(tmp_path, "one", (0, 1, 1, 0, 2, 2), cells=[full, half], samples=make_samples([1, 3], labels=[0, 1]))
    assert {view.explainer: view.missing for view in run_page(data, created=NOW).cells} == {"gradcam": 0, "captum": 1}


def test_a_run_page_misses_images_that_were_begun_and_never_explained(tmp_path: Path) -> None:
    samples = make_samples([1, 3], labels=[0, 1])
    data = load(tmp_path, "one", (0, 1, 1, 0, 2, 2), cells=[make_cell([(1, 0), (1, 1)])], samples=samples)
    assert [view.missing for view in run_page(data, created=NOW).cells] == [1]


@pytest.mark.parametrize("samples", [None, make_samples([])], ids=["no samples", "empty samples"])
def test_a_run_that_explained_nothing_has_a_page(tmp_path: Path, samples: Any) -> None:
    page = run_page(load(tmp_path, "one", (0, 1, 1, 0, 2, 2), samples=samples), created=NOW)
    assert page.cells == () and len(page.gallery.ids) == 0 and (page.shown, page.wanted) == (0, 2)


def test_a_run_without_errors_has_a_page(tmp_path: Path) -> None:
    page = run_page(load(tmp_path, "one", LABELS), created=NOW)
    assert "all 6 test images right" in page.title and page.wanted == 0


# --- how runs are called ------------------------------------------------------------------------------------


def test_runs_are_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    changes = [
        {"optimizer": optimizer, "lr": lr, "seed": seed, "recipe": "r", "batch_size": size}
        for optimizer, lr, size in (("sgd", 0.1, 128), ("sgd", 0.2, 128), ("adamw", 0.001, 64))
        for seed in (0, 1)
    ]
    loaded = [load(tmp_path, f"run{k}", LABELS, request=make_request(**each)) for k, each in enumerate(changes)]
    assert labels_of(loaded)[::2] == (
        "sgd · lr 0.1 · batch size 128 · seed 0", "sgd · lr 0.2 · batch size 128 · seed 0",
        "adamw · lr 0.001 · batch size 64 · seed 0",
    )  # fmt: skip
    assert labels_of(loaded[:2]) == ("seed 0", "seed 1")
    assert labels_of(loaded[::4]) == ("sgd · lr 0.1 · batch size 128", "adamw · lr 0.001 · batch size 64")
    assert [
        view.label for view in comparison_page(loaded, fixed_order(loaded[0].predictions.labels), created=NOW).runs
    ] == [*labels_of(loaded)]


def test_no_run_is_called_by_one_of_many_differences(tmp_path: Path) -> None:
    """Else "lr 0.01 is right more often" would be said of a run that was trained four times as long on more images."""
    both = ({"lr": 0.01, "epochs": 4, "limit": 400, "weight_decay": 0.1}, {"lr": 0.02, "epochs": 1, "limit": 200})
    requests = [make_request(**{"weight_decay": 0.0, **each}) for each in both]
    loaded = [load(tmp_path, name, LABELS, request=each) for name, each in zip(("one", "two"), requests, strict=True)]
    assert labels_of(loaded) == ("one", "two")
    fewer = [replace(each, epochs=1, limit=None) for each in requests]
    loaded = [load(tmp_path, name, LABELS, request=each) for name, each in zip(("three", "four"), fewer, strict=True)]
    assert labels_of(loaded) == ("lr 0.01 · weight decay 0.1", "lr 0.02 · weight decay 0")


def test_runs_without_any_difference_are_called_by_their_names(tmp_path: Path) -> None:
    assert labels_of([load(tmp_path, name, LABELS) for name in ("one", "two")]) == ("one", "two")


def test_an_adopted_run_and_what_only_others_have_are_called_by_words(tmp_path: Path) -> None:
    adopted = load(tmp_path, "a", LABELS, request=AdoptRequest(weights=Path("w.pth"), model="net"))
    trained = [load(tmp_path, f"lr{rate}", LABELS, request=make_request(lr=rate)) for rate in (0.1, 0.2)]
    assert labels_of([adopted, trained[0]]) == ("adopted", "demo")
    assert labels_of([*trained, adopted]) == ("demo · lr 0.1", "demo · lr 0.2", "adopted")
