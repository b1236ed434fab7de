"""A Python file run as `python FILE.py` or its package would run it: with the files beside it."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from bench.errors import MissingError


def run_file(path: Path) -> ModuleType:
    """The module of a file. It may import its neighbours by their names, relatively, or by its package's name.

    Raises:
        MissingError: it is no Python file. Whatever the file itself raises is passed on.
    """
    path = path.resolve()
    above = path.parent
    while (above / "__init__.py").is_file():
        above = above.parent
    root = above if above != path.parent else path.parent.parent  # where the package's own name is found
    with neighbours(path.parent, root):
        try:
            return _run(path, f"bench_file_{path.stem}")
        except ImportError as reason:
            if "relative import" not in str(reason):
                raise
        parts = path.parent.relative_to(root).parts
        return importlib.import_module(".".join([*parts, *([path.stem] if path.stem != "__init__" else [])]))


def _run(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MissingError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look the module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def neighbours(*folders: Path) -> Iterator[None]:
    """Imports look into these folders first; modules of other folders that bear a neighbour's name step aside.

    Afterwards the folders stay the last ones, so that a function may import when it is called.
    """
    names = {each.stem for folder in folders for each in folder.iterdir() if each.suffix == ".py" or each.is_dir()}
    aside = {name: module for name, module in sys.modules.items()
             if name.partition(".")[0] in names and _is_anothers(name, folders)}  # fmt: skip
    for name in aside:
        del sys.modules[name]
    first, before = [str(each) for each in folders], list(sys.path)
    sys.path[:0] = first
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = [*before, *(each for each in first if each not in before)]
        sys.modules.update(aside)


def _is_anothers(name: str, folders: tuple[Path, ...]) -> bool:
    """Whether a module that is loaded comes from a file of somebody's elsewhere; what is installed stays."""
    top = sys.modules.get(name.partition(".")[0])
    places = [getattr(top, "__file__", None) or "", *map(str, getattr(top, "__path__", ()))]
    place = Path(next(filter(None, places), "/"))
    installed = name.partition(".")[0] in sys.stdlib_module_names or "site-packages" in place.parts
    return not installed and not any(place.resolve().is_relative_to(folder) for folder in folders) and name != "bench"
