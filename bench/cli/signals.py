"""What Ctrl-C and SIGTERM do while no command runs yet, or none any more."""

import os
import signal
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
