"""Whether a threshold broke: by the interval of its rate, paired where it can be; else it is undecided."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import call
from run_factory import CHECKPOINT_SHA, CLASSES, DIGITS, make_cell, make_run
from timing_factory import arm_of, make_timing

from bench.errors import UsageError
from bench.gates.judged import Figure, Judged, failing, judge_figures
from bench.gates.rounds import check_timed, judge_rounds
from bench.gates.runs import Sides, check, judge_runs
from bench.schema.known_answers import Claim, KnownAnswers, MosaicScore, StickerScore
from bench.schema.page import Estimate
from bench.schema.run import AverageResult, Results
from bench.stats.intervals import difference_of, paired_difference, wilson
from bench.store.folder import RunFolder
from bench.store.timings import write_timing
from bench.thresholds import Rate, read_threshold

# --- by images ------------------------------------------------------------------------------------------------


def shares(name: str, right: np.ndarray) -> Figure:
    return Figure(
        Rate("accuracy", (name,)), wilson(int(right.sum()), len(right)), values=right.astype(float),
        ids=np.arange(len(right)), counted=True,
    )  # fmt: skip


def right_of(total: int, *wrong: range) -> np.ndarray:
    """Which of so many images are right."""
    found = np.ones(total, dtype=bool)
    for each in wrong:
        found[list(each)] = False
    return found


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("accuracy[a] < 0.85", "held"),
        ("accuracy[a] < 0.92", "undecided"),
        ("accuracy[a] < 0.95", "broken"),
        ("accuracy[a] > 0.85", "broken"),
        ("accuracy[b] < accuracy[a]", "broken"),
        ("accuracy[b] < accuracy[a] - 0.04", "undecided"),
        ("accuracy[b] < accuracy[a] - 0.08", "held"),
        ("accuracy[a] > accuracy[b] - 0.08", "broken"),
        ("accuracy[b] < 0.98 * accuracy[a]", "broken"),
        ("accuracy[b] < 0.95 * accuracy[a]", "undecided"),
        ("accuracy[b] < 0.9 * accuracy[a]", "held"),
    ],
)
def test_a_limit_inside_the_interval_decides_nothing(text: str, outcome: str) -> None:
    sides = {"a": shares("a", right_of(1000, range(90))), "b": shares("b", right_of(1000, range(130)))}
    threshold = read_threshold(text)
    right = threshold.right and sides[threshold.right.parts[0]]
    assert judge_figures(threshold, sides[threshold.left.parts[0]], right).outcome == outcome


def test_two_accuracies_are_judged_by_the_images_on_which_they_differ() -> None:
    """Fifteen more errors of 1,000 are beyond chance where all others are the same ones, and not where none is."""
    threshold = read_threshold("accuracy[b] < accuracy[a]")
    same = shares("a", right_of(1000, range(85))), shares("b", right_of(1000, range(100)))
    other = shares("a", right_of(1000, range(85))), shares("b", right_of(1000, range(500, 600)))
    outcomes = [judge_figures(threshold, second, first) for first, second in (same, other)]
    assert [one.outcome for one in outcomes] == ["broken", "undecided"]
    assert all("is -0.0150" in one.words or "is -0.015," in one.words for one in outcomes)
    assert all("paired on 1,000 images" in one.words for one in outcomes)


def test_a_gate_breaks_by_chance_in_no_more_than_one_of_forty() -> None:
    """400 worlds in which the second net is worse by just as much as is let pass; at most 2.5 % may break."""
    generator, threshold, broken = np.random.default_rng(0), read_threshold("accuracy[b] < accuracy[a] - 0.02"), 0
    for _ in range(400):
        kind = generator.choice(4, size=1000, p=(0.88, 0.04, 0.02, 0.06))  # both, a alone, b alone, none
        sides = shares("b", (kind == 0) | (kind == 2)), shares("a", (kind == 0) | (kind == 1))
        broken += judge_figures(threshold, *sides).outcome == "broken"
    assert broken <= 400 * 0.025 + 3 * (400 * 0.025 * 0.975) ** 0.5


def test_estimates_of_other_images_have_newcombes_interval() -> None:
    """The worked example of Newcombe 1998, table II (a): 56 of 70 and 48 of 80, by method 10: 0.0524 to 0.3339."""
    found = difference_of(wilson(56, 70), wilson(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    by_half = difference_of(Estimate(0.5, 0.4, 0.7), Estimate(0.4, 0.2, 0.5), 0.5)
    assert (by_half.value, by_half.low, by_half.high) == pytest.approx(
        (0.3, 0.3 - np.hypot(0.1, 0.05), 0.3 + np.hypot(0.2, 0.1))
    )


def test_a_mean_of_values_is_paired_on_the_images_that_both_have() -> None:
    rates = [Rate("agreement", (run, "x", "y", "layer4")) for run in "ab"]
    noise = np.random.default_rng(0).normal(size=80)
    values = [0.6 + 0.1 * noise, 0.55 + 0.1 * noise + 0.01 * np.random.default_rng(1).normal(size=80)]
    figures = [
        Figure(rate, Estimate(float(each.mean()), 0.5, 0.7), values=each[part], ids=np.arange(80)[part], within=(-1, 1))
        for rate, each, part in zip(rates, values, (slice(0, 70), slice(20, 80)), strict=True)
    ]
    text = "agreement[b,x,y,layer4] < agreement[a,x,y,layer4] - 0.02"
    found = judge_figures(read_threshold(text), figures[1], figures[0])
    assert found.outcome == "broken" and "is -0.0" in found.words and "paired on 50 images" in found.words


def test_what_is_undecided_fails_only_when_strict() -> None:
    found = [
        Judged(read_threshold(f"accuracy < 0.{digit}"), outcome, "why")  # type: ignore[arg-type]
        for digit, outcome in enumerate(("broken", "held", "undecided"), 1)
    ]
    assert [each.outcome for each in failing(found, strict=False)] == ["broken"]
    assert [each.outcome for each in failing(found, strict=True)] == ["broken", "undecided"]
    assert [each.line for each in found] == [
        "broken: accuracy < 0.1; why", "held: not accuracy < 0.2; why", "undecided: accuracy < 0.3; why",
    ]  # fmt: skip


# --- of runs --------------------------------------------------------------------------------------------------

LABELS = [0, 1, 2] * 100


def predicted(wrong: int, start: int = 0) -> list[int]:
    """As labelled, but for some images in a row."""
    inside = range(start, start + wrong)
    return [(label + 1) % 3 if place in inside else label for place, label in enumerate(LABELS)]


def make_runs(runs: Path, **changes: Any) -> list[str]:
    make_run(runs, "old", labels=LABELS, predicted=predicted(15), **changes)
    make_run(runs, "new", labels=LABELS, predicted=predicted(45), **changes)
    return ["old", "new"]


def judged(runs: Path, *texts: str) -> list[Judged]:
    sides = Sides(("old", "new"), (RunFolder(runs / "old"), RunFolder(runs / "new")))
    thresholds = [read_threshold(text) for text in texts]
    check(thresholds, sides)
    return list(judge_runs(thresholds, sides))


def test_accuracy_recall_and_loss_are_those_of_the_stored_answers(tmp_path: Path) -> None:
    make_runs(tmp_path)
    found = judged(
        tmp_path, "accuracy[new] < 0.88", "recall[new,dog] < recall[old,dog] - 0.02", "loss[new] < 10",
        "recall[new,cat] < recall[new,dog]",
    )  # fmt: skip
    gap = paired_difference(10, 0, 100)
    assert [one.outcome for one in found] == ["undecided", "broken", "broken", "undecided"]
    assert "accuracy[new] is 0.850" in found[0].words and "limit 0.88" in found[0].words
    assert f"is -0.100, 95 % interval {gap.low:.3f} to {gap.high:.3f}, paired on 100 images" in found[1].words
    logits = RunFolder(tmp_path / "new").predictions.logits.astype(np.float64)
    losses = np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)) + logits.max(axis=1)
    assert f"loss[new] is {(losses - logits[np.arange(300), LABELS]).mean():.1f}, 95 %" in found[2].words
    assert "not paired" in found[3].words


def test_runs_that_number_their_classes_differently_are_matched_by_name(tmp_path: Path) -> None:
    order = (1, 2, 0)  # the second run's class of each of the first's
    names = tuple(CLASSES[order.index(place)] for place in range(3))
    make_run(tmp_path, "old", labels=LABELS, predicted=predicted(15))
    labels, found = ([order[each] for each in those] for those in (LABELS, predicted(45)))
    data = dataclasses.replace(DIGITS, classes=names)
    make_run(tmp_path, "new", labels=labels, predicted=found, data=data)
    (gate,) = judged(tmp_path, "recall[new,dog] < recall[old,dog]")
    assert gate.outcome == "broken" and "paired on 100 images" in gate.words


def test_agreement_is_the_mean_rank_correlation_over_images(tmp_path: Path) -> None:
    rows = [(image, target) for image in range(60) for target in (0, 1)]
    first = make_cell(rows)
    flipped = np.where((first.ids < 15)[:, None, None], -first.raw, first.raw)
    second = dataclasses.replace(first, explainer="captum", raw=flipped)
    make_runs(tmp_path, cells=[first, second])
    (found,) = judged(tmp_path, "agreement[new,captum,gradcam,layer4] < 0.8")
    assert "is 0.50" in found.words and found.outcome == "broken"


def answers() -> KnownAnswers:
    claim = Claim(None, 1.0)
    hits = {1.0: Estimate(0.8, 0.7, 0.9), 0.125: Estimate(0.3, 0.2, 0.4)}
    stickers = tuple(
        StickerScore("gradcam", "layer4", strength, 50, None, None, each, each, None, claim)
        for strength, each in hits.items()
    )
    mosaic = MosaicScore("gradcam", "layer4", 25, 0, Estimate(0.6, 0.55, 0.65), claim)
    return KnownAnswers(
        schema=1, run="old", checkpoint=CHECKPOINT_SHA, model="net", device="cpu", versions={}, created="",
        target="cat", pixels=32, stickers=stickers, mosaics=25, mosaic_scores=(mosaic,),
    )  # fmt: skip


def test_known_answers_are_those_that_the_run_stores(tmp_path: Path) -> None:
    make_runs(tmp_path)
    for name in ("old", "new"):
        RunFolder(tmp_path / name).keep_known_answers(answers())
    found = judged(
        tmp_path, "sticker[old,gradcam,layer4] < 0.6", "sticker[old,gradcam,layer4,12.5] < 0.6",
        "mosaic[old,gradcam,layer4] < 0.6", "mosaic[new,gradcam,layer4] < mosaic[old,gradcam,layer4]",
    )  # fmt: skip
    assert [one.outcome for one in found] == ["held", "broken", "undecided", "undecided"]
    assert "not paired" in found[3].words


def test_speeds_are_those_of_the_newest_timing_that_holds_both(tmp_path: Path) -> None:
    make_runs(tmp_path)
    rounds = {"old": [0.040] * 12, "new": [0.050, 0.051, 0.049, 0.050] * 3}
    weights = {name: {"model": "net", "checkpoint": CHECKPOINT_SHA} for name in rounds}
    write_timing(tmp_path, make_timing(rounds, id="T1", models=weights))
    write_timing(tmp_path, make_timing({"old": [0.1] * 12}, id="T2", models={"old": weights["old"]}))
    broken, alone = judged(tmp_path, "forward[new] < 0.9 * forward[old]", "forward[old] < 60")
    assert (broken.outcome, alone.outcome) == ("broken", "broken")
    assert broken.words.endswith("timing T1") and alone.words.endswith("timing T2")


@pytest.mark.parametrize(
    ("text", "says", "offers"),
    [
        ("acuracy[old] < 0.9", "no rate 'acuracy'", "recall[RUN,CLASS]"),
        ("accuracy[mew] < 0.9", "no run 'mew' in 'accuracy[mew] < 0.9'; did you mean 'new'?", "one of: old, new"),
        ("accuracy < 0.9", "not of the form accuracy[RUN]", "accuracy[old]"),
        ("recall[old] < 0.9", "not of the form recall[RUN,CLASS]", "recall[old,cat]"),
        ("recall[old,dgo] < 0.9", "no class 'dgo' of old", '"<script>alert(1)<"'),
        ("agreement[old,captum,gradcam,layer9] < 0.9", "no layer 'layer9' of old", "one of: layer4"),
        ("agreement[old,captum,gradcan,layer4] < 0.9", "did you mean 'gradcam'?", "one of: captum, gradcam"),
        ("agreement[new,captum,gradcam,layer4] < 0.9", "no explainer 'captum' of new", "bench explain new"),
        ("sticker[old,gradcam,layer4] < 0.9", "no explainer 'gradcam' of old", "bench judge old --known-answers"),
        ("accuracy_mirror[old] < 0.9", "accuracy_mirror[old]", "one of: accuracy[old], accuracy_shifts[old]"),
        (
            "forward[old] < forward[new]",
            "no timing holds forward[old] together with forward[new]",
            "bench time old new",
        ),
        ("accuracy[old] < forward[new]", "a share, with forward, images a second", "another accuracy"),
        ("accuracy[old] < 92", "92 in 'accuracy[old] < 92' is no share", "accuracy[old] < 0.92"),
        ("accuracy[old] < accuracy[new] - 2", "2 in", "accuracy[old] < accuracy[new] - 0.02"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(tmp_path: Path, text: str, says: str, offers: str) -> None:
    cells = [make_cell([(1, 0)]), make_cell([(1, 0)], explainer="captum")]
    measured = Results(averages={"shifts": AverageResult(0.9, 270, 3)})
    make_run(tmp_path, "old", labels=LABELS, predicted=predicted(15), cells=cells, results=measured)
    make_run(tmp_path, "new", labels=LABELS, predicted=predicted(15))
    with pytest.raises(UsageError) as caught:
        judged(tmp_path, text)
    assert says in caught.value.message and offers in caught.value.try_


def test_the_only_run_need_not_be_named(tmp_path: Path) -> None:
    make_runs(tmp_path)
    sides = Sides((str(tmp_path / "old"),), (RunFolder(tmp_path / "old"),))
    texts = ("accuracy < 0.9", "accuracy[old] < 0.9", f"accuracy[{tmp_path / 'old'}] < 0.9", "recall[dog] < 0.9")
    found = judge_runs(map(read_threshold, texts), sides)
    assert [one.words.partition(" is ")[0] for one in found[:2]] == ["accuracy[old]"] * 2
    assert [one.outcome for one in found] == ["held"] * 3 + ["undecided"]


def test_two_folders_of_one_name_are_told_apart_as_they_were_typed(tmp_path: Path) -> None:
    for folder, wrong in (("stored", 15), ("runs", 45)):
        make_run(tmp_path / folder, "net", labels=LABELS, predicted=predicted(wrong))
    typed = [str(tmp_path / folder / "net") for folder in ("stored", "runs")]
    sides = Sides(tuple(typed), tuple(RunFolder(Path(each)) for each in typed))
    (found,) = judge_runs([read_threshold(f"accuracy[{typed[1]}] < accuracy[{typed[0]}] - 0.05")], sides)
    assert found.outcome == "broken"
    with pytest.raises(UsageError, match="no run 'net'"):
        check([read_threshold("accuracy[net] < 0.9")], sides)


# --- on the command line --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "strict", "code"),
    [
        ("accuracy[new] < accuracy[old] - 0.01", (), 3),
        ("accuracy[new] < accuracy[old] - 0.10", (), 0),
        ("accuracy[new] < accuracy[old] - 0.10", ("--strict",), 3),
        ("accuracy[new] < accuracy[old] - 0.20", ("--strict",), 0),
    ],
)
def test_compare_exits_3_where_a_threshold_broke_and_writes_its_page_all_the_same(
    tmp_path: Path, threshold: str, strict: tuple[str, ...], code: int
) -> None:
    result = call("compare", *make_runs(tmp_path), "--no-compute", "--fail-if", threshold, *strict, runs=tmp_path)
    line, page = result.stdout.splitlines()[-2:]
    outcome = "held: not" if threshold.endswith("20") else "undecided:" if threshold.endswith("10") else "broken:"
    assert result.exit_code == code and Path(page).is_file()
    assert line.startswith(f"{outcome} {threshold}; accuracy[new] - accuracy[old] is -0.10")
    assert ("--strict does not let pass" in result.stderr) == (code == 3 and bool(strict))
    assert result.stderr.startswith(f"error: {line}" if code else "")


def test_compare_prints_its_findings_and_json_holds_them_with_their_evidence(tmp_path: Path) -> None:
    words = ("compare", *make_runs(tmp_path), "--no-compute", "--fail-if", "accuracy[new] < 0.5")
    title, *findings, gate, page = call(*words, runs=tmp_path).stdout.splitlines()
    told = json.loads(call(*words, "--json", runs=tmp_path).stdout)
    twin = json.loads(Path(page).with_name("page.json").read_text())
    assert title.split() == twin["title"].split() and twin["title"] == told["title"]
    said = [(f"- {each['text']}", f"    {each['evidence']}") for each in told["findings"]]
    assert findings == [line.replace("\u00a0", " ") for pair in said for line in pair] and "McNemar" in findings[1]
    assert gate.startswith("held: not") and told["thresholds"][0]["outcome"] == "held"


def test_compare_refuses_a_threshold_before_anything_is_computed_or_written(tmp_path: Path) -> None:
    names = make_runs(tmp_path)  # without weights: opening them fails
    result = call("compare", *names, "--fail-if", "recall[new,ct] < 0.5", runs=tmp_path)
    assert result.exit_code == 2 and result.stderr.count("\n") == 2 and "did you mean 'cat'" in result.stderr
    assert not (tmp_path / "compare").exists()


# --- by rounds --------------------------------------------------------------------------------------------------

STEADY = {"a": [0.040] * 12, "b": [0.050, 0.051, 0.049, 0.050] * 3}  # 100 and 80 images/s


def test_an_arm_that_is_not_timed_is_refused_with_the_nearest_one() -> None:
    arms = [Rate("forward", ("a",)), Rate("explain", ("a", "captum", "layer3"))]
    with pytest.raises(UsageError, match=r"did you mean 'explain\[a,captum,layer3\]'") as caught:
        check_timed([read_threshold("forward[a] < 2 * explain[a, capum, layer3]")], arms)
    assert "forward[a]" in caught.value.try_ and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("forward[a] < 110", "broken"),
        ("forward[a] < 90", "held"),
        ("forward[a] > 90", "broken"),
        ("forward[b] < 80", "undecided"),
        ("forward[b] > 80", "undecided"),
        ("forward[b] < 0.9 * forward[a]", "broken"),
        ("forward[b] < 0.7 * forward[a]", "held"),
        ("forward[b] < 0.8 * forward[a]", "undecided"),
        ("forward[a] > 1.1 * forward[b]", "broken"),
        ("forward[a] < forward[b]", "held"),
        ("forward[b] < forward[a] - 15", "broken"),
        ("forward[b] < forward[a] - 20", "undecided"),
        ("forward[b] < forward[a] - 30", "held"),
    ],
)
def test_a_limit_inside_the_interval_of_rounds_is_undecided(text: str, outcome: str) -> None:
    found = judge_rounds(read_threshold(text), make_timing(STEADY))
    assert found.outcome == outcome and "interval" in found.words


@pytest.mark.parametrize(
    ("rounds", "outcome", "words"),
    [
        ([0.05, 0.051, 0.049, 0.05] * 3, "broken", "forward[a] is 80.0 images/s, interval 78.4 to 81.6, limit 1e+09"),
        ([0.04] * 5, "undecided", "n too small"),
        ([0.04, 0.08] * 6, "undecided", "spread"),
    ],
)
def test_the_interval_is_printed_with_its_figures_and_five_rounds_or_a_noisy_arm_decide_nothing(
    rounds: list[float], outcome: str, words: str
) -> None:
    found = judge_rounds(read_threshold("forward[a] < 1e9"), make_timing({"a": rounds}))
    assert found.outcome == outcome and words in found.words


def test_a_ratio_breaks_a_threshold_only_where_the_table_would_claim_it() -> None:
    """Of twelve rounds one may lie on the other side of the limit; with two the table claims nothing."""
    for others, said, outcome in ((1, "slower", "broken"), (2, "no measurable difference", "undecided")):
        timing = make_timing({"a": [0.040] * 12, "b": [0.044] * (12 - others) + [0.036] * others})
        found = judge_rounds(read_threshold("forward[b] < forward[a]"), timing)
        ratio = arm_of(timing, "forward[b]").ratio
        assert ratio and (ratio.verdict, found.outcome) == (said, outcome)


def test_a_ratio_is_struck_out_whichever_of_its_arms_is_too_noisy() -> None:
    noisy, steady = [0.030, 0.050] * 6, [0.200] * 12
    for rounds in ({"base": noisy, "other": steady}, {"base": steady, "other": noisy}):
        ratio = arm_of(make_timing(rounds), "forward[other]").ratio
        assert ratio and ratio.verdict == "struck out"


@pytest.mark.parametrize(
    ("text", "rounds", "words"),
    [
        ("forward[b] < 2 * forward[a]", {"a": [0.04, 0.08] * 6, "b": [0.05] * 12}, "too noisy to judge"),
        ("forward[a] > 2 * forward[b]", {"a": [0.04, 0.08] * 6, "b": [0.05] * 12}, "too noisy to judge"),
        ("forward[b] > 1", {"a": [0.04] * 12}, "forward[b] was left out"),
        ("forward[a] > 0.1 * forward[b]", {"a": [0.04] * 12}, "forward[b] was left out"),
    ],
)
def test_a_ratio_to_or_of_a_noisy_arm_and_what_names_one_that_was_left_out_decide_nothing(
    text: str, rounds: dict[str, list[float]], words: str
) -> None:
    found = judge_rounds(read_threshold(text), make_timing(rounds))
    assert found.outcome == "undecided" and words in found.words
