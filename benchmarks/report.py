"""How fast pages open, filter and sort in Chromium, and how large they are.

python benchmarks/report.py --rounds 5
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tables import table

from bench.machine import cpu_name
from bench.reports.render import render_files
from bench.schema.page import Page

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from page_factory import make_page

QUIET = ("background-networking", "component-update", "gpu", "quic", "sync")
ARGUMENTS = ["--no-sandbox", "--no-first-run", "--enable-precise-memory-info", *(f"--disable-{one}" for one in QUIET)]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

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


def pages() -> dict[str, tuple[int, str, dict[str, float]]]:
    """Images, form and limits by name: seconds, milliseconds, elements, megabytes."""
    return {
        "1,000 errors, one file": (1000, "single", {"size": 10.0, "open": 1.0, "filter": 100, "elements": 1500}),
        "10,000 errors, folder": (10_000, "folder", {"open": 2.0, "sort": 300, "memory": 400, "elements": 1500}),
    }


def noise(images: int) -> np.ndarray:
    """(images, 32, 32, 3) uint8: nothing compresses less."""
    return np.random.default_rng(0).integers(0, 256, size=(images, 32, 32, 3), dtype=np.uint8)


def written(page: Page, form: str, folder: Path) -> tuple[Path, float, float]:
    """The page on disk; the HTML file, seconds of rendering and megabytes of all files."""
    begun = time.perf_counter()
    rendered = render_files(page, form)  # type: ignore[arg-type]
    seconds = time.perf_counter() - begun
    for name, content in rendered.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "index.html", seconds, sum(map(len, rendered.files.values())) / 1e6


def measured(browser: Any, file: Path, rounds: int) -> dict[str, list[float]]:  # noqa: ANN401 (playwright's)
    """First paint, ready, filter, sort, elements and memory of each round, in a browser context of its own."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        tab = context.new_page()
        begun = time.perf_counter()
        tab.goto(file.as_uri() + "#sort=id")
        tab.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
        ready = time.perf_counter() - begun
        once = {"paint": tab.evaluate(PAINTED) / 1000, "ready": ready}
        once["filter"] = max(tab.evaluate(CHANGE, ["true", str(k)]) for k in (3, 5, ""))
        once["sort"] = max(tab.evaluate(CHANGE, ["sort", by]) for by in ("loss", "apart", "sure"))
        counts = []
        for card in range(0, 24, 4):
            tab.locator(".card").nth(card).scroll_into_view_if_needed()
            tab.wait_for_timeout(150)
            counts.append(tab.evaluate(ELEMENTS))
        once["elements"] = max(counts)
        once["memory"] = memory_of(context, tab)
        for name, value in once.items():
            found.setdefault(name, []).append(float(value))
        context.close()
    return found


def memory_of(context: Any, tab: Any) -> float:  # noqa: ANN401 (playwright's)
    """Megabytes that the script holds after a collection, and its buffers."""
    session = context.new_cdp_session(tab)
    session.send("HeapProfiler.collectGarbage")
    usage = session.send("Runtime.getHeapUsage")
    return (usage["usedSize"] + usage.get("embedderHeapUsedSize", 0) + usage.get("backingStorageSize", 0)) / 1e6


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


ROWS = (
    ("first paint, s", "paint", "open"),
    ("ready, s", "ready", ""),
    ("filter, ms", "filter", "filter"),
    ("sort, ms", "sort", "sort"),
    ("elements at most", "elements", "elements"),
    ("script memory, MB", "memory", ""),
    ("memory of the page's process, MB", "resident", "memory"),
)


def main() -> None:
    """Measure and print a table; exit 1 where a limit does not hold."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    rows, missed = [], []
    for name, (images, form, limits) in pages().items():
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            page = make_page(images=images, pixels=noise(images))
            file, seconds, size = written(page, form, Path(folder))
            path = next(filter(None, map(shutil.which, BROWSERS)))
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
            found = measured(browser, file, rounds)
            found["resident"] = [largest_of_one(browser, file)]
            browser.close()
        told = [("rendering, s", [seconds], limits.get("render")), ("size, MB", [size], limits.get("size"))]
        told += [(words, found[key], limits.get(limit) if limit else None) for words, key, limit in ROWS]
        for words, values, most in told:
            middle = statistics.median(values)
            rows.append([name, words, f"{middle:.4g}", f"{min(values):.4g} to {max(values):.4g}", f"{most or '–'}"])
            missed += [f"{name}: {words} {middle:.4g}, at most {most}"] if most and middle > most else []
    print(f"{cpu_name()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {rounds} rounds; digits of noise\n")
    print(table(["page", "what", "median", "range", "limit"], rows, {"page", "what"}))
    if missed:
        raise SystemExit("\n".join(["", "above its limit:", *missed]))


def largest_of_one(browser: Any, file: Path) -> float:  # noqa: ANN401 (playwright's)
    """Resident megabytes of the process of one open page, after every order was asked for."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(file.as_uri())
    tab.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    for by in ("loss", "id", "sure"):
        tab.evaluate(CHANGE, ["sort", by])
        tab.wait_for_timeout(300)
    return resident(os.getpid())


if __name__ == "__main__":
    main()
