"""What the model says when patches of an image are covered with the mean colour."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import Floats, Integers
from bench.scoring.patches import as_masks


def batch_size(device: torch.device) -> int:
    """Images a call: on a CPU no more than keep their activations near the cores."""
    return 64 if device.type == "cpu" else 512


def covered(images: Tensor, masks: Tensor) -> Tensor:
    """Images whose masked patches are the data set's mean colour, which is 0 once an image is normalised.

    Args:
        images: (M, 3, H, W), normalised.
        masks: (M, h, w) bool, True where a patch is covered; h divides H, w divides W.

    Returns:
        (M, 3, H, W), channels last.
    """
    tall, wide = images.shape[2] // masks.shape[1], images.shape[3] // masks.shape[2]
    pixels = masks.repeat_interleave(tall, dim=1).repeat_interleave(wide, dim=2)
    return images.masked_fill(pixels[:, None], 0).contiguous(memory_format=torch.channels_last)


def answers_to(
    model: nn.Module, images: Tensor, *, rows: Integers, sets: Integers, grid: tuple[int, int]
) -> Iterator[Floats]:
    """Logits of images with sets of patches covered, batch by batch.

    Args:
        model: in eval mode, gives logits (B, K).
        images: (N, 3, H, W), normalised, on the model's device.
        rows: (M,) which image each answer is of.
        sets: (M,) uint64, which of its patches are covered.

    Yields:
        (B, K) float32, in the order of `rows`.
    """
    size = batch_size(images.device)
    for start in range(0, len(rows), size):
        chosen = torch.from_numpy(rows[start : start + size]).to(images.device)
        masks = torch.from_numpy(as_masks(sets[start : start + size], grid)).to(images.device)
        with torch.inference_mode():
            logits: Tensor = model(covered(images[chosen], masks))
        found: Floats = logits.float().cpu().numpy().astype(np.float32)
        yield found
