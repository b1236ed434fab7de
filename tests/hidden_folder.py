"""Makes files below the folder that HIDDEN names unreadable to this process, as on a machine that has not got them.

`dask worker --preload` runs it. VERSION_OF_TORCH is the version of torch that this process says it has.
"""

import os
import sys
from importlib import metadata
from typing import Any

HIDDEN, OTHER = os.environ.get("HIDDEN", ""), os.environ.get("VERSION_OF_TORCH", "")


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook."""
    if event == "open" and HIDDEN and str(arguments[0]).startswith(HIDDEN):
        raise PermissionError(13, "another machine's file", arguments[0])


def say_another_version() -> None:
    """Let the metadata of torch name another version."""
    version = metadata.version
    vars(metadata)["version"] = lambda name: OTHER if name == "torch" else version(name)


sys.addaudithook(refuse)
if OTHER:
    say_another_version()
