"""How much memory this process holds."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

STATM = Path("/proc/self/statm")
PAGE = 4096  # bytes; where pages are larger a leak only counts for less
FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


def held_bytes() -> int | None:
    """Bytes that the process holds once garbage is collected; None where the system does not tell.

    glibc's own count of blocks in use (mallinfo2: those of the heap and those mapped one by one) is exact, while
    resident pages, taken elsewhere, also count what was freed and kept for the next call.
    """
    gc.collect()
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return resident_bytes()
    ask.restype = _Mallinfo2
    found = ask()
    return int(found.uordblks) + int(found.hblkhd)


def resident_bytes() -> int | None:
    """Bytes in resident pages; None where there is no /proc."""
    return int(STATM.read_text().split()[1]) * PAGE if STATM.is_file() else None


def growth(work: Callable[[], object], times: int) -> int | None:
    """Bytes more that the process holds after `times` calls; None where the system does not tell.

    The smaller growth of the two halves, doubled: what is filled once, such as a cache, is no leak.
    """
    counts = [held_bytes()]
    gc.freeze()  # what exists already need not be looked at again
    try:
        for _ in range(2):
            for _ in range(times // 2):
                work()
            counts.append(held_bytes())
    finally:
        gc.unfreeze()
    known = [count for count in counts if count is not None]
    return 2 * max(0, min(known[1] - known[0], known[2] - known[1])) if len(known) == 3 else None
