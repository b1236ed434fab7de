"""`bench train`: one training from a request to a run folder with its page."""

from dataclasses import replace
from pathlib import Path

from bench.commands.resume import find_unfinished, refuse_beside, reopen, settings_of
from bench.data.datasets import load_dataset, resolved_source
from bench.errors import UsageError
from bench.estimates import say_how_long
from bench.fields import names
from bench.machine import choose_device, resolved_precision
from bench.nets.summary import summarise
from bench.pages.write import write_run_page
from bench.recipes.files import recipe_of
from bench.recipes.recipe import SETTINGS, Recipe
from bench.registry.registry import resolved
from bench.request import TrainRequest
from bench.store.folder import RunFolder
from bench.store.runs import create_run, write_latest
from bench.training.checkpoint import held
from bench.training.init import initial_model, load_pretrained, without_effect
from bench.training.loop import choose_images
from bench.training.run import Job, begin, complete
from bench.workspace import Workspace


def train(request: TrainRequest, workspace: Workspace) -> Path:
    """Train a model, test it once at the end with the last weights, and keep everything in a run folder.

    Returns:
        The run folder; after a dry run, which only says what would be done, the folder of all runs.

    Raises:
        UsageError: a name or value that cannot be meant, or values that mean several trainings, as `bench.sweep` does.
        DataError: the data cannot be used.
        GuardRailError: the numbers cannot be those of a training that works.
        RunError: another process trains in the run folder, or it cannot be written.
    """
    if request.resume is not None:
        return _resume(request, request.resume, workspace)
    trainings = request.trainings()
    if len(trainings) != 1:
        raise UsageError(f"these are {len(trainings)} trainings", try_="bench.sweep with the same values")
    return train_one(trainings[0], workspace)


def train_one(asked: TrainRequest, workspace: Workspace) -> Path:
    """Train what a request for a single training asks for."""
    device = choose_device(asked.device)
    recipe = recipe_of(asked.recipe).changed(asked.changes())
    recipe = replace(recipe, precision=resolved_precision(recipe.precision, device))  # resumed as it was begun
    request = whole(asked, recipe)
    settings = settings_of(request)
    spec = workspace.models[names(request.model)[0]]
    dataset = load_dataset(
        request.data,
        cache=workspace.cache,
        progress=workspace.progress,
        skip_bad=request.skip_bad,
        size=spec.input_size,
    )
    for words in without_effect(recipe, dataset):
        workspace.progress.warn(words)
    images = len(choose_images(dataset, settings)[0])
    net = initial_model(spec, workspace.models, classes=len(dataset.classes), seed=request.seed, init=request.init)
    if request.pretrained is not None:
        kept = load_pretrained(net, request.pretrained, spec, workspace.models, workspace.runs)
        workspace.progress.say(
            f"started from {request.pretrained}; left as initialised: {', '.join(kept) or 'nothing'}"
        )
    say_how_long(2 * summarise(net, spec.input_size).macs, images, recipe, device, workspace.progress)
    if request.dry_run:
        return workspace.runs
    model = names(request.model)[0]
    folder = create_run(workspace.runs, model=model, data=dataset.name, seed=request.seed, name=request.run)
    with held(folder):
        begin(folder, workspace, dataset, request, device)
        complete(Job(folder, net, dataset, settings, device), workspace)
    return _presented(folder, workspace)


def whole(asked: TrainRequest, recipe: Recipe) -> TrainRequest:
    """The request with names that mean the same everywhere and every value of its recipe, for the run's record."""
    silent = [name for name, value in asked.changes().items() if value is None]
    origins = {**asked.origins, **dict.fromkeys(silent, "recipe")}
    model, data = resolved(names(asked.model)[0]), resolved_source(asked.data)
    values = {name: getattr(recipe, name) for name in SETTINGS}
    return replace(asked, model=model, data=data, recipe=recipe.name, origins=origins, **values)


def _resume(request: TrainRequest, run: str, workspace: Workspace) -> Path:
    """Go on with an unfinished run."""
    moved = refuse_beside(request)
    folder = find_unfinished(workspace.runs, run)
    workspace = replace(workspace, runs=folder.parent)  # a path may lead elsewhere
    with held(folder):
        complete(reopen(folder, moved, workspace), workspace)
    return _presented(folder, workspace)


def _presented(folder: Path, workspace: Workspace) -> Path:
    """The folder of a run that is done, as the latest one and with its page."""
    write_latest(folder)
    write_run_page(RunFolder(folder), workspace)
    return folder
