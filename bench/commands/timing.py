"""`bench.measure`: names in, a timing out, with its plan told first."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError, one_of
from bench.estimates import BACKWARD_COST, EFFICIENCY, duration
from bench.explaining.plan import ALL, Wanted, ceilings, find_explainers
from bench.machine import choose_device, describe_device, environment, product_rate, reuse_memory, settled_precision
from bench.nets.summary import summarise
from bench.schema.timing import Timing
from bench.stats.rates import MIN_ROUNDS
from bench.store.runs import find_run
from bench.store.timings import TIMING_SCHEMA, write_timing
from bench.timing import environment as surroundings
from bench.timing.arms import Request, Subject
from bench.timing.runner import BATCH_SIZE, BUDGET, PROCESS, ROUNDS, Measured, Settings, make_workshop
from bench.timing.suite import check_baselines, find_subjects, line_up
from bench.timing.thresholds import Threshold, parse_threshold
from bench.workspace import Workspace

if TYPE_CHECKING:
    import torch

    from bench.contracts import ExplainerSpec

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


def measure(  # noqa: PLR0913 (one parameter for each option of the command)
    model: str | Sequence[str] | None = None,
    *,
    run: str | Sequence[str] | None = None,
    what: str | Sequence[str] = WHATS,
    explainer: str | Sequence[str] | None = None,
    layer: str | Sequence[str] | None = None,
    batch_size: int = BATCH_SIZE,
    rounds: int = ROUNDS,
    budget: float | str = BUDGET,
    baseline: str | Sequence[str] = (),
    memory: bool = True,
    fail_if: Sequence[str] = (),
    device: str = "auto",
    workspace: Workspace | None = None,
) -> Timed:
    """Time models and explainers in turns on one machine, and store every raw sample.

    Args:
        model: registered names or path/to/file.py:attribute, with weights from a seed; with neither this nor `run`
            the models that come with bench.
        run: names of runs, timed with their weights.
        what: `forward`, `train` and `explain`.
        explainer: timed on the baseline model; by default gradcam, captum and reference. `all` for every one of
            moderate cost; one that fails then is left out with the reason.
        layer: dotted module names; `all` for those that the baseline model names, by default the last but one.
        rounds: each gives one figure an arm; fewer where the budget asks for it, never under six.
        budget: seconds, or words such as `5m`.
        baseline: a model's and an explainer's name that the others are compared with; by default the first of each.
        memory: peak memory too, on a CPU by a process of its own for each arm.
        fail_if: thresholds, read before anything is timed; see `bench.timing.thresholds`.

    Returns:
        The timing, stored in the run's folder where one run was timed and no other model, else in that of all runs.

    Raises:
        UsageError: a name or value that cannot be meant, before anything is timed.
        ContractError: an explainer that breaks its contract.
    """
    place, where = workspace or Workspace(), choose_device(device)
    settings = Settings(
        _batch(batch_size), _rounds(rounds), seconds_of(budget), baselines=_names(baseline), memory=memory
    )
    kinds = _names(what)
    for kind in kinds:
        one_of("--what", kind, WHATS)
    subjects = find_subjects(_names(model), _names(run), place, where)
    base = next((label for label in subjects if label in settings.baselines), next(iter(subjects)))
    specs = find_explainers(_names(explainer) or EXPLAINERS, place) if "explain" in kinds else {}
    optional = ceilings(_names(explainer), specs)
    wanted = Wanted(specs, _layers(_names(layer), place.models[subjects[base].model].layers), ceilings=optional)
    requests, entries = line_up(kinds, list(subjects), base, wanted=wanted, place=place)
    check_baselines(settings.baselines, subjects, specs)
    thresholds = tuple(parse_threshold(text, [one.name for one in requests]) for text in fail_if)
    reuse_memory(where)
    place.progress.say(_plan(requests, subjects, entries, settings=settings, device=where))
    shop = make_workshop(
        requests, subjects, entries, device=where, settings=settings, progress=place.progress, optional=set(optional)
    )
    timing = _timing(shop.measure(), subjects, settings, device=where, place=place)
    folder = find_run(place.runs, _names(run)[0]) if len(subjects) == 1 and _names(run) else place.runs
    return Timed(timing, write_timing(folder, timing), thresholds)


# --- what is meant --------------------------------------------------------------------------------------------


def _names(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """One name or several, each once."""
    return (value,) if isinstance(value, str) else tuple(dict.fromkeys(value or ()))


def _layers(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The layers a user named, `all` for every one that the model names, the last but one where none was named.

    At the last one Grad-CAM costs no more than a forward pass, so there is little to compare.
    """
    chosen = names or known[-2:][:1]
    return tuple(dict.fromkeys(each for name in chosen for each in (known if name == ALL else (name,))))


def _batch(value: int) -> int:
    if value < 1:
        raise UsageError(f"--batch-size {value} is below 1", try_="--batch-size 64")
    return value


def _rounds(value: int) -> int:
    if value < 1:
        raise UsageError(f"--rounds {value} is below 1", try_="--rounds 12")
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
    rates = {
        each: EFFICIENCY[each] * product_rate(device, each) for each in ("fp32", settled_precision("auto", device))
    }
    flops = {
        label: 2.0 * summarise(one.net, one.input_size).macs * settings.batch_size for label, one in subjects.items()
    }
    seconds = [
        flops[one.model]
        * (BACKWARD_COST if one.what == "train" else specs[one.entry].cost(one.layer) if one.entry else 1.0)
        / rates[settled_precision("auto", device) if one.what == "train" else "fp32"]
        for one in requests
    ]
    blocks = [max(each * 2, each + settings.block) for each in seconds]
    fresh = PROCESS if settings.memory and device.type == "cpu" else 0.0
    fixed = sum(3 * block + 2 * settings.block + fresh for block in blocks)
    whole = fixed + 2 * settings.rounds * sum(blocks)
    least = fixed + 2 * min(settings.rounds, MIN_ROUNDS) * sum(blocks)
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
    versions = facts["versions"]
    return Timing(
        schema=TIMING_SCHEMA,
        what="time",
        id=place.timing,
        created=place.created,
        command=place.command,
        commit=surroundings.commit(),
        host=surroundings.host(),
        system=str(facts["system"]),
        device=describe_device(device),
        device_type=device.type,
        threads=_whole(facts["threads"]),
        versions=versions if isinstance(versions, dict) else {},
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


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


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
