"""The engine of docs/engines.md, as it stands there, and the list of engines."""

import re
from pathlib import Path

import pytest
from command_line import done
from grid import EXPLAINERS
from tiny import TINY_FILE, tiny_data, write_images

from bench.store.folder import RunFolder

PAGE = Path(__file__).parents[1] / "docs" / "engines.md"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the page, installed."""
    text = PAGE.read_text()
    code, points = re.search(r"```python\n(.*?)```", text, re.S), re.search(r"```toml\n.*?\n(.*?)```", text, re.S)
    assert code and points
    folder = tmp_path / "site"
    about = folder / "bench_threads-1.dist-info"
    about.mkdir(parents=True)
    (folder / "bench_threads.py").write_text(code[1])
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-threads\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[bench.engines]\n" + points[1].replace('"', ""))
    monkeypatch.syspath_prepend(str(folder))


def test_the_example_of_the_page_makes_maps(plugin: None, tmp_path: Path) -> None:
    images, runs = write_images(tmp_path / "images", tiny_data(16, 8)), tmp_path / "runs"
    words = ("--model", TINY_FILE, "--data", str(images), "--recipe", "cpu", "--epochs", "1", "--val", "0")
    cache = {"BENCH_CACHE": str(tmp_path / "cache")}
    done("train", *words, "--run", "one", runs=runs, env=cache)
    asked = ("--explainer", EXPLAINERS[1], "--layer", "layer4", "--which", "all")
    done("explain", "one", *asked, "--on", "threads:2", runs=runs, env=cache)
    cell = RunFolder(runs / "one").cell(EXPLAINERS[1], "layer4")
    assert cell is not None
    assert len(set(cell.ids.tolist())) == 32


def test_engines_are_listed_with_plug_ins(plugin: None) -> None:
    shown = done("list", "engines").stdout
    for name in ("local", "dask", "slurm", "threads", "bench-threads"):
        assert name in shown
