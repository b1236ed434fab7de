"""The house in figures: how large its rooms are, and how often it does the same thing twice.

    python benchmarks/house.py
    python benchmarks/house.py --commit ac63fb9

The first line counts the checkout that this file lies in, the second one a commit of it, before some change. Files are
read and never run, so any commit can be counted:

- a room is a folder of `bench`, or a file that lies in it alone; `models`, `explainers` and `reports` are rooms, too.
  Together they are the product. `tests` and `benchmarks` are counted beside it.
- a module is a Python file, and its lines are all of its lines.
- parameters are all that a function declares, `*` and `**` included, but the `self` or `cls` of a method.
- a place that opens a run is a function that finds its folder or chooses its device (FINDERS), and loads its weights
  (OPENERS). Who is given an opened run, or asks one function for it, opens none.
- a loop that runs explainers is a `for`, a `while` or a comprehension, the outermost one of its function, in which one
  of RUNNERS or the `explain` of a spec is called: straight, by a variable or a parameter that stands for it, or by a
  function of the same module (a method of the same object) that calls it outside of any loop.
- statements are those of Python's grammar, one for each `def`, `if` or `return`, without docstrings. Comments, blank
  lines and how a line is broken change nothing.
"""

import ast
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tables import parser_of, table

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("bench", "models", "explainers", "reports")
BESIDE = ("tests", "benchmarks")
MANY = 8  # parameters
FINDERS, OPENERS = {"find_run", "choose_device"}, {"open_run", "read_checkpoint"}
RUNNERS = ("guarded",)
HEADS = ("room", "modules", "median lines a module", f"functions over {MANY} parameters", "places that open a run",
         "loops that run explainers", "statements")  # fmt: skip
LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Kinds = tuple[type[ast.AST], ...]


@dataclass(frozen=True)
class Counts:
    """What a module holds."""

    lines: int
    statements: int
    wide: int
    opens: int
    loops: int


def counts_of(source: str) -> Counts:
    """Count one module."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    documented = [node for node in nodes if isinstance(node, ast.Module | ast.ClassDef | Function)]
    return Counts(
        lines=len(source.splitlines()),
        statements=sum(isinstance(node, ast.stmt) for node in nodes)
        - sum(ast.get_docstring(node, clean=False) is not None for node in documented),
        wide=sum(isinstance(node, Function) and parameters_of(node) > MANY for node in nodes),
        opens=sum(isinstance(node, Function) and opens_run(node) for node in nodes),
        loops=explaining_loops(tree),
    )


def parameters_of(function: Function) -> int:
    """How many parameters a function declares."""
    given = function.args
    names = [each.arg for each in [*given.posonlyargs, *given.args, *given.kwonlyargs]]
    return len(names) - (names[:1] in (["self"], ["cls"])) + (given.vararg is not None) + (given.kwarg is not None)


def opens_run(function: Function) -> bool:
    """Whether a function does all that it takes to open a run."""
    calls = {called(call) for call in own(function, (ast.Call,)) if isinstance(call, ast.Call)}
    return bool(calls & FINDERS) and bool(calls & OPENERS)


def called(call: ast.Call) -> str:
    """The last part of the name that is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def explaining_loops(tree: ast.Module) -> int:
    """Outermost loops in which explainers are run, straight or by what runs one outside of any loop."""
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    names = {*RUNNERS, *variables_of_runners(tree)}
    while found := {one.name for one in functions if any(runs(call, names) for call in made_once(one))} - names:
        names |= found
    loops = (loop for body in (tree, *functions) for loop in own(body, LOOPS, until=LOOPS))
    return sum(any(runs(call, names) for call in own(loop, (ast.Call,))) for loop in loops)


def variables_of_runners(tree: ast.Module) -> set[str]:
    """What stands for a runner: `run = in_float64 if double else guarded`, and a parameter `call=guarded`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and names_in(node.value) & {*RUNNERS}:
            found |= {name for target in node.targets for name in names_in(target)}
        if isinstance(node, ast.arguments):
            positional = zip(reversed(node.args), reversed(node.defaults), strict=False)
            pairs = [*positional, *zip(node.kwonlyargs, node.kw_defaults, strict=True)]
            found |= {each.arg for each, default in pairs if default and names_in(default) & {*RUNNERS}}
    return found


def names_in(node: ast.AST) -> set[str]:
    """The bare names of an expression."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def runs(call: ast.AST, names: Collection[str]) -> bool:
    """Whether a call runs an explainer: the `explain` of a spec, or one of these functions or own methods."""
    if not isinstance(call, ast.Call):
        return False
    if not isinstance(call.func, ast.Attribute):
        return called(call) in names
    owner = ast.unparse(call.func.value)
    return (call.func.attr == "explain" and "spec" in owner) or (call.func.attr in names and owner == "self")


def made_once(function: Function) -> Iterator[ast.AST]:
    """The calls of a function that stand outside of its loops."""
    return own(function, (ast.Call,), until=LOOPS)


def own(node: ast.AST, kinds: Kinds, until: Kinds = ()) -> Iterator[ast.AST]:
    """Nodes of some kinds below a node: neither in functions inside of it nor below the kinds of `until`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, kinds):
            yield child
        if not isinstance(child, (*until, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from own(child, kinds, until)


def rooms_of(root: Path) -> dict[str, list[Counts]]:
    """The modules of every room of a checkout, those beside the product last."""
    found: dict[str, list[Counts]] = {}
    for folder in (*PRODUCT, *BESIDE):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            room = ".".join(parts[:2]) if folder == "bench" else folder
            found.setdefault(room, []).append(counts_of(path.read_text(encoding="utf-8")))
    return found


def row(name: str, modules: list[Counts]) -> list[str]:
    """One line of the table."""
    figures = [sum(getattr(one, key) for one in modules) for key in ("wide", "opens", "loops", "statements")]
    return [name, str(len(modules)), f"{median(one.lines for one in modules):g}", *(f"{each:,}" for each in figures)]


def figures(root: Path) -> str:
    """The table of a checkout."""
    rooms = rooms_of(root)
    product = [one for name, modules in rooms.items() if name not in BESIDE for one in modules]
    beside = {name: rooms.pop(name) for name in BESIDE if name in rooms}
    every = {**rooms, "**product**": product, **{f"**{name}**": modules for name, modules in beside.items()}}
    return table(HEADS, [row(name, modules) for name, modules in every.items()], {"room"})


def figures_of_commit(commit: str) -> str:
    """The table of a commit, unpacked into a folder that is gone afterwards."""
    done = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"no commit '{commit}': {done.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
        return figures(Path(folder))


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--commit", help="count this commit instead of the files as they lie here")
    commit = parser.parse_args().commit
    print(figures_of_commit(commit) if commit else figures(ROOT))


if __name__ == "__main__":
    main()
