"""The gallery in Chromium: filters, orders, addresses, keys, one image, colours."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from browsing import MARKS, Open, browser, opened, pixels_of
from docs_commands import Line, parse
from gallery_items import GalleryItem, items_of
from page_factory import corners_of, make_page, quantise, top_right, with_items

from bench.data.decoding import as_file
from bench.postprocess import postprocess
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


FILTERS: dict[str, Callable[[GalleryItem], set[str]]] = {
    "true class": lambda item: {str(item.true)},
    "taken for": lambda item: {str(p.predicted) for p in item.predictions if p is not None},
    "pair": lambda item: {f"{item.true},{item.predictions[k].predicted}" for k in wrong_runs(item)},
    "models": lambda item: {"differ" if len({p.predicted for p in item.predictions if p}) > 1 else "agree"},
    "wrong in": lambda item: (
        {f"in{k}" for k in wrong_runs(item)}
        | ({"all"} if len(wrong_runs(item)) == 3 else set())
        | ({f"only{wrong_runs(item)[0]}"} if len(wrong_runs(item)) == 1 else set())
        | ({"none"} if not wrong_runs(item) else set())
    ),
}


def test_images_come_in_the_order_that_was_chosen(opened: Open) -> None:
    page = make_page("comparison", images=20)
    tab = opened(page).tab
    for order, of in ORDERS.items():
        tab.get_by_role("combobox", name="order").select_option(order)
        by_id = {item.id: of(item) for item in items_of(page)}
        keys = [by_id[each] for each in shown_ids(tab)]
        assert len(keys) == 20 and all(one <= other + 1e-6 for one, other in pairwise(keys)), order


def test_every_filter_says_how_many_it_leaves_and_leaves_them(opened: Open) -> None:
    page = make_page("comparison", images=24, gaps=True)
    tab = opened(page).tab
    for name, of in FILTERS.items():
        told = option_counts(tab, name)
        assert told.pop("") == 24
        assert told == {value: sum(value in of(item) for item in items_of(page)) for value in told}
        for value in sorted(told, key=told.__getitem__)[-2:]:
            tab.get_by_role("combobox", name=name).select_option(value)
            assert set(shown_ids(tab)) == {item.id for item in items_of(page) if value in of(item)}
            words = f"of {told[value]} that match" if told[value] else "No image matches these filters."
            assert words in tab.locator("#status").text_content()
        tab.get_by_role("button", name="clear filters").click()


def test_ranges_and_search_narrow_the_list_and_clearing_brings_it_back(opened: Open) -> None:
    page = make_page(images=24)
    tab = opened(page).tab

    def leaves(role: str, words: str, keeps: Callable[[GalleryItem], bool], **which: Any) -> None:
        tab.get_by_role(role, **which).fill(words)
        assert set(shown_ids(tab)) == {item.id for item in items_of(page) if keeps(item)}

    def clear() -> None:
        tab.get_by_role("button", name="clear filters").click()
        assert len(shown_ids(tab)) == 24

    leaves("slider", "70", lambda item: sureness(item) >= 0.7, name="confidence from")
    leaves("slider", "90", lambda item: 0.7 <= sureness(item) <= 0.9, name="to", exact=True)
    clear()
    leaves("slider", "0.5", lambda item: (item.disagreement or 0) >= 0.5, name="explainers differ by")
    clear()
    leaves("searchbox", f"#{items_of(page)[3].id}", lambda item: item == items_of(page)[3])
    leaves("searchbox", "0007.PNG", lambda item: "0007.png" in item.file)
    leaves("searchbox", "nothing at all", lambda item: False)
    assert tab.locator("#status").text_content() == "No image matches these filters."


# --- addresses ---------------------------------------------------------------------------------------------

ADDRESSES = [
    "#true=3&sort=id",
    "#pred=2&sort=margin&wrong=only1&x=captum&l=layer3&m=0%2C2&maps=difference",
    "#models=differ&from=50&to=95&apart=0.5&sort=apart&q=png",
    "#l=layer3%2Clayer4&scale=shared&sign=signed&colours=cividis&opacity=30&grid=raw",
    "#maps=true&scale=image&img=7&rows=models&of=1&mode=blend&a=1&b=2&mix=25",
]
OPEN = "document.getElementById('one').open"
SEEN = """() => ({
    cards: [...document.querySelectorAll(".card")].map((card) => card.id),
    first: document.querySelector(".card")?.innerText,
    values: [...document.querySelectorAll("select, input")].map((e) => `${e.dataset.key}=${e.value}`),
    pressed: [...document.querySelectorAll("[aria-pressed=true]")].map((e) => `${e.dataset.key}=${e.value}`),
    open: document.getElementById("one").open && document.getElementById("one").innerText,
    scale: document.getElementById("legend").innerText,
})"""


def test_an_address_brings_back_the_whole_view(opened: Open) -> None:
    shown = opened(make_page("comparison", images=20))

    def seen_at(address: str) -> Any:
        shown.go(address).wait_for_timeout(200)
        return shown.tab.evaluate(SEEN)

    views = [seen_at("")]
    for address in ADDRESSES:
        views.append(seen_at(address))
        now = shown.tab.evaluate("location.hash")
        assert {*address[1:].split("&")} <= {*now[1:].split("&")}
        assert seen_at(now) == views[-1]
    assert all(one != other for one, other in combinations(views, 2))
    assert shown.complaints == []


def test_an_address_that_means_nothing_shows_the_page_as_it_is(opened: Open) -> None:
    shown = opened(make_page(images=5))
    for address in ("#true=99&sort=no&scale=&from=x&page=-3", "#img=999", "#x=%00&l=&m=7", "#=&&=", "#%"):
        assert not shown.go(address).evaluate(OPEN)
    assert shown.complaints == []


def test_a_change_is_written_into_the_address_and_going_back_closes_an_image(opened: Open) -> None:
    tab = opened(make_page(images=5)).tab
    tab.get_by_role("button", name="difference", exact=True).click()
    assert tab.evaluate("location.hash") == "#maps=difference"
    tab.locator(".card h3 a").first.click()
    assert "img=" in tab.evaluate("location.hash") and tab.evaluate(OPEN)
    tab.go_back()
    tab.wait_for_timeout(100)
    assert not tab.evaluate(OPEN)


def test_numbers_of_the_confusion_table_and_entries_of_the_matrix_lead_to_their_images(opened: Open) -> None:
    page = make_page(images=24)
    item = items_of(page)[0]
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
    item = next(each for each in items_of(page) if each.predictions[0])
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
    settings = [
        ("t", "maps", "predicted"), ("t", "maps", "true"), ("t", "maps", None), ("d", "maps", "difference"),
        ("d", "maps", None), ("s", "scale", "image"), ("s", "scale", "shared"), ("g", "sign", "signed"),
        ("c", "colours", "cividis"), ("p", "grid", "raw"), ("o", "opacity", "50"), ("O", "opacity", None),
        ("2", "x", "gradcam,captum"), ("5", "m", "1,2"),
    ]  # fmt: skip
    for key, setting, value in settings:
        press(key)
        assert value_of(tab, setting) == value, key
    cards = shown_ids(tab)
    active = "document.activeElement.id"
    walk = [("j", 0), ("j", 1), ("ArrowRight", 2), ("ArrowDown", 3), ("k", 2), ("ArrowLeft", 1), ("ArrowUp", 0)]
    for key, card in walk:
        press(key)
        tab.wait_for_timeout(60)
        assert tab.evaluate(active) == f"i{cards[card]}", key
    first, second = map(str, cards[:2])
    for key, image in (("Enter", first), ("j", second), ("ArrowLeft", first), ("Escape", None)):
        press(key)
        tab.wait_for_timeout(100)
        assert value_of(tab, "img") == image, key
    press("r")
    tab.wait_for_timeout(100)
    assert tab.evaluate(active).startswith("i")
    press("y")
    tab.wait_for_timeout(100)
    press("/")
    assert tab.evaluate(active) == "search"
    tab.keyboard.type("jd")  # letters are text here
    assert value_of(tab, "q") == "jd"
    pressed = {key for key, *_ in settings} - {"2", "5"}  # two of the digits
    assert told == pressed | {"j", "k", "→", "↓", "←", "↑", "Enter", "Esc", "r", "m", "/", "y", "?", "1", "–", "9"}


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
    item = items_of(page)[1]
    tab = opened(page, anchor=f"#img={item.id}&maps=predicted").tab
    assert (tab.locator("#one-maps tr").count(), tab.locator("#one-maps td").count()) == (2, 6)
    told = tab.locator("#one-maps figcaption").all_text_contents()
    maps = [one for one in item.maps if one.role in ("predicted", "both")]
    for text, one in zip(told, maps, strict=True):
        assert text == "" if one.status != "ok" else math.isclose(float(text), one.high, rel_tol=0.06)
    rows = tab.locator(".shares tr").all_text_contents()
    assert len(rows) in (5, 6) and f"{item.predictions[0].probability:.3f}" in rows[0]


def test_one_image_has_no_column_for_a_layer_that_was_only_judged(opened: Open) -> None:
    page = make_page(images=2)
    judged = replace(page.verdicts[0], verdict=replace(page.verdicts[0].verdict, layer="layer4.1.bn2"))
    tab = opened(replace(page, verdicts=(*page.verdicts, judged)), anchor=f"#img={items_of(page)[0].id}").tab
    assert "layer4.1.bn2" in tab.locator(".matrix thead").inner_text()
    assert tab.locator(".panels thead th").all_inner_texts() == list(dict.fromkeys(cell.layer for cell in page.cells))


def test_the_command_of_an_image_can_be_typed(opened: Open) -> None:
    page = make_page("comparison", images=2)
    tab = opened(page, anchor=f"#img={items_of(page)[0].id}").tab
    command = tab.locator("#one-command").text_content()
    assert command.startswith(f"bench explain --run {page.runs[0].run} --ids {page.gallery.ids[0]} --explainer gradcam")
    parse(Line(command.removeprefix("bench "), True))
    tab.locator("#one button[value=models]").click()
    tab.wait_for_timeout(100)
    assert all(run.run in tab.locator("#one-command").text_content() for run in page.runs)


def page_of_two(predicted: np.ndarray, true: np.ndarray) -> Page:
    """A page of one image with two maps of 4x4."""
    page = make_page(images=1, explainers=("captum",), layers=(("layer4", 4),))
    maps = (quantise(predicted, role="predicted"), quantise(true, role="true"))
    return with_items(page, [replace(items_of(page)[0], maps=maps)])


def test_all_pictures_share_one_cursor_that_tells_the_raw_values_under_it(opened: Open) -> None:
    raw = np.arange(16.0).reshape(4, 4) - 4
    page = page_of_two(raw, raw.T * 10)
    tab = opened(page, anchor=f"#img={items_of(page)[0].id}").tab
    box = tab.locator("#one-left canvas").bounding_box()
    tab.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.3 * box["height"])  # column 2, row 1
    assert tab.locator("#one-maps .under").all_text_contents() == ["2", "50"]
    assert tab.locator("#one .cross").evaluate_all("all => all.every((e) => getComputedStyle(e).display === 'block')")


def test_two_maps_are_swiped_and_blended(opened: Open) -> None:
    flat, low = np.full((4, 4), 1.0), np.full((4, 4), 1e-3)
    flat[0, 0], low[3, 3] = 0.99, 1.0  # else constant
    page = page_of_two(flat, low)
    tab = opened(page, anchor=f"#img={items_of(page)[0].id}&opacity=100&grid=raw&a=1&b=2").tab
    pixels = pixels_of(tab, "#one-pair canvas")
    middle = len(pixels) // 2
    left, right = pixels[middle, middle // 2], pixels[middle // 4, middle + middle // 3]
    assert left[0] > 200 > left[2]  # yellow: the first map
    assert right[0] < 90 < right[2] + 20  # violet: the second
    tab.locator("#one button[value=blend]").click()
    assert abs(pixels_of(tab, "#one-pair canvas")[middle, middle // 2] - (left + right) / 2).max() < 12


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
        known = ("all zero", "same value", "not finite", "not computed: ", "same class", "no difference")
        assert tiles and all(" at layer" in tile or tile.startswith(known) for tile in tiles)


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


def test_the_script_colours_maps_as_python_does(opened: Open) -> None:
    from matplotlib import colormaps

    tab = opened(make_page(images=1)).tab
    for name, (words, raw) in product(("viridis", "cividis", "grey"), MAPS.items()):
        for scale in (0, float(np.abs(raw).max()) * 2 or 1.0):
            shares = postprocess(torch.from_numpy(raw), 40, scale=scale or "map").numpy()
            expected = colormaps[name](shares, bytes=True).astype(int).ravel()
            told = np.array(tab.evaluate(COLOURED, [raw.ravel().tolist(), *raw.shape, 40, name, scale]))
            assert np.abs(told - expected).max() <= 1, (name, words)


def test_the_colour_bar_tells_numbers_in_every_scale(opened: Open) -> None:
    page = make_page(images=6)
    tab = opened(page).tab
    marks = "[...document.querySelectorAll('.marks span')].map((e) => e.textContent)"
    assert tab.evaluate(marks) == ["0", "0.5", "1"]
    tab.get_by_role("button", name="all the same").click()
    tab.wait_for_timeout(60)
    largest = max(one.high for item in items_of(page) for one in item.maps)
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
        filled = tab.evaluate("[...document.querySelectorAll('.card')].filter((card) => card.firstChild).length")
        assert 1 < filled < 14


def test_pictures_of_a_later_part_are_the_right_ones(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.reports.payload.SHARD", 16)
    bright = np.linspace(0, 255, 20).astype(np.uint8)[:, None, None, None]  # tells where each stands in the gallery
    pixels = np.broadcast_to(bright, (20, 32, 32, 3))
    page = make_page(images=20, pixels=pixels, explainers=("captum",), layers=(("layer4", 4),))
    shown = opened(page, anchor=f"#q={items_of(page)[19].id}&opacity=0", form="folder")
    assert abs(pixels_of(shown.tab, ".picture canvas")[20, 20] - 255).max() <= 2
    asked = {url.rpartition("/")[2] for url in shown.requests}
    assert "data-001.js" in asked and "data-000.js" not in asked


def test_a_browser_shows_picture_and_map_the_right_way_round(opened: Open) -> None:
    tab = opened(top_right()).tab
    picture = corners_of(pixels_of(tab, ".picture canvas"))
    tab.get_by_label("opacity").fill("100")
    overlay = corners_of(pixels_of(tab, ".map canvas"))
    assert [bool(red > 150 and green < 60) for red, green, _ in picture] == [False, True, False, False]
    assert [bool(green > 200 > blue) for _, green, blue in overlay] == [False, True, False, False]


@pytest.mark.parametrize("form", ["single", "folder"])
def test_large_pictures_are_shown_one_by_one_as_the_model_saw_them(opened: Open, form: str) -> None:
    levels = [10 * each for each in range(20)]
    files = tuple(as_file(np.full((224, 224, 3), each, np.uint8)) for each in levels)
    page = make_page(images=20, explainers=("captum",), layers=(("layer4", 4),))
    page = replace(page, gallery=replace(page.gallery, edge=224, pixels=b"", pictures=files))
    shown = opened(page, anchor=f"#q={items_of(page)[19].id}&opacity=0", form=form)
    for which in (".picture canvas", ".map canvas"):
        assert shown.tab.locator(which).first.evaluate("canvas => [canvas.width, canvas.height]") == [224, 224]
        assert abs(pixels_of(shown.tab, which)[20, 20] - levels[19]).max() <= 2
    if form == "folder":
        assert any(url.endswith("images/picture-00019.jpg") for url in shown.requests)
