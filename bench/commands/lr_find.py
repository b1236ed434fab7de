"""`bench lr-find`: names in, a range test and its picture out."""

from functools import partial
from pathlib import Path

from bench.data.datasets import load_dataset
from bench.errors import UsageError
from bench.machine import choose_device
from bench.memory import unless_ran_out
from bench.pages.write import reports
from bench.recipes.files import recipe_of
from bench.registry.registry import resolved, short
from bench.request import LrFindRequest
from bench.store.paths import drawing_path
from bench.training.init import initial_model
from bench.training.largest_batch import batch_that_fits, batch_too_large
from bench.training.loop import TrainSettings
from bench.training.lr_finder import LOWEST, RangeTest, find_rate
from bench.whole_file import check_writable
from bench.workspace import Workspace


def find_learning_rate(request: LrFindRequest, workspace: Workspace) -> tuple[RangeTest, Path]:
    """A learning-rate range test of an untrained model; gives what was found and where its curve was drawn."""
    highest = request.highest
    if not LOWEST < highest < float("inf"):
        raise UsageError(f"--highest {highest} is not above {LOWEST}", try_="--highest 10")
    device, progress = choose_device(request.device, workspace.progress.warn), workspace.progress
    recipe = recipe_of(request.recipe).changed({"batch_size": request.batch_size, "optimizer": request.optimizer})
    model = resolved(request.whole_name(request.model))
    spec = workspace.models[model]
    dataset = load_dataset(request.data, cache=workspace.cache, progress=progress, size=spec.input_size)
    path = request.out or drawing_path(workspace.runs, f"lr-{spec.name}-{dataset.name}")
    reports("figures.paper").check_format(path, "--out")
    check_writable(path.parent)
    net = initial_model(spec, workspace.models, classes=len(dataset.classes), seed=request.seed, init="native")
    settings, steps = TrainSettings(recipe, seed=request.seed, val=0.0), request.steps
    found = unless_ran_out(
        partial(find_rate, net, dataset, settings, device=device, progress=progress, steps=steps, highest=highest)
    )
    if found is None:
        fits = batch_that_fits(net, recipe, device, images=len(dataset.train), edge=spec.input_size)
        raise batch_too_large("lr-find", recipe, fits, request.command(workspace.runs, batch_size=fits))
    how = f"{short(model)} on {dataset.name}, {recipe.optimizer}, batch {recipe.batch_size}"
    draw = partial(reports("figures.plots").range_test, found.rates, found.losses, found.suggestion, how)
    reports("figures.paper").save(draw, path)
    return found, path
