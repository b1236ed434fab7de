"""The command line."""

from bench.cli.signals import let_the_first_speak, listen, prepare_streams

__all__ = ["main"]


def main() -> None:
    """Run one call; Ctrl-C and SIGTERM end it without a traceback, also while it is being loaded or is ending."""
    listen()
    prepare_streams()
    from bench.cli.app import app

    try:
        app()
    except SystemExit as end:
        listen()
        if end.code:
            let_the_first_speak()
        raise
    finally:
        listen()
