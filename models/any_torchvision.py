"""Any classifier of torchvision's, by its name there."""

from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from bench.contracts import ModelSpec
from bench.errors import UsageError

from .stem import fetching, small_stem

# Two old networks answer with several logits while they train, unless told not to.
ONE_ANSWER = {"googlenet": {"aux_logits": False}, "inception_v3": {"aux_logits": False}}


def torchvision_model(name: str, *, size: int | None, stem: str) -> ModelSpec:
    """The classifier of this name in torchvision, natively initialised.

    Args:
        name: as `torchvision.models.list_models(torchvision.models)` gives it.
        size: pixels an edge, 32 where none is given; a vision transformer is built for it.
        stem: `cifar` for a 3x3 stride-1 stem without max-pool, of ResNets only; empty for the network's own.

    Returns:
        A spec whose layers are those that a forward pass shows.

    Raises:
        UsageError: torchvision has no such classifier; says which come close.
    """
    import torchvision.models

    models: Any = torchvision.models  # its lists of names are not typed as exported

    known = models.list_models(models)
    if name not in known:
        close = get_close_matches(name, known, n=1)
        raise UsageError(
            f"torchvision has no classifier '{name}'" + (f"; did you mean '{close[0]}'?" if close else ""),
            try_=f"--model torchvision:{close[0] if close else 'resnet18'}",
        )
    edge = size or 32
    more: dict[str, Any] = dict(ONE_ANSWER.get(name, {})) | ({"image_size": edge} if name.startswith("vit_") else {})

    def build(num_classes: int) -> nn.Module:
        net: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **more)
        if stem:
            small_stem(net, f"torchvision:{name}")
        return net

    def imagenet() -> dict[str, Tensor]:
        with fetching("torchvision", name):
            weights: Any = models.get_model_weights(name)
            return dict(weights.DEFAULT.get_state_dict(progress=False, check_hash=True))

    source = f"torchvision's {name}" + (", 3x3 stem without max-pool" if stem else "")
    return ModelSpec(name, build, source, input_size=edge, layers=(), backend="torchvision", imagenet=imagenet)
