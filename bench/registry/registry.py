"""Names to values: built-ins and plug-ins enter by the same door, and load on first use."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar, cast

from bench.contracts import ExplainerSpec, ModelSpec
from bench.errors import MissingError, UsageError, check_file, did_you_mean
from bench.homes import at, homeless
from bench.registry.class_names import class_names
from bench.registry.from_python import PYTHON, found_in_python, is_from_python, spec_of_function
from bench.registry.model_names import is_file_name, name_parts, parse_model
from bench.registry.neighbours import run_file

Kind = Literal["model", "explainer", "engine"]
Value = TypeVar("Value")
NAME = re.compile(r"[a-z][a-z0-9_+]*")
GROUPS: Mapping[str, str] = {"model": "bench.models", "explainer": "bench.explainers", "engine": "bench.engines"}
NOTHING: Mapping[str, Entry] = MappingProxyType({})


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        name: what users type.
        target: `module:attribute`, or `path/to/file.py:attribute`.
        about: one line for `bench list`.
        owner: the distribution that registered it.
        problem: why it cannot be used; empty when nothing is known against it.
        package: of a library the module whose names are those of its values; empty where it must be asked for them.
        facts: of a built-in explainer its kind, its library, what it gives, what it costs and its marks, in words.
    """

    name: str
    target: str
    about: str
    owner: str
    problem: str = ""
    package: str = ""
    facts: tuple[str, ...] = ()


class Registry(Generic[Value], Mapping[str, Value]):
    """A read-only mapping from names to values that load on first use.

    Iterating and `entries` import nothing. Indexing imports one module and may raise UsageError (no such name)
    or MissingError (a plug-in that does not load).
    """

    def __init__(
        self,
        kind: Kind,
        entries: Mapping[str, Entry],
        value_type: type[Value],
        *,
        libraries: Mapping[str, Entry] = NOTHING,
    ) -> None:
        """A mapping of these entries.

        Args:
            libraries: code bases any of whose models or classes can be named, as `timm:resnet34`.
        """
        self.kind = kind
        self.entries = entries
        self.libraries = libraries
        self._type = value_type
        self._made: dict[str, object] = {}  # what libraries gave, which is tried once to see what it is

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __getitem__(self, name: str) -> Value:
        """The value of a registered name, or of `path/to/file.py:attribute` (which runs that file)."""
        unregistered = is_file_name(name) or is_from_python(name)
        value = self._model(name) if self._type is ModelSpec else self._as_it_is(name)
        if unregistered and self._type is ExplainerSpec:
            value = spec_of_function(name, value)
        if not isinstance(value, self._type):
            function = " or a function" if unregistered else ""
            more = {ModelSpec: ", a module class, or a function that builds one", ExplainerSpec: function}
            raise MissingError(
                f"{self.kind} '{name}' is of type {type(value).__name__}, "
                f"not {self._type.__name__}{more.get(self._type, '')}",
                try_=f"docs/add-{'a-model' if self.kind == 'model' else 'an-explainer'}.md shows a complete one",
            )
        return value

    def _as_it_is(self, name: str) -> object:
        """What a registered name, a file's, Python's or that of a library's class means."""
        if is_file_name(name):
            return _load_file(name)
        if is_from_python(name):
            return found_in_python(name)
        entry, (library, _, member) = self.entry(name), name.partition(":")
        if name in self.entries or library not in self.libraries:
            return _load(entry)
        if name not in self._made:
            classes: Any = _load(entry)
            self._made[name] = classes[member]
        return self._made[name]

    def members(self, library: str) -> list[str]:
        """What may stand behind `LIBRARY:`; imports the library.

        Raises:
            UsageError: no such library, or one that has no list.
        """
        known = [name for name, each in self.libraries.items() if each.package]
        if library not in known:
            raise UsageError(
                f"no library of {self.kind}s named '{library}'{did_you_mean(library, known)}",
                try_=f"bench list {self.kind}s --library {known[0]}" if known else f"bench list {self.kind}s",
            )
        return list(cast("Mapping[str, object]", _load(self.libraries[library])))

    def _model(self, name: str) -> object:
        """A model by its name, with the size and the stem that the name asks for."""
        from bench.registry.libraries import sized, spec_of_value

        wanted = parse_model(name)
        library, _, model = wanted.base.partition(":")
        if library in self.libraries:
            if name not in self._made:
                make: Any = _load(self.libraries[library])

                def anew(edge: int | None) -> ModelSpec:
                    made: ModelSpec = make(model, size=edge, stem=wanted.stem)
                    return made

                self._made[name] = sized(anew(wanted.size), wanted.size, anew=anew)
            return self._made[name]
        if wanted.stem:
            raise UsageError(
                f"--stem {wanted.stem} is for ResNets of {' and '.join(self.libraries)}, not for '{wanted.base}'",
                try_=f"--model timm:resnet18 --stem {wanted.stem}",
            )
        entry, value = self.entries.get(wanted.base), self._as_it_is(wanted.base)
        if entry is None:
            value = spec_of_value(wanted.base, value)
        ours = entry is not None and entry.owner == "bench"
        return sized(value, wanted.size, ours=ours) if isinstance(value, ModelSpec) else value

    def entry(self, name: str) -> Entry:
        """What is known of a name without loading it."""
        base = parse_model(name).base if self.kind == "model" and name not in self.entries else name
        found = self.entries.get(base) or self.libraries.get(base.partition(":")[0])
        if found is None:
            raise UsageError(
                f"no {self.kind} named '{name}'{did_you_mean(name, self.entries)}", try_=f"bench list {self.kind}s"
            )
        if found.package:
            check_class(found, base.partition(":")[2])
        return found


def check_class(library: Entry, name: str) -> None:
    """UsageError for a class that a library does not name; it is not imported for that."""
    known = class_names(library.package)
    if known and name not in known:
        advice = f"bench list explainers --library {library.name}"
        raise UsageError(f"{library.name} has no class '{name}'{did_you_mean(name, known)}", try_=advice)


def resolved(name: str) -> str:
    """A name that means the same from every folder: that of a file with its whole path."""
    if not is_file_name(name):
        return name
    path, attribute, call = name_parts(name)
    return f"{homeless(str(at(path).resolve()))}:{attribute}{call}"


def short(name: str) -> str:
    """A name for reading: that of a file without its folders, that of Python without the mark."""
    if is_file_name(name):
        path, attribute, call = name_parts(name)
        return f"{Path(path).name}:{attribute}{call}"
    return name.removeprefix(PYTHON).replace(":", ".") if is_from_python(name) else name


def discover(kind: Kind, value_type: type[Value]) -> Registry[Value]:
    """All names of one kind: the built-in table first, then the entry points of installed distributions.

    Nothing is imported but the folder's table of strings. A name that two owners register is unusable, and
    asking for it names both; a name that breaks the rules is unusable; neither hurts any other name.
    """
    folder = importlib.import_module(GROUPS[kind])
    facts = getattr(folder, "FACTS", {})
    entries, libraries = (
        {
            name: Entry(name, target, about, "bench", "", "".join(package), facts.get(name, ()))
            for name, (target, about, *package) in table.items()
        }
        for table in (folder.ENTRIES, getattr(folder, "LIBRARIES", {}))
    )
    for point in entry_points(group=GROUPS[kind]):
        owner = point.dist.name if point.dist else "an unknown distribution"
        entries[point.name] = _joined(entries.get(point.name), Entry(point.name, point.value, f"from {owner}", owner))
    return Registry(kind, entries, value_type, libraries=libraries)


def _joined(known: Entry | None, new: Entry) -> Entry:
    if not NAME.fullmatch(new.name):
        return Entry(new.name, new.target, new.about, new.owner, f"a name must match {NAME.pattern}")
    if known is None or (known.owner, known.target) == (new.owner, new.target):
        return new
    owners = f"{known.owner} and {new.owner}"
    return Entry(new.name, known.target, known.about, owners, f"registered twice, by {owners}")


def _load(entry: Entry) -> object:
    hint = "bench doctor"
    if entry.problem:
        raise MissingError(f"'{entry.name}' cannot be used: {entry.problem}", try_=hint)
    module, _, attribute = entry.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as reason:  # a plug-in may fail in any way, and must fail alone
        raise MissingError(
            f"'{entry.name}' of {entry.owner} does not load: {type(reason).__name__}: {reason}", try_=hint
        ) from reason


def file_in(name: str) -> Path:
    """The Python file of a name such as `path/to/file.py:attribute`; MissingError where it is not there."""
    return check_file(at(name_parts(name)[0]), "a path to a Python file, then ':' and a name in it")


def _load_file(name: str) -> object:
    path, attribute = file_in(name), name_parts(name)[1]
    try:
        module = run_file(path)
    except (Exception, SystemExit) as reason:  # the user's own file may fail in any way, or be a script that exits
        raise MissingError(f"{path} does not run: {type(reason).__name__}: {reason}") from reason
    if not hasattr(module, attribute):
        own = [name for name, each in vars(module).items() if getattr(each, "__module__", "") == module.__name__]
        public = [each for each in own or vars(module) if not each.startswith("_")]
        raise MissingError(
            f"{path} has no '{attribute}'{did_you_mean(attribute, public)}",
            try_=f"one of: {', '.join(public[:8]) or 'nothing public is in it'}",
        )
    return getattr(module, attribute)
