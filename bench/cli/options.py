"""From the fields of a request to options that Typer understands, and from what was typed back to a request."""

import inspect
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

import typer

from bench.data.datasets import check_source
from bench.errors import BenchError, StoreError, UsageError, check_file, did_you_mean
from bench.fields import Option, Request, Typed, names
from bench.recipes.files import TOML_BYTES, recipe_of
from bench.recipes.recipe import RECIPES
from bench.registry.from_python import is_from_python
from bench.registry.model_names import is_file_name, name_parts
from bench.registry.registry import Kind, discover, file_in
from bench.request import ALL, LATEST
from bench.store.files import modules_of
from bench.store.paths import checkpoint_path
from bench.store.runs import check_known, find_run, run_names
from bench.whole_file import read_text

PREFIX = "BENCH_"
SHOWN = ("data",)  # fields whose variable `--help` names
SOURCES = {"COMMANDLINE": "flag", "ENVIRONMENT": "env", "DEFAULT_MAP": "file"}
PART = re.compile(r"(?:[^,(\[]|\((?:[^()]|\([^()]*\))*\)|\[[^\]]*\]|[(\[])+")  # up to a comma outside of brackets
STAGES = ("layer1", "layer2", "layer3", "layer4")  # of the built-in models
WORDS = "bench.words"  # the words of a call, in click's context
BARE = "_bare"  # behind the name of a field that stands without its flag
Kinds = Mapping[str, type[Request]]


# --- fields to parameters -----------------------------------------------------------------------------------


def fields_of(kinds: Kinds) -> dict[str, Typed]:
    """The fields of all requests that one verb can mean, each once."""
    found: dict[str, Typed] = {}
    for kind in kinds.values():
        for each in kind.typed():
            found.setdefault(each.name, each)
    return found


def parameters(kinds: Kinds) -> list[inspect.Parameter]:
    """What Typer reads of a verb.

    Args:
        kinds: the request that a verb means under "", and those it means where the option of that name is given.
    """
    found = [each for field in fields_of(kinds).values() for each in _of_field(field, choosers_of(kinds, field.name))]
    for name, kind in kinds.items():
        if name and name not in fields_of(kinds):  # a plain yes or no that chooses
            words = (kind.__doc__ or "").partition("\n")[0]
            found.append(parameter(name, bool, False, typer.Option(flag_of(name), help=words)))
    return found


def choosers_of(kinds: Kinds, field: str) -> tuple[str, ...]:
    """The options beside which alone a field means something; none where it means something without any."""
    found = tuple(name for name, kind in kinds.items() if field in {each.name for each in kind.typed()})
    return () if "" in found else found


def flag_of(name: str) -> str:
    """A name as it is typed."""
    return f"--{name.replace('_', '-')}"


def _of_field(each: Typed, choosers: Sequence[str]) -> Iterator[inspect.Parameter]:
    option, hint = each.option, list[str] | None if each.option.many else _word_type(each.hint)
    default = _default(each)
    beside = "" if not choosers or each.name in choosers else f"With {' or '.join(map(flag_of, choosers))}: "
    more: dict[str, Any] = {"help": beside + option.help, "autocompletion": _completion(option)}
    name = each.name.upper()
    if option.flagless:
        yield parameter(each.name, hint, default, typer.Argument(metavar=name, **more))
        return
    if option.argument:
        bare = list[str] | None if option.many else str | None
        yield parameter(each.name + BARE, bare, None, typer.Argument(metavar=name, show_default=False, **more))
        default = None if default is ... else default  # either of the two will do
    yield parameter(each.name, hint | None if default is None else hint, default, typer.Option(
        *each.flags,
        metavar=option.metavar or ("<str>" if option.many else None),
        rich_help_panel=option.panel,
        envvar=PREFIX + each.name.strip("_").upper() if option.variable else None,
        show_envvar=each.name in SHOWN,
        **more,
    ))  # fmt: skip


def _default(each: Typed) -> Any:  # noqa: ANN401
    """A field's default as Typer takes it; ... for none."""
    if each.default in (None, MISSING):
        return None if each.default is None else ...
    if each.option.many:
        return list(each.default) or None
    return each.word(each.default) if each.option.words else each.default


def parameter(name: str, hint: Any, default: Any, info: Any) -> inspect.Parameter:  # noqa: ANN401
    """What Typer reads of one option or argument; a default of ... is none."""
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is ... else default,
        annotation=Annotated[hint, info],
    )


def _word_type(hint: Any) -> Any:  # noqa: ANN401 (types)
    """The type that a word on the command line becomes: the simplest of what the field may hold."""
    parts = [each for each in get_args(hint) or (hint,) if each is not NoneType]
    plain = next((each for each in (str, Path, bool, int, float) if each in parts), str)
    return plain | None if NoneType in get_args(hint) else plain


# --- words to requests --------------------------------------------------------------------------------------


def request_of(ctx: typer.Context, kinds: Kinds, values: Mapping[str, Any]) -> Request:
    """The request that was typed, with where each value came from."""
    origins = origins_of(ctx)
    asked = [name for name in kinds if name and values.get(name)]
    if len(asked) > 1:
        words = f"{' and '.join(map(flag_of, asked))} are two commands"
        raise UsageError(words, try_=" and then ".join(kinds[name].example for name in asked))
    chosen = next(iter(asked), "")
    kind = kinds[chosen]
    own = {each.name: each for each in kind.typed()}
    _refuse_of_others(kinds, chosen, own, origins)
    given = [name for name in own if name in origins or name + BARE in origins]
    missing = next((each for name, each in own.items() if each.default is MISSING and name not in given), None)
    if missing is not None:
        raise UsageError(f"which {missing.name}?", try_=kind.example or f"bench {kind.verb} --help")
    where = {name: origins.get(name + BARE) or origins[name] for name in given}
    return kind(**{name: _value(own[name], values, origins) for name in given}, origins=where)


def origins_of(ctx: typer.Context) -> dict[str, str]:
    """Where each value that is no default came from: `flag`, `env` or `file`."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return {name: SOURCES[source.name] for name, source in sources.items() if source and source.name in SOURCES}


def _value(each: Typed, values: Mapping[str, Any], origins: Mapping[str, str]) -> Any:  # noqa: ANN401
    """What was given with and without the flag; of what stands on the line, variables and files change nothing."""
    bare = values.get(each.name + BARE)
    flagged = None if bare and origins.get(each.name) != "flag" else values.get(each.name)
    if origins.get(each.name) == "flag" and any(not str(word).strip(" ,") for word in _words_of(flagged)):
        # Of a shell variable that is not set, most often: what would be done is not what was meant.
        raise UsageError(f"{each.flag} is empty", try_=f"{each.flag} with a value, or without {each.flag}")
    if each.option.many:
        return _split([*(bare or ()), *(flagged or ())], commas=each.option.commas)
    if bare and flagged and bare != flagged:
        raise UsageError(f"'{bare}' and {each.flag} {flagged} are two different values", try_="one of them")
    return flagged if bare is None else bare


def _words_of(value: Any) -> Sequence[object]:  # noqa: ANN401
    """What was typed for an option, once or several times; numbers and switches are never empty."""
    if isinstance(value, str | Path):
        return (value,)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list | tuple) else ()


def _split(words: Sequence[str], *, commas: bool) -> tuple[str, ...]:
    parts = [part.strip() for word in words for part in (PART.findall(word) if commas else [word])]
    return tuple(part for part in parts if part)


def _refuse_of_others(kinds: Kinds, chosen: str, own: Mapping[str, Typed], origins: Mapping[str, str]) -> None:
    """UsageError for an option of another request that the verb can mean; variables and files speak of all of them."""
    for name, each in fields_of(kinds).items():
        if name in own or origins.get(name) != "flag":
            continue
        if chosen:
            raise UsageError(f"{each.flag} cannot be used with {flag_of(chosen)}", try_=kinds[chosen].example)
        others = choosers_of(kinds, name)
        raise UsageError(f"{each.flag} is for {' or '.join(map(flag_of, others))}", try_=kinds[others[0]].example)


def files_named(request: Request) -> list[str]:
    """The Python files that models and explainers are named in, each once: they are run."""
    given = (word for field in ("model", "explainer") for word in names(getattr(request, field, None)))
    return list(dict.fromkeys(name_parts(word)[0] for word in given if is_file_name(word)))


def refuse_unknown(request: Request, runs: Path) -> None:
    """Refuse names of what there is not, before anything is loaded that takes time.

    Raises:
        UsageError: no such model, explainer or recipe.
        MissingError: no such file, run or data set.
    """
    for each in request.typed():
        if each.option.names in CHECKS:
            for name in names(getattr(request, each.name)):
                CHECKS[each.option.names](str(name), runs)


def _check_entry(kind: Kind, name: str) -> None:
    if is_file_name(name):
        file_in(name)
    elif name != ALL and not is_from_python(name):
        discover(kind, object).entry(name)


CHECKS: Mapping[str, Callable[[str, Path], object]] = {
    "models": lambda name, runs: _check_entry("model", name),
    "explainers": lambda name, runs: _check_entry("explainer", name),
    "engines": lambda name, runs: _check_entry("engine", name.partition(":")[0]),
    "recipes": lambda name, runs: recipe_of(name),
    "runs": lambda name, runs: check_known(runs, name),
    "files": lambda name, runs: Path(name).is_dir() or check_file(name),  # what a folder holds is said by who reads it
    "data": lambda name, runs: check_source(name),
}


# --- completion ---------------------------------------------------------------------------------------------


def _completion(option: Option) -> Callable[[typer.Context, str], list[str]] | None:
    """What the shell asks for the words that may stand here; imports no backend, since it is asked at every key."""
    known = COMPLETIONS.get(option.names, (lambda ctx: option.choices) if option.choices else None)
    if known is None:
        return None

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if option.many and option.commas else ("", "", incomplete)
        return [f"{before}{comma}{name}" for name in known(ctx) if name.startswith(last)]

    return complete


def _runs_dir(ctx: typer.Context) -> Path:
    return Path(ctx.params.get("runs_dir") or os.environ.get("BENCH_RUNS_DIR") or "runs")


def _layers(ctx: typer.Context) -> Iterable[str]:
    """The modules of the run that is named, else of the latest; without a run the stages of the built-in models."""
    runs = _runs_dir(ctx)
    words = {part for word in ctx.meta.get(WORDS, ()) for part in word.split(",")}
    try:
        modules = modules_of(checkpoint_path(find_run(runs, next(filter(words.__contains__, run_names(runs)), LATEST))))
    except (BenchError, OSError):
        modules = []
    return (ALL, *(modules or STAGES))


COMPLETIONS: Mapping[str, Callable[[typer.Context], Iterable[str]]] = {
    "models": lambda ctx: discover("model", object),
    "explainers": lambda ctx: (ALL, *discover("explainer", object)),
    "engines": lambda ctx: discover("engine", object),
    "recipes": lambda ctx: RECIPES,
    "runs": lambda ctx: (LATEST, *run_names(_runs_dir(ctx))),
    "layers": _layers,
}


# --- settings from a file -----------------------------------------------------------------------------------


def read_config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Let bench.toml give defaults; a key that no option has is an error."""
    chosen = path or Path("bench.toml")
    if path is None and not chosen.is_file():
        return None
    try:
        settings = tomllib.loads(read_text(chosen, TOML_BYTES))
    except (StoreError, ValueError, RecursionError) as reason:
        raise UsageError(
            f"{chosen} cannot be read: {reason}", try_="a TOML file such as: [train] then epochs = 5"
        ) from reason
    commands = dict(getattr(ctx.find_root().command, "commands", {}))
    general = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    _check_keys(chosen, settings, commands)
    own = settings.get(ctx.command.name or "", {})
    known = _settable(ctx.command)
    given = {_option(key): value for key, value in {**general, **own}.items() if _option(key) in known}
    ctx.default_map = {str(known[key].name): _as_typed(known[key], value) for key, value in given.items()}
    return path


def _settable(command: Any) -> dict[str, Any]:  # noqa: ANN401 (click's own)
    """The options of a command by the names of their keys."""
    return {str(each.name).rstrip("_"): each for each in command.params if each.param_type_name == "option"}


def _as_typed(option: Any, value: object) -> object:  # noqa: ANN401 (click's own)
    """A value from a file as its option takes it: one that repeats may be given one value, lists become words."""
    if getattr(option, "multiple", False):
        return [_word(each) for each in (value if isinstance(value, list) else [value])]
    return ",".join(map(_word, value)) if isinstance(value, list) else value


def _word(value: object) -> str:
    return ":".join(map(str, value)) if isinstance(value, list) else str(value)


def _check_keys(path: Path, settings: Mapping[str, Any], commands: Mapping[str, Any]) -> None:
    everywhere = {key for command in commands.values() for key in _settable(command)}
    for key, value in settings.items():
        if isinstance(value, dict):
            if key not in commands:
                raise UsageError(f"{path}: no command '{key}'{did_you_mean(key, list(commands))}", try_="bench --help")
            for name in value:
                _check_key(path, name, set(_settable(commands[key])), f"bench {key} --help")
        else:
            _check_key(path, key, everywhere, "bench --help")


def _check_key(path: Path, key: str, known: set[str], hint: str) -> None:
    if _option(key) not in known:
        near = did_you_mean(_option(key), sorted(known)).replace("_", "-")
        raise UsageError(f"{path}: no setting '{key}'{near}", try_=hint)


def _option(key: str) -> str:
    return key.replace("-", "_")
