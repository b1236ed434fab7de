"""What a person sees: live bars on a terminal, plain lines elsewhere, results on stdout, all else on stderr.

Every text goes through `harmless` on its way out: names of classes, files and checkpoints are other people's, and a
terminal obeys what it is sent.
"""

import json
import os
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from bench.contracts import Task
from bench.errors import BenchError, WriteError
from bench.whole_file import written

UNFOLDED = 240  # columns
PLAIN_EVERY = 5.0  # seconds between lines where nobody can see a bar move
ORDERS = ("Cc", "Cf", "Zl", "Zp", "Cs", "Co")  # Unicode's categories of what is not shown but done


def harmless(text: object) -> str:
    """A text whose control characters can be read and do nothing: colours, cursor moves, other directions of writing.

    Line ends and the joiners inside of words and emoji stay. A no-break space is a space, so that figures can be found.
    """
    return "".join(each if _is_plain(each) else _code(each) for each in str(text).replace("\u00a0", " "))


def _is_plain(character: str) -> bool:
    return character in "\n\u200c\u200d" or unicodedata.category(character) not in ORDERS


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shown(text: object) -> str:
    """A text as Rich prints it: harmless, and no markup of Rich's."""
    return escape(harmless(text))


@dataclass(frozen=True)
class Answer:
    """What a command found out.

    Attributes:
        value: for `--json`; `schema` is put in front.
        lines: for a reader; the most important one, such as the path of what was written, comes last.
        page: a page that `--open` shows.
        failure: what is raised after the answer was shown, such as a threshold that broke.
    """

    value: Mapping[str, object]
    lines: tuple[RenderableType, ...]
    page: str = ""
    failure: BenchError | None = None


def table_of(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Sequence[str] = (),
    **style: Any,  # noqa: ANN401 (those of Rich)
) -> Table:
    """A table of plain texts.

    Args:
        numbers: the heads of columns that stand to the right.
        style: of Rich's Table.
    """
    table = Table(title=shown(title) if title else None, title_justify="left", **style)
    for place, head in enumerate(heads):
        right = head in numbers
        table.add_column(head, justify="right" if right else "left", overflow="fold", no_wrap=right or place == 0)
    for row in rows:
        table.add_row(*map(shown, row))
    return table


@dataclass
class Teller:
    """The Progress of the command line.

    Attributes:
        errors: console on stderr.
        quiet: only warnings.
        plain: no bars.
    """

    errors: Console
    quiet: bool = False
    plain: bool = False

    def say(self, text: str) -> None:
        """One line for a reader."""
        if not self.quiet:
            self.errors.print(shown(text), soft_wrap=True, highlight=False)

    def warn(self, text: str) -> None:
        """One line that should not be overlooked."""
        self.errors.print(f"[yellow]note:[/] {shown(text)}", soft_wrap=True, highlight=False)

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Task]:
        """A bar on a terminal, lines elsewhere, nothing when quiet."""
        if self.quiet or self.plain or not self.errors.is_terminal:
            yield _PlainTask(self, label, total)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}{task.fields[note]}", style="dim"),
        )
        with Progress(*columns, console=self.errors, transient=True) as progress:
            yield _LiveTask(progress, progress.add_task(shown(label), total=total, note="", speed=""))


class _PlainTask:
    """Says every few seconds how far it is."""

    def __init__(self, teller: Teller, label: str, total: int) -> None:
        self.teller, self.label, self.total = teller, label, total
        self.done, self.last = 0, time.monotonic()

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count, and speak when it was quiet long enough."""
        self.done += amount
        if time.monotonic() - self.last >= PLAIN_EVERY:
            self.last = time.monotonic()
            self.teller.say(f"  {self.label}: {self.done:,} of {self.total:,}" + (f", {note}" if note else ""))


class _LiveTask:
    """A bar with words behind it."""

    def __init__(self, progress: Any, task: Any) -> None:  # noqa: ANN401 (rich is imported late)
        self.progress, self.task = progress, task
        self.started, self.done = time.monotonic(), 0

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Move the bar."""
        self.done += amount
        changes = {"note": shown(note)} if note else {}
        if "images/s" not in note:
            changes["speed"] = f"{self.done / max(1e-9, time.monotonic() - self.started):.0f} images/s  "
        self.progress.update(self.task, advance=amount, **changes)


@contextmanager
def stdout_kept() -> Iterator[None]:
    """Whatever is printed inside, by anybody's model too, goes to stderr: stdout is for results."""
    with redirect_stdout(sys.stderr):
        try:
            sys.__stdout__.flush()  # type: ignore[union-attr]
            kept = os.dup(1)
            os.dup2(2, 1)  # what is not Python's, such as a child process
        except (OSError, AttributeError):  # closed, as under a service
            yield
            return
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def show(answer: Answer, *, as_json: bool) -> None:
    """Print an answer on stdout; WriteError where it leads to a full disk."""
    try:
        with written("standard output"):
            _print(answer, as_json=as_json)
            sys.stdout.flush()
    except (WriteError, BrokenPipeError):
        with suppress(OSError, ValueError):  # what is left in the buffer would fail once more, at the very end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _print(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        # JSON escapes what a terminal would obey below 0x20; what else it obeys is escaped the same way.
        text = json.dumps({"schema": 1, **answer.value}, ensure_ascii=False)
        print("".join(each if _is_plain(each) else json.dumps(each)[1:-1] for each in text))
        return
    out = Console(highlight=False)
    if not out.is_terminal:  # a pipe has no edge at which to fold a table
        out = Console(highlight=False, width=UNFOLDED)
    for line in answer.lines:
        if isinstance(line, str):
            out.print(shown(line), soft_wrap=True)
        else:
            out.print(line)


def complain(errors: Console, message: str, try_: str) -> None:
    """An expected failure: what is wrong, and what to type."""
    errors.print(f"[bold red]error:[/] {shown(message)}", soft_wrap=True, highlight=False)
    if try_:
        errors.print(f"  [bold]try:[/] {shown(try_)}", soft_wrap=True, highlight=False)
