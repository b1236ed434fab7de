"""The figures of the house: what counts as what, on a small planted tree."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import house


def test_statements_are_counted_without_docstrings_comments_and_the_way_lines_are_broken() -> None:
    source = '''"""A module."""
# a comment

import os

class One:
    """A class."""

    value = (
        1,
        2,
    )

    def name(self):
        """A method that only says something."""

def call(x): return os.name; "no docstring"
'''
    # import, class, value, def name, def call, return, the string after it
    assert (house.counts_of(source).statements, house.counts_of(source).lines) == (7, 17)


@pytest.mark.parametrize(
    ("parameters", "wide"),
    [
        ("a, b, c, d, e, f, g, h", 0),
        ("a, b, c, d, e, f, g, h, i", 1),
        ("a, b, /, c, d, *, e, f, g, h, i", 1),
        ("a, b, c, d, e, f, g, *h, **i", 1),
        ("self, a, b, c, d, e, f, g, h", 0),
        ("cls, a, b, c, d, e, f, g, h, i", 1),
        ("a, self, b, c, d, e, f, g, h", 1),
    ],
)
def test_a_function_is_wide_from_nine_parameters_besides_self(parameters: str, wide: int) -> None:
    for word in ("def", "async def"):
        assert house.counts_of(f"{word} call({parameters}): pass").wide == wide


@pytest.mark.parametrize(
    ("body", "opens"),
    [
        ("return open_run(find_run(runs, name), models, choose_device(device))", 1),
        ("folder = find_run(runs, name)\n  return [store.read_checkpoint(folder) for _ in folder]", 1),
        ("where = machine.choose_device(device)\n  return open_run(folder, where)", 1),
        ("return open_run(run, device, workspace)", 0),  # asks for one
        ("return find_run(runs, name)", 0),
        ("def later(): return open_run(one)\n  return choose_device(device)", 0),  # two functions
    ],
)
def test_a_function_that_finds_a_run_and_loads_its_weights_opens_one(body: str, opens: int) -> None:
    assert house.counts_of(f"def call():\n  {body}\n").opens == opens


BATCH = "def batch(images): return guarded(spec, images)\n"


@pytest.mark.parametrize(
    ("source", "loops"),
    [
        ("guarded(spec, images)", 0),
        ("for images in batches: guarded(spec, images)", 1),
        ("maps = [spec.explain(model, images) for images in batches]", 1),
        ("while left: job.spec.explain(model, images)", 1),
        ("for run in runs: api.explain(run)", 0),  # the command
        ("for layer in layers:\n  for images in batches: guarded(spec, images)", 1),
        ("for a in b: guarded(spec, a)\nfor a in c: guarded(spec, a)", 2),
        (BATCH + "for images in batches: batch(images)", 1),
        (BATCH + "for images in batches: other.batch(images)", 0),
        (BATCH + "def save(images): write(batch(images))\nfor images in batches: save(images)", 1),
        (BATCH + "def all(of): return [batch(each) for each in of]\nfor job in jobs: all(job)", 1),  # not its callers
        ("class Work:\n  def one(self): guarded(spec)\n  def all(self):\n    while True: self.one()", 1),
        ("def all(*, call=guarded):\n  for images in batches: call(images)", 1),
        ("def all(spec, call=guarded, size=1):\n  for images in batches: call(images)", 1),
        ("def all(call, size=guarded):\n  for images in batches: call(images)", 0),
        ("def all():\n  run, parts = in_float64 if double else guarded, []\n  for images in batches: run(images)", 1),
        ("for name in names:\n  def later(): return guarded(spec, name)", 0),
    ],
)
def test_a_loop_runs_explainers_where_a_call_in_it_leads_to_one(source: str, loops: int) -> None:
    assert house.counts_of(source).loops == loops


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two rooms of bench, one of them a file, and a test."""
    for name, text in {
        "bench/api.py": "from bench.store.runs import open_run\n\n\n",
        "bench/store/runs.py": "def open_run(name):\n    return read_checkpoint(find_run(name))\n",
        "bench/store/cells.py": "one = 1\n",
        "models/net.py": "",
        "tests/test_runs.py": "one = 2\ntwo = 3\n",
        "examples/own.py": "one = 1\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


TABLE = [
    ["bench.api", "1", "3", "0", "0", "0", "1"],
    ["bench.store", "2", "1.5", "0", "1", "0", "3"],
    ["models", "1", "0", "0", "0", "0", "0"],
    ["**product**", "4", "1.5", "0", "1", "0", "4"],
    ["**tests**", "1", "2", "0", "0", "0", "2"],
]


def test_rooms_are_folders_and_single_files_and_the_product_is_all_of_them_but_tests(tree: Path) -> None:
    heads, _, *rows = house.figures(tree).splitlines()
    assert [each.strip("| ").split(" | ") for each in rows] == TABLE
    assert heads.strip("| ").split(" | ") == list(house.HEADS)


def test_a_commit_is_counted_as_it_was(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        person = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tree), *person, *words], check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (tree / "bench" / "api.py").write_text("one = 1\ntwo = 2\n", encoding="utf-8")
    monkeypatch.setattr(house, "ROOT", tree)
    before, after = house.figures_of_commit("HEAD"), house.figures(tree)
    assert "| bench.api | 1 | 3 | 0 | 0 | 0 | 1 |" in before
    assert "| bench.api | 1 | 2 | 0 | 0 | 0 | 2 |" in after
    with pytest.raises(SystemExit, match="no commit 'nothing'"):
        house.figures_of_commit("nothing")
