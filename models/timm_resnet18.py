"""timm's ResNet18 with its stem adapted to 32x32 images."""

from typing import Any

from torch import Tensor, nn

from bench.contracts import ModelSpec

from .stem import fetching, shared_weights, small_stem

REDUCTIONS = {"act1": 1, "layer1": 1, "layer2": 2, "layer3": 4, "layer4": 8}
# timm's answers to "where do the weights come from": nowhere, for this net is trained from scratch.
ORIGIN = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "tag", "origin_url", "paper_ids", "license")


def build(num_classes: int) -> nn.Module:
    """A resnet18 of timm's with a 3x3 stem and no max-pool.

    `zero_init_last=False`, because timm alone starts every second norm of a block at zero.
    """
    import timm

    model: nn.Module = timm.create_model("resnet18", pretrained=False, num_classes=num_classes, zero_init_last=False)
    small_stem(model)
    correct_facts(model, num_classes)
    return model


def correct_facts(model: nn.Module, num_classes: int) -> None:
    """Make what timm says about the net true again: strides of its features, input size, no pretrained weights."""
    net: Any = model  # timm types its attributes as tensors or modules
    for stage in net.feature_info:
        stage["reduction"] = REDUCTIONS[stage["module"]]
    kept = {key: value for key, value in dict(net.pretrained_cfg).items() if key not in ORIGIN}
    facts = {
        "num_classes": num_classes,
        "input_size": (3, 32, 32),
        "pool_size": (4, 4),
        "crop_pct": 1.0,
        "test_input_size": None,
        "test_crop_pct": None,
        # Normalisation belongs to a run's data, not to the net; these say "none".
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    net.pretrained_cfg = net.default_cfg = kept | facts


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
