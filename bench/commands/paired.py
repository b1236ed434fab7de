"""Paired timings of a comparison: its runs, and the explainers that its page shows, in turns within a minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.commands.timing import LineUp, calls_of, kept, lined_up, timed
from bench.errors import BenchError, MissingError, UsageError
from bench.estimates import duration, timing_seconds
from bench.explaining.plan import INPUT_LAYER
from bench.machine import environment, host
from bench.precision import IEEE
from bench.registry.registry import resolved
from bench.request import CompareRequest, TimeRequest
from bench.schema.timing import Timing
from bench.stats.rates import CLAIM_ROUNDS
from bench.store.folder import RunFolder
from bench.store.timings import knows, read_timings
from bench.timing.arms import ArmSpec
from bench.timing.runner import Effort
from bench.workspace import Workspace

BATCH = 16  # images a call
WITHIN = 60.0  # seconds that nobody asked for
DEAR = 10.0  # forward passes an image and class: an explainer that costs more is not worth the ranking of the others
HOPELESS = 2.0  # times the budget that the fewest rounds are judged to take: such a guess may be wrong by so much
EFFORT = Effort(block=0.1, least=3, limits=False)


def seconds_for(request: CompareRequest) -> float:
    """How long the timing of a comparison may take."""
    return float(request.time or WITHIN)


def paired_timing(
    request: CompareRequest, runs: Sequence[RunFolder], page: Path, workspace: Workspace
) -> Timing | None:
    """Time the runs of a page in turns, unless a timing that is there knows them; says so first, and how long it takes.

    Args:
        page: where the page lies that is there already.

    Returns:
        The new timing. None where one that is there serves, and where none can be taken: that is said, and no reason
        to lose the page.
    """
    try:
        return _taken(request, runs, page, workspace=workspace)
    except Exception as error:  # a model of anybody's may fail in any way
        words = error.message if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        workspace.progress.warn(f"no speeds on the page, they could not be measured: {words}")
        return None


def _taken(request: CompareRequest, runs: Sequence[RunFolder], page: Path, *, workspace: Workspace) -> Timing | None:
    progress, asked = workspace.progress, wanted_of(request, runs, workspace)
    line = lined_up(asked, workspace)
    line = replace(
        line,
        arms=tuple(one for one in line.arms if one.what != "shipped"),
        optional=frozenset(one.explainer for one in line.arms),
        effort=EFFORT,
    )
    calls = calls_of(line, asked)
    line = without_dear(line, asked, calls, workspace=workspace)
    if known := serving(_timings_of(runs, workspace), line, asked):
        progress.say(f"speeds are those of timing {known.id}: the same weights on this machine")
        return None
    whole, least = (_seconds(line.arms, calls, rounds) for rounds in (asked.rounds, EFFORT.least))
    budget = float(asked.budget)
    if least > HOPELESS * budget:
        enough = f"--time {int(whole // 60) + 1}m"
        progress.warn(f"no speeds on the page: they would take about {duration(whole)}; {enough} measures them")
        return None
    fewer = "" if whole <= budget else f" ({asked.rounds} rounds, which a ranking needs, would take {duration(whole)})"
    progress.say(f"the page is written: {page.resolve()}")
    progress.say(f"now its speeds: {_words(line.arms)} in turns, about {duration(min(whole, budget))}{fewer}")
    timing = timed(line, asked, replace(workspace, started=datetime.now(UTC)))  # an id of its own, also in a notebook
    kept(timing, asked, workspace)
    return timing


# --- what is timed ------------------------------------------------------------------------------------------


def wanted_of(request: CompareRequest, runs: Sequence[RunFolder], workspace: Workspace) -> TimeRequest:
    """The forward pass of every run and what explains on the page; the training step where time was given for it."""
    explainers = list(_loading(dict.fromkeys(cell.explainer for data in runs for cell in data.cells), workspace))
    training = ("train",) if request.time else ()
    return TimeRequest(
        run=request.run,
        what=("forward", *training, *(("explain",) if explainers else ())),
        explainer=explainers,
        layer=_layer(runs[0], workspace),
        batch_size=BATCH,
        rounds=CLAIM_ROUNDS,
        budget=seconds_for(request),
        memory=False,
        device=request.device,
    )


def _loading(names: Iterable[str], workspace: Workspace) -> Iterator[str]:
    """Those of the explainers that can be called here."""
    for name in names:
        try:
            workspace.explainers[resolved(name)]
        except (MissingError, UsageError) as error:
            workspace.progress.warn(f"'{name}' is not timed: {error.message}")
        else:
            yield name


def _layer(run: RunFolder, workspace: Workspace) -> tuple[str, ...]:
    """A layer at which most explainers have maps; of several the last but one that the model names, as `bench time`."""
    counts = Counter(cell.layer for cell in run.cells if cell.layer != INPUT_LAYER)
    best = [layer for layer, count in counts.items() if count == max(counts.values())]
    usual = workspace.models[resolved(run.record.model)].layers[-2:][:1]
    return tuple([layer for layer in usual if layer in best] or best[:1])


def without_dear(line: LineUp, asked: TimeRequest, calls: Mapping[str, float], *, workspace: Workspace) -> LineUp:
    """The line-up without the explainers, the dearest first, for which the others would have too few rounds."""
    costs = {
        one.explainer: calls[one.name] / calls[ArmSpec("forward", one.model).name] for one in line.arms if one.entry
    }
    dear = sorted((name for name, cost in costs.items() if cost > DEAR), key=lambda name: costs[name])
    arms, left = line.arms, list[str]()
    while dear and _seconds(arms, calls, asked.rounds) > float(asked.budget):
        left.append(dear.pop())
        arms = tuple(one for one in line.arms if one.explainer not in left)
    if left:
        more = TimeRequest(run=asked.run, what=("explain",), explainer=left, layer=asked.layer).command(workspace.runs)
        workspace.progress.say(f"too slow to be measured here: {', '.join(left)}; {more}")
    return replace(line, arms=arms)


def _seconds(arms: Sequence[ArmSpec], calls: Mapping[str, float], rounds: int) -> float:
    return timing_seconds([calls[one.name] for one in arms], rounds, block=EFFORT.block, process=0.0)


def _words(arms: Sequence[ArmSpec]) -> str:
    """`2 forward passes, 2 explainers at layer3`."""
    layer = next((f" at {one.layer}" for one in arms if one.layer), "")
    counts = Counter[str](one.what for one in arms)
    kinds = {"forward": ("forward pass", "forward passes"), "train": ("training step", "training steps"),
             "explain": ("explainer", "explainers")}  # fmt: skip
    return ", ".join(f"{counts[what]} {kinds[what][counts[what] > 1]}" for what in kinds if counts[what]) + layer


# --- what is there already ----------------------------------------------------------------------------------


def _timings_of(runs: Sequence[RunFolder], workspace: Workspace) -> list[Timing]:
    """The timings in the runs' folders and beside them, the oldest first."""
    beside = dict.fromkeys([workspace.runs, *(data.path.parent for data in runs)])
    found = [one for data in runs for one in data.timings] + [one for folder in beside for one in read_timings(folder)]
    return sorted(found, key=lambda one: one.id)


def serving(timings: Iterable[Timing], line: LineUp, asked: TimeRequest) -> Timing | None:
    """The newest timing of the same weights on this machine, as it is now and not busy, that has all arms."""
    on = environment(line.device)
    here = (host(), on.device, on.threads, dict(on.versions), IEEE, asked.batch_size)
    arms = {one.name for one in line.arms}
    found = [
        one
        for one in timings
        if one.what == "time"
        and (one.host, one.device, one.threads, dict(one.versions), one.known_fp32, one.batch_size) == here
        and all(knows(one, label, subject.checkpoint) for label, subject in line.subjects.items())
        and arms <= {arm.name for arm in one.arms}
        and (one.rounds >= asked.rounds or one.budget_seconds >= float(asked.budget))  # more would not come of it now
        and not one.busy
    ]
    return found[-1] if found else None
