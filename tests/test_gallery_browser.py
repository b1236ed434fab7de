"""The gallery in Chromium: filters, orders, addresses, keys, one image, colours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from browsing import MARKS, Open, browser, opened, pixels_of
from docs_commands import Line, parse
from page_factory import make_page, quantise, with_items

from bench.postprocess import postprocess
from bench.schema.gallery import GalleryItem
from bench.schema.page import Page

pytestmark = MARKS

Items = list[GalleryItem]


def shown_ids(tab: Any) -> list[int]:
    """Test ids of the cards, in order."""
    tab.wait_for_timeout(60)  # a change is drawn in the next frame
    return [int(each[1:]) for each in tab.evaluate("[...document.querySelectorAll('.card')].map((card) => card.id)")]


def option_counts(tab: Any, name: str) -> dict[str, int]:
    """What the options of a list say of how many images they leave, by value."""
    texts = tab.get_by_role("combobox", name=name).evaluate("e => [...e.options].map((o) => [o.value, o.textContent])")
    return {value: int(text.rpartition("(")[2].rstrip(")").replace(",", "")) for value, text in texts}


def wrong_runs(item: GalleryItem) -> list[int]:
    return [k for k, said in enumerate(item.predictions) if said is not None and said.predicted != item.true]


def sureness(item: GalleryItem) -> float:
    """The largest probability of a wrong answer; of a recognised image the largest of all."""
    said = [item.predictions[k] for k in wrong_runs(item)] or [one for one in item.predictions if one is not None]
    return max(one.probability for one in said)


ORDERS: dict[str, Callable[[GalleryItem], float]] = {
    "sure": lambda item: (-1 if wrong_runs(item) else 1) - sureness(item),
    "unsure": lambda item: (0 if wrong_runs(item) else 2) + sureness(item),
    "margin": lambda item: min(p.top[0][1] - p.top[1][1] for p in item.predictions if p is not None),
    "loss": lambda item: -max(-math.log(p.true_probability) for p in item.predictions if p is not None),
    "apart": lambda item: -(item.disagreement if item.disagreement is not None else -1),
    "models": lambda item: -len({p.predicted for p in item.predictions if p is not None}),
    "id": lambda item: item.id,
}


@pytest.mark.parametrize("order", ORDERS)
def test_images_come_in_the_order_that_was_chosen(order: str, opened: Open) -> None:
    page = make_page("comparison", images=20)
    tab = opened(page).tab
    tab.get_by_role("combobox", name="order").select_option(order)
    by_id = {item.id: ORDERS[order](item) for item in page.gallery}
    keys = [by_id[each] for each in shown_ids(tab)]
    assert len(keys) == 20
    assert all(one <= other + 1e-6 for one, other in pairwise(keys))


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("true class", lambda item: {str(item.true)}),
        ("taken for", lambda item: {str(p.predicted) for p in item.predictions if p is not None}),
        ("pair", lambda item: {f"{item.true},{item.predictions[k].predicted}" for k in wrong_runs(item)}),
        ("models", lambda item: {"differ" if len({p.predicted for p in item.predictions if p}) > 1 else "agree"}),
        (
            "wrong in",
            lambda item: (
                {f"in{k}" for k in wrong_runs(item)}
                | ({"all"} if len(wrong_runs(item)) == 3 else set())
                | ({f"only{wrong_runs(item)[0]}"} if len(wrong_runs(item)) == 1 else set())
                | ({"none"} if not wrong_runs(item) else set())
            ),
        ),
    ],
)
def test_every_filter_says_how_many_it_leaves_and_leaves_them(
    name: str, of: Callable[[GalleryItem], set[str]], opened: Open
) -> None:
    page = make_page("comparison", images=24, gaps=True)
    tab = opened(page).tab
    told = option_counts(tab, name)
    assert told.pop("") == 24
    assert told == {value: sum(value in of(item) for item in page.gallery) for value in told}
    for value in sorted(told, key=told.__getitem__)[-2:]:
        tab.get_by_role("combobox", name=name).select_option(value)
        assert set(shown_ids(tab)) == {item.id for item in page.gallery if value in of(item)}
        words = f"of {told[value]} that match" if told[value] else "No image matches these filters."
        assert words in tab.locator("#status").text_content()


def test_ranges_and_search_narrow_the_list_and_clearing_brings_it_back(opened: Open) -> None:
    page = make_page(images=24)
    tab = opened(page).tab
    tab.get_by_role("slider", name="confidence from").fill("70")
    assert set(shown_ids(tab)) == {item.id for item in page.gallery if sureness(item) >= 0.7}
    tab.get_by_role("slider", name="to", exact=True).fill("90")
    assert set(shown_ids(tab)) == {item.id for item in page.gallery if 0.7 <= sureness(item) <= 0.9}
    tab.get_by_role("button", name="clear filters").click()
    assert len(shown_ids(tab)) == 24
    tab.get_by_role("slider", name="explainers differ by").fill("0.5")
    assert set(shown_ids(tab)) == {item.id for item in page.gallery if (item.disagreement or 0) >= 0.5}
    tab.get_by_role("button", name="clear filters").click()
    for words, found in (
        (f"#{page.gallery[3].id}", {page.gallery[3].id}),
        ("0007.PNG", {item.id for item in page.gallery if "0007.png" in item.file}),
        ("nothing at all", set()),
    ):
        tab.get_by_role("searchbox").fill(words)
        assert set(shown_ids(tab)) == found
    assert tab.locator("#status").text_content() == "No image matches these filters."


# --- addresses ---------------------------------------------------------------------------------------------

ADDRESSES = [
    "#true=3&sort=id",
    "#pred=2&sort=margin&wrong=only1&x=captum&l=layer3&m=0%2C2&maps=difference",
    "#models=differ&from=50&to=95&apart=0.5&sort=apart&q=png",
    "#l=layer3%2Clayer4&scale=shared&sign=signed&colours=cividis&opacity=30&cells=raw",
    "#maps=true&scale=image&img=7&rows=models&of=1&mode=blend&a=1&b=2&mix=25",
]
SEEN = """() => ({
    cards: [...document.querySelectorAll(".card")].map((card) => card.id),
    first: document.querySelector(".card")?.innerText,
    values: [...document.querySelectorAll("select, input")].map((e) => `${e.dataset.key}=${e.value}`),
    pressed: [...document.querySelectorAll("[aria-pressed=true]")].map((e) => `${e.dataset.key}=${e.value}`),
    open: document.getElementById("one").open && document.getElementById("one").innerText,
    scale: document.getElementById("legend").innerText,
})"""


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_brings_back_the_whole_view(address: str, opened: Open) -> None:
    page = make_page("comparison", images=20)
    first = opened(page, anchor=address)
    first.tab.wait_for_timeout(300)
    seen = first.tab.evaluate(SEEN)
    hash_now = first.tab.evaluate("location.hash")
    assert (
        dict(part.split("=") for part in address[1:].split("&")).items()
        <= dict(part.split("=") for part in hash_now[1:].split("&")).items()
    )
    again = opened(page, anchor=hash_now)
    again.tab.wait_for_timeout(300)
    assert again.tab.evaluate(SEEN) == seen
    again.tab.goto(again.file.as_uri())
    again.tab.wait_for_selector("html[data-ready]", state="attached")
    assert again.tab.evaluate(SEEN) != seen
    assert first.complaints == again.complaints == []


@pytest.mark.parametrize(
    "address", ["#true=99&sort=no&scale=&from=x&page=-3", "#img=999", "#x=%00&l=&m=7", "#=&&=", "#%"]
)
def test_an_address_that_means_nothing_shows_the_page_as_it_is(address: str, opened: Open) -> None:
    shown = opened(make_page(images=5), anchor=address)
    assert shown.complaints == []
    assert not shown.tab.evaluate("document.getElementById('one').open")


def test_a_change_is_written_into_the_address_and_going_back_closes_an_image(opened: Open) -> None:
    tab = opened(make_page(images=5)).tab
    tab.get_by_role("button", name="difference", exact=True).click()
    assert tab.evaluate("location.hash") == "#maps=difference"
    tab.locator(".card h3 a").first.click()
    assert "img=" in tab.evaluate("location.hash")
    assert tab.evaluate("document.getElementById('one').open")
    tab.go_back()
    tab.wait_for_timeout(100)
    assert not tab.evaluate("document.getElementById('one').open")


def test_numbers_of_the_confusion_table_and_entries_of_the_matrix_lead_to_their_images(opened: Open) -> None:
    page = make_page(images=24)
    item = page.gallery[0]
    tab = opened(page).tab
    tab.locator(f"[data-link='#true={item.true}&pred={item.predictions[0].predicted}']").click()
    assert item.id in shown_ids(tab)
    assert tab.get_by_role("combobox", name="true class").input_value() == str(item.true)
    tab.locator(".matrix a[href='#x=captum&l=layer4']").click()
    tab.wait_for_timeout(100)
    pressed = tab.locator("#columns [aria-pressed=true]").evaluate_all("all => all.map((e) => e.value)")
    assert pressed == ["captum", "layer4"]
    assert len(shown_ids(tab)) == 24


def test_the_confusion_table_is_one_stop_of_the_tab_key_and_walked_by_arrows(opened: Open) -> None:
    page = make_page(images=24)
    tab = opened(page).tab
    confusion = page.runs[0].confusion
    there = [(a, b) for a, row in enumerate(confusion) for b, number in enumerate(row) if number and a != b]
    here = "document.activeElement.dataset.link || ''"
    assert tab.locator(".confusion [tabindex='0']").count() == 1
    tab.locator(".confusion [tabindex='0']").focus()
    true, predicted = there[0]
    assert tab.evaluate(here) == f"#true={true}&pred={predicted}"
    walked = [("ArrowRight", (true, b)) for a, b in there if a == true and b > predicted]
    last = walked[-1][1][1]
    walked += [("ArrowDown", (a, last)) for a, b in there if b == last and a > true]
    walked += [("ArrowDown", walked[-1][1])]  # there is nothing further down
    for key, (true, predicted) in walked:
        tab.keyboard.press(key)
        assert tab.evaluate(here) == f"#true={true}&pred={predicted}"
    assert tab.locator(".confusion [tabindex='0']").count() == 1
    item = next(each for each in page.gallery if each.predictions[0])
    tab.locator(f"[data-link='#true={item.true}&pred={item.predictions[0].predicted}']").focus()
    tab.keyboard.press("Enter")
    assert item.id in shown_ids(tab)


# --- keys --------------------------------------------------------------------------------------------------


def value_of(tab: Any, key: str) -> str:
    tab.wait_for_timeout(60)
    return tab.evaluate("(key) => new URLSearchParams(location.hash.slice(1)).get(key)", key)


def test_every_key_does_what_the_help_says(opened: Open) -> None:
    tab = opened(make_page("comparison", images=30)).tab
    press = tab.keyboard.press
    press("?")
    told = set(tab.locator("#help kbd").all_text_contents())
    press("?")
    assert not tab.evaluate("document.getElementById('help').open")
    seen = set()

    def does(key: str, *, of: str, gives: str | None) -> None:
        press(key)
        assert value_of(tab, of) == gives, key
        seen.add(key)

    does("t", of="maps", gives="predicted")
    does("t", of="maps", gives="true")
    does("t", of="maps", gives=None)
    does("d", of="maps", gives="difference")
    does("d", of="maps", gives=None)
    does("s", of="scale", gives="image")
    does("s", of="scale", gives="shared")
    does("g", of="sign", gives="signed")
    does("c", of="colours", gives="cividis")
    does("p", of="cells", gives="raw")
    does("o", of="opacity", gives="50")
    does("O", of="opacity", gives=None)
    does("2", of="x", gives="gradcam,captum")
    does("5", of="m", gives="1,2")
    cards = shown_ids(tab)
    active = "document.activeElement.id"
    for key, card in (
        ("j", 0),
        ("j", 1),
        ("ArrowRight", 2),
        ("ArrowDown", 3),
        ("k", 2),
        ("ArrowLeft", 1),
        ("ArrowUp", 0),
    ):
        press(key)
        tab.wait_for_timeout(60)
        assert tab.evaluate(active) == f"i{cards[card]}", key
    press("Enter")
    tab.wait_for_timeout(100)
    assert value_of(tab, "img") == str(cards[0])
    press("j")
    assert value_of(tab, "img") == str(cards[1])
    press("ArrowLeft")
    assert value_of(tab, "img") == str(cards[0])
    press("Escape")
    assert value_of(tab, "img") is None
    press("r")
    tab.wait_for_timeout(100)
    assert tab.evaluate(active).startswith("i")
    press("y")
    tab.wait_for_timeout(100)
    press("/")
    assert tab.evaluate(active) == "search"
    tab.keyboard.type("jd")  # letters are text here
    assert value_of(tab, "q") == "jd"
    seen |= {"j", "k", "→", "↓", "←", "↑", "Enter", "Esc", "r", "/", "y", "?", "1", "–", "9"}
    assert told == seen - {"2", "5"}  # two of the digits


# --- one image ---------------------------------------------------------------------------------------------


def test_one_image_keeps_the_focus_and_gives_it_back(opened: Open) -> None:
    tab = opened(make_page(images=4)).tab
    tab.locator(".card h3 a").first.focus()
    before = tab.evaluate("document.activeElement.textContent")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#one[open]")
    places = []
    for _ in range(60):
        tab.keyboard.press("Tab")
        places.append(tab.evaluate("document.activeElement.closest('dialog')?.id + document.activeElement.outerHTML"))
    assert all(place.startswith("one") for place in places)
    round_trip = len(set(places))
    assert 10 < round_trip < 60
    assert places[:20] == places[round_trip : round_trip + 20]
    tab.keyboard.press("Shift+Tab")
    assert tab.evaluate("document.activeElement.closest('dialog').id") == "one"
    tab.keyboard.press("Escape")
    tab.wait_for_timeout(100)
    assert tab.evaluate("document.activeElement.textContent") == before


def test_one_image_shows_every_layer_of_every_explainer_with_largest_values_and_probabilities(opened: Open) -> None:
    page = make_page(images=4, layers=(("layer2", 16), ("layer3", 8), ("layer4", 4)))
    item = page.gallery[1]
    tab = opened(page, anchor=f"#img={item.id}&maps=predicted").tab
    assert tab.locator("#one-maps tr").count() == 2
    assert tab.locator("#one-maps td").count() == 6
    tops = [one.high for one in item.maps if one.role in ("predicted", "both")]
    told = tab.locator("#one-maps figcaption").all_text_contents()
    statuses = [one.status for one in item.maps if one.role in ("predicted", "both")]
    for text, top, status in zip(told, tops, statuses, strict=True):
        assert text == "" if status != "ok" else math.isclose(float(text), top, rel_tol=0.06)
    rows = tab.locator(".shares tr").all_text_contents()
    assert len(rows) in (5, 6)
    assert item.predictions[0] is not None
    assert f"{item.predictions[0].probability:.3f}" in rows[0]


def test_one_image_has_no_column_for_a_layer_that_was_only_judged(opened: Open) -> None:
    page = make_page(images=2)
    judged = replace(page.verdicts[0], verdict=replace(page.verdicts[0].verdict, layer="layer4.1.bn2"))
    tab = opened(replace(page, verdicts=(*page.verdicts, judged)), anchor=f"#img={page.gallery[0].id}").tab
    assert "layer4.1.bn2" in tab.locator(".matrix thead").inner_text()
    heads = tab.locator(".panels thead th").all_inner_texts()
    assert heads == list(dict.fromkeys(cell.layer for cell in page.cells))


def test_the_command_of_an_image_can_be_typed(opened: Open) -> None:
    page = make_page("comparison", images=2)
    tab = opened(page, anchor=f"#img={page.gallery[0].id}").tab
    command = tab.locator("#one-command").text_content()
    assert command.startswith(f"bench explain --run {page.runs[0].run} --ids {page.gallery[0].id} --explainer gradcam")
    parse(Line(command.removeprefix("bench "), True))
    tab.locator("#one button[value=models]").click()
    tab.wait_for_timeout(100)
    assert all(run.run in tab.locator("#one-command").text_content() for run in page.runs)


def test_all_pictures_share_one_cursor_that_tells_the_raw_values_under_it(opened: Open) -> None:
    raw = np.arange(16.0).reshape(4, 4) - 4
    page = make_page(images=1, explainers=("captum",), layers=(("layer4", 4),))
    maps = (quantise(raw, role="predicted"), quantise(raw.T * 10, role="true"))
    page = with_items(page, [replace(page.gallery[0], maps=maps)])
    tab = opened(page, anchor=f"#img={page.gallery[0].id}").tab
    box = tab.locator("#one-left canvas").bounding_box()
    tab.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.3 * box["height"])  # column 2, row 1
    assert tab.locator("#one-maps .under").all_text_contents() == ["2", "50"]
    assert tab.locator("#one .cross").evaluate_all("all => all.every((e) => getComputedStyle(e).display === 'block')")


def test_two_maps_are_swiped_and_blended(opened: Open) -> None:
    page = make_page(images=1, explainers=("captum",), layers=(("layer4", 4),))
    flat = np.full((4, 4), 1.0)
    flat[0, 0] = 0.99  # else constant
    low = np.full((4, 4), 1e-3)
    low[3, 3] = 1.0
    maps = (quantise(flat, role="predicted"), quantise(low, role="true"))
    page = with_items(page, [replace(page.gallery[0], maps=maps)])
    tab = opened(page, anchor=f"#img={page.gallery[0].id}&opacity=100&cells=raw").tab
    pixels = pixels_of(tab, "#one-pair canvas")
    middle = len(pixels) // 2
    left, right = pixels[middle, middle // 2], pixels[middle // 4, middle + middle // 3]
    assert left[0] > 200 > left[2]  # yellow: the first map
    assert right[0] < 90 < right[2] + 20  # violet: the second
    tab.locator("#one button[value=blend]").click()
    mixed = pixels_of(tab, "#one-pair canvas")[middle, middle // 2]
    assert abs(mixed - (left + right) / 2).max() < 12


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_no_tile_is_empty_and_every_status_is_in_words(kind: str, opened: Open) -> None:
    page = make_page(kind, images=12, gaps=True, seed=3)
    tab = opened(page, anchor="#x=gradcam,captum&l=layer3,layer4").tab
    for view in ("both", "difference"):
        tab.get_by_role("button", name=view, exact=True).first.click()
        tab.wait_for_timeout(150)
        tiles = tab.locator(".card .map").evaluate_all(
            "all => all.map((e) => e.querySelector('canvas')?.ariaLabel || e.innerText)"
        )
        assert tiles
        assert all(tile.strip() for tile in tiles)
        known = ("all zero", "same value", "not finite", "not computed: ", "same class", "no difference")
        assert all(" at layer" in tile or tile.startswith(known) for tile in tiles)


# --- colours -----------------------------------------------------------------------------------------------

MAPS = {
    "random": np.random.default_rng(3).normal(size=(8, 8)),
    "small grid": np.random.default_rng(4).normal(size=(4, 4)),
    "not square": np.random.default_rng(5).normal(size=(3, 5)),
    "constant": np.full((4, 4), 0.3),
    "all negative": -np.abs(np.random.default_rng(6).normal(size=(4, 4))),
    "tiny": np.random.default_rng(7).normal(size=(8, 8)) * 1e-30,
    "zero": np.zeros((2, 2)),
    "one cell": np.array([[2.5]]),
}
COLOURED = """([values, h, w, size, name, scale]) => {
    const { colours } = JSON.parse(document.getElementById("data").textContent);
    const table = Uint8Array.from(atob(colours[name]), (c) => c.charCodeAt(0));
    return Array.from(benchPage.colour(benchPage.scaled(values, h, w, size, { scale }), table));
}"""


@pytest.mark.parametrize("name", ["viridis", "cividis", "grey"])
def test_the_script_colours_maps_as_python_does(name: str, opened: Open) -> None:
    from matplotlib import colormaps

    tab = opened(make_page(images=1)).tab
    table = colormaps["gray" if name == "grey" else name]
    for words, raw in MAPS.items():
        for scale in (0, float(np.abs(raw).max()) * 2 or 1.0):
            shares = postprocess(torch.from_numpy(raw), 40, scale=scale or "map").numpy()
            expected = table(shares, bytes=True).astype(int).ravel()
            told = np.array(tab.evaluate(COLOURED, [raw.ravel().tolist(), *raw.shape, 40, name, scale]))
            assert np.abs(told - expected).max() <= 1, words


def test_the_colour_bar_tells_numbers_in_every_scale(opened: Open) -> None:
    page = make_page(images=6)
    tab = opened(page).tab
    marks = "[...document.querySelectorAll('.marks span')].map((e) => e.textContent)"
    assert tab.evaluate(marks) == ["0", "0.5", "1"]
    tab.get_by_role("button", name="all the same").click()
    tab.wait_for_timeout(60)
    largest = max(one.high for item in page.gallery for one in item.maps)
    assert float(tab.evaluate(marks)[2]) == pytest.approx(largest, rel=0.06)
    tab.get_by_role("button", name="signed", exact=True).click()
    tab.wait_for_timeout(60)
    low, middle, high = tab.evaluate(marks)
    assert (low, middle) == (f"−{high}", "0")


def test_only_what_is_in_sight_is_in_the_document(opened: Open) -> None:
    pictures = np.random.default_rng(4).integers(0, 256, size=(200, 32, 32, 3), dtype=np.uint8)
    tab = opened(make_page(images=200, pixels=pictures)).tab
    for card in (5, 12, 23):
        tab.locator(".card").nth(card).scroll_into_view_if_needed()
        tab.locator(".card").nth(card).locator("canvas").first.wait_for()
        tab.wait_for_timeout(300)
        assert tab.evaluate("document.querySelectorAll('*').length") < 1500


def page_in_parts(images: int) -> Page:
    """A page whose pictures tell where they stand in the gallery."""
    bright = np.zeros((images, 32, 32, 3), np.uint8)
    bright[...] = np.linspace(0, 255, images).astype(np.uint8)[:, None, None, None]
    return make_page(images=images, pixels=bright, explainers=("captum",), layers=(("layer4", 4),))


def test_pictures_of_a_later_part_are_the_right_ones(opened: Open) -> None:
    page = page_in_parts(600)
    last = page.gallery[599]
    shown = opened(page, anchor=f"#q={last.id}&opacity=0", form="folder")
    assert abs(pixels_of(shown.tab, ".picture canvas")[20, 20] - 255).max() <= 2
    asked = {url.rpartition("/")[2] for url in shown.requests}
    assert "data-001.js" in asked
    assert "data-000.js" not in asked
