"""torchvision's ResNet18 with its stem modified for 32x32 images."""

from torch import Tensor, nn

from bench.contracts import ModelSpec

from .stem import fetching, shared_weights, small_stem


def build(num_classes: int) -> nn.Module:
    """A resnet18 of torchvision's, natively initialised, with a 3x3 stem and no max-pool."""
    from torchvision.models import resnet18

    model: nn.Module = resnet18(weights=None, num_classes=num_classes)
    small_stem(model)
    return model


def imagenet_weights() -> dict[str, Tensor]:
    """The IMAGENET1K_V1 weights of torchvision, all but conv1 and fc; fetched once, then from torch's hub cache.

    Raises:
        MissingError: they are not cached and cannot be fetched.
    """
    from torchvision.models import ResNet18_Weights

    with fetching("torchvision"):
        return shared_weights(dict(ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)))


TORCHVISION_RESNET18 = ModelSpec(
    name="torchvision_resnet18",
    build=build,
    source="torchvision.models.resnet18 (He et al. 2016, arXiv:1512.03385), 3x3 stem for 32x32 images",
    backend="torchvision",
    imagenet=imagenet_weights,
)
