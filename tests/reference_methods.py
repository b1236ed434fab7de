"""The other methods once more, slow and plain: one image, one class, one position or channel at a time, in float64.

Written from the papers; where a library departs from its paper, its constants are parameters here. Nothing is shared
with the adapters.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

Floats = np.ndarray


def grid_and_slope(net: nn.Module, layer: str, image: Tensor, target: int) -> tuple[Floats, Floats]:
    """(C, h, w) twice: what the layer gave, before anything wrote over it, and the gradient of the logit there."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()

    handle = net.get_submodule(layer).register_forward_hook(keep)
    logit = net(image[None].clone().requires_grad_())[0, target]
    handle.remove()
    (slope,) = torch.autograd.grad(logit, kept[-1])
    return kept[-1][0].detach().numpy(), slope[0].numpy()


def hirescam(grid: Floats, slope: Floats) -> Floats:
    return np.asarray(sum(slopes * values for values, slopes in zip(grid, slope, strict=True)))


def layercam(grid: Floats, slope: Floats) -> Floats:
    return hirescam(grid, np.where(slope > 0, slope, 0))


def xgradcam(grid: Floats, slope: Floats, added: float = 1e-7) -> Floats:
    found = np.zeros(grid.shape[1:])
    for values, slopes in zip(grid, slope, strict=True):
        found += (slopes * values).sum() / (values.sum() + added) * values
    return found


def gradcam_plus_plus(grid: Floats, slope: Floats, added: float = 1e-6) -> Floats:
    """Equation 19 with the logit's gradient in place of its exponential's."""
    found = np.zeros(grid.shape[1:])
    for values, slopes in zip(grid, slope, strict=True):
        rising = slopes[slopes > 0]
        found += (rising * rising**2 / (2 * rising**2 + values.sum() * rising**3 + added)).sum() * values
    return found


def eigencam(grid: Floats) -> Floats:
    """From the covariance of the channels; turned to rise where the mean over channels does."""
    positions = grid.reshape(len(grid), -1).T
    positions = positions - positions.mean(axis=0)
    _, vectors = np.linalg.eigh(positions.T @ positions)
    found = (positions @ vectors[:, -1]).reshape(grid.shape[1:])
    turn = np.corrcoef(found.ravel(), grid.mean(axis=0).ravel())[0, 1]
    return np.asarray(found if turn > 0 else -found)


def scorecam(net: nn.Module, grid: Floats, image: Tensor, target: int, added: float = 1e-8) -> Floats:
    logits = []
    for values in grid:
        mask = enlarged(values, image.shape[1:])
        mask = (mask - mask.min()) / (mask.max() - mask.min() + added)
        with torch.no_grad():
            logits.append(net((image * torch.from_numpy(mask))[None])[0, target].item())
    weights = np.exp(np.array(logits) - max(logits))
    weights /= weights.sum()
    return np.asarray(sum(weight * values for weight, values in zip(weights, grid, strict=True)))


def enlarged(values: Floats, size: tuple[int, ...]) -> Floats:
    """Bilinear, corners on corners."""
    found = np.zeros(size)
    for y, x in np.ndindex(*size):
        v, u = (at * (n - 1) / (m - 1) for at, n, m in zip((y, x), values.shape, size, strict=True))
        top, left = min(int(v), values.shape[0] - 2), min(int(u), values.shape[1] - 2)
        down, right = v - top, u - left
        upper = (1 - right) * values[top, left] + right * values[top, left + 1]
        lower = (1 - right) * values[top + 1, left] + right * values[top + 1, left + 1]
        found[y, x] = (1 - down) * upper + down * lower
    return found


def ablationcam(weights: list[float], grid: Floats) -> Floats:
    return np.asarray(sum(weight * values for weight, values in zip(weights, grid, strict=True)))


def ablation_weights(net: nn.Module, layer: str, channels: int, image: Tensor, *, target: int) -> list[float]:
    """The drop of the logit over the logit's size, channel by channel."""

    def without(channel: int | None) -> float:
        def change(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
            left = output.clone()
            if channel is not None:
                left[:, channel] = 0
            return left

        handle = net.get_submodule(layer).register_forward_hook(change)
        with torch.no_grad():
            logit = float(net(image[None])[0, target])
        handle.remove()
        return logit

    whole = without(None)
    return [(whole - without(channel)) / abs(whole) for channel in range(channels)]


# --- in pixels ---------------------------------------------------------------------------------------------


def pixel_slope(net: nn.Module, image: Tensor, target: int) -> Tensor:
    """(3, H, W)."""
    leaf = image[None].clone().requires_grad_()
    return torch.autograd.grad(net(leaf)[0, target], leaf)[0][0]


def saliency(net: nn.Module, image: Tensor, target: int) -> Tensor:
    return pixel_slope(net, image, target).abs().amax(0)


def input_x_gradient(net: nn.Module, image: Tensor, target: int) -> Tensor:
    return (image * pixel_slope(net, image, target)).sum(0)


def integrated_gradients(net: nn.Module, image: Tensor, target: int, *, steps: int = 50) -> Tensor:
    """The Gauss-Legendre sum along the line from 0 to the image."""
    total = torch.zeros_like(image)
    for point, weight in zip(*np.polynomial.legendre.leggauss(steps), strict=True):
        total += weight / 2 * pixel_slope(net, image * (1 + point) / 2, target)
    return (total * image).sum(0)


def occlusion(net: nn.Module, image: Tensor, target: int, *, edge: int = 4) -> Tensor:
    found = torch.zeros(image.shape[1:], dtype=image.dtype)
    with torch.no_grad():
        whole = net(image[None])[0, target]
        for top in range(0, image.shape[1], edge):
            for left in range(0, image.shape[2], edge):
                changed = image.clone()
                changed[:, top : top + edge, left : left + edge] = 0
                found[top : top + edge, left : left + edge] = whole - net(changed[None])[0, target]
    return found


def for_all(images: Tensor, targets: Tensor, one: Callable[[Tensor, int], Tensor | Floats]) -> Tensor:
    """(N, T, h, w) of `one(image, target)`."""
    return torch.stack(
        [
            torch.stack([torch.as_tensor(one(image, target)) for target in row])
            for image, row in zip(images, targets.tolist(), strict=True)
        ]
    )


def gradient_shap(net: nn.Module, images: Tensor, targets: Tensor, points: int = 4000, noise: float = 0.1) -> Tensor:
    """(N, T, H, W): mean of noisy input x gradient somewhere between grey, which is 0, and the noisy input."""
    maps = []
    for image, row in zip(images, targets, strict=True):
        noisy = image + noise * torch.randn(points, *image.shape, dtype=image.dtype)
        where = (noisy * torch.rand(points, 1, 1, 1, dtype=image.dtype)).requires_grad_()
        logits = net(where)
        slopes = [torch.autograd.grad(logits[:, one].sum(), where, retain_graph=True)[0] for one in row.tolist()]
        maps.append(torch.stack([(slope * noisy).mean(0).sum(0) for slope in slopes]))
    return torch.stack(maps)


def kernel_shap(present: Floats, logits: Floats, *, heavy: float = 1e6) -> Floats:
    """(squares,) values of the linear model that meets the logits best: of all squares and of none a million times.

    Args:
        present: (n, squares) 1 for each square that was there.
        logits: (n,) of the target.
    """
    whole = (present.all(axis=1)) | (~present.any(axis=1))
    weights = np.sqrt(np.where(whole, heavy, 1.0))
    rows = np.column_stack([present, np.ones(len(present))])
    return np.asarray(np.linalg.lstsq(rows * weights[:, None], logits * weights, rcond=None)[0][:-1])


def z_plus(conv: tuple[Tensor, Tensor], x: Tensor, relevance: Tensor, *, stride: int) -> Tensor:
    """(C, H, W) what a 3x3 convolution with a border of one hands back: shares of the contributions above zero."""
    weight, bias = conv
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    found = torch.zeros_like(padded)
    for channel, row, column in np.ndindex(*relevance.shape):
        rows, columns = (slice(at * stride, at * stride + 3) for at in (row, column))
        parts = (padded[:, rows, columns] * weight[channel]).clamp(min=0)
        total = parts.sum() + bias[channel].clamp(min=0) + 1e-6
        found[:, rows, columns] += parts / total * relevance[channel, row, column]
    return found[:, 1:-1, 1:-1]


def in_shares(part: Tensor, whole: Tensor, relevance: Tensor) -> Tensor:
    """What the part of a sum gets: its share of the whole."""
    return part / (whole + 1e-6 * torch.where(whole < 0, -1.0, 1.0)) * relevance


def merged(conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution and the norm behind it."""
    weight, bias = (each.detach() for each in conv.parameters())
    if norm is None:
        return weight, bias
    known = norm.state_dict()
    scale = known["weight"] / (known["running_var"] + norm.eps).sqrt()
    return weight * scale[:, None, None, None], (bias - known["running_mean"]) * scale + known["bias"]
