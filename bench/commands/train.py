"""`bench train`: one training from a request to a run folder with its page."""

import shlex
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from bench.commands.trainings_on_workers import Handed, Outcome, made_before, made_by, units_of
from bench.contracts import Progress
from bench.data.datasets import load_dataset, planned_dataset, resolved_source, told
from bench.engines.driving import Workers, workers_for
from bench.errors import GuardRailError, RunError, StoreError, UsageError
from bench.estimates import say_how_long
from bench.fields import names
from bench.machine import versions
from bench.memory import unless_ran_out
from bench.nets.trained import data_of_run
from bench.pages.write import write_run_page
from bench.precision import resolved_precision, slow_precision
from bench.recipes.files import recipe_of
from bench.recipes.recipe import SETTINGS, Recipe
from bench.registry.from_python import is_built
from bench.registry.registry import resolved
from bench.request import TrainRequest
from bench.schema.run import RunRecord
from bench.store.folder import RunFolder
from bench.store.paths import resume_files, run_path
from bench.store.runs import check_name, find_run, read_record, run_folders, updated, write_latest
from bench.training.checkpoint import (
    Resume,
    cut_log,
    discard,
    fingerprint,
    held,
    new_run,
    newest_resume,
    remove_leftovers,
)
from bench.training.checks import check_net
from bench.training.fitting import check_fits
from bench.training.init import doubts, initial_model, load_pretrained
from bench.training.largest_batch import batch_that_fits, batch_too_large
from bench.training.loop import TrainSettings, choose_images, compiles, steps_per_epoch
from bench.training.pace import training_seconds
from bench.training.run import Job, begin, complete
from bench.training.team import ALONE, NORMS, Team, formed, launch, norms_of, program, refuse_launched
from bench.workspace import Workspace

# What --deterministic costs.
ON_CPU = "deterministic: on a CPU runs are equal anyway, so it costs almost nothing"
ON_GPU = (
    "deterministic: the same bits each time on this GPU. Training is slower: the fastest kernels are not searched for, "
    "and kernels that add in a random order are not used; the line of each epoch shows the speed"
)
BESIDE = ("resume", "data", "skip_bad")  # what may be given together with --resume


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
    trainings = (request,) if request.resume is not None else request.trainings()
    if len(trainings) != 1:
        raise UsageError(f"these are {len(trainings)} trainings", try_="bench.sweep with the same values")
    if request.shared and not request.dry_run and request.resume is None:
        refuse_launched(f"--on {request.on} has workers of its own", f"{shlex.join(program())} train  # without --on")
        return _by_workers(trainings[0], workspace)
    with formed() as team:
        if request.resume is not None:
            return _resume(request, request.resume, workspace, team)
        return train_one(trainings[0], workspace, team=team)


def _by_workers(training: TrainRequest, workspace: Workspace) -> Path:
    """One training on an engine."""
    with workers_for(training, workspace) as on:
        (end,) = train_on(on, [training], workspace)
    if isinstance(end, GuardRailError):
        raise end
    return end


def train_one(
    asked: TrainRequest, workspace: Workspace, swept: int = 0, *, team: Team = ALONE, handed: Handed | None = None
) -> Path:
    """Train what a request for a single training asks for.

    Args:
        swept: combinations that the call trains, where these are several: the run's record keeps it.
        team: the processes that do it, of which this is one.
        handed: of a worker, which looks for nothing itself and makes no page; its request says everything.
    """
    device = team.device(handed.device if handed else asked.device, workspace.progress.warn)
    recipe = recipe_in(asked) if handed else recipe_of(asked.recipe).changed(asked.changes())
    team.part(recipe.batch_size)  # refuses one that is too small
    if doubt := slow_precision(recipe.precision, device):
        workspace.progress.warn(doubt)
    # Resumed as it was begun, and the same in all processes, whatever their machines are best at.
    precision = team.agreed(partial(resolved_precision, recipe.precision, device))
    recipe = replace(recipe, precision=precision)
    request = whole(asked, recipe)
    settings = settings_of(request, team)
    spec = workspace.models[names(request.model)[0]]
    load = planned_dataset if request.dry_run else partial(load_dataset, size=spec.input_size)
    given = handed and handed.data
    dataset = given or load(request.data, cache=workspace.cache, progress=workspace.progress, skip_bad=request.skip_bad)
    told(dataset, workspace.progress)
    team.check_alike(**{"kind of device": device.type, "data set": dataset.digest})
    for words in doubts(recipe, dataset, spec.input_size):
        workspace.progress.warn(words)
    if request.deterministic:
        workspace.progress.say(ON_CPU if device.type == "cpu" else ON_GPU)
    images = len(choose_images(dataset, settings)[0])
    net = initial_model(spec, workspace.models, classes=len(dataset.classes), seed=request.seed, init=request.init)
    notes: tuple[str, ...] = ()
    if request.pretrained is not None:
        weights = str(handed.weights) if handed and handed.weights else request.pretrained
        kept = load_pretrained(net, weights, spec, workspace.models, workspace.runs)
        notes = (f"started from {request.pretrained}; left as initialised: {', '.join(kept) or 'nothing'}",)
    elif is_built(names(request.model)[0]):
        notes = ("started from a copy of the net as it was given, with the weights it has",)
    for words in notes:
        workspace.progress.say(words)
    check_net(net, spec.input_size, len(dataset.classes))
    say_of(team, net, device, workspace)
    own, share = team.recipe(recipe), images // team.world  # of one process
    seconds = unless_ran_out(partial(_seconds, net, own, share, device, spec.input_size, settings, workspace.progress))
    if seconds is None:
        fits = team.world * batch_that_fits(net, own, device, images=images, edge=spec.input_size)
        raise batch_too_large("training", recipe, fits, launch(asked.command(workspace.runs, batch_size=fits)))
    say_how_long(seconds, images, recipe, device, workspace.progress)
    if request.dry_run:
        return workspace.runs
    model = names(request.model)[0]
    made = partial(new_run, workspace.runs, model=model, data=dataset.name, seed=request.seed, name=request.run)
    with team.led(made) as folder:
        if team.first:
            norms = norms_of(net, device) if team.world > 1 else ""
            begin(folder, workspace, dataset, request, device, notes, swept, (team.world, norms))
        complete(Job(folder, net, dataset, settings, device, average=request.average), workspace)
    return _presented(folder, workspace) if team.first and not handed else folder


def _seconds(
    net: nn.Module,
    recipe: Recipe,
    images: int,
    device: torch.device,
    size: int,
    settings: TrainSettings,
    progress: Progress,
) -> float:
    """What a training takes: by steps of the compiled net where it will be compiled.

    Not on a GPU, where kernels are tried against each other for minutes.
    """
    if device.type == "cpu" and compiles(settings, net, images, size, device):
        progress.say("compiling a step, to time it")
        try:
            return training_seconds(net, recipe, images, device, size=size, compile_first=True)
        except UsageError:
            if settings.compile:
                raise
    return training_seconds(net, recipe, images, device, size=size)


def say_of(team: Team, net: nn.Module, device: torch.device, workspace: Workspace) -> None:
    """Say how many processes train, where these are several, and what that does to batch norms."""
    if team.world > 1:
        norms = norms_of(net, device)
        tell = workspace.progress.say if norms in ("none", "synchronised") else workspace.progress.warn
        tell(f"{team.world} processes, each with a part of every batch{NORMS[norms]}")


def train_on(on: Workers, trainings: Sequence[TrainRequest], workspace: Workspace, swept: int = 0) -> list[Outcome]:
    """Have workers train; a training that they did before is the run that it made then.

    Raises:
        UsageError: a name is taken, or a model that workers cannot know.
        RunError: at the end, where trainings failed each time; the others are kept.
    """
    every = [whole(each, recipe_of(each.recipe).changed(each.changes())) for each in trainings]
    units = units_of(every, train_one, on=on, workspace=workspace, swept=swept)
    ends: dict[str, Outcome] = {**made_before(units, workspace)}
    missing = [unit for unit in units if unit.digest not in ends]
    refuse_taken((unit.request for unit in missing), workspace.runs)
    for unit, end in made_by(on, missing, workspace):
        ends[unit.digest] = _presented(end, workspace) if isinstance(end, Path) else end
    return [ends[unit.digest] for unit in units]


def refuse_taken(trainings: Iterable[TrainRequest], runs: Path) -> None:
    """UsageError when a run of one of the names is there, before any of them is trained."""
    for name in (each.run for each in trainings):
        if name is not None and run_path(runs, check_name(name)).exists():
            raise UsageError(f"run '{name}' exists already", try_=f"another --run NAME, or bench rm {name}")


def whole(asked: TrainRequest, recipe: Recipe) -> TrainRequest:
    """The request with names that mean the same everywhere and every value of its recipe, for the run's record."""
    silent = [name for name, value in asked.changes().items() if value is None]
    origins = {**asked.origins, **dict.fromkeys(silent, "recipe")}
    model, data = resolved(names(asked.model)[0]), resolved_source(asked.data)
    values = {name: getattr(recipe, name) for name in SETTINGS}
    return replace(asked, model=model, data=data, recipe=recipe.name, origins=origins, **values)


def _resume(request: TrainRequest, run: str, workspace: Workspace, team: Team) -> Path:
    """Go on with an unfinished run."""
    moved = refuse_beside(request)
    folder = team.agreed(partial(find_unfinished, workspace.runs, run))
    workspace = replace(workspace, runs=folder.parent)  # a path may lead elsewhere
    with held(folder) if team.first else nullcontext():
        complete(reopen(folder, moved, workspace, team), workspace)
    return _presented(folder, workspace) if team.first else folder


def _presented(folder: Path, workspace: Workspace) -> Path:
    """The folder of a run that is done, as the latest one and with its page."""
    write_latest(folder)
    write_run_page(RunFolder(folder), workspace)
    return folder


# --- going on with an unfinished run ----------------------------------------------------------------------------------


def refuse_beside(request: TrainRequest) -> str | None:
    """Where the data lies now, if this call said so; UsageError for any other option that it gives beside --resume."""
    given = request.given_alone()
    wrong = sorted(set(given) - set(BESIDE))
    if wrong:
        words = ", ".join("--" + name.replace("_", "-") for name in wrong)
        raise UsageError(
            f"{words} cannot be used with --resume: a run continues with its own settings",
            try_=f"bench train --resume {request.resume}  # or a new run, without --resume",
        )
    return request.data if "data" in given else None


def find_unfinished(runs: Path, name: str) -> Path:
    """The folder of a run; `latest` is the unfinished one whose resume file is the newest."""
    if name != "latest":
        return find_run(runs, name)
    unfinished = [folder for folder in run_folders(runs) if RunFolder(folder).status not in ("", "done")]
    files = [path for folder in unfinished for path in resume_files(folder)[:1]]
    if not files:
        raise StoreError(f"no unfinished run with a resume file in {runs}", try_="bench list runs")
    return max(files, key=lambda path: (path.stat().st_mtime_ns, path.parent.name)).parent


def reopen(folder: Path, moved: str | None, workspace: Workspace, team: Team = ALONE) -> Job:
    """Make a training what it was at its newest intact resume file; the first process must hold the folder.

    Args:
        moved: where the run's data set lies now; None for where it was.
        team: the processes that go on with it.
    """
    record = team.agreed(partial(read_record, folder))
    if record.status == "done":
        if team.first:
            discard(folder)  # a kill after the last step may have left them
        raise UsageError(f"run '{record.name}' is done", try_=f"bench report {record.name}")
    request = record.request
    if not isinstance(request, TrainRequest):
        raise UsageError(f"run '{record.name}' was never trained: it was adopted", try_="bench list runs")
    device, settings = _device(record, team), settings_of(request, team)
    team.part(settings.recipe.batch_size)  # refuses one that is too small
    data = data_of_run(record, moved, workspace)
    net = initial_model(
        workspace.models[record.model],
        workspace.models,
        classes=len(data.classes),
        seed=request.seed,
        init=request.init,
    )
    steps = steps_per_epoch(len(choose_images(data, settings)[0]), settings.recipe.batch_size)
    check = partial(check_fits, net=net, recipe=settings.recipe, steps=steps, device=device)
    start = team.agreed(partial(newest_resume, folder, fingerprint(record), workspace.progress.warn, check))
    job = Job(folder, net, data, settings, device, start, request.average)
    if team.first:
        _continue(job, workspace)
    return job


def _continue(job: Job, workspace: Workspace) -> None:
    """Make the folder what it was at the state that a job goes on from, and say so."""
    folder, start, team = job.folder, job.start, job.team
    assert start is not None
    _warn_of_changes(start, workspace)
    notes = _other_team(start, team)
    for words in notes:
        workspace.progress.warn(words)
    say_of(team, job.net, job.device, workspace)
    remove_leftovers(folder)
    cut_log(folder, start.log_bytes)
    updated(folder, lambda one: replace(
        one, status="training", message="", notes=(*one.notes, *notes),
        results=replace(one.results, resumed=start.resumed + 1),
    ))  # fmt: skip
    words = f"continuing {folder.name} after {start.state.done} steps, in epoch {start.state.epoch + 1}"
    workspace.progress.say(words)


def _other_team(start: Resume, team: Team) -> tuple[str, ...]:
    """What is to be said where another number of processes goes on."""
    if start.processes == team.world:
        return ()
    then, now = (f"{count} process{'es' if count > 1 else ''}" for count in (start.processes, team.world))
    return (
        f"trained by {then} up to step {start.state.done}, by {now} from there on: the weights will differ from those "
        "of an uninterrupted run, by more than rounding where batch norms see a part of the batch",
    )


def settings_of(request: TrainRequest, team: Team = ALONE) -> TrainSettings:
    """What the loop is told of a request that says everything; StoreError where a value is missing."""
    return TrainSettings(
        recipe_in(request),
        seed=request.seed,
        val=request.val,
        limit=request.limit,
        warm_start=request.pretrained is not None or is_built(names(request.model)[0]),
        compile=request.compile,
        deterministic=request.deterministic,
        team=team,
    )


def recipe_in(request: TrainRequest) -> Recipe:
    """The recipe that a request says everything of; StoreError where a value is missing."""
    values = request.changes()
    missing = [name for name in SETTINGS if values.get(name) is None]
    if missing:
        raise StoreError(f"the settings of the run cannot be read: {', '.join(missing)} missing")
    return Recipe(name=request.recipe, source="the run's record", **values)


def _device(record: RunRecord, team: Team) -> torch.device:
    """The device the run was begun on, since another one would round otherwise."""
    named, kind = record.request.device, record.environment.device_type
    try:
        return team.device(kind if named == "auto" else named)
    except UsageError as reason:
        raise RunError(
            f"run '{record.name}' was started on {record.environment.device}, and {reason.message}",
            try_="the same command on a machine with that device",
        ) from reason


def _warn_of_changes(start: Resume, workspace: Workspace) -> None:
    """Other threads or versions may change the last bits of the weights, which is worth a line, not a refusal."""
    changed = [
        f"{name} {start.versions.get(name, 'none')}, now {found}"
        for name, found in versions().items()
        if start.versions.get(name) != found
    ]
    if start.threads != torch.get_num_threads():
        changed.append(f"{start.threads} threads, now {torch.get_num_threads()}")
    if changed:
        workspace.progress.warn(
            f"the run was trained with {'; '.join(changed)}: "
            "the final weights may differ in the last digits from those of an uninterrupted run"
        )
