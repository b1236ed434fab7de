"""DeepLIFT's rescale rule where Captum's own does not hold: which functions it is for, and max-pooling."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.utils import _pair

from .own_relus import RELUS

EPSILON = 1e-10  # Captum's: a smaller difference between image and baseline is none
# Each value that they give depends on one value that they are given. For what enters and leaves such a function
# Captum's rule is one and the same, though its list of modules ends with softplus.
OF_ONE_VALUE = frozenset(
    {
        *(*RELUS, F.relu6, F.hardtanh, F.hardtanh_, F.leaky_relu, F.leaky_relu_, torch.prelu),
        *(torch.clamp, Tensor.clamp, Tensor.clamp_, torch.clamp_min, Tensor.clamp_min, Tensor.clamp_min_),
        *(F.elu, F.elu_, F.selu, torch.selu_, F.celu, torch.celu_, F.softplus, F.logsigmoid, F.softsign),
        *(F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid),
        *(torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_),
        *(torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_),
    }
)


def max_pooled(
    images: Tensor,
    kernel_size: Any,  # noqa: ANN401 (an int or two)
    stride: Any = None,  # noqa: ANN401
    padding: Any = 0,  # noqa: ANN401
    dilation: Any = 1,  # noqa: ANN401
    ceil_mode: bool = False,
    return_indices: Any = False,  # noqa: ANN401 (True gives a pair, without the rule)
) -> Tensor:
    """`F.max_pool2d`, which gives gradients by the rescale rule: each window has a copy of its pixels.

    Captum's own rule writes contributions to where a window's largest value lies, one over the other where windows
    overlap, and takes the first image's gradient wherever image and baseline are equal.

    Args:
        images: (2N, C, H, W): N images, then their baselines, somewhere within a net.
    """
    pooled: Tensor = F.max_pool2d(images, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    if return_indices:
        return pooled
    each = map(_pair, (kernel_size, stride or kernel_size, padding, dilation))
    axes = [
        torch.arange(count)[:, None] * step - pad + torch.arange(edge) * gap
        for count, edge, step, pad, gap in zip(pooled.shape[-2:], *each, strict=True)
    ]
    return largest_in_windows(images, axes)


def adaptively_pooled(images: Tensor, output_size: Any, return_indices: Any = False) -> Tensor:  # noqa: ANN401
    """The same of `F.adaptive_max_pool2d`, whose windows may overlap and differ in size."""
    pooled: Tensor = F.adaptive_max_pool2d(images, output_size, return_indices=return_indices)
    if return_indices:
        return pooled
    axes = []
    for own, count in zip(images.shape[-2:], pooled.shape[-2:], strict=True):
        starts, ends = ((torch.arange(count) + more) * own for more in (0, 1))
        starts, ends = starts // count, (ends + count - 1) // count
        places = starts[:, None] + torch.arange(int((ends - starts).max()))
        axes.append(torch.where(places < ends[:, None], places, own))
    return largest_in_windows(images, axes)


def largest_in_windows(images: Tensor, axes: Sequence[Tensor]) -> Tensor:
    """(2N, C, h, w): of each window the largest value.

    Args:
        axes: (h, k) rows and (w, l) columns of the windows; those outside of the image are nothing.
    """
    windows = F.pad(images, (0, 1, 0, 1), value=-torch.inf)
    for axis, places in zip((-2, -1), axes, strict=True):
        own = images.shape[axis]
        within = torch.where((places >= 0) & (places < own), places, own)
        windows = windows.index_select(axis, within.flatten().to(images.device))
    apart = windows.reshape(*images.shape[:-2], *axes[0].shape, *axes[1].shape).transpose(-3, -2)
    largest: Tensor = LargestOf.apply(apart.flatten(-2))
    return largest


class LargestOf(torch.autograd.Function):
    """The largest value of each window; what its change is due to, by the rule of DeepLIFT's authors and of Captum.

    As far as the image's largest value rises above the baseline's, the change is due to where it lies; as far as it
    falls below, to where the baseline's lies. A multiplier is that contribution over the pixel's own change.
    """

    @staticmethod
    def forward(ctx: Any, windows: Tensor) -> Tensor:  # noqa: ANN401 (torch's own)
        """(2N, ..., k) to (2N, ...)."""
        largest, places = windows.max(-1)
        ctx.save_for_backward(windows, places)  # not the largest, which may be overwritten
        return largest

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> Tensor:  # noqa: ANN401
        """Multipliers (2N, ..., k) from those (2N, ...) of the largest values."""
        windows, places = ctx.saved_tensors
        places = places[..., None]
        largest = windows.gather(-1, places)
        lower = torch.minimum(*largest.chunk(2)).repeat(2, *[1] * (largest.ndim - 1))  # the same for either half
        risen = (largest - lower) * slopes[..., None]  # of image and of baseline: one of the two is 0
        plain, due = (torch.zeros_like(windows).scatter(-1, places, each) for each in (slopes[..., None], risen))
        contribution, change = (torch.sub(*each.chunk(2)).repeat(2, *[1] * (each.ndim - 1)) for each in (due, windows))
        return torch.where(change.abs() < EPSILON, plain, contribution / change)


POOLING: Mapping[Any, Callable[..., Tensor]] = {
    F.max_pool2d: max_pooled,
    torch.max_pool2d: max_pooled,
    F.adaptive_max_pool2d: adaptively_pooled,
}
