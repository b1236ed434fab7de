"""What a comparison page says of speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from run_factory import CHECKPOINT_SHA, make_cell, make_run
from timing_factory import make_timing

from bench.comparing import comparison_page
from bench.pages import read_run
from bench.timingfile import write_timing
from bench.views import Page

SLOWER = {"one": [0.04] * 12, "two": [0.05, 0.051, 0.049, 0.05] * 3}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name, predicted in (("one", [0, 1, 1, 1]), ("two", [0, 0, 1, 1])):
        make_run(tmp_path, name, labels=[0, 1, 0, 1], predicted=predicted, cells=[make_cell([(2, 1)])])
    return tmp_path


def page_of(runs: Path) -> Page:
    return comparison_page([read_run(runs / name) for name in ("one", "two")], np.array([2]), created="now")


def known(checkpoint: str = CHECKPOINT_SHA) -> dict[str, dict[str, str]]:
    return {name: {"model": "net", "checkpoint": checkpoint} for name in SLOWER}


def test_without_a_timing_the_page_says_that_times_are_not_paired(runs: Path) -> None:
    page = page_of(runs)
    assert [badge.text for badge in page.badges if "paired" in badge.text] == [
        "timings not paired: taken one after the other"
    ]
    assert not any("paired rounds" in finding.evidence for finding in page.findings)


def test_a_paired_timing_of_the_runs_gives_badge_and_sentence_with_interval_and_id(runs: Path) -> None:
    write_timing(runs, make_timing(SLOWER, models=known()))
    page = page_of(runs)
    assert [badge.text for badge in page.badges if "paired" in badge.text] == ["speeds paired: timing T1"]
    sentence = page.findings[-1]
    assert sentence.before + sentence.link + sentence.after == ("two, forward: 0.800× (slower) against one, forward")
    assert sentence.evidence == "interval 0.784 to 0.816, 12 paired rounds, timing T1"
    assert sentence.anchor == "models"


def test_a_timing_of_other_weights_or_of_one_run_alone_says_nothing(runs: Path) -> None:
    write_timing(runs, make_timing(SLOWER, models=known("other")))
    write_timing(runs / "one", make_timing({"one": [0.04] * 12}, models={"one": known()["one"]}))
    assert not any("paired rounds" in finding.evidence for finding in page_of(runs).findings)
    assert any(badge.text.startswith("timings not paired") for badge in page_of(runs).badges)


def test_a_timing_by_the_names_of_the_models_serves_where_there_is_none_of_the_runs(runs: Path) -> None:
    write_timing(runs, make_timing({"net": [0.04] * 12, "other": [0.04] * 12}))
    assert any(badge.text == "speeds paired: timing T1" for badge in page_of(runs).badges)


def test_a_page_says_when_the_machine_was_busy(runs: Path) -> None:
    notes = ("the machine was busy: others took 34% of it during the rounds",)
    write_timing(runs, make_timing(SLOWER, models=known(), notes=notes))
    busy = next(badge for badge in page_of(runs).badges if "paired" in badge.text)
    assert (busy.ok, busy.text) == (False, "speeds paired, timing T1, but the machine was busy")
