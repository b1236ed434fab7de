"""The commands: options in, one call, one line per result."""

from __future__ import annotations

from typing import Annotated

import typer

from bench import __version__
from bench.cli.session import Group

app = typer.Typer(
    name="bench",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Which implementation is wrong where, what was it looking at, and can the picture be trusted?",
    epilog="bench demo shows all of it on digits, offline, in minutes.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"bench {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Entry point of the console scripts."""
    from bench.cli import (  # noqa: F401 (they register their commands)
        adopting,
        judging,
        looking,
        timing,
        training,
        tuning,
        verifying,
        working,
    )

    app()
