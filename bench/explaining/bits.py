"""Telling whether tensors are still the same, bit for bit and at little cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


def bits(values: Tensor) -> Tensor:
    """The same values as integers of their size, in which NaN equals itself and -0 differs from 0."""
    plain = torch.view_as_real(values) if values.is_complex() else values
    return plain.detach().view(INTEGERS[plain.element_size()])


def alike(one: Tensor, other: Tensor) -> bool:
    """Bit for bit. On the CPU by numpy, whose one thread never waits for torch's others."""
    if one.is_cpu and other.is_cpu:
        return np.array_equal(bits(one).numpy(), bits(other).numpy())
    return torch.equal(bits(one), bits(other))


def copied(values: Tensor) -> Tensor:
    """A copy of the values, on the CPU by numpy for the same reason."""
    if values.is_cpu and not values.is_complex():
        return torch.from_numpy(bits(values).numpy().copy()).view(values.dtype)
    return values.detach().clone()


def fingerprints(tensors: Collection[Tensor]) -> list[int]:
    """The sum of each tensor's bits; a mere reordering of its values escapes it. One wait for the device at most."""
    if all(values.is_cpu for values in tensors):
        return [sum_of_words(values) for values in tensors]
    sums = [bits(values).sum(dtype=torch.int64) for values in tensors]
    found: list[int] = torch.stack([one.to(sums[0].device) for one in sums]).tolist()
    return found


def sum_of_words(values: Tensor) -> int:
    """The sum of a CPU tensor's storage, read as 64-bit words: 45 MB in 2 ms on one thread, torch's takes 5 on two."""
    dense = values.is_contiguous() or values.is_contiguous(memory_format=torch.channels_last)
    flat = values.detach().as_strided((values.numel(),), (1,)) if dense else values.detach().reshape(-1)
    octets = flat.view(torch.uint8).numpy()
    whole = octets.size // 8 * 8
    return int(octets[:whole].view(np.int64).sum()) + int(octets[whole:].sum())


def unlike(before: Sequence[int], now: Sequence[int]) -> list[int]:
    """Positions at which two lists of fingerprints differ."""
    return [place for place, (one, other) in enumerate(zip(before, now, strict=True)) if one != other]
