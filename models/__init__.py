"""The models, by name: strings only, so that listing them imports nothing.

ENTRIES are values, one a name; LIBRARIES are functions that give the value of any model of a code base.
"""

ENTRIES = {
    "cifar_resnet18": ("bench.models.cifar_resnet18:CIFAR_RESNET18", "written by hand for 32x32 images"),
    "timm_resnet18": ("bench.models.timm_resnet18:TIMM_RESNET18", "timm's resnet18, stem adapted to 32x32"),
    "torchvision_resnet18": (
        "bench.models.torchvision_resnet18:TORCHVISION_RESNET18",
        "torchvision's resnet18, stem modified for 32x32",
    ),
}
LIBRARIES = {
    "timm": ("bench.models.any_timm:timm_model", "any of its classifiers, by its name there"),
    "torchvision": ("bench.models.any_torchvision:torchvision_model", "any of its classifiers, by its name there"),
}
