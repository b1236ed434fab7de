"""How far the explanations of a run can be trusted: what that takes, then maps, answers, tables and one file."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from bench.contracts import Dataset, Floats, Integers, Progress
from bench.engines.driving import workers_for
from bench.errors import UsageError
from bench.estimates import faithfulness_words
from bench.explaining.plan import (
    Wanted,
    at_layers,
    layers_of,
    plan,
    rate_of,
    usable_cell,
    wanted_explainers,
)
from bench.explaining.runner import explain_run
from bench.explaining.units import Hands, hands_for
from bench.fields import names
from bench.machine import describe_device, versions
from bench.nets.trained import Trained, data_of_run, open_run
from bench.request import FaithfulnessRequest
from bench.schema.scores import SCORES_SCHEMA, Cost, FaithfulnessScores
from bench.scoring.baselines import BASELINES
from bench.scoring.comparing import differences_of, scores_alike
from bench.scoring.fills import BLACK, FILLS, IMPUTED, MEAN_COLOUR
from bench.scoring.layer_scores import (
    FLIP_SHARES,
    ROAD_IMAGES,
    ROAD_SHARES,
    Errors,
    Ground,
    Ranked,
    agreements_of,
    ceilings_of,
    flat,
    kept,
    layer_of,
    ranked,
    scores_of_layers,
    single_sets,
)
from bench.scoring.occluded_answers import (
    ask,
    baselines_of,
    known_answers,
    layer_sizes,
    maps_of,
    normalised,
    template_of,
    wanted_sets,
)
from bench.scoring.patches import STEPS, patch_grid
from bench.scoring.randomization import sanity_passes, sanity_scores
from bench.scoring.sensitivity import sensitivities, sensitivity_passes
from bench.store.predictions import choose_ids
from bench.store.rows import Answers, row_keys
from bench.whole_file import check_writable
from bench.workspace import Workspace

FAITHFUL_EXPLAINERS = ("gradcam", "captum", "reference")
ERRORS = 200  # that are looked at unless a limit is given
SEED = 6006
FEWEST_PATCHES = 4
Grid = tuple[int, int]
Sets = tuple[Integers, Integers]  # (M,) ids and (M,) sets of covered patches
OF_ORDER = 2 * STEPS + len(FLIP_SHARES)  # sets of covered patches that an order needs at most
OF_ROAD = 2 * len(ROAD_SHARES)  # and of imputed ones


@dataclass(frozen=True)
class LayerMaps:
    """The maps of one layer, as far as they are there.

    Attributes:
        grid: of the patches that are covered.
        explainers: those whose maps are complete.
        baselines: rows that know no model; the class template only once the answers are there that it is made of.
        draws: random orders that gains are counted against.
    """

    name: str
    grid: tuple[int, int]
    explainers: tuple[Ranked, ...]
    baselines: tuple[Ranked, ...]
    draws: tuple[Ranked, ...]

    @property
    def rows(self) -> tuple[Ranked, ...]:
        """All rows of its table."""
        return (*self.explainers, *self.baselines)

    @property
    def complete(self) -> bool:
        """Whether the class template is there."""
        return len(self.baselines) == len(BASELINES)


@dataclass(frozen=True)
class Asking:
    """What the scores are asked of.

    Attributes:
        images: (I, 3, H, W) the errors, as the model is given them.
        fills: what covered patches take.
        hands: workers that are asked; None for this process.
    """

    trained: Trained
    data: Dataset
    errors: Errors
    images: Tensor
    fills: tuple[str, ...]
    hands: Hands | None = None


def faithfulness(request: FaithfulnessRequest, workspace: Workspace) -> FaithfulnessScores:
    """Hold explanations of the misclassified test images against what happens when parts of the image are covered.

    Says first what it takes. Maps that are missing are made; maps and answers of the model are kept, so a call that
    was interrupted goes on where it stopped. The scores are written to judge/faithfulness.json in the run's folder.
    Without names the explainers are gradcam, captum and reference, the layers the last two that the model names.

    Returns:
        The scores; without any error to look at, or after a dry run, tables without rows.
    """
    sanity, progress = request.sanity, workspace.progress
    wanted = wanted_explainers(names(request.explainer), workspace, default=FAITHFUL_EXPLAINERS)
    trained = open_run(request.run, request.own_device, workspace)
    wanted = at_layers(wanted, names(request.layer), trained, progress)
    predictions = trained.run.predictions
    ids = choose_ids(predictions, "wrong", ERRORS if request.limit is None else request.limit)
    errors = Errors(ids, predictions.predicted[ids], predictions.labels[ids])
    dataset = data_of_run(trained.record, request.data, workspace)
    fills = (*FILLS, BLACK) if request.black else FILLS
    asking = Asking(trained, dataset, errors, normalised(trained, dataset, ids), fills)
    cost = cost_of(asking, wanted, sanity)
    empty = _empty(trained, cost, len(predictions.wrong))
    progress.say(faithfulness_words(cost))
    if request.dry_run or len(ids) == 0:
        return empty
    check_writable(trained.folder)
    with workers_for(request, workspace) as on:
        explain_run(trained, dataset, wanted, ids, workspace=workspace, on=on)
        layers = maps_there(asking, wanted)
        before = _trained_maps(layers, sanity)
        hands = hands_for(on, trained, dataset, workspace)
        few = {"ids": ids[:sanity], "predicted": errors.predicted[:sanity]}
        by: dict[str, Any] = {**few, "specs": wanted.specs, "progress": progress, "hands": hands}
        moved = sensitivities(trained, dataset, list(before), **by)
        found = _scored(dataclasses.replace(asking, hands=hands), layers, moved, empty=empty, progress=progress)
        scrambled = sanity_scores(trained, dataset, before, **by)
    device = (hands and hands.device) or found.device
    found = dataclasses.replace(found, sanity=tuple(scrambled), device=device)
    trained.run.keep_scores(found)
    return found


def _empty(trained: Trained, cost: Cost, wrong: int) -> FaithfulnessScores:
    return FaithfulnessScores(
        schema=SCORES_SCHEMA,
        run=trained.record.name,
        checkpoint=trained.checkpoint,
        model=trained.record.model,
        device=describe_device(trained.device),
        versions=versions(),
        images=cost.images,
        wrong=wrong,
        cost=cost,
    )


# --- what it takes ------------------------------------------------------------------------------------------


def cost_of(asking: Asking, wanted: Wanted, sanity: int) -> Cost:
    """What is still to be computed; exact where maps and answers to single patches are there, else at most that."""
    trained, ids = asking.trained, asking.errors.ids
    jobs = plan(trained, wanted, ids) if len(ids) else []
    layers = maps_there(asking, wanted) if len(ids) else []
    covered, filled = 0, 0
    for grid, fill, sets in _wanted(asking, layers):
        new = len(known_answers(trained, grid, fill).missing(*sets)[0])
        covered, filled = covered + new, filled + (new if fill == IMPUTED else 0)
    unknown = sum(len(job.layers) for job in jobs) + sum(not layer.complete for layer in layers)
    of_order = len(ids) * OF_ORDER + min(len(ids), ROAD_IMAGES) * OF_ROAD
    return Cost(
        images=len(ids),
        explanations=sum(job.passes for job in jobs),
        forwards=covered + unknown * of_order,
        sanity=sanity_passes(trained, wanted, ids[:sanity]) + sensitivity_passes(trained, wanted, ids[:sanity]),
        rate=rate_of(trained),
        imputed=filled + unknown * min(len(ids), ROAD_IMAGES) * OF_ROAD,
    )


def maps_there(asking: Asking, wanted: Wanted) -> list[LayerMaps]:
    """The maps there are, layer by layer, on the grids on which patches are covered."""
    trained, errors = asking.trained, asking.errors
    layers = list(dict.fromkeys(name for spec in wanted.specs.values() for name in layers_of(spec, wanted)))
    pixels = trained.spec.input_size
    sizes = layer_sizes(trained.model, layers, pixels)
    keys = {
        (each, one)
        for of in (errors.predicted, errors.true)
        for each, one in zip(errors.ids.tolist(), of.tolist(), strict=True)
    }
    found = []
    for name in layers:
        grid = patch_grid(*sizes[name], pixels)
        if grid[0] * grid[1] < FEWEST_PATCHES:
            raise UsageError(
                f"maps of {sizes[name][0]}x{sizes[name][1]} at '{name}' have too few patches for a ranking",
                try_=f"bench list layers --model {trained.record.model}  # for one with a finer grid",
            )
        rows, draws = baselines_of(errors.ids, asking.images, sizes[name], grid)
        every = []
        for explainer, spec in wanted.specs.items():
            cell = usable_cell(trained, explainer, spec, name)
            if cell is not None and keys <= row_keys(cell):
                maps = maps_of(cell, explainer, errors.ids, predicted=errors.predicted, true=errors.true)
                every.append(ranked(maps, errors.ids, grid))
        found.append(LayerMaps(name, grid, tuple(every), tuple(rows), tuple(draws)))
    return [_with_template(layer, asking) for layer in found]


def _with_template(layer: LayerMaps, asking: Asking) -> LayerMaps:
    """The layer with the class template, where the answers are there that it is made of."""
    answers = known_answers(asking.trained, layer.grid)
    singles = single_sets(asking.errors.ids, layer.grid[0] * layer.grid[1])
    if layer.complete or len(answers.missing(*singles)[0]):
        return layer
    template = template_of(asking.errors, answers, layer.grid)
    return dataclasses.replace(layer, baselines=(*layer.baselines, template))


def _wanted(asking: Asking, layers: Sequence[LayerMaps]) -> list[tuple[Grid, str, Sets]]:
    """For each grid and fill all sets of covered patches that its layers need."""
    ids, found = asking.errors.ids, []
    for grid in dict.fromkeys(layer.grid for layer in layers):
        every = [one for layer in layers if layer.grid == grid for one in (*layer.rows, *layer.draws)]
        patches = grid[0] * grid[1]
        for fill in asking.fills:
            sets = wanted_sets(ids, every, patches) if fill == MEAN_COLOUR else single_sets(ids, patches)
            found.append((grid, fill, sets))
        rows = [one.road_sets() for layer in layers if layer.grid == grid for one in layer.rows]
        found.append((grid, IMPUTED, flat([(each, sets[:, None]) for each, sets in rows])))
    return found


# --- what it gives ------------------------------------------------------------------------------------------


def _scored(
    asking: Asking,
    layers: Sequence[LayerMaps],
    moved: Mapping[tuple[str, str], Floats],
    *,
    empty: FaithfulnessScores,
    progress: Progress,
) -> FaithfulnessScores:
    """All tables but the sanity check's.

    Args:
        moved: maximal sensitivity of the first images, by explainer and layer.
    """
    ids = asking.errors.ids
    grids = dict.fromkeys(layer.grid for layer in layers)
    singles = [(grid, MEAN_COLOUR, single_sets(ids, grid[0] * grid[1])) for grid in grids]
    _, before = _answers(asking, singles, progress)  # what the class template is made of
    layers = [_with_template(layer, asking) for layer in layers]
    wanted = _wanted(asking, layers)
    answers, after = _answers(asking, wanted, progress)
    laps = [*before, *after]
    measured = []
    for layer in layers:
        of_layer = {name: values for (name, at), values in moved.items() if at == layer.name}
        measured.append(layer_of(layer.name, _ground(layer, asking, answers), layer.rows, of_layer))
    return dataclasses.replace(
        empty,
        answers=sum(len(set(zip(*map(np.ndarray.tolist, sets), strict=True))) for _, _, sets in wanted),
        new=sum(count for count, _ in laps),
        seconds=sum(seconds for _, seconds in laps),
        rows=tuple(scores_of_layers(measured, SEED)),
        pairs=tuple(agreements_of([(one.name, one.rows) for one in layers], asking.errors.predicted, SEED)),
        ceilings=tuple(each for layer in measured for each in ceilings_of(layer, SEED)),
        differences=tuple(differences_of(measured)),
        alike=tuple(scores_alike(measured)),
    )


def _answers(
    asking: Asking, wanted: Sequence[tuple[Grid, str, Sets]], progress: Progress
) -> tuple[dict[tuple[Grid, str], Answers], list[tuple[int, float]]]:
    """Answers by grid and fill, and how many of them took how long."""
    answers, laps = {}, []
    for grid, fill, sets in wanted:
        found, meter = ask(
            asking.trained, asking.data, sets, grid=grid, fill=fill, progress=progress, hands=asking.hands
        )
        answers[grid, fill] = found
        laps += meter.laps
    return answers, laps


def _ground(layer: LayerMaps, asking: Asking, answers: Mapping[tuple[Grid, str], Answers]) -> Ground:
    of_grid = {fill: answers[layer.grid, fill] for fill in (*asking.fills, IMPUTED)}
    return Ground(**vars(asking.errors), grid=layer.grid, answers=of_grid, random=layer.draws)


def _trained_maps(layers: Sequence[LayerMaps], count: int) -> dict[tuple[str, str], Floats]:
    """Of each explainer and layer the first maps for the predicted class, NaN where one is not `ok`."""
    return {
        (one.maps.name, layer.name): kept(one.maps.predicted, one.maps.predicted_ok)[:count]
        for layer in layers
        for one in layer.explainers
    }
