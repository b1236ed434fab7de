"""Where memory runs out: fewer images go at once, that is said, and from then on it is kept to."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from bench.contracts import Progress
from bench.errors import RoomError

if TYPE_CHECKING:
    import torch

Part = TypeVar("Part")
# What says so beside torch.OutOfMemoryError: MPS, the CPU's allocator, libraries that take memory of CUDA themselves.
WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "_alloc_failed")


def ran_out(error: BaseException | None) -> bool:
    """Whether memory ran out, also where somebody made another error of it."""
    import torch

    while error is not None:
        words = str(error).lower()
        if isinstance(error, torch.OutOfMemoryError | MemoryError | RoomError) or (
            isinstance(error, RuntimeError) and any(each in words for each in WORDS)
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def free() -> None:
    """Give back what failed work left: its frames hold tensors, and torch keeps blocks of sizes that are not needed."""
    import torch

    gc.collect(1)  # what is young; the whole takes half a second
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


def free_on(device: torch.device) -> int | None:
    """Bytes that are free on a GPU; None for the CPU, whose memory is the machine's."""
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return None


def unless_ran_out(work: Callable[[], Part]) -> Part | None:
    """What work gives; None where memory ran out, and what the work held is free then."""
    try:
        return work()
    except Exception as error:
        if isinstance(error, RoomError) or not ran_out(error):
            raise
    free()  # here, where the error and its frames are gone
    return None


@dataclass
class Room:
    """How many images of each kind of work fit at once, as far as one call has found out.

    Attributes:
        progress: who is told.
        sizes: by the name of the work, where memory ran out before.
    """

    progress: Progress
    sizes: dict[str, int] = field(default_factory=dict)

    def batches(self, what: str, count: int, most: int, work: Callable[[slice], Part]) -> Iterator[Part]:
        """What work gives for each batch of `count` images, in order; a batch that does not fit is begun anew as two.

        Args:
            what: the work's name in words.
            most: images of a batch.
            work: takes which images; nothing of it may stay where memory runs out on the way.

        Raises:
            RoomError: not even one image fits.
        """
        start = failed = 0
        while start < count:
            rows = slice(start, min(start + min(most, self.sizes.get(what, most)), count))
            images = rows.stop - rows.start
            found = unless_ran_out(partial(work, rows))
            if found is None:
                if images == 1:
                    raise RoomError(what)
                failed, self.sizes[what] = failed or images, images // 2
                continue
            if failed:
                size = self.sizes[what]
                self.progress.warn(f"{what}: memory ran out with {failed} images at once; {size} at once from here on")
                failed = 0
            start = rows.stop
            yield found
