"""The sample page of the docs and its pictures, made of finished runs.

python benchmarks/sample.py RUN RUN RUN --runs-dir runs --limit 1000
"""

from __future__ import annotations

import argparse
import re
import shutil
from dataclasses import replace
from pathlib import Path

from bench.pages.build import comparison_page, wrong_in_any
from bench.reports.render import render_page
from bench.schema.page import Page
from bench.store.run_data import read_run
from bench.store.runs import find_run

DOCS = Path(__file__).resolve().parents[1] / "docs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = ["--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-background-networking"]
FOLDERS = re.compile(r"(?:/[\w.+-]+)+/(?=[\w.+-])")


def without_folders(page: Page) -> Page:
    """The page with names of files in place of their paths, which are of one machine."""

    def bare(text: str) -> str:
        return FOLDERS.sub("", text)

    told = tuple((heading, tuple((label, bare(value)) for label, value in rows)) for heading, rows in page.provenance)
    differences = tuple(replace(one, values=tuple(map(bare, one.values))) for one in page.differences)
    speeds = tuple(replace(one, command=bare(one.command)) for one in page.speeds)
    return replace(page, provenance=told, differences=differences, speeds=speeds)


def picture(browser: object, file: Path, target: Path, **options: object) -> None:
    """What a window shows of the page, as a PNG."""
    anchor, size, scheme = options["anchor"], options["size"], options.get("scheme", "light")
    width, height = size  # type: ignore[misc]
    tab = browser.new_page(  # type: ignore[attr-defined]
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    tab.goto(file.as_uri() + str(anchor))
    tab.wait_for_selector("html[data-ready]", state="attached")
    tab.wait_for_timeout(1000)
    tab.screenshot(path=target)
    tab.close()


def main() -> None:
    """Write docs/sample.html and four pictures of it."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--max-images", type=int, default=300)
    parser.add_argument("--limit", type=int, help="Images of the tables of maps, as `bench compare --limit` had it.")
    parser.add_argument("--created", default="2026-11-21T12:00:00Z", help="What the page says of when it was made.")
    options = parser.parse_args()
    runs = [read_run(find_run(options.runs_dir, name)) for name in options.runs]
    ids = wrong_in_any(runs, options.limit)
    page = without_folders(comparison_page(runs, ids, created=options.created, max_images=options.max_images))
    file = DOCS / "sample.html"
    file.write_text(render_page(page), encoding="utf-8")
    print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB, {len(page.gallery)} images")
    first = next(item for item in page.gallery if len({said.predicted for said in item.predictions if said}) > 1)
    image = f"#maps=predicted&img={first.id}" + ("&rows=models" if len(runs) > 1 else "")
    shots = {
        "comparison.png": {"anchor": "", "size": (1280, 1290)},
        "one-image.png": {"anchor": image, "size": (1280, 900)},
        "phone.png": {"anchor": "#sort=sure", "size": (390, 1100)},
        "dark.png": {"anchor": "#maps=difference", "size": (1280, 1000), "scheme": "dark"},
    }
    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, BROWSERS)))
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        for name, each in shots.items():
            picture(browser, file, DOCS / name, **each)
        browser.close()


if __name__ == "__main__":
    main()
