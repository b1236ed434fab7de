"""The section on trust: what is said of a map follows from the tests, and never from a row that knows no model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.pages.trust import EXACTLY, Known, adds_up_of, best_first, equally_asked, line, merged, trust_of
from bench.schema.known_answers import Claim, KnownAnswers, MosaicScore, StickerScore
from bench.schema.page import Answer, CellView, Estimate, Score, Trust, TrustLine, VerdictView
from bench.schema.verdicts import Completeness, Verdict
from bench.scoring.known_tables import down_to

UP, LEVEL = Estimate(0.9, 0.8, 1.0), Estimate(0.0, -0.1, 0.1)
SOME = Estimate(0.3, 0.2, 0.4)


def sticker(
    name: str, gain: Estimate, *, layer: str = "layer4", strength: float = 1.0, knows: bool = True
) -> StickerScore:
    claim = Claim(gain, 0.01, knows)
    return StickerScore(name, layer, strength, 48, UP, LEVEL, UP, LEVEL, UP, claim)


def mosaic(name: str, gain: Estimate, share: float, *, layer: str = "layer4", knows: bool = True) -> MosaicScore:
    return MosaicScore(name, layer, 25, 0, Estimate(share, share - 0.02, share + 0.02), Claim(gain, 0.01, knows))


def answers(*rows: StickerScore | MosaicScore) -> KnownAnswers:
    return KnownAnswers(
        schema=1, run="r", checkpoint="c", model="net", device="CPU", versions={}, created="", target="cat", pixels=32,
        stickers=tuple(one for one in rows if isinstance(one, StickerScore)),
        mosaic_scores=tuple(one for one in rows if isinstance(one, MosaicScore)),
    )  # fmt: skip


def verdict(name: str, word: str, **more: object) -> VerdictView:
    return VerdictView(0, Verdict(name, "layer4", 1, word, **more))  # type: ignore[arg-type]


def known(
    *rows: StickerScore | MosaicScore, verdicts: tuple[VerdictView, ...] = (), scores: tuple[Score, ...] = ()
) -> Known:
    return Known(verdicts, scores, (), (answers(*rows),), ())


def section(found: Known) -> Trust:
    told = trust_of(found, ())
    assert told is not None
    return told


def covered(gain: float, over: float, *, half: float = 0.15, images: int = 60, word: str = "no evidence") -> Score:
    """Of a map whose rank correlation with covering lies so far above maps of other images and above simple maps."""
    apart = [None if images < 30 else Estimate(each, each - half, each + half, 0.99) for each in (gain, over)]
    return Score(0, "one", "layer4", 0.3, 0.2, 0.4, 0.1, images, word, *apart)


def test_an_explainer_that_passes_two_tests_is_recommended_and_the_sentence_says_why() -> None:
    found = section(known(sticker("good", UP), mosaic("good", UP, 0.8)))
    assert found.groups[0][0].advice == "use"
    assert found.sentences[0] == (
        "Use good at layer4: it finds a planted sticker and points at the right one of four pictures."
    )


def test_a_wrong_explainer_stands_first_and_is_to_be_avoided_whatever_else_it_passes() -> None:
    rows = (sticker("good", UP), mosaic("good", UP, 0.8), sticker("bad", UP), mosaic("bad", UP, 0.9))
    judged = (verdict("bad", "wrong", words="the sign is reversed"), verdict("good", "same"))
    found = section(known(*rows, verdicts=judged))
    assert [group[0].explainer for group in found.groups] == ["bad", "good"]
    assert found.groups[0][0].advice == "avoid" and "the sign is reversed" in found.groups[0][0].why
    assert any(words.startswith("Avoid bad") for words in found.sentences)


@pytest.mark.parametrize(
    "rows, advice",
    [
        ((sticker("one", LEVEL), mosaic("one", LEVEL, 0.25)), "avoid"),
        ((sticker("one", UP), mosaic("one", LEVEL, 0.25)), "with care"),
        ((sticker("one", UP), mosaic("one", SOME, 0.3)), "with care"),
        ((sticker("one", SOME), mosaic("one", SOME, 0.3)), "avoid"),
        ((sticker("one", UP),), "with care"),
    ],
)
def test_what_fails_a_test_is_never_recommended(rows: tuple[StickerScore | MosaicScore, ...], advice: str) -> None:
    assert line(known(*rows), 0, "one", "layer4").advice == advice
    assert not any(words.startswith("Use") for words in section(known(*rows)).sentences)


def test_a_row_that_knows_no_model_is_a_baseline_whatever_it_reaches() -> None:
    rows = (sticker("contrast", UP, knows=False), mosaic("contrast", UP, 0.9, knows=False), sticker("one", LEVEL))
    found = section(known(*rows, mosaic("one", LEVEL, 0.25)))
    (contrast,) = found.baselines
    assert contrast.advice == "baseline" and contrast.sticker.holds is False and contrast.mosaic.holds is False
    assert all("contrast" not in words for words in found.sentences)


def test_the_faintest_sticker_that_is_found_is_told() -> None:
    rows = [sticker("one", UP, strength=each) for each in (1.0, 0.25)] + [sticker("one", LEVEL, strength=0.0625)]
    assert line(known(*rows), 0, "one", "layer4").sticker == Answer("down to 25 % strength", True)
    assert line(known(*rows[:2]), 0, "one", "layer4").sticker.words == "down to the faintest"


def test_who_loses_the_clear_sticker_and_finds_the_faint_one_is_not_recommended() -> None:
    rows = [sticker("one", LEVEL, strength=1.0), sticker("one", UP, strength=0.25), mosaic("one", UP, 0.9)]
    found = line(known(*rows), 0, "one", "layer4")
    assert (
        found.sticker == Answer("only where it is faint, not where it is clear", None) and found.advice == "with care"
    )
    assert "but it finds a planted sticker only where it is faint, not where it is clear" in found.why
    assert down_to(answers(*rows), "one", "layer4") == "only weak ones"
    assert down_to(answers(rows[0], sticker("one", SOME, strength=0.25)), "one", "layer4") == "in fewer than half"


@pytest.mark.parametrize(
    "score, holds, undecided",
    [
        (covered(0.2, 0.2, half=0.1, word="above"), True, False),
        (covered(0.2, 0.08), None, True),  # better than simple maps by 0.23, or not at all
        (covered(0.2, -0.08), False, False),  # at most better by 0.07
        (covered(-0.08, 0.2), False, False),
        (covered(0.08, 0.08, half=0.01), False, False),
        (covered(-0.3, 0.2, word="below"), False, False),
        (covered(0.0, 0.0, images=20), None, True),
        (covered(0.9, 0.2, word="the truth itself"), None, False),
    ],
)
def test_too_few_images_to_tell_speak_neither_for_a_map_nor_against_it(
    score: Score, holds: bool | None, undecided: bool
) -> None:
    found = line(known(sticker("one", UP), mosaic("one", UP, 0.9), scores=(score,)), 0, "one", "layer4")
    assert (found.hiding.holds, found.hiding.undecided) == (holds, undecided)
    assert ("cannot tell whether it marks" in found.why) == undecided
    assert ("no test shows that it marks" in found.why) == (holds is False)
    assert found.advice == ("with care" if undecided or holds is False else "use")


def test_who_lacks_nothing_but_images_is_said_to_be_closest_and_what_can_tell() -> None:
    asked = known(sticker("one", UP), mosaic("one", UP, 0.9), scores=(covered(0.2, 0.08),))
    assert section(asked).sentences == (
        "Closest to a recommendation: one at layer4: it finds a planted sticker and points at the right one of four "
        "pictures, but 60 images cannot tell whether it marks what changes the answer when it is hidden; "
        "bench judge RUN --faithfulness with a larger --limit can tell.",
    )
    missed = replace(asked, answers=(answers(sticker("one", UP), mosaic("one", LEVEL, 0.3)),))
    assert section(missed).sentences[0].startswith("No explainer passed all tests")


def test_the_best_supported_layer_of_an_explainer_stands_first() -> None:
    rows = (
        sticker("one", UP, layer="layer2"), mosaic("one", LEVEL, 0.25, layer="layer2"),
        sticker("one", UP, layer="layer3"), mosaic("one", UP, 0.7, layer="layer3"),
        sticker("one", UP, layer="layer4"), mosaic("one", UP, 0.8, layer="layer4"),
    )  # fmt: skip
    (group,) = section(known(*rows)).groups
    assert [one.layer for one in group] == ["layer4", "layer3", "layer2"]


def test_a_layer_without_any_test_stands_behind_one_that_failed_some() -> None:
    seen = VerdictView(0, Verdict("one", "layer1", 1, "other recipe"))
    rows = (sticker("one", UP), mosaic("one", LEVEL, 0.25))
    (group,) = section(known(*rows, verdicts=(seen,))).groups
    assert [(each.layer, each.advice) for each in group] == [("layer4", "with care"), ("layer1", "not tested")]


def test_a_layer_that_was_asked_less_is_no_better_for_it() -> None:
    rows = (sticker("one", UP), mosaic("one", UP, 0.9), sticker("one", UP, layer="layer3"),
            mosaic("one", UP, 0.6, layer="layer3"))  # fmt: skip
    lines = section(known(*rows)).groups[0]
    failed = replace(lines[0], hiding=Answer("no evidence", False), advice="with care")
    assert [each.layer for each in lines] == ["layer4", "layer3"]
    assert best_first([lines[1], failed]) == (failed, lines[1])
    asked = replace(lines[1], hiding=Answer("", True))
    assert best_first([failed, asked]) == (asked, failed)


def test_who_was_not_asked_what_others_were_is_not_recommended() -> None:
    """Another explainer was covered, and failed; this one was spared the question."""
    asked = line(known(sticker("one", UP), mosaic("one", UP, 0.9)), 0, "one", "layer4")
    failed = replace(asked, explainer="two", hiding=Answer("no evidence", False), advice="with care")
    spared, still = equally_asked([asked, failed])
    assert (spared.advice, still) == ("with care", failed)
    assert spared.why.endswith("but it was not asked whether it marks what changes the answer when it is hidden")
    assert equally_asked([asked, replace(failed, run=1)])[0] == asked  # of another run
    assert equally_asked([asked, replace(failed, advice="baseline")])[0] == asked
    assert equally_asked([replace(asked, hiding=Answer("", True)), failed])[0].advice == "use"


def test_an_explainer_that_gives_the_same_bits_has_the_same_answers() -> None:
    rows = (sticker("gradcam", UP), mosaic("gradcam", UP, 0.8))
    judged = (verdict("captum", "same", equal_to=("gradcam",)),)
    assert line(known(*rows, verdicts=judged), 0, "captum", "layer4").advice == "use"
    assert line(known(*rows), 0, "captum", "layer4").advice == "not tested"


def test_without_any_test_there_is_no_section() -> None:
    assert trust_of(Known((), (), (), (None,), ()), ()) is None
    assert trust_of(Known((verdict("one", "same"),), (), (), (None,), ()), ()) is None


def test_explainers_that_are_exactly_grad_cam_and_were_tested_alike_share_a_line() -> None:
    one = TrustLine(
        0, "gradcam", "layer4", "use", "", Answer(EXACTLY, True), Answer("down to the faintest", True), Answer(),
        Answer(), Answer(), Answer(),
    )  # fmt: skip
    others = (
        replace(one, explainer="captum"),
        replace(one, explainer="hirescam", claims=Answer("its own method", True)),
        replace(one, explainer="reference", layer="layer3"),
        replace(one, explainer="again", sticker=Answer("no", False)),
        replace(one, explainer="elsewhere", run=1),
    )
    assert [each.explainer for each in merged((one, *others))] == [
        "gradcam = captum", "hirescam", "reference", "again", "elsewhere",
    ]  # fmt: skip


def test_a_sentence_names_few_of_many_explainers_and_counts_the_others() -> None:
    many = [sticker(name, Estimate(0.9, 0.8, 1.0)) for name in "abcdefg"]
    points = [mosaic(name, Estimate(0.5, 0.4, 0.6), 0.8) for name in "abcdefg"]
    assert section(known(*many, *points)).sentences[0].startswith("Use a, b, c, d or one of 3 more at layer4: ")


@pytest.mark.parametrize("promise, holds", [("always", False), ("expected", None)])
def test_what_adds_up_in_expectation_only_is_not_held_to_each_sum(promise: str, holds: bool | None) -> None:
    cell = CellView(0, "one", "input", 32, 32, 10, 0, 0, 0, 0, None, 1, 1)
    summed = replace(cell, complete=Completeness(promise, 0.05, 0.2, 10))
    assert adds_up_of(summed).holds is holds and adds_up_of(cell) == Answer()


def test_who_was_asked_less_stands_behind_who_passed_as_much() -> None:
    """A method of a library that was never covered is not the first to look at among those to be used with care."""
    rows = [each for name in ("spared", "one") for each in (sticker(name, UP), mosaic(name, UP, 0.9))]
    found = section(known(*rows, sticker("worse", UP), mosaic("worse", LEVEL, 0.25), scores=(covered(0.2, 0.08),)))
    assert [group[0].explainer for group in found.groups] == ["one", "spared", "worse"]


def test_the_lead_says_what_was_asked_and_no_more() -> None:
    """One test that was passed is no failure, and one that was failed is nothing that speaks for a map."""
    few = section(known(sticker("one", UP))).sentences
    assert few == (
        "No explainer was asked enough to be recommended: at least two tests must speak for one.",
        "Too little was asked to recommend one; bench judge RUN --known-answers and --faithfulness ask more.",
    )
    none = section(known(sticker("one", LEVEL))).sentences
    assert none == (
        "No explainer passed all tests that were made: take no picture as proof.",
        "Nothing speaks for one so far.",
    )
    rows = [each for name in ("one", "two") for each in (sticker(name, UP), mosaic(name, LEVEL, 0.25))]
    spared = section(known(*rows, sticker("three", UP))).sentences
    assert spared[0] == "No explainer that was asked everything passed everything: take no picture as proof."
    mixed = section(known(sticker("one", UP), mosaic("one", LEVEL, 0.25))).sentences
    assert mixed[1] == "Look twice at one: some tests speak for them, some do not."
