"""A Python file run as `python FILE.py` or its package would run it: with the files beside it."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
    packaged = above != path.parent
    root = above if packaged else above.parent  # where the folder's own name is found
    with neighbours([path.parent, root] if packaged else [path.parent], root):
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
def neighbours(folders: Sequence[Path], root: Path) -> Iterator[None]:
    """Imports look into these folders first; modules of other folders that bear a neighbour's name step aside.

    Afterwards the folders stay the last ones, so that a function may import when it is called.

    Args:
        root: where the name of the first folder is found; looked into last, and only now.
    """
    names = {folders[0].name}
    for folder in folders:
        with suppress(OSError):  # a folder may be one that nobody may list
            names |= {each.stem for each in folder.iterdir() if each.suffix == ".py" or each.is_dir()}
    aside = {name: module for name, module in sys.modules.items()
             if name.partition(".")[0] in names and _is_anothers(name, root)}  # fmt: skip
    for name in aside:
        del sys.modules[name]
    before, own = list(sys.path), list(map(str, folders))
    sys.path[:] = [*own, *before, str(root)]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = [*before, *(each for each in own if each not in before)]
        sys.modules.update(aside)


def _is_anothers(name: str, root: Path) -> bool:
    """Whether a module that is loaded comes from somebody's files elsewhere; bench, and what is installed, stays."""
    first = name.partition(".")[0]
    top = sys.modules.get(first)
    places = [getattr(top, "__file__", None) or "", *map(str, getattr(top, "__path__", ()))]
    place = Path(next(filter(None, places), "/"))
    stays = first == "bench" or first in sys.stdlib_module_names or "site-packages" in place.parts
    return not stays and not place.resolve().is_relative_to(root)
