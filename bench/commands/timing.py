"""`bench.measure`: names in, a timing out, with its plan told first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from bench.contracts import ExplainerSpec
from bench.errors import UsageError, WriteError, did_you_mean
from bench.estimates import BACKWARD_COST, PROCESS, duration, reached_rate, timing_seconds
from bench.explaining.plan import ALL, Wanted, layers_of, wanted_explainers
from bench.fields import names
from bench.gates.judged import Judged
from bench.gates.rounds import arm_rate, check_timed, judge_rounds
from bench.machine import choose_device, describe_device
from bench.nets.summary import layers_in, summarise
from bench.nets.trained import open_run
from bench.nets.weights import build_seeded, for_inference
from bench.precision import resolved_precision
from bench.registry.registry import resolved, short
from bench.request import TimeRequest
from bench.schema.timing import Timing
from bench.stats.rates import MIN_ROUNDS
from bench.store.paths import timing_path
from bench.store.runs import find_run
from bench.store.timings import write_timing
from bench.thresholds import read_threshold
from bench.timing.arms import ArmSpec, Subject
from bench.timing.runner import Effort, make_timing_run
from bench.workspace import Workspace

EXPLAINERS = ("gradcam", "captum", "reference")
SHIPPED = "_shipped"  # what the registered finished picture of a library is called behind the explainer's name
CLASSES = 10  # of models with seeded weights


@dataclass(frozen=True)
class Timed:
    """A timing, its file, what became of the thresholds, and why the file could not be written if so."""

    timing: Timing
    path: Path
    thresholds: tuple[Judged, ...]
    unwritten: WriteError | None = None


@dataclass(frozen=True)
class LineUp:
    """Who is timed.

    Attributes:
        arms: by name.
        subjects: the models, by the label that arms name them with.
        explainers: those that arms call, by name.
        optional: explainers that are left out with a warning where they fail.
        effort: how thoroughly.
    """

    arms: tuple[ArmSpec, ...]
    subjects: Mapping[str, Subject]
    explainers: Mapping[str, ExplainerSpec]
    device: torch.device
    optional: frozenset[str] = frozenset()
    effort: Effort = field(default_factory=Effort)


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
    line = lined_up(request, workspace)
    thresholds = [read_threshold(text) for text in names(request.fail_if)]
    check_timed(thresholds, [arm_rate(one.what, one.model, one.explainer, (one.layer,)) for one in line.arms])
    workspace.progress.say(_plan(line, request))
    timing = timed(line, request, workspace)
    path, unwritten = kept(timing, request, workspace)
    return Timed(timing, path, tuple(judge_rounds(each, timing) for each in thresholds), unwritten)


def lined_up(request: TimeRequest, workspace: Workspace) -> LineUp:
    """Every arm that a request means, its models loaded.

    Raises:
        UsageError: a name that cannot be meant.
    """
    device = choose_device(request.device, workspace.progress.warn)
    kinds, baselines = names(request.what), names(request.baseline)
    subjects = find_subjects(names(request.model), names(request.run), workspace, device)
    base = next((label for label in subjects if label in baselines), next(iter(subjects)))
    chosen = (
        wanted_explainers(names(request.explainer), workspace, default=EXPLAINERS) if "explain" in kinds else Wanted({})
    )
    known = workspace.models[subjects[base].model].layers
    wanted = replace(chosen, layers=_layers(names(request.layer), known))
    arms, entries = line_up(kinds, list(subjects), base, wanted=wanted, place=workspace)
    check_baselines(baselines, subjects, wanted.specs)
    return LineUp(tuple(arms), subjects, entries, device, frozenset(wanted.ceilings))


def timed(line: LineUp, request: TimeRequest, workspace: Workspace) -> Timing:
    """The arms of a line-up, timed."""
    return make_timing_run(
        line.arms, line.subjects, line.explainers,
        device=line.device, request=request, place=workspace, optional=line.optional, effort=line.effort,
    ).measure()  # fmt: skip


def kept(timing: Timing, request: TimeRequest, workspace: Workspace) -> tuple[Path, WriteError | None]:
    """Store a timing; gives its file, and why it could not be written if so: what was measured is not lost with it."""
    alone = len(timing.models) == 1 and names(request.run)
    folder = find_run(workspace.runs, names(request.run)[0]) if alone else workspace.runs
    path = timing_path(folder, timing.id)
    try:
        write_timing(folder, timing)
    except WriteError as error:
        workspace.progress.warn(f"the timing is not saved: {error.message}")
        return path, error
    return path, None


# --- what is meant --------------------------------------------------------------------------------------------


def _layers(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The layers a user named, `all` for every one that the model names, the last but one where none was named.

    At the last one Grad-CAM costs no more than a forward pass, so there is little to compare.
    """
    chosen = names or known[-2:][:1]
    return tuple(dict.fromkeys(each for name in chosen for each in (known if name == ALL else (name,))))


# --- how long it will take ------------------------------------------------------------------------------------


def calls_of(line: LineUp, request: TimeRequest) -> dict[str, float]:
    """Seconds that one call of each arm will take, judged by FLOP and the machine's matrix product."""
    device = line.device
    rates = {each: reached_rate(device, each) for each in ("fp32", resolved_precision("auto", device))}
    summaries = {label: summarise(one.net, one.input_size) for label, one in line.subjects.items()}
    flops = {label: 2.0 * summary.macs * request.batch_size for label, summary in summaries.items()}

    def passes(one: ArmSpec) -> float:
        if one.what == "train":
            return BACKWARD_COST
        return line.explainers[one.entry].cost(layers_in(summaries[one.model], [one.layer])[0]) if one.entry else 1.0

    return {
        one.name: flops[one.model]
        * passes(one)
        / rates[resolved_precision("auto", device) if one.what == "train" else "fp32"]
        for one in line.arms
    }


def _plan(line: LineUp, request: TimeRequest) -> str:
    """The arms in words, and how long they will take."""
    calls = list(calls_of(line, request).values())
    process = PROCESS if request.memory and line.device.type == "cpu" else 0.0
    whole, least = (
        timing_seconds(calls, rounds, block=line.effort.block, process=process)
        for rounds in (request.rounds, min(request.rounds, MIN_ROUNDS))
    )
    budget = float(request.budget)
    told = min(whole, max(budget, least))
    shrunk = "" if whole <= budget else f" (all {request.rounds} would take {duration(whole)})"
    many = f"{len(line.arms)} measurement{'s' if len(line.arms) > 1 else ''}"
    rounds = f"up to {request.rounds} round{'s' if request.rounds > 1 else ''}"
    return (
        f"{many} in {rounds}, each forwards and backwards, batch {request.batch_size}, "
        f"on {describe_device(line.device)}: about {duration(told)}{shrunk}"
    )


# --- who is timed -----------------------------------------------------------------------------------------------------


def find_subjects(
    models: Sequence[str], runs: Sequence[str], place: Workspace, device: torch.device
) -> dict[str, Subject]:
    """Every model by the label that arms name it with."""
    names = models or (() if runs else [name for name, one in place.models.entries.items() if one.owner == "bench"])
    found: list[Subject] = []
    for name in names:
        spec = place.models[resolved(name)]
        net = for_inference(build_seeded(spec, CLASSES, 0), device)
        found.append(Subject(short(name), resolved(name), net, spec.input_size))
    for name in runs:
        run = open_run(name, str(device), place)
        found.append(Subject(run.record.name, run.record.model, run.model, run.spec.input_size, run.checkpoint))
    labels = [each.label for each in found]
    for one in found:
        if labels.count(one.label) > 1:
            raise UsageError(
                f"two models are called '{one.label}'", try_="one of them, or a copy of the file with another name"
            )
        if one.input_size != found[0].input_size:
            raise UsageError(
                f"'{one.label}' takes images of {one.input_size} pixels, '{found[0].label}' of "
                f"{found[0].input_size}: rates of different images cannot be compared",
                try_="a call of bench time for each size",
            )
    return {each.label: each for each in found}


def line_up(
    kinds: Sequence[str],
    labels: Sequence[str],
    base: str,
    *,
    wanted: Wanted,
    place: Workspace,
) -> tuple[list[ArmSpec], dict[str, ExplainerSpec]]:
    """Every arm by name, and the explainers that they call.

    Args:
        base: label of the model that explainers are timed on.
        wanted: explainers and layers; none where `kinds` has no explanations.
    """
    found = [ArmSpec("forward", label) for label in labels if "forward" in kinds]
    found += [ArmSpec("train", label) for label in labels if "train" in kinds]
    entries = dict(wanted.specs)
    for name, spec in wanted.specs.items():
        for layer in layers_of(spec, wanted):
            found.append(ArmSpec("explain", base, short(name), layer, name))
            if spec.output != "picture":  # which is the library's own artefact already
                entry = name + SHIPPED if name + SHIPPED in place.explainers else name
                entries[entry] = place.explainers[entry]
                found.append(ArmSpec("shipped", base, short(name), layer, entry))
    return found, entries


def check_baselines(
    baselines: Sequence[str], subjects: Mapping[str, Subject], specs: Mapping[str, ExplainerSpec]
) -> None:
    """UsageError for a baseline that is neither a model nor an explainer that is timed."""
    known = [*subjects, *(short(name) for name in specs)]
    for name in baselines:
        if name not in known:
            raise UsageError(
                f"--baseline {name} is not timed{did_you_mean(name, known)}", try_=f"one of: {', '.join(known)}"
            )
