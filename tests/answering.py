"""Arms of processes of their own that train nothing, for the tests of who asks them. Standard library only."""

import argparse
from multiprocessing.connection import Connection


def work_as(name: str, pipe: Connection, options: argparse.Namespace) -> None:
    """Answer every message with seconds that grow by a step."""
    seconds = 0.0
    while pipe.recv():
        seconds += options.step
        pipe.send(seconds)


def end_at_once(name: str, pipe: Connection, options: argparse.Namespace) -> None:
    """Answer nothing."""
