"""`--fail-if`: what can be read, what is offered for what cannot, and what is undecided."""

import pytest
from timing_factory import arm_of, make_timing

from bench.errors import UsageError
from bench.timing.thresholds import Threshold, broken, judge, parse_threshold

NAMES = ("forward[a]", "forward[b]", "explain[a,captum,layer3]", "explain[a,gradcam,layer3]", "forward[my.py:NET]")
STEADY = {"a": [0.040] * 12, "b": [0.050, 0.051, 0.049, 0.050] * 3}  # 100 and 80 images/s


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("forward[a] < 100", ("forward[a]", "<", 100.0, "")),
        ("forward[a]>.5e2", ("forward[a]", ">", 50.0, "")),
        (" forward[a] < 0.9 * forward[b] ", ("forward[a]", "<", 0.9, "forward[b]")),
        ("forward[a] < forward[b]", ("forward[a]", "<", 1.0, "forward[b]")),
        ("explain[a, captum, layer3] < 0.9*explain[a, gradcam, layer3]",
         ("explain[a,captum,layer3]", "<", 0.9, "explain[a,gradcam,layer3]")),
        ("forward[my.py:NET] > 3", ("forward[my.py:NET]", ">", 3.0, "")),
    ],
)  # fmt: skip
def test_one_comparison_of_a_rate_is_read(text: str, found: tuple[str, str, float, str]) -> None:
    read = parse_threshold(text, NAMES)
    assert (read.left, read.sign, read.limit, read.right) == found


@pytest.mark.parametrize(
    "text",
    ["", "forward[a]", "forward[a] = 3", "forward[a] <= 3", "3 < forward[a]", "forward[a] < 2 * 3", "forward[a] < -3",
     "forward[a] < 1 < 2", "forward[a] < 3 forward[b]", "0.9 * forward[a] < forward[b]", "forward[a] < nan",
     "forward[a] < 1 and forward[b] < 2", "forward[a < 3", "forward < 3"],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="cannot read the threshold") as caught:
        parse_threshold(text, NAMES)
    assert "forward[" in caught.value.try_


def test_an_arm_that_is_not_timed_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'explain\[a,captum,layer3\]'") as caught:
        parse_threshold("forward[a] < 2 * explain[a,capum,layer3]", NAMES)
    assert "forward[b]" in caught.value.try_ and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("forward[a] < 110", "holds"),
        ("forward[a] < 90", "does not hold"),
        ("forward[a] > 90", "holds"),
        ("forward[b] < 80", "undecided"),
        ("forward[b] > 80", "undecided"),
        ("forward[b] < 0.9 * forward[a]", "holds"),
        ("forward[b] < 0.7 * forward[a]", "does not hold"),
        ("forward[b] < 0.8 * forward[a]", "undecided"),
        ("forward[a] > 1.1 * forward[b]", "holds"),
        ("forward[a] < forward[b]", "does not hold"),
    ],
)
def test_a_threshold_inside_the_interval_is_undecided(text: str, outcome: str) -> None:
    timing = make_timing(STEADY)
    (judged,) = judge([parse_threshold(text, [arm.name for arm in timing.arms])], timing)
    assert judged.outcome == outcome and "interval" in judged.words


@pytest.mark.parametrize(
    ("rounds", "outcome", "words"),
    [
        ([0.05, 0.051, 0.049, 0.05] * 3, "holds", "forward[a] is 80.0 images/s, interval 78.4 to 81.6"),
        ([0.04] * 5, "undecided", "n too small"),
        ([0.04, 0.08] * 6, "undecided", "spread"),
    ],
)
def test_the_interval_is_printed_with_its_figures_and_five_rounds_or_a_noisy_arm_decide_nothing(
    rounds: list[float], outcome: str, words: str
) -> None:
    (judged,) = judge([Threshold("t", "forward[a]", "<", 1e9)], make_timing({"a": rounds}))
    assert judged.outcome == outcome and words in judged.words


def test_a_ratio_breaks_a_threshold_only_where_the_table_would_claim_it() -> None:
    """Of twelve rounds one may lie on the other side of the limit; with two the table claims nothing."""
    for others, said, outcome in ((1, "slower", "holds"), (2, "no measurable difference", "undecided")):
        timing = make_timing({"a": [0.040] * 12, "b": [0.044] * (12 - others) + [0.036] * others})
        (judged,) = judge([Threshold("t", "forward[b]", "<", 1.0, "forward[a]")], timing)
        assert (arm_of(timing, "forward[b]").ratio.verdict, judged.outcome) == (said, outcome)


def test_a_ratio_is_struck_out_whichever_of_its_arms_is_too_noisy() -> None:
    noisy, steady = [0.030, 0.050] * 6, [0.200] * 12
    for rounds in ({"base": noisy, "other": steady}, {"base": steady, "other": noisy}):
        assert arm_of(make_timing(rounds), "forward[other]").ratio.verdict == "struck out"


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
    (judged,) = judge([parse_threshold(text, NAMES)], make_timing(rounds))
    assert judged.outcome == "undecided" and words in judged.words


def test_what_is_undecided_fails_only_when_strict() -> None:
    timing = make_timing(STEADY)
    texts = ("forward[a] < 110", "forward[b] < 80", "forward[a] < 90")
    judged = judge([parse_threshold(text, [arm.name for arm in timing.arms]) for text in texts], timing)
    assert [each.threshold.text for each in broken(judged, strict=False)] == ["forward[a] < 110"]
    assert [each.threshold.text for each in broken(judged, strict=True)] == ["forward[a] < 110", "forward[b] < 80"]
