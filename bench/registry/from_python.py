"""A class, a function or a spec that was given from Python, under a name by which this process finds it again."""

import hashlib
import inspect
import sys
from collections.abc import Mapping
from typing import Any

from bench.contracts import ExplainerSpec, ModelSpec
from bench.errors import UsageError

PYTHON = "python:"  # before the module and the name


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
