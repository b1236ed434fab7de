"""What the docs tell a reader to type, and whether it can be typed. Nothing here runs a command's body."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from command_line import application

from bench.recipes.files import is_recipe_file, recipe_of
from bench.registry.model_names import is_file_name
from bench.registry.registry import discover

ROOT = Path(__file__).parents[1]
DOCS = (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/|cam)?bench (.+)")
ENDS = {"|", ">", ">>", "<", "&&", "||", ";", "&"}  # where a shell takes over


@dataclass(frozen=True)
class Line:
    """What a reader may type. In running text a command by itself is only named, and may lack its arguments."""

    text: str
    in_fence: bool


def fenced(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [body for kind, body in FENCE.findall(text) if kind == language]


def typed(text: str) -> Iterator[Line]:
    """Every line of a fenced block and every code span."""
    for _, body in FENCE.findall(text):
        yield from (Line(line.strip(), True) for line in body.replace("\\\n", " ").splitlines())
    yield from (Line(span.strip(), False) for span in SPAN.findall(FENCE.sub("", text)))


def bench_lines(text: str) -> list[Line]:
    """What stands behind `bench`."""
    return [Line(found[1], line.in_fence) for line in typed(text) if (found := COMMAND.fullmatch(line.text))]


def make_targets(text: str) -> set[str]:
    """Every X of a `make X`."""
    lines = (shlex.split(line.text, comments=True) for line in typed(text) if line.text.startswith("make "))
    return {target for line in lines for target in line[1:]}


def parse(line: Line) -> dict[str, Any]:
    """The options of a command line, parsed as `bench` would and not run.

    Raises:
        Exception: the command line's own error for what it would refuse.
        ValueError: something that parses as text and means nothing.
    """
    words = shlex.split(line.text, comments=True)
    words = words[: next((place for place, word in enumerate(words) if word in ENDS), len(words))]
    group = application()
    if words in ([flag] for parameter in group.params for flag in parameter.opts if "completion" in flag):
        return {}  # to parse it is to run it, which writes into the shell's own files
    try:
        root = group.make_context("bench", list(words))
        name, command, rest = group.resolve_command(root, list(words))
        if not rest and not line.in_fence:
            return {}
        found = dict(command.make_context(name, rest, parent=root).params)
    except typer.Exit:  # --help and --version have said all there is
        return {}
    check_names(command, found)
    return found


def check_names(command: Any, found: dict[str, Any]) -> None:
    """ValueError or the registry's own error for a name that is not registered, a file that is not there."""
    for kind in ("model", "explainer"):
        named = found.get(kind) or ()
        for name in ",".join([named] if isinstance(named, str) else named).split(","):
            if is_file_name(name):
                if not (ROOT / name.rpartition(":")[0]).is_file():
                    raise ValueError(f"no file {name}")
            elif name not in ("", "all"):
                discover(kind, object).entry(name)
    if found.get("recipe"):
        recipe_of(str(ROOT / found["recipe"]) if is_recipe_file(found["recipe"]) else found["recipe"])
    for parameter in command.params:
        known = re.findall(r"\w+", parameter.help or "")
        for name in names_of(found["what"]) if parameter.name == "what" else ():
            if name not in known:
                raise ValueError(f"nothing to {command.name} named {name}")


def names_of(value: Any) -> list[str]:
    """One name, or those of an option that repeats or takes a list with commas."""
    return ",".join([value] if isinstance(value, str) else value or ()).split(",") if value else []
