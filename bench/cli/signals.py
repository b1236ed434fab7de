"""What Ctrl-C and SIGTERM do while no command runs yet, or none any more; and standard streams."""

import os
import signal
import sys
from io import TextIOWrapper
from types import FrameType

INTERRUPTED = "interrupted; nothing half-written is left."


def listen() -> None:
    """Let both end the process without a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` leaves them
            signal.signal(number, end_at_once)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """End where no work is at stake: an exception might be swallowed, or told, by whatever is being imported."""
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(128 + number)


def prepare_streams() -> None:
    """Let a standard stream that the caller closed lead nowhere, and what an encoding lacks be written as a number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free; else the next file would get it
            setattr(sys, name, open(number, "w" if number else "r"))  # noqa: SIM115, PTH123 (stays open to the end)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
