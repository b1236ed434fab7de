"""What a reader meets first, in Chromium: pictures, a gallery on maps that exist, tables that hide nothing, paper."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from browsing import FRAMES, MARKS, Open, browser, opened
from gallery_items import items_of
from page_factory import estimate, make_page, with_items

from bench.reports.columns import lead_of
from bench.reports.glossary import GLOSSARY
from bench.schema.page import Answer as TrustAnswer, CellView, Page, Trust, TrustLine

pytestmark = [*MARKS, pytest.mark.slow]

TOP = "(wanted) => document.querySelector(wanted).getBoundingClientRect().top + scrollY"
HIDDEN = """() => [...document.querySelectorAll("main .frame")].filter((one) => one.querySelector("table"))
    .filter((one) => one.offsetParent && one.scrollWidth > one.clientWidth + 1).map((one) => one.ariaLabel)"""
LOST = """() => [...document.querySelectorAll(".term")].map((term) => term.hash.slice(1))
    .filter((id) => !document.getElementById(id))"""
WINDOWS = ((1440, 900), (1366, 768), (720, 450), (683, 384))  # the last two: twice the size of the first two


def tall(tab: Any, width: int, height: int) -> Any:
    tab.set_viewport_size({"width": width, "height": height})
    tab.wait_for_timeout(150)
    return tab


def with_trust(page: Page, lines: int) -> Page:
    """The page with as many explainers in its section on trust."""
    none = TrustAnswer()
    heads = tuple(
        TrustLine(
            0, f"explainer{k}", "layer4", "with care", "it finds a planted sticker, but no test shows that it points",
            none, none, TrustAnswer("no evidence", None, estimate(0.25)), none, none, none,
        )
        for k in range(lines)
    )  # fmt: skip
    return replace(
        page, trust=Trust(("Use none of them.",), tuple((one, one) for one in heads), heads[:1], heads=heads)
    )


# --- the first screen ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_the_first_screen_has_accuracy_findings_and_six_errors_each_of_which_opens(kind: str, opened: Open) -> None:
    tab = tall(opened(make_page(kind, images=40)).tab, 1440, 900)
    cards = tab.locator(".six article")
    assert cards.count() == 6 and tab.evaluate(TOP, ".six article:last-child") < 800
    assert all(box["y"] + box["height"] < 900 for box in (one.bounding_box() for one in cards.all()))
    drawn = tab.evaluate("[...document.querySelectorAll('.six img')].map((image) => image.naturalWidth)")
    assert len(drawn) >= 12 and set(drawn) == {112}
    assert tab.locator(".scores li").count() == (1 if kind == "run" else 3)
    assert tab.evaluate(TOP, "#findings") < 500
    id_ = cards.nth(3).locator(".reason a").inner_text()
    cards.nth(3).locator(".tiles").click()
    tab.wait_for_selector("#one[open]")
    assert tab.locator("#one .id").inner_text() == id_


def test_at_the_usual_window_the_gallery_begins_within_three_screens(opened: Open) -> None:
    page = with_trust(make_page("run", images=30), 14)
    tab = tall(opened(page).tab, 1440, 900)
    assert tab.locator("table.trust").first.locator("tbody tr").count() == 9  # eight and what knows no model
    assert tab.evaluate(TOP, "#trust") < 1000 and tab.evaluate(TOP, "#errors") < 2700
    order = tab.evaluate("[...document.querySelectorAll('main > section > h2')].map((head) => head.id)")
    assert order[:3] == ["trust", "errors", "accuracy"]


def test_contents_lead_to_every_section_and_say_where_the_reader_is(opened: Open) -> None:
    tab = tall(opened(make_page("comparison", images=30)).tab, 1440, 900)
    links = tab.evaluate("[...document.querySelectorAll('#contents a')].map((a) => a.hash.slice(1))")
    heads = tab.evaluate("[...document.querySelectorAll('section > h2')].map((head) => head.id)")
    assert links == [one for one in heads if one != "telling"]
    tab.locator("#contents a", has_text="Explainers").click()
    tab.wait_for_timeout(300)
    assert tab.locator("#contents a[aria-current]").all_inner_texts() == ["Explainers"]
    assert tab.locator("#contents").bounding_box()["y"] == 0  # it follows


@pytest.mark.parametrize("size", WINDOWS)
def test_what_stays_in_sight_never_covers_more_than_a_quarter_of_the_window(
    size: tuple[int, int], opened: Open
) -> None:
    tab = tall(opened(make_page("comparison", images=30)).tab, *size)
    tab.evaluate("document.getElementById('grid').scrollIntoView()")
    tab.mouse.wheel(0, 600)
    tab.wait_for_timeout(300)
    stuck = tab.evaluate(
        """() => Math.max(0, ...[...document.querySelectorAll("#contents, #looks")]
            .map((one) => one.getBoundingClientRect()).filter((box) => box.top >= 0 && box.top < 60)
            .map((box) => box.bottom))"""
    )
    assert 0 < stuck <= size[1] / 4


# --- the gallery --------------------------------------------------------------------------------------------


def without_cells(page: Page, gone: Sequence[tuple[int, str, str]]) -> Page:
    """The page without the cells (run, explainer, layer)."""
    kept = [k for k, cell in enumerate(page.cells) if (cell.run, cell.explainer, cell.layer) not in gone]
    maps = tuple(page.gallery.maps[k] for k in kept)
    return replace(page, cells=tuple(page.cells[k] for k in kept), gallery=replace(page.gallery, maps=maps))


def test_it_opens_on_the_explainer_with_most_maps_whatever_stands_first(opened: Open) -> None:
    """Each run was explained at four layers by one explainer; the others are only there at one layer of one run."""
    layers = (("layer4", 4), ("layer1", 16), ("layer3", 8), ("layer2", 16))
    page = make_page("comparison", images=12, explainers=("aaa", "gradcam"), layers=layers)
    page = without_cells(page, [(k, "aaa", f"layer{n}") for k in range(3) for n in (1, 2, 3, 4) if (k, n) != (0, 2)])
    shown = opened(page)
    assert lead_of(page) == ("gradcam", "layer4")
    pressed = shown.tab.evaluate("[...document.querySelectorAll('#columns [aria-pressed=true]')].map((b) => b.value)")
    assert pressed == ["gradcam", "layer4", "0", "1", "2"]
    offered = shown.tab.evaluate("[...document.querySelectorAll('#columns [data-key=l]')].map((b) => b.value)")
    assert offered == ["layer1", "layer2", "layer3", "layer4"]
    assert shown.tab.locator(".card .blank", has_text="not computed").count() == 0
    assert shown.tab.locator(".card .map canvas").count() > 3
    told = shown.tab.locator(".gallery .note", has_text="lacks").all_inner_texts()
    assert len(told) == 2 and all(
        "bench explain" in words and "--explainer aaa --layer layer2" in words for words in told
    )


def test_two_explainers_of_one_layer_stand_side_by_side_and_a_click_on_a_map_opens_it(opened: Open) -> None:
    page = make_page(images=3, explainers=("gradcam", "captum"))
    tab = opened(page, anchor="#x=gradcam,captum&l=layer3,layer4").tab
    maps = tab.locator(".card").first.locator(".row").first.locator(".map")
    names = [
        tuple(re.findall(r'"([^"]+)"', each)) for each in maps.evaluate_all("all => all.map((e) => e.dataset.map)")
    ]
    assert names == [(x, layer) for layer in ("layer3", "layer4") for x in ("gradcam", "captum")]
    clicked = maps.locator("canvas").nth(1)
    words = clicked.get_attribute("aria-label")
    clicked.click()
    tab.wait_for_selector("#one[open]")
    first = tab.locator("#one-a option:checked").inner_text()
    assert words.startswith(" at ".join(first.split()[:2]))


def test_one_image_starts_with_two_explainers_at_one_layer_and_offers_the_picture(opened: Open) -> None:
    page = make_page(images=3, explainers=("gradcam", "captum"))
    tab = opened(page, anchor=f"#img={items_of(page)[0].id}").tab
    tab.wait_for_selector("#one[open]")
    first, second = (tab.locator(f"#one-{key} option:checked").inner_text().split() for key in "ab")
    assert first[0] != second[0] and first[1:] == second[1:]
    assert tab.locator("#one-a option").first.inner_text() == "picture"
    tab.locator("#one-a").select_option("0")
    tab.wait_for_timeout(100)
    assert tab.locator("#one-pair canvas").get_attribute("aria-label").startswith("picture and ")


def test_an_image_that_is_not_there_is_said(opened: Open) -> None:
    shown = opened(make_page(images=3), anchor="#img=99999999")
    assert shown.tab.locator("#status").inner_text() == "This page has no image 99999999."
    assert not shown.tab.evaluate("document.getElementById('one').open")


def test_a_difference_offers_no_control_that_changes_nothing(opened: Open) -> None:
    tab = opened(make_page(images=3)).tab
    values, colours = tab.get_by_role("group", name="values"), tab.locator("#looks [data-key=colours]")
    assert values.is_visible() and colours.is_visible()
    tab.get_by_role("button", name="difference", exact=True).click()
    tab.wait_for_timeout(100)
    assert not values.is_visible() and not colours.is_visible()
    tab.get_by_role("button", name="both", exact=True).click()
    tab.get_by_role("button", name="signed", exact=True).click()
    tab.wait_for_timeout(100)
    assert values.is_visible() and not colours.is_visible()


def test_marked_images_make_a_list_of_ids_that_an_address_keeps(opened: Open) -> None:
    page = make_page(images=5)
    shown = opened(page)
    ids = [int(each[1:]) for each in shown.tab.evaluate("[...document.querySelectorAll('.card')].map((c) => c.id)")]
    for card in (0, 2):
        shown.tab.locator(".card").nth(card).locator(".mark").click()
    shown.tab.wait_for_timeout(100)
    assert shown.tab.locator("#marks code").inner_text() == f"--ids {ids[0]},{ids[2]}"
    again = shown.go(shown.tab.evaluate("location.hash"))
    assert again.locator(".mark[aria-pressed=true]").count() == 2
    again.locator(".card").nth(0).locator(".mark").click()
    again.wait_for_timeout(100)
    assert again.locator("#marks code").inner_text() == f"--ids {ids[2]}"


# --- words, tables, paper -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_every_term_is_in_the_glossary_and_is_explained_by_pointing_and_by_keyboard(kind: str, opened: Open) -> None:
    tab = opened(make_page(kind, images=3)).tab
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    tab.wait_for_timeout(200)
    lost = tab.evaluate(LOST)
    assert lost == [] and tab.locator(".term").count() >= 5
    term = tab.locator(".term", has_text=re.compile("^Recall$" if kind == "run" else "^Accuracy$")).first
    for reach in (term.hover, term.focus):
        reach()
        tip = tab.locator("#tip")
        assert tip.is_visible() and tip.inner_text() == GLOSSARY["recall" if kind == "run" else "accuracy"]
        tab.mouse.move(0, 0)
        tab.locator("#theme").focus()
        assert not tip.is_visible()


@pytest.mark.parametrize("kind", ["run", "comparison"])
@pytest.mark.parametrize("width", [390, 768, 1024, 1440])
def test_no_table_hides_a_column(kind: str, width: int, opened: Open) -> None:
    page = make_page(kind, images=4, layers=tuple((f"layer{k}", 4) for k in range(1, 5)))
    tab = opened(with_trust(page, 3), width=width).tab
    tab.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")
    tab.evaluate(FRAMES)  # what is unfolded is folded anew in the next frame
    tab.wait_for_timeout(300)
    hidden = tab.evaluate(HIDDEN)
    assert hidden == []
    if width == 390:  # each figure stands beside the head of its column
        heads = tab.evaluate("[...document.querySelectorAll('.folded td')].map((cell) => cell.dataset.head)")
        assert {"accuracy", "first", "errors"} & set(heads)


def test_on_paper_are_all_tables_the_six_pictures_and_a_page_of_images(opened: Open) -> None:
    tab = opened(with_trust(make_page(images=60), 8)).tab
    tab.emulate_media(media="print")
    paper = tab.pdf(format="A4")
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", paper)) < 10
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.locator(".card:not(:has(canvas))").first.wait_for(state="detached")
    assert tab.locator("details:not([open])").count() == 0 and tab.locator(".six article:visible").count() == 6
    assert tab.locator(".card").count() == 24 and "of 60" in tab.locator("#status").inner_text()
    assert tab.locator("#one:visible, #contents:visible, .filters:visible").count() == 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("details:not([open])").count() > 0


def test_a_map_of_another_size_is_no_reason_for_an_empty_card(opened: Open) -> None:
    """An image without any map is said in a line, not in empty tiles."""
    page = make_page(images=4)
    items = [replace(item, maps=()) if k == 0 else item for k, item in enumerate(items_of(page))]
    tab = opened(with_items(page, items), anchor=f"#i{items[0].id}").tab
    card = tab.locator(f"#i{items[0].id}")
    assert card.locator(".map").count() == 0 and "no map of this image" in card.inner_text()
