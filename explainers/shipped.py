"""What the libraries' own users see: finished pictures, by the libraries' own calls and with their mistakes."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import ExplainerSpec, Floats

from .activations import borrowed, finished, private, record
from .costs import WHOLE_NET, gradcam_cost
from .layers import check_request, find_layers
from .pixels import check_classes

Draw = Callable[[nn.Module, nn.Module, Tensor, Tensor], Tensor]

OUTLIERS = 2  # per cent: what Captum's visualiser leaves out unless told otherwise


def gradcam_picture(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """pytorch-grad-cam's finished picture: `GradCAM(model, [layer])(images, targets)`, once a layer and target.

    Nothing is repaired. On a CPU the library keeps an alias of the layer's output, so at a layer whose output is
    overwritten in place by what follows (the second norm of a block, say) the picture is as wrong as its users get it.

    Args:
        model: gives logits (N, K). Left as found.
        layers: dotted module names whose outputs are (N, C, h, w); each gets its own picture, never a mean.
        images: (N, 3, H, W), normalised as in training.
        targets: (N, T) int64, the classes each picture speaks for.

    Returns:
        {layer: (N, T, H, W)} in 0..1, in the dtype of `images` though the library computes float32, detached.

    Raises:
        UsageError: a layer is no module of the model.
        ContractError: a layer has no part in the logits, a target is missing or not a class. What else the library
            raises passes.

    Source: pytorch_grad_cam.GradCAM, its `forward` and `scale_cam_image`.
    """
    return drawn(by_gradcam, model, layers, images=images, targets=targets)


def captum_picture(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Captum's finished picture: LayerGradCam, `LayerAttribution.interpolate`, the visualiser's positive normalisation.

    The visualiser refuses a map without a positive value (AssertionError), and draws none that is not finite. Here
    the first is 0 everywhere and the second NaN everywhere, so that the other pictures of a batch are not lost.

    Args:
        model: gives logits (N, K). Left as found.
        layers: dotted module names whose outputs are (N, C, h, w).
        images: (N, 3, H, W), normalised as in training.
        targets: (N, T) int64, the classes each picture speaks for.

    Returns:
        {layer: (N, T, H, W)} in 0..1, in the dtype of `images`, detached.

    Raises:
        UsageError: a layer is no module of the model.
        ContractError: a layer has no part in the logits, a target is missing or not a class. What else the library
            raises passes.

    Source: captum.attr.LayerGradCam, captum.attr.LayerAttribution, captum.attr.visualization.
    """
    return drawn(by_captum, model, layers, images=images, targets=targets)


def drawn(draw: Draw, model: nn.Module, layers: Sequence[str], *, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """One call a layer and target, as a user makes it, on a model that is given back as it was found."""
    check_request(layers, images, targets)
    modules, inputs = find_layers(model, layers), private(images)
    with borrowed(model):
        check_classes(model, inputs, targets)
        try:
            return {
                name: finished([draw(model, module, inputs, column) for column in targets.unbind(1)], images)
                for name, module in modules.items()
            }
        except (AttributeError, RuntimeError):
            record(model, layers, inputs[:1], targets[:1])  # refuses, in our words, what has no map
            raise


def by_gradcam(model: nn.Module, layer: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """(N, H, W) float32 for one target an image, as the library's README calls it."""
    from pytorch_grad_cam.grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model.requires_grad_(True)  # the library needs it; a user's model has it
    cam = GradCAM(model, [layer])
    try:
        wanted: list[nn.Module] = [ClassifierOutputTarget(target) for target in targets.tolist()]  # type: ignore[misc]
        return torch.from_numpy(cam(images, wanted))
    finally:
        cam.activations_and_grads.release()


def by_captum(model: nn.Module, layer: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """(N, H, W) for one target an image, on the CPU."""
    from captum.attr import LayerAttribution, LayerGradCam

    maps = LayerGradCam(model, layer).attribute(images, target=targets)
    large = LayerAttribution.interpolate(maps, tuple(images.shape[2:]))
    return torch.from_numpy(np.stack([visualised(each) for each in large.detach().squeeze(1).cpu().numpy()]))


def visualised(attribution: Floats) -> Floats:
    """(H, W) as Captum's visualiser scales it before it draws; no figure is opened."""
    # Private, but the only way to what is drawn: the public functions return a figure of matplotlib's.
    from captum.attr._utils.visualization import _normalize_attr

    if not np.isfinite(attribution).all():
        return np.full_like(attribution, np.nan)
    if not (attribution > 0).any():
        return np.zeros_like(attribution)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Attempting to normalize")  # small maps are drawn all the same
        scaled: Floats = _normalize_attr(attribution, "positive", OUTLIERS)
    return scaled


GRADCAM_SHIPPED = ExplainerSpec(
    name="gradcam_shipped",
    explain=gradcam_picture,
    source="Selvaraju et al. 2017, arXiv:1610.02391; pytorch_grad_cam.GradCAM as its users call it",
    backend="grad-cam",
    output="picture",
    signed=False,
    claims="grad-cam",
    steps=(
        "ReLU",
        "smallest value subtracted, divided by largest + 1e-7",
        "resized bilinearly (half-pixel centres)",
        "smallest value subtracted, divided by largest + 1e-7, again",
    ),
    joint=False,
    # A forward pass and a backward pass through the whole net, weights included, for each layer and target.
    cost=lambda layer: 3 * WHOLE_NET / 2,
)
CAPTUM_SHIPPED = ExplainerSpec(
    name="captum_shipped",
    explain=captum_picture,
    source="Selvaraju et al. 2017, arXiv:1610.02391; captum.attr.LayerGradCam, interpolate and visualiser",
    backend="captum",
    output="picture",
    signed=False,
    claims="grad-cam",
    steps=(
        "resized to the nearest value",
        "ReLU",
        "divided by the value at 98 % of the cumulative sum, cut at 1",
    ),
    joint=False,
    cost=gradcam_cost,
)
