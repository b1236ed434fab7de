"""The home folder as `~`: what is written may be passed on, and then tells nothing of who made it."""

import os
import re
from pathlib import Path


def at(path: Path | str) -> Path:
    """Where a path leads that may begin with `~`; one of nobody's home stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (that of Path raises for a user that is not there)


def homeless(text: str) -> str:
    """A text, of whatever kind, in which every path into the home folder begins with `~`."""
    home = os.path.expanduser("~").rstrip("/")  # noqa: PTH111
    if len(home) < 2 or home not in text:
        return text
    return re.sub(rf"(?:(?<![\w.~+/-])|(?<=file://)){re.escape(home)}(?![\w.-])", "~", text)
