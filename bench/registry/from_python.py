"""What was given from Python (a class, a function, a net, a spec), by a name by which this process finds it again.

And a plain function, from Python or from a file, in the place of an ExplainerSpec, so that an explainer can be tried
before it is packaged.
"""

import hashlib
import inspect
import re
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.contracts import ExplainerSpec, ModelSpec
from bench.errors import MissingError, UsageError
from bench.registry.model_names import slug

PYTHON = "python:"  # before the module and the name
MAIN, KEPT = "__main__", "bench_given"  # the second is a module of those objects that no other defines
PARAMETERS = "model, layers, images, targets"


def name_of(value: Any) -> str:  # noqa: ANN401 (whatever a user wrote)
    """`python:MODULE:NAME` of what is defined at the top level of a module.

    Anything else (a net that is built already, a lambda, a class within a function) is kept under the name of its
    variable or its own: a notebook's variables are set anew all the time, and a run must find what it was trained with.
    """
    module = getattr(_made_by(value), "__module__", None)
    for name, each in _names_in(module).items():
        if each is value and (module != MAIN or getattr(value, "__name__", "") == name):
            return f"{PYTHON}{module}:{name}"
    kept = vars(sys.modules.setdefault(KEPT, ModuleType(KEPT)))
    known = next((name for name, each in kept.items() if each is value), "")
    if not known:
        variable = next((name for name, each in _names_in(MAIN).items() if each is value), "")
        stem = variable or re.sub(r"\W", "", getattr(value, "__name__", type(value).__name__)) or "object"
        known = next(name for number in count(1) if (name := f"{stem}_{number}" if number > 1 else stem) not in kept)
        kept[known] = value
    return f"{PYTHON}{KEPT}:{known}"


def is_from_python(name: object) -> bool:
    """Whether a name is one of `name_of`."""
    return isinstance(name, str) and name.startswith(PYTHON)


def found_in_python(name: str) -> Any:  # noqa: ANN401
    """What a name of `name_of` means; UsageError where this process has no such thing. Nothing is imported for it."""
    module, _, attribute = name.partition("@")[0].removeprefix(PYTHON).partition(":")
    there = {**_names_in(MAIN), **_names_in(KEPT)} if module == KEPT else _names_in(module)
    if attribute not in there:
        what = f"'{attribute}'" + (f" of module {module}" if module != KEPT else "")
        raise UsageError(
            f"{what} was given from Python, but this process does not have it",
            try_=f"the same in the Python process that defines it; every process finds path/to/file.py:{attribute}",
        )
    return there[attribute]


def is_built(name: str) -> bool:
    """Whether a name means a net that Python gave ready built, with weights of its own."""
    return is_from_python(name) and _is_net(found_in_python(name))


def _is_net(value: object) -> bool:
    return hasattr(value, "state_dict") and not isinstance(value, type)


def _names_in(module: str | None) -> Mapping[str, Any]:
    return vars(sys.modules[module]) if module in sys.modules else {}


def source_hash(name: str) -> str:
    """sha256 of the source of what a name means; empty where there is none, as of what was typed at a prompt."""
    try:
        source = inspect.getsource(_made_by(found_in_python(name)))
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(source.encode()).hexdigest()


def _made_by(value: Any) -> Any:  # noqa: ANN401
    """Of a spec the function in it, of a net its class."""
    if isinstance(value, ModelSpec):
        return value.build
    if _is_net(value):
        return type(value)
    return value.explain if isinstance(value, ExplainerSpec) else value


# --- a plain function as an explainer ---------------------------------------------------------------------------------


def spec_of_function(name: str, value: object) -> object:
    """The function in `path/to/file.py:attribute` as a spec that claims nothing; any other value as it is.

    Its name is the function's, its source the file, its revision comes from the file's bytes: maps of changed code
    are not mixed with old ones. What the file imports has no say in that.

    Raises:
        MissingError: a function that does not take (model, layers, images, targets).
    """
    if not inspect.isroutine(value) and not (callable(value) and hasattr(value, "func")):  # a partial has .func
        return value
    if not takes_four(value):
        raise MissingError(
            f"explainer '{name}' takes {inspect.signature(value)}, not ({PARAMETERS})",
            try_="docs/add-an-explainer.md shows a complete one",
        )
    where, _, attribute = name.rpartition(":")
    return ExplainerSpec(
        name=slug(attribute),
        explain=value,
        source=where,
        backend="torch",
        revision=_revision_in_python(name) if is_from_python(name) else revision_of(Path(where)),
    )


def _revision_in_python(name: str) -> int:
    """The same of the source of a function that was given from Python."""
    found = source_hash(name)
    if not found:
        raise MissingError(
            f"the source of '{name}' cannot be found, so maps of changed code could not be recognised",
            try_="put it into a file: path/to/file.py:NAME",
        )
    return int(found[:12], 16)


def takes_four(function: object) -> bool:
    """Whether a function can be called with exactly four values."""
    try:
        inspect.signature(function).bind(*PARAMETERS.split(", "))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def revision_of(path: Path) -> int:
    """A number that other content does not have: 48 bits, which JSON keeps exactly."""
    return int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:6], "big")
