"""What a person reads fits a terminal: no line is longer than it is wide, no word and no figure is broken."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import SHORT, call, done
from rich.cells import cell_len
from tiny import TINY_FILE, tiny_data, write_images

pytestmark = pytest.mark.slow
CELL = ("--explainer", "gradcam,reference", "--layer", "layer4", "--limit", "2")
SEEN = (
    ("list", "models"), ("list", "explainers"), ("list", "recipes"), ("list", "data"), ("list", "runs"),
    ("show", "run", "a"), ("show", "model", "cifar_resnet18"), ("explain", "a", *CELL), ("judge", "a", *CELL),
    ("evaluate", "a"), ("doctor",), ("compare", "a", "b", "--no-compute"), ("explain", "nothing"), ("list", "modls"),
    ("train", "--model", TINY_FILE, "--data", "PICTURES", "--run", "c", *SHORT),
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("r")
    data = write_images(folder / "pictures", tiny_data(train=8, test=3))
    for name in ("a", "b"):
        done("train", "--model", TINY_FILE, "--data", str(data), "--run", name, *SHORT, runs=folder / "runs")
    return folder


def on_a_terminal(words: Sequence[str], runs: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a command says where it stands on a terminal of so many columns."""
    for name, value in {"COLUMNS": str(width), "FORCE_COLOR": "1", "TERM": "xterm", "CI": "1"}.items():
        monkeypatch.setenv(name, value)
    result = call(*(str(runs / "pictures") if word == "PICTURES" else word for word in words), runs=runs / "runs")
    if words[0] == "train":
        call("rm", "c", "--yes", runs=runs / "runs")
    return re.sub(r"\x1b\[[0-9;]*m", "", result.stdout + result.stderr)


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("words", SEEN, ids=lambda words: "-".join(words[:2]))
def test_no_line_is_longer_and_no_word_broken(
    runs: Path, words: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = on_a_terminal(words, runs, width, monkeypatch)
    assert len(said.splitlines()) >= 1
    for line in said.splitlines():
        assert cell_len(line.rstrip()) <= width or len(line.split(": ")[-1].removesuffix(" \\").split()) == 1, line


@pytest.mark.parametrize("width", [80, 60])
def test_every_figure_of_a_table_stands_whole(runs: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(call("list", "explainers", "--json").stdout)["explainers"]
    said = " ".join(on_a_terminal(("list", "explainers"), runs, width, monkeypatch).split())
    shown = [str(row[key]) for row in rows if "passes" in row for key in ("name", "passes")]
    assert len(shown) > 40 and all(value in said for value in shown)
    on_record = json.loads((runs / "runs" / "a" / "run.json").read_text(encoding="utf-8"))["results"]
    assert f"{100 * on_record['accuracy']:.2f} %" in " ".join(
        on_a_terminal(("show", "run", "a"), runs, width, monkeypatch).split()
    )
