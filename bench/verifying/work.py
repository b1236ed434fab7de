"""How much work a piece of code is: the operations of its convolutions and products, counted, not timed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Work(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up FLOP within a block; torch's FlopCounterMode also follows modules, and stumbles over leaves."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0.0

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        """Run the operation and count."""
        output = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        self.flops += count(*args, **(kwargs or {}), out_val=output) if count else 0
        return output
