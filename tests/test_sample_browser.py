"""The sample page of the docs: small, whole, of no machine, and it opens."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browsing import MARKS, browser

SAMPLE = Path(__file__).resolve().parents[1] / "docs" / "sample.html"
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|home|root|tmp|mnt|Users|opt)/")


def test_sample_is_small_has_few_images_and_tells_no_path_of_a_machine() -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert 50 <= len(data["ids"]) <= 300 and SAMPLE.stat().st_size < 3_000_000
    bare = re.sub(r"base64,[\w+/=]*|<script.*?</script>", "", text, flags=re.S)
    assert not MACHINE_PATH.findall(bare)


@pytest.mark.browser
@pytest.mark.skipif(MARKS[1].args[0], reason="needs Chromium on the PATH")
def test_sample_opens_from_disk_and_asks_for_nothing(browser: Any) -> None:
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    asked: list[str] = []
    complaints: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(SAMPLE.as_uri())
    tab.wait_for_selector("html[data-ready]", state="attached", timeout=20_000)
    tab.locator(".card h3 a").first.click()
    tab.wait_for_selector("#one[open] #one-maps canvas")
    assert [url for url in asked if not url.startswith("data:")] == [SAMPLE.as_uri()]
    assert complaints == []
    tab.close()
