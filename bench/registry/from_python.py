"""A class, a function or a spec that was given from Python, under a name by which this process finds it again.

And a plain function, from Python or from a file, in the place of an ExplainerSpec, so that an explainer can be tried
before it is packaged.
"""

import hashlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.contracts import ExplainerSpec, ModelSpec
from bench.errors import MissingError, UsageError
from bench.registry.model_names import slug

PYTHON = "python:"  # before the module and the name
PARAMETERS = "model, layers, images, targets"


def name_of(value: Any) -> str:  # noqa: ANN401 (whatever a user wrote)
    """`python:MODULE:NAME` of what stands at the top level of a module.

    Raises:
        UsageError: it stands elsewhere, so nothing could find it again.
    """
    for module in (getattr(_made_by(value), "__module__", None), "__main__"):  # a spec's function may be a library's
        name = next((name for name, each in _names_in(module).items() if each is value), "")
        if name:
            return f"{PYTHON}{module}:{name}"
    raise UsageError(
        f"{getattr(value, '__name__', type(value).__name__)!r:.80} has no name at the top level of a module",
        try_="give it one there, or pass path/to/file.py:NAME",
    )


def is_from_python(name: object) -> bool:
    """Whether a name is one of `name_of`."""
    return isinstance(name, str) and name.startswith(PYTHON)


def found_in_python(name: str) -> Any:  # noqa: ANN401
    """What a name of `name_of` means; UsageError where this process has no such thing. Nothing is imported for it."""
    module, _, attribute = name.partition("@")[0].removeprefix(PYTHON).partition(":")
    there = _names_in(module)
    if attribute not in there:
        raise UsageError(
            f"'{attribute}' of module {module} was given from Python, and this process does not have it",
            try_=f"the same from the Python that defines it; what every process finds is path/to/file.py:{attribute}",
        )
    return there[attribute]


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
    """Of a spec the function in it."""
    if isinstance(value, ModelSpec):
        return value.build
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
            try_="docs/add-an-explainer.md shows one whole",
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
            f"the source of '{name}' cannot be found, so its maps could not be told from those of changed code",
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
