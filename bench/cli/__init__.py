"""The command line."""

from bench.cli.signals import listen

__all__ = ["main"]


def main() -> None:
    """Run one call; Ctrl-C and SIGTERM end it without a traceback, also while it is being loaded or is ending."""
    listen()
    from bench.cli.app import app

    try:
        app()
    finally:
        listen()
