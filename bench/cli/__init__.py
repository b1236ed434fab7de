"""The command line."""

from __future__ import annotations

from bench.cli.main import main

__all__ = ["main"]
