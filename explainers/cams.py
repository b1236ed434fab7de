"""pytorch-grad-cam's other methods that need no more than one forward pass and one way back.

Each is the library's own class; ours is the forward pass, shared by layers and targets, and that its map is taken
before ReLU, scaling and resizing. The library is given copies of the activations as they left the layer, so that what
an in-place operation does to them later cannot be seen.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from bench.contracts import ExplainerSpec

from .costs import eigencam_cost, gradcam_cost
from .gradcam import by_library


def gradcam_plus_plus(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Grad-CAM++: channels weighted by their positive gradients, each in the share that equation 19 gives it.

        weight[c] = sum over positions of relu(g) * g^2 / (2 g^2 + g^3 * sum of A[c] + 1e-6)

    The gradient is the logit's, as in the library; the paper takes that of its exponential. The 1e-6 is the
    library's, too: where gradients are below 1e-3, as in the first stages, it outweighs what it is added to.

    Args:
        As the contract has them (`bench.contracts.Explainer`); outputs of the layers are (N, C, h, w).

    Returns:
        {layer: (N, T, h, w)}; below zero only where activations are. No unit that compares between layers.

    Raises:
        UsageError, ContractError: as in `gradcam`.

    Source: Chattopadhay et al. 2018, arXiv:1710.11063; pytorch_grad_cam.GradCAMPlusPlus.
    """
    return by_library("GradCAMPlusPlus", model, layers, images, targets)


def hirescam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """HiResCAM: gradient times activation, position by position, summed over channels.

    Equals Grad-CAM wherever the gradient is the same at every position: at the last stage of a net that ends in a mean
    and one linear layer.

    Args:
        As the contract has them (`bench.contracts.Explainer`); outputs of the layers are (N, C, h, w).

    Returns:
        {layer: (N, T, h, w)}, signed. Unit: logits.

    Raises:
        UsageError, ContractError: as in `gradcam`.

    Source: Draelos & Carin 2020, arXiv:2011.08891; pytorch_grad_cam.HiResCAM.
    """
    return by_library("HiResCAM", model, layers, images, targets)


def xgradcam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """XGrad-CAM: channels weighted by the mean of their gradient under their activation.

        weight[c] = sum over positions of g * A[c] / (sum of A[c] + 1e-7)

    Meant for activations that are not negative: elsewhere the sum below the line may be near zero. Equals Grad-CAM,
    up to the library's 1e-7, wherever the gradient is the same at every position.

    Args:
        As the contract has them (`bench.contracts.Explainer`); outputs of the layers are (N, C, h, w).

    Returns:
        {layer: (N, T, h, w)}, signed. Unit: logits.

    Raises:
        UsageError, ContractError: as in `gradcam`.

    Source: Fu et al. 2020, arXiv:2008.02312; pytorch_grad_cam.XGradCAM.
    """
    return by_library("XGradCAM", model, layers, images, targets)


def layercam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """LayerCAM: positive gradient times activation, position by position, summed over channels.

    Args:
        As the contract has them (`bench.contracts.Explainer`); outputs of the layers are (N, C, h, w).

    Returns:
        {layer: (N, T, h, w)}; below zero only where activations are. Unit: logits.

    Raises:
        UsageError, ContractError: as in `gradcam`.

    Source: Jiang et al. 2021, doi:10.1109/TIP.2021.3089943; pytorch_grad_cam.LayerCAM.
    """
    return by_library("LayerCAM", model, layers, images, targets)


def eigencam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Eigen-CAM: each position's activations, less their mean over positions, along their first principal component.

    Knows nothing of any class: the map of every target is the same. The sign of a singular vector is arbitrary, so
    a map is turned to correlate positively, over its positions, with the activations' mean over channels. The library
    gives float32 whatever it is given.

    Args:
        As the contract has them (`bench.contracts.Explainer`); outputs of the layers are (N, C, h, w).

    Returns:
        {layer: (N, T, h, w)}, signed, with mean 0 over the positions. Unit: activations.

    Raises:
        UsageError, ContractError: as in `gradcam`.

    Source: Muhammad & Yeasin 2020, arXiv:2008.00299; pytorch_grad_cam.EigenCAM.
    """
    return by_library("EigenCAM", model, layers, images, targets)


GRADCAM_PLUS_PLUS = ExplainerSpec(
    name="gradcam++",
    explain=gradcam_plus_plus,
    source="Chattopadhay et al. 2018, arXiv:1710.11063; pytorch_grad_cam.GradCAMPlusPlus",
    backend="grad-cam",
    signed=False,
    cost=gradcam_cost,
)
HIRESCAM = ExplainerSpec(
    name="hirescam",
    explain=hirescam,
    source="Draelos & Carin 2020, arXiv:2011.08891; pytorch_grad_cam.HiResCAM",
    backend="grad-cam",
    cost=gradcam_cost,
)
XGRADCAM = ExplainerSpec(
    name="xgradcam",
    explain=xgradcam,
    source="Fu et al. 2020, arXiv:2008.02312; pytorch_grad_cam.XGradCAM",
    backend="grad-cam",
    cost=gradcam_cost,
)
LAYERCAM = ExplainerSpec(
    name="layercam",
    explain=layercam,
    source="Jiang et al. 2021, doi:10.1109/TIP.2021.3089943; pytorch_grad_cam.LayerCAM",
    backend="grad-cam",
    signed=False,
    cost=gradcam_cost,
)
EIGENCAM = ExplainerSpec(
    name="eigencam",
    explain=eigencam,
    source="Muhammad & Yeasin 2020, arXiv:2008.00299; pytorch_grad_cam.EigenCAM",
    backend="grad-cam",
    class_specific=False,
    cost=eigencam_cost,
)
