"""The command line in this process, as the tests call it."""

from functools import cache
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner, Result

from bench.cli.app import VERBS, app
from bench.cli.options import request_of
from bench.fields import Request

SHORT = ("--batch-size", "16", "--epochs", "1", "--lr", "0.05", "--val", "0")  # a training of a second


def call(*words: str, runs: Path | None = None, env: dict[str, str] | None = None, typed: str | None = None) -> Result:
    """One command, with what a user types when asked."""
    where = ["--runs-dir", str(runs)] if runs else []
    return CliRunner().invoke(app, [*words, *where], env=env, input=typed, catch_exceptions=False)


def done(*words: str, runs: Path | None = None, env: dict[str, str] | None = None) -> Result:
    """One command that must end with 0."""
    result = call(*words, runs=runs, env=env)
    assert result.exit_code == 0, result.stderr
    return result


@cache
def application() -> Any:
    """The command line, with all commands registered."""
    return typer.main.get_command(app)


def asked(*words: str) -> Request:
    """The request that a command line means; nothing is run."""
    group = application()
    root = group.make_context("bench", list(words))
    name, command, rest = group.resolve_command(root, list(words))
    context = command.make_context(name, rest, parent=root)
    kinds = next(kinds for kinds, *_ in VERBS if kinds[""].verb == name)
    return request_of(context, kinds, context.params)


def names_in(runs: Path) -> list[str]:
    """The runs of a folder, as they are named."""
    return sorted(each.name for each in runs.iterdir() if (each / "run.json").exists())
