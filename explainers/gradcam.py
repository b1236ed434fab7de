"""pytorch-grad-cam's GradCAM."""

from collections.abc import Sequence

from torch import Tensor, nn

from bench.contracts import ExplainerSpec

from .costs import gradcam_cost


def gradcam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """pytorch-grad-cam's Grad-CAM: channels weighted by the mean gradient of the target's logit, then summed.

    The library makes the loss of its ClassifierOutputTargets, runs backward, collects activations and gradients
    through its hooks, weights and sums them in numpy. Ours is the forward pass (one for all targets and layers, on
    a frozen model), and that the sum is taken before the library's ReLU, scaling and resizing. numpy has no
    bfloat16 and adds float16 up in float16, so for both the library is given float32.

    Args:
        model: gives logits (N, K). Left as found.
        layers: dotted module names whose outputs are (N, C, h, w).
        images: (N, 3, H, W), normalised as in training.
        targets: (N, T) int64, the classes each map speaks for.

    Returns:
        {layer: (N, T, h, w)} in the dtype of `images`, signed, detached. Unit: logits; a position's value is
        the sum over channels of the mean gradient (logits per unit of activation) times the position's activation.

    Raises:
        UsageError: a layer is no module of the model.
        ContractError: a layer has no grid or no part in the logits, a target is missing or not a class; names which.

    Source: Selvaraju et al. 2017, arXiv:1610.02391; pytorch_grad_cam.GradCAM.
    """
    return by_library("GradCAM", model, layers, images, targets)


def by_library(
    method: str, model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """The raw maps of a class of the library, which is imported by now."""
    from .replay import replayed_maps

    return replayed_maps(method, model, layers, images, targets)


GRADCAM = ExplainerSpec(
    name="gradcam",
    explain=gradcam,
    source="Selvaraju et al. 2017, arXiv:1610.02391; pytorch_grad_cam.GradCAM",
    backend="grad-cam",
    claims="grad-cam",
    cost=gradcam_cost,
)
