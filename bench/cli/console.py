"""What a person sees: live bars on a terminal, plain lines elsewhere, results on stdout, all else on stderr.

Every text goes through `harmless` on its way out: names of classes, files and checkpoints are other people's, and a
terminal obeys what it is sent. It is then given to Rich as a Text, in which no markup is read.
"""

import json
import os
import re
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from bench.contracts import Task
from bench.errors import BenchError, WriteError, cut
from bench.whole_file import written

UNFOLDED = 240  # columns
PLAIN_EVERY = 5.0  # seconds between lines where nobody can see a bar move
ORDERS = ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn")  # Unicode's categories of what is not shown but done
# Letters and marks without a look of their own, which make two names look alike.
UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
JOINERS = "\u200c\u200d"  # inside of words and emoji
MARKS = 4  # combining marks on one letter; more of them run over the lines above and below
INDENT = 4  # columns that a line stands in which goes on
PROSE = 24  # columns that a column of prose needs at least
WORD, CELL, LINE = 300, 80, 2000  # most characters of a word, of a word in a table, and of a line
COMMAND = re.compile(r"^(?:[\w ]+: +)?(?:bench|torchrun) ")  # a line that is to be typed


def harmless(text: object, word: int = WORD) -> str:
    """A text in one line whose control characters can be read and do nothing: colours, moves, other directions.

    The joiners inside of words and emoji stay. A no-break space is a space, so that figures can be found.

    Args:
        word: characters above which a word is cut in its middle.
    """
    found, marks = [""], 0
    for each in cut(str(text), LINE).replace("\u00a0", " "):
        category, joins = unicodedata.category(each), each in JOINERS and found[-1][-1:] > "\x7f"
        marks = marks + 1 if category[0] == "M" else marks if joins else 0
        plain = joins or (category not in ORDERS and each not in UNSEEN and marks <= MARKS)
        found.append(each if plain else _code(each))
    return cut(" ".join(cut(part, word) for part in "".join(found).split(" ")), LINE)


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shown(text: object, style: str = "", word: int = WORD) -> Text:
    """A text as Rich prints it: harmless, and no markup of Rich's."""
    return Text(harmless(text, word), style=style)


def told(console: Console, text: Text) -> None:
    """Print a line: whole where nobody sees an edge, else folded between words.

    What is to be typed goes on behind a backslash, so that it can be copied.
    """
    if not console.is_terminal:
        console.print(text, soft_wrap=True, highlight=False)
        return
    end = " \\" if COMMAND.match(text.plain.strip()) else ""
    for line in folded(text.split(" "), console.width, end):
        console.print(line, soft_wrap=True, highlight=False)


def folded(parts: Iterable[Text], width: int, end: str = "") -> list[Text]:
    """Words, or other parts that stay whole, in lines of at most so many columns; all but the first line stand in.

    Args:
        end: what all lines but the last end in.
    """
    lines = [Text()]
    for place, part in enumerate(parts):
        more = Text.assemble(lines[-1], " ", part) if place else part
        if lines[-1].plain.strip() and cell_len(more.plain) > width - len(end):
            lines[-1].append(end)
            lines.append(Text.assemble(" " * INDENT, part))
        else:
            lines[-1] = more
    return lines


@dataclass(frozen=True)
class Answer:
    """What a command found out.

    Attributes:
        value: for `--json`; `schema` is put in front.
        lines: for a reader; the most important one, such as the path of what was written, comes last.
        page: a page that `--open` shows.
        failure: what is raised after the answer was shown, such as a threshold that broke.
        text: a document that is printed as it is, in the place of lines; what is other people's in it does no harm.
    """

    value: Mapping[str, object]
    lines: tuple[RenderableType, ...]
    page: str = ""
    failure: BenchError | None = None
    text: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of plain texts that keeps every figure and word whole: where it is too wide each row becomes a paragraph.

    Attributes:
        heads: of the columns; without the last ones where they are empty.
        rows: a cell is text, or several lines of it.
        numbers: the heads of columns that stand to the right.
        styles: of the rows, where they have one, by Rich's words.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Text]]
    numbers: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As a table, or as paragraphs."""
        widths = self._widths(options.max_width)
        if widths:
            title = shown(self.title) if self.title else None
            table = Table(box=None, pad_edge=False, title=title, title_justify="left")
            for head, width in zip(self.heads, widths, strict=True):
                table.add_column(Text(head), justify="right" if head in self.numbers else "left", width=width)
            for row in self.rows:
                table.add_row(*row)
            yield table
            return
        if self.title:
            yield from folded(shown(self.title, "italic").split(" "), options.max_width)
        for row in self.rows:
            yield from self._paragraph(row, options.max_width)

    def _paragraph(self, row: Sequence[Text], width: int) -> Iterator[Text]:
        """The names in front as a heading, figures one after the other, prose in lines of its own."""
        names = next((place for place, head in enumerate(self.heads) if self._is_no_name(place, head)), len(self.heads))
        yield from folded(Text(", ").join(row[:names]).split(" "), width)
        named = [(head, cell) for head, cell in zip(self.heads[names:], row[names:], strict=True) if cell.plain]
        figures = [Text.assemble((head, "dim"), " ", cell, ";") for head, cell in named if head in self.numbers]
        if figures:
            yield from folded([Text(" "), *figures[:-1], figures[-1][:-1]], width)
        for head, cell in named:
            if head not in self.numbers:
                yield from folded(Text.assemble("  ", (f"{head}: ", "dim"), cell).split(" "), width)

    def _is_no_name(self, place: int, head: str) -> bool:
        return place > 0 and (head in self.numbers or any(cell_len(row[place].plain) > PROSE for row in self.rows))

    def _widths(self, room: int) -> list[int]:
        """Columns of each: its longest word at least, all of figures and of the first; empty for too little room."""
        columns = list(zip(map(Text, self.heads), *self.rows, strict=True))
        whole = [max(cell_len(each.plain) for each in column) for column in columns]
        words = [max(cell_len(word) for each in column for word in each.plain.split(" ")) for column in columns]
        fixed = [place == 0 or head in self.numbers for place, head in enumerate(self.heads)]
        least = [size if stays else max(word, min(size, PROSE))
                 for stays, size, word in zip(fixed, whole, words, strict=True)]  # fmt: skip
        spare = room - 2 * (len(columns) - 1) - sum(least)
        if spare < 0:
            return []
        for place, size in enumerate(whole):
            more = min(spare, size - least[place])
            least[place], spare = least[place] + more, spare - more
        return least


def table_of(
    title: str, heads: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()
) -> Grid:
    """A table of plain texts.

    Args:
        numbers: the heads of columns that stand to the right.
    """
    texts = [[each if isinstance(each, Text) else shown(each, word=CELL) for each in row] for row in rows]
    return Grid(title, heads, texts, numbers)


@dataclass
class Teller:
    """The Progress of the command line.

    Attributes:
        errors: console on stderr.
        quiet: only warnings.
        plain: no bars.
        warned: warnings so far, each of which is told once a call: several runs may have the same.
    """

    errors: Console
    quiet: bool = False
    plain: bool = False
    warned: set[str] = field(default_factory=set)

    def say(self, text: str) -> None:
        """One line for a reader."""
        if not self.quiet:
            told(self.errors, shown(text))

    def warn(self, text: str) -> None:
        """One line that should not be overlooked."""
        if text in self.warned:
            return
        self.warned.add(text)
        told(self.errors, Text.assemble(("note:", "yellow"), " ", shown(text)))

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Task]:
        """A bar on a terminal, lines elsewhere, nothing when quiet."""
        if self.quiet or self.plain or not self.errors.is_terminal:
            yield _PlainTask(self, label, total)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        name = cut(harmless(label), self.errors.width // 3)
        bar = 24 if self.errors.width >= UNFOLDED / 2 else 8
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=bar),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
        )
        taken = cell_len(name) + bar + 2 * len(str(total)) + len("/") + len("00:00:00") + len(columns)
        with Progress(*columns, console=self.errors, transient=True) as progress:
            task = progress.add_task(name, total=total, note="")
            yield _LiveTask(progress, task, self.errors.width - taken)


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


@dataclass
class _LiveTask:
    """A bar with words behind it, as many of them as there is room for."""

    progress: Any  # rich is imported late
    task: Any
    room: int

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Move the bar."""
        parts = harmless(note).split(", ")
        while parts and cell_len(", ".join(parts)) > self.room:
            parts.pop()
        changes = {"note": ", ".join(parts)} if note else {}
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
        everything = (sys.stdout.encoding or "").lower().startswith("utf")
        text = json.dumps({"schema": 1, **answer.value}, ensure_ascii=not everything)
        print("".join(json.dumps(each)[1:-1] if unicodedata.category(each) in ORDERS else each for each in text))
        return
    out = Console(highlight=False)
    if not out.is_terminal:  # a pipe has no edge at which to fold a table
        out = Console(highlight=False, width=UNFOLDED)
    if answer.text:
        out.print(Text(answer.text), soft_wrap=True)
    for line in answer.lines:
        if isinstance(line, str):
            told(out, shown(line))
        else:
            out.print(line)


def complain(errors: Console, message: str, try_: str) -> None:
    """An expected failure: what is wrong, and what to type."""
    told(errors, Text.assemble(("error:", "bold red"), " ", shown(message)))
    told(errors, Text.assemble("  ", ("try:", "bold"), " ", shown(try_, word=LINE)))
