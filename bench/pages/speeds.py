"""What a page says of speed: the newest timing in which all its runs took turns, or that there is none."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from bench.registry.registry import short
from bench.schema.page import ArmSpeed, Badge, Finding, Page, Speeds, run_labels
from bench.schema.timing import ArmTiming, Ratio, Sample, Timing
from bench.stats.rates import interval_words, number_words, per_call, ratios_of, ratios_to, rounds_of
from bench.store.folder import RunFolder
from bench.store.timings import knows, newest_timing, read_timings

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
    "explain": "maps, all in one form",
    "shipped": "what each library gives its users",
}
UNPAIRED = "speeds not compared"  # how the badge begins that a timing of all runs replaces


def with_speeds(page: Page, runs: Sequence[RunFolder], taken: Sequence[Timing] = ()) -> Page:
    """The page with the speeds, badge and sentences of the newest timing that knows all its runs.

    Rates that were measured apart are not compared: without such a timing the page has no speeds.

    Args:
        taken: timings beside those on disk.
    """
    timing = timing_of(runs, taken)
    if timing is None:
        return page
    badge = timing_badge(timing)
    badges = [badge if each.text.startswith(UNPAIRED) else each for each in page.badges]
    speeds, shown = speeds_of(timing, runs), {cell.explainer for cell in page.cells}
    told = speed_findings(speeds, labels=run_labels(page.runs), explainers=shown)
    badges = badges if badge in badges else [*badges, badge]
    return replace(page, badges=tuple(badges), findings=page.findings + told, speeds=(speeds,))


def timing_of(runs: Sequence[RunFolder], taken: Sequence[Timing] = ()) -> Timing | None:
    """The newest timing in the runs' folders or beside them, or just taken, that knows all of them.

    One by the runs' own names and weights comes first, else one by the names of models: how fast a net is does not
    hang on what it learned.
    """
    beside = dict.fromkeys(data.path.parent for data in runs)
    timings = [*(one for data in runs for one in data.timings), *(one for each in beside for one in read_timings(each))]
    every = [*timings, *taken]
    own = {data.record.name: data.checkpoint for data in runs}
    known = [one for one in every if sum(map(len, _labels(one, runs).values())) == len(runs)]
    return newest_timing(every, own) or newest_timing(known, {})


def speeds_of(timing: Timing, runs: Sequence[RunFolder]) -> Speeds:
    """What a page shows of a timing: the arms of its runs, and the machine's own limits."""
    labels, rounds = _labels(timing, runs), rounds_of(timing.samples)
    warm_up = [each for each in timing.samples if each.round == 0]
    arms = with_claims_of_today([arm for arm in _ordered(timing.arms) if arm.model in labels], rounds)
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


def with_claims_of_today(arms: Sequence[ArmTiming], rounds: Mapping[str, Sequence[float]]) -> list[ArmTiming]:
    """Arms whose ratios say what all those that are shown carry together; in older files each was judged alone.

    Where the arm that one was compared with is not shown, the first that is takes its place: all took turns.
    """
    pairs = {arm.name: base for arm in arms if (base := _baseline(arm, arms))}
    known = {arm: base for arm, base in pairs.items() if len(rounds.get(arm, ())) == len(rounds.get(base, ())) > 0}
    ratios = ratios_to(known, rounds)
    return [replace(arm, ratio=ratios.get(arm.name, arm.ratio if arm.name in pairs else None)) for arm in arms]


def _baseline(arm: ArmTiming, arms: Sequence[ArmTiming]) -> str:
    """The arm that one is compared with among those that are shown; empty for the baseline itself."""
    if arm.ratio is None or arm.ratio.baseline in {each.name for each in arms}:
        return arm.ratio.baseline if arm.ratio else ""
    alike = [each.name for each in arms if (each.what, each.layers) == (arm.what, arm.layers)]
    return "" if alike[0] == arm.name else alike[0]


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
    if timing.busy:
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
    shown = said in ("faster", "slower", "no measurable difference")
    figures = [_figures(one) for one in ratios[: None if shown else 1]]  # else a reason, the same for all
    evidence = f"{'; '.join(figures)}; {ratios[0].n} paired rounds"
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
