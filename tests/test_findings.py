"""The sentences of a page say what the figures say, and never more."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from bench.evaluation import class_rows
from bench.pages.findings import (
    agreement_findings,
    comparison_badges,
    comparison_title,
    interval_words,
    p_words,
    pair_findings,
    percent,
    points,
    result_words,
    run_badges,
    run_findings,
    run_title,
    verdict_findings,
)
from bench.schema.page import Agreement, Average, Estimate, Finding, PairTest, RunView, VerdictView
from bench.schema.verdicts import Step, Verdict, Word
from bench.stats.intervals import holm, holm_levels, mcnemar, paired_difference, wilson

NAMES = ("cat", "dog", "owl")
Confusion = tuple[tuple[int, ...], ...]
PERFECT = ((5, 0, 0), (0, 5, 0), (0, 0, 5))


def view(confusion: Confusion = PERFECT, **changes: object) -> RunView:
    correct, total = sum(confusion[each][each] for each in range(3)), sum(map(sum, confusion))
    plain = RunView(
        run="net-1", model="net", data="digits", recipe="demo", seed=0, epochs=1, train_images=30,
        accuracy=wilson(correct, total), correct=correct, total=total, loss=0.5, only_wrong=None, parameters=7,
        train_rate=None, forward_rate=None, device="CPU", checkpoint="a", curve=(),
        per_class=class_rows(confusion, NAMES), confusion=confusion,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def pair(a: int, b: int, first: int = 0, second: int = 1, total: int = 300) -> PairTest:
    """The test of two runs, the only ones of their page: one alone is wrong on `a` images, the other on `b`."""
    p_value = mcnemar(a, b)
    return PairTest(first, second, a, b, p_value, paired_difference(a, b, total), adjusted=p_value)


def family(*wrong: tuple[int, int], total: int = 300) -> list[PairTest]:
    """The tests of all pairs of the runs of a page, in order."""
    p_values, runs = [mcnemar(*each) for each in wrong], round((1 + (1 + 8 * len(wrong)) ** 0.5) / 2)
    rows = zip(combinations(range(runs), 2), wrong, p_values, holm(p_values), holm_levels(p_values), strict=True)
    return [
        PairTest(*place, *each, p_value, paired_difference(*each, total, level), adjusted=adjusted)
        for place, each, p_value, adjusted, level in rows
    ]


def runs(*correct: int, total: int = 300) -> list[RunView]:
    return [
        view(run=f"run{index}", model=f"net{index}", accuracy=wilson(each, total), correct=each, total=total)
        for index, each in enumerate(correct)
    ]


def text(finding: Finding) -> str:
    return finding.before + finding.link + finding.after


def texts(findings: Sequence[Finding]) -> list[str]:
    return [text(each) for each in findings]


def with_averages(one: RunView, correct: int) -> RunView:
    """The same run whose averages have `correct` images right."""
    names = (("mirror average", 2), ("mirror and shifts", 6))
    return replace(
        one, averages=tuple(Average(name, wilson(correct, one.total), correct, views) for name, views in names)
    )


# --- one run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confusion", "title"),
    [
        (PERFECT, "net on digits: all 15 test images right"),
        (((3, 2, 0), (0, 4, 1), (0, 0, 5)), "right, cat most often taken for dog"),
        (((4, 1, 0), (1, 4, 0), (0, 0, 5)), "2 of 15 wrong"),
        (((4, 1, 0), (0, 5, 0), (0, 0, 5)), "1 of 15 wrong"),
    ],
)
def test_a_habit_is_named_in_the_title_and_single_errors_and_ties_are_none(confusion: Confusion, title: str) -> None:
    assert run_title(view(confusion)).endswith(title)


@pytest.mark.parametrize(
    ("confusion", "place", "words", "evidence"),
    [
        (((3, 2, 0), (1, 4, 0), (0, 0, 5)), 1, "The most frequent error: cat taken for dog", "2 of 5 images of cat"),
        (
            ((4, 1, 0), (1, 4, 0), (0, 1, 4)), 1, "One of the most frequent errors: cat taken for dog",
            "as often: 2 other pairs of classes",
        ),
        (
            ((3, 2, 0), (1, 4, 0), (0, 0, 5)), 2, "The weakest class on these images is cat",
            "98.33 % interval 18 to 91, the lowest of 3, n = 5",
        ),
        (((4, 1, 0), (1, 4, 0), (0, 0, 5)), 2, "One of the weakest classes on these images is cat", "as weak: dog"),
    ],
)  # fmt: skip
def test_the_most_frequent_error_and_the_weakest_class_stand_with_their_evidence_and_ties_are_said(
    confusion: Confusion, place: int, words: str, evidence: str
) -> None:
    found = run_findings(view(confusion))[place]
    assert text(found) == words and evidence in found.evidence


@pytest.mark.parametrize(
    ("confusion", "first", "weakest"),
    [
        (PERFECT, "0 of 15 test images are wrong", []),
        (
            ((4, 1, 0), (0, 5, 0), (0, 0, 5)),
            "1 of 15 test images is wrong",
            ["The weakest class on these images is cat"],
        ),
        (((4, 1, 0), (0, 4, 1), (1, 0, 4)), "3 of 15 test images are wrong", []),  # all are alike
        (
            ((0, 0, 0), (1, 4, 0), (0, 0, 5)),
            "1 of 10 test images is wrong",
            ["The weakest class on these images is dog"],
        ),  # no cat
    ],
)
def test_a_class_is_the_weakest_where_it_has_images_and_others_are_better(
    confusion: Confusion, first: str, weakest: list[str]
) -> None:
    found = texts(run_findings(view(confusion)))
    assert (found[0], [each for each in found if "weakest" in each]) == (first, weakest)


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=3, max_size=3))
@settings(deadline=None)
def test_every_confusion_has_a_title_and_findings(rows: list[list[int]]) -> None:
    if sum(map(sum, rows)):
        some = view(tuple(tuple(row) for row in rows))
        assert run_title(some) and run_findings(some)
        assert ("all" in run_title(some)) == (some.correct == some.total)


def test_an_accuracy_carries_its_interval() -> None:
    assert interval_words(view(((3, 2, 0), (1, 4, 0), (0, 0, 5)))).endswith("95 % interval 54.8 to 93.0")
    assert percent(0.125).replace("\N{NO-BREAK SPACE}", " ") == "12.5 %"


def test_what_was_chosen_on_the_test_images_is_said_of_one_of_a_sweep_and_not_known_of_adopted_weights() -> None:
    alone, swept, adopted = ({each.text: each.ok for each in run_badges(view(**changes))} for changes in (
        {}, {"swept": 6}, {"epochs": 0}
    ))  # fmt: skip
    assert alone["15 test images, seen once, after training"] and not any("selected" in words for words in alone)
    tried = [words for words, ok in swept.items() if words.startswith("one of 6 settings tried") and not ok]
    assert len(tried) == 1 and not any(words.startswith("one of") for words in alone)
    assert adopted["15 test images"] and not any("seen once" in words for words in adopted)


def test_badges_of_a_run_say_jpeg_only_of_jpeg_images() -> None:
    jpeg, plain = ({badge.text: badge.ok for badge in run_badges(view(data=f"cifar10{end}"))} for end in ("-jpeg", ""))
    assert any("JPEG" in words for words in jpeg) and not any("JPEG" in words for words in plain)
    assert plain["one seed"] is False


# --- explainers --------------------------------------------------------------------------------------------


def agreement(
    largest: float, first: str = "gradcam", second: str = "captum", rows: int = 10, **changes: int
) -> Agreement:
    return Agreement(0, "layer4", first, second, rows, largest, 1.0, 0.1, **changes)


def judged(explainer: str, word: Word, **changes: Any) -> VerdictView:
    return VerdictView(0, Verdict(explainer, "layer4", 1, word, **changes))


def said(largest: float, *verdicts: VerdictView, **changes: int) -> str:
    return agreement_findings([agreement(largest, **changes)], verdicts)[0].link


@pytest.mark.parametrize(
    ("largest", "words"),
    [
        (0.0, "compute the same maps"),
        (1e-5, "compute the same maps"),
        (1.1e-5, "differ by no more than rounding may"),
        (9e-4, "differ by no more than rounding may"),  # one explainer, with another batch size
        (0.07, "differ by no more than rounding may"),  # one explainer in fp32 and in float64
        (0.4, "compute different maps"),
    ],
)
def test_unjudged_maps_are_called_different_only_beyond_what_rounding_was_seen_to_do(
    largest: float, words: str
) -> None:
    assert said(largest) == words
    assert agreement_findings([agreement(largest)])[0].after == (" up to rounding" if "same" in words else "")


@pytest.mark.parametrize("largest", [9e-4, 0.3])
def test_two_that_are_grad_cam_in_float64_compute_the_same_maps_whatever_fp32_makes_of_them(largest: float) -> None:
    both = judged("gradcam", "same"), judged("captum", "same up to rounding")
    assert said(largest, *both) == "compute the same maps"
    met = judged("captum", "another method", difference=1e-16)  # HiResCAM where only pooling follows
    assert said(largest, both[0], met) == "compute the same maps"


@pytest.mark.parametrize("word", ["wrong", "another method"])
def test_of_grad_cam_and_what_is_not_in_float64_the_maps_are_different_however_near(word: Word) -> None:
    assert said(9e-4, judged("gradcam", "same"), judged("captum", word)) == "compute different maps"


@pytest.mark.parametrize(
    ("largest", "moved", "words"),
    [
        (0.02, 1e-4, "compute different maps"),  # far beyond ten times what rounding moves either
        (9e-4, 1e-4, "differ by no more than rounding may"),
        (0.02, None, "differ by no more than rounding may"),
        (0.02, 0.0, "compute different maps"),
    ],
)
def test_of_two_other_methods_the_measured_rounding_decides(largest: float, moved: float | None, words: str) -> None:
    both = (judged(name, "another method", moved=moved) for name in ("gradcam", "captum"))
    assert said(largest, *both) == words


def test_other_methods_with_the_same_bits_in_float64_are_one_and_a_failed_verdict_says_nothing() -> None:
    twin = judged("gradcam", "another method", moved=0.0, equal_to=("captum",))
    assert said(0.02, twin, judged("captum", "another method", moved=0.0)) == "compute the same maps"
    assert said(9e-4, judged("gradcam", "same"), judged("captum", "failed")) == "differ by no more than rounding may"


def test_maps_that_are_finite_in_one_alone_or_zero_in_both_are_not_called_the_same() -> None:
    (half,) = agreement_findings([agreement(0.0, dropped=90, one_sided=90)])
    assert text(half) == "captum and gradcam are not compared where one is not finite"
    assert "10 pairs of maps, 90 more left out, not finite, 90 of them in one of the two alone" in half.evidence
    (zeros,) = agreement_findings([agreement(0.0, zeros=10)])
    assert text(zeros) == "captum and gradcam give nothing but zeros"


def test_what_is_left_out_is_named_where_the_rest_is_the_same() -> None:
    (found,) = agreement_findings([agreement(0.0, dropped=3, zeros=4)])
    assert found.link == "compute the same maps"
    assert found.evidence.endswith("10 pairs of maps, 3 more left out, not finite, 4 zero everywhere in both")


def test_one_layer_that_differs_makes_the_pair_differ() -> None:
    found = agreement_findings([agreement(1e-7), agreement(0.3), agreement(0.0, "gradcam", "other")])
    assert texts(found) == [
        "captum and gradcam compute different maps",
        "gradcam and other compute the same maps up to rounding",
    ]
    assert "difference 0.3 of" in found[0].evidence and "20 pairs" in found[0].evidence
    assert [each.link for each in agreement_findings([agreement(1e-7), agreement(1e-3)])] == [
        "differ by no more than rounding may"
    ]
    assert [each.link for each in agreement_findings([agreement(0.0), agreement(0.0, zeros=10)])] == [
        "compute the same maps"
    ]


def test_of_many_pairs_only_those_that_give_one_map_are_told_one_by_one() -> None:
    others = [agreement(0.4, "gradcam", f"other{n}") for n in range(7)]
    assert texts(agreement_findings([*others, agreement(0.0), agreement(1e-3, "captum", "other")])) == [
        "captum and gradcam compute the same maps up to rounding",
        "7 other pairs of explainers compute different maps",
        "1 other pair of explainers differ by no more than rounding may",
    ]
    assert texts(agreement_findings(others)) == ["7 pairs of explainers compute different maps"]
    assert (len(agreement_findings(others[:6])), agreement_findings([])) == (6, ())


# --- several runs ------------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(0, 40))
@settings(deadline=None)
def test_no_sentence_claims_a_difference_that_test_or_interval_deny(a: int, b: int) -> None:
    one, views = pair(a, b), runs(300 - a, 300 - b)
    denied = one.difference.low <= 0 <= one.difference.high
    assert denied == (one.p_value > 0.05) == (mcnemar(a, b) > 0.05)
    sentence, title = text(pair_findings(views, [one])[0]), comparison_title(views, [one], same_settings=True)
    assert ("No measurable" in sentence) == ("no run is clearly right more often" in title) == denied
    if not denied:
        assert sentence.startswith(f"net{int(a > b)} is right more often than net{int(a < b)} ")
        assert f"net{int(a > b)} is right most often on these 300 images" in title


def test_an_interval_that_spans_0_denies_what_the_test_claims() -> None:
    odd, views = PairTest(0, 1, 1, 9, 0.01, Estimate(0.02, -0.001, 0.04), adjusted=0.01), runs(290, 280)
    assert "No measurable" in text(pair_findings(views, [odd])[0])
    assert "no run is clearly right" in comparison_title(views, [odd], same_settings=True)


def test_a_sentence_carries_difference_interval_and_p() -> None:
    evidence = pair_findings(runs(290, 270), [pair(5, 25)])[0].evidence
    assert evidence == "+6.7 points, 95 % interval +3.1 to +10.2, exact McNemar p < 0.001"


def test_what_would_be_clear_alone_is_not_claimed_among_many_pairs_and_its_interval_says_so() -> None:
    """6 against 18 alone has p = 0.023; of three pairs it is the only one."""
    views, tests = runs(290, 278, 285), family((6, 18), (6, 11), (11, 6))
    assert "right most often" in comparison_title(views[:2], [pair(6, 18)], same_settings=True)
    assert comparison_title(views, tests, same_settings=True).endswith("no run is clearly right more often")
    assert text(pair_findings(views, tests)[0]).startswith("No measurable")
    gap = tests[0].difference
    assert gap.low <= 0 <= gap.high and gap.level == pytest.approx(1 - 0.05 / 3) and tests[0].adjusted > 0.05


def test_the_interval_printed_with_a_claim_is_at_the_level_of_its_test() -> None:
    first, second = pair_findings(runs(290, 270, 250), family((5, 25), (5, 45), (5, 25)))
    assert text(first) == "net0 is right more often than net1 and net2 on these test images"
    assert first.evidence == (
        "+6.7 points, 97.5 % interval +2.6 to +10.7; +13.3 points, 98.33 % interval +7.9 to +18.6, "
        "exact McNemar p = under 0.001, under 0.001, over 3 pairs by Holm"
    )
    assert second.evidence.startswith("+6.7 points, 95 % interval +3.1 to +10.2, exact McNemar p < 0.001")


def test_the_better_run_of_a_pair_comes_first_and_its_gap_is_positive() -> None:
    (found,) = pair_findings(runs(270, 290), [pair(25, 5)])
    assert text(found) == "net1 is right more often than net0 on these test images"
    assert found.evidence.startswith("+6.7 points, 95 % interval +3.1 to +10.2")


def test_runs_of_which_none_differs_get_one_sentence() -> None:
    views = runs(290, 289, 288)
    (found,) = pair_findings(views, family((2, 3), (2, 4), (2, 3)))
    assert text(found) == "No measurable accuracy difference between the 3 runs"
    assert found.evidence == "exact McNemar p = 1, 1, 1, over 3 pairs by Holm"


@pytest.mark.parametrize(
    ("correct", "tests", "title", "sentences"),
    [
        ((290,), [], "net0 on digits: where it is wrong, and what it looked at", 0),
        ((290, 289, 288), [(2, 3), (2, 4), (2, 3)], "Three runs on digits: no run is clearly right more often", 1),
        (
            (290, 270, 250),
            [(5, 25), (5, 45), (5, 25)],
            "96.7\N{NO-BREAK SPACE}%: net0 is right most often on these 300 images",
            2,
        ),
        ((290, 270, 250), [(5, 8), (5, 45), (5, 25)], "Three runs on digits: some are right more often than others", 3),
        ((290, 290, 250), [(5, 5), (5, 45), (5, 45)], "Three runs on digits: some are right more often than others", 3),
        ([290] * 8, [(0, 0)] * 28, "8 runs on digits: no run is clearly right more often", 1),
    ],
)
def test_the_run_that_is_right_most_often_has_beaten_every_other(
    correct: Sequence[int], tests: list[tuple[int, int]], title: str, sentences: int
) -> None:
    views, pairs = runs(*correct), family(*tests) if tests else []
    assert comparison_title(views, pairs, same_settings=True) == title
    assert len(pair_findings(views, pairs)) == sentences


def test_runs_of_one_model_are_called_by_their_names() -> None:
    views = [replace(each, model="net") for each in runs(290, 270)]
    assert text(pair_findings(views, [pair(5, 25)])[0]).startswith("run0 is right more often than run1")


# --- badges ------------------------------------------------------------------------------------------------


def badges(*views: RunView, same_settings: bool = True, tests: Sequence[PairTest] = ()) -> dict[str, bool]:
    return {badge.text: badge.ok for badge in comparison_badges(views, tests, same_settings=same_settings)}


def test_runs_that_are_alike_may_be_compared() -> None:
    found = badges(*runs(290, 280))
    assert found["same recipe (demo, 1 epoch, 30 images)"] and found["same machine"] and found["same 300 test images"]


def test_equal_values_under_two_names_are_one_recipe_and_both_names_are_said() -> None:
    found = badges(view(recipe="demo"), view(recipe="my.toml"), view(recipe="demo"))
    assert found["same recipe (demo = my.toml, 1 epoch, 30 images)"]


def test_another_training_is_said_in_badge_and_title() -> None:
    found = badges(view(), view(), same_settings=False)
    assert found["trained differently: see “How it was made”"] is False
    assert not any(text.startswith("same recipe") for text in found)
    assert comparison_title(runs(290, 200), [pair(10, 100)], same_settings=False).endswith(
        "net0 is right most often on these 300 images, but they were trained differently"
    )


def test_another_machine_is_said() -> None:
    found = badges(view(), view(device="GPU"))
    assert found["different machines"] is False and "same machine" not in found


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ({"a": (0,), "b": (0,)}, "same seed (0)"),
        ({"a": (1, 0), "b": (0, 1)}, "same seeds (0, 1)"),
        ({"a": (0,), "b": (1,)}, "different seeds"),
        ({"a": (0, 1), "b": (0,)}, "different seeds"),
    ],
)
def test_whether_models_had_the_same_seeds_is_said(seeds: dict[str, tuple[int, ...]], words: str) -> None:
    found = badges(*(view(model=model, seed=seed) for model, each in seeds.items() for seed in each))
    assert found[words] is words.startswith("same")


def test_of_adopted_weights_no_seed_is_said() -> None:
    found = badges(view(epochs=0), view())
    assert [words for words in found if "seed" in words] == ["one seed: no claim about the architecture"]


def test_two_runs_that_are_one_are_said() -> None:
    tests = [replace(pair(0, 0), same_logits=True)]
    assert badges(*runs(290, 290), tests=tests)["two of the runs are one"] is False
    assert texts(pair_findings(runs(290, 290), tests)) == ["net0 and net1 give the same logits, bit for bit"]


@pytest.mark.parametrize(
    ("share", "words"), [(0.0123, "+1.2"), (-0.0123, "−1.2"), (-0.0001, "−0.01"), (0.00001, "0.0"), (0.1, "+10.0")]
)
def test_differences_carry_a_sign_and_what_is_not_0_does_not_read_as_0(share: float, words: str) -> None:
    assert points(share) == words


def test_p_values_are_never_printed_as_zero() -> None:
    assert (p_words(0.0), p_words(0.41), p_words(0.0, 0.2)) == ("p < 0.001", "p = 0.41", "p = under 0.001, 0.2")


@pytest.mark.parametrize(
    ("seeds", "one"),
    [
        ({"a": (0,), "b": (0,)}, True),
        ({"a": (0,), "b": (1,)}, True),
        ({"a": (0, 1), "b": (0,)}, True),
        ({"a": (0, 0), "b": (1, 1)}, True),
        ({"a": (0, 1), "b": (0, 1)}, False),
        ({"a": (0, 1)}, False),
    ],
    ids=str,
)
def test_a_model_with_one_seed_allows_no_claim_about_the_architecture(
    seeds: dict[str, tuple[int, ...]], one: bool
) -> None:
    found = badges(*(view(model=model, seed=seed) for model, each in seeds.items() for seed in each))
    assert ("one seed: no claim about the architecture" in found) is one


# --- averages ----------------------------------------------------------------------------------------------


def test_a_result_is_the_plain_accuracy_with_its_interval_and_then_the_averages() -> None:
    one = with_averages(runs(270)[0], 273)
    assert result_words(one).replace("\N{NO-BREAK SPACE}", " ") == (
        "accuracy 90.00 %, 95 % interval 86.1 to 92.9, 30 of 300 test images wrong; "
        "mirror average 91.00 %; mirror and shifts 91.00 %"
    )
    assert ";" not in result_words(runs(270)[0])


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=2, max_size=4), st.booleans())
@settings(max_examples=50, deadline=None)
def test_no_sentence_depends_on_an_average(counts: list[tuple[int, int]], same: bool) -> None:
    plain = runs(*(each for each, _ in counts))
    more = [with_averages(one, correct) for one, (_, correct) in zip(plain, counts, strict=True)]
    pairs = [pair(0, abs(counts[0][0] - counts[1][0]))]
    assert comparison_title(more, pairs, same_settings=same) == comparison_title(plain, pairs, same_settings=same)
    assert pair_findings(more, pairs) == pair_findings(plain, pairs)
    assert run_title(with_averages(view(), 3)) == run_title(view())
    assert run_findings(with_averages(view(), 3)) == run_findings(view())


def test_where_there_are_averages_a_badge_says_what_is_compared() -> None:
    plain = runs(270, 280)
    more = [with_averages(plain[0], 273), plain[1]]
    assert ["compared on each image alone" in badges(*views) for views in (more, plain)] == [True, False]


def test_what_is_wrong_alike_in_several_runs_is_told_once_with_their_names_and_its_cause_alone() -> None:
    step = Step("smallest value subtracted", 0.3)
    wrong = [
        VerdictView(run, Verdict("own", "layer4", 1, "wrong", words="the sign is reversed", steps=(step,)))
        for run in (0, 2)
    ]
    other = VerdictView(1, Verdict("own", "layer4", 1, "wrong", words="another class"))
    told = verdict_findings([*wrong, other], ("a", "b", "c"))
    assert [(one.before, one.evidence) for one in told] == [
        ("own at layer4 of a and c ", "the sign is reversed"),
        ("own at layer4 of b ", "another class"),
    ]


def test_what_the_judge_found_wrong_is_told_with_its_cause_and_nothing_wrong_is_told_too() -> None:
    same = VerdictView(0, Verdict("captum", "layer4", 1, "same"))
    wrong = [VerdictView(0, Verdict("own", f"layer{k}", 1, "wrong", words="the sign is reversed")) for k in range(5)]
    assert verdict_findings([]) == ()
    (only,) = verdict_findings([same])
    assert (only.link, only.evidence[:2]) == ("No explainer computes another map than it claims", "1 ")
    told = verdict_findings([same, *wrong])
    assert [one.before for one in told] == ["own at layer0 ", "own at layer1 ", "own at layer2 ", "2 more "]
    assert (told[0].link, told[0].evidence) == ("gives wrong maps", "the sign is reversed")
