"""What Ctrl-C and SIGTERM do while no command runs yet, or none any more; and standard streams."""

import os
import signal
import sys
import time
from io import TextIOWrapper
from types import FrameType

PATIENCE = 5.0  # seconds
INTERRUPTED = "interrupted; nothing half-written is left."


def listen() -> None:
    """Let both end the process without a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` leaves them
            signal.signal(number, end_at_once)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End where no work is at stake: an exception might be swallowed, or told, by whatever is being imported."""
    if getattr(sys.stderr, "name", "") != os.devnull:  # else this process is to be silent
        os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(128 + number)


def let_the_first_speak() -> None:
    """Where torchrun started several processes, and this is not the first, wait until it has told of the failure.

    torchrun ends all processes as soon as one has failed: this one too, once the first has ended.
    """
    if _is_silent():
        time.sleep(PATIENCE)


def _is_silent() -> bool:
    from bench.training.team import launched  # with more than is to be loaded before anybody listens

    return not launched().first


def prepare_streams() -> None:
    """Let a standard stream that the caller closed lead nowhere, and what an encoding lacks be written as a number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free; else the next file would get it
            setattr(sys, name, open(number, "w" if number else "r"))  # noqa: SIM115, PTH123 (stays open to the end)
    if _is_silent():  # of several processes the first one speaks for all
        sys.stdout, sys.stderr = (open(os.devnull, "w") for _ in range(2))  # noqa: SIM115, PTH123 (stay open)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
