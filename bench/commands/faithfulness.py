"""How far the explanations of a run can be trusted: what that takes, then maps, answers, tables and one file."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.contracts import Dataset, Floats, Integers, Progress
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
from bench.fields import names
from bench.machine import describe_device, versions
from bench.nets.trained import Trained, data_of_run, open_run
from bench.request import FaithfulnessRequest
from bench.schema.scores import SCORES_SCHEMA, Cost, ExplainerScores, FaithfulnessScores
from bench.scoring.layer_scores import (
    FLIP_SHARES,
    Errors,
    Ground,
    Ranked,
    agreement_of,
    explainer_scores,
    kept,
    pairs_of,
    ranked,
)
from bench.scoring.occluded_answers import ask, baselines_of, known_answers, layer_sizes, maps_of, wanted_sets
from bench.scoring.patches import STEPS, patch_grid
from bench.scoring.randomization import sanity_passes, sanity_scores
from bench.store.predictions import choose_ids
from bench.store.rows import Answers, row_keys
from bench.whole_file import check_writable
from bench.workspace import Workspace

FAITHFUL_EXPLAINERS = ("gradcam", "captum", "reference")
ERRORS = 200  # that are looked at unless a limit is given
SEED = 6006
FEWEST_PATCHES = 4
OF_ORDER = 2 * STEPS + len(FLIP_SHARES)  # sets of covered patches that an order needs at most


@dataclass(frozen=True)
class LayerMaps:
    """The maps of one layer, as far as they are there.

    Attributes:
        grid: of the patches that are covered.
        explainers: those whose maps are complete.
        baselines: `random` and `centre`, in this order.
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
    trained = open_run(request.run, request.device, workspace)
    wanted = at_layers(wanted, names(request.layer), trained, progress)
    predictions = trained.run.predictions
    ids = choose_ids(predictions, "wrong", ERRORS if request.limit is None else request.limit)
    errors = Errors(ids, predictions.predicted[ids], predictions.labels[ids])
    cost = cost_of(trained, wanted, errors, sanity)
    empty = _empty(trained, cost, len(predictions.wrong))
    progress.say(faithfulness_words(cost))
    if request.dry_run or len(ids) == 0:
        return empty
    check_writable(trained.folder)
    dataset = data_of_run(trained.record, request.data, workspace)
    explain_run(trained, dataset, wanted, ids, workspace=workspace)
    layers = maps_there(trained, wanted, errors)
    found = _scored(trained, dataset, layers, errors, empty=empty, progress=progress)
    scrambled = sanity_scores(
        trained, dataset, _trained_maps(layers, sanity), specs=wanted.specs, ids=ids[:sanity],
        predicted=errors.predicted[:sanity], seed=SEED, progress=progress,
    )  # fmt: skip
    found = dataclasses.replace(found, sanity=tuple(scrambled))
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


def cost_of(trained: Trained, wanted: Wanted, errors: Errors, sanity: int) -> Cost:
    """What is still to be computed; exact where all maps are there, and at most that where they are not."""
    jobs = plan(trained, wanted, errors.ids) if len(errors.ids) else []
    planned = sum(len(job.layers) for job in jobs)
    layers = maps_there(trained, wanted, errors) if len(errors.ids) else []
    covered = sum(len(known_answers(trained, grid).missing(*sets)[0]) for grid, sets in _wanted(layers, errors).items())
    return Cost(
        images=len(errors.ids),
        explanations=sum(job.passes for job in jobs),
        forwards=covered + planned * len(errors.ids) * OF_ORDER,
        sanity=sanity_passes(trained, wanted, errors.ids[:sanity]),
        rate=rate_of(trained),
    )


def maps_there(trained: Trained, wanted: Wanted, errors: Errors) -> list[LayerMaps]:
    """The maps there are, layer by layer, on the grids on which patches are covered."""
    names = list(dict.fromkeys(name for spec in wanted.specs.values() for name in layers_of(spec, wanted)))
    pixels = trained.spec.input_size
    sizes = layer_sizes(trained.model, names, pixels)
    keys = {
        (each, one)
        for of in (errors.predicted, errors.true)
        for each, one in zip(errors.ids.tolist(), of.tolist(), strict=True)
    }
    found = []
    for name in names:
        grid = patch_grid(*sizes[name], pixels)
        if grid[0] * grid[1] < FEWEST_PATCHES:
            raise UsageError(
                f"maps of {sizes[name][0]}x{sizes[name][1]} at '{name}' have too few patches to put in an order",
                try_=f"bench list layers --model {trained.record.model}  # for one with a finer grid",
            )
        rows, draws = baselines_of(errors.ids, sizes[name], grid)
        every = []
        for explainer, spec in wanted.specs.items():
            cell = usable_cell(trained, explainer, spec, name)
            if cell is not None and keys <= row_keys(cell):
                maps = maps_of(cell, explainer, errors.ids, predicted=errors.predicted, true=errors.true)
                every.append(ranked(maps, errors.ids, grid))
        found.append(LayerMaps(name, grid, tuple(every), tuple(rows), tuple(draws)))
    return found


def _wanted(layers: Sequence[LayerMaps], errors: Errors) -> dict[tuple[int, int], tuple[Integers, Integers]]:
    """For each grid all sets of covered patches that its layers need."""
    found = {}
    for grid in dict.fromkeys(layer.grid for layer in layers):
        every = [one for layer in layers if layer.grid == grid for one in (*layer.rows, *layer.draws)]
        found[grid] = wanted_sets(errors.ids, every, grid[0] * grid[1])
    return found


# --- what it gives ------------------------------------------------------------------------------------------


def _scored(
    trained: Trained,
    data: Dataset,
    layers: Sequence[LayerMaps],
    errors: Errors,
    *,
    empty: FaithfulnessScores,
    progress: Progress,
) -> FaithfulnessScores:
    """All tables but the sanity check's."""
    answers, new, seconds, count = {}, 0, 0.0, 0
    for grid, sets in _wanted(layers, errors).items():
        answers[grid], meter = ask(trained, data, sets, grid=grid, progress=progress)
        new, seconds = new + sum(each for each, _ in meter.laps), seconds + sum(lap for _, lap in meter.laps)
        count += len(set(zip(sets[0].tolist(), sets[1].tolist(), strict=True)))
    rows = [row for layer in layers for row in _rows(layer, errors, answers[layer.grid])]
    pairs = [
        agreement_of(layer.name, first, second, np.random.default_rng(SEED))
        for layer in layers
        for first, second in pairs_of(layer.rows)
    ]
    return dataclasses.replace(empty, answers=count, new=new, seconds=seconds, rows=tuple(rows), pairs=tuple(pairs))


def _rows(layer: LayerMaps, errors: Errors, answers: Answers) -> list[ExplainerScores]:
    """The lines of a layer; each begins the same draws anew, so that equal maps have equal intervals."""
    ground = Ground(**vars(errors), grid=layer.grid, answers=answers, random=layer.draws, centre=layer.baselines[1])
    return [
        explainer_scores(
            layer.name, one, ground=ground, earlier=layer.rows[:place], generator=np.random.default_rng(SEED)
        )
        for place, one in enumerate(layer.rows)
    ]


def _trained_maps(layers: Sequence[LayerMaps], count: int) -> dict[tuple[str, str], Floats]:
    """Of each explainer and layer the first maps for the predicted class, NaN where one is not `ok`."""
    return {
        (one.maps.name, layer.name): kept(one.maps.predicted, one.maps.predicted_ok)[:count]
        for layer in layers
        for one in layer.explainers
    }
