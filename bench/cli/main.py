"""The entry point of the console scripts."""

from __future__ import annotations


def main() -> None:
    """Run `bench` or `cambench`."""
    from bench.cli.app import app

    app()
