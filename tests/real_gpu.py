"""This machine's own GPU, where it has one, asked the questions that the pretended machines are asked.

Waits are those that torch itself reports (its sync debug mode) and calls of `torch.cuda.synchronize`. Sums are made in
another order than on a CPU, so values are only nearly equal: `exact` says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from pretended import Count, Machine
from torch.utils._python_dispatch import TorchDispatchMode

from bench.modes import kernels_for_training

TOLD = "called a synchronizing CUDA operation"


class RealGpu(Machine):
    """The first GPU of this machine."""

    exact = False

    @contextmanager
    def counting(self) -> Iterator[Count]:
        """Count what is inside."""
        outermost = not self.open
        with super().counting() as count, ExitStack() as stack:
            if outermost:
                stack.enter_context(_waits_told(self))
                stack.enter_context(_Kernels(self))
            yield count


@contextmanager
def real_gpu() -> Iterator[RealGpu]:
    """The GPU, with kernels that add up in one order each time."""
    machine = RealGpu(capability=torch.cuda.get_device_capability(0), name=torch.cuda.get_device_name(0))
    machine.generators = torch.cuda.default_generators
    with kernels_for_training(deterministic=True):
        yield machine


class _Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations whose result lies on the GPU, but for views."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.machine = machine

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        if not func.is_view and isinstance(first, torch.Tensor) and first.is_cuda:
            self.machine.ran(func._schema.name.partition("::")[2])
        return result


@contextmanager
def _waits_told(machine: Machine) -> Iterator[None]:
    """Tell the machine of every wait."""
    show, synchronize = warnings.showwarning, torch.cuda.synchronize

    def heard(message: Any, *rest: Any, **more: Any) -> None:
        if TOLD in str(message):
            machine.waited("torch")
        else:
            show(message, *rest, **more)

    def synchronized(*given: Any) -> None:
        machine.waited("synchronize")
        synchronize(*given)

    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(), patch.object(torch.cuda, "synchronize", synchronized):
        warnings.filterwarnings("always", TOLD)
        warnings.showwarning = heard
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(mode)
