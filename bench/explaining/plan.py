"""What has to be computed: the rows that are wanted less the rows that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
from torch import nn

from bench.contracts import Booleans, ExplainerSpec, Integers, Progress
from bench.errors import MissingError, UsageError, did_you_mean
from bench.estimates import GUESSED_RATE, affordable, duration
from bench.explaining.batches import seeding
from bench.machine import describe_device, versions
from bench.nets.summary import layers_in, summarise
from bench.nets.trained import Trained
from bench.registry.layer_shapes import grids_of, shapes_of, why_no_grid
from bench.registry.layouts import as_built, known_layouts
from bench.registry.looking import flow
from bench.registry.registry import resolved
from bench.schema.run import Cell, keys_of
from bench.store.predictions import wanted_targets
from bench.store.rows import CELL_SCHEMA, same_cell
from bench.workspace import Workspace

DEFAULT_EXPLAINERS = ("gradcam", "captum")
CHEAP = 200.0  # forward passes an image and class: `all` leaves out cells that cost more
ALL = "all"  # explainers, layers
DEFAULT_LAYERS = 2  # the last ones that a model names
INPUT_LAYER = "input"


@dataclass(frozen=True)
class Wanted:
    """Which maps of an image are wanted.

    Attributes:
        specs: explainers by the name the user gave.
        layers: dotted module names; from a command with what the model shows of them, which costs depend on.
        target: the class they speak for: `predicted`, `true` or `both`.
        ceilings: of the explainers that `all` brought in, by the name of their spec: the most that a cell of theirs
            may cost, in forward passes an image and target. One of them that fails is told of and left out.
        image: the one layer of methods that answer in pixels, as the others.
    """

    specs: Mapping[str, ExplainerSpec]
    layers: tuple[str, ...] = ()
    target: str = "both"
    ceilings: Mapping[str, float] = field(default_factory=dict)
    image: str = INPUT_LAYER


@dataclass(frozen=True)
class MissingRows:
    """One explainer at the layers that lack rows of the same images, so that one call serves them all.

    Attributes:
        ids: (N,) test ids.
        targets: (N, T) classes.
    """

    name: str
    spec: ExplainerSpec
    layers: tuple[str, ...]
    ids: Integers
    targets: Integers

    def part(self, rows: slice | Booleans) -> MissingRows:
        """Those of some of the images."""
        return replace(self, ids=self.ids[rows], targets=self.targets[rows])

    @property
    def passes(self) -> float:
        """What it costs in forward passes: the explainer's at its dearest layer, and one for the logits."""
        dearest = max(self.spec.cost(layer) for layer in self.layers)
        return len(self.ids) * (dearest * self.targets.shape[1] + 1)


def plan(trained: Trained, wanted: Wanted, ids: Integers) -> list[MissingRows]:
    """What has to be computed so that every wanted row of `ids` is there."""
    targets = wanted_targets(trained.run.predictions, ids, wanted.target)
    whole = [MissingRows(name, spec, layers_of(spec, wanted), ids, targets) for name, spec in wanted.specs.items()]
    return [missing for every in whole for missing in _missing(trained, every)]


def _missing(trained: Trained, every: MissingRows) -> list[MissingRows]:
    """Of one explainer's rows those that are not there, with the layers together that lack rows of the same images."""
    groups: dict[tuple[bytes, str], list[str]] = {}
    for layer in every.layers:
        cell = usable_cell(trained, every.name, every.spec, layer)
        there = cell.keys if cell else np.empty(0, dtype=np.int64)
        lacking = ~np.isin(keys_of(every.ids[:, None], every.targets), there).all(axis=1)
        if lacking.any():
            groups.setdefault((lacking.tobytes(), "" if every.spec.joint else layer), []).append(layer)
    return [
        replace(every.part(np.frombuffer(lacking, dtype=bool)), layers=tuple(layers))
        for (lacking, _), layers in groups.items()
    ]


def layers_of(spec: ExplainerSpec, wanted: Wanted) -> tuple[str, ...]:
    """The layers an explainer answers for, but those that are too dear for what `all` brought in."""
    ceiling = wanted.ceilings.get(spec.name, inf)
    return tuple(layer for layer in possible_layers(spec, wanted) if spec.cost(layer) <= ceiling)


def possible_layers(spec: ExplainerSpec, wanted: Wanted) -> tuple[str, ...]:
    """The layers an explainer could answer for; an input method has but one, which no other explainer has."""
    if spec.output == "input":
        return (wanted.image,)
    return tuple(layer for layer in wanted.layers if layer != INPUT_LAYER or spec.name not in wanted.ceilings)


def usable_cell(trained: Trained, name: str, spec: ExplainerSpec, layer: str) -> Cell | None:
    """The cell on disk, when its rows may stand beside new ones; one that cannot be read counts as absent."""
    cell = trained.run.cell(name, layer)
    return cell if cell is not None and same_cell(cell, empty_cell(trained, name, spec, layer)) else None


def empty_cell(trained: Trained, name: str, spec: ExplainerSpec, layer: str, timing: str = "") -> Cell:
    """A cell with its key and no rows."""
    nothing = np.zeros(0, dtype=np.int64)
    device = trained.device
    return Cell(
        schema=CELL_SCHEMA,
        checkpoint=trained.checkpoint,
        explainer=name,
        revision=spec.revision,
        layer=layer,
        versions=versions(("torch", spec.backend)),
        device=describe_device(device),
        dtype="float32",
        timing=timing,
        ids=nothing,
        classes=nothing,
        raw=np.zeros((0, 1, 1), dtype=np.float32),
        status=nothing.astype(np.uint8),
        output=spec.output,
        steps=spec.steps,
        seeding=seeding(spec),
        promise=spec.complete,
    )


def find_explainers(names: Sequence[str], place: Workspace) -> dict[str, ExplainerSpec]:
    """Explainers by name; `all` means every registered one that loads, beside those that are named."""
    if not names:
        raise UsageError("no explainer named", try_="--explainer captum")
    found = {resolved(name): place.explainers[name] for name in names if name != ALL}
    for name in place.explainers if ALL in names else ():
        try:
            found[name] = place.explainers[name]
        except MissingError as error:  # a broken plug-in hurts only its own name
            place.progress.warn(error.message)
    return found


def wanted_explainers(
    names: Sequence[str], place: Workspace, *, default: Sequence[str], target: str = "both", slow: bool = False
) -> Wanted:
    """The explainers that were named, else the default ones, as yet at no layer."""
    specs = find_explainers(names or default, place)
    return Wanted(specs, (), target, ceilings(names, specs, slow=slow))


def at_layers(wanted: Wanted, names: Sequence[str], trained: Trained, progress: Progress) -> Wanted:
    """The same at the layers that were named, else the model's last ones; says where it costs much or is in vain.

    Raises:
        UsageError: a layer that the model does not have, or that has no grid.
    """
    layers = choose_layers(names, [trained])
    if not layers and all(spec.output == "input" for spec in wanted.specs.values()):
        layers = (INPUT_LAYER,)
    check_layers(trained, layers)
    say_dead(trained, layers, progress)
    found = measured(replace(wanted, layers=layers), trained)
    say_costs(found, progress)
    return found


def measured(wanted: Wanted, trained: Trained) -> Wanted:
    """The same with what one pass of one image shows of the layers."""
    *layers, image = layers_in(summarise(trained.model, trained.record.size), [*wanted.layers, INPUT_LAYER])
    return replace(wanted, layers=tuple(layers), image=image)


def say_dead(trained: Trained, layers: Sequence[str], progress: Progress) -> None:
    """One line for the layers behind the last attention of a net that reads its class token alone."""
    layouts = known_layouts(trained.model) or {}
    asked = {name: layouts[name] for name in layers if name in layouts and layouts[name].others}
    if not asked:
        return
    with as_built(trained.model):
        live = flow(trained.model, trained.record.size, asked).live
    if dead := [name for name in asked if name not in live]:
        progress.warn(
            f"no gradient reaches the patches at {' and '.join(dead)}, because only other tokens are used after it: "
            f"maps made from gradients are zero there, but not at {', '.join(trained.spec.layers)}"
        )


def ceilings(names: Sequence[str], specs: Mapping[str, ExplainerSpec], *, slow: bool = False) -> dict[str, float]:
    """Of the explainers that only `all` brought in: what a cell may cost, forward passes for one image and class."""
    if ALL not in names:
        return {}
    named = set(map(resolved, names))
    return {spec.name: inf if slow else CHEAP for name, spec in specs.items() if name not in named}


def say_costs(wanted: Wanted, progress: Progress) -> None:
    """One line for each explainer that is left out somewhere for its cost, or is dear and was named."""
    for name, spec in wanted.specs.items():
        dear = [layer for layer in possible_layers(spec, wanted) if spec.cost(layer) > CHEAP]
        if not dear:
            continue
        costs = " and ".join(f"{spec.cost(layer):,.0f} at {layer}" for layer in dear)
        words = f"{name} costs {costs} forward passes for one image and class"
        if set(dear) & set(layers_of(spec, wanted)):
            progress.say(words)
        else:
            progress.say(f"left out: {words}; --slow or --explainer {name} includes it")


def cut_to_afford(
    runs: Sequence[Trained],
    wanted: Wanted | Sequence[Wanted],
    ids: Integers,
    *,
    limit: int | str | None,
    shared: bool,
    progress: Progress,
) -> Integers:
    """Say how long the missing rows will take; on a CPU cut what takes over 15 minutes, unless a limit was given.

    Args:
        shared: workers make them, who are as many as are needed: nothing is cut.
    """
    every = [wanted] * len(runs) if isinstance(wanted, Wanted) else wanted
    jobs = [(trained, job) for trained, one in zip(runs, every, strict=True) for job in plan(trained, one, ids)]
    if not jobs:
        return ids
    seconds = sum(job.passes / rate_of(trained) for trained, job in jobs)
    images, cells = sum(len(job.ids) for _, job in jobs), sum(len(job.layers) for _, job in jobs)
    pairs = f"{cells} pair{'s' if cells > 1 else ''} of explainer and layer"
    work = f"{images:,} explanation{'s' if images > 1 else ''} to make, for {pairs}"
    of = ", divided by the number of workers" if shared else ""
    progress.say(f"{work}: about {duration(seconds)}{of}, estimated from the speed of the evaluation")
    return ids if shared or limit is not None else ids[: affordable(len(ids), seconds, runs[0].device, progress)]


def rate_of(trained: Trained) -> float:
    """Forward passes a second of a run's model, by what the evaluation measured; a modest guess where it did not."""
    measured = trained.record.results.forward_images_per_second
    return measured if measured and measured > 0 else GUESSED_RATE


def choose_layers(asked: Sequence[str], runs: Sequence[Trained]) -> tuple[str, ...]:
    """The layers asked for; `all` is every one that all models name, and none the last two of the first model."""
    if not asked:
        return runs[0].spec.layers[-DEFAULT_LAYERS:]
    common = [layer for layer in runs[0].spec.layers if all(layer in trained.spec.layers for trained in runs)]
    return tuple(dict.fromkeys(layer for one in asked for layer in (common if one == ALL else [one])))


def check_names(net: nn.Module, model: str, layers: Sequence[str]) -> None:
    """UsageError for the first layer that the net lacks; `model` is its registered name."""
    known = [name for name, _ in net.named_modules() if name]
    for layer in layers:
        if layer not in known and layer != INPUT_LAYER:
            raise UsageError(
                f"'{layer}' is not a layer of {model}{did_you_mean(layer, known)}",
                try_=f"bench list layers --model {model}",
            )


def check_layers(trained: Trained, layers: Sequence[str]) -> None:
    """UsageError for the first layer that the model does not have or that has no grid, and for none at all."""
    if not layers and not trained.spec.layers:
        raise UsageError(
            f"no layer of {trained.record.model} has an output with positions, which a map of a layer needs",
            try_="--explainer saliency  # or another that answers for the image's pixels: bench list explainers",
        )
    if not layers:
        raise UsageError("no layer named", try_=f"--layer {trained.spec.layers[-1]}")
    model, size = trained.model, trained.record.size
    check_names(model, trained.record.model, layers)
    grids = {INPUT_LAYER: (3, size, size), **grids_of(model, size)}
    for layer in layers:
        if layer not in grids:
            others = ", ".join(trained.spec.layers) or "none at all"
            shape = shapes_of(model, size)[0].get(layer, ())
            raise UsageError(
                f"{why_no_grid(layer, shape)}; layers of {trained.record.model} with a grid: {others}",
                try_=f"bench list layers --model {trained.record.model}",
            )
