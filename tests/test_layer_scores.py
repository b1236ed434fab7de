"""Scores of one layer from maps and answers: cases solved by hand, slow references, planted mistakes."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import sem, spearmanr, t

from bench.errors import StoreError
from bench.schema.scores import ExplainerScores, Likeness, PairScores
from bench.scoring.baselines import BASELINES, centre_map
from bench.scoring.claims import Asked, claims
from bench.scoring.fills import IMPUTED, MEAN_COLOUR
from bench.scoring.layer_scores import (
    Errors,
    Ground,
    Maps,
    Ranked,
    agreements_of,
    flat,
    layer_of,
    likeness as scores_likeness,
    pairs_of,
    ranked,
    scores_of_layers,
)
from bench.scoring.occluded_answers import baselines_of, template_of, wanted_sets
from bench.scoring.patches import every_patch
from bench.stats.agreement import beside, of_pair
from bench.stats.intervals import rank_matrix
from bench.store.paths import answers_path
from bench.store.rows import Answers, read_answers, write_answers

GRID, PATCHES, COUNT = (4, 4), 16, 30
IDS = np.arange(100, 100 + COUNT)
PREDICTED, TRUE = np.zeros(COUNT, dtype=np.int64), np.ones(COUNT, dtype=np.int64)
ERRORS = Errors(IDS, PREDICTED, TRUE)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


WORTH = rng(5).normal(size=(COUNT, PATCHES, 3)).round(3)  # what each patch adds to each logit, when it is to be seen


@cache
def logits_of(image: int, covered: int) -> np.ndarray:
    """A model that adds up what the visible patches are worth, so every score can be said in advance."""
    seen = [patch for patch in range(PATCHES) if not covered >> patch & 1]
    return np.array([0.2, 0.0, -9.0]) + WORTH[image, seen].sum(axis=0)


def explainer(name: str, predicted: np.ndarray, true: np.ndarray, ok: np.ndarray | None = None) -> Ranked:
    good = np.ones(COUNT, dtype=bool) if ok is None else ok
    maps = Maps(name, predicted.reshape(-1, *GRID), good, true.reshape(-1, *GRID), np.ones(COUNT, dtype=bool))
    return ranked(maps, IDS, GRID)


TRUTH = explainer("truth", WORTH[:, :, 0], WORTH[:, :, 1])
REVERSED = explainer("reversed", -WORTH[:, :, 0], -WORTH[:, :, 1])
NOISY = explainer("noisy", *(WORTH[:, :, cls] + 0.5 * rng(2 + cls).normal(size=(COUNT, PATCHES)) for cls in (0, 1)))
BLIND = explainer("blind", *rng(1).normal(size=(2, COUNT, PATCHES)))


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here hangs on the third digit of an end, and every table has a hundred intervals."""
    monkeypatch.setattr("bench.stats.intervals.RESAMPLES", 499)


IMAGES = torch.randn(COUNT, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SEED = 0


def asked(ids: np.ndarray, sets: np.ndarray) -> Answers:
    logits = [logits_of(image - 100, covered) for image, covered in zip(ids.tolist(), sets.tolist(), strict=True)]
    return Answers(ids, sets, np.array(logits).astype(np.float32))


def baselines() -> tuple[list[Ranked], list[Ranked]]:
    """All rows that know no model, the class template last, and the random orders."""
    rows, draws = baselines_of(IDS, IMAGES, GRID, GRID)
    return [*rows, template_of(ERRORS, asked(*wanted_sets(IDS, [], PATCHES)), GRID)], draws


def ground(*every: Ranked) -> Ground:
    rows, draws = baselines()
    answers = asked(*wanted_sets(IDS, [*every, *rows, *draws], PATCHES))
    imputed = asked(*flat([(ids, sets[:, None]) for ids, sets in (one.road_sets() for one in (*every, *rows))]))
    both = {MEAN_COLOUR: answers, IMPUTED: imputed}
    return Ground(ids=IDS, predicted=PREDICTED, true=TRUE, grid=GRID, answers=both, random=draws)


def lines(*every: Ranked) -> dict[str, ExplainerScores]:
    """The whole table of some explainers."""
    rows = [*every, *baselines()[0]]
    found = scores_of_layers([layer_of("layer4", ground(*every), rows)], SEED)
    return {each.explainer: each for each in found}


def scores(one: Ranked, *earlier: Ranked) -> ExplainerScores:
    return lines(*earlier, one)[one.maps.name]


def agreement_of(first: Ranked, second: Ranked) -> PairScores:
    return agreements_of([("layer4", [first, second])], PREDICTED, SEED)[0]


def likeness(matrices: Sequence[np.ndarray], generator: np.random.Generator) -> Likeness:
    """With its claim, of images that are all of one class."""
    found = beside(matrices, np.zeros(len(matrices[0]), dtype=np.int64))
    return scores_likeness(found, generator, claims([Asked(found.own, found.null)])[0])


def probability(logits: np.ndarray, cls: int) -> float:
    return float(math.exp(logits[cls]) / sum(math.exp(each) for each in logits))


# --- the ground truth ---------------------------------------------------------------------------------------


def test_a_map_that_equals_the_truth_has_correlation_1_and_its_reverse_minus_1() -> None:
    for one, wanted in ((TRUTH, 1.0), (REVERSED, -1.0)):
        found = scores(one)
        for each in (found.logit, found.margin):
            assert each.value.value == pytest.approx(wanted) and abs(each.null.value) < 0.1
    assert scores(TRUTH).logit.verdict == scores(TRUTH).margin.verdict == "the truth itself"
    assert scores(NOISY).logit.verdict == "above" and scores(REVERSED).logit.verdict == "below"


@pytest.mark.parametrize("what", ["logit", "margin"])
def test_the_correlation_with_the_truth_is_scipys_image_by_image(what: str) -> None:
    found: Likeness = getattr(scores(BLIND), what)
    maps = BLIND.predicted if what == "logit" else BLIND.difference
    truth = WORTH[:, :, 0] if what == "logit" else WORTH[:, :, 0] - WORTH[:, :, 1]
    slow = [spearmanr(one.ravel(), other).statistic for one, other in zip(maps, truth, strict=True)]
    assert (found.value.value, found.verdict) == (pytest.approx(np.mean(slow), abs=1e-6), "no evidence")


# --- curves -------------------------------------------------------------------------------------------------


def areas_by_hand(one: Ranked, image: int) -> tuple[float, float]:
    """Deletion and insertion, each a walk of its own from the first to the last patch of a plain sort."""
    order = sorted(range(PATCHES), key=lambda patch: -one.predicted[image].ravel()[patch])
    deletion, insertion = [], []
    for count in range(PATCHES + 1):
        deletion.append(probability(logits_of(image, sum(1 << patch for patch in order[:count])), 0))
        insertion.append(probability(logits_of(image, sum(1 << patch for patch in order[count:])), 0))
    return tuple((sum(curve) - (curve[0] + curve[-1]) / 2) / PATCHES for curve in (deletion, insertion))  # type: ignore[return-value]


@pytest.mark.parametrize("one", [TRUTH, BLIND], ids=["truth", "blind"])
def test_areas_are_those_of_two_separate_walks(one: Ranked) -> None:
    deletion, insertion = ground(one).areas(one)
    for image in range(0, COUNT, 7):
        assert (deletion[image], insertion[image]) == pytest.approx(areas_by_hand(one, image), abs=1e-6)


def test_gains_are_counted_against_the_mean_of_random_orders_and_the_best_row_without_a_model() -> None:
    rows, draws = baselines()
    of, own = ground(BLIND), ground(BLIND).areas(BLIND)
    random = np.mean([of.areas(each) for each in draws], axis=0)
    found = scores(BLIND)
    assert found.deletion.area.value == pytest.approx(own[0].mean())
    assert (found.deletion.over_random.value, found.insertion.over_random.value) == pytest.approx(
        ((random[0] - own[0]).mean(), (own[1] - random[1]).mean())
    )
    rival = next(each for each in rows if each.maps.name == found.deletion.rival)
    assert found.deletion.over.value == pytest.approx((of.areas(rival)[0] - own[0]).mean())


def test_the_best_order_of_an_additive_model_gains_and_the_worst_loses() -> None:
    best, worst = scores(TRUTH), scores(REVERSED)
    assert min(best.deletion.over_random.low, best.insertion.over_random.low) > 0.05
    assert max(worst.deletion.over_random.high, worst.insertion.over_random.high) < -0.05


def test_a_random_map_gains_nothing_over_random_maps_and_no_row_without_a_model_gets_a_word() -> None:
    found = lines(TRUTH)
    row = found["random"]
    assert row.deletion.over_random.low < 0 < row.deletion.over_random.high
    assert row.contrast is None and row.health is None
    for name in BASELINES:
        one = found[name]
        said = (one.logit, one.margin, one.deletion, one.insertion, *one.flips)
        assert {each.verdict for each in said} == {""} and {each.over for each in said} == {None}


def test_road_is_half_of_what_the_last_patches_leave_over_what_the_first_do() -> None:
    found = scores(NOISY).road
    assert found is not None and found.images == COUNT
    slow = []
    for image in range(COUNT):
        order = sorted(range(PATCHES), key=lambda patch: -NOISY.predicted[image].ravel()[patch])
        steps = [3, 6, 10, 13]  # 20, 40, 60, 80 % of 16
        first, last = (
            np.mean([probability(logits_of(image, sum(1 << patch for patch in way[:count])), 0) for count in steps])
            for way in (order, order[::-1])
        )
        slow.append((first, last))
    morf, lerf = np.mean(slow, axis=0)
    assert (found.morf.value, found.lerf.value) == pytest.approx((morf, lerf))
    assert found.gain.area.value == pytest.approx((lerf - morf) / 2) and found.gain.area.value > 0.1


# --- flips --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3], ids=["all images", "some images"])
def test_flips_are_those_of_plain_counting_over_the_images_that_are_scored(every: int) -> None:
    _, draws = baselines()
    ok = np.arange(COUNT) % every == 0
    one = explainer("x", WORTH[:, :, 0], WORTH[:, :, 1], ok)
    for patches, found in zip((2, 4), scores(one).flips, strict=True):
        turned = []
        for each in (one, *draws):
            tops = [np.argsort(-maps.ravel())[:patches] for maps in each.difference]
            logits = [logits_of(n, sum(1 << int(patch) for patch in top)) for n, top in enumerate(tops)]
            turned.append([int(values.argmax() == 1) for values in logits])
        own, random = np.array(turned[0])[ok], np.mean(turned[1:], axis=0)[ok]
        assert found.patches == patches and found.turned.value == own.mean() > random.mean()
        assert (found.random.value, found.gain.value) == pytest.approx((random.mean(), (own - random).mean()))


# --- maps that say nothing ----------------------------------------------------------------------------------


def test_a_planted_dead_map_is_in_no_mean() -> None:
    ok = np.arange(COUNT) != 3
    spoiled = WORTH[:, :, 0].copy()
    spoiled[3] = -spoiled[3] - 100
    found = scores(explainer("x", spoiled, WORTH[:, :, 1], ok))
    assert found.images == found.logit.images == found.margin.images == COUNT - 1
    assert scores(TRUTH).images == COUNT and found.logit.value.value == pytest.approx(1)
    own, random = ground(TRUTH).areas(TRUTH)[0], ground(TRUTH).random_areas[0]
    assert found.deletion.over_random.value == pytest.approx((random - own)[ok].mean())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_difference_that_is_not_finite_or_the_same_everywhere_is_not_ranked(value: float) -> None:
    true = WORTH[:, :, 1].copy()
    true[3, 5] = value
    true[4] = WORTH[4, :, 0]
    found = scores(explainer("x", WORTH[:, :, 0], true))
    assert (found.images, found.logit.images, found.margin.images) == (COUNT, COUNT, COUNT - 2)


def test_a_map_may_move_by_more_than_its_own_length() -> None:
    """Sensitivity has no largest value: its interval is Student's, and it holds its own mean."""
    one, values = NOISY, np.linspace(0.5, 2.5, COUNT)
    layer = layer_of("layer4", ground(one), [one, *baselines()[0]], {one.maps.name: values})
    found = next(each for each in scores_of_layers([layer], SEED) if each.explainer == one.maps.name)
    half = sem(values) * t.ppf(0.975, COUNT - 1)
    assert found.sensitivity is not None
    assert (found.sensitivity.value, found.sensitivity.low) == pytest.approx((1.5, 1.5 - half))


def test_where_no_map_is_ok_nothing_is_claimed() -> None:
    found = scores(explainer("x", WORTH[:, :, 0], WORTH[:, :, 1], np.zeros(COUNT, dtype=bool)))
    assert found.images == 0 and found.logit.value is None and found.logit.images == 0
    assert found.deletion == found.insertion and found.deletion.over_random is None
    assert found.flips[0].turned is None and found.logit.verdict == "no evidence"


# --- equal orders -------------------------------------------------------------------------------------------


def test_equal_orders_ask_the_model_nothing_new() -> None:
    same = explainer("same", 3 * WORTH[:, :, 0], 3 * WORTH[:, :, 1])
    one = ground(TRUTH).answers[MEAN_COLOUR]
    assert len(one.missing(*wanted_sets(IDS, [TRUTH, same], PATCHES))[0]) == 0
    assert len(one.missing(*wanted_sets(IDS, [BLIND], PATCHES))[0]) > 0
    found = scores(same, BLIND, TRUTH)
    assert (found.alike, found.alike_images, scores(BLIND, TRUTH).alike) == ("truth", COUNT, "")


def test_equal_orders_are_counted_over_images_that_both_are_scored_on_and_of_no_baseline() -> None:
    one, other = np.arange(COUNT) % 2 == 0, np.arange(COUNT) % 3 == 0
    mine, theirs = (explainer(name, WORTH[:, :, 0], WORTH[:, :, 1], ok) for name, ok in (("a", one), ("b", other)))
    found = scores(mine, theirs)
    assert (found.alike, found.alike_images) == ("b", int((one & other).sum()))
    random = baselines()[0][0]
    same = explainer("same", random.predicted.reshape(COUNT, PATCHES), WORTH[:, :, 1])
    assert scores(same, random).alike == ""


def test_the_contrast_of_two_classes_is_scipys_over_images_where_both_maps_say_something() -> None:
    one, other = np.arange(COUNT) % 4 > 0, np.arange(COUNT) % 5 > 0
    maps, true = BLIND.maps.predicted, -(BLIND.maps.predicted**3) + 0.1 * WORTH[:, :, 1].reshape(-1, *GRID)
    found = scores(ranked(Maps("x", maps, one, true, other), IDS, GRID)).contrast
    slow = [spearmanr(maps[n].ravel(), true[n].ravel()).statistic for n in np.flatnonzero(one & other)]
    assert (found.images, found.value.value) == (len(slow), pytest.approx(np.mean(slow)))


def test_what_is_wanted_is_sixteen_steps_both_ways_and_the_flips() -> None:
    ids, sets = wanted_sets(IDS[:1], [], PATCHES)
    assert len(ids) == PATCHES + 2
    one = dataclasses.replace(TRUTH, ids=IDS[:1], **{
        name: getattr(TRUTH, name)[:1] for name in ("predicted", "difference", "ok", "clear")
    })  # fmt: skip
    more = set(wanted_sets(IDS[:1], [one], PATCHES)[1].tolist()) - set(sets.tolist())
    # 15 inner points of each curve, of which the first patch alone is known; two flips; all but those that coincide
    assert len(more) <= 15 + 15 - 1 + 2 and len(more) >= 15 + 15 - 2


# --- agreement ----------------------------------------------------------------------------------------------


def test_likeness_is_the_mean_over_images_beside_the_mean_over_all_other_pairs() -> None:
    first, second = rng(1).normal(size=(2, 12, 4, 4))
    found = likeness([rank_matrix(first, second)], rng())
    own = [spearmanr(first[n].ravel(), second[n].ravel()).statistic for n in range(12)]
    other = [spearmanr(first[n].ravel(), second[m].ravel()).statistic for n in range(12) for m in range(12) if n != m]
    assert (found.value.value, found.null.value) == pytest.approx((np.mean(own), np.mean(other)))


def test_the_null_is_what_permuted_images_reach_on_average() -> None:
    first, second = rng(1).normal(size=(2, 40, 4, 4)) + 2 * centre_map(4, 4)
    generator, reached = rng(2), []
    for _ in range(200):
        order = generator.permutation(40)
        reached += np.diagonal(rank_matrix(first, second[order]))[order != np.arange(40)].tolist()
    found = likeness([rank_matrix(first, second)], rng())
    assert 0.2 < found.null.value == pytest.approx(np.mean(reached), abs=0.01)  # shared centres alone


@pytest.mark.parametrize(("rows", "columns"), [(1, 0), (0, 1), (1, 1)])
def test_the_interval_of_the_null_holds_the_mean_of_all_images_in_about_95_of_100_cases(
    rows: float, columns: float
) -> None:
    """An image may be alike to all others by its first map, by its second, or by both; pairs are not independent."""
    held, generator = [], rng(3)
    for _ in range(150):
        first, second = generator.normal(size=(2, 24))
        matrix = 0.3 + rows * first[:, None] + columns * second + generator.normal(scale=0.3, size=(24, 24))
        found = likeness([matrix], generator).null
        held.append(found.low <= 0.3 <= found.high)
    assert 0.88 < np.mean(held) < 0.99


def test_both_classes_of_an_image_count_as_one_image() -> None:
    first, second = rng(1).normal(size=(2, 20, 4, 4))
    matrix = rank_matrix(first, second)
    # twice as many maps of the same images make no interval narrower
    assert likeness([matrix], rng()) == likeness([matrix, matrix], rng())


def test_an_image_without_a_map_is_left_out_of_value_and_null() -> None:
    matrix = rank_matrix(*rng(1).normal(size=(2, 12, 4, 4)))
    holed = matrix.copy()
    holed[2, :] = np.nan
    found = likeness([holed], rng())
    assert (found.images, found.value.value) == (11, pytest.approx(np.delete(np.diagonal(matrix), 2).mean()))


def test_centre_biased_maps_of_unrelated_images_agree_without_evidence() -> None:
    first, second = (rng(seed).normal(size=(COUNT, PATCHES)) * 0.2 + centre_map(4, 4).ravel() * 3 for seed in (1, 2))
    one, other = explainer("one", first, first), explainer("other", second, second)
    found = agreement_of(one, other)
    assert found.spearman.value.value > 0.7 and found.spearman.verdict == found.overlap.verdict == "no evidence"
    noisy = explainer("noisy", first + rng(3).normal(size=first.shape) * 0.05, first)
    assert agreement_of(one, noisy).spearman.verdict == "above"


def test_equal_maps_overlap_wholly_and_a_dead_one_has_no_say() -> None:
    same = explainer("same", WORTH[:, :, 0], WORTH[:, :, 1], np.arange(COUNT) > 0)
    found = agreement_of(TRUTH, same)
    assert (found.spearman.value.value, found.overlap.value.value) == pytest.approx((1, 1))
    flat = explainer("x", *np.ones((2, COUNT, PATCHES)))
    assert agreement_of(TRUTH, flat).spearman.images == 0


def test_overlap_is_that_of_the_top_eighth_of_the_patches_as_the_page_says() -> None:
    first, second = np.zeros((2, COUNT, PATCHES))
    first[:, :2] = second[:, :2] = 2, 1  # two of sixteen patches are the same, and no other above 0
    first[:, 2:5] = second[:, 5:8] = 0.5
    found = agreement_of(explainer("one", first, first), explainer("other", second, second))
    assert found.overlap.value.value == 1


def test_of_four_patches_the_top_eighth_is_one() -> None:
    """The smallest grid there is; half a patch would be none, and all maps would overlap alike."""
    first, second = rng(1).normal(size=(2, COUNT, 2, 2))
    _, found = of_pair([(first, second)], PREDICTED)
    same = [one.argmax() == other.argmax() for one, other in zip(first, second, strict=True)]
    assert found.own.mean() == pytest.approx(np.mean(same))


def test_explainers_meet_each_other_and_the_baselines_but_baselines_not_each_other() -> None:
    random, centre = baselines()[0][:2]
    names = [(a.maps.name, b.maps.name) for a, b in pairs_of([TRUTH, BLIND, random, centre])]
    assert names == [
        ("truth", "blind"), ("truth", "random"), ("truth", "centre"), ("blind", "random"), ("blind", "centre"),
    ]  # fmt: skip


def test_maps_of_two_sizes_meet_on_the_patches() -> None:
    fine = np.repeat(np.repeat(TRUTH.predicted, 8, axis=1), 8, axis=2)
    maps = Maps("fine", fine, TRUTH.ok, fine, TRUTH.ok)
    found = agreement_of(explainer("t", *[WORTH[:, :, 0]] * 2), ranked(maps, IDS, GRID))
    assert found.spearman.value.value == pytest.approx(1)


# --- baselines ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (32, 32)])
def test_the_centre_falls_off_from_the_middle_to_the_corners_alike(size: tuple[int, int]) -> None:
    found = centre_map(*size)
    assert np.array_equal(found, found[::-1]) and np.array_equal(found, found[:, ::-1])
    assert found.max() == found[size[0] // 2, size[1] // 2] and found.min() == found[0, 0] > 0
    assert (np.diff(found[size[0] // 2, size[1] // 2 :]) < 0).all()


def test_a_random_map_belongs_to_its_image_whatever_the_others_are() -> None:
    few, many = (baselines_of(ids, IMAGES[: len(ids)], GRID, GRID) for ids in (IDS[3:4], IDS))
    assert np.array_equal(few[0][0].predicted[0], many[0][0].predicted[3])
    draws = [each.order[3].tolist() for each in (many[0][0], *many[1])]
    assert len({tuple(each) for each in draws}) == len(draws)


# --- answers on disk ----------------------------------------------------------------------------------------


def some_answers() -> Answers:
    sets = np.array([0, int(every_patch(64)), 1 << 63, 5], dtype=np.uint64)
    return Answers(np.array([1, 1, 2, 2]), sets, rng().normal(size=(4, 3)).astype(np.float32))


def test_answers_come_back_as_they_were_written(tmp_path: Path) -> None:
    path, head = answers_path(tmp_path, (8, 8)), {"checkpoint": "c", "grid": [8, 8]}
    write_answers(path, some_answers(), head)
    found = read_answers(path, head, 3)
    wanted = np.array([[1 << 63, 5]], dtype=np.uint64)
    assert np.array_equal(found.of(np.array([2]), wanted)[0], some_answers().logits[2:])
    assert len(read_answers(path, {**head, "checkpoint": "another"}, 3).ids) == 0
    assert len(read_answers(path, head, 4).ids) == 0


@pytest.mark.parametrize("spoil", [lambda data: data[:50], lambda data: b"", lambda data: b"x" * 200])
def test_a_damaged_file_is_asked_for_again(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = answers_path(tmp_path, (8, 8))
    write_answers(path, some_answers(), {})
    path.write_bytes(spoil(path.read_bytes()))
    assert len(read_answers(path, {}, 3).ids) == 0


def test_answers_of_a_newer_bench_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = answers_path(tmp_path, (8, 8))
    monkeypatch.setattr("bench.store.rows.ANSWERS_SCHEMA", 2)
    write_answers(path, some_answers(), {})
    monkeypatch.undo()
    with pytest.raises(StoreError, match="schema 2"):
        read_answers(path, {}, 3)


def test_each_missing_answer_is_named_once() -> None:
    ids, sets = np.array([1, 1, 3, 3]), np.array([[0, 7], [7, 0], [1, 1], [2, 1]], dtype=np.uint64)
    found = some_answers().missing(ids, sets)
    assert list(zip(*(each.tolist() for each in found), strict=True)) == [(1, 7), (3, 1), (3, 2)]
