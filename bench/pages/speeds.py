"""What a page says of speed: the newest paired timing of its runs, or each run's own, or that there is none."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.registry.registry import short
from bench.schema.page import ArmSpeed, Badge, Finding, Page, Speeds, run_labels
from bench.schema.timing import ArmTiming, Ratio, Sample, Timing
from bench.stats.rates import interval_words, number_words, per_call, ratios_of, ratios_to, rounds_of
from bench.store.folder import RunFolder
from bench.store.timings import knows, newest_timing, not_paired, read_timings

Timings = Mapping[Path, tuple["Timing", ...]]  # by the folder they lie beside the runs of

TIMES = "\N{MULTIPLICATION SIGN}"
DOING = {  # of one, of several
    "forward": ("answers", "answer"),
    "train": ("trains", "train"),
    "explain": ("explains", "explain"),
    "shipped": ("explains", "explain"),
}
WORK = {
    "forward": "forward pass",
    "train": "training step",
    "explain": "the same artefact",
    "shipped": "each library’s own artefact",
}
UNPAIRED = "timings not paired"  # how the badge begins that says more where there is a timing


def with_speeds(page: Page, runs: Sequence[RunFolder]) -> Page:
    """The page with the speeds, badge and sentences of the newest timing that knows all its runs.

    Without one, with the speeds of the newest timing of each run, which are not paired and not compared.
    """
    beside = {folder: read_timings(folder) for folder in {data.path.parent for data in runs}}
    joint = timing_of(runs, beside)
    found = [joint] if joint else _own(runs, beside)
    if not found:
        return page
    if len(found) == 1 and sum(map(len, _labels(found[0], runs).values())) == len(runs):
        joint = found[0]  # it knows all, some by their names, some by their models'
    badge = timing_badge(joint) if joint else _apart(found)
    badges = [badge if each.text.startswith(UNPAIRED) else each for each in page.badges]
    speeds, shown = tuple(speeds_of(each, runs) for each in found), {cell.explainer for cell in page.cells}
    told = speed_findings(speeds[0], labels=run_labels(page.runs), explainers=shown) if joint else ()
    badges = badges if badge in badges else [*badges, badge]
    return replace(page, badges=tuple(badges), findings=page.findings + told, speeds=speeds)


def timing_of(runs: Sequence[RunFolder], beside: Timings) -> Timing | None:
    """The newest timing in the runs' folders or beside them that knows all of them.

    One by the runs' own names and weights comes first, else one by the names of their models: how fast a net is does
    not hang on what it learned.
    """
    timings = [one for data in runs for one in data.timings]
    timings += [one for folder in dict.fromkeys(data.path.parent for data in runs) for one in beside[folder]]
    own = {data.record.name: data.checkpoint for data in runs}
    models = {short(data.record.model): None for data in runs}
    return newest_timing(timings, own) or newest_timing(timings, models)


def _own(runs: Sequence[RunFolder], beside: Timings) -> list[Timing]:
    """The newest timing of each run that has any, each once."""
    found = (timing_of([data], beside) for data in runs)
    return list({(one.host, one.id): one for one in found if one}.values())


def _apart(timings: Sequence[Timing]) -> Badge:
    if len(timings) == 1:  # of some of the runs
        return Badge(False, f"{UNPAIRED}: timing {timings[0].id} knows only some of these runs")
    why = dict.fromkeys(not_paired(timings[0], each) for each in timings[1:])
    return Badge(False, f"timings {'; '.join(why)}")


def speeds_of(timing: Timing, runs: Sequence[RunFolder]) -> Speeds:
    """What a page shows of a timing: the arms of its runs, and the machine's own limits."""
    labels, rounds = _labels(timing, runs), rounds_of(timing.samples)
    timing = with_claims_of_today(timing, rounds)
    warm_up = [each for each in timing.samples if each.round == 0]
    arms = [arm for arm in _ordered(timing.arms) if arm.model in labels]
    return Speeds(
        id=timing.id,
        created=timing.created,
        command=timing.command,
        device=timing.device,
        batch_size=timing.batch_size,
        memory_format=timing.memory_format,
        rounds=timing.rounds,
        notes=timing.notes,
        arms=tuple(_speed(arm, labels[arm.model], rounds, warm_up) for arm in arms),
        limits=tuple(arm for arm in timing.arms if arm.what in ("product", "copy")),
    )


def with_claims_of_today(timing: Timing, rounds: Mapping[str, Sequence[float]]) -> Timing:
    """A timing whose ratios say what all of them together carry; in older files each was judged alone."""
    pairs = {arm.name: arm.ratio.baseline for arm in timing.arms if arm.ratio}
    known = {arm: base for arm, base in pairs.items() if len(rounds.get(arm, ())) == len(rounds.get(base, ())) > 0}
    ratios = ratios_to(known, rounds)
    return replace(timing, arms=tuple(replace(arm, ratio=ratios.get(arm.name, arm.ratio)) for arm in timing.arms))


def _ordered(arms: Sequence[ArmTiming]) -> list[ArmTiming]:
    """Equal work beside each other: by kind, then by layer, in the order in which they were named."""
    kinds, layers = ("forward", "train", "explain", "shipped"), list(dict.fromkeys(arm.layer for arm in arms))
    return sorted(
        (arm for arm in arms if arm.what in kinds), key=lambda arm: (kinds.index(arm.what), layers.index(arm.layer))
    )


def _labels(timing: Timing, runs: Sequence[RunFolder]) -> dict[str, tuple[int, ...]]:
    """The runs that each model of a timing stands for: by a run's own name and weights, else by its model's name."""
    found: dict[str, tuple[int, ...]] = {}
    for index, data in enumerate(runs):
        own, model = data.record.name, short(data.record.model)
        label = own if knows(timing, own, data.checkpoint) else model
        if knows(timing, label, None):
            found[label] = (*found.get(label, ()), index)
    return found


def _speed(
    arm: ArmTiming, runs: tuple[int, ...], rounds: Mapping[str, Sequence[float]], warm_up: Sequence[Sample]
) -> ArmSpeed:
    seconds, others = rounds.get(arm.name, ()), rounds.get(arm.ratio.baseline, ()) if arm.ratio else ()
    return ArmSpeed(
        runs=runs,
        arm=arm,
        rounds=tuple(arm.batch_size / each for each in seconds),
        warm_up=tuple(arm.batch_size / per_call(one) for one in warm_up if one.arm == arm.name),
        ratios=tuple(ratios_of(seconds, others)) if len(seconds) == len(others) else (),
    )


# --- in words that say no more than its intervals do ---------------------------------------------------------


def ratio_words(ratio: Ratio | None) -> str:
    """`0.87× (slower), 0.85 to 0.89`; no direction where 1 is inside, no figure where it is struck out."""
    if ratio is None:
        return "baseline"
    if ratio.verdict == "struck out":
        return "struck out: spread over 25 %"
    if ratio.verdict in ("no measurable difference", "n too small", "rounds not independent"):
        return ratio.verdict
    value = number_words(ratio.value, ratio.low, ratio.high)
    return f"{value}{TIMES} ({ratio.verdict}), {interval_words(ratio.value, ratio.low, ratio.high)}"


def timing_badge(timing: Timing) -> Badge:
    """Whether the speeds of a page may be compared."""
    if any(note.startswith("the machine was busy") for note in timing.notes):
        return Badge(False, f"speeds paired, timing {timing.id}, but the machine was busy")
    return Badge(True, f"speeds paired: timing {timing.id}")


def speed_findings(speeds: Speeds, *, labels: Sequence[str], explainers: Collection[str]) -> tuple[Finding, ...]:
    """What a timing says of the runs and the explainers of a page; one sentence for all that it says alike.

    Models that stand alike to the baseline share a sentence, and so do layers at which an explainer does.

    Args:
        labels: what the page calls each of its runs.
        explainers: those that the page shows; a sentence speaks of two of them.
    """
    arms = {one.arm.name: one.arm for one in speeds.arms}
    names = {one.arm.model: " and ".join(labels[index] for index in one.runs) for one in speeds.arms}
    groups: dict[tuple[str, ...], list[ArmTiming]] = {}
    for arm in arms.values():
        base = arms.get(arm.ratio.baseline) if arm.ratio else None
        if arm.ratio is None or base is None or not {arm.explainer, base.explainer} <= {"", *explainers}:
            continue
        groups.setdefault((arm.what, arm.ratio.verdict, base.model, base.explainer, arm.explainer), []).append(arm)
    return tuple(_sentence(group, arms, names) for group in groups.values())


def _sentence(group: Sequence[ArmTiming], arms: Mapping[str, ArmTiming], names: Mapping[str, str]) -> Finding:
    """One sentence of arms that stand alike to their baselines."""
    ratios = [arm.ratio for arm in group if arm.ratio]
    base, said = arms[ratios[0].baseline], ratios[0].verdict
    first, *others = dict.fromkeys(arm.explainer or names.get(arm.model, arm.model) for arm in (base, *group))
    layers = dict.fromkeys(arm.layer for arm in group if arm.layer)
    at = f" at {' and '.join(layers)}" if layers else ""
    evidence = f"{'; '.join(map(_figures, ratios))}; {ratios[0].n} paired rounds"
    work = f": {WORK[base.what]}"
    if said in ("faster", "slower"):
        work = work if base.explainer else ""  # the verb has said it
        does = DOING[base.what][len(others) > 1]
        how = "faster" if said == "faster" else "more slowly"
        return Finding(f"{' and '.join(others)} {does} ", how, "speed", f" than {first}{at}{work}", evidence)
    link = "No measurable difference in speed" if said == "no measurable difference" else "No claim about speed"
    return Finding("", link, "speed", f" between {first} and {' or '.join(others)}{at}{work}", evidence)


def _figures(ratio: Ratio) -> str:
    """A ratio with its interval as evidence; the interval alone where there is no direction."""
    undirected = ratio.verdict == "no measurable difference"
    return f"ratio {interval_words(ratio.value, ratio.low, ratio.high)}" if undirected else ratio_words(ratio)
