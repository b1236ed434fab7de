"""`bench train --resume`: which run, with which settings, from which of its files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import RunError, StoreError, UsageError
from bench.machine import choose_device, versions
from bench.nets.trained import data_of_run
from bench.recipes.recipe import Recipe
from bench.store.runs import find_run, read_record, run_names, updated
from bench.training.checkpoint import cut_log, discard, fingerprint, newest_resume, resume_files, sweep
from bench.training.init import initial_model
from bench.training.loop import TrainSettings
from bench.training.run import Job

if TYPE_CHECKING:
    import torch

    from bench.schema.run import RunRecord
    from bench.training.checkpoint import Resume
    from bench.workspace import Workspace

BESIDE = ("resume", "data", "skip_bad", "workspace")  # what may be given together with --resume


def refuse_beside(
    options: Mapping[str, object], defaults: Mapping[str, object], origins: Mapping[str, str]
) -> str | None:
    """Where the data lies now, if the user said so; UsageError for any other option beside --resume.

    Args:
        options: all values that the training was called with.
        defaults: of all options that the training can be called with.
        origins: where the command line got each from; empty in a call from Python, where a value that is not the
            default was given. Variables and bench.toml speak of new runs only.
    """
    if origins:
        given = {name for name, origin in origins.items() if origin == "flag" and name in defaults}
    else:
        given = {name for name, value in options.items() if value != defaults[name]}
    wrong = sorted(given - set(BESIDE))
    if wrong:
        names = ", ".join("--" + name.replace("_", "-") for name in wrong)
        raise UsageError(
            f"{names} beside --resume: a run goes on with the settings it has",
            try_=f"bench train --resume {options['resume']}, or a new run without --resume",
        )
    return str(options["data"]) if "data" in given else None


def find_unfinished(runs: Path, name: str) -> Path:
    """The folder of a run; `latest` is the unfinished one whose resume file is the newest."""
    if name != "latest":
        return find_run(runs, name)
    files = [path for each in run_names(runs) if _unfinished(runs / each) for path in resume_files(runs / each)[:1]]
    if not files:
        raise StoreError(f"no unfinished run with a resume file in {runs}", try_="bench list runs")
    return max(files, key=lambda path: (path.stat().st_mtime_ns, path.parent.name)).parent


def _unfinished(folder: Path) -> bool:
    try:
        return read_record(folder).status != "done"
    except StoreError:
        return False


def reopen(folder: Path, moved: str | None, place: Workspace) -> Job:
    """Make a training what it was at its newest intact resume file; the folder must be held.

    Args:
        moved: where the run's data set lies now; None for where it was.
    """
    record = read_record(folder)
    if record.status == "done":
        discard(folder)  # a kill after the last step may have left them
        raise UsageError(f"run '{record.name}' is done", try_=f"bench report {record.name}")
    device, settings = _device(record), settings_of(record)
    start = newest_resume(folder, fingerprint(record), place.progress.warn)
    _warn_of_changes(start, place)
    data = data_of_run(record, moved, place)
    seed, init = settings.seed, str(record.config["init"])
    net = initial_model(place.models[record.model], place.models, classes=len(data.classes), seed=seed, init=init)
    sweep(folder)
    cut_log(folder, start.log_bytes)
    resumed = {**record.metrics, "resumed": start.resumed + 1}
    updated(folder, lambda one: dataclasses.replace(one, status="training", message="", metrics=resumed))
    state = start.state
    place.progress.say(f"continuing {record.name} after {state.done} steps, in epoch {state.epoch + 1}")
    return Job(folder, net, data, settings, device, start)


def settings_of(record: RunRecord) -> TrainSettings:
    """The settings a run was begun with, from its record."""
    from pydantic import TypeAdapter, ValidationError

    config: Any = record.config
    try:
        recipe = TypeAdapter(Recipe).validate_python({**config, "name": config["recipe"], "source": "the run's record"})
        warm = config["pretrained"] is not None
        return TrainSettings(
            recipe, seed=config["seed"], val=config["val"], limit=config["limit"], warm_start=warm,
            compile=config["compile"],
        )  # fmt: skip
    except (ValidationError, KeyError) as reason:
        raise StoreError(f"the settings of run '{record.name}' cannot be read: {reason}") from reason


def _device(record: RunRecord) -> torch.device:
    """The device the run was begun on, since another one would round otherwise."""
    named, kind = str(record.config.get("device")), str(record.environment.get("device_type"))
    try:
        return choose_device(kind if named == "auto" else named)
    except UsageError as reason:
        raise RunError(
            f"run '{record.name}' was begun on {record.environment.get('device')}, and {reason.message}",
            try_="the same command where that device is",
        ) from reason


def _warn_of_changes(start: Resume, place: Workspace) -> None:
    """Other threads or versions may change the last bits of the weights, which is worth a line, not a refusal."""
    import torch

    changed = [
        f"{name} {start.versions.get(name, 'none')}, now {found}"
        for name, found in versions().items()
        if start.versions.get(name) != found
    ]
    if start.threads != torch.get_num_threads():
        changed.append(f"{start.threads} threads, now {torch.get_num_threads()}")
    if changed:
        place.progress.warn(
            f"the run was trained with {'; '.join(changed)}: "
            "the weights may end in other last bits than without the break"
        )
