"""The pages in Chromium: what is asked for, what runs, what is seen where."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from browsing import MARKS, Open, browser, expect, opened, pixels_of
from gallery_items import MapView, items_of
from page_factory import HOSTILE, make_page, quantise, with_items

from bench.postprocess import postprocess
from bench.schema.page import Page as Values

pytestmark = MARKS


def quadrants(pixels: np.ndarray) -> list[np.ndarray]:
    """The colours at the middle of the four quadrants: top left, top right, bottom left, bottom right."""
    height, width = pixels.shape[:2]
    return [pixels[int(y * height), int(x * width)] for y in (0.2, 0.8) for x in (0.2, 0.8)]


def hot_top_left() -> Values:
    """One picture that is red only at its top left, with a map that is hot only in its top left cell."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16, :16] = (255, 0, 0)
    hot = np.zeros((4, 4))
    hot[0, 0] = 1.0
    page = make_page(images=1, explainers=("captum",), layers=(("layer4", 4),), pixels=picture[None])
    return with_maps(page, *(quantise(hot, cell=0, role=role) for role in ("predicted", "true")))


def with_maps(page: Values, *maps: MapView) -> Values:
    """The page with these maps in its first image, and no other image."""
    return with_items(page, [replace(items_of(page)[0], maps=maps)])


@pytest.mark.parametrize(("kind", "images"), [("run", 12), ("comparison", 12), ("run", 0)])
def test_page_opens_from_disk_asks_for_nothing_and_complains_of_nothing(kind: str, images: int, opened: Open) -> None:
    shown = opened(make_page(kind, gaps=True, images=images))
    shown.tab.mouse.wheel(0, 3000)
    shown.tab.wait_for_timeout(200)
    outside = [url for url in shown.requests if not url.startswith("data:")]
    assert (outside, shown.complaints) == ([shown.file.as_uri()], [])


def test_hostile_names_are_shown_and_never_run(opened: Open) -> None:
    page = make_page("comparison", classes=HOSTILE, images=8)
    page = with_items(page, (replace(item, file=HOSTILE[1]) for item in items_of(page)))
    shown = opened(page)
    for button in ("difference", "true", "both"):
        shown.tab.get_by_role("button", name=button, exact=True).click()
    shown.tab.evaluate("dispatchEvent(new Event('beforeprint'))")  # fills all cards
    shown.tab.wait_for_timeout(200)
    assert shown.complaints == [] and shown.tab.locator("#grid script, #grid img, img[src=x]").count() == 0
    text = shown.tab.evaluate("document.querySelector('#grid').textContent")
    assert HOSTILE[0] in text and HOSTILE[1] in text


def test_script_scales_and_colours_maps_as_the_suite_does(opened: Open) -> None:
    from matplotlib import colormaps

    rng = np.random.default_rng(3)
    maps = [
        rng.normal(size=(8, 8)),
        rng.normal(size=(4, 4)) * 1e-9,
        rng.normal(size=(1, 1)) ** 2,
        rng.normal(size=(3, 5)),
        np.full((4, 4), 0.3),
        -np.abs(rng.normal(size=(4, 4))),
        np.zeros((2, 2)),
    ]
    tab = opened(make_page(images=1)).tab
    for raw, size, scale in itertools.product(maps, (32, 96, 7), ("map", 2.5)):
        expected = postprocess(torch.from_numpy(raw), size, scale=scale).numpy().ravel()
        told = tab.evaluate(
            "([v, h, w, n, scale]) => Array.from(benchPage.scaled(v, h, w, n, {scale}))",
            [raw.ravel().tolist(), *raw.shape, size, 0 if scale == "map" else scale],
        )
        assert np.abs(np.array(told) - expected).max() <= 1 / 255, (raw.shape, size, scale)
    expected = colormaps["viridis"]([0.0, 0.25, 0.5, 1.0], bytes=True)
    assert tab.evaluate(COLOURS) == expected.ravel().tolist()


COLOURS = """() => {
    const { colours } = JSON.parse(document.getElementById("data").textContent);
    const table = Uint8Array.from(atob(colours.viridis), (c) => c.charCodeAt(0));
    return Array.from(benchPage.colour(Float32Array.of(0, 0.25, 0.5, 1), table));
}"""

# Elements of cards and controls that reach beyond the window; what is cut with an ellipsis may.
CUT_OFF = """() => [...document.querySelectorAll("#grid *, header *, .looks *, .filters *")]
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
    .filter((e) => !e.closest(".skip, .said, h4, .by, button, option, .six h3, .tile"))
    .map((e) => `${e.tagName}.${e.className}`)"""


@pytest.mark.parametrize("smooth", [True, False])
def test_picture_and_map_are_the_right_way_up(smooth: bool, opened: Open) -> None:
    tab = opened(hot_top_left()).tab
    if not smooth:
        tab.get_by_role("button", name="raw", exact=True).click()
    red = [bool(c[0] > 150 and c[1] < 60) for c in quadrants(pixels_of(tab, ".picture canvas"))]
    assert red == [True, False, False, False]
    tab.get_by_label("opacity").fill("100")
    pixels = pixels_of(tab, ".map canvas")
    assert not any(c[0] > 2 * c[2] and c[1] > 2 * c[2] for c in quadrants(pixels)[1:])
    assert pixels[6, 6, 1] > 200 > pixels[6, 6, 2]


def test_difference_has_zero_in_the_middle_of_its_colours(opened: Open) -> None:
    page = hot_top_left()
    other = quantise(np.roll(np.eye(4)[:1].T @ np.eye(4)[:1], 3, axis=(0, 1)), role="true")  # hot at the bottom right
    tab = opened(with_maps(page, items_of(page)[0].maps[0], other)).tab
    tab.get_by_role("button", name="difference", exact=True).click()
    tab.get_by_label("opacity").fill("100")
    pixels = pixels_of(tab, ".map canvas")
    first, last, middle = pixels[5, 5], pixels[-6, -6], pixels[len(pixels) // 2, len(pixels) // 2]
    assert first[0] > 2 * first[2]  # red: for the predicted class
    assert last[2] > 1.5 * last[0]  # blue: for the true class
    assert middle.min() > 220


def test_map_without_a_picture_is_named_in_words(opened: Open) -> None:
    page = hot_top_left()
    dead = quantise(-np.ones((4, 4)), role="predicted")
    tab = opened(with_maps(page, dead, quantise(np.ones((4, 4)), role="true"))).tab
    assert tab.locator("#grid .blank").all_text_contents() == ["all zero after ReLU", "same value everywhere"]
    assert tab.locator(".map canvas").count() == 0
    tab.get_by_role("button", name="signed", exact=True).click()  # what is below zero is seen now
    tab.wait_for_selector(".map canvas")
    assert tab.locator("#grid .blank").all_text_contents() == ["same value everywhere"]


def test_filters_pager_and_links_bring_the_right_images(opened: Open) -> None:
    page = make_page(images=60)
    shown = opened(page, anchor=f"#i{items_of(page)[50].id}")
    tab = shown.tab
    assert tab.locator(f"#i{items_of(page)[50].id}.here").is_visible() and tab.locator(".card").count() <= 48
    true, number = items_of(page)[0].true, sum(item.true == items_of(page)[0].true for item in items_of(page))
    tab.get_by_role("combobox", name="true class").select_option(str(true))
    expect(tab.locator("#status")).to_contain_text(f"of {number} that match")
    pair = tab.locator(".pairs a").first
    pair.click()
    chosen = re.fullmatch(r"#true=(\d+)&pred=(\d+)", pair.get_attribute("href")).groups()
    for name, value in zip(("true class", "taken for"), chosen, strict=True):
        expect(tab.get_by_role("combobox", name=name)).to_have_value(value)


def test_columns_of_a_comparison_can_be_chosen(opened: Open) -> None:
    tab = opened(make_page("comparison", images=2)).tab
    card = tab.locator(".card").first
    assert card.locator(".group").count() == 3
    before = card.locator(".map").count()
    tab.get_by_role("button", name="captum", exact=True).click()
    tab.get_by_role("button", name="layer3", exact=True).click()
    expect(card.locator(".map")).to_have_count(4 * before)
    tab.get_by_role("button", name="timm_resnet18", exact=True).click()
    expect(card.locator(".group")).to_have_count(2)


def test_shared_scale_divides_by_the_largest_value_of_the_card(opened: Open) -> None:
    page = hot_top_left()
    weak = quantise(np.full((4, 4), 0.25) + np.eye(4) * 0.25, role="true")  # at most half of the other map's largest
    tab = opened(with_maps(page, items_of(page)[0].maps[0], weak)).tab
    tab.get_by_role("button", name="each image").click()
    tab.get_by_label("opacity").fill("100")
    assert "1 = 1" in tab.locator(".picture figcaption").text_content()
    assert pixels_of(tab, ".row:last-child .map canvas")[4, 4][0] < 80  # viridis at one half is teal, at one yellow


def test_finished_picture_keeps_its_scale_and_has_no_difference(opened: Open) -> None:
    page = hot_top_left()
    half = quantise(np.full((4, 4), 0.25) + np.eye(4) * 0.25, role="predicted")
    cells = tuple(replace(cell, picture=True) for cell in page.cells)
    tab = opened(with_maps(replace(page, cells=cells), half)).tab
    tab.get_by_label("opacity").fill("100")
    assert pixels_of(tab, ".map canvas")[4, 4][0] < 80  # viridis at one half is teal, at one yellow
    assert tab.locator(".map figcaption").first.text_content() == "0 to 1"
    tab.get_by_role("button", name="difference", exact=True).click()
    expect(tab.locator(".map .blank").first).to_have_text("no raw map")


@pytest.mark.parametrize(("kind", "scheme"), [("run", "light"), ("comparison", "dark")])
def test_axe_finds_no_violation(kind: str, scheme: str, opened: Open) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    tab = opened(make_page(kind, gaps=True, images=4), color_scheme=scheme).tab
    tab.locator("summary").first.click()
    found = axe.Axe().run(tab).response["violations"]
    assert [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found] == []


@pytest.mark.parametrize(("kind", "width"), [("run", 1280), ("run", 360), ("comparison", 360)])
def test_nothing_but_frames_scrolls_sideways(kind: str, width: int, opened: Open) -> None:
    page = make_page(
        kind, classes=[*HOSTILE, "w" * 300], images=6, layers=(("layer2", 16), ("layer3", 8), ("layer4", 4))
    )
    page = with_items(replace(page, title="w" * 200), (replace(item, file="f" * 300) for item in items_of(page)))
    tab = opened(page, width=width).tab
    assert tab.evaluate("document.documentElement.scrollWidth") == width and tab.evaluate(CUT_OFF) == []


def test_controls_are_reached_and_worked_by_keyboard(opened: Open) -> None:
    tab = opened(make_page(images=3)).tab
    reached, button = [], tab.get_by_role("button", name="difference", exact=True)
    while len(reached) < 60 and reached[-1:] != ["difference"]:
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.textContent.trim().slice(0, 20)"))
    assert reached[0] == "Skip to the content"
    tab.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_theme_button_turns_the_page_dark_and_back(opened: Open) -> None:
    tab = opened(make_page(images=1), color_scheme="light").tab
    paper = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(paper)
    tab.locator("#theme").click()
    assert tab.evaluate(paper) != light
    tab.locator("#theme").click()
    assert tab.evaluate(paper) == light


def test_thousand_images_are_ready_within_seconds(opened: Open) -> None:
    pictures = np.random.default_rng(4).integers(0, 256, size=(1000, 32, 32, 3), dtype=np.uint8)
    tab = opened(make_page(images=1000, pixels=pictures)).tab
    assert tab.evaluate("performance.now()") < 5000 > tab.evaluate("document.querySelectorAll('*').length")
