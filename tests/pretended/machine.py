"""What is known of the pretended machine, and what happened on it."""

from __future__ import annotations

import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import torch
from torch import Tensor

HERE, HOUSE = f"{Path(__file__).parent}/", f"{Path(__file__).parents[2]}/"
ROOMS = ("bench/", "explainers/", "models/", "reports/", "benchmarks/")
WHEEL = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
MIB = 2**20


@dataclass
class Count:
    """What happened while it was open.

    Attributes:
        operations: kernels by the name of the operation; views and questions are none.
        waits: how often the host waited for the device, by (what for, "file:line" of the house).
    """

    operations: Counter[str] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass
class Machine:
    """A machine with pretended devices of one kind.

    Attributes:
        exact: whether it computes the very bits of a CPU.
        kind: "cuda" or "mps".
        capability: of all its GPUs.
        count: how many there are.
        archs: what torch.cuda.get_arch_list() says that the wheel has kernels for.
        memory: bytes of each device; all tensors that live on it at the same time must fit.
        name: of the GPU.
        driver: highest CUDA version that the driver knows, as it is written there: 13000.
        trouble: "" for none; "old driver": torch warns and finds no GPU; "in use": the first operation fails.
        current: which device "cuda" without a number means.
        refused: what was refused, in words.
        allocated, peak: bytes on each device now, and at most since the last reset.
        pending: copies to the host that nobody has waited for: (where to, what).
        open: who counts.
    """

    exact: ClassVar[bool] = True
    kind: str = "cuda"
    capability: tuple[int, int] = (8, 0)
    count: int = 1
    archs: tuple[str, ...] = WHEEL
    memory: int = 16 * 1024 * MIB
    name: str = "Pretended GPU"
    driver: int = 13000
    trouble: str = ""
    current: int = 0
    refused: list[str] = field(default_factory=list)
    allocated: Counter[int] = field(default_factory=Counter)
    peak: Counter[int] = field(default_factory=Counter)
    pending: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    open: list[Count] = field(default_factory=list)
    generators: tuple[Any, ...] = ()
    holders: Counter[tuple[int, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Refuse what no machine is."""
        if self.kind not in ("cuda", "mps"):
            raise ValueError(f"no machine has devices of kind {self.kind!r}")
        if self.kind == "mps" and self.count != 1:
            raise ValueError(f"no Mac has {self.count} GPUs")

    @property
    def device(self) -> torch.device:
        """The first device."""
        return torch.device(self.kind, 0)

    def uuid(self, index: int) -> uuid.UUID:
        """What NVML and torch call a GPU under any CUDA_VISIBLE_DEVICES."""
        return uuid.uuid5(uuid.NAMESPACE_OID, f"pretended {index}")

    def place(self, device: object) -> int | None:
        """Which of the pretended devices is meant; None where it is none of them."""
        if device is None or isinstance(device, int):
            return None
        wanted = torch.device(device)  # type: ignore[call-overload]
        if wanted.type != self.kind:
            return None
        index = self.current if wanted.index is None else wanted.index
        if index >= self.count:
            raise RuntimeError("CUDA error: invalid device ordinal")
        return int(index)

    # --- counting ------------------------------------------------------------------------------------------

    @contextmanager
    def counting(self) -> Iterator[Count]:
        """Count what is inside."""
        count = Count()
        self.open.append(count)
        try:
            yield count
        finally:
            self.open[:] = [each for each in self.open if each is not count]

    def waited(self, what: str) -> None:
        """The host waited for everything that was queued."""
        self.arrive()
        place = asked_at() if self.open else ""
        for count in self.open:
            count.waits[what, place] += 1

    def arrive(self) -> None:
        """Copies under way have arrived."""
        for target, values in self.pending:
            target.copy_(values)
        self.pending.clear()

    def ran(self, operation: str) -> None:
        """A kernel was started."""
        for count in self.open:
            count.operations[operation] += 1

    def refuse(self, error: Exception) -> Exception:
        """The error to raise, noted."""
        self.refused.append(f"{error} at {asked_at()}")
        return error

    # --- memory --------------------------------------------------------------------------------------------

    def lease(self, storage: torch.UntypedStorage, index: int) -> Lease:
        """Room for a storage; torch.OutOfMemoryError where none is left."""
        address, size = storage.data_ptr(), storage.nbytes()
        key = (index, address)
        if not self.holders[key]:
            if self.allocated[index] + size > self.memory:
                free = self.memory - self.allocated[index]
                raise torch.OutOfMemoryError(
                    f"CUDA out of memory. Tried to allocate {size / MIB:.2f} MiB. GPU {index} has a total capacity of "
                    f"{self.memory / MIB:.2f} MiB of which {free / MIB:.2f} MiB is free."
                    if self.kind == "cuda"
                    else f"MPS backend out of memory (MPS allocated: {self.allocated[index] / MIB:.2f} MiB). "
                    f"Tried to allocate {size / MIB:.2f} MiB on private pool."
                )
            self.allocated[index] += size
            self.peak[index] = max(self.peak[index], self.allocated[index])
        self.holders[key] += 1
        return Lease(self, key, size)


class Lease:
    """A share in a storage of the device; the last that goes gives the room back."""

    def __init__(self, machine: Machine, key: tuple[int, int], size: int) -> None:
        self.machine, self.key, self.size = machine, key, size

    def __del__(self) -> None:
        self.machine.holders[self.key] -= 1
        if not self.machine.holders[self.key]:
            del self.machine.holders[self.key]
            self.machine.allocated[self.key[0]] -= self.size


def asked_at() -> str:
    """ "bench/clock.py:77": the innermost line of the house, or of the tests where none is; what asked for a wait."""
    frame: FrameType | None = sys._getframe(1)
    of_tests = "?"
    while frame is not None:
        name = frame.f_code.co_filename
        place = name.removeprefix(HOUSE)
        if place.startswith(ROOMS):
            return f"{place}:{frame.f_lineno}"
        if place.startswith("tests/") and not name.startswith(HERE) and of_tests == "?":
            of_tests = f"{place}:{frame.f_lineno}"
        frame = frame.f_back
    return of_tests
