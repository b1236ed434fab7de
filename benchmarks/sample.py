"""The sample page of the docs and its pictures, made of finished runs: of one its own page, of several a comparison.

python benchmarks/sample.py RUN --runs-dir runs --explainer gradcam captum --layer layer3 layer4

Only the maps of these explainers at these layers are on the page; without the options all that the runs have.
"""

import argparse
import re
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from browser import launched, opened
from tables import parser_of

from bench.pages.build import comparison_page, run_page, wrong_in_any
from bench.reports.render import INDEX, render_files
from bench.schema.page import Page
from bench.store.folder import read_run
from bench.store.paths import CHECKPOINT, cell_files, timings_path
from bench.store.runs import find_run

DOCS = Path(__file__).resolve().parents[1] / "docs"
FOLDERS = re.compile(r"(?:/[\w.+-]+)+/(?=[\w.+-])")


def without_folders(page: Page) -> Page:
    """The page with names of files in place of their paths, which are of one machine."""

    def bare(text: str) -> str:
        return FOLDERS.sub("", text)

    told = tuple((heading, tuple((label, bare(value)) for label, value in rows)) for heading, rows in page.provenance)
    differences = tuple(replace(one, values=tuple(map(bare, one.values))) for one in page.differences)
    speeds = tuple(replace(one, command=bare(one.command)) for one in page.speeds)
    return replace(page, provenance=told, differences=differences, speeds=speeds)


SHOTS = {  # what follows the address, the window, its colours; {} is the first image that models answer differently
    "first-screen.png": ("", (1440, 900), "light"),
    "one-image.png": ("#maps=predicted&img={}", (1280, 900), "light"),
    "phone.png": ("", (390, 1100), "light"),
    "dark.png": ("#trust", (1440, 900), "dark"),
}


def picture(browser: Any, address: str, size: tuple[int, int], scheme: str) -> bytes:  # noqa: ANN401 (playwright's)
    """What a window shows of a page, as a PNG."""
    window = {"width": size[0], "height": size[1]}
    tab = opened(browser.new_page(viewport=window, color_scheme=scheme, reduced_motion="reduce"), address)
    tab.wait_for_timeout(1000)
    shot: bytes = tab.screenshot()
    tab.close()
    return shot


def copied(runs: Sequence[Path], place: Path, explainers: Collection[str], layers: Collection[str]) -> list[Path]:
    """Copies of runs without weights, with the maps of these explainers at these layers; nothing named is all."""
    found = [Path(shutil.copytree(run, place / run.name, ignore=lambda *_: [CHECKPOINT])) for run in runs]
    if (beside := timings_path(runs[0].parent)).is_dir():  # of several runs, measured in turns
        shutil.copytree(beside, timings_path(place))
    for file in (each for run in found for each in cell_files(run)):
        explainer, layer = file.parent.name, file.stem
        if (explainers and explainer not in explainers) or (layers and layer not in layers):
            file.unlink()
    return found


def page_of(folders: Sequence[Path], options: argparse.Namespace) -> Page:
    """The page of one run, or the comparison of several."""
    runs = [read_run(folder) for folder in folders]
    if len(runs) == 1:
        page = run_page(runs[0], created=options.created, max_images=options.max_images)
    else:
        ids = wrong_in_any(runs, options.limit)
        page = comparison_page(runs, ids, created=options.created, max_images=options.max_images)
    return without_folders(page)


def main() -> None:
    """Write docs/sample.html and four pictures of it."""
    from playwright.sync_api import sync_playwright

    parser = parser_of(__doc__, runs_dir="runs")
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--max-images", type=int, default=300)
    parser.add_argument("--limit", type=int, help="Images of the tables of maps, as `bench compare --limit` had it.")
    parser.add_argument("--created", default="2026-11-21T12:00:00Z", help="What the page says of when it was made.")
    parser.add_argument("--explainer", nargs="+", default=[])
    parser.add_argument("--layer", nargs="+", default=[])
    options = parser.parse_args()
    folders = [find_run(options.runs_dir, name) for name in options.runs]
    file = DOCS / "sample.html"
    with tempfile.TemporaryDirectory() as place:
        page = page_of(copied(folders, Path(place), options.explainer, options.layer), options)
        file.write_bytes(render_files(page, "single").files[INDEX])
    print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB, {len(page.gallery.ids)} images")
    told = zip(page.gallery.ids, *(said.predicted for said in page.gallery.said), strict=True)
    first = next((each for each, *classes in told if len(set(classes) - {-1}) > 1), page.gallery.ids[0])
    image = f"{first}" + ("&rows=models" if len(folders) > 1 else "")
    with sync_playwright() as playwright:
        browser = launched(playwright)
        for name, (anchor, size, scheme) in SHOTS.items():
            shot = picture(browser, file.as_uri() + anchor.format(image), size, scheme)
            (DOCS / name).write_bytes(shot)
        browser.close()


if __name__ == "__main__":
    main()
