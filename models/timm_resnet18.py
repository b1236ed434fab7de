"""timm's ResNet18 with its stem adapted to 32x32 images."""

from torch import Tensor, nn

from bench.contracts import ModelSpec

from .stem import fetching, shared_weights, small_stem


def build(num_classes: int) -> nn.Module:
    """A resnet18 of timm's with a 3x3 stem and no max-pool.

    `zero_init_last=False`, because timm alone starts every second norm of a block at zero.
    """
    import timm

    model: nn.Module = timm.create_model("resnet18", pretrained=False, num_classes=num_classes, zero_init_last=False)
    small_stem(model)
    return model


def imagenet_weights() -> dict[str, Tensor]:
    """The ImageNet weights of timm's default resnet18, all but conv1 and fc; fetched once, then cached.

    Raises:
        MissingError: they are not cached and cannot be fetched.
    """
    import timm

    with fetching("timm"):
        return shared_weights(dict(timm.create_model("resnet18", pretrained=True).state_dict()))


TIMM_RESNET18 = ModelSpec(
    name="timm_resnet18",
    build=build,
    source="timm's resnet18 (He et al. 2016, arXiv:1512.03385), 3x3 stem for 32x32 images",
    backend="timm",
    imagenet=imagenet_weights,
)
