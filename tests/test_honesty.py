"""The pages of the honesty benchmark, a few of each family: what is planted is found, and little of what is not."""

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.pages import build
from bench.stats.intervals import LEVEL

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import honesty

PAGES = 40


@pytest.mark.slow
@pytest.mark.parametrize("place", range(len(honesty.families())), ids=[each.name for each in honesty.families()])
def test_pages_without_a_difference_claim_none_and_planted_ones_are_found(place: int) -> None:
    """Of 40 pages of which 4 in 100 are false, more than 7 are once in 5,000 times."""
    family = honesty.families()[place]
    claimed = honesty.counted(place, 1, PAGES)
    if family.planted:
        assert claimed >= PAGES / 10
    elif not family.beyond:
        assert claimed <= 7


def test_equal_runs_judged_pair_by_pair_would_fail_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the benchmark can fail: without Holm every second page of ten runs claims something."""
    pages = [np.random.default_rng(each) for each in range(12)]
    assert sum(honesty.runs_page(each, runs=10) for each in pages) <= 3
    monkeypatch.setattr(build, "holm", tuple)
    monkeypatch.setattr(build, "holm_levels", lambda values: (LEVEL,) * len(values))
    pages = [np.random.default_rng(each) for each in range(12)]
    assert sum(honesty.runs_page(each, runs=10) for each in pages) >= 5


@pytest.mark.parametrize(
    ("page", "options"),
    [
        (honesty.runs_page, {"runs": 3, "better": 0.03}),
        (honesty.explainers_page, {"explainers": 3, "shape": "even", "better": 0.3}),
        (honesty.modelless_page, {"explainers": 3, "better": 0.3}),
        (honesty.arms_page, {"noise": honesty.steady, "arms": 3, "slower": 0.2}),
    ],
)
def test_a_large_difference_is_found_on_most_pages(page: honesty.Page, options: dict[str, object]) -> None:
    found = [page(np.random.default_rng(each), **options) for each in range(4)]  # type: ignore[call-arg]
    assert sum(found) >= 3


def test_the_table_says_what_was_counted() -> None:
    null, planted = honesty.Family("equal", bool), honesty.Family("unequal", bool, planted=True)
    assert honesty.row(null, 80, 2000) == ["equal", "2,000", "4.0 %", "5.0 %", "–"]
    assert honesty.row(planted, 500, 2000) == ["unequal", "2,000", "–", "–", "25 %"]
