"""The rules of the layout, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from run_factory import make_run
from safetensors.numpy import save_file

import bench
from bench.store.paths import checkpoint_path

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
VALUES = [
    path
    for path in OF_BENCH
    if path.stem in ("errors", "contracts", "from_python", "model_names") or path.parts[1] == "schema"
]


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


Rule = Callable[[ast.Module], Iterable[object]]


def offenders(rule: Rule, paths: Sequence[Path] = MODULES) -> list[str]:
    """Every breach of a rule: the file and what the rule says of it."""
    return [f"{path}: {breach}" for path in paths for breach in rule(TREES[path])]


def breaches(rule: Rule, code: str) -> list[object]:
    """What a rule says of planted code."""
    return sorted(rule(ast.parse(code)), key=str)


def holds(rule: Rule, code: str, found: list[object], paths: Sequence[Path] = MODULES) -> None:
    """No module breaks a rule, and planted code does."""
    assert (offenders(rule, paths), breaches(rule, code)) == ([], found)


def test_all_four_folders_are_looked_at() -> None:
    assert {path.parts[0] for path in MODULES} == set(FOLDERS)
    assert len(VALUES) > 2


# --- what is imported --------------------------------------------------------------------------------------


def outside_the_standard_library(tree: ast.Module) -> set[str]:
    """What a module of values imports beside the standard library and its like."""
    return {
        name
        for name in imported(module_level(tree.body))
        if name != "bench"
        and name.split(".")[0] not in sys.stdlib_module_names
        and not name.startswith(
            (
                "bench.contracts",
                "bench.errors",
                "bench.fields",
                "bench.registry.model_names",
                "bench.request",
                "bench.schema",
                ".",
            )
        )
    }


def test_values_and_errors_import_the_standard_library_only() -> None:
    code = "import numpy\nfrom bench import store\nimport json"
    holds(outside_the_standard_library, code, ["bench.store", "numpy"], VALUES)


HELP = ["--help", "--version", "train --help", "list explainers", "list models", "list recipes"]


def test_help_and_lists_import_no_backend() -> None:
    run(
        "import sys\n"
        "from bench.cli import main\n"
        f"for words in {HELP!r}:\n"
        "    sys.argv = ['bench', *words.split()]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, (words, end.code)\n"
        f"    found = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "    assert not found, (words, found)"
    )


COMPLETED = [
    "explain --layer layer",
    "explain --explainer captum,gra",
    "train --recipe de",
    "train --model ti",
    "show la",
]


def test_completion_of_names_imports_no_backend(tmp_path: Path) -> None:
    weights = {"layer9.bn.weight": np.zeros(2, np.float32), "head.weight": np.zeros((2, 2), np.float32)}
    make_run(tmp_path, "ours", labels=[0], predicted=[0])
    save_file(weights, checkpoint_path(tmp_path / "ours"))
    (tmp_path / "latest").write_text("ours", encoding="utf-8")
    run(
        "import io, os, sys\n"
        "from contextlib import redirect_stdout\n"
        "from bench.cli import main\n"
        f"os.environ.update(_BENCH_COMPLETE='complete_bash', BENCH_RUNS_DIR={str(tmp_path)!r})\n"
        "offered = []\n"
        f"for words in {COMPLETED!r}:\n"
        "    sys.argv = ['bench']\n"
        "    os.environ.update(COMP_WORDS='bench ' + words, COMP_CWORD=str(len(words.split())))\n"
        "    try:\n        with redirect_stdout(io.StringIO()) as out: main()\n"
        "    except SystemExit as end:\n        assert not end.code, (words, end.code)\n"
        "    offered.append(out.getvalue().split())\n"
        f"    found = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "    assert not found, (words, found)\n"
        "assert offered[0] == ['layer9', 'layer9.bn'], offered[0]\n"
        "assert offered[1][:2] == ['captum,gradcam', 'captum,gradcam_shipped'], offered[1]\n"
        "assert offered[2:4] == [['demo'], ['timm_resnet18']], offered[2:4]"
    )


def test_importing_bench_imports_no_backend() -> None:
    run(f"import sys, bench\nsys.exit(', '.join(set({HEAVY!r}) & set(sys.modules)) or 0)")


def test_the_public_functions_are_the_ones_of_the_package() -> None:
    assert [name for name in ("train", "explain", "compare") if not callable(getattr(bench, name))] == []


def barred(tree: ast.Module) -> set[str]:
    """What a module imports of the three folders by name."""
    folders = ("models", "explainers", "reports")
    rooms = (*folders, *(f"bench.{folder}" for folder in folders))
    return {name for name in imported(ast.walk(tree)) if any(f"{name}.".startswith(f"{room}.") for room in rooms)}


def test_the_three_folders_are_reached_through_the_registry_only() -> None:
    assert offenders(barred) == []
    for code in ("import models", "import bench.models.x", "from bench import reports", "from explainers.x import y"):
        assert breaches(barred, f"def late():\n    {code}\n"), code
    assert not breaches(
        barred, "from bench.registry.registry import discover\nfrom .words import count\nimport modelsx"
    )


def test_what_stands_under_type_checking_is_not_run() -> None:
    code = "if TYPE_CHECKING:\n    import torch\nelse:\n    import a\ntry:\n    import b\nexcept E:\n    pass\n"
    assert imported(module_level(ast.parse(code).body)) == {"a", "b"}


def opencv(tree: ast.Module) -> set[str]:
    return imported(ast.walk(tree)) & {"cv2"}


def test_no_module_imports_cv2() -> None:
    holds(opencv, "def late():\n    import cv2", ["cv2"])


# --- how modules are written -------------------------------------------------------------------------------


def prints(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write"):
            yield node.lineno


def test_only_the_console_prints() -> None:
    elsewhere = [path for path in MODULES if path != Path("bench/cli/console.py")]
    holds(prints, "print(1)\nsys.stdout.write('')\nx.print(1)\nsys.stderr.write('')", [1, 2, 4], elsewhere)


def rebinding(tree: ast.Module) -> list[int]:
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)]


def test_no_function_rebinds_a_name_of_its_module() -> None:
    holds(rebinding, "x = 1\ndef f():\n    global x\n    x = 2", [3])


def of_every_gpu(tree: ast.Module) -> Iterator[int]:
    """Lines that touch the generators of GPUs that they do not name: each is read, and torch warns of them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            unnamed = name.endswith("fork_rng") and not node.args and not node.keywords
            if unnamed or name in ("torch.manual_seed", "torch.cuda.manual_seed_all"):
                yield node.lineno


def test_generators_are_forked_and_seeded_of_named_devices_alone() -> None:
    code = "with torch.random.fork_rng():\n    torch.manual_seed(0)\nwith fork_rng([a]), fork_rng(devices=[]):\n    b"
    holds(of_every_gpu, code, [1, 2])


def empty_containers(tree: ast.Module) -> Iterator[int]:
    for node in module_level(tree.body):
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if value is not None and ast.unparse(value) in ("[]", "{}", "set()", "dict()", "list()"):
            yield node.lineno


def test_no_module_holds_an_empty_container_to_be_filled_later() -> None:
    holds(empty_containers, "a = 1\nb: list[int] = []\nif a:\n    c = dict()\ndef f():\n    d = {}", [2, 4])


def test_every_module_begins_with_what_it_is_for() -> None:
    assert [path for path in MODULES if not ast.get_docstring(TREES[path])] == []


def environment_reads(tree: ast.Module) -> set[str]:
    reads = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return reads & {"os.environ", "os.getenv", "os.getcwd", "Path.cwd", "sys.argv"}


def test_only_the_command_line_knows_the_environment() -> None:
    # torchrun tells its processes in no other way how many there are, also those that call bench from Python.
    # No command line of ours tells a worker of a cluster where its cache is.
    told_otherwise = (Path("bench/training/team.py"), Path("bench/engines/worker.py"))
    others = [path for path in OF_BENCH if path.parts[1] != "cli" and path not in told_otherwise]
    assert offenders(environment_reads, others) == []
    assert breaches(environment_reads, "def f(x=os.environ['A']):\n    return Path.cwd()")
