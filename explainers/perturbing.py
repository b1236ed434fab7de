"""Methods that change the input or a layer hundreds of times and see what becomes of the logit."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import ExplainerSpec
from bench.errors import ContractError

from .costs import pass_a_channel, pass_a_patch

PATCH = 4  # pixels an edge: of 32 pixels as many patches as layer3 has positions
SQUARES = 8  # an edge of the image, however large: 64 unknown values
COALITIONS = 190  # sets of squares that are tried, three for each value
MASKS, CELLS = 200, 7  # random masks, and the cells an edge of each


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
    from .pixels import at_once, pixels

    if min(images.shape[2:]) < PATCH:
        raise ContractError(
            f"images of {images.shape[2]}x{images.shape[3]} pixels hold no patch of {PATCH}x{PATCH} to cover",
            try_="--explainer integrated_gradients, which needs no patch",
        )
    patch = (images.shape[1], PATCH, PATCH)
    with pixels(model, layers, images, targets) as request:
        asked = Remembering(model, images.dtype)
        more = max(1, at_once(images) // len(images))  # Captum covers so many patches a batch at once
        method = Occlusion(asked)

        def drops(inputs: Tensor, target: Tensor) -> Tensor:
            asked.begin_again()
            found = method.attribute(
                inputs.detach(), patch, patch, baselines=0.0, target=target, perturbations_per_eval=more
            )
            same: Tensor = found[:, 0]
            return same

        return request.maps(drops)


def kernel_shap(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """KernelSHAP: the Shapley values of 8x8 squares, from a linear model of 190 answers to images without some of them.

    A square that is left out is the data set's mean colour. Sets are drawn as the Shapley kernel weighs them, beside
    all squares and none, which the linear model must meet. Every pixel of a square holds the square's value.

    Args:
        As the contract has them (`bench.contracts.Explainer`); layers must be ("input",); H and W at least 8.

    Returns:
        {"input": (N, T, H, W)}, signed. Unit: logits; the values add up to logit(image) - logit(mean colour).

    Raises:
        ContractError: as in `saliency`; images with fewer pixels than squares.

    Source: Lundberg & Lee 2017, arXiv:1705.07874, section 4.1; captum.attr.KernelShap.
    """
    from captum.attr import KernelShap

    from .pixels import at_once, one_by_one, pixels

    height, width = images.shape[2:]
    check_edge(images, SQUARES, "squares")
    rows, columns = (torch.arange(size, device=images.device) * SQUARES // size for size in (height, width))
    squares = (rows[:, None] * SQUARES + columns).repeat(1, images.shape[1], 1, 1)
    with pixels(model, layers, images, targets) as request:
        method = KernelShap(without_gradients(model))

        def one(image: Tensor, target: Tensor) -> Tensor:
            found: Tensor = method.attribute(
                image, 0.0, target, feature_mask=squares, n_samples=COALITIONS, perturbations_per_eval=at_once(image)
            )
            return found[0, 0]

        return request.maps(one_by_one(one, images.device))


def rise(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """RISE: the mean of 200 random masks, each weighted by the target's probability in the image seen through it.

    A mask has 7x7 cells, each open with probability 1/2, enlarged bilinearly and moved by less than a cell; what it
    hides is the data set's mean colour. The paper takes 4,000 masks and more, for maps less noisy than these.

    Args:
        As the contract has them (`bench.contracts.Explainer`); layers must be ("input",); H and W at least 7.

    Returns:
        {"input": (N, T, H, W)}, none below zero. Unit: the probability expected where a pixel is seen.

    Raises:
        ContractError: as in `saliency`; images with fewer pixels than cells.

    Source: Petsiuk et al. 2018, arXiv:1806.07421, equation 6; ours.
    """
    from .pixels import at_once, one_by_one, pixels

    check_edge(images, CELLS, "cells")
    with pixels(model, layers, images, targets) as request:
        answers = without_gradients(model)

        def one(image: Tensor, target: Tensor) -> Tensor:
            total = torch.zeros_like(image[0, 0])
            for start in range(0, MASKS, at_once(image)):
                masks = random_masks(min(at_once(image), MASKS - start), image)
                chances = answers(image * masks[:, None]).softmax(1)[:, target]
                total += (chances[:, None, None] * masks).sum(0)
            return total / (MASKS / 2)

        return request.maps(one_by_one(one, images.device))


def random_masks(count: int, image: Tensor) -> Tensor:
    """(count, H, W) in 0..1: random cells, enlarged to one cell more than the image and cut at a random place."""
    height, width = image.shape[2:]
    tall, wide = -(-height // CELLS), -(-width // CELLS)
    cells = (torch.rand(count, 1, CELLS, CELLS) < 0.5).to(image)
    size = ((CELLS + 1) * tall, (CELLS + 1) * wide)
    large = functional.interpolate(cells, size=size, mode="bilinear", align_corners=False)[:, 0]
    downs, rights = torch.randint(tall, (count,)).tolist(), torch.randint(wide, (count,)).tolist()
    places = zip(large, downs, rights, strict=True)
    return torch.stack([mask[down : down + height, right : right + width] for mask, down, right in places])


def without_gradients(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model's answers (N, K), which nobody asks for a gradient."""
    return torch.no_grad()(lambda images: model(images))  # noqa: PLW0108 (a module would be taken for a class)


def check_edge(images: Tensor, parts: int, what: str) -> None:
    """ContractError for images that have fewer pixels an edge than there are parts of it."""
    if min(images.shape[2:]) < parts:
        raise ContractError(
            f"images of {images.shape[2]}x{images.shape[3]} pixels hold no {parts}x{parts} {what}",
            try_="--explainer integrated_gradients, which needs none",
        )


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
KERNEL_SHAP = ExplainerSpec(
    name="kernel_shap",
    explain=kernel_shap,
    source="Lundberg & Lee 2017, arXiv:1705.07874; captum.attr.KernelShap",
    backend="captum",
    output="input",
    stochastic=True,
    cost=lambda layer: float(COALITIONS),
    max_batch=1,
)
RISE = ExplainerSpec(
    name="rise",
    explain=rise,
    source="Petsiuk et al. 2018, arXiv:1806.07421; ours",
    backend="torch",
    output="input",
    signed=False,
    stochastic=True,
    cost=lambda layer: float(MASKS),
    max_batch=1,
)
