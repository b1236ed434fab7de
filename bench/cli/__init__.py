"""The command line."""

from __future__ import annotations


def main() -> None:
    """Entry point of the console scripts `bench` and `cambench`."""
    from bench.cli.main import main as run

    run()
