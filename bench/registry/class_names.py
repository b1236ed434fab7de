"""The classes that a package names, read from its `__init__.py` without running it: that would take seconds."""

import ast
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path


def class_names(package: str) -> tuple[str, ...]:
    """What `package/__init__.py` imports under a name with a capital; nothing where that cannot be read."""
    with suppress(ImportError, OSError, ValueError, SyntaxError):
        first, *rest = package.split(".")
        spec = find_spec(first)
        places = list(spec.submodule_search_locations or ()) if spec else []
        for source in (Path(place, *rest, "__init__.py") for place in places):
            nodes = ast.walk(ast.parse(source.read_text("utf-8")))
            imports = (each for node in nodes if isinstance(node, ast.ImportFrom) for each in node.names)
            found = (each.asname or each.name for each in imports)
            return tuple(name for name in found if name[:1].isupper())
    return ()
