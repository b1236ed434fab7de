"""Scores in words: nothing is rounded into a claim, and what is no evidence says so."""

import sys
from pathlib import Path

import pytest
from run_factory import make_record, make_request

from bench.contracts import RESNET_LAYERS
from bench.schema.page import Estimate
from bench.schema.run import Results
from bench.schema.scores import (
    Cost,
    ExplainerScores,
    FaithfulnessScores,
    Flip,
    Gain,
    Health,
    Likeness,
    PairScores,
    SanityScores,
)
from bench.scoring.tables import NOTHING, beside, figure, gain, head_words, percent, points, sheets

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import faithfulness

HIGH, LOW = Estimate(0.4, 0.3, 0.5), Estimate(0.01, -0.02, 0.04)
CLEAR, CHANCE = Likeness(HIGH, LOW, 50), Likeness(LOW, LOW, 50)
HEALTH = Health(maps=100, dead=3, constant=1, non_finite=0, tied=0.25, kappa=1.25, kappa_largest=31.0)


def row(name: str, layer: str, *, health: Health | None = HEALTH) -> ExplainerScores:
    flips = (Flip(2, Estimate(0.4, 0.3, 0.5), Estimate(0.1, 0.05, 0.2), Estimate(0.3, 0.2, 0.4)),)
    contrast = CHANCE if health else None
    return ExplainerScores(
        name, layer, 4, 4, 50, CLEAR, CHANCE, Gain(HIGH, LOW), Gain(LOW, None), flips, contrast, health,
    )  # fmt: skip


def scores(**changes: object) -> FaithfulnessScores:
    rows = tuple(row(name, layer) for layer in RESNET_LAYERS[2:] for name in ("gradcam", "mine.py:explain"))
    baselines = (row("random", "layer4", health=None), row("centre", "layer4", health=None))
    values = {
        "schema": 1, "run": "cpu", "checkpoint": "c", "model": "net", "device": "some CPU", "versions": {},
        "images": 50, "wrong": 90, "cost": Cost(50, 0, 0, 0, 100), "answers": 5000, "rows": (*rows, *baselines),
        "pairs": (PairScores("layer4", "gradcam", "centre", CHANCE, CLEAR),),
        "sanity": tuple(SanityScores(name, "layer4", "head", CHANCE) for name in ("gradcam", "captum")),
    }  # fmt: skip
    return FaithfulnessScores(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (Estimate(0.2, 0.1, 0.3), "+0.200 (+0.100 to +0.300)"),
        (Estimate(-0.2, -0.3, -0.1), "-0.200 (-0.300 to -0.100)"),
        (Estimate(0.2, -0.1, 0.3), "+0.200 (-0.100 to +0.300), no evidence"),
        (Estimate(0.2, 0.0, 0.3), "+0.200 (+0.000 to +0.300), no evidence"),
        (None, NOTHING),
    ],
)
def test_a_gain_whose_interval_reaches_0_is_no_evidence(one: Estimate | None, words: str) -> None:
    assert gain(one) == words


def test_figures_come_with_their_interval() -> None:
    assert (figure(HIGH), figure(None), percent(HIGH)) == ("0.40 (0.30 to 0.50)", NOTHING, "40.0 % (30.0 to 50.0)")
    assert (points(HIGH), points(LOW)) == ("+40.0 (+30.0 to +50.0)", "+1.0 (-2.0 to +4.0), no evidence")
    assert beside(CLEAR) == ("0.40 (0.30 to 0.50)", "0.01 (-0.02 to 0.04)", "above")
    assert (beside(CHANCE)[2], beside(None), beside(Likeness(None, None, 3))) == ("no evidence", *[(NOTHING,) * 3] * 2)


def test_every_table_is_as_wide_as_its_head_and_those_without_a_row_are_left_out() -> None:
    found = sheets(scores())
    assert len(found) == 6 and all({len(line) for line in sheet.rows} == {len(sheet.heads)} for sheet in found)
    assert len(sheets(scores(pairs=(), sanity=()))) == 4 and sheets(scores(rows=(), pairs=(), sanity=())) == ()


def test_own_explainers_are_named_shortly_and_baselines_have_no_state() -> None:
    truth, *_, state = sheets(scores())
    assert {line[1] for line in truth.rows} == {"gradcam", "mine.py:explain", "random", "centre"}
    assert {line[1] for line in state.rows} == {"gradcam", "mine.py:explain"}
    assert state.rows[0][2:8] == ("100", "3", "1", "0", "25 %", "1.2 (31)")


def test_the_centre_is_not_held_against_itself() -> None:
    (centre,) = [line for line in sheets(scores())[1].rows if line[1] == "centre"]
    assert (centre[4], centre[6]) == (NOTHING, NOTHING)


def test_explainers_with_equal_figures_share_a_line_of_the_sanity_table() -> None:
    sanity = sheets(scores())[4]
    assert [line[0] for line in sanity.rows] == ["gradcam, captum"] and sanity.rows[0][-1] == "nothing left"
    other = (*scores().sanity, SanityScores("mine", "layer4", "head", CLEAR))
    assert [line[-1] for line in sheets(scores(sanity=other))[4].rows] == ["nothing left", "still alike"]


def test_the_head_says_how_many_of_how_many() -> None:
    assert head_words(scores()).startswith("cpu: 50 of 90 misclassified images, 5,000 answers to covered patches;")
    assert "200 of them computed now at 100 a second" in head_words(scores(new=200, seconds=2.0))


def test_the_document_holds_every_table_as_markdown_under_hardware_and_versions() -> None:
    record = make_record("cpu", results=Results(accuracy=0.7931), request=make_request(recipe="recipes/cpu.toml"))
    text = faithfulness.text_of(scores(versions={"torch": "2.14.1"}), record, 12.3)
    assert text.startswith("some CPU; torch 2.14.1. `net`, recipe `cpu`, digits, test accuracy 79.31 %. cpu: 50 of 90")
    assert text.count("\n### ") == 6
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert "| layer4 | gradcam | 50 | 0.40 (0.30 to 0.50) | 0.01 (-0.02 to 0.04) | above |" in "\n".join(lines)[:5000]
    assert "took" not in text
    for sheet in sheets(scores()):
        assert f"### {sheet.title}\n\n{sheet.note}\n\n| {sheet.heads[0]} |" in text
    assert "took 12 minutes." in faithfulness.text_of(scores(new=5000, seconds=60.0), record, 12.3)
