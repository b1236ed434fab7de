"""The sanity check on a run: maps of scrambled copies of its model, kept by cell, and how alike they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.contracts import Dataset, ExplainerSpec, Files, Floats, Integers, Need, Progress, Silence, Split
from bench.data.packed import packed
from bench.data.transforms import prepare
from bench.explaining.batches import explained, named, seeding
from bench.explaining.plan import Wanted, layers_of
from bench.explaining.units import Hands, OfExplainer, images as unpacked_once, layers_apart
from bench.machine import versions
from bench.memory import Room
from bench.modes import evaluating
from bench.nets.trained import Trained
from bench.precision import fp32_key
from bench.schema.page import Estimate
from bench.schema.scores import SanityScores
from bench.scoring.claims import crossed
from bench.stats.agreement import beside
from bench.stats.intervals import rank_matrix
from bench.store.predictions import fixed_order

SANITY_SEED = 7007
DRAWS = 5  # of the scrambling: one draw moves a mean by 0.10 to 0.14 (s.d.)
NOTHING_LEFT = 0.1  # rank correlation: as near to 0 as makes no difference to a reader of maps
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
    progress: Progress,
    hands: Hands | None = None,
) -> list[SanityScores]:
    """How alike the maps for the predicted class are before and after each stage is scrambled.

    Args:
        before: of each explainer and layer the trained model's maps (N, h, w), NaN where one is not `ok`.
        ids: (N,) test ids; none of them gives no scores.
        predicted: (N,) the class that the trained model predicts.
        hands: workers that explain; None for this process.
    """
    if len(ids) == 0:
        return []
    stages = list(stages_of(trained.model, trained.spec.layers))
    if hands is not None:
        _made_by(hands, trained, data, specs, list(before), ids=ids, predicted=predicted)
    for draw in range(DRAWS):
        missing = _missing(trained, specs, list(before), ids, draw)
        if missing:
            _make(trained, data, missing, ids, predicted, draw=draw, progress=progress)
    found = []
    for (name, layer), trained_maps in before.items():
        raw = _known(trained, specs[name], (name, layer), ids)
        assert raw is not None  # written above
        by_draw = raw.reshape(DRAWS, len(stages), *raw.shape[1:])
        for place, stage in enumerate(stages):
            cell = SanityScores(name, layer, stage, None)
            found.append(scrambled_scores(cell, trained_maps, by_draw[:, place], predicted))
    return found


def scrambled_scores(cell: SanityScores, before: Floats, after: Floats, classes: Integers) -> SanityScores:
    """How alike maps are to those of several draws of scrambled weights, with and without the sign.

    Args:
        cell: explainer, layer and stage.
        before: (N, h, w), NaN where one is not `ok`.
        after: (D, N, h, w). A map that is dead has an order of its values all the same; one that is constant or not
            finite has none, and its image is left out.
        classes: (N,).
    """
    matrices = [rank_matrix(maps, before) for maps in after]
    rho = np.array([np.diagonal(each) for each in matrices])
    absolute = [beside([np.abs(each)], classes) for each in matrices]
    own, null = np.array([each.own for each in absolute]), np.array([each.null for each in absolute])
    found = replace(
        cell,
        rho=crossed(rho),
        absolute=crossed(own),
        null=crossed(null),
        excess=crossed(own - null),
        images=int((~np.isnan(rho).any(axis=0)).sum()),
        draws=len(after),
    )
    return replace(found, verdict=left_of(found.rho, found.excess))


def left_of(rho: Estimate | None, excess: Estimate | None) -> str:
    """What may be said once weights were scrambled; a word only where the whole interval bears it.

    `nothing left` is a claim like the others: of the correlation and of what is left of it without its sign, both must
    be known to be as good as 0. That an interval holds 0 is no reason to say so: it may hold much else.

    Args:
        rho: rank correlation with the trained model's map of the image.
        excess: of the correlation without its sign over that of other images of the class.
    """
    if rho is None:
        return "undecided"
    if rho.low > NOTHING_LEFT:
        return "still alike"
    if rho.high < -NOTHING_LEFT:
        return "turned round"
    if excess is None:
        return "undecided"
    if excess.low > NOTHING_LEFT:
        return "still alike but for its sign"
    inside = all(one.low > -NOTHING_LEFT and one.high < NOTHING_LEFT for one in (rho, excess))
    return "nothing left" if inside else "undecided"


def sanity_passes(trained: Trained, wanted: Wanted, ids: Integers) -> float:
    """What the maps that are not on disk cost in forward passes, the statistics of batch norms included."""
    cells = [(name, layer) for name, spec in wanted.specs.items() for layer in layers_of(spec, wanted)]
    stages, total = len(stages_of(trained.model, trained.spec.layers)), 0.0
    for draw in range(DRAWS if len(ids) else 0):
        missing = _missing(trained, wanted.specs, cells, ids, draw)
        explaining = sum((max if spec.joint else sum)(map(spec.cost, layers)) for spec, layers in missing.values())
        total += stages * (len(ids) * explaining + MEASURED_ON) if missing else 0.0
    return total


def _known(trained: Trained, spec: ExplainerSpec, cell: tuple[str, str], ids: Integers) -> Floats | None:
    """The maps of all draws that are on disk, (D * S, N, h, w) in the order of draws."""
    return trained.run.scrambled(*cell, head=_head(trained, spec), ids=ids)


def _missing(
    trained: Trained, specs: Mapping[str, ExplainerSpec], cells: Sequence[tuple[str, str]], ids: Integers, draw: int
) -> dict[str, tuple[ExplainerSpec, list[str]]]:
    """Explainers with those of their layers whose maps of a draw are not on disk."""
    wanted = (draw + 1) * len(stages_of(trained.model, trained.spec.layers))
    found: dict[str, tuple[ExplainerSpec, list[str]]] = {}
    for name, layer in cells:
        there = _known(trained, specs[name], (name, layer), ids)
        if there is None or len(there) < wanted:
            found.setdefault(name, (specs[name], []))[1].append(layer)
    return found


def _make(
    trained: Trained,
    data: Dataset,
    specs: Mapping[str, tuple[ExplainerSpec, list[str]]],
    ids: Integers,
    predicted: Integers,
    *,
    draw: int,
    progress: Progress,
) -> None:
    """Maps of the scrambled copies of one draw, (S, N, h, w) of each cell, to disk behind those of earlier draws."""
    device = trained.device
    images = prepare(data.test.images[torch.from_numpy(ids)].to(device), trained.statistics)
    measured_on = prepare(_to_measure_on(data).images.to(device), trained.statistics)
    stages = len(stages_of(trained.model, trained.spec.layers))
    parts: dict[tuple[str, str], list[Any]] = {}
    with progress.track(f"scramble the weights, {draw + 1} of {DRAWS}", stages * len(specs)) as task:
        for stage, name, maps in scrambled_maps(
            trained.model,
            trained.spec.layers,
            images,
            targets=torch.from_numpy(predicted)[:, None].to(device),
            specs=specs,
            measured_on=measured_on,
            generator=torch.Generator().manual_seed(SANITY_SEED + draw),
            room=Room(progress),
        ):
            for layer, raw in maps.items():
                parts.setdefault((name, layer), []).append(raw.numpy())
            task.advance(1, f"{stage}, {name}")
    for (name, layer), every in parts.items():
        spec = specs[name][0]
        earlier = _known(trained, spec, (name, layer), ids) if draw else None
        new: Floats = np.stack(every)
        whole = new if earlier is None else np.concatenate([earlier, new])
        trained.run.keep_scrambled(name, layer, head=_head(trained, spec), ids=ids, raw=whole)


def _to_measure_on(data: Dataset) -> Split:
    """The training images that statistics of batch norms are measured on."""
    some = torch.from_numpy(fixed_order(data.train.labels.numpy())[:MEASURED_ON])
    names = tuple(data.train.names[each] for each in some.tolist())
    return Split(data.train.images[some], data.train.labels[some], names)


@dataclass(frozen=True, kw_only=True)
class Scrambled(OfExplainer):
    """Maps of the scrambled copies of one draw.

    Attributes:
        training: the images that statistics are measured on.
    """

    training: Need
    draw: int

    @property
    def label(self) -> str:
        """Which maps of which run."""
        return (
            f"{named(self.explainer, self.layers)} of run {self.name}, weights shuffled for the {self.draw + 1}. time"
        )

    @property
    def needs(self) -> tuple[Need, ...]:
        """Also those images."""
        return (*self.run, self.data, self.training)

    def found(self, trained: Trained, data: Dataset, files: Files) -> dict[str, Floats]:
        """{layer: (S, N, h, w)}."""
        device = trained.device
        measured_on = unpacked_once(files.path(self.training)).train.images
        every = scrambled_maps(
            trained.model,
            trained.spec.layers,
            prepare(data.test.images[torch.tensor(self.ids)].to(device), trained.statistics),
            targets=torch.tensor(self.predicted)[:, None].to(device),
            specs={self.explainer: (self.spec(files), self.layers)},
            measured_on=prepare(measured_on.to(device), trained.statistics),
            generator=torch.Generator().manual_seed(SANITY_SEED + self.draw),
            room=Room(Silence()),
        )
        stages = [maps for _, _, maps in every]
        return {layer: np.stack([maps[layer].numpy() for maps in stages]) for layer in self.layers}


def _made_by(
    hands: Hands,
    trained: Trained,
    data: Dataset,
    specs: Mapping[str, ExplainerSpec],
    cells: Sequence[tuple[str, str]],
    *,
    ids: Integers,
    predicted: Integers,
) -> None:
    """Have workers make what is missing of all draws; those of a cell go to disk in the order of draws."""
    training = packed(replace(data, train=_to_measure_on(data)), hands.workspace.cache, ("train",))
    units = [
        Scrambled(
            **hands.common,
            explainer=name,
            revision=spec.revision,
            layers=together,
            ids=tuple(ids.tolist()),
            predicted=tuple(predicted.tolist()),
            training=training,
            draw=draw,
        )
        for draw in range(DRAWS)
        for name, (spec, layers) in _missing(trained, specs, cells, ids, draw).items()
        for together in layers_apart(spec, layers)
    ]
    waiting: dict[tuple[str, str], dict[int, Floats]] = {}
    for unit, maps in hands.answers(units, "scramble the weights"):
        for layer, raw in maps.items():
            cell = unit.explainer, layer
            waiting.setdefault(cell, {})[unit.draw] = raw
            _keep(trained, specs[unit.explainer], cell, waiting[cell], ids)


def _keep(
    trained: Trained, spec: ExplainerSpec, cell: tuple[str, str], waiting: dict[int, Floats], ids: Integers
) -> None:
    """Write those maps of a cell that come next behind those of earlier draws, and let go of them."""
    there = _known(trained, spec, cell, ids)
    parts = [] if there is None else [there]
    stages = len(next(iter(waiting.values())))
    draw = 0 if there is None else len(there) // stages
    while draw in waiting:
        parts.append(waiting.pop(draw))
        draw += 1
    whole = np.concatenate(parts) if parts else None
    if whole is not None and (there is None or len(whole) > len(there)):
        trained.run.keep_scrambled(*cell, head=_head(trained, spec), ids=ids, raw=whole)


def _head(trained: Trained, spec: ExplainerSpec) -> str:
    """What the maps of scrambled copies hang on, in one order."""
    of = versions(("torch", spec.backend))
    about = {"schema": 2, "checkpoint": trained.checkpoint, "revision": spec.revision, "seed": SANITY_SEED}
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
