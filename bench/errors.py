"""Expected failures: each says what is wrong with which value, and what to type instead."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path


class BenchError(Exception):
    """An expected failure, shown to the user as two lines and never as a traceback.

    Args:
        message: what is wrong, with the offending value.
        try_: a command that works, or what to change; empty when there is nothing to type.
    """

    exit_code = 1

    def __init__(self, message: str, *, try_: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.try_ = try_


class RunError(BenchError):
    """A step failed while it ran."""


class GuardRailError(RunError):
    """Training was stopped because its numbers cannot be right; the message names the rule."""


class UsageError(BenchError):
    """A name or an option that cannot be meant."""

    exit_code = 2


class ThresholdError(BenchError):
    """A threshold that the user asked for broke."""

    exit_code = 3


class MissingError(BenchError):
    """Data, a checkpoint or a plug-in is missing or cannot be read."""

    exit_code = 4


class DataError(MissingError):
    """A data set that cannot be used."""


class StoreError(MissingError):
    """A run folder or one of its files that cannot be read."""


class ContractError(BenchError):
    """A model or an explainer broke its contract; the message names which one and how."""


def in_one_line(error: BaseException) -> str:
    """An exception of somebody else's in one line."""
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]


def check_file(path: Path | str, hint: str = "the path of a file that is there") -> Path:
    """The path of a file; MissingError where there is none."""
    if not Path(path).is_file():
        raise MissingError(f"no file {path}", try_=hint)
    return Path(path)


def did_you_mean(name: str, known: Mapping[str, object] | list[str] | tuple[str, ...]) -> str:
    """Words that offer the nearest known name, to stand behind an error; empty where nothing is near."""
    lowered = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    return f"; did you mean '{lowered[close[0]]}'?" if close else ""
