"""Methods that change the input or a layer hundreds of times and see what becomes of the logit."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from bench.contracts import ExplainerSpec
from bench.errors import ContractError

from .costs import pass_a_channel, pass_a_patch

PATCH = 4  # pixels an edge: of 32 pixels as many patches as layer3 has positions
AT_ONCE = 64  # changed images a forward pass


def scorecam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Score-CAM: channels weighted by the logit of the image seen through each of them.

    A channel's activation, resized to the image and scaled to 0..1, is multiplied with the image; the weights are
    the softmax over channels of the target's logits. The library resizes with aligned corners, computes the softmax
    in float32, and does not subtract the logit of a blank image, which the softmax would cancel. All targets share
    the forward passes.

    Args:
        As the contract has them (`bench.contracts.Explainer`); outputs of the layers are (N, C, h, w).

    Returns:
        {layer: (N, T, h, w)}; below zero only where activations are. Unit: activations.

    Raises:
        UsageError, ContractError: as in `gradcam`.

    Source: Wang et al. 2020, arXiv:1910.01279; pytorch_grad_cam.ScoreCAM.
    """
    from .masking import RawScoreCAM, masked_maps

    return masked_maps(RawScoreCAM, model, layers, images, targets)


def ablationcam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Ablation-CAM: channels weighted by the drop of the logit when the channel becomes zero.

    A weight is (logit - logit without the channel) / |logit|, so that it is positive where the channel speaks for
    the class. The paper and the library divide by the logit itself: for a negative one, which the true class of a
    misclassified image often has, that turns the map's sign. At layers with negative activations the library puts
    -1e7 and less instead of the paper's zero; here it is zero everywhere. Weights are float32, as the library's.
    All targets share the forward passes.

    Args:
        As the contract has them (`bench.contracts.Explainer`); outputs of the layers are (N, C, h, w).

    Returns:
        {layer: (N, T, h, w)}, signed. Unit: activations, times the share of the logit's size that they account for.

    Raises:
        UsageError, ContractError: as in `gradcam`.

    Source: Desai & Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360; pytorch_grad_cam.AblationCAM.
    """
    from .masking import RawAblationCAM, masked_maps

    return masked_maps(RawAblationCAM, model, layers, images, targets)


def occlusion(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Occlusion: the drop of the target's logit when one 4x4 patch becomes the mean colour, patch after patch.

    Patches lie side by side. Every pixel of a patch holds the patch's drop, and so does every channel, of which
    Captum gives three: here they are one, not their sum. Captum divides in float32. All targets share the passes.

    Args:
        As the contract has them (`bench.contracts.Explainer`); layers must be ("input",); H and W at least 4.

    Returns:
        {"input": (N, T, H, W)}, signed. Unit: logits.

    Raises:
        ContractError: another layer than `input`; images below 4 pixels; a target is missing or not a class; names
            which.

    Source: Zeiler & Fergus 2014, arXiv:1311.2901, section 4; captum.attr.Occlusion.
    """
    from captum.attr import Occlusion

    from .memoized import Remembering
    from .pixels import pixels

    if min(images.shape[2:]) < PATCH:
        raise ContractError(
            f"images of {images.shape[2]}x{images.shape[3]} pixels hold no patch of {PATCH}x{PATCH} to cover",
            try_="--explainer integrated_gradients, which needs no patch",
        )
    patch = (images.shape[1], PATCH, PATCH)
    with pixels(model, layers, images, targets) as request:
        asked = Remembering(model, images.dtype)
        method, more = Occlusion(asked), max(1, AT_ONCE // len(images))  # Captum covers so many patches a batch at once

        def drops(inputs: Tensor, target: Tensor) -> Tensor:
            asked.begin_again()
            found = method.attribute(
                inputs.detach(), patch, patch, baselines=0.0, target=target, perturbations_per_eval=more
            )
            same: Tensor = found[:, 0]
            return same

        return request.maps(drops)


SCORECAM = ExplainerSpec(
    name="scorecam",
    explain=scorecam,
    source="Wang et al. 2020, arXiv:1910.01279; pytorch_grad_cam.ScoreCAM",
    backend="grad-cam",
    signed=False,
    joint=False,
    cost=pass_a_channel,
    max_batch=16,
)
ABLATIONCAM = ExplainerSpec(
    name="ablationcam",
    explain=ablationcam,
    source="Desai & Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360; pytorch_grad_cam.AblationCAM",
    backend="grad-cam",
    joint=False,
    cost=pass_a_channel,
    max_batch=16,
)
OCCLUSION = ExplainerSpec(
    name="occlusion",
    explain=occlusion,
    source="Zeiler & Fergus 2014, arXiv:1311.2901; captum.attr.Occlusion",
    backend="captum",
    output="input",
    cost=partial(pass_a_patch, edge=PATCH),
)
