"""The sanity check on a run: maps of scrambled copies of its model, kept by cell, and how alike they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.contracts import Dataset, ExplainerSpec, Floats, Integers, Progress
from bench.data.transforms import prepare
from bench.explaining.batches import explained, seeding
from bench.explaining.guard import statuses
from bench.explaining.plan import Wanted, layers_of
from bench.machine import versions
from bench.memory import Room
from bench.modes import evaluating
from bench.nets.trained import Trained
from bench.precision import fp32_key
from bench.schema.run import STATUSES
from bench.schema.scores import SanityScores
from bench.scoring.layer_scores import kept
from bench.stats.agreement import likeness
from bench.stats.intervals import rank_matrix
from bench.store.predictions import fixed_order

SANITY_SEED = 7007
MEASURED_ON = 256  # training images for the statistics of batch norms

Cells = dict[tuple[str, str], "Floats"]
HEAD, STEM = "head", "stem"


def sanity_scores(
    trained: Trained,
    data: Dataset,
    before: Cells,
    *,
    specs: Mapping[str, ExplainerSpec],
    ids: Integers,
    predicted: Integers,
    seed: int,
    progress: Progress,
) -> list[SanityScores]:
    """How alike the maps for the predicted class are before and after each stage is scrambled.

    Args:
        before: of each explainer and layer the trained model's maps (N, h, w), NaN where one is not `ok`.
        ids: (N,) test ids; none of them gives no scores.
        predicted: (N,) the class that the trained model predicts.
        seed: of the bootstrap, the same for each line, so that equal maps have equal intervals.
    """
    if len(ids) == 0:
        return []
    stages = list(stages_of(trained.model, trained.spec.layers))
    missing = _missing(trained, specs, list(before), ids)
    if missing:
        _make(trained, data, missing, ids, predicted, progress=progress)
    found = []
    for (name, layer), trained_maps in before.items():
        raw = trained.run.scrambled(name, layer, head=_head(trained, specs[name]), ids=ids)
        assert raw is not None  # written above
        for stage, maps in zip(stages, raw, strict=True):
            after = kept(maps, statuses(maps) == STATUSES.index("ok"))
            alike = likeness([rank_matrix(after, trained_maps)], np.random.default_rng(seed))
            found.append(SanityScores(name, layer, stage, alike))
    return found


def sanity_passes(trained: Trained, wanted: Wanted, ids: Integers) -> float:
    """What the maps that are not on disk cost in forward passes, the statistics of batch norms included."""
    cells = [(name, layer) for name, spec in wanted.specs.items() for layer in layers_of(spec, wanted)]
    missing = _missing(trained, wanted.specs, cells, ids) if len(ids) else {}
    explaining = sum((max if spec.joint else sum)(map(spec.cost, layers)) for spec, layers in missing.values())
    stages = len(stages_of(trained.model, trained.spec.layers))
    return stages * (len(ids) * explaining + MEASURED_ON) if missing else 0.0


def _missing(
    trained: Trained, specs: Mapping[str, ExplainerSpec], cells: Sequence[tuple[str, str]], ids: Integers
) -> dict[str, tuple[ExplainerSpec, list[str]]]:
    """Explainers with those of their layers whose maps are not on disk."""
    found: dict[str, tuple[ExplainerSpec, list[str]]] = {}
    for name, layer in cells:
        if trained.run.scrambled(name, layer, head=_head(trained, specs[name]), ids=ids) is None:
            found.setdefault(name, (specs[name], []))[1].append(layer)
    return found


def _make(
    trained: Trained,
    data: Dataset,
    specs: Mapping[str, tuple[ExplainerSpec, list[str]]],
    ids: Integers,
    predicted: Integers,
    *,
    progress: Progress,
) -> None:
    """Maps of the scrambled copies, (S, N, h, w) of each cell, to disk."""
    device = trained.device
    images = prepare(data.test.images[torch.from_numpy(ids)].to(device), trained.statistics)
    some = fixed_order(data.train.labels.numpy())[:MEASURED_ON]
    measured_on = prepare(data.train.images[torch.from_numpy(some)].to(device), trained.statistics)
    stages = len(stages_of(trained.model, trained.spec.layers))
    parts: dict[tuple[str, str], list[Any]] = {}
    with progress.track("scramble the weights", stages * len(specs)) as task:
        for stage, name, maps in scrambled_maps(
            trained.model,
            trained.spec.layers,
            images,
            targets=torch.from_numpy(predicted)[:, None].to(device),
            specs=specs,
            measured_on=measured_on,
            generator=torch.Generator().manual_seed(SANITY_SEED),
            room=Room(progress),
        ):
            for layer, raw in maps.items():
                parts.setdefault((name, layer), []).append(raw.numpy())
            task.advance(1, f"{stage}, {name}")
    for (name, layer), every in parts.items():
        head = _head(trained, specs[name][0])
        trained.run.keep_scrambled(name, layer, head=head, ids=ids, raw=np.stack(every))


def _head(trained: Trained, spec: ExplainerSpec) -> str:
    """What the maps of scrambled copies hang on, in one order."""
    of = versions(("torch", spec.backend))
    about = {"schema": 1, "checkpoint": trained.checkpoint, "revision": spec.revision, "seed": SANITY_SEED}
    drawn = {"seeding": seeding(spec)} if spec.stochastic else {}
    return json.dumps({**about, "versions": of, **drawn, **fp32_key(trained.device)}, sort_keys=True)


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
    # Drawn on the CPU and in the plain order of the values: the same places on every device and in every layout.
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
    with evaluating(model):
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
    room: Room | None = None,
) -> Iterator[tuple[str, str, dict[str, Tensor]]]:
    """Maps of the scrambled copies for the class that the trained model predicts.

    Args:
        layers: the stages, in forward order.
        images: (N, 3, H, W), normalised.
        targets: (N, 1) int64.
        specs: explainers with the layers wanted of each.
        measured_on: images for the statistics of batch norms.
        room: as `explained` has it.

    Yields:
        Stage, explainer, {layer: (N, h, w)} on the CPU.
    """
    for stage, copy in scrambled(model, layers, measured_on, generator):
        for name, (spec, wanted) in specs.items():
            maps = explained(spec, copy, tuple(wanted), images, targets, room=room)
            yield stage, name, {layer: raw[:, 0].float().cpu() for layer, raw in maps.items()}
