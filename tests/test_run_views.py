"""From run folders to page values: every figure against a plain count, and no guess where a file is damaged."""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gallery_items import items_of
from hypothesis import given, strategies as st
from run_factory import CHECKPOINT_SHA, make_cell, make_record, make_run, make_samples, status
from scipy.stats import spearmanr

from bench.data.decoding import edge_of, kept
from bench.errors import StoreError
from bench.evaluation import softmax
from bench.pages.gallery import cell_maps, gallery, quantised
from bench.pages.provenance import provenance
from bench.pages.run_views import cell_view, run_view
from bench.schema.gallery import ROLES
from bench.schema.page import Average, EpochPoint
from bench.schema.run import STATUSES, AverageResult, DataFacts, Results, keys_of
from bench.stats.agreement import agreement, agreements, common_rows, disagreements
from bench.stats.intervals import largest_relative_difference, wilson
from bench.store.files import read_curve
from bench.store.folder import RunFolder, read_run
from bench.store.paths import LOG
from bench.store.predictions import Predictions
from bench.store.rows import Samples
from bench.store.timings import Passed, noted, write_timing
from bench.workspace import Workspace

LABELS, PREDICTED = (0, 0, 1, 1, 2, 2), (0, 1, 1, 0, 2, 0)  # ids 1, 3 and 5 are wrong


def small_run(tmp_path: Path, name: str = "one", **changes: Any) -> Path:
    return make_run(tmp_path, name, **{"labels": LABELS, "predicted": PREDICTED, **changes})


# --- figures -----------------------------------------------------------------------------------------------


def test_probabilities_are_those_of_torch_even_of_large_logits() -> None:
    logits = np.array([[1e4, 0, -1e4], [0.1, 0.2, 0.3]], dtype=np.float32)
    expected = torch.from_numpy(logits).double().softmax(dim=1).numpy()
    assert softmax(logits) == pytest.approx(expected, abs=1e-12)


def test_a_run_is_shown_with_the_counts_of_its_predictions(tmp_path: Path) -> None:
    found = run_view(read_run(small_run(tmp_path)), only_wrong=2)
    assert (found.correct, found.total, found.accuracy, found.only_wrong) == (3, 6, wilson(3, 6), 2)
    assert found.confusion == ((1, 1, 0), (1, 1, 0), (1, 0, 1))
    assert [(row.name, row.correct, row.total, row.predicted) for row in found.per_class] == [
        ("cat", 1, 2, 3),
        ("dog", 1, 2, 2),
        ("<script>alert(1)<", 1, 2, 1),
    ]
    assert (found.model, found.data, found.recipe, found.seed, found.epochs) == ("net", "digits", "demo", 0, 1)
    assert (found.train_images, found.parameters, found.train_rate, found.forward_rate) == (30, 7, 50.0, None)
    assert found.averages == (), "it was made before there were any"


def test_averages_are_shown_as_counted_and_change_nothing_else(tmp_path: Path) -> None:
    plain = read_run(small_run(tmp_path))
    counted = dataclasses.replace(plain.record.results, averages={"mirror": AverageResult(4 / 6, 4, 2)})
    found = run_view(plain.seen_as(record=make_record("one", results=counted)))
    assert found.averages == (Average("mirror average", wilson(4, 6), 4, 2),)
    assert dataclasses.replace(found, averages=()) == run_view(plain)


@pytest.mark.parametrize("rate", [None, 0, -1.0, math.nan, math.inf])
def test_a_rate_that_was_not_measured_is_none(tmp_path: Path, rate: float | None) -> None:
    record = make_record("one", results=Results(train_images_per_second=rate))
    assert run_view(read_run(small_run(tmp_path)).seen_as(record=record)).train_rate is None


def test_a_curve_leaves_out_lines_that_are_no_epoch(tmp_path: Path) -> None:
    point = EpochPoint(1, 2.0, 0.5, 1.9, 0.6, 100.0, 0.1)
    plain = dataclasses.asdict(point)
    lines = [
        plain,
        {"epoch": 2},
        {**plain, "train_loss": "<script>"},
        {**plain, "val_loss": math.nan},
        {**plain, "train_loss": math.inf},
        {**plain, "epoch": 2, "val_loss": None, "val_accuracy": None, "more": 1},
    ]
    (tmp_path / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"cut')
    assert read_curve(tmp_path / LOG) == (
        (point, dataclasses.replace(point, epoch=2, val_loss=None, val_accuracy=None)),
        5,
    )


# --- reading a folder --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["created", "training", "failed", "interrupted", "Done", ""])
def test_a_run_that_is_not_done_is_refused_with_its_status(tmp_path: Path, state: str) -> None:
    with pytest.raises(StoreError, match=f"run 'one' did not finish: it is '{state}'"):
        read_run(small_run(tmp_path, status=state))


def test_a_run_that_explained_nothing_is_read_and_cells_of_another_checkpoint_are_left_out(tmp_path: Path) -> None:
    none = read_run(small_run(tmp_path, "none"))
    assert (none.cells, none.samples, none.rates) == ((), None, {})
    cells = [make_cell([(1, 0)], layer="layer3"), make_cell([(1, 0)], layer="layer4", checkpoint="b" * 64)]
    assert [cell.layer for cell in read_run(small_run(tmp_path, cells=cells)).cells] == ["layer3"]


def test_a_damaged_cell_is_refused_with_its_path(tmp_path: Path) -> None:
    folder = small_run(tmp_path, cells=[make_cell([(1, 0)])])
    (folder / "explain" / "gradcam" / "layer4.npz").write_bytes(b"PK")
    with pytest.raises(StoreError, match=r"layer4\.npz"):
        read_run(folder)


OTHER_CLASSES: dict[str, dict[str, Any]] = {
    "record without classes": {"data": DataFacts()},
    "record with too few classes": {"data": DataFacts(classes=("cat",))},
    "cell with other classes": {"cells": [dataclasses.replace(make_cell([(1, 0)]), classes=np.array([8]))]},
    "cell of an image that is not there": {"cells": [make_cell([(6, 0)])]},
    "samples with other classes": {"samples": make_samples([1], labels=[8])},
    "sample of an image that is not there": {"samples": make_samples([6])},
}


@pytest.mark.parametrize("kind", OTHER_CLASSES)
def test_files_that_speak_of_other_classes_or_images_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(StoreError, match=r"one is damaged: .* its predictions have 3 classes of 6 test images"):
        read_run(small_run(tmp_path, **OTHER_CLASSES[kind]))


def note(folder: Path, *works: Passed, id: str = "T1") -> None:
    """Rates as explaining notes them."""
    timing = noted("explain", works, {}, image_size=32, device=torch.device("cpu"), workspace=Workspace())
    write_timing(folder, dataclasses.replace(timing, id=id))


def passed(explainer: str = "gradcam") -> Passed:
    return Passed("explain", "one", 64, 20.0, [(64, 9.0), (64, 3.2)], explainer, ("layer3", "layer4"), 2)


def test_a_rate_belongs_to_each_layer_of_its_call(tmp_path: Path) -> None:
    folder = small_run(tmp_path)
    note(folder, passed())
    rates = read_run(folder).rates
    assert {key: (arm.rate, len(arm.layers), arm.targets) for key, arm in rates.items()} == {
        ("T1", "gradcam", layer): (20.0, 2, 2) for layer in ("layer3", "layer4")
    }


OLD = '{"schema": 1, "id": "T1", "what": "explain", "device": "CPU", "versions": {}, "rows": %s}'
UNREADABLE = ["", "{half", "[]", "3", '"rows"', "{}", OLD % 3, OLD % [1], OLD % '[{"layers": []}]', "[" * 100_000]


@pytest.mark.parametrize("content", UNREADABLE, ids=lambda content: content[:20])
def test_a_timing_that_cannot_be_read_is_left_out_and_hurts_no_other(tmp_path: Path, content: str) -> None:
    folder = small_run(tmp_path)
    note(folder, passed(), id="T2")
    (folder / "timing" / "T1.json").write_text(content)
    assert {key[0] for key in read_run(folder).rates} == {"T2"}


@pytest.mark.parametrize("rate", [None, 0.0, -1.0, "fast"])
def test_a_rate_that_is_none_hurts_no_other_of_its_timing(tmp_path: Path, rate: object) -> None:
    folder = small_run(tmp_path)
    plain = {"layers": ["layer3"], "targets": 2, "batch_size": 64, "samples": [[64, 2.0]]}
    rows = [{**plain, "explainer": name, "images_per_second": each} for name, each in (("captum", rate), ("lime", 2.0))]
    (folder / "timing").mkdir()
    (folder / "timing" / "T1.json").write_text(OLD % json.dumps(rows))
    assert {key[1] for key in read_run(folder).rates} == {"lime"}


def test_provenance_tells_what_it_takes_to_make_the_run_again(tmp_path: Path) -> None:
    name, rows = provenance(read_run(small_run(tmp_path)).record)
    told = dict(rows)
    assert name == "one" and told["command"] == "bench train --run one"
    assert told["config"].startswith("model net, recipe demo, epochs 1, seed 0, seeds 1, val 0.1, init native")
    assert told["versions"] == "torch 2.0" and told["checkpoint sha256"] == CHECKPOINT_SHA


# --- cells -------------------------------------------------------------------------------------------------


def test_rows_that_were_wanted_and_are_not_there_are_missing(tmp_path: Path) -> None:
    cell = make_cell([(1, 0), (1, 1), (3, 1)])
    data = read_run(small_run(tmp_path, cells=[cell]))
    assert cell_view(0, data, cell, keys_of(np.array([1, 1, 3, 3, 5, 5]), np.array([0, 1, 0, 1, 0, 2]))).missing == 3
    assert cell_view(0, data, cell, np.empty(0, np.int64)).missing == 0


def test_a_cell_is_shown_with_the_counts_of_its_rows(tmp_path: Path) -> None:
    states = [status(word) for word in ("ok", "dead", "dead", "constant", "non-finite")]
    cell = make_cell([(each, 0) for each in range(5)], status=np.array(states, np.uint8))
    folder = small_run(tmp_path, cells=[cell])
    note(folder, passed())
    found = cell_view(3, read_run(folder), cell, np.empty(0, np.int64))
    assert (found.run, found.explainer, found.layer, found.height, found.width) == (3, "gradcam", "layer4", 2, 4)
    assert (found.rows, found.dead, found.constant, found.non_finite) == (5, 2, 1, 1)
    assert (found.ms_per_image, found.layers_per_call, found.targets_per_call) == (50.0, 2, 2)
    assert (
        cell_view(3, read_run(folder), dataclasses.replace(cell, timing=""), np.empty(0, np.int64)).ms_per_image is None
    )


# --- agreement ---------------------------------------------------------------------------------------------


def test_agreement_is_over_the_rows_of_the_same_image_and_class() -> None:
    rows = common_rows(make_cell([(1, 0), (1, 2), (3, 1)]), make_cell([(3, 1), (3, 2), (1, 0)]))
    assert [each.tolist() for each in rows] == [[0, 2], [2, 0]]
    first, second = make_cell([(1, 0), (2, 0), (3, 1)]), make_cell([(3, 1), (2, 0), (4, 0)], explainer="captum")
    second = dataclasses.replace(second, raw=second.raw * np.float32(1.25))
    found = agreement(0, first, second)
    assert (found.rows, found.first, found.second) == (2, "gradcam", "captum")
    assert found.largest == pytest.approx(largest_relative_difference(first.raw[[1, 2]], second.raw[[1, 0]]))
    assert found.spearman == pytest.approx(1.0)


def test_the_null_of_an_agreement_is_that_of_both_explainers_maps() -> None:
    ids = [(each, 0) for each in range(8)]
    raw = np.random.default_rng(1).normal(size=(2, 8, 2, 4)).astype(np.float32)
    first, second = (make_cell(ids, explainer=name, raw=each) for name, each in zip(("a", "b"), raw, strict=True))
    found = agreement(0, first, second)
    slow = [spearmanr(raw[0, row].ravel(), raw[1, (row + 4) % 8].ravel()).statistic for row in range(8)]
    assert found is not None and found.null == pytest.approx(np.median(slow))


def test_rows_that_are_not_finite_agree_in_nothing() -> None:
    first, second = make_cell([(1, 0), (2, 0)]), make_cell([(1, 0), (2, 0)], explainer="captum")
    broken = second.raw.copy()
    broken[0, 0, 0] = np.nan
    found = agreement(0, first, dataclasses.replace(second, raw=broken))
    assert (found.rows, found.dropped, found.one_sided, found.zeros) == (1, 1, 1, 0)
    found = agreement(0, dataclasses.replace(first, raw=broken), dataclasses.replace(second, raw=broken))
    assert (found.rows, found.dropped, found.one_sided) == (1, 1, 0)
    broken[1] = np.inf
    assert agreement(0, first, dataclasses.replace(second, raw=broken)) is None
    assert agreement(0, make_cell([(1, 0)]), make_cell([(1, 1)])) is None, "no common row"


def test_maps_that_are_zero_in_both_are_counted_and_those_in_one_are_not() -> None:
    first, second = make_cell([(1, 0), (2, 0), (3, 0)]), make_cell([(1, 0), (2, 0), (3, 0)], explainer="captum")
    nothing = first.raw.copy()
    nothing[:2] = 0
    found = agreement(0, dataclasses.replace(first, raw=nothing), dataclasses.replace(second, raw=nothing))
    assert (found.rows, found.zeros) == (3, 2)
    assert agreement(0, first, dataclasses.replace(second, raw=nothing)).zeros == 0


def test_every_pair_at_the_same_layer_and_grid_is_compared_once() -> None:
    at = (("a", "x"), ("a", "y"), ("b", "x"), ("c", "x"))
    cells = [make_cell([(1, 0)], explainer=explainer, layer=layer) for explainer, layer in at]
    cells += [make_cell([(1, 0)], explainer="d", layer="y", raw=np.ones((1, 3, 3)))]
    assert [(each.first, each.second, each.layer) for each in agreements(0, cells)] == [
        ("a", "b", "x"),
        ("a", "c", "x"),
        ("b", "c", "x"),
    ]


def test_the_disagreement_about_an_image_is_that_of_the_two_explainers_furthest_apart() -> None:
    """Of three explainers and two classes; whichever of the pairs comes last."""
    rows = [(1, 0), (1, 2), (3, 1)]
    ranks = np.arange(8.0).reshape(2, 4)
    near = ranks.copy()
    near[0, :2] = 1, 0
    of = {"a": [ranks, ranks, ranks], "b": [-ranks, ranks, near], "c": [ranks, near, ranks]}
    cells = [(0, make_cell(rows, explainer=name, raw=np.stack(raw).astype(np.float32))) for name, raw in of.items()]
    apart = 1 - spearmanr(ranks.ravel(), near.ravel()).statistic
    for order in permutations(cells):
        assert disagreements(order, np.array([1, 3])) == pytest.approx({1: 2.0, 3: apart})


def test_only_maps_of_one_run_at_one_layer_on_one_grid_disagree() -> None:
    plain = make_cell([(1, 0)])
    others = {
        "run": (1, make_cell([(1, 0)], explainer="b")),
        "layer": (0, make_cell([(1, 0)], explainer="b", layer="layer3")),
        "grid": (0, make_cell([(1, 0)], explainer="b", raw=np.ones((1, 4, 2)))),
        "row": (0, make_cell([(1, 2)], explainer="b")),
        "nothing to rank": (0, make_cell([(1, 0)], explainer="b", raw=np.ones((1, 2, 4)))),
    }
    assert {why: disagreements([(0, plain), other], np.array([1])) for why, other in others.items()} == {
        why: {} for why in others
    }


def test_finished_pictures_are_compared_with_nothing() -> None:
    kinds = {"a": "layer", "b": "layer", "c": "picture", "d": "picture"}
    cells = [make_cell([(1, 0)], explainer=name, output=kind) for name, kind in kinds.items()]
    assert [(each.first, each.second) for each in agreements(0, cells)] == [("a", "b")]


def test_cell_of_finished_pictures_says_so_with_its_steps(tmp_path: Path) -> None:
    cell = make_cell([(0, 0)], output="picture", steps=("ReLU", "resized"))
    data = read_run(small_run(tmp_path, cells=[cell]))
    view = cell_view(0, data, data.cells[0], np.empty(0, np.int64))
    assert (view.picture, view.steps) == (True, ("ReLU", "resized"))


# --- the gallery -------------------------------------------------------------------------------------------


def test_an_image_comes_with_its_picture_its_maps_and_what_each_run_says(tmp_path: Path) -> None:
    cell = make_cell([(1, 0), (1, 1), (1, 2), (3, 1)])
    samples = make_samples([1, 3], labels=[0, 1], names=["<b>.png", "3.png"])
    one = read_run(small_run(tmp_path, cells=[cell], samples=samples))
    two = read_run(small_run(tmp_path, "two", predicted=LABELS))
    item = next(each for each in items_of(gallery([one, two], [(0, cell)], np.array([1, 3, 4]))) if each.id == 1)
    assert (item.file, item.true, item.pixels) == ("<b>.png", 0, bytes([1]) * 32 * 32 * 3)
    assert [each and each.predicted for each in item.predictions] == [1, 0]
    assert [(each.target, each.role) for each in item.maps] == [(0, "true"), (1, "predicted"), (2, "asked")]
    said, expected = item.predictions[0], softmax(one.predictions.logits)[1]
    assert (said.probability, said.true_probability) == (expected[1], expected[0])


def test_of_an_image_that_is_right_the_map_is_of_both_roles_and_one_without_a_picture_is_left_out(
    tmp_path: Path,
) -> None:
    cell = make_cell([(0, 0)])
    data = read_run(small_run(tmp_path, cells=[cell], samples=make_samples([0], labels=[0])))
    assert [(item.id, item.maps[0].role) for item in items_of(gallery([data], [(0, cell)], np.array([0, 3])))] == [
        (0, "both")
    ]
    assert gallery([data.seen_as(samples=None)], [], np.array([0, 3])).ids == ()


def test_the_most_confident_error_comes_first_and_what_is_right_last(tmp_path: Path) -> None:
    data = read_run(small_run(tmp_path, samples=make_samples([0, 1, 3, 5], labels=[0, 0, 1, 2])))
    assert [item.id for item in items_of(gallery([data], [], np.array([0, 1, 3, 5])))] == [5, 3, 1, 0]


def test_the_gallery_takes_a_picture_from_any_run_that_has_it(tmp_path: Path) -> None:
    one = read_run(small_run(tmp_path, samples=make_samples([1])))
    two = read_run(small_run(tmp_path, "two", samples=make_samples([1, 3], labels=[0, 1])))
    assert {item.id for item in items_of(gallery([one, two], [], np.array([1, 3])))} == {1, 3}


def test_a_picture_is_shown_as_large_as_a_run_saw_it_and_lossless_up_to_64_pixels(tmp_path: Path) -> None:
    def seen_at(edge: int, ids: Sequence[int]) -> Samples:
        pictures = np.random.default_rng(edge).integers(0, 256, (len(ids), edge, edge, 3), dtype=np.uint8)
        return replace(make_samples(ids, labels=[LABELS[each] for each in ids]), pictures=kept(pictures, edge))

    plain = seen_at(48, [1])
    one = read_run(small_run(tmp_path, samples=plain))
    two = read_run(small_run(tmp_path, "two", samples=seen_at(96, [1, 3])))
    small, both = gallery([one], [], np.array([1, 3])), gallery([one, two], [], np.array([1, 3]))
    assert (small.edge, small.pixels, small.pictures) == (48, plain.pictures.tobytes(), ())
    assert (both.edge, both.pixels, [edge_of(each) for each in both.pictures]) == (96, b"", [96, 96])


# --- quantised maps ----------------------------------------------------------------------------------------

VALUES = st.floats(-1e6, 1e6, width=32)


@given(st.lists(st.lists(VALUES, min_size=6, max_size=6), min_size=1, max_size=3))
def test_a_quantised_map_is_at_most_half_a_level_off_its_own_range(values: list[list[float]]) -> None:
    raw = np.array(values, np.float32).reshape(-1, 2, 3)
    for one, low, high, levels in zip(raw, *quantised(raw), strict=True):
        back = low + levels / 255 * (high - low)
        assert np.abs(back - one).max() <= (high - low) / 255 / 2 * (1 + 1e-9) + 1e-12
        assert (low, high) == (one.min(), one.max())


@pytest.mark.parametrize(
    ("values", "ends", "expected"),
    [
        ([-3.5] * 6, (-3.5, -3.5), [0] * 6),
        ([np.nan, np.inf, -np.inf, 1, 2, 3], (1.0, 3.0), [0, 255, 0, 0, 128, 255]),
        ([np.nan] * 6, (0.0, 0.0), [0] * 6),
    ],
    ids=["a constant map keeps its value", "the nearest end", "no finite value"],
)
def test_a_quantised_map_of_one_value_or_of_values_that_are_not_finite(
    values: list[float], ends: tuple[float, float], expected: list[int]
) -> None:
    (low,), (high,), levels = quantised(np.array(values, np.float32).reshape(1, 2, 3))
    assert ((low, high), levels.ravel().tolist()) == (ends, expected)


@pytest.mark.parametrize("at_once", [1, 2, 512])
def test_the_maps_of_a_cell_stand_in_columns_image_by_image(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("bench.pages.gallery.AT_ONCE", at_once)
    states = np.array([status(word) for word in ("ok", "dead", "constant", "ok")], np.uint8)
    cell = make_cell([(1, 0), (1, 1), (3, 2), (4, 1)], status=states)
    predictions = Predictions(np.arange(5), np.array([0, 0, 0, 2, 0]), np.eye(3, dtype=np.float32)[[0, 1, 0, 2, 0]])
    found = cell_maps(cell, predictions, np.array([3, 9, 1]))
    assert (found.items, found.targets) == ((0, 2, 2), (2, 0, 1))
    assert [ROLES[code] for code in found.roles] == ["both", "true", "predicted"]
    assert [STATUSES[code] for code in found.statuses] == ["constant", "ok", "dead"]
    low, high, levels = quantised(cell.raw[[2, 0, 1]])
    assert (found.low, found.high, found.levels) == (tuple(low), tuple(high), levels.tobytes())
    assert (found.places(0, 1), found.places(1, 2), found.places(2, 3)) == (range(0, 1), range(1, 1), range(1, 3))


def test_an_image_of_a_gallery_is_made_of_its_columns(tmp_path: Path) -> None:
    cell = make_cell([(1, 0), (1, 1), (3, 1)])
    data = read_run(small_run(tmp_path, cells=[cell], samples=make_samples([1, 3], labels=[0, 1])))
    found = gallery([data], [(0, cell)], np.array([1, 3]))
    items = items_of(found)
    assert [item.id for item in items] == list(found.ids) == [3, 1] and [len(item.maps) for item in items] == [1, 2]
    levels = b"".join(one.levels for item in items for one in item.maps)
    assert (levels, b"".join(item.pixels for item in items)) == (found.maps[0].levels, found.pixels)


def test_samples_written_later_are_read(tmp_path: Path) -> None:
    folder = small_run(tmp_path, samples=make_samples([1]))
    RunFolder(folder).add_samples(make_samples([3], labels=[1]))
    assert read_run(folder).samples.ids.tolist() == [1, 3]
