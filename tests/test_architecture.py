"""The rules of the layout, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("bench", "models", "explainers", "reports")
MODULES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TREES = {path: ast.parse((ROOT / path).read_text(encoding="utf-8")) for path in MODULES}
OF_BENCH = [path for path in MODULES if path.parts[0] == "bench"]
HEAVY = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "timm",
    "captum",
    "pytorch_grad_cam",
    "matplotlib",
    "sklearn",
    "cv2",
)
VALUES = [path for path in OF_BENCH if path.stem in ("errors", "contracts") or path.parts[1] == "values"]


def module_level(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs when a module is imported; what stands under `if TYPE_CHECKING:` does not."""
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from module_level(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from module_level([each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt)])
        else:
            yield node


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Dotted names that the statements import; `from a import b` gives both a and a.b."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def run(code: str) -> None:
    """Run code in an interpreter of its own, which exits with words where it is wrong."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]


def test_all_four_folders_are_looked_at() -> None:
    assert {path.parts[0] for path in MODULES} == set(FOLDERS)
    assert len(VALUES) >= 2


# --- what is imported --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", VALUES, ids=str)
def test_values_and_errors_import_the_standard_library_only(path: Path) -> None:
    outside = {
        name
        for name in imported(module_level(TREES[path].body))
        if name.split(".")[0] not in sys.stdlib_module_names
        and not name.startswith(("bench.contracts", "bench.errors", "bench.schema", "."))
    }
    assert not outside - {"bench"}


HELP = [["--help"], ["--version"], ["train", "--help"], ["list", "explainers"], ["list", "models"], ["list", "recipes"]]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_and_lists_import_no_backend(arguments: list[str]) -> None:
    run(
        "import sys\n"
        f"sys.argv = ['bench', *{arguments!r}]\n"
        "from bench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"sys.exit(', '.join(set({HEAVY!r}) & set(sys.modules)) or 0)"
    )


def test_importing_bench_imports_no_backend() -> None:
    run(f"import sys, bench\nsys.exit(', '.join(set({HEAVY!r}) & set(sys.modules)) or 0)")


def test_the_public_functions_are_the_ones_of_the_package() -> None:
    run("import bench\nassert all(callable(getattr(bench, name)) for name in ('train', 'explain', 'compare'))")


def barred(tree: ast.Module) -> set[str]:
    """What a module imports of the three folders by name."""
    folders = ("models", "explainers", "reports")
    rooms = (*folders, *(f"bench.{folder}" for folder in folders))
    return {name for name in imported(ast.walk(tree)) if any(f"{name}.".startswith(f"{room}.") for room in rooms)}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_the_three_folders_are_reached_through_the_registry_only(path: Path) -> None:
    assert not barred(TREES[path])


PLANTED = [
    "import models",
    "import bench.models.timm_resnet18",
    "from bench import reports",
    "from explainers.x import y",
]


@pytest.mark.parametrize("code", PLANTED)
def test_an_import_of_a_folder_by_name_would_be_seen(code: str) -> None:
    assert barred(ast.parse(f"def late():\n    {code}\n"))
    assert not barred(
        ast.parse("from bench.registry.registry import discover\nfrom .words import count\nimport modelsx\n")
    )


def test_what_stands_under_type_checking_is_not_run() -> None:
    code = "if TYPE_CHECKING:\n    import torch\nelse:\n    import a\ntry:\n    import b\nexcept E:\n    pass\n"
    assert imported(module_level(ast.parse(code).body)) == {"a", "b"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_imports_cv2(path: Path) -> None:
    assert "cv2" not in imported(ast.walk(TREES[path]))


# --- how modules are written -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in MODULES if path != Path("bench/cli/console.py")], ids=str)
def test_only_the_console_prints(path: Path) -> None:
    calls = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.Call)]
    prints = [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
    writes = [node.lineno for node in calls if ast.unparse(node.func) in ("sys.stdout.write", "sys.stderr.write")]
    assert not prints + writes


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_function_rebinds_a_name_of_its_module(path: Path) -> None:
    assert not [node.lineno for node in ast.walk(TREES[path]) if isinstance(node, ast.Global)]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_holds_an_empty_container_to_be_filled_later(path: Path) -> None:
    values = [node.value for node in module_level(TREES[path].body) if isinstance(node, ast.Assign | ast.AnnAssign)]
    empty = [
        node.lineno
        for node in values
        if node is not None and ast.unparse(node) in ("[]", "{}", "set()", "dict()", "list()")
    ]
    assert not empty


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_every_module_begins_with_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(TREES[path])


@pytest.mark.parametrize("path", [path for path in OF_BENCH if path.parts[1] != "cli"], ids=str)
def test_only_the_command_line_knows_the_environment(path: Path) -> None:
    reads = [ast.unparse(node) for node in ast.walk(TREES[path]) if isinstance(node, ast.Attribute)]
    assert not {"os.environ", "os.getenv", "os.getcwd", "Path.cwd", "sys.argv"} & set(reads)
