"""The page of one's own pictures in Chromium: it loads nothing, runs nothing, and can be read by everybody."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from page_factory import HOSTILE
from PIL import Image
from test_pages_browser import browser, pytestmark

from bench.postprocess import postprocess
from bench.reports.contact_strips import heat
from bench.reports.pictures import OPACITY, SHOWN, render_pictures
from bench.schema.pictures import PictureMap, PicturesPage, PictureView

assert browser and pytestmark


def webp(size: tuple[int, int]) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, "teal").save(file, "WEBP")
    return file.getvalue()


def map_of(levels: np.ndarray, **changes: Any) -> PictureMap:
    facts: dict[str, Any] = {
        "explainer": "captum", "layer": "layer4", "target": "cat", "finished": False, "height": 2, "width": 2,
        "low": -1.0, "high": 2.0, "levels": levels.astype(np.uint8).tobytes(), "status": "ok",
    }  # fmt: skip
    return PictureMap(**{**facts, **changes})


def page_of(*maps: PictureMap, file: str = "cat.png") -> PicturesPage:
    pixels = np.full((8, 8, 3), 128, dtype=np.uint8).tobytes()
    one = PictureView(file, 40, 30, ("nothing",), webp((40, 30)), 8, pixels, (("cat", 0.9), ("dog", 0.1)), maps)
    return PicturesPage(1, "cat.png: cat", "2026-11-21T02:52:00+00:00", "run", "net", (one,), "words", (("a", "b"),))


LEVELS = np.array([0, 85, 170, 255])


def test_a_map_is_coloured_as_the_one_post_processing_says() -> None:
    from matplotlib import colormaps

    raw = torch.tensor([[-1.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    one = map_of(LEVELS)
    coloured = heat(one.levels, (one.low, one.high), (2, 2), SHOWN, finished=False)
    assert np.allclose(coloured, colormaps["viridis"](postprocess(raw, SHOWN).numpy())[..., :3])
    assert 0 < OPACITY < 1


def test_a_map_without_anything_to_draw_is_words_the_same_ones_each_time() -> None:
    page = page_of(map_of(LEVELS * 0, status="dead"), map_of(LEVELS, status="non-finite"))
    text = render_pictures(page)
    assert "no positive value" in text and "not finite" in text and text == render_pictures(page)


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
def test_the_page_asks_for_nothing_fits_any_width_and_axe_finds_nothing(
    browser: Any, tmp_path: Path, scheme: str, width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    hostile = page_of(*[map_of(LEVELS, target=name, layer="x" * 80) for name in HOSTILE], file="f" * 300 + HOSTILE[1])
    (tmp_path / "index.html").write_text(render_pictures(hostile), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab, asked = context.new_page(), []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: asked.append(message.text))
    tab.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    tab.goto((tmp_path / "index.html").as_uri())
    assert [each for each in asked if not each.startswith(("file:", "data:"))] == []
    assert tab.evaluate("document.documentElement.scrollWidth") == width and tab.locator("script").count() == 0
    assert [(one["id"], one["nodes"][0]["html"]) for one in Axe().run(tab).response["violations"]] == []
    context.close()
