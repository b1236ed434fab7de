"""What a comparison page says of speed."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from run_factory import CHECKPOINT_SHA, make_cell, make_run
from timing_factory import make_speeds, make_timing

from bench.pages.build import comparison_page, run_page
from bench.pages.speeds import speed_findings
from bench.schema.page import Page
from bench.schema.timing import ArmTiming, Sample
from bench.store.folder import read_run
from bench.store.timings import write_timing

SLOWER = {"one": [0.04] * 12, "two": [0.05, 0.051, 0.049, 0.05] * 3}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name, predicted in (("one", [0, 1, 1, 1]), ("two", [0, 0, 1, 1])):
        make_run(tmp_path, name, labels=[0, 1, 0, 1], predicted=predicted, cells=[make_cell([(2, 1)])])
    return tmp_path


def page_of(runs: Path) -> Page:
    return comparison_page([read_run(runs / name) for name in ("one", "two")], np.array([2]), created="now")


def pairing(page: Page) -> list[tuple[bool, str]]:
    """What its badges say of it."""
    return [(badge.ok, badge.text) for badge in page.badges if "speeds" in badge.text]


def known(checkpoint: str = CHECKPOINT_SHA) -> dict[str, dict[str, str]]:
    return {name: {"model": "net", "checkpoint": checkpoint} for name in SLOWER}


NOT_COMPARED = [(False, "speeds not compared: the runs were not timed together")]


def test_without_a_timing_the_page_says_that_speeds_are_not_compared(runs: Path) -> None:
    page = page_of(runs)
    assert pairing(page) == NOT_COMPARED
    assert not any("paired rounds" in finding.evidence for finding in page.findings)


def test_a_paired_timing_of_the_runs_gives_badge_and_sentence_with_interval_and_id(runs: Path) -> None:
    write_timing(runs, make_timing(SLOWER, models=known()))
    page = page_of(runs)
    assert pairing(page) == [(True, "speeds paired: timing T1")]
    said = page.findings[-1]
    assert said.before + said.link + said.after == "two answers more slowly than one"
    assert (said.evidence, said.anchor) == ("0.800× (slower), 0.784 to 0.816; 12 paired rounds", "speed")
    (speeds,) = page.speeds
    assert [(one.arm.model, one.runs, round(one.rounds[0])) for one in speeds.arms] == [
        ("one", (0,), 100),
        ("two", (1,), 80),
    ]
    assert speeds.arms[0].ratios == ()
    assert speeds.arms[1].ratios == pytest.approx([0.8, 0.04 / 0.051, 0.04 / 0.049, 0.8] * 3)


def test_arms_that_do_not_differ_share_one_sentence_that_claims_nothing(runs: Path) -> None:
    same = {"one": [0.040, 0.041] * 6, "two": [0.041, 0.040] * 6}
    write_timing(runs, make_timing(same, models=known()))
    sentence = page_of(runs).findings[-1]
    assert (sentence.link, sentence.after, sentence.evidence) == (
        "No measurable difference in speed", " between one and two: forward pass",
        "ratio 0.976 to 1.025; 12 paired rounds",
    )  # fmt: skip


def test_what_stands_alike_to_the_baseline_shares_a_sentence() -> None:
    speeds = make_speeds(2, ("gradcam", "captum", "reference"))
    third = dataclasses.replace(
        speeds.arms[1], runs=(2,), arm=dataclasses.replace(speeds.arms[1].arm, name="forward[m2]", model="m2")
    )
    deeper = [
        dataclasses.replace(one, arm=moved(one.arm, "layer4"))
        for one in speeds.arms
        if one.arm.what in ("explain", "shipped")
    ]
    whole = dataclasses.replace(speeds, arms=(*speeds.arms, third, *deeper))
    told = speed_findings(whole, labels=("a", "b", "c"), explainers=("gradcam", "captum"))
    assert [one.before + one.link + one.after for one in told] == [
        "b and c answer more slowly than a",
        "b trains more slowly than a",
        "captum explains more slowly than gradcam at layer3 and layer4: maps, all in one form",
        "captum explains more slowly than gradcam at layer3 and layer4: what each library gives its users",
    ]
    assert told[0].evidence.count(f"{speeds.arms[1].arm.ratio.value:.3f}× (slower)") == 2


def moved(arm: ArmTiming, layer: str) -> ArmTiming:
    """The arm, and what it is compared with, at another layer."""
    ratio = arm.ratio and dataclasses.replace(arm.ratio, baseline=arm.ratio.baseline.replace("layer3", layer))
    return dataclasses.replace(arm, name=arm.name.replace("layer3", layer), layers=(layer,), ratio=ratio)


def test_what_noise_forbids_is_no_claim_and_its_reason_is_said_once() -> None:
    speeds = make_speeds(3)
    noisy = dataclasses.replace(speeds.arms[2], arm=dataclasses.replace(speeds.arms[2].arm, name="x", model="x"))
    told = speed_findings(
        dataclasses.replace(speeds, arms=(*speeds.arms, noisy)), labels=("a", "b", "c"), explainers=()
    )
    assert [one.evidence.count("struck out") for one in told if "or" in one.after] == [1]
    told = speed_findings(speeds, labels=("a", "b", "c"), explainers=())
    assert "No claim about speed between a and c: forward pass" in [one.link + one.after for one in told]
    assert any(one.evidence.startswith("struck out: spread over 25 %") for one in told)


def test_equal_work_stands_beside_each_other(runs: Path) -> None:
    timing = make_timing({"one": [0.04] * 12, "two": [0.05] * 12}, models=known())
    arm = timing.arms[0]
    mixed = [("shipped", "layer4"), ("explain", "layer4"), ("explain", "layer3"), ("train", ""), ("shipped", "layer3")]
    more = tuple(
        dataclasses.replace(arm, name=f"{what}{layer}", what=what, layers=(layer,) if layer else (), ratio=None)  # type: ignore[arg-type]
        for what, layer in mixed
    )
    write_timing(runs, dataclasses.replace(timing, arms=(*more, *timing.arms)))
    shown = [(one.arm.what, one.arm.layer) for one in page_of(runs).speeds[0].arms]
    assert shown == [
        ("forward", ""), ("forward", ""), ("train", ""), ("explain", "layer4"), ("explain", "layer3"),
        ("shipped", "layer4"), ("shipped", "layer3"),
    ]  # fmt: skip


def test_where_the_page_lacks_what_arms_were_compared_with_they_are_compared_with_each_other(runs: Path) -> None:
    other = {"other": [0.04] * 12, **SLOWER}
    models = known() | {"other": {"model": "net", "checkpoint": "x"}}
    write_timing(runs, make_timing(other, models=models))
    page = page_of(runs)
    (sentence,) = (finding for finding in page.findings if finding.anchor == "speed")
    assert sentence.before + sentence.link + sentence.after == "two answers more slowly than one"
    assert sentence.evidence == "0.800× (slower), 0.784 to 0.816; 12 paired rounds"
    first, second = page.speeds[0].arms
    assert first.arm.ratio is None and first.ratios == () and second.ratios[0] == pytest.approx(0.8)


def test_rates_that_were_measured_apart_are_not_on_a_comparison_page(runs: Path) -> None:
    for name in ("one", "two"):
        write_timing(runs / name, make_timing({name: [0.04] * 12}, models={name: known()[name]}, id=f"T-{name}"))
    page = page_of(runs)
    assert page.speeds == () and pairing(page) == NOT_COMPARED
    assert not any("paired rounds" in finding.evidence for finding in page.findings)


def test_a_timing_just_taken_is_on_the_page_though_it_could_not_be_kept(runs: Path) -> None:
    timing = make_timing(SLOWER, models=known())
    data = [read_run(runs / name) for name in ("one", "two")]
    page = comparison_page(data, np.array([2]), created="now", taken=(timing,))
    assert page.speeds[0].id == "T1" and pairing(page) == [(True, "speeds paired: timing T1")]


def test_the_page_of_one_run_shows_its_timing_and_says_nothing_of_others(runs: Path) -> None:
    write_timing(runs, make_timing(SLOWER, models=known()))
    page = run_page(read_run(runs / "two"), created="now")
    (speeds,) = page.speeds
    assert [(one.arm.model, one.runs) for one in speeds.arms] == [("two", (0,))]
    assert pairing(page) == [(True, "speeds paired: timing T1")]
    assert not any(finding.anchor == "speed" for finding in page.findings)


def test_one_timing_may_know_one_run_by_its_name_and_another_by_its_model(runs: Path) -> None:
    models = {"one": known()["one"], "net": {"model": "net", "checkpoint": ""}}
    write_timing(runs, make_timing({"one": [0.04] * 12, "net": [0.05] * 12}, models=models))
    page = page_of(runs)
    assert [(one.arm.model, one.runs) for one in page.speeds[0].arms] == [("one", (0,)), ("net", (1,))]
    assert pairing(page) == [(True, "speeds paired: timing T1")]


def test_a_timing_by_the_name_of_the_model_serves_where_there_is_none_of_the_runs_and_two_of_one_share_its_arm(
    runs: Path,
) -> None:
    write_timing(runs, make_timing({"net": [0.04] * 12, "other": [0.04] * 12}))
    page = page_of(runs)
    assert page.speeds[0].arms[0].runs == (0, 1) and pairing(page) == [(True, "speeds paired: timing T1")]


def test_a_busy_warm_up_is_kept_beside_the_rounds(runs: Path) -> None:
    timing = make_timing(SLOWER, models=known())
    cold = Sample("forward[one]", 0, 2, (0.2, 0.4))
    write_timing(runs, dataclasses.replace(timing, samples=(cold, *timing.samples)))
    first, second = page_of(runs).speeds[0].arms
    assert (first.warm_up, second.warm_up, len(first.rounds)) == (pytest.approx((4 / 0.15,)), (), 12)


def test_a_timing_of_other_weights_or_of_one_run_alone_says_nothing(runs: Path) -> None:
    write_timing(runs, make_timing(SLOWER, models=known("other")))
    write_timing(runs / "one", make_timing({"one": [0.04] * 12}, models={"one": known()["one"]}))
    page = page_of(runs)
    assert page.speeds == () and pairing(page) == NOT_COMPARED


def test_a_page_says_when_the_machine_was_busy(runs: Path) -> None:
    notes = ("the machine was busy: others took 34% of it during the rounds",)
    write_timing(runs, make_timing(SLOWER, models=known(), notes=notes))
    assert pairing(page_of(runs)) == [(False, "speeds paired, timing T1, but the machine was busy")]
