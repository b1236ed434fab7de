"""What may come of a command: a right result, or a failure with a name; and bounds of its time and memory."""

import json
import re
import resource
import shlex
import signal
import traceback
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from command_line import application, call
from typer.testing import Result

from bench.pages import write
from bench.schema.page import Page

RIGHT, NAMED, OTHER = "right", "named", "other"
LONGEST = 2100  # characters of an error's line
MOST = 200_000  # characters of all that is said
SECONDS = 30
MEMORY = 2**31  # bytes beside what a worker has when it starts
CATCH_ALL = "the same command with -vv shows where"


@dataclass(frozen=True)
class Outcome:
    """What came of a case: its kind, words about it, and for `other` all there is to find the reason."""

    kind: str
    words: str = ""


class SlowError(BaseException):
    """A case took longer than it may."""


@contextmanager
def bounded() -> Iterator[None]:
    """At most so many seconds and bytes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    old = signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise SlowError(f"over {SECONDS} seconds")


@contextmanager
def no_html() -> Iterator[None]:
    """Pages end at their values: those are checked, and no HTML is made of them."""

    def checked_page(page: Page, target: Path, **form: Any) -> Path:
        values = json.loads(write.twin(page), parse_constant=_no_number)
        if (accuracies := [run["accuracy"]["value"] for run in values["runs"]]) and not all(
            0 <= each <= 1 for each in accuracies
        ):
            raise AssertionError(f"accuracies on a page: {accuracies}")
        return target

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.pages.write.write_page", checked_page)
        patch.setattr("bench.commands.compare.write_page", checked_page)
        yield


def _no_number(word: str) -> None:
    raise AssertionError(f"{word} on a page")


def outcome(*words: str, runs: Path | None = None) -> Outcome:
    """What a command line comes to."""
    try:
        with bounded(), no_html():
            result = call(*words, runs=runs)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Outcome(OTHER, f"{shlex.join(words)[:300]}\n{''.join(traceback.format_exception(error))[-3000:]}")
    wrong = _wrong(result)
    if CATCH_ALL in wrong and result.exception is not None and (cause := result.exception.__context__):
        wrong += "".join(traceback.format_exception(cause))[-3000:]
    if wrong:
        return Outcome(OTHER, f"{shlex.join(words)[:300]}\n{wrong}")
    return Outcome(NAMED if result.exit_code else RIGHT, result.stderr[-LONGEST:])


def _wrong(result: Result) -> str:  # noqa: PLR0911 (one for each thing that can be wrong)
    """What is wrong with the way a command ended; empty for nothing."""
    said = result.stdout + result.stderr
    ordered = {
        each for each in said if each != "\n" and unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp", "Co", "Cn")
    }
    if ordered or re.search("[\u200b\u202a-\u202e\u2066-\u2069\ufeff]", said):
        return f"characters that a terminal obeys: {sorted(map(ascii, ordered))} in {said[-1500:]!a}"
    if len(said) > MOST:
        return f"{len(said):,} characters: {said[:300]} ... {said[-300:]}"
    if CATCH_ALL in said or "Traceback" in said:
        return said[-1500:]
    if result.exit_code == 0:
        return "an error with exit code 0" if re.search("^error:", said, re.MULTILINE) else ""
    lines = result.stderr.splitlines()
    if (
        result.exit_code not in (1, 2, 3, 4)
        or len(lines) < 2
        or not lines[-2].startswith("error: ")
        or not lines[-1].startswith("  try: ")
    ):
        return f"exit code {result.exit_code}, not ending in two lines: {said[-1500:]}"
    if max(map(len, lines[-2:])) > LONGEST:
        return f"a line of {max(map(len, lines[-2:])):,} characters"
    return _no_command(lines[-1].removeprefix("  try: "))


def _no_command(hint: str) -> str:
    """What is wrong with a hint that is a command line; empty where it can be typed."""
    if not hint.startswith("bench ") or hint == "bench --help":
        return ""
    words = shlex.split(hint, comments=True)[1:]
    group = application()
    try:
        context = group.make_context("bench", list(words))
        name, command, rest = group.resolve_command(context, list(words))
        if not {"-h", "--help"} & set(rest):
            command.make_context(name, rest, parent=context)
    except BaseException as error:
        return f"the hint cannot be typed: {hint} ({type(error).__name__} {error})"
    return ""
