"""The command line."""

from bench.cli.app import app as main

__all__ = ["main"]
