"""Does a map depend on what was learned? A copy of the model is scrambled stage by stage, from the head down."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.explaining.guard import guarded, in_eval_mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.contracts import ExplainerSpec

HEAD, STEM = "head", "stem"


def stages_of(model: nn.Module, layers: Sequence[str]) -> dict[str, list[str]]:
    """The parameters of each stage, from the head down: behind the last layer, each layer, before the first.

    Args:
        layers: dotted names in forward order.

    Returns:
        {"head": names, last layer: names, ..., first layer: names, "stem": names}; what lies between two layers
        belongs to the earlier one.
    """
    found: dict[str, list[str]] = {name: [] for name in (STEM, *layers, HEAD)}
    place = STEM
    for name, _ in model.named_parameters():
        inside = next((layer for layer in layers if name.startswith(f"{layer}.")), None)
        if inside is not None:
            place = inside
        elif place == layers[-1]:
            place = HEAD
        found[place].append(name)
    return {stage: found[stage] for stage in reversed(found) if found[stage]}


def scrambled(
    model: nn.Module, layers: Sequence[str], images: Tensor, generator: torch.Generator
) -> Iterator[tuple[str, nn.Module]]:
    """A private copy whose stages are scrambled one after the other, from the head down.

    The values of each parameter tensor change places at random: what was learned is gone, and the scale of the
    weights stays, so that no initialisation (some begin with branches that are 0) decides the outcome. The running
    statistics of scrambled batch norms are measured anew on `images`: with those of other weights, activations
    would explode or die, and maps would differ for that reason alone.

    Args:
        model: left as found.
        images: (N, 3, H, W), normalised, to measure the statistics of batch norms on.
        generator: on the CPU.

    Yields:
        The stage just scrambled, and the copy, in eval mode; it is the same object each time.

    Source: Adebayo et al. 2018, arXiv:1810.03292, cascading randomisation.
    """
    copy = deepcopy(model).eval()
    parameters = dict(copy.named_parameters())
    gone: set[str] = set()
    for stage, names in stages_of(copy, layers).items():
        for name in names:
            with torch.no_grad():
                shuffle(parameters[name], generator)
        gone.update(names)
        remeasure(copy, gone, images)
        yield stage, copy


def shuffle(parameter: Tensor, generator: torch.Generator) -> None:
    """The same values in other places, in the memory layout it has."""
    values = parameter.detach().reshape(-1)
    places = torch.randperm(len(values), generator=generator).to(values.device)
    parameter.copy_(values[places].reshape(parameter.shape))


def remeasure(model: nn.Module, changed: set[str], images: Tensor) -> None:
    """Running statistics of the batch norms whose weights are among `changed`, as they are on `images`."""
    norms = [
        module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats and f"{name}.weight" in changed
    ]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with in_eval_mode(model), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over batches, here of one
            norm.train()
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def scrambled_maps(
    model: nn.Module,
    layers: Sequence[str],
    images: Tensor,
    *,
    targets: Tensor,
    specs: Mapping[str, tuple[ExplainerSpec, Sequence[str]]],
    measured_on: Tensor,
    generator: torch.Generator,
) -> Iterator[tuple[str, str, dict[str, Tensor]]]:
    """Maps of the scrambled copies for the class that the trained model predicts.

    Args:
        layers: the stages, in forward order.
        images: (N, 3, H, W), normalised.
        targets: (N, 1) int64.
        specs: explainers with the layers wanted of each.
        measured_on: images for the statistics of batch norms.

    Yields:
        Stage, explainer, {layer: (N, h, w)} on the CPU.
    """
    for stage, copy in scrambled(model, layers, measured_on, generator):
        for name, (spec, wanted) in specs.items():
            yield stage, name, explained(spec, copy, wanted, images, targets)


def explained(
    spec: ExplainerSpec, model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """Maps of one target an image, in batches the explainer takes: {layer: (N, h, w)} on the CPU."""
    size, parts = 1 if spec.stochastic else spec.max_batch, []
    for start in range(0, len(images), size):
        chosen = slice(start, start + size)
        with torch.random.fork_rng(enabled=spec.stochastic):
            if spec.stochastic:
                torch.manual_seed(start)
            parts.append(guarded(spec, model, tuple(layers), images[chosen], targets[chosen]))
    return {layer: torch.cat([part[layer] for part in parts])[:, 0].float().cpu() for layer in layers}
