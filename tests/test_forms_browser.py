"""Pages in both forms in Chromium: from disk, without scripts, under their policy, on paper, light and dark."""

from dataclasses import replace
from typing import Any

import pytest
from browsing import MARKS, Open, browser, opened, pixels_of
from gallery_items import items_of
from page_factory import HOSTILE, make_page, with_items

from bench.reports import render
from bench.reports.contact_strips import MOST
from bench.reports.render import INDEX, render_files

pytestmark = MARKS

PAIRS = [("run", "folder"), ("comparison", "single")]
PAPER = "getComputedStyle(document.body).backgroundColor"


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_a_folder_opens_from_disk_and_asks_only_for_its_own_files(kind: str, opened: Open) -> None:
    shown = opened(make_page(kind, images=6), form="folder")
    shown.tab.mouse.wheel(0, 5000)
    shown.tab.wait_for_timeout(200)
    here = shown.file.parent.as_uri()
    assert [url for url in shown.requests if not url.startswith((here, "data:"))] == []
    assert shown.complaints == [] and shown.tab.locator(".card .map canvas").count() > 0
    assert all(pixels_of(shown.tab, ".picture canvas")[5, 5] >= 0)


def test_a_folder_with_a_part_missing_says_so_in_words(opened: Open) -> None:
    shown = opened(make_page(images=3), form="folder")
    (shown.file.parent / "data-000.js").unlink()
    shown.tab.reload()
    shown.tab.wait_for_selector(".card .bad")
    words = shown.tab.locator(".card .bad").first.text_content()
    assert "not loaded: data-000.js is not beside the page" in words


@pytest.mark.parametrize(("kind", "form"), PAIRS)
def test_without_scripts_tables_sentences_and_first_pictures_are_there(kind: str, form: str, opened: Open) -> None:
    page = make_page(kind, images=30)
    tab = opened(page, form=form, ready=False, java_script_enabled=False).tab
    assert tab.locator(".findings li").count() == len(page.findings) and tab.locator(".matrix tbody tr").count() > 0
    pictures = tab.locator(".contact img")
    assert pictures.count() == MOST
    assert all(int(pictures.nth(k).get_attribute("width")) > 64 for k in (0, 5, 11))
    assert pictures.first.bounding_box()["width"] > 100
    assert pixels_of(tab, ".contact img", scripts=False).std() > 10  # it is drawn, not broken
    assert pictures.first.get_attribute("alt").startswith(f"test image {items_of(page)[0].id}, then maps of ")
    assert tab.locator("#filtering").is_hidden()


BREAK_IN = """async () => {
    const tried = {};
    const wait = (ms) => new Promise((done) => setTimeout(done, ms));
    document.addEventListener("securitypolicyviolation", (e) => { tried[e.effectiveDirective] = true; });
    const script = document.createElement("script");
    script.textContent = "window.brokenIn = true";
    document.body.append(script);
    const style = document.createElement("style");
    style.textContent = "body { display: none }";
    document.body.append(style);
    document.body.setAttribute("style", "display: none");
    const image = new Image();
    image.src = "https://example.org/x.png";
    const frame = document.createElement("iframe");
    frame.src = "data:text/html,hello";
    document.body.append(frame);
    await fetch("https://example.org/").catch(() => 0);
    await wait(200);
    const { display } = getComputedStyle(document.body);
    return { tried: Object.keys(tried).sort(), broken: Boolean(window.brokenIn), display };
}"""


@pytest.mark.parametrize("form", ["single", "folder"])
def test_the_policy_forbids_whatever_the_page_does_not_use(form: str, opened: Open) -> None:
    found = opened(make_page(images=2), form=form).tab.evaluate(BREAK_IN)
    assert not found["broken"] and found["display"] == "block"
    assert found["tried"] == [
        "connect-src", "frame-src", "img-src", "script-src-elem", "style-src-attr", "style-src-elem",
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "form"), PAIRS)
def test_hostile_names_change_nothing_but_text(kind: str, form: str, opened: Open) -> None:
    page = make_page(kind, classes=[*HOSTILE[:3], "w" * 300], images=8)
    runs = tuple(replace(run, run=HOSTILE[k % 4], model=HOSTILE[(k + 1) % 4]) for k, run in enumerate(page.runs))
    cells = tuple(
        replace(cell, explainer=f"{HOSTILE[0]}{cell.explainer},", layer=HOSTILE[1] + cell.layer) for cell in page.cells
    )
    items = [replace(item, file=HOSTILE[k % 4] * 3) for k, item in enumerate(items_of(page))]
    hostile = with_items(replace(page, runs=runs, cells=cells, title=HOSTILE[1]), items)
    plain = opened(page, form=form)
    shown = opened(hostile, form=form, anchor=f"#img={items_of(page)[0].id}")
    assert shown.complaints == []
    tags = "[...document.querySelectorAll('script, img, iframe, object, embed, base, form')].map((e) => e.tagName)"
    assert shown.tab.evaluate(tags) == plain.tab.evaluate(tags)
    assert shown.tab.evaluate("document.documentElement.scrollWidth") == 1280
    assert {*HOSTILE[:2]} <= {name for name in HOSTILE if name in shown.tab.evaluate("document.body.textContent")}
    for key in ("Escape", "1"):
        shown.tab.keyboard.press(key)  # a column whose name has a comma, out of the address and back
    shown.tab.wait_for_timeout(100)
    shown.tab.reload()
    shown.tab.wait_for_selector("html[data-ready]", state="attached")
    pressed = "document.querySelectorAll('#columns button[data-key=x][aria-pressed=true]').length"
    assert shown.tab.evaluate(pressed) == 1


def test_a_chosen_theme_is_there_before_the_page_is_drawn(opened: Open) -> None:
    tab = opened(make_page(images=1), color_scheme="light").tab
    light = tab.evaluate(PAPER)
    tab.locator("#theme").click()
    assert tab.locator("#theme").text_content() == "Theme: dark"
    tab.add_init_script(
        "new MutationObserver((_, watcher) => { if (!document.body) return; watcher.disconnect();"
        " window.themeAtBody = document.documentElement.dataset.theme; })"
        ".observe(document, { childList: true, subtree: true })"
    )
    tab.reload()
    assert tab.evaluate("window.themeAtBody") == "dark"
    assert tab.evaluate(PAPER) != light
    for words in ("light", "auto"):
        tab.locator("#theme").click()
        assert tab.locator("#theme").text_content() == f"Theme: {words}"
        assert tab.evaluate(PAPER) == light


@pytest.mark.parametrize("themes", [("light", "dark"), ("dark", "light")])
def test_drawings_follow_the_theme(themes: tuple[str, str], opened: Open) -> None:
    tab = opened(make_page(images=1), color_scheme=themes[0]).tab
    for drawn, other in (themes, themes[::-1]):
        assert tab.locator(f"img.drawn.{drawn}").first.is_visible()
        assert tab.locator(f"img.drawn.{other}").first.is_hidden()
        assert tab.locator(f"img.drawn.{drawn}").first.evaluate("e => e.naturalWidth") > 100
        tab.evaluate("theme => { document.documentElement.dataset.theme = theme; }", other)


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_paper_is_light_without_controls_and_with_filled_cards(kind: str, opened: Open) -> None:
    tab = opened(make_page(kind, images=8), color_scheme="dark").tab
    tab.emulate_media(media="print", color_scheme="dark")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.wait_for_timeout(200)
    parts = ("#theme", "#filtering", ".knobs", ".keys", "#legend", "img.drawn.light")
    assert [part for part in parts if tab.locator(part).first.is_visible()] == ["#legend", "img.drawn.light"]
    assert tab.locator(".card:has(canvas)").count() == 8
    assert tab.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"


CUT_OFF = """() => [...document.querySelectorAll("dialog[open] *, header *, .filters *, .looks *")]
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".frame, .skip, .said, option"))
    .map((e) => `${e.tagName}.${e.className}`)"""


@pytest.mark.parametrize(("kind", "width"), [("run", 320), ("comparison", 320), ("comparison", 1900)])
def test_page_and_dialog_fit_every_width(kind: str, width: int, opened: Open) -> None:
    page = make_page(kind, images=6)
    page = replace(page, runs=tuple(replace(run, run=f"a_run_with_a_long_name-{run.run}") for run in page.runs))
    tab = opened(page, width=width).tab
    tab.evaluate("document.getElementById('filtering').open = true")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate(CUT_OFF) == []
    tab.evaluate("id => { location.hash = `img=${id}`; }", items_of(page)[0].id)
    tab.wait_for_selector("#one[open]")
    assert tab.evaluate("document.getElementById('one').scrollWidth - document.getElementById('one').clientWidth") == 0
    assert tab.evaluate(CUT_OFF) == []


def test_touch_opens_an_image_and_moves_its_cursor(opened: Open) -> None:
    tab = opened(make_page(images=2), width=400, has_touch=True, is_mobile=True).tab
    tab.locator(".picture canvas").first.tap()
    tab.wait_for_selector("#one[open]")
    tab.locator("#one-left canvas").tap()
    assert tab.evaluate("document.getElementById('one').classList.contains('pointed')")


@pytest.mark.parametrize(("kind", "schemes"), [("run", ("light", "dark")), ("comparison", ("dark", "light"))])
def test_axe_finds_nothing_in_the_dialogs(kind: str, schemes: tuple[str, str], opened: Open) -> None:
    axe: Any = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    page = make_page(kind, images=3, gaps=True)
    for scheme, anchor, key in zip(schemes, (f"#img={items_of(page)[1].id}", ""), ("Shift", "?"), strict=True):
        tab = opened(page, color_scheme=scheme, anchor=anchor).tab
        tab.keyboard.press(key)
        tab.wait_for_selector("dialog[open]")
        found = axe.Axe().run(tab).response["violations"]
        assert [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found] == []


# --- which form --------------------------------------------------------------------------------------------


def test_a_page_is_one_file_until_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    page = make_page(images=4)
    assert (list(render_files(page).files), render_files(page).note) == ([INDEX], "")
    monkeypatch.setattr(render, "LARGEST", 50_000)
    large = render_files(page)
    assert set(large.files) > {INDEX, "page.js", "style.css", "data-000.js", "images/sheet-000.webp"}
    assert large.note.startswith("a folder, since one file would be 0.")
    assert list(render_files(page, "single").files) == [INDEX]
    assert set(render_files(page, "folder").files) == set(large.files)


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_images_without_any_map_are_shown_with_their_probabilities(kind: str, opened: Open) -> None:
    page = make_page(kind, explainers=(), images=3)
    shown = opened(page, anchor=f"#img={items_of(page)[0].id}")
    shown.tab.wait_for_selector("#one[open]")
    assert shown.tab.locator("#one-shares .shares").count() == len(page.runs)
    assert "No maps were computed." in shown.tab.locator("#one").inner_text()
    for key in ("j", "t", "Escape"):
        shown.tab.keyboard.press(key)
    shown.tab.wait_for_timeout(100)
    assert shown.complaints == []
