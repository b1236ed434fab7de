"""The errors of the first screen, and the columns that stand for a page: each by a slow search of its own."""

from dataclasses import replace

import numpy as np
import pytest
from gallery_items import items_of
from page_factory import make_page, quantise, with_items

from bench.reports.columns import by_number, layers_of, lead_of
from bench.reports.telling import chosen, telling_errors
from bench.schema.page import Page, VerdictView
from bench.schema.verdicts import Verdict


def judged(page: Page, **words: str) -> Page:
    """The page with verdicts on explainers at layer4 of its first run."""
    verdicts = tuple(VerdictView(0, Verdict(name, "layer4", 1, word)) for name, word in words.items())  # type: ignore[arg-type]
    return replace(page, verdicts=verdicts)


def test_of_several_runs_each_reason_is_true_of_its_image() -> None:
    page = make_page("comparison", images=60, classes=("a", "b", "c"), seed=2)
    said, true = page.gallery.said, page.gallery.true
    wrong = [[run.predicted[k] != true[k] for run in said] for k in range(60)]
    alike = [k for k in range(60) if all(wrong[k]) and len({run.predicted[k] for run in said}) == 1]
    found = {each.reason: each.place for each in chosen(page)}
    assert len({each.place for each in chosen(page)}) == len(chosen(page)) == 6
    assert found["all wrong alike, most sure"] == max(alike, key=lambda k: min(run.probability[k] for run in said))
    answers = {k: len({run.predicted[k] for run in said}) for k in range(60) if any(wrong[k])}
    assert answers[found["the runs differ most"]] == max(answers.values())
    for run, name in enumerate(("cifar_resnet18", "timm_resnet18", "torchvision_resnet18")):
        alone = [k for k in range(60) if [at for at, one in enumerate(wrong[k]) if one] == [run]]
        if alone:
            assert found[f"only {name} wrong"] == max(alone, key=lambda k: said[run].probability[k])


def test_of_one_run_the_surest_the_most_frequent_and_the_nearest_error_are_shown() -> None:
    page = replace(make_page(images=40, classes=("a", "b", "c")), verdicts=())
    said = page.gallery.said[0]
    found = {each.reason.split(":")[0]: each.place for each in chosen(page)}
    assert found["most sure, and wrong"] == int(np.argmax(said.probability))
    pairs = [(t, p) for t, p in zip(page.gallery.true, said.predicted, strict=True)]
    often = max(pairs, key=lambda pair: (pairs.count(pair), -pairs.index(pair)))
    assert pairs[found["the most frequent error here"]] == often
    left = set(range(40)) - {found["most sure, and wrong"], found["the most frequent error here"]}
    assert found["nearly right"] == max(left, key=lambda k: said.true_probability[k])
    assert page.gallery.disagreement[found["the explainers differ most"]] == max(
        page.gallery.disagreement[k] or 0 for k in left - {found["nearly right"]}
    )


def test_a_wrong_map_stands_beside_the_right_one_of_the_same_layer() -> None:
    page = judged(make_page("comparison", images=30), gradcam="same", captum="wrong")
    cards = {one.reason: one for one in telling_errors(page)}
    tiles = cards["captum is wrong at layer4"].tiles
    assert [tile.label for tile in tiles] == ["picture", "gradcam", "captum"]
    assert [tile.wrong_map for tile in tiles] == [False, False, True] and tiles[2].said == "wrong map"
    right = judged(page, gradcam="same", captum="same")
    assert not any("is wrong at" in one.reason for one in telling_errors(right))


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_nothing_is_shown_of_a_page_without_errors_and_pictures_alone_without_maps(kind: str) -> None:
    page = make_page(kind, images=6)
    said = tuple(replace(run, predicted=page.gallery.true) for run in page.gallery.said)
    assert telling_errors(replace(page, gallery=replace(page.gallery, said=said))) == ()
    bare = make_page(kind, images=6, explainers=())
    assert [len(one.tiles) for one in telling_errors(bare)] == [1] * 6 and lead_of(bare) == ("", "")


def test_a_map_without_a_picture_is_not_drawn() -> None:
    page = make_page(images=1, explainers=("captum",), layers=(("layer3", 8), ("layer4", 4)))
    maps = (quantise(-np.ones((8, 8)), cell=0), quantise(np.eye(4), cell=1))
    (card,) = telling_errors(with_items(page, [replace(items_of(page)[0], maps=maps)]))
    assert [tile.label for tile in card.tiles] == ["picture", "layer4"]


def test_layers_stand_in_the_order_of_the_network() -> None:
    sizes = (("layer4.1.bn2", 4), ("layer10", 8), ("layer9", 8), ("input", 32), ("stem", 16))
    page = make_page(images=2, layers=sizes)
    assert layers_of(page.cells) == ("input", "stem", "layer9", "layer10", "layer4.1.bn2")
    assert layers_of(page.cells, ("layer11", "layer2"))[-2:] == ("layer2", "layer11")
    assert sorted(["blocks.10", "blocks.9", "blocks"], key=by_number) == ["blocks", "blocks.9", "blocks.10"]


def test_no_explainer_that_is_wrong_or_a_finished_picture_stands_for_the_page() -> None:
    page = make_page(images=4, explainers=("gradcam", "captum"))
    assert lead_of(replace(page, verdicts=())) == ("gradcam", "layer4")
    assert lead_of(judged(page, gradcam="wrong")) == ("captum", "layer4")
    finished = tuple(replace(cell, picture=cell.explainer == "gradcam") for cell in page.cells)
    assert lead_of(replace(page, verdicts=(), cells=finished)) == ("captum", "layer4")
