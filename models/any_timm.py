"""Any classifier of timm's, by its name there."""

from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from bench.contracts import ModelSpec
from bench.errors import UsageError

from .stem import fetching, small_stem


def timm_model(name: str, *, size: int | None, stem: str) -> ModelSpec:
    """The model of this name in timm, natively initialised.

    Args:
        name: as `timm.list_models()` gives it.
        size: pixels an edge, 32 where none is given; a network of a fixed size is built for it.
        stem: `cifar` for a 3x3 stride-1 stem without max-pool, of ResNets only; empty for the network's own.

    Returns:
        A spec whose layers are those that a forward pass shows; `bench_layers` of the network are timm's own.

    Raises:
        UsageError: timm has no such model; says which come close.
    """
    import timm

    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), n=1)
        raise UsageError(
            f"timm has no model '{name}'" + (f"; did you mean '{close[0]}'?" if close else ""),
            try_=f"--model timm:{close[0] if close else 'resnet18'}",
        )
    edge = size or 32
    facts: Any = timm.get_pretrained_cfg(name)
    fixed: dict[str, Any] = {"img_size": edge} if getattr(facts, "fixed_input_size", False) else {}

    def build(num_classes: int) -> nn.Module:
        net: Any = timm.create_model(name, pretrained=False, num_classes=num_classes, **fixed)
        if stem:
            small_stem(net, f"timm:{name}")
        net.bench_layers = tuple(stage["module"] for stage in getattr(net, "feature_info", ()))
        made: nn.Module = net
        return made

    def imagenet() -> dict[str, Tensor]:
        with fetching("timm", name):
            return dict(timm.create_model(name, pretrained=True).state_dict())

    source = f"timm's {name}" + (", 3x3 stem without max-pool" if stem else "")
    return ModelSpec(name, build, source, input_size=edge, layers=(), backend="timm", imagenet=imagenet)
