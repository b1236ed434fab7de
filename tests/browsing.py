"""Pages opened in Chromium, for the tests that look at them."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.reports.render import render_files
from bench.schema.page import Page as Values

if os.environ.get("CI"):  # there nothing is skipped: without a browser these tests fail
    import playwright.sync_api as playwright_api
else:
    playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright_api.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
MISSING = CHROMIUM is None and not os.environ.get("CI")
MARKS = [pytest.mark.browser, pytest.mark.skipif(MISSING, reason="needs Chromium on the PATH")]
QUIET = ("background-networking", "component-update", "gpu", "quic", "sync")
FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"  # two of them
ARGUMENTS = ["--no-sandbox", "--no-first-run", *(f"--disable-{one}" for one in QUIET)]


@dataclass
class Opened:
    """A page in the browser and everything it did that a page should not do."""

    tab: Any
    file: Path
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", self._refuse)

    def go(self, anchor: str = "") -> Any:
        """Load the page anew, at an address; gives its tab once everything is drawn."""
        self.tab.goto("about:blank")
        self.tab.goto(self.file.as_uri() + anchor)
        self.tab.wait_for_selector("html[data-ready]", state="attached", timeout=20_000)
        return self.tab

    def _refuse(self, dialog: Any) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, headless=True)
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    contexts: list[Any] = []

    def open_page(
        page: Values, *, width: int = 1280, anchor: str = "", form: str = "single", ready: bool = True, **options: Any
    ) -> Opened:
        folder = tmp_path / str(len(contexts))
        for name, content in render_files(page, form).files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce", **options)
        contexts.append(context)
        shown = Opened(context.new_page(), folder / "index.html")
        if ready:
            shown.go(anchor)
        else:
            shown.tab.goto(shown.file.as_uri() + anchor)
        return shown

    yield open_page
    for context in contexts:
        context.close()


def pixels_of(tab: Any, selector: str, *, scripts: bool = True) -> np.ndarray:
    """What is on the screen at an element, as (height, width, 3); without scripts no frame can be waited for."""
    if scripts:  # what a click asked for is drawn in the next frame, by elements in the place of those before
        tab.evaluate(FRAMES)
    tab.wait_for_selector(selector)
    tab.evaluate("(wanted) => document.querySelector(wanted).scrollIntoView({ block: 'center' })", selector)
    tab.wait_for_timeout(150)  # the picture is painted once it is in sight
    box = tab.locator(selector).first.bounding_box()
    return np.asarray(Image.open(BytesIO(tab.screenshot(clip=box))).convert("RGB")).astype(int)
