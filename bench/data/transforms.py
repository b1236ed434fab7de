"""What a training batch goes through in pixel space, and the one way into normalised space and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bench.contracts import Augmentation
from bench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean and std of the channels


def augment(
    images: Tensor,
    augmentation: Augmentation,
    *,
    fill: Tensor,
    generator: torch.Generator,
    mirrored: Tensor | None = None,
    part: tuple[int, slice] | None = None,
) -> Tensor:
    """Random crop from a reflected border, mirroring and cutout, drawn anew at each call, for each image by itself.

    One random crop, then a mirror image for half of them, then the square. As in the paper, the square's centre is
    uniform over the image, so the border may cut the square; unlike there, it is filled in pixel space.

    Args:
        images: (N, 3, H, W) uint8; left as they are.
        augmentation: border, mirroring and square.
        fill: (3,) uint8, the colour of the square; see `fill_colour`.
        generator: of the device of `images`, or of the CPU; then the numbers are the same on every device.
        mirrored: (N,) 0 or 1, which images to mirror; drawn where None. See `Turns`.
        part: of how many images these are which: what is drawn for them is as if all of those had been given.

    Returns:
        (N, 3, H, W) uint8, new, on the device of `images`. With CUDA nothing waits for the device.

    Raises:
        UsageError: a border or a square larger than half of the image.

    Source: reflected border: Coleman et al. 2017 (DAWNBench entries); cutout: DeVries & Taylor 2017,
    arXiv:1708.04552, section 3.2.
    """
    count, _, height, width = images.shape
    _check(augmentation, min(height, width))

    def draw(below: int) -> Tensor:
        whole, rows = part or (count, None)
        drawn = torch.randint(below, (whole, 1), generator=generator, device=generator.device)
        return (drawn if rows is None else drawn[rows]).to(images.device, non_blocking=True)

    # Border and mirroring only say where each pixel comes from, so that pixels move once, by one gather a batch.
    rows, columns = _grid(height, images), _grid(width, images)
    from_rows, from_columns = rows, columns
    if border := augmentation.translate:
        from_rows = rows + draw(2 * border + 1) - border
        from_columns = columns + draw(2 * border + 1) - border
    if augmentation.flip != "none":
        mirrored = draw(2) if mirrored is None else mirrored[:, None]
        from_columns = from_columns + mirrored * (from_columns.flip(1) - from_columns)
    changed = _picked(images, _reflected(from_rows, height), _reflected(from_columns, width))
    if augmentation.cutout:
        edge = augmentation.cutout
        in_rows = _covers(rows, draw(height), edge)
        in_columns = _covers(columns, draw(width), edge)
        square = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
        changed = fill.to(images.device, non_blocking=True).view(1, -1, 1, 1).where(square, changed)
    return changed


@dataclass(frozen=True)
class Turns:
    """Alternating mirroring: a random half of the images in the first epoch, the other half in the next, in turn.

    Source: Jordan 2024, arXiv:2404.00498, section 3.6.
    """

    first: Tensor  # (N,) 0 or 1, of the whole training split

    @classmethod
    def of(cls, count: int, seed: int, device: torch.device) -> Turns:
        """Those of `count` images, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        return cls(torch.randint(2, (count,), generator=generator).to(device))

    def mirrored(self, batch: Tensor, epoch: int) -> Tensor:
        """Which of the images with these places in the split are mirrored in an epoch: (B,) 0 or 1."""
        return self.first[batch] ^ (epoch % 2)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype | None = None) -> Tensor:
    """Pixels to what a model sees: (x / 255 - mean) / std.

    Args:
        images: (N, 3, H, W) uint8.
        mean, std: per channel, in 0..1, of the training split.
        dtype: of the result, float32 by default. A narrower one is computed in float32 and rounded once.

    Returns:
        (N, 3, H, W) on the device of `images`.
    """
    wanted = dtype or torch.float32
    values = images.to(torch.float64 if wanted == torch.float64 else torch.float32)
    for channel, (centre, spread) in enumerate(zip(mean, std, strict=True)):
        # Numbers, not tensors: a tensor made here would have to be sent to the device.
        values[:, channel].sub_(255 * centre).div_(255 * spread)
    return values.to(wanted)


def denormalise(values: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Back to pixels: the inverse of `normalise`, exact for float32 and float64.

    Args:
        values: (N, 3, H, W) floating.
        mean, std: as given to `normalise`.

    Returns:
        (N, 3, H, W) uint8; rounded, then clamped to 0..255, never wrapped; 0 where a value is NaN.
    """
    pixels = values.detach().to(torch.float64 if values.dtype == torch.float64 else torch.float32, copy=True)
    for channel, (centre, spread) in enumerate(zip(mean, std, strict=True)):
        pixels[:, channel].mul_(255 * spread).add_(255 * centre)
    return pixels.nan_to_num_(nan=0.0).round_().clamp_(0, 255).to(torch.uint8)


def fill_colour(mean: Sequence[float]) -> Tensor:
    """The mean colour in pixels, (3,) uint8, for `augment`: what is nearest to 0 in normalised space."""
    # Black is -2 standard deviations on CIFAR-10: a covered square would be the strongest feature of the image.
    return (torch.tensor(mean, dtype=torch.float64) * 255).round().clamp(0, 255).to(torch.uint8)


def _check(augmentation: Augmentation, edge: int) -> None:
    for name, value in (("translate", augmentation.translate), ("cutout", augmentation.cutout)):
        if not 0 <= value <= edge // 2:
            raise UsageError(
                f"{name} {value} is not between 0 and {edge // 2}, half of a picture of {edge} pixels",
                try_=f"{name} {min(max(value, 0), edge // 2)}",
            )


def _grid(length: int, images: Tensor) -> Tensor:
    """(N, length): 0, 1, 2, ... for each image."""
    return torch.arange(length, device=images.device).expand(len(images), length)


def _reflected(places: Tensor, length: int) -> Tensor:
    """Places outside 0..length-1 mirrored at the first and the last pixel, which are not repeated."""
    return (length - 1) - ((length - 1) - places.abs()).abs()


def _picked(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixel (rows[n, y], columns[n, x]) of image n at (y, x)."""
    count, channels, height, width = images.shape
    places = (rows[:, :, None] * width + columns[:, None, :]).view(count, 1, height * width)
    return images.flatten(2).gather(2, places.expand(-1, channels, -1)).view(count, channels, height, width)


def _covers(places: Tensor, centres: Tensor, edge: int) -> Tensor:
    """(N, length) bool: where a stretch of `edge` pixels around the centre lies; the centre is right of the middle."""
    first = centres - edge // 2
    return (places >= first) & (places < first + edge)


def shrink(inputs: Tensor, edge: int | None) -> Tensor:
    """(N, C, H, W) floating images made smaller with antialiasing; as they are where `edge` is None."""
    if edge is None or edge >= min(inputs.shape[2:]):
        return inputs
    # Without antialiasing bilinear looks at two pixels an axis and skips the rest: fine texture becomes noise.
    small = functional.interpolate(inputs, size=(edge, edge), mode="bilinear", antialias=True, align_corners=False)
    return small.contiguous(memory_format=torch.channels_last)


def prepare(images: Tensor, statistics: Statistics) -> Tensor:
    """What the model sees of (N, 3, H, W) uint8: normalised float32, channels last."""
    mean, std = statistics
    return normalise(images, mean, std).contiguous(memory_format=torch.channels_last)
