"""What methods cost at a layer of a ResNet18 with the small stem."""

# One forward pass, and one backward pass from the logits down to the end of the stage; counted in multiplications.
AT_END_OF = {"layer1": 1.73, "layer2": 1.49, "layer3": 1.25, "layer4": 1.0}
WHOLE_NET = 2.0
CHANNELS = {"conv1": 64, "bn1": 64, "layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}


def gradcam_cost(layer: str) -> float:
    """Forward passes an image and target; inside a stage at most what the stage before it costs."""
    stage, _, inner = layer.partition(".")
    if not inner:
        return AT_END_OF.get(stage, WHOLE_NET)
    stages = list(AT_END_OF)
    before = stages.index(stage) - 1 if stage in AT_END_OF else -1
    return AT_END_OF[stages[before]] if before >= 0 else WHOLE_NET


def pass_a_channel(layer: str) -> float:
    """Forward passes an image and target of what runs the net once for every channel of the layer, and twice more."""
    return CHANNELS.get(layer.partition(".")[0], max(CHANNELS.values())) + 2.0


def eigencam_cost(layer: str) -> float:
    """One forward pass, and the library's SVD with full matrices: measured on one core, 67 ms at 32x32 positions."""
    return 1.5 if layer.partition(".")[0] in {"layer2", "layer3", "layer4"} else 6.5
