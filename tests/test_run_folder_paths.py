"""Every path of a run folder stands once, in bench.store: no other room puts one together or looks for one."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from bench.store import paths

ROOT = Path(__file__).parent.parent
HOME = Path("bench/store")
# Folders of data sets, recipes, models, foreign weights and workers are no run folders; parts of a page have own names.
ELSEWHERE = (
    HOME, Path("bench/data"), Path("bench/recipes"), Path("bench/registry/neighbours.py"), Path("bench/pages/write.py"),
    Path("bench/nets/foreign_files.py"), Path("bench/engines"),
)  # fmt: skip
FILES = {value for name, value in vars(paths).items() if name.isupper() and isinstance(value, str) and "." in value}
HOLDERS = ("folder", "run", "runs", "target")  # what a path is usually put together from
LOOKING = ("glob", "rglob", "iterdir")


def modules(room: str) -> list[Path]:
    """The modules of a room and of the rooms in it."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / room).rglob("*.py"))


def offences(source: str) -> Iterator[str]:
    """What of a module puts a path of a run folder together, looks into one, or spells a file's name."""
    tree = ast.parse(source)
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        line = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            left = ast.unparse(node.left).rpartition(".")[2]
            if left in HOLDERS or isinstance(node.right, ast.JoinedStr):
                yield f"{line}: {ast.unparse(node)}"
        elif isinstance(node, ast.Attribute) and node.attr in LOOKING:
            yield f"{line}: {ast.unparse(node)}"
        elif isinstance(node, ast.Constant) and node.value in FILES and id(node) not in told:
            yield f"{line}: {node.value!r}"


def offenders(paths: Iterable[Path]) -> dict[str, list[str]]:
    """What the modules do of that, by module."""
    found = {str(path): list(offences((ROOT / path).read_text(encoding="utf-8"))) for path in paths}
    return {path: lines for path, lines in found.items() if lines}


def test_no_room_but_the_store_builds_a_path_of_a_run_folder() -> None:
    others = [path for path in modules("bench") if not any(path.is_relative_to(room) for room in ELSEWHERE)]
    assert len(others) > 100 and offenders(others) == {}


def test_within_the_store_paths_are_built_in_one_module() -> None:
    free = ("paths.py", "runs.py")  # runs are found by name
    assert offenders(path for path in modules("bench/store") if path.name not in free) == {}


@pytest.mark.parametrize(
    "line",
    ['folder / "judge"', "place.runs / name", "run.folder / LOG", 'x / f"{one}.json"', "run.glob('*')", '"page.json"'],
)
def test_a_planted_path_is_found(line: str) -> None:
    assert list(offences(f"x = {line}"))
