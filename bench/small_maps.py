"""Convolutions that give small maps, as matrix products: faster in bf16 on a processor with tiles.

The fewer positions a map has, the slower torch's own convolutions are there, most of all the gradient of the filters:
three passes that give maps of 4x4 reach a fifth of the machine's matrix product, those of 16x16 most of it. Here the
positions of all images stand below each other, as the rows of one product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

MOST = 16  # positions of a map that is small: with more, oneDNN is as fast (docs/measurements.md, "Speed on two cores")

Pair = tuple[int, int]


class SmallMaps(TorchFunctionMode):
    """Within it, convolutions in channels_last that give small maps are matrix products in bfloat16.

    Those with groups, with a dilation or with a padding in words stay as they are.
    """

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 (torch's own signature)
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Asked by torch instead of each of its functions."""
        call = convolution if func is torch.conv2d else func
        return call(*args, **(kwargs or {}))


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: str | int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """torch.conv2d with its names, as a product of bfloat16 where the map is small.

    Args:
        input: (N, C, H, W).
        weight: (D, C / groups, h, w).
        bias: (D,).

    Returns:
        (N, D, H', W').
    """
    plain = groups == 1 and _pair(dilation) == (1, 1) and not isinstance(padding, str)
    if plain and input.dim() == 4 and input.is_contiguous(memory_format=torch.channels_last):
        steps, edges = _pair(stride), _pair(padding)
        lines, columns = grid(input, weight.shape[2:], steps, edges)
        if min(lines, columns) > 0 and lines * columns <= MOST:
            narrow = [each if each is None else each.bfloat16() for each in (input, weight, bias)]
            product: Tensor = Product.apply(*narrow, steps, edges)
            return product
    return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)


class Product(Function):
    """A convolution as the product of all windows (N H' W', h w C) with the filters (h w C, D), and its gradients."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 (torch's own)
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
    ) -> Tensor:
        """(N, C, H, W) to (N, D, H', W')."""
        shape = grid(x, weight.shape[2:], stride, padding)
        rows = windows(x, weight.shape[2:], stride, padding)
        ctx.save_for_backward(x, rows, weight)
        ctx.stride, ctx.padding = stride, padding
        return as_images(functional.linear(rows, in_rows(weight), bias), len(x), shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Of images, filters and biases, each where it is wanted."""
        x, rows, weight = ctx.saved_tensors
        kernel = weight.shape[2:]
        below = gradient.permute(0, 2, 3, 1).reshape(-1, len(weight))
        found: list[Tensor | None] = [None] * 5
        if ctx.needs_input_grad[0]:
            found[0] = gradient_of_images(gradient, x, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            found[1] = as_images(below.t().contiguous() @ rows, len(weight), kernel)
        if ctx.needs_input_grad[2]:
            found[2] = below.sum(dim=0)
        return tuple(found)


def gradient_of_images(gradient: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """(N, C, H, W), from the gradient of the map: the convolution with the filters turned, where each pixel has one."""
    kernel = weight.shape[2:]
    rest = (kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1])
    if stride == (1, 1) and min(rest) >= 0:
        turned = in_rows(weight.flip(2, 3).transpose(0, 1))
        return as_images(functional.linear(windows(gradient, kernel, stride, rest), turned), len(x), x.shape[2:])
    # With a stride most windows would be zeros.
    only_images = (True, False, False)
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, (1, 1), False, (0, 0), 1, only_images
    )[0]
    return found


# --- pixels below each other -------------------------------------------------------------------------------


def grid(x: Tensor, kernel: Sequence[int], stride: Pair, padding: Pair) -> Pair:
    """Lines and columns of the map that a convolution of (N, C, H, W) gives."""
    lines, columns = (
        (edge + 2 * more - size) // step + 1
        for edge, size, step, more in zip(x.shape[2:], kernel, stride, padding, strict=True)
    )
    return lines, columns


def windows(x: Tensor, kernel: Sequence[int], stride: Pair, padding: Pair) -> Tensor:
    """What each position of the map sees of (N, C, H, W): (N H' W', h w C)."""
    lines, columns = grid(x, kernel, stride, padding)
    seen = x.permute(0, 2, 3, 1)
    if any(padding):
        seen = functional.pad(seen, (0, 0, padding[1], padding[1], padding[0], padding[0]))
    image, line, column, channel = seen.stride()
    every = seen.as_strided(
        (len(x), lines, columns, *kernel, x.shape[1]),
        (image, line * stride[0], column * stride[1], line, column, channel),
    )
    return every.reshape(len(x) * lines * columns, -1)


def in_rows(weight: Tensor) -> Tensor:
    """(D, C, h, w) to (D, h w C)."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def as_images(rows: Tensor, count: int, shape: Sequence[int]) -> Tensor:
    """Rows of (count, h, w) positions to (count, C, h, w) in channels_last."""
    return rows.view(count, *shape, -1).permute(0, 3, 1, 2)
