"""What comes before the first step of a training: the weights to start from."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts import Dataset, ModelSpec
from bench.data.transforms import Statistics, normalise
from bench.errors import UsageError
from bench.homes import at
from bench.nets.weights import convert, load_weights, shared_initialisation
from bench.recipes.recipe import Recipe
from bench.store.files import read_checkpoint
from bench.store.paths import checkpoint_path
from bench.store.runs import find_run
from bench.training.loader import Rows

SHARED_FROM = "cifar_resnet18"  # whose native initialisation `--init shared` hands to all
LITTLE = 1 / 4  # of an image's edge; objects can hardly be told in images made smaller still
PATCH_IMAGES = 5000
PATCH_VALUES = 2**28  # of all patches together, 1 GB: of 224x224 pixels 5,000 images would take 27 GB
PATCH_NOISE = 5e-4  # added to the eigenvalues: the rarest patterns are noise, and not to be blown up


def initial_model(spec: ModelSpec, models: Mapping[str, ModelSpec], *, classes: int, seed: int, init: str) -> nn.Module:
    """An untrained model: natively initialised, or holding the one initialisation that all can share."""
    return shared_initialisation(spec, models[SHARED_FROM] if init == "shared" else spec, classes, seed)


def load_pretrained(
    net: nn.Module, source: str, spec: ModelSpec, models: Mapping[str, ModelSpec], runs: Path
) -> list[str]:
    """Put weights into a model; the head stays as it was where the number of classes differs.

    Args:
        source: `imagenet`, a run's name, or the path of a run folder or of a checkpoint.safetensors.

    Returns:
        The keys that were left as they were.
    """
    if source == "imagenet":
        if spec.imagenet is None:
            raise UsageError(f"{spec.name} has no ImageNet weights", try_="--model torchvision_resnet18")
        state = spec.imagenet()
    else:
        state = _from_checkpoint(source, spec, models, runs)
    own = net.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    left = sorted(key for key in own if key not in fitting)
    # Another stem and another head leave few entries; where most are left, it is another architecture, and what fits
    # would fit by chance.
    if len(left) * 2 > len(own):
        raise UsageError(
            f"the weights of {source} do not fit {spec.name}: {len(left)} of {len(own)} entries differ, "
            f"such as {left[0]}",
            try_="--pretrained with a run of the same family",
        )
    load_weights(net, {**own, **fitting})
    return left


def _from_checkpoint(source: str, spec: ModelSpec, models: Mapping[str, ModelSpec], runs: Path) -> dict[str, Tensor]:
    path = at(source)
    if path.suffix != ".safetensors":
        path = checkpoint_path(find_run(runs, source))
    state, about = read_checkpoint(path)
    return convert(state, models[str(about.get("model", spec.name))], spec)


def doubts(recipe: Recipe, data: Dataset, size: int) -> list[str]:
    """What a recipe asks for and a training on this data will not do, or do badly, each with what to type instead.

    Args:
        size: pixels an edge of the images that the model gets.
    """
    found = []
    if recipe.flip != "none" and not data.mirror:
        found.append(f"flip has no effect: {data.name} may not be mirrored; --flip none says so")
    reached = {recipe.edge(epoch, size) for epoch in range(recipe.epochs)}
    for edge, share in recipe.sizes:
        if edge >= size:
            found.append(f"size {edge}:{share:g} has no effect: the images have {size} pixels; --sizes full")
        elif edge not in reached:
            found.append(f"size {edge}:{share:g} has no effect: {recipe.epochs} epochs are too few; --sizes full")
        elif edge < size * LITTLE:
            found.append(
                f"size {edge}:{share:g} leaves little to see of images of {size} pixels; "
                f"--sizes full, or --sizes {size // 2}:0.5"
            )
    return found


def initialise(model: nn.Module, recipe: Recipe, images: Rows, statistics: Statistics) -> None:
    """Change an untrained model in place as the recipe says.

    Args:
        images: (N, 3, H, W) uint8, of the training split.
        statistics: mean and standard deviation that normalise them.
    """
    if recipe.whiten:
        whiten_stem(model, images, statistics)
    if recipe.zero_init:
        zero_residuals(model)


@torch.no_grad()
def whiten_stem(model: nn.Module, images: Rows, statistics: Statistics) -> None:
    """Start the first convolution from the eigenvectors of the patches' covariance, each with both signs.

    Filter i is v_i / sqrt(l_i + 5e-4), filter n + i its negative, l descending; filters beyond keep their
    initialisation. No parameter is added, and the filters are trained like all others.

    Args:
        model: whose first convolution sees the image.
        images: (N, C, H, W) uint8; patches are taken from at most 5,000, fewer of large ones, spread evenly.

    Raises:
        UsageError: the model does not begin with a plain convolution of the image.

    Source: Page 2019, part 8; Jordan 2024, arXiv:2404.00498, section 3.2.
    """
    stem = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if stem is None or stem.in_channels != images.shape[1] or stem.groups != 1:
        raise UsageError(
            "the model's first layer is no convolution of the image: it cannot be whitened", try_="--no-whiten"
        )
    height, width = stem.kernel_size
    most = min(PATCH_IMAGES, max(1, PATCH_VALUES // (math.prod(images.shape[1:]) * height * width)))
    apart = -(-len(images) // most)  # many data sets are sorted by class: the first images are all of one
    pixels = normalise(images[::apart], *statistics).cpu()
    patches = pixels.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, H', W', h, w)
    flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * height * width)
    # On the CPU and in float64: eigenvalues of CIFAR-10's patches lie five orders apart, and the start must not depend
    # on the device. Pixels are normalised, so the mean of all patches is taken for 0.
    values, vectors = torch.linalg.eigh((flat.T @ flat / len(flat)).double())
    filters = (vectors / (values + PATCH_NOISE).sqrt()).T.flip(0)  # ascending from eigh; the largest first here
    count = min(len(filters), stem.out_channels // 2)
    kernels = filters[:count].reshape(count, stem.in_channels, height, width).to(stem.weight)
    stem.weight[:count] = kernels
    stem.weight[count : 2 * count] = -kernels  # the ReLU behind cuts off one sign of every pattern


@torch.no_grad()
def zero_residuals(model: nn.Module) -> None:
    """Set the scale of the last batch norm of every residual branch to 0, so that blocks start as their shortcut.

    Raises:
        UsageError: the model has no block of two or three norms.

    Source: Goyal et al. 2017, arXiv:1706.02677, section 5.1.
    """
    blocks = [module for module in model.modules() if hasattr(module, "bn2") and hasattr(module, "conv2")]
    if not blocks:
        raise UsageError(
            "the model has no residual block with a norm bn2: nothing to start at 0", try_="--no-zero-init"
        )
    # A net of shortcuts is shallow: gradients reach every stage at full size, and the rate may be high from the start.
    for block in blocks:
        last: Any = block.bn3 if hasattr(block, "bn3") else block.bn2
        nn.init.zeros_(last.weight)
