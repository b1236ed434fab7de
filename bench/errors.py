"""Expected failures: each says what is wrong with which value, and what to type instead."""

import errno
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar

LONGEST = 2000  # characters of a message: what somebody else wrote into a file may be endless


class BenchError(Exception):
    """An expected failure, shown to the user as two lines and never as a traceback.

    Args:
        message: what is wrong, with the offending value.
        try_: a command that works, with words behind a `#` at most, or what to change; else the kind's own.
    """

    exit_code = 1
    hint: ClassVar[str] = "bench --help"

    def __init__(self, message: str, *, try_: str = "") -> None:
        self.message = cut(message)
        self.try_ = try_ or self.hint
        super().__init__(self.message)


class RunError(BenchError):
    """A step failed while it ran."""

    hint = "bench doctor"


CURES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or ask for a larger quota",
    errno.EFBIG: "ulimit -f unlimited",
    errno.EISDIR: "move the folder of that name away",
    errno.ENOTDIR: "move the file away that is in the place of a folder",
    errno.EEXIST: "move the file away that is in the place of a folder",
}


class WriteError(RunError):
    """A file or folder that cannot be written.

    Args:
        path: which one.
        reason: what the system said.
        kept: what is not lost, in words.

    Attributes:
        path, reason: as given.
        cure: what makes the same call work; empty where only another place helps.
        again: the command that goes on; empty for the one that failed.
    """

    def __init__(self, path: Path | str, reason: OSError, *, kept: str = "", again: str = "") -> None:
        self.path, self.reason, self.again = Path(path), reason, again
        self.cure = CURES.get(reason.errno or 0, "")
        words = f"{path} cannot be written: {reason.strerror or reason}" + (f"; {kept}" if kept else "")
        place = "another folder, in which files can be written"
        super().__init__(words, try_=f"{self.cure}, then {again or 'the same again'}" if self.cure else place)


class GuardRailError(RunError):
    """Training was stopped because its numbers cannot be right; the message names the rule."""

    hint = "bench show data --help  # do images, labels and model belong together?"


class RoomError(RunError):
    """There is less memory than the smallest part of some work needs.

    Args:
        what: the work.
        with_: on how much memory ran out, in words.
    """

    hint = "--device cpu, or the same once other programs have left the device's memory"

    def __init__(self, what: str, with_: str = "one image", *, try_: str = "") -> None:
        super().__init__(f"{what}: memory ran out with {with_}", try_=try_)


class UsageError(BenchError):
    """A name or an option that cannot be meant."""

    exit_code = 2


class ThresholdError(BenchError):
    """A threshold that the user asked for broke."""

    exit_code = 3
    hint = "the same command without the threshold, to see all results"


class MissingError(BenchError):
    """Data, a checkpoint or a plug-in is missing or cannot be read."""

    exit_code = 4
    hint = "a complete file of the right kind"


class DataError(MissingError):
    """A data set that cannot be used."""


class StoreError(MissingError):
    """A run folder or one of its files that cannot be read."""

    hint = "bench list runs  # the other runs; a damaged file can be made again"


class ContractError(BenchError):
    """A model or an explainer broke its contract; the message names which one and how."""

    hint = "bench verify --help  # checks an explainer"


def cut(text: str, most: int = LONGEST) -> str:
    """A text of at most so many characters, its middle left out where it is longer."""
    half = most // 2 - 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]}"


def in_one_line(error: BaseException) -> str:
    """An exception of somebody else's in one line."""
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]


def check_file(path: Path | str, hint: str = "the path of a file that is there") -> Path:
    """The path of a file; MissingError where there is none."""
    found = Path(os.path.expanduser(path))  # noqa: PTH111 (that of Path raises for a user that is not there)
    if not found.is_file():
        raise MissingError(f"no file {path}", try_=hint)
    return found


def did_you_mean(name: str, known: Mapping[str, object] | list[str] | tuple[str, ...]) -> str:
    """Words that offer the nearest known name, to stand behind an error; empty where nothing is near."""
    near = nearest(name, known)
    return f"; did you mean '{near}'?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like another; empty where none is."""
    lowered = {each.lower(): each for each in known}
    close = get_close_matches(name.lower()[:LONGEST], list(lowered), n=1, cutoff=0.6)
    return lowered[close[0]] if close else ""
