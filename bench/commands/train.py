"""`bench.train`, its `--resume`, and `bench evaluate`: names in, a run folder with its page out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from bench.commands.resume import find_unfinished, refuse_beside, reopen
from bench.data.datasets import load_dataset, settled_source
from bench.errors import one_of
from bench.estimates import say_how_long
from bench.machine import choose_device, settled_precision
from bench.nets.summary import summarise
from bench.pages.write import report
from bench.recipes.files import recipe_of
from bench.recipes.recipe import CHANGES, Changes
from bench.registry.registry import settled
from bench.store.runs import create_run, write_bytes
from bench.training.checkpoint import held
from bench.training.init import initial_model, load_pretrained, without_effect
from bench.training.loop import TrainSettings, choose_images
from bench.training.run import Job, begin, complete
from bench.workspace import Workspace

if TYPE_CHECKING:
    pass


def train(  # noqa: PLR0913 (one parameter for each option of the command)
    model: str = "cifar_resnet18",
    *,
    data: str = "cifar10",
    recipe: str = "course",
    seed: int = 0,
    val: float = 0.1,
    limit: int | None = None,
    init: str = "native",
    pretrained: str | None = None,
    device: str = "auto",
    run: str | None = None,
    resume: str | None = None,
    compile: bool = False,
    skip_bad: bool = False,
    dry_run: bool = False,
    workspace: Workspace | None = None,
    **changes: Unpack[Changes],
) -> Path:
    """Train a model, test it once at the end with the last weights, and keep everything in a run folder.

    Args:
        model: a registered name, path/to/file.py:attribute, timm:NAME or torchvision:NAME; behind it @64 for
            pictures of 64x64 and @cifar for the stem of small pictures.
        data: `cifar10`, `digits`, or the path of a folder or archive of train/<class>/* and test/<class>/*.
        recipe: the name of a recipe, or a TOML file of its keys.
        val: share of the training images kept apart for the curves; 0 trains on everything.
        limit: train on a class-balanced subset of this many images.
        init: `native`, or `shared` for the one initialisation that all models of the family can start from.
        pretrained: `imagenet`, or a run or checkpoint to start from.
        run: name of the run folder; by default <model>-<data>-s<seed>-<n>.
        resume: an unfinished run, or `latest` for the newest one; it goes on with its own settings, and of the other
            options only `data` may be given, for a data set that was moved.
        compile: train through torch.compile; what that takes is reported apart.
        changes: values in place of the recipe's, such as `epochs=5, lr=0.2`; None keeps the recipe's.

    Returns:
        The run folder; after a dry run, which only says what would be done, the folder of all runs.

    Raises:
        UsageError: a name or value that cannot be meant.
        DataError: the data cannot be used.
        GuardRailError: the numbers cannot be those of a training that works.
        RunError: another process trains in the run folder, or it cannot be written.
    """
    options = {name: value for name, value in locals().items() if name != "changes"}  # before others have a name
    if resume is not None:
        return _resume(resume, {**options, **changes}, workspace or Workspace())
    one_of("--init", init, ("native", "shared"))
    place = workspace or Workspace()
    where = choose_device(device)
    chosen = recipe_of(recipe).changed(changes)
    chosen = replace(chosen, precision=settled_precision(chosen.precision, where))  # a run is resumed as it was begun
    settings = TrainSettings(
        chosen, seed=seed, val=val, limit=limit, warm_start=pretrained is not None, compile=compile
    )
    model, data = settled(model), settled_source(data)
    spec = place.models[model]
    dataset = load_dataset(data, cache=place.cache, progress=place.progress, skip_bad=skip_bad, size=spec.input_size)
    for words in without_effect(chosen, dataset):
        place.progress.warn(words)
    images = len(choose_images(dataset, settings)[0])
    net = initial_model(spec, place.models, classes=len(dataset.classes), seed=seed, init=init)
    if pretrained is not None:
        kept = load_pretrained(net, pretrained, spec, place.models, place.runs)
        place.progress.say(f"started from {pretrained}; left as initialised: {', '.join(kept) or 'nothing'}")
    say_how_long(2 * summarise(net, spec.input_size).macs, images, chosen, where, place.progress)
    if dry_run:
        return place.runs
    folder = create_run(place.runs, model=_slug(model), data=dataset.name, seed=seed, name=run)
    config = _config(settings, model=model, data=data, init=init, pretrained=pretrained, device=device)
    with held(folder):
        told = replace(place, origins=_origins(place.origins))
        begin(folder, told, dataset, config, where, from_recipe=set(chosen.values()))
        complete(Job(folder, net, dataset, settings, where), place)
    return _presented(folder, place)


def _config(settings: TrainSettings, **named: str | None) -> dict[str, object]:
    """What a run's record stores, so that the run can be trained again from it alone."""
    recipe = settings.recipe
    own = {name: getattr(settings, name) for name in ("seed", "val", "limit", "compile")}
    return {"recipe": recipe.name, **recipe.values(), **own, **named}


def _origins(origins: Mapping[str, str]) -> Mapping[str, str]:
    """Where each setting came from; what a batch goes through is one setting, and several options speak of it."""
    spoken = {origins[name] for name in ("flip", "translate", "cutout") if name in origins}
    strongest = next((origin for origin in ("flag", "env", "file") if origin in spoken), None)
    return {**origins, "augmentation": strongest} if strongest else origins


def _resume(run: str, options: Mapping[str, object], place: Workspace) -> Path:
    """Go on with an unfinished run; `options` are all values that `train` was called with."""
    defaults = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    moved = refuse_beside(options, {**defaults, **dict.fromkeys(CHANGES)}, place.origins)
    folder = find_unfinished(place.runs, run)
    place = replace(place, runs=folder.parent)  # a path may lead elsewhere
    with held(folder):
        complete(reopen(folder, moved, place), place)
    return _presented(folder, place)


def _presented(folder: Path, place: Workspace) -> Path:
    """The folder of a run that is done, as the latest one and with its page."""
    write_bytes(place.runs / "latest", folder.name.encode())
    report(folder.name, workspace=place)
    return folder


def _slug(model: str) -> str:
    """A name that may stand in a folder's name."""
    name = model.rpartition(":")[2] if ":" in model else model
    return "".join(each if each.isalnum() or each == "_" else "-" for each in name).strip("-_") or "model"
