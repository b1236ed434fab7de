"""A plain function in the place of an ExplainerSpec, so that an explainer can be tried before it is packaged."""

import hashlib
import inspect
import re
from pathlib import Path

from bench.contracts import ExplainerSpec
from bench.errors import MissingError
from bench.registry.from_python import is_from_python, source_hash

PARAMETERS = "model, layers, images, targets"


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
        name=re.sub(r"[^a-z0-9_+]", "_", attribute.lower()).lstrip("_0123456789+") or "unnamed",
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
