"""The test set in several views: logits averaged over mirror images and over shifts by one pixel."""

import torch
from torch import Tensor, nn

from bench.data.transforms import Statistics
from bench.evaluation import BATCH, EVALUATE, averages_of, forward
from bench.memory import Room
from bench.modes import evaluating
from bench.precision import autocast

STEPS = (0, 1, -1)  # from how many pixels further down and right a view takes each of its own


def average_logits(
    model: nn.Module,
    images: Tensor,
    plain: Tensor,
    statistics: Statistics,
    *,
    mirror: bool,
    precision: str,
    device: torch.device,
    room: Room,
) -> dict[str, Tensor]:
    """Mean logits of each image over its views, in eval mode; training flags are put back.

    An image and its mirror image weigh the same. The unshifted views weigh one half together, those shifted up and
    left one quarter, those shifted down and right one quarter; what comes in at the border is reflected.

    Args:
        model: on `device`.
        images: (N, 3, H, W) uint8.
        plain: (N, K) float32 of the images as they are, as `predict` gives them; never computed again.
        statistics: mean and std the model was trained with.
        mirror: whether a mirrored image is still of its class.
        precision: of the other views, that of the training: they are five more passes over the images. The averages
            are taken in float32 in any case.
        room: how many images fit at once, and who is told.

    Returns:
        {name: (N, K) float32 on the CPU} for the names of `averages_of`.

    Source: Keller Jordan's airbench, `infer_mirror` and `infer_mirror_translate`.
    """
    flips = (False, True) if mirror else (False,)
    first, *others = [(step, flip) for step in STEPS for flip in flips]
    logits, label = {first: plain}, "mirrored, shifted" if mirror else "shifted"
    with evaluating(model), room.progress.track(label, len(others) * len(images)) as task:
        for step, flip in others:

            def answers(rows: slice, step: int = step, mirrored: bool = flip) -> Tensor:
                with autocast(device, precision):
                    return forward(model, view(images[rows], step, mirrored=mirrored), statistics, device)

            parts = []
            for part in room.batches(EVALUATE, len(images), BATCH, answers):
                parts.append(part)
                task.advance(len(part))
            logits[step, flip] = torch.cat(parts)
    unshifted, *shifted = (torch.stack([logits[step, flip] for flip in flips]).mean(dim=0) for step in STEPS)
    whole = unshifted / 2 + torch.stack(shifted).mean(dim=0) / 2
    return dict(zip(averages_of(mirror=mirror), (unshifted, whole) if mirror else (whole,), strict=True))


def view(images: Tensor, step: int, *, mirrored: bool) -> Tensor:
    """Images moved up and left by `step` pixels (down and right where it is negative), then mirrored if wanted.

    Args:
        images: (N, 3, H, W), left as they are.
    """
    rows, columns = (_sources(edge, step) for edge in images.shape[2:])
    moved = images[:, :, rows][:, :, :, columns]
    return moved.flip(3) if mirrored else moved


def _sources(edge: int, step: int) -> Tensor:
    """(edge,) where each pixel comes from; beyond the border it comes back, and the border pixel stands once."""
    last = edge - 1
    return last - (last - (torch.arange(edge) + step).abs()).abs()
