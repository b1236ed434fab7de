"""What recipes switch on beside the plain loop: groups of parameters, initialisations, slow weights, smaller images.

Sources: Page 2019, How to Train Your ResNet; Jordan 2024, arXiv:2404.00498 (airbench). Each for its own networks;
what they are worth for this one stands in docs/results.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from bench.data.augment import normalise
from bench.errors import StoreError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from bench.evaluation import Statistics
    from bench.recipes import Recipe

PATCH_IMAGES = 5000
PATCH_NOISE = 5e-4  # added to the eigenvalues: the rarest patterns are noise, and not to be blown up
SLOW = 0.95  # a step of the slow weights at the end of the training keeps this share of them


def make_optimizer(model: nn.Module, recipe: Recipe, *, fused: bool) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters that want gradients; a group's "scale" multiplies its rate."""
    groups = parameter_groups(model, recipe)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=fused,
    )


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters that want gradients, once each: biases of norms and linear layers, scales of norms, the rest.

    A group whose settings are those of the rest is part of the rest.
    """
    biases, scales = set(), set()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.Linear) and recipe.bias_scale != 1:
            biases |= {id(module.bias)}
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not recipe.norm_decay:
            scales |= {id(module.weight)}
    wanted = [each for each in model.parameters() if each.requires_grad]
    decay, scale = recipe.weight_decay, recipe.bias_scale
    groups: list[dict[str, Any]] = [
        {"params": [each for each in wanted if id(each) not in biases | scales], "scale": 1.0},
        {"params": [each for each in wanted if id(each) in biases], "scale": scale, "weight_decay": decay / scale},
        {"params": [each for each in wanted if id(each) in scales], "scale": 1.0, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    """Set the learning rate of all groups, each times its scale; gives back the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
    return rate


def set_bn_momentum(model: nn.Module, momentum: float) -> None:
    """Let running statistics follow with this momentum (PyTorch's sense: the share of the new batch)."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum


# --- initialisations ---------------------------------------------------------------------------------------


def initialise(model: nn.Module, recipe: Recipe, images: Tensor, statistics: Statistics) -> None:
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
def whiten_stem(model: nn.Module, images: Tensor, statistics: Statistics) -> None:
    """Start the first convolution from the eigenvectors of the patches' covariance, each with both signs.

    Filter i is v_i / sqrt(l_i + 5e-4), filter n + i its negative, l descending; filters beyond keep their
    initialisation. No parameter is added, and the filters are trained like all others.

    Args:
        model: whose first convolution sees the image.
        images: (N, C, H, W) uint8; patches are taken from at most 5,000, spread evenly.

    Raises:
        UsageError: the model does not begin with a plain convolution of the image.

    Source: Page 2019, part 8; Jordan 2024, arXiv:2404.00498, section 3.2.
    """
    stem = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if stem is None or stem.in_channels != images.shape[1] or stem.groups != 1:
        raise UsageError(
            "the model's first layer is no convolution of the image: it cannot be whitened", try_="--no-whiten"
        )
    apart = -(-len(images) // PATCH_IMAGES)  # many data sets are sorted by class: the first images are all of one
    pixels = normalise(images[::apart], *statistics).cpu()
    height, width = stem.kernel_size
    patches = pixels.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, H', W', h, w)
    flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1] * height * width)
    values, vectors = torch.linalg.eigh((flat.T @ flat / len(flat)).double())
    filters = (vectors / (values + PATCH_NOISE).sqrt()).T.flip(0)  # ascending from eigh; the largest first here
    count = min(len(filters), stem.out_channels // 2)
    kernels = filters[:count].reshape(count, stem.in_channels, height, width).to(stem.weight)
    stem.weight[:count] = kernels
    stem.weight[count : 2 * count] = -kernels


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
    for block in blocks:
        last: Any = block.bn3 if hasattr(block, "bn3") else block.bn2
        nn.init.zeros_(last.weight)


# --- while training ----------------------------------------------------------------------------------------


def shrink(inputs: Tensor, edge: int | None) -> Tensor:
    """(N, C, H, W) floating images made smaller with antialiasing; as they are where `edge` is None."""
    if edge is None or edge >= min(inputs.shape[2:]):
        return inputs
    small = functional.interpolate(inputs, size=(edge, edge), mode="bilinear", antialias=True, align_corners=False)
    return small.contiguous(memory_format=torch.channels_last)


class Lookahead:
    """Slow weights that follow the trained ones, and to which these return every few steps.

    At step t of T, each time `every` steps are done: slow += (1 - d) (fast - slow), then fast = slow, with
    d = 0.95^every (t / T)^3. So the slow weights are the fast ones at first and an average over many steps at the
    end; after the last step the model holds the slow weights. Running statistics of batch norms are averaged too.

    Source: Zhang et al. 2019, arXiv:1907.08610, with the schedule of Jordan 2024, arXiv:2404.00498, section 3.4.
    """

    def __init__(self, model: nn.Module, *, every: int, total: int) -> None:
        """Begin at the model's weights; `every` 0 does nothing ever."""
        self.every, self.total = every, total
        named = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
        self.fast: Mapping[str, Tensor] = named if every else {}
        self.slow = {name: value.detach().clone() for name, value in self.fast.items()}

    @torch.no_grad()
    def after(self, done: int) -> None:
        """Called after each step with the steps done in all."""
        if not self.every or (done % self.every and done < self.total):
            return
        slow, fast = list(self.slow.values()), list(self.fast.values())
        if done < self.total:
            torch._foreach_lerp_(slow, fast, 1 - SLOW**self.every * (done / self.total) ** 3)
        torch._foreach_copy_(fast, slow)

    def restore(self, slow: Mapping[str, Tensor]) -> None:
        """Put slow weights back; StoreError where they are of another model."""
        if set(slow) != set(self.slow):
            raise StoreError("the slow weights of the state do not fit this training")
        for name, value in slow.items():
            self.slow[name].copy_(value)
