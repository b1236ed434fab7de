"""The one post-processing that every raw map goes through: ReLU, scale, bilinear.

A difference between two pictures on a page is then a difference between explainers, not between recipes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

PIPELINE = (
    "raw map, ReLU, divided by its largest value, resized bilinearly (half-pixel centres); "
    "a difference is raw predicted minus raw true, centred on 0"
)


def postprocess(raw: Tensor, size: int, *, scale: Literal["map"] | float = "map") -> Tensor:
    """The picture of raw maps, in 0..1.

    Args:
        raw: (..., h, w), signed. Non-finite values are taken as 0.
        size: edge of the picture in pixels.
        scale: "map" divides each map by its own largest value; a number divides all by that (a shared scale), and
            one that is not above 0, the largest value of dead maps, gives 0 everywhere.

    Returns:
        (..., size, size) in the dtype of `raw`. A map without a positive value is 0 everywhere: nothing is
        divided by 0 and nothing tiny is blown up by an added constant.
    """
    from torch.nn.functional import interpolate

    # ReLU first: resized before, a negative value would pull its neighbours down.
    heat = raw.nan_to_num(0.0, 0.0, 0.0).relu()
    if scale == "map":
        top = heat.amax(dim=(-2, -1), keepdim=True)
        heat = heat / top.where(top > 0, 1)
    else:
        heat = (heat / scale).clamp(max=1) if scale > 0 else heat * 0
    flat = heat.reshape(-1, 1, *raw.shape[-2:])
    resized = interpolate(flat, size=(size, size), mode="bilinear", align_corners=False)
    return resized.reshape(*raw.shape[:-2], size, size)
