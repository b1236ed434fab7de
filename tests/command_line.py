"""The command line in this process, as the tests call it."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from bench.cli.app import app

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


def names_in(runs: Path) -> list[str]:
    """The runs of a folder, as they are named."""
    return sorted(each.name for each in runs.iterdir() if (each / "run.json").exists())
