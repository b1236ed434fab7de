"""Command lines of true and false words, and TOML files."""

import random
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import application

from bench.cli import options
from bench.recipes.recipe import RECIPES, SETTINGS
from fuzz.judging import Outcome, outcome
from fuzz.mutations import VALUES, WORDS, bytes_broken

GUESSES = (
    "a", "b", "u", "latest", "digits", "cifar_resnet18", "gradcam", "all", "layer4", "course", "run", "model", "data",
    "10",
    "0", "-1", "0.5", "1e9", "3,17", "16:0.5", "cat,dog", "accuracy < 0.9", "forward[a] < 0.9 * forward[b]", "5m", "1h",
    "x.png", "x.safetensors", "timm:resnet18", "FILE.py:Net", "timm:resnet18(a=1)", "cifar_resnet18@64", "sgd",
    "predicted",
)  # fmt: skip


LOUD = ("--verbose", "-v", "--config")  # tracebacks are wanted then; files of defaults have a kind of their own


def _any_word(chance: random.Random) -> str:
    return chance.choice(
        (chance.choice(GUESSES), chance.choice(GUESSES), str(chance.choice(VALUES))[:5000], chance.choice(WORDS))
    )


def _misspelt(word: str, chance: random.Random) -> str:
    if len(word) < 4 or chance.random() < 0.85:
        return word
    place = chance.randrange(2, len(word))
    return chance.choice(
        (word[:place] + word[place + 1 :], word[:place] + "x" + word[place:], word.upper(), word.replace("-", "_"))
    )


def _line(chance: random.Random) -> list[str]:
    commands: dict[str, Any] = application().commands
    verb = chance.choice(sorted(commands))
    flags = [flag for each in commands[verb].params for flag in each.opts if flag.startswith("-") and flag not in LOUD]
    words = [_misspelt(verb, chance)]
    if chance.random() < 0.5:
        words.append(_any_word(chance))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
        words.append(_misspelt(chance.choice(flags), chance))
        if chance.random() < 0.7:
            words.append(_any_word(chance))
        if chance.random() < 0.1:
            words[-2:] = ["=".join(words[-2:])]
    chance.shuffle(words) if chance.random() < 0.1 else None
    # What cannot be in the words of a process: NUL, and half a pair that is no byte.
    return [word.replace("\0", "").replace("\ud800", "\udcff") for word in words]


def line_case(chance: random.Random, folder: Path, base: Path) -> Outcome:
    """A command line up to its request and the check of its names; nothing is done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("bench.cli.session.refuse_unknown", _checked)
        return outcome(*_line(chance), runs=base / "runs" if chance.random() < 0.7 else None)


def _checked(request: Any, runs: Path) -> None:
    options.refuse_unknown(request, runs)
    raise typer.Exit


def toml_case(chance: random.Random, folder: Path, base: Path) -> Outcome:
    """A recipe or a file of defaults, read for a training that is only checked."""
    path = folder / "my.toml"
    path.write_bytes(_toml(chance, recipe := chance.random() < 0.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if recipe:
            return outcome("train", "--model", "cifar_resnet18", "--data", "digits", "--recipe", "my.toml", "--dry-run")
        patch.setattr("bench.cli.session.refuse_unknown", _checked)
        return outcome(chance.choice(("train", "explain", "list", "time", "judge")), "--config", "my.toml")


def _toml(chance: random.Random, recipe: bool) -> bytes:
    if chance.random() < 0.05:
        return chance.choice(
            (b"a = " + b"[" * 5000, b"[" + b"a." * 5000 + b"b]", b"a = 1" + b"0" * 10_000, b"\xff\xfe")
        )
    lines = []
    keys = [*SETTINGS, "base", "source", "name", "augmentation"] if recipe else _settings(chance)
    for _ in range(chance.choice((1, 1, 2, 5))):
        key = _misspelt(chance.choice(keys), chance)
        lines.append(f"{key} = {_toml_value(key, chance)}")
    if chance.random() < 0.2:
        lines.append(f"[augmentation]\npad = {_toml_value('pad', chance)}")
    text = "\n".join(lines).encode(errors="surrogatepass")
    return bytes_broken(text, chance) if chance.random() < 0.2 else text


def _settings(chance: random.Random) -> list[str]:
    command = application().commands[chance.choice(("train", "explain", "time"))]
    return [name.replace("_", "-") for each in command.params if (name := str(each.name))]


def _toml_value(key: str, chance: random.Random) -> str:
    base = getattr(chance.choice(list(RECIPES.values())), key, None)
    if base is not None and chance.random() < 0.5:
        return str(base).lower() if isinstance(base, bool) else repr(base).replace("(", "[").replace(")", "]")
    value = chance.choice(VALUES)
    if isinstance(value, str):
        return chance.choice((f'"{value[:2000]}"', f"'{value[:2000]}'", value[:2000]))
    return str(value).lower().replace("none", '"none"')
