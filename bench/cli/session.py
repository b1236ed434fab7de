"""From a command line to a call: common options, where settings come from, and how failures end."""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import sys
import tomllib
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from bench.cli.console import Answer, Teller, complain, show
from bench.cli.options import files_named
from bench.errors import BenchError, UsageError, did_you_mean

if TYPE_CHECKING:
    from bench.workspace import Workspace

PREFIX = "BENCH_"
OWN_VARIABLES = {"BENCH_CACHE"}
SOURCES = {"COMMANDLINE": "flag", "ENVIRONMENT": "env", "DEFAULT_MAP": "file"}
PERSONAL = {"moved", "resume", "weights", "convert", "image"}  # options about one run, which no variable may set
PANEL = "Everywhere"
Runs = Annotated[Path, typer.Option("--runs-dir", help="Folder of the run folders.", rich_help_panel=PANEL)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.", rich_help_panel=PANEL)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and warnings.", rich_help_panel=PANEL)]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="Plain lines; -vv: tracebacks.", rich_help_panel=PANEL)
]


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


@dataclass(frozen=True)
class Session:
    """One call of the command line.

    Attributes:
        teller: tells the user what goes on.
        place: where the call works; made on first use, since it loads more than `--help` needs.
        origins: where each option came from.
    """

    teller: Teller
    runs: Path
    origins: Mapping[str, str]
    command: str

    @property
    def place(self) -> Workspace:
        """Where the steps work."""
        from datetime import UTC, datetime

        from bench.workspace import Workspace, default_cache

        cache = Path(os.environ["BENCH_CACHE"]) if os.environ.get("BENCH_CACHE") else default_cache()
        return Workspace(
            runs=self.runs,
            cache=cache,
            started=datetime.now(UTC),
            command=self.command,
            origins=self.origins,
            progress=self.teller,
        )


# --- settings from a file -----------------------------------------------------------------------------------


def read_config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Let bench.toml give defaults; a key that no option has is an error."""
    chosen = path or Path("bench.toml")
    if path is None and not chosen.is_file():
        return None
    try:
        settings = tomllib.loads(chosen.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as reason:
        raise UsageError(
            f"{chosen} cannot be read: {reason}", try_="a TOML file such as: [train] then epochs = 5"
        ) from reason
    root = ctx.find_root().command
    commands = dict(getattr(root, "commands", {}))
    general = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    _check_keys(chosen, settings, commands)
    own = settings.get(ctx.command.name or "", {})
    known = {str(each.name).rstrip("_"): each for each in ctx.command.params}
    given = {_option(key): value for key, value in {**general, **own}.items() if _option(key) in known}
    ctx.default_map = {str(known[key].name): _values(known[key], value) for key, value in given.items()}
    return path


def _values(option: Any, value: object) -> object:  # noqa: ANN401 (Typer's own)
    """A value from a file as its option wants it: one that repeats may be given one value, too."""
    if not getattr(option, "multiple", False):
        return value
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def _check_keys(path: Path, settings: Mapping[str, Any], commands: Mapping[str, Any]) -> None:
    everywhere = {str(each.name).rstrip("_") for command in commands.values() for each in command.params}
    for key, value in settings.items():
        if isinstance(value, dict):
            if key not in commands:
                raise UsageError(f"{path}: no command '{key}'{did_you_mean(key, list(commands))}")
            options = {str(each.name).rstrip("_") for each in commands[key].params}
            for name in value:
                _check_key(path, name, options, f"bench {key} --help")
        else:
            _check_key(path, key, everywhere, "bench --help")


def _check_key(path: Path, key: str, known: set[str], hint: str) -> None:
    if _option(key) not in known:
        near = did_you_mean(_option(key), sorted(known)).replace("_", "-")
        raise UsageError(f"{path}: no setting '{key}'{near}", try_=hint)


def _option(key: str) -> str:
    return key.replace("-", "_")


# --- common options -----------------------------------------------------------------------------------------

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=read_config,
        is_eager=True,
        help="TOML file of defaults (else ./bench.toml).",
        rich_help_panel=PANEL,
    ),
]
COMMON: Mapping[str, tuple[object, object]] = {
    "runs_dir": (Runs, Path("runs")), "json_": (Json, False), "quiet": (Quiet, False), "verbose": (Verbose, 0),
    "config": (Config, None),
}  # fmt: skip


def command(app: typer.Typer, name: str, **settings: Any) -> Callable[[Callable[..., Answer]], Callable[..., None]]:  # noqa: ANN401
    """Register `function(session, **options) -> Answer` as a command with the common options."""

    def register(function: Callable[..., Answer]) -> Callable[..., None]:
        @wraps(function)
        def call(ctx: typer.Context, **values: object) -> None:
            common = {key: values.pop(key) for key in COMMON}
            session = _session(ctx, common)
            for path in filter(os.path.isfile, files_named(values)):
                session.teller.say(f"running {path}")
            answer = function(session, **values)
            show(answer, as_json=bool(common["json_"]))
            if answer.failure is not None:
                raise answer.failure
            if answer.page and values.get("open_"):
                typer.launch(Path(answer.page).resolve().as_uri())

        _give_signature(call, function)
        app.command(name, **settings)(call)
        return call

    return register


def _session(ctx: typer.Context, common: Mapping[str, Any]) -> Session:
    plain = common["verbose"] > 0 or bool(os.environ.get("CI"))
    teller = Teller(_errors(), quiet=bool(common["quiet"]), plain=plain)
    for variable in sorted(set(os.environ) - known_variables(ctx)):
        if variable.startswith(PREFIX):
            teller.warn(f"the variable {variable} means nothing to bench")
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    origins = {
        name.rstrip("_"): SOURCES[source.name] for name, source in sources.items() if source and source.name in SOURCES
    }
    return Session(teller, common["runs_dir"], origins, shlex.join(["bench", *sys.argv[1:]]))


def known_variables(ctx: typer.Context) -> set[str]:
    """All variables that some option of some command reads."""
    commands = getattr(ctx.find_root().command, "commands", {})
    return OWN_VARIABLES | {str(each.envvar) for one in commands.values() for each in one.params if each.envvar}


def _give_signature(call: Callable[..., None], function: Callable[..., Answer]) -> None:
    """What Typer reads: the function's own options, then the common ones, each with its BENCH_ variable."""
    hints = typing.get_type_hints(function, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        parameters.append(inspect.Parameter(name, keyword, default=parameter.default, annotation=hints[name]))
    for name, (annotation, default) in COMMON.items():
        parameters.append(inspect.Parameter(name, keyword, default=default, annotation=annotation))
    for parameter in parameters[1:]:
        for info in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(info, typer.models.OptionInfo) and info.envvar is None and parameter.name not in PERSONAL:
                info.envvar = PREFIX + parameter.name.rstrip("_").upper()
                info.show_envvar = False
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}


# --- how a call ends ----------------------------------------------------------------------------------------


def _errors() -> Console:
    return Console(stderr=True)


class Group(TyperGroup):
    """Ends every call with a documented exit code: expected failures in two lines, never a traceback."""

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]  # noqa: ANN401 (Typer's own)
        """Parse and run; a command line that cannot be meant is told like every other failure."""
        if not extra.pop("standalone_mode", True):
            return super().main(args, **extra, standalone_mode=False)
        words = sys.argv[1:] if args is None else list(args)
        try:
            code = super().main(args, **extra, standalone_mode=False)
        except Exception as error:
            sys.exit(_end_of_parsing(error, words))
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (Typer's own context)
        """Run the command; 130 and 143 when interrupted."""
        signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except BenchError as error:
            complain(_errors(), error.message, error.try_)
            if "-vv" in sys.argv:
                raise
            raise typer.Exit(error.exit_code) from error
        except (KeyboardInterrupt, Terminated) as error:
            notes = getattr(error, "__notes__", ())  # a training that can be continued left the command here
            what = f"Continue: {notes[0]}" if notes else f"Start again: {shlex.join(['bench', *sys.argv[1:]])}"
            what = "\nthen: ".join([what, *notes[1:]])
            _errors().print(
                f"interrupted; nothing half-written is left. {what}",
                soft_wrap=True,
                highlight=False,
                markup=False,
            )
            raise typer.Exit(143 if isinstance(error, Terminated) else 130) from error
        except BrokenPipeError as error:
            sys.stderr.close()
            raise typer.Exit(1) from error
        except Exception as error:
            if (
                "-vv" in sys.argv
                or (isinstance(error, RuntimeError) and type(error).__module__.startswith("typer"))
                or hasattr(error, "exit_code")
            ):
                raise
            complain(_errors(), f"{type(error).__name__}: {error}", "the same command with -vv shows where")
            raise typer.Exit(1) from error


def _end_of_parsing(error: Exception, words: Sequence[str]) -> int:
    """Tell what is wrong with the words of a command line; the exit code."""
    if not hasattr(error, "format_message"):  # nothing of the parser's
        raise error
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), err=True)
        return 2
    message, context = error.format_message(), getattr(error, "ctx", None)
    found = _value_after(getattr(getattr(error, "param", None), "opts", ()), words)
    message = message[:1].lower() + message[1:].rstrip(".") + (f" (found '{found}')" if found else "")
    complain(_errors(), message, f"{context.command_path if context is not None else 'bench'} --help")
    return int(getattr(error, "exit_code", 2))


def _value_after(options: Sequence[str], words: Sequence[str]) -> str:
    """What the user gave to an option; nothing when it is not on the line."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name in options:
            return value or following
    return ""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
