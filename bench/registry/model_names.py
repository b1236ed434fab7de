"""What a model's name says beside the model: the size of its pictures and the stem it is given."""

import ast
import re
from dataclasses import dataclass
from typing import Any

from bench.errors import UsageError

STEMS = ("cifar",)
SMALLEST, LARGEST = 4, 1024  # pixels an edge


@dataclass(frozen=True)
class ModelName:
    """A name such as `timm:resnet34@cifar@64`, taken apart.

    Attributes:
        base: the model itself: a registered name, `path/to/file.py:attribute`, `timm:NAME` or `torchvision:NAME`.
        size: pixels an edge of what the model is given; None for the model's own.
        stem: `cifar` for a 3x3 stride-1 stem without max-pool; empty for the model's own.
    """

    base: str
    size: int | None = None
    stem: str = ""

    @property
    def whole(self) -> str:
        """The name again: what a run stores, so that it builds the same model from it alone."""
        return "@".join([self.base, *filter(None, [self.stem]), *([str(self.size)] if self.size else [])])


def parse_model(name: str) -> ModelName:
    """A model's name in its parts.

    Raises:
        UsageError: a part behind an `@` is neither a size nor a stem.
    """
    whole = name.rfind(")") + 1 or name.rfind(":") + 1  # an @ in a folder's name or an argument is none of ours
    first, *parts = name[whole:].split("@")
    base = name[:whole] + first
    size, stem = None, ""
    for part in parts:
        if re.fullmatch(r"[0-9]{1,5}", part) and size is None:
            size = checked_size(int(part))
        elif part in STEMS and not stem:
            stem = part
        else:
            raise UsageError(
                f"'@{part}' in the model's name '{name}' is neither a size nor a stem",
                try_=f"{base}@{STEMS[0]}@64, or --stem {STEMS[0]} --image-size 64",
            )
    return ModelName(base, size, stem)


def is_file_name(name: str) -> bool:
    """Whether a name means `path/to/file.py:attribute`."""
    return ".py:" in name


def name_parts(name: str) -> tuple[str, str, str]:
    """`path/to/file.py`, `NAME` and `(width=10)` of `path/to/file.py:NAME(width=10)`; any of them may be empty."""
    if not is_file_name(name):
        where, _, attribute = name.rpartition(":")
        return where, attribute, ""
    path, _, rest = name.partition(".py:")
    attribute, bracket, arguments = rest.partition("(")
    return f"{path}.py", attribute, bracket + arguments


def slug(attribute: str) -> str:
    """A name that a registry would take, for what is called so in a file."""
    return re.sub(r"[^a-z0-9_+]", "_", attribute.lower()).lstrip("_0123456789+") or "unnamed"


def arguments_in(call: str) -> dict[str, Any]:
    """The plain values in `(width=10, act="relu")` by their names; empty for no call.

    Raises:
        UsageError: anything but names with plain values.
    """
    try:
        found = ast.parse(f"f{call or '()'}", mode="eval").body
        if not isinstance(found, ast.Call) or found.args:
            raise ValueError
        return {str(each.arg): ast.literal_eval(each.value) for each in found.keywords}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise UsageError(
            f"'{call:.60}' holds no arguments with plain values", try_="FILE.py:NAME(width=10), in quotes"
        ) from None


def with_options(name: str, *, size: int | None, stem: str | None) -> str:
    """A name with what `--image-size` and `--stem` ask for; what the name itself says must not differ.

    Raises:
        UsageError: the name says another size or stem, or there is no such stem.
    """
    known = parse_model(name)
    if stem and stem not in STEMS:
        raise UsageError(f"there is no stem '{stem}'", try_=f"--stem {STEMS[0]}, or none for the model's own")
    if size is not None:
        checked_size(size)
    if known.size not in (None, size or known.size) or (known.stem and stem and known.stem != stem):
        raise UsageError(f"--image-size {size} beside the model '{name}', which says another", try_=known.base)
    return ModelName(known.base, size or known.size, stem or known.stem).whole


def checked_size(size: int) -> int:
    """An edge that pictures can have; UsageError for others."""
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"pictures of {size}x{size} pixels", try_=f"--image-size from {SMALLEST} to {LARGEST}")
    return size
