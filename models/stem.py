"""What turns a ResNet made for 224x224 images into one for 32x32."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from bench.errors import MissingError, UsageError, in_one_line

# The 7x7 stem has another shape here, and the 1000-class head other classes.
NOT_SHARED = ("conv1.weight", "fc.weight", "fc.bias")


def small_stem(model: nn.Module, name: str = "resnet18") -> None:
    """Put a 3x3 stride-1 convolution for the 7x7 stride-2 one of a ResNet, and nothing for the max-pool.

    Without it a 32x32 image reaches layer4 as a single position, which no map can show. A stem of several convolutions
    keeps them, and its first one gets stride 1.

    Raises:
        UsageError: the network has no conv1 and maxpool; names it.
    """
    stem = getattr(model, "conv1", None)
    convolutions = (
        [each for each in stem.modules() if isinstance(each, nn.Conv2d)] if isinstance(stem, nn.Module) else []
    )
    if not convolutions or not hasattr(model, "maxpool"):
        raise UsageError(
            f"{name} has no conv1 and maxpool of a ResNet, so --stem cifar cannot be used",
            try_="--image-size 64 without --stem",
        )
    first = convolutions[0]
    if first is stem:
        new = nn.Conv2d(first.in_channels, first.out_channels, 3, stride=1, padding=1, bias=first.bias is not None)
        # As both libraries start theirs; PyTorch's own default, which the hand-written net keeps, draws by fan-in.
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
        model.conv1 = new
    else:
        first.stride = (1, 1)
    model.maxpool = nn.Identity()


def shared_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The part of an ImageNet ResNet18 that fits the net with the small stem."""
    return {key: value for key, value in state.items() if key not in NOT_SHARED}


@contextmanager
def fetching(library: str, model: str = "resnet18") -> Iterator[None]:
    """MissingError for weights that are neither cached nor reachable, whatever the block raises.

    No network, a proxy, a full disk, a wrong hash, and a hub's client with a dozen families of errors: all mean "not
    there".
    """
    try:
        yield
    except Exception as reason:
        raise MissingError(
            f"{library}'s ImageNet weights of {model} are not cached here and cannot be fetched "
            f"({in_one_line(reason).removesuffix(': ')})",
            try_="bench train without --pretrained, or --pretrained CHECKPOINT of an earlier run",
        ) from reason
