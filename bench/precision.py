"""In which numbers a net computes: what a precision means on a device, and fp32 that is IEEE fp32 for what is true."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
IEEE = "ieee"  # what torch calls fp32 without shorter factors
# Capability 7.5 without tensor cores: fp16 is slow there, and convolutions in it give NaN (pytorch/pytorch#77955).
WITHOUT_TENSOR_CORES = re.compile(r"GTX 16\d\d|MX4\d\d|\bT(400|5[05]0|600|1000|1200|2000)\b", re.IGNORECASE)


def resolved_precision(name: str, device: torch.device) -> str:
    """What a precision means on a device: `auto` is the fastest that nets can be trained in."""
    return best_precision(device)[0] if name == "auto" else name


def best_precision(device: torch.device) -> tuple[str, str]:
    """The precision that `auto` means on a device, and why in words.

    bf16 where there are units for it: CUDA GPUs from capability 8.0, and processors with AMX tiles (there ResNet18
    trained 2.4 times as fast as in fp32); where it is emulated it is slower than fp32. fp16, whose gradients need a
    scaled loss, on GPUs whose tensor cores know no bf16. Else fp32.
    """
    import torch

    if device.type == "cuda":
        capability, name = torch.cuda.get_device_capability(device), torch.cuda.get_device_name(device)
        words = f"capability {capability[0]}.{capability[1]}"
        if capability >= (8, 0):
            return "bf16", f"{words} multiplies in it"
        if capability >= (7, 0) and not WITHOUT_TENSOR_CORES.search(name):
            return "fp16", f"{words} has tensor cores for it and none for bf16"
        return "fp32", f"{words} without tensor cores"
    if device.type == "cpu":
        tiles = torch.cpu._is_amx_tile_supported()
        return ("bf16", "the processor has AMX tiles") if tiles else ("fp32", "the processor has no AMX tiles")
    return "fp32", f"bf16 and fp16 are not known to be faster on {device.type}"


def slow_precision(name: str, device: torch.device) -> str:
    """What speaks against a precision that somebody named, in words; empty where nothing does."""
    best, why = best_precision(device)
    if name in ("auto", "fp32", best) or (best == "bf16" and device.type == "cuda"):  # GPUs with bf16 have fp16
        return ""
    return f"{name} is slow on this device ({why}): --precision auto takes {best}"


def dtype_of(precision: str) -> torch.dtype:
    """The type of numbers of a resolved precision."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """A block in which products of matrices and convolutions are in a resolved precision; fp32 changes nothing.

    Weights, their momentum and the statistics of batch norms stay float32.
    """
    import torch

    from bench.small_maps import SmallMaps

    narrow = precision != "fp32"
    quick = SmallMaps() if device.type == "cpu" and precision == "bf16" else nullcontext()
    with torch.autocast(device.type, dtype_of(precision) if narrow else torch.bfloat16, enabled=narrow), quick:
        yield


# --- fp32 itself --------------------------------------------------------------------------------------------


@dataclass
class _Holders:
    """Who computes in IEEE fp32 now, and how torch's switches are put back when nobody does any more."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0
    undo: ExitStack = field(default_factory=ExitStack)


# As the switches themselves, of the whole process: a thread that is done must not take IEEE fp32 from another one.
HOLDERS = _Holders()


@contextmanager
def ieee() -> Iterator[None]:
    """A block in which fp32 is IEEE fp32; afterwards every switch of torch stands as it was found.

    By itself cuDNN rounds the factors of a convolution to TF32, 10 bits, which moves maps by up to a hundredth. A
    switch that nobody set follows the one above it, so it is left alone where that is enough: set once, it would not
    follow any more.
    """
    with HOLDERS.lock:
        HOLDERS.count += 1
        for switch in _switches():
            before = switch.fp32_precision
            if before != IEEE:
                switch.fp32_precision = IEEE
                HOLDERS.undo.callback(setattr, switch, "fp32_precision", before)
    try:
        yield
    finally:
        with HOLDERS.lock:
            HOLDERS.count -= 1
            if not HOLDERS.count:
                HOLDERS.undo.close()


def _switches() -> tuple[Any, ...]:
    """What torch keeps a precision of fp32 for, from the general to the single."""
    backends = _backends()
    cudnn, mkldnn = backends.cudnn, backends.mkldnn
    every = (cudnn.conv, cudnn.rnn, backends.cuda.matmul, mkldnn.conv, mkldnn.rnn, mkldnn.matmul)
    return (backends, cudnn, mkldnn, *every)


def _backends() -> Any:  # noqa: ANN401 (modules whose attributes torch makes by itself)
    from torch import backends

    return backends


def loosest_fp32(device: torch.device) -> str:
    """What fp32 is now on a device, in a word: `ieee` only where everything is."""
    return next((kind for kind in fp32_of(device).values() if kind != IEEE), IEEE)


def fp32_key(device: torch.device) -> dict[str, str]:
    """What the key of a file of this version says of truth's fp32; nothing where earlier ones computed it so, too."""
    return {"fp32": IEEE} if device.type == "cuda" else {}


def fp32_of(device: torch.device) -> dict[str, str]:
    """What fp32 is now on a device, `ieee`, `tf32` or `bf16`, by what is computed."""
    import torch

    backends, places = _backends(), ("convolution", "matrix product")
    if device.type == "cpu":
        switches = (backends.mkldnn.conv, backends.mkldnn.matmul)
    elif device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):  # others have no units for TF32
        switches = (backends.cudnn.conv, backends.cuda.matmul)
    else:
        return dict.fromkeys(places, IEEE)
    kinds = [switch.fp32_precision for switch in switches]
    return dict(zip(places, [IEEE if kind == "none" else kind for kind in kinds], strict=True))
