"""The system's Chromium, as pages are measured and drawn in it."""

import shutil
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OFF = ("background-networking", "component-update", "gpu", "quic", "sync")
ARGUMENTS = ["--no-sandbox", "--no-first-run", "--enable-precise-memory-info", *(f"--disable-{one}" for one in OFF)]


def launched(playwright: Any) -> Any:  # noqa: ANN401 (playwright's)
    """The browser, started by playwright."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise SystemExit(f"no browser; one of: {', '.join(NAMES)}")
    return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)


def opened(tab: Any, address: str) -> Any:  # noqa: ANN401 (playwright's)
    """The tab, once the page at an address has drawn itself."""
    tab.goto(address)
    tab.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    return tab
