"""The test set in several views: logits averaged over mirror images and over shifts by one pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from bench.evaluation import BATCH, evaluating, forward
from bench.stats import wilson
from bench.values.views import Average

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.contracts import Progress
    from bench.evaluation import Statistics

VIEWS = {"mirror": 2, "mirror and shifts": 6, "shifts": 3}  # forward passes an image
WORDS = {"mirror": "mirror average", "mirror and shifts": "mirror and shifts", "shifts": "shifts alone"}
FIGURES = {
    "mirror average": "accuracy_mirror",
    "mirror and shifts": "accuracy_shifts",
    "shifts alone": "accuracy_shifts",
}
STEPS = (0, 1, -1)  # from how many pixels further down and right a view takes each of its own


def averages_of(*, mirror: bool) -> tuple[str, ...]:
    """The averages that there are of a data set: where mirroring would change the class, shifts alone."""
    return ("mirror", "mirror and shifts") if mirror else ("shifts",)


def figure_names(*, mirror: bool) -> tuple[str, ...]:
    """What a threshold may call them."""
    return tuple(FIGURES[WORDS[name]] for name in averages_of(mirror=mirror))


def average_logits(
    model: nn.Module,
    images: Tensor,
    plain: Tensor,
    statistics: Statistics,
    *,
    mirror: bool,
    narrow: bool,
    device: torch.device,
    progress: Progress,
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
        narrow: run the other views in bf16, as a training in bf16 did: they are five more passes over the images.
            The averages are taken in float32 either way.

    Returns:
        {name: (N, K) float32 on the CPU} for the names of `averages_of`.

    Source: Keller Jordan's airbench, `infer_mirror` and `infer_mirror_translate`.
    """
    flips = (False, True) if mirror else (False,)
    first, *others = [(step, flip) for step in STEPS for flip in flips]
    logits, label = {first: plain}, "mirrored, shifted" if mirror else "shifted"
    with evaluating(model), progress.track(label, len(others) * len(images)) as task:
        for step, flip in others:
            parts = []
            for batch in torch.split(images, BATCH):
                with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
                    seen = view(batch, step, mirrored=flip)
                    parts.append(forward(model, seen, statistics, device))
                task.advance(len(batch))
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


def read_averages(metrics: Mapping[str, object], total: int) -> tuple[Average, ...]:
    """What a run's metrics say of `total` test images; counts that are missing or cannot be are left out."""
    rows, found = metrics.get("averages"), []
    for name, views in VIEWS.items():
        row = rows.get(name) if isinstance(rows, Mapping) else None
        correct = row.get("correct") if isinstance(row, Mapping) else None
        if isinstance(correct, int) and 0 <= correct <= total:
            found.append(Average(WORDS[name], wilson(correct, total), correct, views))
    return tuple(found)
