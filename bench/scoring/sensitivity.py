"""How much a map moves when its image moves a little."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.clock import Stopwatch
from bench.contracts import Dataset, ExplainerSpec, Files, Floats, Integers, Progress, Silence
from bench.data.transforms import prepare
from bench.explaining.batches import explained, named, seed_of, seeding
from bench.explaining.guard import Call, guarded
from bench.explaining.plan import Wanted, layers_of
from bench.explaining.units import Hands, OfExplainer, layers_apart, slices
from bench.machine import versions
from bench.memory import Room
from bench.modes import generators_kept
from bench.nets.trained import Trained
from bench.precision import fp32_key

SAMPLES = 10  # images around each image
RADIUS = 0.02  # in units of normalised pixels: less than one step of 8 bits in the mean
SENSITIVITY_SEED = 10010
KIND = "sensitivity"

Missing = dict[str, tuple[ExplainerSpec, list[str]]]


def sensitivities(
    trained: Trained,
    data: Dataset,
    cells: Sequence[tuple[str, str]],
    *,
    specs: Mapping[str, ExplainerSpec],
    ids: Integers,
    predicted: Integers,
    progress: Progress,
    hands: Hands | None = None,
) -> dict[tuple[str, str], Floats]:
    """The maximal sensitivity (N,) of each explainer and layer; kept on disk, cell by cell.

    Args:
        cells: explainers and layers.
        ids: (N,) test ids, with the class (N,) that the model predicts, which the maps are of.
        hands: workers that move the images; None for this process.
    """
    if len(ids) == 0:
        return {}
    missing = _missing(trained, specs, cells, ids)
    if missing and hands is not None:
        for (name, layer), each in _by_workers(hands, missing, ids, predicted):
            head = _head(trained, missing[name][0])
            trained.run.keep_scrambled(name, layer, head=head, ids=ids, raw=each[None], kind=KIND)
    elif missing:
        images = prepare(data.test.images[torch.from_numpy(ids)].to(trained.device), trained.statistics)
        targets = torch.from_numpy(predicted)[:, None].to(trained.device)
        with progress.track("move the images", len(missing)) as task:
            for name, (spec, layers) in missing.items():
                moved = maximal_sensitivity(
                    spec, trained.model, layers, images=images, targets=targets, seeds=ids, room=Room(progress)
                )
                for layer, each in moved.items():
                    head = _head(trained, spec)
                    trained.run.keep_scrambled(name, layer, head=head, ids=ids, raw=each[None], kind=KIND)
                task.advance(1, name)
    found: dict[tuple[str, str], Floats] = {}
    for name, layer in cells:
        values = trained.run.scrambled(name, layer, head=_head(trained, specs[name]), ids=ids, kind=KIND)
        assert values is not None  # written above
        found[name, layer] = values[0]
    return found


@dataclass(frozen=True, kw_only=True)
class Moved(OfExplainer):
    """How much maps move when their images move a little."""

    @property
    def label(self) -> str:
        """Which maps of which run."""
        return f"sensitivity of {named(self.explainer, self.layers)} of run {self.name}, {len(self.ids)} images"

    def found(self, trained: Trained, data: Dataset, files: Files) -> dict[str, Floats]:
        """{layer: (N,)}."""
        ids, device = np.array(self.ids), trained.device
        images = prepare(data.test.images[torch.from_numpy(ids)].to(device), trained.statistics)
        targets = torch.tensor(self.predicted)[:, None].to(device)
        room, spec = Room(Silence()), self.spec(files)
        return maximal_sensitivity(
            spec, trained.model, self.layers, images=images, targets=targets, seeds=ids, room=room
        )


def _by_workers(
    hands: Hands, missing: Missing, ids: Integers, predicted: Integers
) -> Iterator[tuple[tuple[str, str], Floats]]:
    """Each explainer and layer with its figures (N,), once those of all images are there."""
    units = [
        Moved(
            **hands.common,
            explainer=name,
            revision=spec.revision,
            layers=together,
            ids=tuple(ids[rows].tolist()),
            predicted=tuple(predicted[rows].tolist()),
        )
        for name, (spec, layers) in missing.items()
        for together in layers_apart(spec, layers)
        for rows in slices(len(ids), spec, hands.engine.workers)
    ]
    parts: dict[tuple[str, str], dict[int, Floats]] = {}
    for unit, answer in hands.answers(units, "move the images"):
        for layer, moved in answer.items():
            found = parts.setdefault((unit.explainer, layer), {})
            found.update(zip(unit.ids, moved, strict=True))
            if len(found) == len(ids):
                yield (unit.explainer, layer), np.array([found[each] for each in ids.tolist()])


def sensitivity_passes(trained: Trained, wanted: Wanted, ids: Integers) -> float:
    """What is not on disk costs in forward passes."""
    cells = [(name, layer) for name, spec in wanted.specs.items() for layer in layers_of(spec, wanted)]
    missing = _missing(trained, wanted.specs, cells, ids) if len(ids) else {}
    costs = ((max if spec.joint else sum)(map(spec.cost, layers)) for spec, layers in missing.values())
    return (SAMPLES + 1) * len(ids) * sum(costs)


def maximal_sensitivity(
    spec: ExplainerSpec,
    model: torch.nn.Module,
    layers: Sequence[str],
    *,
    images: Tensor,
    targets: Tensor,
    seeds: Integers,
    room: Room | None = None,
) -> dict[str, Floats]:
    """The farthest a map gets from its image's own while each pixel moves by at most 0.02, in lengths of the map.

    Args:
        images: (N, 3, H, W), normalised.
        targets: (N, 1).
        seeds: (N,) what each image's moves are drawn from.

    Returns:
        {layer: (N,)}, 0 for a map that does not move; NaN for one that is zero or not finite. Without a bound above.

    Source: Yeh et al. 2019, arXiv:1901.09392, equation 4, by samples.
    """
    own = explained(spec, model, layers, images, targets, room=room)
    generators = [np.random.default_rng([SENSITIVITY_SEED, int(seed)]) for seed in seeds]
    found: dict[str, Floats] = {layer: np.zeros(len(images)) for layer in layers}
    for _ in range(SAMPLES):
        moves = [each.uniform(-RADIUS, RADIUS, images.shape[1:]) for each in generators]
        moved = images + torch.from_numpy(np.stack(moves)).to(images.dtype).to(images.device)
        call = same_draws(spec, images, moved) if spec.stochastic else guarded
        for layer, maps in explained(spec, model, layers, moved, targets, call=call, room=room).items():
            length = own[layer].cpu().double().flatten(1).norm(dim=1)
            far = (maps - own[layer]).cpu().double().flatten(1).norm(dim=1) / length
            found[layer] = np.maximum(found[layer], torch.where(far.isfinite(), far, torch.nan).cpu().numpy())
    return found


def same_draws(spec: ExplainerSpec, images: Tensor, moved: Tensor) -> Call:
    """A call by which a stochastic explainer repeats for each moved image (1, 3, H, W) what it drew for the image.

    Else its dice would be most of what is measured: of kernel_shap's maps, a hundred times what the image moves them.
    """
    seeds = {
        seed_of(spec, one): seed_of(spec, own)
        for one, own in zip(torch.split(moved, 1), torch.split(images, 1), strict=True)
    }

    def call(
        spec: ExplainerSpec,
        model: torch.nn.Module,
        layers: Sequence[str],
        one: Tensor,
        target: Tensor,
        watch: Stopwatch,
    ) -> Mapping[str, Tensor]:
        with generators_kept(one.device, seeds[seed_of(spec, one)]):
            return guarded(spec, model, layers, one, target, watch)

    return call


def _missing(
    trained: Trained, specs: Mapping[str, ExplainerSpec], cells: Sequence[tuple[str, str]], ids: Integers
) -> Missing:
    """Explainers with those of their layers whose figures are not on disk."""
    found: Missing = {}
    for name, layer in cells:
        if trained.run.scrambled(name, layer, head=_head(trained, specs[name]), ids=ids, kind=KIND) is None:
            found.setdefault(name, (specs[name], []))[1].append(layer)
    return found


def _head(trained: Trained, spec: ExplainerSpec) -> str:
    """What the figures hang on, in one order."""
    about = {"schema": 1, "checkpoint": trained.checkpoint, "revision": spec.revision, "seed": SENSITIVITY_SEED}
    ways = {"samples": SAMPLES, "radius": RADIUS, "versions": versions(("torch", spec.backend))}
    drawn = {"seeding": seeding(spec), "moved": "same draws"} if spec.stochastic else {}
    return json.dumps({**about, **ways, **drawn, **fp32_key(trained.device)}, sort_keys=True)
