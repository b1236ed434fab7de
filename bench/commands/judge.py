"""`bench.judge`: which maps of a run can be trusted. Explains a sample in float64 and says what came out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bench.contracts import Dataset, ExplainerSpec, Floats, Integers
from bench.data.transforms import prepare
from bench.engines.driving import workers_for
from bench.errors import MissingError, UsageError
from bench.explaining.plan import INPUT_LAYER, check_layers, find_explainers
from bench.explaining.units import hands_for
from bench.fields import names
from bench.judging.on_workers import verdicts_by
from bench.judging.verdicts import Case, Inputs, verdicts
from bench.machine import describe_device, versions
from bench.nets.trained import Trained, data_of_run, open_run
from bench.pages.write import write_run_page
from bench.registry.registry import resolved
from bench.request import ExplainRequest, JudgeRequest
from bench.schema.run import Cell
from bench.schema.verdicts import VERDICTS_SCHEMA, Judgement
from bench.store.paths import verdicts_path
from bench.store.predictions import choose_ids, fixed_order, wanted_targets
from bench.whole_file import check_writable
from bench.workspace import Workspace

IMAGES = 8
REFERENCE = "reference"


@dataclass(frozen=True)
class Judged:
    """What `judge` found: the verdicts asked for, and the file that keeps them with those of other calls."""

    run: Path
    judgement: Judgement
    path: Path


def judge(request: JudgeRequest, workspace: Workspace) -> Judged:
    """Hold explainers of a run against Grad-CAM in float64, name what is wrong and why, and keep the verdicts.

    Without names all cells of the run are judged. An explainer or a layer alone is combined with all layers or
    explainers of its cells, and where there are none with the run's default.

    Returns:
        The verdicts; runs/NAME/judge/verdicts.json has them too, and the run's page is rendered with them.

    Raises:
        UsageError: a name that cannot be meant, or no cell to judge.
        StoreError: the run did not finish or is damaged.
    """
    limit = IMAGES if request.limit is None else request.limit
    trained = open_run(request.run, request.own_device, workspace)
    check_writable(trained.folder)
    cells = cells_of(trained)
    cases = cases_of(trained, cells, request, workspace)
    ids = sample_ids(trained, cells, cases, limit)
    dataset, reference = data_of_run(trained.record, request.data, workspace), _reference(workspace)
    targets = told_apart(wanted_targets(trained.run.predictions, ids, "both"), trained.run.predictions.logits[ids])
    with workers_for(request, workspace) as on:
        hands = hands_for(on, trained, dataset, workspace)
        if hands is not None:
            found, device = verdicts_by(hands, cases, reference, ids=ids, targets=targets), hands.device
        else:
            sample, device = make_sample(trained, dataset, ids, targets), describe_device(trained.device)
            found = verdicts(cases, reference, trained.model, sample, progress=workspace.progress)
    new = Judgement(
        schema=VERDICTS_SCHEMA,
        run=trained.record.name,
        checkpoint=trained.checkpoint,
        created=workspace.created,
        device=device,
        versions=versions(),
        ids=tuple(ids.tolist()),
        verdicts=found,
    )
    trained.run.add_verdicts(new)
    write_run_page(trained.run, workspace)
    return Judged(trained.folder, new, verdicts_path(trained.folder))


def _reference(workspace: Workspace) -> ExplainerSpec | None:
    """Our own Grad-CAM, where it is registered and loads."""
    try:
        return workspace.explainers[REFERENCE]
    except (MissingError, UsageError):
        return None


# --- what is judged -----------------------------------------------------------------------------------------


def cells_of(trained: Trained) -> list[Cell]:
    """The cells of the run's own weights; one that cannot be read is left out."""
    every = trained.run.readable_cells()
    return [cell for cell in every if cell.checkpoint == trained.checkpoint and len(cell.ids)]


def cases_of(
    trained: Trained,
    cells: Sequence[Cell],
    request: JudgeRequest,
    workspace: Workspace,
) -> list[Case]:
    """Explainers with their layers: what was asked for, the rest from the cells."""
    layers, explainers = names(request.layer), names(request.explainer)
    if layers:
        check_layers(trained, layers)
    specs = find_explainers(explainers, workspace) if explainers else _specs_of_cells(cells, workspace)
    at = _layers(trained, cells, specs, layers)
    cases = [Case(name, spec, at[name]) for name, spec in specs.items() if at[name]]
    if not cases:
        name = trained.record.name
        raise UsageError(f"run '{name}' has no maps to judge", try_=ExplainRequest(name).command(workspace.runs))
    return cases


def _specs_of_cells(cells: Sequence[Cell], workspace: Workspace) -> dict[str, ExplainerSpec]:
    """The explainers of the cells that can still be loaded; the others are warned of."""
    found = {}
    for name in dict.fromkeys(cell.explainer for cell in cells):
        try:
            found[name] = workspace.explainers[resolved(name)]
        except (MissingError, UsageError) as error:
            workspace.progress.warn(f"'{name}' cannot be judged: {error.message}")
    return found


def _layers(
    trained: Trained, cells: Sequence[Cell], specs: Mapping[str, ExplainerSpec], asked: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The layers of each explainer: those asked for, else those of its own cells, else those of all cells."""
    own = {name: [cell.layer for cell in cells if cell.explainer == name] for name in specs}
    default = [cell.layer for cell in cells if cell.layer != INPUT_LAYER] or trained.spec.layers[-2:]
    return {
        name: (INPUT_LAYER,) if spec.output == "input" else tuple(dict.fromkeys(asked or own[name] or default))
        for name, spec in specs.items()
    }


# --- on which images ----------------------------------------------------------------------------------------


def sample_ids(trained: Trained, cells: Sequence[Cell], cases: Sequence[Case], limit: int) -> Integers:
    """The first images, in the fixed order, that all judged cells have; else of the run's errors; else of all.

    Every explainer sees the same images, so that equal maps can be told.
    """
    predictions = trained.run.predictions
    order = fixed_order(predictions.labels)
    judged = {(case.name, layer) for case in cases for layer in case.layers}
    held = [cell.ids for cell in cells if (cell.explainer, cell.layer) in judged]
    for ids in held:
        order = order[np.isin(order, ids)]
    if not held or len(order) == 0:
        order = choose_ids(predictions, "wrong", limit)
    if len(order) == 0:
        order = choose_ids(predictions, "all", limit)
    return order[:limit]


def told_apart(targets: Integers, logits: Floats) -> Integers:
    """Targets (N, 2) of which no column is always the predicted class, and no row holds one class twice.

    Else an explainer that takes the first column for all, one that takes the predicted class, and on right answers one
    that ignores the column altogether would look alike, or right.

    Args:
        targets: predicted and true class.
        logits: (N, K).
    """
    found = targets.copy()
    if logits.shape[1] > 1:
        right = targets[:, 0] == targets[:, 1]
        found[right, 1] = np.argsort(logits[right], axis=1)[:, -2]
    found[1::2] = found[1::2, ::-1]
    return found


def make_sample(trained: Trained, data: Dataset, ids: Integers, targets: Integers) -> Inputs:
    """The images (N,) as the model sees them, each with its targets (N, T)."""
    device = trained.device
    images = prepare(data.test.images[torch.from_numpy(ids)].to(device), trained.statistics)
    return Inputs(images, torch.from_numpy(targets).to(device))
