"""A TOML file with a recipe's keys is a recipe too; what is wrong in it is told with its line."""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from bench.errors import MissingError, StoreError, UsageError, did_you_mean
from bench.homes import at, homeless
from bench.recipes.recipe import FLIPS, SETTINGS, Recipe, find_recipe
from bench.whole_file import read_text

KEYS = ("base", "source", *SETTINGS)
PAIRS = tuple[tuple[int, float], ...]
WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text in quotes",
    PAIRS: "a list of [edge, share]",
}
TYPES = {key: kind for key, kind in get_type_hints(Recipe).items() if kind in WORDS}  # others choose among words
BASE = "course"
TOML_BYTES = 2**20  # a recipe has a few lines
EXAMPLE = 'a TOML file such as: base = "course" then epochs = 5'

# What files of earlier versions say in a table of its own, with the type of each key.
OLD_TABLE = "augmentation"
OLD_KEYS: Mapping[str, type] = {"pad": int, "flip": bool, "cutout": int, "alternate": bool}
OLD_NAMES = {"pad": "translate", "cutout": "cutout", "alternate": "flip"}


def recipe_of(name: str) -> Recipe:
    """The recipe of a name, or of a TOML file; then its name is the file's whole path.

    Raises:
        UsageError: no such recipe, or a file that says what cannot be meant; names file, key, line and value.
        MissingError: a file that cannot be read.
    """
    return read_recipe(at(name)) if is_recipe_file(name) else find_recipe(name)


def is_recipe_file(name: str) -> bool:
    """Whether a name means a TOML file."""
    return name.lower().endswith(".toml")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file: the recipe that `base` names, with the file's values in place of its own."""
    file = _read(path)
    base = file.base()
    values = file.values(base)
    defaults = {"name": homeless(str(path.resolve())), "source": f"{path.name}, based on {base.name}", "measured": ""}
    try:
        return replace(base, **{**defaults, **values})
    except UsageError as reason:
        file.blame(base, values, reason)


def flat_augmentation(old: Mapping[str, Any], flip: str = FLIPS[0]) -> dict[str, Any]:
    """What earlier versions kept in a table of its own, by the names of today.

    Args:
        old: any of `pad`, `cutout`, `flip` and `alternate`, the last two yes or no.
        flip: what holds where only one of them is given.
    """
    found = {new: old[name] for name, new in OLD_NAMES.items() if name in ("pad", "cutout") and name in old}
    if "flip" in old or "alternate" in old:
        mirrored, in_turn = old.get("flip", flip != "none"), old.get("alternate", flip == "alternating")
        found["flip"] = "none" if not mirrored else "alternating" if in_turn else "random"
    return found


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
        with suppress(ValueError, RecursionError):
            yield count, tomllib.loads("\n".join(lines[:count]))


@dataclass(frozen=True)
class _File:
    """A recipe's file as it was read."""

    path: Path
    text: str
    settings: Mapping[str, Any]

    def base(self) -> Recipe:
        """The recipe whose values hold where the file says nothing."""
        name = self.settings.get("base", BASE)
        if not isinstance(name, str):
            self.refuse(("base",), f"base is {_as_toml(name)}, must be the name of a recipe", f'base = "{BASE}"')
        try:
            return find_recipe(name)
        except UsageError as reason:
            self.refuse(("base",), f"base: {reason.message}", reason.try_)

    def values(self, base: Recipe) -> dict[str, Any]:
        """What the file says, by the names of a recipe's fields; refuses keys without a meaning and other types."""
        inner = self.settings.get(OLD_TABLE)
        old = inner if isinstance(inner, dict) else {}
        own = {key: value for key, value in self.settings.items() if not (old and key == OLD_TABLE)}
        self._check((), own, {key: TYPES.get(key, str) for key in KEYS}, base)
        self._check((OLD_TABLE,), old, OLD_KEYS, base)
        flat = flat_augmentation(old, base.flip)
        for key in flat.keys() & own.keys():
            self.refuse(
                (OLD_TABLE,), f"{key} stands above [{OLD_TABLE}] and is set in it, too", f"without [{OLD_TABLE}]"
            )
        own.pop("base", None)
        return {**flat, **own, **({"sizes": tuple(map(tuple, own["sizes"]))} if "sizes" in own else {})}

    def _check(self, table: tuple[str, ...], given: Mapping[str, Any], kinds: Mapping[str, Any], base: Recipe) -> None:
        for key, value in given.items():
            if key not in kinds:
                belongs = (
                    f"; it belongs above [{OLD_TABLE}]" if table and key in KEYS else did_you_mean(key, list(kinds))
                )
                words = f"no key '{key}'{f' in [{OLD_TABLE}]' if table else ''}{belongs}"
                self.refuse((*table, key), words, f"one of: {', '.join(KEYS)}")
            if not _fits(value, kinds[key]):
                words = f"{key} is {_as_toml(value)}, must be {WORDS[kinds[key]]}"
                self.refuse((*table, key), words, _as_in(base, OLD_NAMES.get(key, key) if table else key))

    def blame(self, base: Recipe, values: Mapping[str, Any], reason: UsageError) -> NoReturn:
        """Raise what is wrong with the first value that the base refuses by itself."""
        for name, value in values.items():
            try:
                replace(base, **{name: value})
            except UsageError as found:
                old = next((key for key, new in OLD_NAMES.items() if new == name), "")
                self.refuse((name,) if name in self.settings else (OLD_TABLE, old), found.message, _as_in(base, name))
        raise UsageError(f"{self.path}: {reason.message}", try_=reason.try_) from reason

    def refuse(self, keys: Sequence[str], words: str, try_: str) -> NoReturn:
        """Raise what is wrong with a key, and say where it stands."""
        raise UsageError(f"{self.path}, line {line_of(self.text, keys)}: {words}", try_=try_)


def _read(path: Path) -> _File:
    try:
        text = read_text(path, TOML_BYTES)
    except StoreError as reason:
        raise MissingError(reason.message, try_=EXAMPLE) from reason
    except UnicodeDecodeError as reason:
        raise UsageError(f"{path} cannot be read: {reason}", try_=EXAMPLE) from reason
    try:
        return _File(path, text, tomllib.loads(text))
    except (ValueError, RecursionError) as reason:  # whose place, if it names one, is where the parser gave up
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


def _as_in(base: Recipe, name: str) -> str:
    """A line that works: the base's own."""
    return f"{name} = {_as_toml(getattr(base, name, BASE))}, as in {base.name}"


def _as_toml(value: object) -> str:
    """A value as TOML writes it, nearly."""
    return json.dumps(value, default=str, ensure_ascii=False)
