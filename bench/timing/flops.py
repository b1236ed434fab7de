"""Work that is counted, not timed: FLOP, bytes that eager code moves, the least that Grad-CAM at a layer can do."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.explaining.plan import INPUT_LAYER
from bench.total_flops import TotalFlops


@dataclass(frozen=True)
class Counted:
    """FLOP of convolutions and matrix products (two a multiplication), and bytes read and written, of one call."""

    flops: float
    bytes: float


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of the tensors that every operation takes and gives: what eager code moves at least.

    Operations that only look at memory another way count nothing. What a cache keeps between two operations is
    counted all the same, so the bytes of a small batch can be moved faster than memory allows.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0.0

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        """Run the operation and count."""
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = {id(each): each for each in tree_leaves((args, kwargs, out)) if isinstance(each, Tensor)}
            self.bytes += sum(each.nbytes for each in tensors.values())
        return out


def counted(work: Callable[[], object]) -> Counted:
    """What one call of some work does."""
    counter, traffic = TotalFlops(), Traffic()
    with counter, traffic:
        work()
    return Counted(float(counter.get_total_flops()), traffic.bytes)


def floor_flops(model: nn.Module, layer: str, images: Tensor) -> float | None:
    """FLOP that an exact Grad-CAM at a layer cannot do without: one forward pass, and back down to the layer.

    None where the layer has no part in the logits as a tensor of its own, or is the input.

    Args:
        model: in eval mode; left as found.
        images: (N, 3, H, W).
    """
    if layer == INPUT_LAYER:
        return None
    own = copy.deepcopy(model).eval().requires_grad_(False)
    leaves: list[Tensor] = []

    def leaf(module: nn.Module, inputs: object, output: object) -> object:
        if not isinstance(output, Tensor):
            return None
        leaves.append(output.detach().requires_grad_(True))
        return leaves[-1].clone()  # so that what follows may write into it

    own.get_submodule(layer).register_forward_hook(leaf)
    counter = TotalFlops()
    with counter, torch.enable_grad():
        logits = own(images)
        if len(leaves) != 1 or not logits.requires_grad:
            return None
        torch.autograd.grad(logits.sum(), leaves)
    return float(counter.get_total_flops())
