"""Scores in words: nothing is rounded into a claim, and what is no evidence says so."""

import sys
from pathlib import Path

import pytest
from run_factory import make_record, make_request

from bench.contracts import RESNET_LAYERS
from bench.schema.page import Estimate
from bench.schema.run import Results
from bench.schema.scores import (
    ByFill,
    Ceiling,
    Cost,
    Difference,
    ExplainerScores,
    FaithfulnessScores,
    Flip,
    Gain,
    Health,
    Likeness,
    PairScores,
    Road,
    SanityScores,
    ScoresAlike,
)
from bench.scoring.tables import NOTHING, Sheet, beside, figure, gain, head_words, percent, points, sheets

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import faithfulness

HIGH, LOW = Estimate(0.4, 0.3, 0.5), Estimate(0.01, -0.02, 0.04)
CLEAR = Likeness(HIGH, LOW, 50, gain=HIGH, over=Estimate(0.2, 0.1, 0.3), rival="contrast", verdict="above")
CHANCE, SILENT = Likeness(LOW, LOW, 50), Likeness(HIGH, LOW, 50, verdict="")
GAIN = Gain(HIGH, HIGH, Estimate(0.2, 0.1, 0.3), "contrast", "above")
HEALTH = Health(maps=100, dead=3, constant=1, non_finite=0, tied=0.25, kappa=1.25, kappa_largest=31.0)


def row(name: str, layer: str, *, health: Health | None = HEALTH) -> ExplainerScores:
    flips = (Flip(2, Estimate(0.4, 0.3, 0.5), Estimate(0.1, 0.05, 0.2), Estimate(0.3, 0.2, 0.4)),)
    contrast, logit = (CHANCE, CLEAR) if health else (None, SILENT)
    return ExplainerScores(
        name, layer, 4, 4, 50, logit, CHANCE, GAIN, Gain(LOW, None), flips, contrast, health,
        fills=(ByFill(LOW, LOW, 50, fill="blur"),), road=Road(HIGH, HIGH, GAIN, 40), sparseness=HIGH, sensitivity=LOW,
    )  # fmt: skip


DIFFERENCES = (
    Difference("layer4", "gradcam", "captum", "margin", Estimate(-0.2, -0.3, -0.1), 0.04, 50, "second"),
    Difference("layer4", "gradcam", "mine", "margin", Estimate(0.01, -0.1, 0.1), 0.12, 48, "no evidence"),
    Difference("layer4", "gradcam", "twin", "margin", None, None, 50, "equal"),
    Difference("layer4", "gradcam", "captum", "ROAD", Estimate(0.01, -0.1, 0.1), 0.3, 40, "no evidence"),
)


def scores(**changes: object) -> FaithfulnessScores:
    rows = tuple(row(name, layer) for layer in RESNET_LAYERS[2:] for name in ("gradcam", "mine.py:explain"))
    baselines = (row("random", "layer4", health=None), row("centre", "layer4", health=None))
    values = {
        "schema": 1, "run": "cpu", "checkpoint": "c", "model": "net", "device": "some CPU", "versions": {},
        "images": 50, "wrong": 90, "cost": Cost(50, 0, 0, 0, 100), "answers": 5000, "rows": (*rows, *baselines),
        "pairs": (PairScores("layer4", "gradcam", "centre", CHANCE, CLEAR),),
        "sanity": tuple(SanityScores(name, "layer4", "head", LOW, LOW) for name in ("gradcam", "captum")),
        "ceilings": (Ceiling("layer4", "mean colour", "blur", HIGH),), "differences": DIFFERENCES,
        "alike": (ScoresAlike("margin", "ROAD", -0.5, 6),),
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
    assert len(found) == 10 and all({len(line) for line in each.rows} == {len(each.heads)} for each in found)
    nothing: dict[str, object] = dict.fromkeys(("pairs", "sanity", "differences", "alike"), ())
    assert len(sheets(scores(**nothing))) == 6 and sheets(scores(**nothing, rows=(), ceilings=())) == ()


def test_own_explainers_are_named_shortly_and_baselines_have_no_state() -> None:
    truth, *_, state = sheets(scores())
    assert {line[1] for line in truth.rows} == {"gradcam", "mine.py:explain", "random", "centre"}
    assert {line[1] for line in state.rows} == {"gradcam", "mine.py:explain"}
    assert state.rows[0][2:8] == ("100", "3", "1", "0", "25 %", "1.2 (31)")


def sheet(title: str, **changes: object) -> Sheet:
    (found,) = [each for each in sheets(scores(**changes)) if each.title.startswith(title)]
    return found


def test_a_row_that_knows_no_model_has_no_reading_whatever_its_figures() -> None:
    """`above` beside a baseline would bless what saw no model."""
    lines = {line[1]: line for line in sheet("Against covering one patch at a time, by mean").rows}
    assert lines["gradcam"][5:7] == ("0.20 (0.10 to 0.30) contrast", "above")
    assert lines["random"][3] == lines["gradcam"][3] and lines["random"][5:7] == (NOTHING, NOTHING)


def test_the_fills_stand_side_by_side_above_what_each_could_reach_at_most() -> None:
    found = sheet("Against covering one patch at a time, by what")
    assert found.heads == ("layer", "explainer", "by mean colour", "reading", "by blur", "reading")
    assert found.rows[-1] == ("layer4", "the drops by blur", figure(HIGH), NOTHING, NOTHING, NOTHING)


def test_a_clear_difference_is_told_with_the_better_one_first_and_what_could_not_be_seen_stands_beside() -> None:
    margin, road = sheet("Explainer against explainer").rows
    assert margin == ("layer4", "margin", "50", "3", "1", "0.120", "captum over gradcam by 0.200 (0.100 to 0.300)")
    assert road[-2:] == ("0.300", "no evidence")
    equal = sheet("Explainer against explainer", differences=DIFFERENCES[2:3]).rows
    assert equal == (("layer4", "margin", "50", "1", "1", NOTHING, "equal"),)


def test_scores_that_do_not_agree_are_told_in_a_square() -> None:
    assert sheet("Which scores").rows == (("margin", NOTHING, "-0.50"), ("ROAD", "-0.50", NOTHING))


def test_explainers_with_equal_figures_share_a_line_of_the_sanity_table() -> None:
    sanity = sheet("With scrambled weights")
    assert [line[0] for line in sanity.rows] == ["gradcam, captum"] and sanity.rows[0][-1] == "undecided"
    other = (*scores().sanity, SanityScores("mine", "layer4", "head", HIGH, verdict="still alike"))
    assert [line[-1] for line in sheet("With scrambled", sanity=other).rows] == ["undecided", "still alike"]


def test_the_head_says_how_many_of_how_many() -> None:
    assert head_words(scores()).startswith(
        "cpu: 50 of 90 misclassified images, 5,000 answers to images with hidden patches;"
    )
    assert "200 of them computed now at 100 a second" in head_words(scores(new=200, seconds=2.0))


def test_the_document_holds_every_table_as_markdown_under_hardware_and_versions() -> None:
    record = make_record("cpu", results=Results(accuracy=0.7931), request=make_request(recipe="recipes/cpu.toml"))
    text = faithfulness.text_of(scores(versions={"torch": "2.14.1"}), record, 12.3)
    assert text.startswith("some CPU; torch 2.14.1. `net`, recipe `cpu`, digits, test accuracy 79.31 %. cpu: 50 of 90")
    assert text.count("\n### ") == 10
    line = (
        "| layer4 | gradcam | 50 | 0.40 (0.30 to 0.50) | 0.01 (-0.02 to 0.04) | 0.20 (0.10 to 0.30) contrast | above |"
    )
    assert line in text
    assert "took" not in text
    for each in sheets(scores()):
        assert f"### {each.title}\n\n{each.note}\n\n| {each.heads[0]} |" in text
    assert "took 12 minutes." in faithfulness.text_of(scores(new=5000, seconds=60.0), record, 12.3)
