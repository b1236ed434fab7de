"""What methods cost in forward passes, counted in multiplications, by what one pass has shown of the layer."""

from bench.contracts import Layer

WHOLE_NET = 2.0  # a forward pass, and a backward pass down to the pixels
# Multiplications that take as long as one of the library's SVD with full matrices (positions x channels x the larger
# of the two): measured at 32x32 positions of 64 channels on one core, 67 ms beside a forward pass of 12 ms.
SVD = 46.0


def known(layer: str) -> Layer:
    """The layer with its facts; where nobody looked at it, with those of a small ResNet18."""
    return layer if isinstance(layer, Layer) else Layer(layer)


def gradcam_cost(layer: str) -> float:
    """One forward pass, and one backward pass from the logits down to the layer."""
    return 1.0 + known(layer).behind


def pass_a_channel(layer: str) -> float:
    """Of what runs the net once for every channel of the layer, and twice more."""
    return known(layer).channels + 2.0


def eigencam_cost(layer: str) -> float:
    """One forward pass, and the library's SVD with full matrices."""
    facts = known(layer)
    positions = facts.height * facts.width
    return 1.0 + SVD * positions * facts.channels * max(positions, facts.channels) / facts.work


def pass_a_patch(layer: str, edge: int) -> float:
    """Of what runs the net once for every patch of the image, and once more."""
    return (-(-known(layer).pixels // edge)) ** 2 + 1.0


def by_size(layer: str, *, grows: str, fixed: float, each: float) -> float:
    """Of what a probe has shown to grow with a layer's `channels` or `positions`, with the `pixels`, or nothing."""
    facts = known(layer)
    sizes = {"": 0, "channels": facts.channels, "positions": facts.height * facts.width, "pixels": facts.pixels**2}
    return max(1.0, fixed + each * sizes[grows])
