"""The fields of a request: how each is typed, which values it can hold, and what stands for them in words and JSON."""

import operator
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from numbers import Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

from bench.contracts import ExplainerSpec, ModelSpec
from bench.errors import UsageError, did_you_mean
from bench.homes import at
from bench.registry.from_python import is_from_python, name_of, source_hash
from bench.workspace import Workspace

Names = str | Sequence[str]
Numbers = float | Sequence[float]
Paths = Path | str | Sequence[Path | str]
Model = str | ModelSpec | Callable[..., object]  # a class, or a function that builds one, may be given from Python
Explainer = str | ExplainerSpec | Callable[..., object]
Models = Model | Sequence[Model]
Explainers = Explainer | Sequence[Explainer]

IN_WORDS = {
    str: "text", int: "a whole number", float: "a number", bool: "True or False", Path: "a path", NoneType: "None",
    Callable: "a class or function", Sequence: "a list",
}  # fmt: skip
START, LOOK, TRUST, AROUND = "Start", "Look", "Trust", "Other"  # the panels of the verbs
ALONE = ("flag", "call")  # origins that speak of one call alone; variables and files speak of every call


@dataclass(frozen=True)
class Words:
    """How a value is typed that is not simply the word itself.

    Attributes:
        read: from a word to the value; ValueError for a word that means nothing.
        refusal: what is said of such a word, behind "is".
        example: what to type instead.
        write: back to a word.
    """

    read: Callable[[str], Any]
    refusal: str
    example: str
    write: Callable[[Any], str] = str


@dataclass(frozen=True)
class Option:
    """How a field is typed on the command line.

    Attributes:
        help: one line.
        flag: where the field's own name will not do; `--on/--off` for a yes or no.
        panel: the heading under which `--help` lists it.
        metavar: what stands for the value.
        argument: it may stand without its flag.
        flagless: it has no flag.
        many: it repeats, and takes a list with commas.
        commas: False where a comma belongs to a value.
        words: how it is typed where the word is not simply the value.
        choices: the values there are.
        least: the smallest number.
        names: what it names: `models`, `explainers`, `engines`, `recipes`, `runs`, `layers`, `files` or `data`. The
            shell offers what it can list; a name that does not exist is refused before anything slow is loaded.
        variable: whether a BENCH_ variable may set it; not what speaks of one run or file.
        stored: whether a run's record keeps it.
        of_recipe: it takes the place of a value of the recipe.
    """

    help: str
    flag: str = ""
    panel: str | None = None
    metavar: str | None = None
    argument: bool = False
    flagless: bool = False
    many: bool = False
    commas: bool = True
    words: Words | None = None
    choices: tuple[str, ...] = ()
    least: int | None = None
    names: str = ""
    variable: bool = True
    stored: bool = True
    of_recipe: bool = False


@dataclass(frozen=True)
class Typed:
    """A field that can be typed: its name, the type of its value, its option and its default in its one form."""

    name: str
    hint: Any
    option: Option
    default: Any

    @property
    def flags(self) -> list[str]:
        """How it is typed: the long flag, with `/` and the one that says no where there is one, then others."""
        if self.option.flag:
            return self.option.flag.split(",")
        name = self.name.strip("_").replace("_", "-")
        with_off = bool in _alternatives(self.hint) and self.default is not False
        return [f"--{name}/--no-{name}" if with_off else f"--{name}"]

    @property
    def flag(self) -> str:
        """The long flag."""
        return self.flags[0].partition("/")[0]

    def form(self, value: Any) -> Any:  # noqa: ANN401 (the value of any field)
        """A value in its one form, however it was given.

        Raises:
            UsageError: a value that the field cannot hold.
        """
        kinds = _alternatives(self.hint)
        if self.option.many:
            kinds = [kind for kind in kinds if get_origin(kind) is not Sequence]
            found = tuple(self._one(each, kinds) for each in _several(value))
            if not found and self.default not in ((), MISSING):
                raise UsageError(f"{self.flag} has no value", try_=" ".join(self.words(self.default)))
            return found
        return self._one(value, kinds)

    def words(self, value: Any) -> list[str]:  # noqa: ANN401
        """What to type for a value."""
        if isinstance(value, bool):
            yes, _, no = self.flags[0].partition("/")
            return [yes] if value else [no] if no else []
        values = [self.word(each) for each in (value if self.option.many else (value,)) if each is not None]
        if self.option.flagless or self.option.argument:
            return values
        if self.option.many and self.option.commas:
            values = [",".join(values)] if values else []
        return [word for each in values for word in (self.flag, each)]

    def word(self, value: Any) -> str:  # noqa: ANN401
        """One value as it is typed."""
        return self.option.words.write(value) if self.option.words else str(value)

    def stored(self, value: Any) -> Any:  # noqa: ANN401
        """A value as JSON holds it: one of several as one."""
        return _as_json(value[0] if self.option.many and len(value) == 1 else value)

    def _one(self, value: Any, kinds: Sequence[Any]) -> Any:  # noqa: ANN401
        option = self.option
        try:
            found = _fitted(
                self._read(value, option.words) if isinstance(value, str) and option.words else value, kinds
            )
        except TypeError:
            words = " or ".join(dict.fromkeys(map(_in_words, kinds)))
            refusal = f"{self.name.strip('_')} is {value!r:.60}, must be {words}"
            raise UsageError(refusal, try_=f"{words} for {self.flag}") from None
        if option.choices and found is not None and found not in option.choices:
            words = f"{self.flag} {found} is not one of {', '.join(option.choices)}"
            raise UsageError(words + did_you_mean(found, option.choices), try_=f"{self.flag} {option.choices[0]}")
        if option.least is not None and isinstance(found, int) and found < option.least:
            words = f"{self.flag} {found} is too few: {option.least} or more"
            raise UsageError(words, try_=f"{self.flag} {self.default or option.least}")
        return found

    def _read(self, word: str, words: Words) -> Any:  # noqa: ANN401
        try:
            return words.read(word)
        except ValueError:
            raise UsageError(f"{self.flag} '{word}' is {words.refusal}", try_=f"{self.flag} {words.example}") from None


def _in_words(kind: Any) -> str:  # noqa: ANN401 (types)
    return IN_WORDS.get(get_origin(kind) or kind) or f"a {kind.__name__}"


def _alternatives(hint: Any) -> list[Any]:  # noqa: ANN401 (types)
    return list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else [hint]


def _fitted(value: Any, kinds: Iterable[Any]) -> Any:  # noqa: ANN401
    """A value as one of several types has it, the first that can; TypeError where none can."""
    for kind in kinds:
        with suppress(TypeError):
            return _as(value, kind)
    raise TypeError


def _as(value: Any, kind: Any) -> Any:  # noqa: ANN401
    """A value as a type has it: names of what Python gave, tuples for lists, Python's numbers for any library's."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin is Sequence and value is not None:
        return tuple(_fitted(each, _alternatives(parts[0])) for each in _several(value))
    if origin is tuple and isinstance(value, list | tuple) and len(value) == len(parts):
        return tuple(map(_as, value, parts))
    if origin is int and not isinstance(value, bool):
        return operator.index(value)
    if origin is float and not isinstance(value, bool) and isinstance(value, Real):
        return float(value)
    if (origin is Path and isinstance(value, str | Path)) or (origin is str and isinstance(value, Path)):
        return at(value) if origin is Path else str(value)
    if not isinstance(value, origin) or origin in (int, float, tuple):
        raise TypeError
    return name_of(value) if origin in (ModelSpec, ExplainerSpec, Callable) else value


@dataclass(frozen=True, kw_only=True)
class Request:
    """What every verb may be asked with.

    Attributes:
        origins: where values came from: `flag`, `env`, `file` or `recipe`; see `origin` for those it does not name.
        objects: of what Python gave the sha256 of its source, by its name, as a record holds it.
        workspace: where a call from Python works; the command line makes its own.
    """

    verb: ClassVar[str] = ""
    panel: ClassVar[str] = AROUND
    example: ClassVar[str] = ""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    objects: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    workspace: Workspace | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Give every value its one form."""
        for each in self.typed():
            object.__setattr__(self, each.name, each.form(getattr(self, each.name)))

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """The request that `stored` made this of; ValueError for values that it cannot have made."""
        try:
            return cls(**{name: value for name, value in stored.items() if name != "verb"})
        except UsageError as reason:
            raise ValueError(reason.message) from reason

    @classmethod
    @cache  # the types of a class are read once: that takes milliseconds
    def typed(cls) -> tuple[Typed, ...]:
        """Every field that can be typed, a verb's own before those that it shares with others."""
        hints = get_type_hints(cls, include_extras=True)
        order = [name for one in cls.__mro__ for name in vars(one).get("__annotations__", ())]
        found = {
            each.name: Typed(each.name, hints[each.name].__origin__, option, MISSING)
            for each in fields(cls)
            for option in getattr(hints[each.name], "__metadata__", ())
            if isinstance(option, Option)
        }
        defaults = {each.name: each.default for each in fields(cls)}
        return tuple(
            found[name] if defaults[name] is MISSING else replace(found[name], default=found[name].form(defaults[name]))
            for name in dict.fromkeys(order)
            if name in found
        )

    def every_origin(self) -> dict[str, str]:
        """Where each value came from; `call` for one that Python gave, `default` for one that nobody gave."""
        unsaid = {each.name: "default" if getattr(self, each.name) == each.default else "call" for each in self.typed()}
        return {name: self.origins.get(name, origin) for name, origin in unsaid.items()}

    def given(self) -> dict[str, Any]:
        """What somebody gave: all but defaults and what a recipe says."""
        said = {name for name, origin in self.every_origin().items() if origin not in ("default", "recipe")}
        return {each.name: getattr(self, each.name) for each in self.typed() if each.name in said}

    def given_alone(self) -> tuple[str, ...]:
        """The names of what this call itself gave; variables and bench.toml speak of other calls, too."""
        return tuple(name for name, origin in self.every_origin().items() if origin in ALONE)

    def command(self, runs: Path = Path("runs"), **changes: Any) -> str:  # noqa: ANN401 (values of fields)
        """What to type so that another call wants the same, with some values replaced."""
        wanted = replace(self, **changes, origins={**self.origins, **dict.fromkeys(changes, "flag")})
        given = wanted.given()
        bare = [each.name for each in self.typed() if each.option.flagless]  # told from each other by their places
        said = {*given, *bare[: max((place + 1 for place, name in enumerate(bare) if name in given), default=0)]}
        words = [word for each in self.typed() if each.name in said for word in each.words(getattr(wanted, each.name))]
        where = [] if runs == Path("runs") else ["--runs-dir", str(runs)]
        from_python = any(map(is_from_python, _flat(given.values())))
        return shlex.join(["bench", *self.verb.split(), *words, *where]) + (
            "  # not repeatable from the shell: something in it was given from Python" if from_python else ""
        )

    def stored(self) -> dict[str, Any]:
        """What a record keeps: every value and where it came from; of what Python gave the hash of its source."""
        values = {each.name: each.stored(getattr(self, each.name)) for each in self.typed() if each.option.stored}
        origins, names = self.every_origin(), filter(is_from_python, _flat(values.values()))
        objects = {name: self.objects[name] if name in self.objects else source_hash(name) for name in names}
        return {"verb": self.verb, **values, "origins": {name: origins[name] for name in values}, "objects": objects}


def names(value: Models | Explainers | None) -> tuple[str, ...]:
    """One name or several as several, each once."""
    return tuple(dict.fromkeys(_several(value)))


def numbers(value: Numbers | None) -> tuple[float, ...]:
    """The same of numbers."""
    return tuple(dict.fromkeys(_several(value)))


def paths(value: Paths | None) -> tuple[Path, ...]:
    """The same of files."""
    return tuple(dict.fromkeys(map(Path, _several(value))))


def _several(value: Any) -> tuple[Any, ...]:  # noqa: ANN401
    if value is None:
        return ()
    one = isinstance(value, str | Path) or callable(value) or not isinstance(value, Iterable)  # nn.Sequential is both
    return (value,) if one else tuple(value)


def _flat(values: Iterable[Any]) -> list[Any]:
    return [each for value in values for each in (value if isinstance(value, tuple | list) else [value])]


def _as_json(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple):
        return [_as_json(each) for each in value]
    return str(value) if isinstance(value, Path) else value
