"""`bench.measure`: names in, a timing out, with its plan told first."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError, one_of
from bench.estimates import BACKWARD_COST, PROCESS, duration, reached_rate, timing_seconds
from bench.explaining.plan import ALL, Wanted, ceilings, find_explainers
from bench.machine import choose_device, describe_device, environment, settled_precision
from bench.nets.summary import summarise
from bench.request import names
from bench.schema.timing import Timing
from bench.stats.rates import MIN_ROUNDS
from bench.store.runs import find_run
from bench.store.timings import TIMING_SCHEMA, write_timing
from bench.timing import environment as surroundings
from bench.timing.arms import Request, Subject
from bench.timing.runner import BATCH_SIZE, ROUNDS, Measured, Settings, make_workshop
from bench.timing.suite import check_baselines, find_subjects, line_up
from bench.timing.thresholds import Threshold, parse_threshold
from bench.workspace import Workspace

if TYPE_CHECKING:
    import torch

    from bench.contracts import ExplainerSpec
    from bench.request import TimeRequest

WHATS = ("forward", "train", "explain")
EXPLAINERS = ("gradcam", "captum", "reference")
BUDGET_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?")
SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Timed:
    """A timing, its file, and the thresholds that were read before it."""

    timing: Timing
    path: Path
    thresholds: tuple[Threshold, ...]


def measure(request: TimeRequest, workspace: Workspace) -> Timed:
    """Time models and explainers in turns on one machine, and store every raw sample.

    Without models and runs the models that come with bench are timed, without explainers gradcam, captum and reference,
    on the baseline model, without layers at the last but one that it names.

    Returns:
        The timing, stored in the run's folder where one run was timed and no other model, else in that of all runs.

    Raises:
        UsageError: a name or value that cannot be meant, before anything is timed.
        ContractError: an explainer that breaks its contract.
    """
    device, kinds, progress = choose_device(request.device), names(request.what), workspace.progress
    settings = Settings(
        at_least_one("--batch-size", request.batch_size, BATCH_SIZE),
        at_least_one("--rounds", request.rounds, ROUNDS),
        seconds_of(request.budget),
        baselines=names(request.baseline),
        memory=request.memory,
    )
    for kind in kinds:
        one_of("--what", kind, WHATS)
    subjects = find_subjects(names(request.model), names(request.run), workspace, device)
    base = next((label for label in subjects if label in settings.baselines), next(iter(subjects)))
    asked = names(request.explainer)
    specs = find_explainers(asked or EXPLAINERS, workspace) if "explain" in kinds else {}
    optional = ceilings(asked, specs)
    known = workspace.models[subjects[base].model].layers
    wanted = Wanted(specs, _layers(names(request.layer), known), ceilings=optional)
    requests, entries = line_up(kinds, list(subjects), base, wanted=wanted, place=workspace)
    check_baselines(settings.baselines, subjects, specs)
    thresholds = tuple(parse_threshold(text, [one.name for one in requests]) for text in names(request.fail_if))
    progress.say(_plan(requests, subjects, entries, settings=settings, device=device))
    shop = make_workshop(
        requests, subjects, entries, device=device, settings=settings, progress=progress, optional=set(optional)
    )
    timing = _timing(shop.measure(), subjects, settings, device=device, place=workspace)
    alone = len(subjects) == 1 and names(request.run)
    folder = find_run(workspace.runs, names(request.run)[0]) if alone else workspace.runs
    return Timed(timing, write_timing(folder, timing), thresholds)


# --- what is meant --------------------------------------------------------------------------------------------


def _layers(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The layers a user named, `all` for every one that the model names, the last but one where none was named.

    At the last one Grad-CAM costs no more than a forward pass, so there is little to compare.
    """
    chosen = names or known[-2:][:1]
    return tuple(dict.fromkeys(each for name in chosen for each in (known if name == ALL else (name,))))


def at_least_one(flag: str, value: int, usual: int) -> int:
    """A count as given; UsageError below 1."""
    if value < 1:
        raise UsageError(f"{flag} {value} is below 1", try_=f"{flag} {usual}")
    return value


def seconds_of(budget: float | str) -> float:
    """Seconds of `300`, `300s`, `5m` or `0.5h`; UsageError for anything else."""
    if not isinstance(budget, str):
        return float(budget)
    found = BUDGET_FORM.fullmatch(budget.strip())
    if found is None or float(found[1]) <= 0:
        raise UsageError(f"--budget {budget} is no time", try_="--budget 5m")
    return float(found[1]) * SECONDS[found[2]]


# --- how long it will take ------------------------------------------------------------------------------------


def _plan(
    requests: Sequence[Request],
    subjects: Mapping[str, Subject],
    specs: Mapping[str, ExplainerSpec],
    *,
    settings: Settings,
    device: torch.device,
) -> str:
    """The arms in words, and how long they will take, judged by FLOP and the machine's matrix product."""
    rates = {each: reached_rate(device, each) for each in ("fp32", settled_precision("auto", device))}
    flops = {
        label: 2.0 * summarise(one.net, one.input_size).macs * settings.batch_size for label, one in subjects.items()
    }
    seconds = [
        flops[one.model]
        * (BACKWARD_COST if one.what == "train" else specs[one.entry].cost(one.layer) if one.entry else 1.0)
        / rates[settled_precision("auto", device) if one.what == "train" else "fp32"]
        for one in requests
    ]
    process = PROCESS if settings.memory and device.type == "cpu" else 0.0
    whole, least = (
        timing_seconds(seconds, rounds, block=settings.block, process=process)
        for rounds in (settings.rounds, min(settings.rounds, MIN_ROUNDS))
    )
    told = min(whole, max(settings.budget, least))
    shrunk = "" if whole <= settings.budget else f" (all {settings.rounds} would take {duration(whole)})"
    arms = f"{len(requests)} arm{'s' if len(requests) > 1 else ''}"
    return (
        f"{arms} in up to {settings.rounds} rounds forwards and backwards, batch {settings.batch_size}, "
        f"on {describe_device(device)}: about {duration(told)}{shrunk}"
    )


# --- what is stored -------------------------------------------------------------------------------------------


def _timing(
    found: Measured,
    subjects: Mapping[str, Subject],
    settings: Settings,
    *,
    device: torch.device,
    place: Workspace,
) -> Timing:
    facts = environment(device)
    return Timing(
        schema=TIMING_SCHEMA,
        what="time",
        id=place.timing,
        created=place.created,
        command=place.command,
        commit=surroundings.commit(),
        host=surroundings.host(),
        system=facts.system,
        device=describe_device(device),
        device_type=device.type,
        threads=facts.threads,
        versions=facts.versions,
        models={label: {"model": one.model, "checkpoint": one.checkpoint} for label, one in subjects.items()},
        batch_size=settings.batch_size,
        image_size=next(iter(subjects.values())).input_size,
        memory_format="channels_last",
        rounds=found.rounds,
        rounds_asked=settings.rounds,
        budget_seconds=settings.budget,
        block_seconds=settings.block,
        seconds=found.seconds,
        before=found.before,
        after=found.after,
        others=found.others,
        arms=found.arms,
        samples=found.samples,
        notes=_notes(found, settings),
    )


def _notes(found: Measured, settings: Settings) -> tuple[str, ...]:
    """What a reader should know before believing the figures."""
    notes = [surroundings.busy_words(found.others, found.before, cores=os.cpu_count() or 1)]
    if found.unsettled:
        notes.append(f"did not settle within 10 s of warm-up: {', '.join(found.unsettled)}")
    if found.rounds < settings.rounds:
        notes.append(f"{found.rounds} rounds instead of {settings.rounds}, to keep to the budget")
    noisy = [arm.name for arm in found.arms if arm.grade != "steady"]
    if noisy:
        notes.append(f"spread over 10 %: {', '.join(noisy)}; close other programs, or ask for more --rounds")
    return tuple(filter(None, notes))
