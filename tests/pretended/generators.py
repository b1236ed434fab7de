"""Random numbers of the pretended devices, which are drawn on the CPU and kept apart from the CPU's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pretended.machine import Machine

REAL = torch.Generator
MARK = torch.arange(16, dtype=torch.uint8)  # behind the state, so that the CPU's generators refuse it, and the reverse


class Generator(REAL):
    """torch.Generator that may be of a pretended device."""

    machine: Machine | None
    index: int

    def __new__(cls, device: Any = "cpu") -> Generator:
        """One of the CPU, which says that it is of the device."""
        return REAL.__new__(cls)

    def __init__(self, device: Any = "cpu") -> None:
        self.machine, self.index = None, 0

    @classmethod
    def of(cls, machine: Machine, index: int) -> Generator:
        """A generator of a pretended device."""
        made = cls()
        made.machine, made.index = machine, index
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it says it is."""
        return torch.device(self.machine.kind, self.index) if self.machine else torch.device("cpu")

    def get_state(self) -> Tensor:
        """The state, of another size than the CPU's."""
        state = super().get_state()
        return torch.cat([state, MARK]) if self.machine else state

    def set_state(self, state: Tensor) -> Generator:
        """Put a state back; RuntimeError where it is one of the CPU."""
        if self.machine is None:
            super().set_state(state)
            return self
        if not torch.equal(state[-len(MARK) :], MARK):
            raise RuntimeError("RNG state is wrong size")
        super().set_state(state[: -len(MARK)].clone())
        return self
