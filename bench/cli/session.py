"""One call of the command line: its common options, where it works, and how it ends."""

import errno
import inspect
import os
import shlex
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from bench.cli.console import Answer, Teller, complain, show, shown, stdout_kept, told
from bench.cli.options import (
    PREFIX,
    WORDS,
    Kinds,
    files_named,
    parameter,
    parameters,
    read_config,
    refuse_unknown,
    request_of,
)
from bench.cli.signals import INTERRUPTED, end_at_once
from bench.errors import BenchError, RunError, UsageError, WriteError, nearest
from bench.homes import at, homeless
from bench.store.paths import comparisons_path
from bench.training.team import launched, program, refuse_launched
from bench.workspace import Workspace, default_cache

PANEL = "Options of every command"
TYPED = 200  # characters of a line that is offered to be typed; more would be shown cut
SOON = 0.05  # seconds
OWN_VARIABLES = {"BENCH_CACHE"}
BEGINNINGS = ("train", "adopt", "demo", "lr-find", "show")  # need nothing of the runs that are there
GONE = {"--markdown": ("--format", "markdown")}  # options that there were, and what to type today
TOGETHER = "train"  # what several processes can do
COMMON_VALUES = "bench.common"  # what a call leaves for its end, in click's context


def _everywhere(name: str, hint: Any, default: Any, *flags: str, **more: Any) -> inspect.Parameter:  # noqa: ANN401 (types)
    variable = PREFIX + name.rstrip("_").upper()
    option: Any = typer.Option(*flags, rich_help_panel=PANEL, envvar=variable, show_envvar=False, **more)
    return parameter(name, hint, default, option)


OPEN = _everywhere("open_", bool, False, "--open", help="Open the page in the browser.")
COMMON = (
    _everywhere("runs_dir", Path, Path("runs"), "--runs-dir", help="Folder that holds the run folders."),
    _everywhere("json_", bool, False, "--json", help="Print one JSON object on stdout."),
    _everywhere("quiet", bool, False, "--quiet", "-q", help="Print only results and warnings."),
    _everywhere("verbose", int, 0, "--verbose", "-v", count=True, help="Print lines, no bars; -vv: also tracebacks."),
    _everywhere(
        "config", Path | None, None, "--config",
        callback=read_config, is_eager=True, help="TOML file with defaults; else ./bench.toml.",
    ),
)  # fmt: skip


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


class Heard:
    """Lets Ctrl-C and SIGTERM raise, and remembers it: compiled code may turn an exception into words of its own.

    Attributes:
        raised: the last one; None as long as there is none.
    """

    def __init__(self) -> None:
        self.raised: BaseException | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.raised = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        raise self.raised


def add_command(app: typer.Typer, kinds: Kinds, command: Callable[[Any, Workspace], Answer], *, opens: bool) -> None:
    """Register a verb: from what was typed to a request, to an answer, to what is printed.

    Args:
        kinds: the request that the verb means under "", and those it means where the option of that name is given.
        opens: it makes a page that `--open` can show.
    """
    kind = kinds[""]
    common = (*COMMON, OPEN) if opens else COMMON

    def call(ctx: typer.Context, **values: Any) -> None:  # noqa: ANN401 (those of the options)
        own = ctx.meta[COMMON_VALUES] = {each.name: values.pop(each.name) for each in common}
        if kind.verb != TOGETHER:
            refuse_launched(f"bench {kind.verb} is for one", shlex.join(["bench", *ctx.find_root().meta[WORDS]]))
        workspace = _workspace(ctx, own)
        request = request_of(ctx, kinds, values)
        if launched().first:  # on other machines there may be no runs
            refuse_unknown(request, workspace.runs)
        for path in filter(os.path.isfile, files_named(request)):
            workspace.progress.say(f"running {path}")
        with stdout_kept():
            answer = command(request, workspace)
        show(answer, as_json=own["json_"])
        if answer.failure is not None:
            own["json_"] = False  # it has been told
            raise answer.failure
        if answer.page and own.get("open_"):
            typer.launch(Path(answer.page).resolve().as_uri())

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    found = [context, *parameters(kinds), *common]
    call.__signature__ = inspect.Signature(found)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in found}
    call.__doc__ = inspect.getdoc(kind)
    app.command(kind.verb, rich_help_panel=kind.panel, epilog=kind.example or None)(call)


def _workspace(ctx: typer.Context, common: Mapping[str, Any]) -> Workspace:
    plain = common["verbose"] > 0 or bool(os.environ.get("CI"))
    teller = Teller(Console(stderr=True), quiet=common["quiet"], plain=plain)
    for variable in sorted(set(os.environ) - known_variables(ctx)):
        if variable.startswith(PREFIX):
            teller.warn(f"bench does not know the variable {variable}")
    cache = at(os.environ["BENCH_CACHE"]) if os.environ.get("BENCH_CACHE") else default_cache()
    words = homeless(shlex.join([*program(), *ctx.meta.get(WORDS, ())]))
    return Workspace(runs=at(common["runs_dir"]), cache=cache, command=words, progress=teller)


def known_variables(ctx: typer.Context) -> set[str]:
    """All variables that some option of some command reads."""
    commands = getattr(ctx.find_root().command, "commands", {})
    return OWN_VARIABLES | {str(each.envvar) for one in commands.values() for each in one.params if each.envvar}


# --- how a call ends ----------------------------------------------------------------------------------------


class Group(TyperGroup):
    """Ends every call with a documented exit code: expected failures in two lines, never a traceback."""

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]  # noqa: ANN401 (Typer's own)
        """Parse and run; a command line that cannot be meant is told like every other failure."""
        if not extra.pop("standalone_mode", True):
            return super().main(args, **extra, standalone_mode=False)
        words = sys.argv[1:] if args is None else list(args)
        try:
            code = super().main(words, **extra, standalone_mode=False)
        except Exception as error:
            sys.exit(_end_of_parsing(error, words, self.commands))
        sys.exit(code if isinstance(code, int) else 0)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 (Typer's own context)
        """Keep the words of the call, for its record and for the line that repeats it."""
        ctx.meta[WORDS] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (Typer's own context)
        """Run the command; 130 and 143 when interrupted."""
        with dropped_signals_sent_again():
            return self._invoked(ctx)

    def _invoked(self, ctx: Any) -> Any:  # noqa: ANN401 (Typer's own context)
        heard = Heard()
        signal.signal(signal.SIGTERM, heard)
        if signal.getsignal(signal.SIGINT) is end_at_once:
            signal.signal(signal.SIGINT, heard)
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, Terminated) as error:
            raise typer.Exit(_interrupted(error, ctx)) from error
        except typer.Abort as error:
            Console(stderr=True).print()  # the question ends without a line end
            if (asked := _asked_to_end(error) or heard.raised) is not None:
                raise typer.Exit(_interrupted(asked, ctx)) from error
            again = shlex.join(["bench", *ctx.meta[WORDS], "--yes"])
            raise typer.Exit(_failed(RunError("there was no answer, so nothing was done", try_=again), ctx)) from error
        except BrokenPipeError as error:
            sys.stderr.close()
            raise typer.Exit(1) from error
        except SystemExit as error:  # bench itself raises none: nothing that was asked for would be there, at status 0
            again = f"{shlex.join([*program(), *ctx.meta[WORDS]])} -vv  # the same command with -vv shows where"
            found = RunError(f"the code of a model or of an explainer ended the program ({error!r})", try_=again)
            raise typer.Exit(_failed(found, ctx)) from error
        except Exception as error:
            if (asked := _asked_to_end(error) or heard.raised) is not None:
                raise typer.Exit(_interrupted(asked, ctx)) from error
            if isinstance(error, BenchError):
                raise typer.Exit(_failed(error, ctx)) from error
            if isinstance(error, OSError) and (error.filename is not None or error.errno == errno.ENOSPC):
                found = WriteError(error.filename or "standard output", error)  # without a name it is a command's help
                if error.filename is not None:
                    found.message = f"{error.filename} cannot be used: {error.strerror}"
                raise typer.Exit(_failed(found, ctx)) from error
            if hasattr(error, "exit_code") or hasattr(error, "format_message"):  # the parser's
                raise
            again = f"{shlex.join([*program(), *ctx.meta[WORDS]])} -vv  # the same command with -vv shows where"
            raise typer.Exit(_failed(RunError(f"{type(error).__name__}: {error}", try_=again), ctx)) from error


def _where_it_works(error: WriteError, ctx: Any) -> str:  # noqa: ANN401 (Typer's own context)
    """A command that goes on where a file could not be written: the same one with more room, or in another folder."""
    words = shlex.split(error.again) or [*program(), *ctx.meta.get(WORDS, ())]
    verb = "".join(words[len(program()) :][:1])
    if error.cure:
        return f"{error.cure}, then {shlex.join(words)}"
    if str(error.path) in words:  # given by the user
        words[words.index(str(error.path))] = _free(error.path.name)
        return shlex.join(words)
    runs = _runs_of(ctx)
    if not error.path.absolute().is_relative_to(runs.absolute()) or verb == "rm":
        return error.try_
    if verb == "compare" and error.path.absolute().is_relative_to(comparisons_path(runs).absolute()):
        return shlex.join([*words, "--out", _free("compare-page")])
    copy = _free("runs-copy")
    moved = shlex.join([*_without(words, "--runs-dir"), "--runs-dir", copy])
    if verb in BEGINNINGS and "--resume" not in words:
        return moved
    return f"cp -r {shlex.quote(str(runs))} {copy} && chmod -R u+w {copy} && {moved}"


def _free(name: str) -> str:
    """A name in this folder, or where temporary files lie, that nothing has yet."""
    place = Path() if os.access(".", os.W_OK) else Path(tempfile.gettempdir())
    return str(next(path for number in chain([""], count(2)) if not (path := Path(place, f"{name}{number}")).exists()))


def _without(words: Sequence[str], option: str) -> list[str]:
    """Words of a command line without an option and its value."""
    at = [place for place, word in enumerate(words) if word == option]
    left_out = {*at, *(place + 1 for place in at)}
    return [word for place, word in enumerate(words) if place not in left_out and not word.startswith(f"{option}=")]


def _failed(error: BenchError, ctx: Any) -> int:  # noqa: ANN401
    """Tell of a failure, to programs as well; the exit code."""
    common = ctx.meta.get(COMMON_VALUES, {})
    hint = _where_it_works(error, ctx) if isinstance(error, WriteError) else _from_here(error.try_, _runs_of(ctx))
    if common.get("verbose", 0) > 1:
        for line in traceback.format_exc().splitlines():
            told(Console(stderr=True), shown(line))
    complain(Console(stderr=True), error.message, hint)
    _tell_programs(error.message, hint, wanted=common.get("json_", False))
    return error.exit_code


def _tell_programs(message: str, hint: str, *, wanted: bool) -> None:
    if wanted:
        show(Answer({"error": message, "try": hint}, ()), as_json=True)


def _runs_of(ctx: Any) -> Path:  # noqa: ANN401
    return Path(ctx.meta.get(COMMON_VALUES, {}).get("runs_dir", "runs"))


def _from_here(hint: str, runs: Path) -> str:
    """A hint that is a command, for the folder of runs that this call was given."""
    command, mark, words = hint.partition("  # ")
    if not command.startswith("bench ") or runs == Path("runs") or "--runs-dir" in command or "--help" in command:
        return hint
    return f"{command} --runs-dir {shlex.quote(str(runs))}{mark}{words}"


def _asked_to_end(error: BaseException | None) -> BaseException | None:
    """The interruption that somebody's code, a half-imported library for one, turned into another exception."""
    while error is not None and not isinstance(error, KeyboardInterrupt | Terminated):
        error = error.__cause__ or error.__context__
    return error


def _interrupted(error: BaseException, ctx: Any) -> int:  # noqa: ANN401
    """Say how to go on; the exit code."""
    notes = getattr(error, "__notes__", ())  # a training that can be continued left the command here
    command = notes[0] if notes else shlex.join([*program(), *ctx.meta.get(WORDS, ())])
    first = f"Continue: {command}" if notes else f"Start again: {command}"
    for line in (INTERRUPTED, first, *(f"then: {each}" for each in notes[1:])):
        told(Console(stderr=True), shown(line))
    _tell_programs(INTERRUPTED, command, wanted=ctx.meta.get(COMMON_VALUES, {}).get("json_", False))
    return 143 if isinstance(error, Terminated) else 130


def _end_of_parsing(error: Exception, words: Sequence[str], commands: Mapping[str, Any]) -> int:
    """Tell what is wrong with the words of a command line; the exit code."""
    if isinstance(error, typer.Abort):  # Ctrl-C before there was a command
        told(Console(stderr=True), shown(INTERRUPTED))
        return 130
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return 1
    if isinstance(error, OSError):  # help, or the version, into a full disk
        full = WriteError(error.filename or "standard output", error)
        complain(Console(stderr=True), full.message, full.try_)
        return full.exit_code
    if not hasattr(error, "format_message"):  # nothing of the parser's
        raise error
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), err=True)
        return 2
    message = error.format_message()
    found = _value_after(getattr(getattr(error, "param", None), "opts", ()), words)
    message = message[:1].lower() + message[1:].rstrip(".") + (f" (found '{found}')" if found else "")
    told_as = UsageError(message, try_=_example(error) or _mended(words, commands))
    complain(Console(stderr=True), told_as.message, told_as.try_)
    _tell_programs(told_as.message, told_as.try_, wanted="--json" in words)
    return int(getattr(error, "exit_code", 2))


def _example(error: Any) -> str:  # noqa: ANN401 (the parser's own)
    """A line of the command that lacks something; empty for other mistakes."""
    return (error.ctx.command.epilog or "") if type(error).__name__ == "MissingParameter" and error.ctx else ""


def _mended(words: Sequence[str], commands: Mapping[str, Any]) -> str:
    """What to type instead: the line with its command and options as they are spelt, where it means something then."""
    verb = nearest(next(iter(words), ""), commands)
    if not verb:
        return "bench --help"
    flags = [flag for each in commands[verb].params for flag in (*each.opts, *each.secondary_opts)]
    known = [flag for flag in flags if flag.startswith("--")]
    fixed = [spelt for word in words[1:] for spelt in GONE.get(word, (_as_spelt(word, known),))]
    if [verb, *fixed] != list(words):
        try:
            commands[verb].make_context(verb, list(fixed))
        except Exception:
            return f"bench {verb} --help"
        line = shlex.join(["bench", verb, *fixed])
        return line if len(line) <= TYPED else f"bench {verb} --help"  # a longer one is not shown whole
    return f"bench {verb} --help"


def _as_spelt(word: str, flags: Sequence[str]) -> str:
    """An option by its name where it is misspelt; any other word as it is."""
    name, is_, value = word.partition("=")
    return f"{nearest(name, flags) or name}{is_}{value}" if name.startswith("--") and name not in flags else word


def _value_after(options: Sequence[str], words: Sequence[str]) -> str:
    """What the user gave to an option; nothing when it is not on the line."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name in options:
            return value or following
    return ""


@contextmanager
def dropped_signals_sent_again() -> Iterator[None]:
    """Within the block a signal is sent once more whose exception Python drops.

    It does where a weak reference's callback or a destructor raises, of which imports have many: whoever asked the
    process to end would wait for the whole work.
    """
    known = sys.unraisablehook

    def told_of(dropped: Any) -> None:  # noqa: ANN401 (Python's own)
        number = {Terminated: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}.get(dropped.exc_type)
        if number is None:
            known(dropped)
        else:
            threading.Timer(SOON, os.kill, (os.getpid(), number)).start()

    sys.unraisablehook = told_of
    try:
        yield
    finally:
        sys.unraisablehook = known
