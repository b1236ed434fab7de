"""How fast pages open, filter and sort in Chromium, and how large they are.

python benchmarks/report.py --rounds 6
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
from browser import launched, opened
from numpy.typing import NDArray
from tables import parser_of, summary, table

from bench.machine import cpu_name
from bench.reports.render import render_files
from bench.schema.page import Page
from bench.schema.timing import Sample
from bench.stats.rates import rounds_of
from bench.timing.rounds import turns

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from page_factory import make_page

PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? performance.now()"
ELEMENTS = "document.querySelectorAll('*').length"
# From a change of a control to the frame after it was drawn.
CHANGE = """([key, value]) => new Promise((done) => {
    const element = document.querySelector(`[data-key=${key}]`);
    const begun = performance.now();
    element.value = value;
    element.dispatchEvent(new Event("input", { bubbles: true }));
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun), 0));
})"""


Form = Literal["single", "folder"]
Visit = Callable[[], dict[str, float]]
PAGES: dict[str, tuple[int, Form, dict[str, float]]] = {  # images, form and limits: s, ms, elements, MB
    "1,000 errors, one file": (1000, "single", {"size": 10.0, "open": 1.0, "filter": 100, "elements": 2000}),
    "10,000 errors, folder": (10_000, "folder", {"open": 2.0, "sort": 300, "memory": 400, "elements": 2000}),
}


def noise(images: int) -> NDArray[np.uint8]:
    """(images, 32, 32, 3) uint8: nothing compresses less."""
    return np.random.default_rng(0).integers(0, 256, size=(images, 32, 32, 3), dtype=np.uint8)


def written(page: Page, form: Form, folder: Path) -> tuple[Path, float, float]:
    """The page on disk; the HTML file, seconds of rendering and megabytes of all files."""
    begun = time.perf_counter()
    rendered = render_files(page, form)
    seconds = time.perf_counter() - begun
    for name, content in rendered.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "index.html", seconds, sum(map(len, rendered.files.values())) / 1e6


def visit(browser: Any, file: Path) -> dict[str, float]:  # noqa: ANN401 (playwright's)
    """First paint, ready, filter, sort, elements and memory of a page, in a browser context of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    begun = time.perf_counter()
    opened(tab, file.as_uri() + "#sort=id")
    found = {"ready": time.perf_counter() - begun, "paint": tab.evaluate(PAINTED) / 1000}
    found["filter"] = max(tab.evaluate(CHANGE, ["true", str(k)]) for k in (3, 5, ""))
    found["sort"] = max(tab.evaluate(CHANGE, ["sort", by]) for by in ("loss", "apart", "sure"))
    counts = []
    for card in range(0, 24, 4):
        tab.locator(".card").nth(card).scroll_into_view_if_needed()
        tab.wait_for_timeout(150)
        counts.append(tab.evaluate(ELEMENTS))
    found |= {"elements": max(counts), "memory": memory_of(context, tab)}
    context.close()
    return found


def in_turns(visits: Mapping[str, Visit], rounds: int) -> Iterator[Sample]:
    """What every visit found, as samples named `PAGE: FIGURE`."""
    order = random.Random()
    for number in range(1, rounds + 1):
        for name in turns(list(visits), order):
            for what, value in visits[name]().items():
                yield Sample(f"{name}: {what}", number, 1, (float(value),))


def memory_of(context: Any, tab: Any) -> float:  # noqa: ANN401 (playwright's)
    """Megabytes that the script holds after a collection, and its buffers."""
    session = context.new_cdp_session(tab)
    session.send("HeapProfiler.collectGarbage")
    usage = session.send("Runtime.getHeapUsage")
    held = sum(usage.get(each, 0) for each in ("usedSize", "embedderHeapUsedSize", "backingStorageSize"))
    return float(held) / 1e6


def resident(browser_pid: int) -> float:
    """Megabytes of the largest process below a browser, as the system counts it: the page's own."""
    best = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if b"--type=renderer" in command and "VmRSS" in lines and started_by(int(lines["Pid"]), browser_pid):
            best = max(best, int(lines["VmRSS"].split()[0]) / 1000)
    return best


def started_by(pid: int, ancestor: int) -> bool:
    """Whether a process descends from another."""
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def resident_of(playwright: Any, file: Path) -> float:  # noqa: ANN401 (playwright's)
    """Resident megabytes of the process of one open page, after every order was asked for, in a fresh browser."""
    browser = launched(playwright)
    tab = opened(browser.new_page(viewport={"width": 1280, "height": 900}), file.as_uri())
    for by in ("loss", "id", "sure"):
        tab.evaluate(CHANGE, ["sort", by])
        tab.wait_for_timeout(300)
    found = resident(os.getpid())
    browser.close()
    return found


ROWS = (  # words, figure, limit
    ("rendering, s", "render", "render"),
    ("size, MB", "size", "size"),
    ("first paint, s", "paint", "open"),
    ("ready, s", "ready", ""),
    ("filter, ms", "filter", "filter"),
    ("sort, ms", "sort", "sort"),
    ("elements at most", "elements", "elements"),
    ("script memory, MB", "memory", ""),
    ("memory of the page's process, MB", "resident", "memory"),
)


def measured(rounds: int) -> dict[str, list[float]]:
    """Every figure of every page: those of visits round by round, the others once."""
    from playwright.sync_api import sync_playwright

    once: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        files: dict[str, Path] = {}
        for name, (images, form, _) in PAGES.items():
            page = make_page(images=images, pixels=noise(images))
            files[name], seconds, size = written(page, form, Path(folder) / name)
            once |= {f"{name}: render": [seconds], f"{name}: size": [size]}
        browser = launched(playwright)
        found = rounds_of(in_turns({name: partial(visit, browser, file) for name, file in files.items()}, rounds))
        browser.close()
        once |= {f"{name}: resident": [resident_of(playwright, file)] for name, file in files.items()}
    return found | once


def rows_of(found: Mapping[str, list[float]]) -> tuple[list[list[str]], list[str]]:
    """The table, and what is above its limit."""
    rows, missed = [], []
    for name, (_, _, limits) in PAGES.items():
        for words, figure, limit in ROWS:
            values, most = found[f"{name}: {figure}"], limits.get(limit)
            rows.append([name, words, *summary(values), f"{most or '–'}"])
            if most and median(values) > most:
                missed.append(f"{name}: {words} {median(values):.4g}, at most {most}")
    return rows, missed


def main() -> None:
    """Measure and print a table; exit 1 where a limit does not hold."""
    rounds = parser_of(__doc__, rounds=6).parse_args().rounds
    rows, missed = rows_of(measured(rounds))
    print(f"{cpu_name()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {rounds} rounds; digits of noise\n")
    print(table(["page", "what", "median", "interval", "limit"], rows, {"page", "what"}))
    if missed:
        raise SystemExit("\n".join(["", "above its limit:", *missed]))


if __name__ == "__main__":
    main()
