"""A TOML file with a recipe's keys is a recipe too; what is wrong in it is told with its line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from bench.contracts import Augmentation
from bench.errors import MissingError, UsageError, did_you_mean
from bench.recipes.recipe import Recipe, find_recipe

TABLE = "augmentation"
LEFT_OUT = ("name", "measured")  # a file's name is its recipe's name, and what it gives nobody has measured
OUTER = ("base", *(each.name for each in fields(Recipe) if each.name not in LEFT_OUT))
PAIRS = tuple[tuple[int, float], ...]
INNER = tuple(each.name for each in fields(Augmentation))
WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text in quotes",
    PAIRS: "a list of [edge, share]",
}
BASE = "course"
EXAMPLE = 'a TOML file such as: base = "course" then epochs = 5'


def recipe_of(name: str) -> Recipe:
    """The recipe of a name, or of a TOML file; then its name is the file's whole path.

    Raises:
        UsageError: no such recipe, or a file that says what cannot be meant; names file, key, line and value.
        MissingError: a file that cannot be read.
    """
    return read_recipe(Path(name)) if is_recipe_file(name) else find_recipe(name)


def is_recipe_file(name: str) -> bool:
    """Whether a name means a TOML file."""
    return name.lower().endswith(".toml")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file: the recipe that `base` names, with the file's values in place of its own."""
    file = _read(path)
    file.check_keys()
    base = file.base()
    file.check_types(base)
    given = {key: value for key, value in file.settings.items() if key not in ("base", TABLE)}
    if "sizes" in given:
        given["sizes"] = tuple((edge, share) for edge, share in given["sizes"])
    given |= {TABLE: replace(base.augmentation, **file.settings.get(TABLE, {}))}
    defaults = {"name": str(path.resolve()), "source": f"{path.name}, based on {base.name}", "measured": ""}
    try:
        return replace(base, **{**defaults, **given})
    except UsageError as reason:
        file.blame(base, reason)


def line_of(text: str, keys: Sequence[str]) -> int:
    """The line, from 1, on which a statement begins that gives a key of a valid TOML text; 0 where none does.

    TOML's parser gives no positions. But the lines up to the end of any statement are valid TOML themselves, and
    those that end inside one are not: so the key's statement begins after the last valid part that lacks the key.

    Args:
        text: TOML with line ends of one character.
        keys: the key, behind the tables that hold it.
    """
    before = 0
    for count, part in _valid_parts(text):
        value: object = part
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return before + 1
        before = count
    return 0


def _valid_parts(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The first lines of a text that are TOML by themselves, and how many they are: one, two, and so on."""
    lines = text.split("\n")
    for count in range(1, len(lines) + 1):
        with suppress(ValueError):
            yield count, tomllib.loads("\n".join(lines[:count]))


@dataclass(frozen=True)
class _File:
    """A recipe's file as it was read."""

    path: Path
    text: str
    settings: Mapping[str, Any]

    def items(self) -> list[tuple[tuple[str, ...], Any]]:
        """Every key, behind the table that holds it, and its value."""
        found: list[tuple[tuple[str, ...], Any]] = []
        for key, value in self.settings.items():
            if key == TABLE and isinstance(value, dict):
                found += [((key, inner), each) for inner, each in value.items()]
            else:
                found.append(((key,), value))
        return found

    def check_keys(self) -> None:
        """Refuse a key that means nothing where it stands."""
        for keys, _ in self.items():
            known, others = (OUTER, INNER) if len(keys) == 1 else (INNER, OUTER)
            if keys[-1] not in known:
                place = f" in [{TABLE}]" if known is INNER else ""
                belongs = f"; it belongs {'under' if known is OUTER else 'above'} [{TABLE}]"
                near = belongs if keys[-1] in others else did_you_mean(keys[-1], known)
                self.refuse(keys, f"no key '{keys[-1]}'{place}{near}", f"one of: {', '.join(known)}")

    def base(self) -> Recipe:
        """The recipe whose values hold where the file says nothing."""
        name = self.settings.get("base", BASE)
        if not isinstance(name, str):
            self.refuse(("base",), f"base is {_told(name)}, must be the name of a recipe", f'base = "{BASE}"')
        try:
            return find_recipe(name)
        except UsageError as reason:
            self.refuse(("base",), f"base: {reason.message}", reason.try_)

    def check_types(self, base: Recipe) -> None:
        """Refuse a value of another type than the recipe's own."""
        for keys, value in self.items():
            if keys == ("base",):
                continue
            kind = get_type_hints(Recipe if len(keys) == 1 else Augmentation)[keys[-1]]
            if kind is Augmentation:
                self.refuse(keys, f"{TABLE} is {_told(value)}, must be a table", f"[{TABLE}] then {INNER[0]} = 4")
            if not _fits(value, kind):
                self.refuse(keys, f"{keys[-1]} is {_told(value)}, must be {WORDS[kind]}", _as_in(base, keys))

    def blame(self, base: Recipe, reason: UsageError) -> NoReturn:
        """Raise what is wrong with the first value that the base refuses by itself."""
        for keys, value in self.items():
            if keys == ("base",):
                continue
            change: dict[str, Any] = {keys[-1]: tuple(map(tuple, value)) if keys[-1] == "sizes" else value}
            if len(keys) == 2:
                change = {TABLE: replace(base.augmentation, **change)}
            try:
                replace(base, **change)
            except UsageError as found:
                self.refuse(keys, found.message, _as_in(base, keys))
        raise UsageError(f"{self.path}: {reason.message}", try_=reason.try_) from reason

    def refuse(self, keys: Sequence[str], words: str, try_: str) -> NoReturn:
        """Raise what is wrong with a key, and say where it stands."""
        raise UsageError(f"{self.path}, line {line_of(self.text, keys)}: {words}", try_=try_)


def _read(path: Path) -> _File:
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows put a mark in front
    except OSError as reason:
        raise MissingError(f"{path} cannot be read: {reason.strerror or reason}", try_=EXAMPLE) from reason
    except UnicodeDecodeError as reason:
        raise UsageError(f"{path} cannot be read: {reason}", try_=EXAMPLE) from reason
    try:
        return _File(path, text, tomllib.loads(text))
    except ValueError as reason:  # whose place, if it names one, is where the parser gave up
        line = 1 + max((count for count, _ in _valid_parts(text)), default=0)
        raise UsageError(f"{path} cannot be read from line {line} on: {reason}", try_=EXAMPLE) from reason


def _fits(value: object, kind: object) -> bool:
    """Whether a value of TOML is of a field's type; a whole number is a number, a list of pairs pairs."""
    if kind == PAIRS:
        return isinstance(value, list) and all(
            isinstance(pair, list) and len(pair) == 2 and _fits(pair[0], int) and _fits(pair[1], float)
            for pair in value
        )
    return type(value) is kind or (kind is float and type(value) is int)


def _as_in(base: Recipe, keys: Sequence[str]) -> str:
    """A line that works: the base's own."""
    value: object = base
    for key in keys:
        value = getattr(value, key)
    return f"{keys[-1]} = {_told(value)}, as in {base.name}"


def _told(value: object) -> str:
    """A value as TOML writes it, nearly."""
    return json.dumps(value, default=str, ensure_ascii=False)
