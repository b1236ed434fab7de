"""`bench.measure`: names in, a timing out, with its plan told first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.contracts import ExplainerSpec
from bench.estimates import BACKWARD_COST, PROCESS, duration, reached_rate, timing_seconds
from bench.explaining.plan import ALL, Wanted, wanted_explainers
from bench.fields import names
from bench.machine import choose_device, describe_device, resolved_precision
from bench.nets.summary import summarise
from bench.request import TimeRequest
from bench.schema.timing import Timing
from bench.stats.rates import MIN_ROUNDS
from bench.store.runs import find_run
from bench.store.timings import write_timing
from bench.timing.arms import ArmSpec, Subject
from bench.timing.runner import Settings, make_timing_run
from bench.timing.suite import check_baselines, find_subjects, line_up
from bench.timing.thresholds import ThresholdResult, judge, parse_threshold
from bench.workspace import Workspace

EXPLAINERS = ("gradcam", "captum", "reference")


@dataclass(frozen=True)
class Timed:
    """A timing, its file, and what became of the thresholds."""

    timing: Timing
    path: Path
    thresholds: tuple[ThresholdResult, ...]


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
        request.batch_size,
        request.rounds,
        float(request.budget),
        baselines=names(request.baseline),
        memory=request.memory,
    )
    subjects = find_subjects(names(request.model), names(request.run), workspace, device)
    base = next((label for label in subjects if label in settings.baselines), next(iter(subjects)))
    chosen = (
        wanted_explainers(names(request.explainer), workspace, default=EXPLAINERS) if "explain" in kinds else Wanted({})
    )
    known = workspace.models[subjects[base].model].layers
    wanted = replace(chosen, layers=_layers(names(request.layer), known))
    arms, entries = line_up(kinds, list(subjects), base, wanted=wanted, place=workspace)
    check_baselines(settings.baselines, subjects, wanted.specs)
    thresholds = [parse_threshold(text, [one.name for one in arms]) for text in names(request.fail_if)]
    progress.say(_plan(arms, subjects, entries, settings=settings, device=device))
    timing = make_timing_run(
        arms, subjects, entries, device=device, settings=settings, place=workspace, optional=set(wanted.ceilings)
    ).measure()
    alone = len(subjects) == 1 and names(request.run)
    folder = find_run(workspace.runs, names(request.run)[0]) if alone else workspace.runs
    return Timed(timing, write_timing(folder, timing), judge(thresholds, timing))


# --- what is meant --------------------------------------------------------------------------------------------


def _layers(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The layers a user named, `all` for every one that the model names, the last but one where none was named.

    At the last one Grad-CAM costs no more than a forward pass, so there is little to compare.
    """
    chosen = names or known[-2:][:1]
    return tuple(dict.fromkeys(each for name in chosen for each in (known if name == ALL else (name,))))


# --- how long it will take ------------------------------------------------------------------------------------


def _plan(
    arms: Sequence[ArmSpec],
    subjects: Mapping[str, Subject],
    explainers: Mapping[str, ExplainerSpec],
    *,
    settings: Settings,
    device: torch.device,
) -> str:
    """The arms in words, and how long they will take, judged by FLOP and the machine's matrix product."""
    rates = {each: reached_rate(device, each) for each in ("fp32", resolved_precision("auto", device))}
    flops = {
        label: 2.0 * summarise(one.net, one.input_size).macs * settings.batch_size for label, one in subjects.items()
    }
    seconds = [
        flops[one.model]
        * (BACKWARD_COST if one.what == "train" else explainers[one.entry].cost(one.layer) if one.entry else 1.0)
        / rates[resolved_precision("auto", device) if one.what == "train" else "fp32"]
        for one in arms
    ]
    process = PROCESS if settings.memory and device.type == "cpu" else 0.0
    whole, least = (
        timing_seconds(seconds, rounds, block=settings.block, process=process)
        for rounds in (settings.rounds, min(settings.rounds, MIN_ROUNDS))
    )
    told = min(whole, max(settings.budget, least))
    shrunk = "" if whole <= settings.budget else f" (all {settings.rounds} would take {duration(whole)})"
    many = f"{len(arms)} arm{'s' if len(arms) > 1 else ''}"
    return (
        f"{many} in up to {settings.rounds} rounds forwards and backwards, batch {settings.batch_size}, "
        f"on {describe_device(device)}: about {duration(told)}{shrunk}"
    )
