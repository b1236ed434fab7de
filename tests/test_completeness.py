"""Maps that promise it are held against the difference of two logits: in figures, in cells and by the judge."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_factory import make_cell
from test_verdicts import judge, small, small_sample
from torch import Tensor, nn

from bench.contracts import ExplainerSpec
from bench.explaining.making import filled
from bench.explaining.plan import MissingRows
from bench.registry.registry import discover
from bench.schema.run import Cell
from bench.schema.verdicts import Completeness, Verdict
from bench.stats.completeness import completeness
from bench.store.files import read_npz
from bench.store.rows import merge_cells, read_cell, sums_of, write_cell

explainers = discover("explainer", ExplainerSpec)


def adds_up(sums: list[float], due: list[float], promise: str = "always") -> Completeness | None:
    return completeness(promise, np.array(sums), np.array(due))


@pytest.mark.parametrize(
    ("sums", "due", "words"),
    [
        ([1.0, -2.0], [1.0, -2.0], "complete"),
        ([1.009, -2.0], [1.0, -2.0], "complete"),
        ([1.5, -2.0, 4.0], [1.0, -2.0, 4.0], "sum off by 0 %, at most 25 %"),
        ([0.0, 0.0], [0.0, 0.0], "complete"),
        ([1.0, 1.0], [0.0, 0.0], "sum off by 100,000,000 %, at most 100,000,000 %"),
        ([2.56, np.nan, 1.0], [1.0, 1.0, np.nan], "sum off by 156 %, at most 156 %"),  # of the one that is known
        ([1.02], [1.0], "sum off by 2 %, at most 2 %"),
    ],
)
def test_a_verdict_is_complete_or_by_how_much_not(sums: list[float], due: list[float], words: str) -> None:
    found = adds_up(sums, due)
    assert found is not None and found.verdict == words


def test_what_holds_in_expectation_gets_a_figure_and_no_verdict_and_no_promise_nothing() -> None:
    found = adds_up([1.0], [1.0], "expected")
    assert found is not None and found.verdict == "sum off by 0 %, at most 0 % (right in expectation)"
    assert adds_up([1.0], [1.0], "") is None and adds_up([1.0], [np.nan]) is None


# --- cells ------------------------------------------------------------------------------------------------------------


def promising(rows: list[tuple[int, int]], **changes: Any) -> Cell:
    """A cell whose maps hold a ninth of what is due in each of nine pixels."""
    due = np.arange(1, len(rows) + 1, dtype=np.float32)
    raw = np.repeat(due / 9, 9).reshape(-1, 3, 3).astype(np.float32)
    return make_cell(rows, promise="always", due=due, raw=raw, **changes)


def test_a_cell_keeps_what_is_due_and_its_verdict_stands_in_the_file(tmp_path: Path) -> None:
    write_cell(tmp_path / "input.npz", promising([(0, 0), (1, 2)]))
    found = read_cell(tmp_path / "input.npz")
    assert found.due is not None and found.due.tolist() == [1, 2]
    counted = sums_of(found)
    assert counted is not None and (counted.verdict, counted.maps) == ("complete", 2)
    assert '"complete": "complete"' in str(read_npz(tmp_path / "input.npz", ("head",))["head"])


def test_rows_from_before_are_kept_and_only_the_others_are_counted(tmp_path: Path) -> None:
    write_cell(tmp_path / "input.npz", make_cell([(0, 0), (5, 1)], raw=np.ones((2, 3, 3), np.float32)))
    old = read_cell(tmp_path / "input.npz")
    assert old.due is None and sums_of(old) is None
    whole = merge_cells(old, promising([(1, 2), (5, 1)]))
    assert whole.due is not None and whole.ids.tolist() == [0, 1, 5]
    assert np.array_equal(whole.due, [np.nan, 1, 2], equal_nan=True)
    counted = sums_of(whole)
    assert counted is not None and (counted.maps, counted.verdict) == (2, "complete")


def test_what_is_due_of_a_row_is_its_classes_logit_less_the_baselines() -> None:
    missing = MissingRows("deeplift", explainers["deeplift"], ("input",), np.array([4, 7]), np.array([[0, 1], [1, 1]]))
    logits, maps = np.array([[1.0, 2.0], [3.0, 5.0]]), np.zeros((2, 2, 3, 3))
    found = filled(promising([]), missing, logits, maps, baseline=np.array([10.0, 20.0]))
    assert found.due is not None and found.due.tolist() == [-9, -18, -15]


# --- the judge --------------------------------------------------------------------------------------------------------


class Gated(nn.Module):
    """A product of two branches, which no rule of DeepLIFT's knows."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits * logits


def judged(name: str, net: nn.Module, **changes: Any) -> Verdict:
    (one,) = judge(net.eval(), small_sample(), {name: replace(explainers[name], **changes)}, "input")
    return one


def test_the_judge_says_in_float64_which_maps_add_up_and_by_how_much_others_do_not() -> None:
    right, wrong = judged("deeplift", small()), judged("deeplift", Gated())
    assert right.complete is not None and right.complete.verdict == "complete" and right.complete.largest < 1e-9
    assert wrong.complete is not None and wrong.complete.verdict.startswith("sum off by ")
    model, sample = Gated().double().eval(), small_sample()
    images = sample.images.double()
    with torch.no_grad():
        due = (model(images) - model(torch.zeros_like(images))).gather(1, sample.targets)
    sums = explainers["deeplift"].explain(model, ["input"], images, sample.targets)["input"].sum((2, 3))
    by_hand = np.median((sums - due).abs() / due.abs().clamp(min=float(np.median(due.abs()))))
    assert wrong.complete.median == pytest.approx(float(by_hand), rel=1e-6)


def test_a_plug_in_may_promise_it_and_others_are_not_asked() -> None:
    assert judged("saliency", small()).complete is None
    promised = judged("saliency", small(), complete="always").complete
    assert promised is not None and promised.verdict.startswith("sum off by ")
    assert {name for name in explainers if explainers[name].complete} == {
        "integrated_gradients", "deeplift", "gradient_shap",
    }  # fmt: skip
