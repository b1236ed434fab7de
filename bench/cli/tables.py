"""Everything that is laid out in columns, and the words beside it. All of Rich's markup is made here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from bench.cli.console import Answer, Grid, shown, table_of
from bench.contracts import ExplainerSpec, Layer
from bench.recipes.recipe import Recipe
from bench.registry.registry import Entry, short
from bench.request import CompareRequest, ExplainRequest
from bench.schema.known_answers import KnownAnswers
from bench.schema.scores import FaithfulnessScores
from bench.schema.timing import ArmTiming, Timing
from bench.schema.verdicts import Verdict, why

if TYPE_CHECKING:
    from bench.commands.sweep import Combination, Sweep
    from bench.commands.verify import Verified
    from bench.explaining.runner import CellResult
    from bench.scoring.tables import Sheet

VERDICT_STYLES = {"wrong": "bold red", "failed": "red", "other recipe": "yellow", "another method": "dim"}
CHECK_STYLES = {"passed": "green", "failed": "bold red", "not applicable": "dim"}
GRADE_STYLES = {"steady": "", "noisy": "yellow", "unusable": "red"}
TIMING_HEADS = (
    "rate", "interval", "p10 to p90", "n", "spread", "batch 1, ms", "peak MB", "GFLOP", "of limit", "ratio",
)  # fmt: skip


# --- explainers ---------------------------------------------------------------------------------------------

GIVES = {"layer": "grid", "input": "pixels", "pixels": "pixels", "picture": "picture"}
EXPLAINER_NOTES = (
    "gives: grid (of a layer), pixels (of the image), picture (drawn by the library)",
    "passes: cost in forward passes for one image and class, at layer3 of a ResNet18",
    "signed: values below 0 speak against the class; without it there are none",
    "adds up: values add up to a difference of logits (gradient_shap: on average)",
    "random: draws random numbers, from a fixed seed: the same call, the same map",
    "by layer: a map in pixels for each layer; others in pixels are for the whole net",
    "no class: the map is the same for every class",
)


def facts_of(spec: ExplainerSpec) -> tuple[str, str, str]:
    """What an explainer gives, what it costs at layer3 of a ResNet18, and its marks."""
    marks = {
        "signed": spec.signed and spec.output != "picture",
        "adds up": bool(spec.complete),
        "random": spec.stochastic,
        "by layer": spec.output == "pixels",
        "no class": not spec.class_specific,
    }
    passes = f"{spec.cost(Layer('layer3', (256, 8, 8))):,.0f}"
    return GIVES[spec.output], passes, ", ".join(word for word, holds in marks.items() if holds)


def about_explainer(spec: ExplainerSpec) -> str:
    """The same in one line."""
    gives, passes, marks = facts_of(spec)
    above = "" if spec.signed or spec.output == "picture" else "nothing below 0"
    return "; ".join(filter(None, (gives, above, marks, f"{passes} pass{'es' * (passes != '1')}")))


def explainers_lines(entries: Mapping[str, Entry], libraries: Iterable[str]) -> tuple[Any, ...]:
    """A table of the explainers by kind, what its words mean, and how to name other classes of a library."""
    kinds: dict[str, list[Entry]] = {}
    for one in entries.values():
        kinds.setdefault(one.facts[0] if one.facts else "plug-in", []).append(one)
    rows: list[tuple[Any, ...]] = []
    for kind, group in sorted(kinds.items()):
        rows.append((shown(kind, "bold"), "", "", "", ""))
        rows += [(one.name, *(one.facts[1:] or (one.owner, "–", "–", one.problem))) for one in group]
    table = table_of("", ("name", "library", "gives", "passes", "marks"), rows, numbers=("passes",))
    others = f"others: {' and '.join(f'{name}:NAME' for name in libraries)} name any class of a library;"
    tried = f"bench list explainers --library {next(iter(libraries))} says which work"
    return (table, "", *EXPLAINER_NOTES, others, tried)


# --- a run --------------------------------------------------------------------------------------------------


def result_lines(folder: Path) -> tuple[str, ...]:
    """A run's result in one line."""
    from bench.pages.findings import result_words
    from bench.pages.run_views import run_view
    from bench.store.folder import read_run

    view = run_view(read_run(folder))
    return (f"{view.run}: {result_words(view)}",)


def result_value(folder: Path) -> dict[str, object]:
    """A run's result for `--json`."""
    from bench.store.folder import RunFolder

    run = RunFolder(folder)
    about = {"run": run.record.name, "model": run.record.model, "path": str(folder.resolve())}
    return {**about, "metrics": run.results.known(), **({"left_out": run.left_out} if run.left_out else {})}


def run_lines(folder: Path) -> tuple[Any, ...]:
    """A run's per-class table, of many classes its weakest, its most confused pairs, its result and where it lies."""
    from bench.pages.findings import result_words
    from bench.pages.run_views import run_view
    from bench.schema.page import MOST_CLASSES
    from bench.store.folder import read_run

    run = read_run(folder)
    view = run_view(run)
    numbers = ("right", "of", "recall %", "95 % interval", "predicted")
    shown, title = view.per_class, f"classes of {view.run}"
    if len(shown) > MOST_CLASSES:
        shown = tuple(sorted((row for row in shown if row.total), key=lambda row: row.recall.value)[:MOST_CLASSES])
        title = f"{len(shown)} weakest of {len(view.per_class):,} {title}; --format csv has all"
    rows = [
        (row.name, row.correct, row.total, f"{100 * row.recall.value:.1f}",
         f"{100 * row.recall.low:.1f} to {100 * row.recall.high:.1f}", row.predicted)
        for row in shown
    ]  # fmt: skip
    table = table_of(title, ("class", *numbers), rows, numbers=numbers)
    named = [row.name for row in view.per_class]
    pairs = [f"{named[true]} taken for {named[wrong]}: {count}" for true, wrong, count in view.most_confused()]
    return (table, *pairs, *run.left_out, f"{view.run}: {result_words(view)}", str(folder.resolve()))


def cells_table(name: str, cells: Sequence[CellResult]) -> Grid:
    """What became of the cells of a run."""
    numbers = ("rows", "computed now", "images/s")
    rows = [
        (cell.explainer, cell.layer, f"{cell.rows:,}", f"{cell.computed:,}", f"{cell.rate:.1f}" if cell.rate else "–")
        for cell in cells
    ]
    return table_of(f"maps of {name}", ("explainer", "layer", *numbers), rows, numbers=numbers)


def completeness_lines(cells: Sequence[CellResult]) -> list[str]:
    """Of methods that promise it, how the sums of maps meet the differences of the logits."""
    return [f"{short(cell.explainer)}: {cell.complete.verdict}" for cell in cells if cell.complete]


def recipe_lines(one: Recipe) -> tuple[str, ...]:
    """A recipe's name and a few lines below it."""
    epochs = f"{one.epochs} epoch{'s' if one.epochs != 1 else ''} of batch {one.batch_size}, {one.optimizer}"
    start, end = (f"{one.lr * share:g}" for share in (one.lr_start, one.lr_end))
    rate = f"rate {start} to {one.lr:g} at {one.warm_up:.0%}, then to {end}"
    what = ", ".join(_switched_on(one)) or "no augmentation"
    measured = f"measured: {one.measured}" if one.measured else "not measured here"
    return (one.name, *(f"  {each}" for each in (f"{epochs}, {rate}", what, one.source, measured)))


def _switched_on(one: Recipe) -> list[str]:
    """The ingredients that a recipe adds to plain training, and what its batches go through."""
    sizes = ", ".join(f"{share:.0%} at {edge}" for edge, share in one.sizes)
    words = {
        "whitened stem": one.whiten,
        "residual branches from 0": one.zero_init,
        f"label smoothing {one.label_smoothing:g}": one.label_smoothing,
        f"lookahead {one.lookahead}": one.lookahead,
        f"biases at {one.bias_scale:g} x rate": one.bias_scale != 1,
        "no decay of norms": not one.norm_decay,
        f"first epochs smaller ({sizes} pixels)": one.sizes,
        f"translate {one.translate}": one.translate,
        f"flip {one.flip}": one.flip != "none",
        f"cutout {one.cutout}": one.cutout,
    }
    return [text for text, on in words.items() if on]


# --- several trainings --------------------------------------------------------------------------------------


def sweep_answer(found: Sweep, runs: Path) -> Answer:
    """A line for each combination, which runs it has, what failed, and how to see them side by side.

    Several combinations are ranked on the validation images, and of the best alone the test is told.
    """
    winner = found.winner
    lines: list[Any] = [_sweep_table(found), *_choice_lines(found)]
    for each in found.combinations:
        if len(each.runs) == 1 and (winner is None or each is winner):
            lines += result_lines(each.runs[0])
        elif each.runs:
            lines.append(f"{_combination_name(each)}: {' '.join(run.name for run in each.runs)}")
    lines += [
        f"failed: {_combination_name(each)}, seed {seed}: {error.message}"
        for each in found.combinations
        for seed, error in each.failures
    ]
    if len(found.runs) > 1:
        lines.append(f"next: {CompareRequest([run.name for run in found.runs]).command(runs)}")
    value = {
        "runs": [result_value(run) for run in found.runs],
        "summaries": [_summary(each, tested=winner is None or each is winner) for each in found.combinations],
        "winner": None if winner is None else found.combinations.index(winner),
    }
    return Answer(value, tuple(lines), failure=found.failure)


def _combination_name(each: Combination) -> str:
    return f"{short(each.model)}, {each.optimizer}, lr {each.lr:g}"


def _choice_lines(found: Sweep) -> list[str]:
    """Which combination the validation images chose, with its test; or why none was chosen."""
    winner = found.winner
    if winner is not None:
        name, test = _combination_name(winner), over_seeds_words(winner.accuracies)
        return [f"chosen on the validation images: {name}; on the test images {test}"]
    if sum(bool(each.runs) for each in found.combinations) < 2:
        return []
    return [
        "not ranked: there were no validation images, and the best of several on the test images would look better "
        "than it is; --val 0.1 keeps some"
    ]


def _sweep_table(found: Sweep) -> Grid:
    numbers = ("lr", "n", "mean", "s.d.", "95 % interval")
    rows = [
        (short(each.model), each.optimizer, f"{each.lr:g}", len(each.runs), *_figures_of(shares))
        for each, shares in _ranked(found)
    ]
    on = "test images, over seeds" if found.winner is None else "validation images, best first"
    return table_of(f"accuracy % on the {on}", ("model", "optimizer", *numbers), rows, numbers=numbers)


def _ranked(found: Sweep) -> list[tuple[Combination, tuple[float, ...]]]:
    """Combinations with the accuracies that are shown: of validation, the best first, where these rank them."""
    if found.winner is None:
        return [(each, each.accuracies) for each in found.combinations]
    return [(each, each.validation) for each in sorted(found.combinations, key=lambda each: -each.rank)]


def _figures_of(shares: Sequence[float]) -> tuple[str, str, str]:
    """Mean, deviation and interval in per cent."""
    from bench.commands.sweep import over_seeds

    ends = over_seeds(shares)
    return (
        _percent(mean(shares) if shares else None),
        _percent(stdev(shares) if len(shares) > 1 else None),
        f"{_percent(ends.low)} to {_percent(ends.high)}" if ends else "–",
    )


def over_seeds_words(shares: Sequence[float]) -> str:
    """`91.50 %`, of several seeds with the interval of the mean."""
    value, _, ends = _figures_of(shares)
    return f"{value} %" + (f", 95 % interval over {len(shares)} seeds {ends}" if len(shares) > 1 else "")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"


def _summary(each: Combination, *, tested: bool) -> dict[str, object]:
    """A combination for `--json`; of one that validation did not choose no figures of the test."""
    from bench.commands.sweep import over_seeds

    def figures(shares: Sequence[float]) -> dict[str, object]:
        ends = over_seeds(shares)
        return {
            "mean": mean(shares) if shares else None,
            "sd": stdev(shares) if len(shares) > 1 else None,
            "interval": [ends.low, ends.high] if ends else None,
        }

    return {
        "model": each.model, "optimizer": each.optimizer, "lr": each.lr, "n": len(each.runs),
        **figures(each.accuracies if tested else ()), "validation": figures(each.validation),
        "runs": [run.name for run in each.runs],
        "failures": [{"seed": seed, "message": error.message} for seed, error in each.failures],
    }  # fmt: skip


# --- a timing -----------------------------------------------------------------------------------------------


def timing_tables(timing: Timing) -> list[Any]:
    """One table of the arms and a line for each of the machine's limits."""
    limits = [arm for arm in timing.arms if arm.what in ("product", "copy")]
    title = f"timing {timing.id}: {timing.device}, batch {timing.batch_size}, {timing.memory_format}"
    rows = []
    for arm in timing.arms:
        if arm not in limits:
            name, style = (arm.name, GRADE_STYLES[arm.grade]) if arm.settled else (f"{arm.name}, unsettled", "dim")
            rows.append([shown(each, style) for each in (name, *figures(arm))])
    return [table_of(title, ("images/s of", *TIMING_HEADS), rows, numbers=TIMING_HEADS), *map(_limit, limits)]


def figures(arm: ArmTiming) -> tuple[str, ...]:
    """The figures of an arm as people read them, in the order of TIMING_HEADS."""
    from bench.pages.speeds import ratio_words
    from bench.stats.rates import interval_words, number_words

    return (
        number_words(arm.rate, arm.low, arm.high),
        interval_words(arm.rate, arm.low, arm.high),
        interval_words(arm.rate, arm.p10, arm.p90),
        str(arm.n),
        f"{100 * arm.spread:.1f} %",
        "–" if arm.latency_ms is None else f"{arm.latency_ms:.3g}",
        "–" if arm.memory_mb is None else f"{arm.memory_mb:,.0f}",
        _gflop(arm),
        "–" if arm.of_product is None else f"{100 * arm.of_product:.0f} %",
        ratio_words(arm.ratio),
    )


def _gflop(arm: ArmTiming) -> str:
    if arm.gflop is None:
        return "–"
    return f"{arm.gflop:.3g}" + (f" (floor {arm.floor_gflop:.3g})" if arm.floor_gflop is not None else "")


def _limit(arm: ArmTiming) -> str:
    from bench.stats.rates import limit_words

    what, rate, interval = limit_words(arm)
    return f"limit by {what}: {rate}, interval {interval}"


# --- verdicts and scores ------------------------------------------------------------------------------------


def verdicts_table(run: str, verdicts: Sequence[Verdict]) -> Grid:
    """One row a verdict; methods that equal Grad-CAM at a layer for one reason share theirs."""
    numbers = ("largest difference", "moved by rounding", "images")
    rows = [
        (explainers, one.layer, shown(one.verdict, VERDICT_STYLES.get(one.verdict, "green")), why(one),
         size(one.difference), size(one.moved), one.images)
        for explainers, one in shared_rows(verdicts)
    ]  # fmt: skip
    heads = ("explainer", "layer", "verdict", "why", *numbers)
    return table_of(f"verdicts on {run}, in float64", heads, rows, numbers=numbers)


def sentence(one: Verdict, run: str, runs: Path) -> str:
    """What is wrong, and what to do instead."""
    if one.verdict == "failed":
        return f"{short(one.explainer)} at {one.layer} failed: {one.words}. Instead: {one.instead}."
    command = ExplainRequest(run, explainer="reference", layer=one.layer).command(runs)
    return f"{short(one.explainer)} at {one.layer} is wrong: {one.words}. Instead: {one.instead}. Try: {command}"


def shared_rows(verdicts: Sequence[Verdict]) -> list[tuple[str, Verdict]]:
    """One row each, by layer; methods that equal Grad-CAM at a layer for one reason share a row."""
    rows: dict[Any, list[Verdict]] = {}
    layers = list(dict.fromkeys(one.layer for one in verdicts))
    for place, one in enumerate(sorted(verdicts, key=lambda one: layers.index(one.layer))):
        alike = one.verdict == "another method" and bool(one.words)
        key = (one.layer, one.words) if alike else place
        rows.setdefault(key, []).append(one)
    return [(" = ".join(short(one.explainer) for one in alike), _most_apart(alike)) for alike in rows.values()]


def _most_apart(alike: Sequence[Verdict]) -> Verdict:
    """The one that is farthest from Grad-CAM stands for all of its row, with the most that rounding moves any."""
    moved = [one.moved for one in alike if one.moved is not None]
    farthest = max(alike, key=lambda one: one.difference or 0.0)
    return dataclasses.replace(farthest, moved=max(moved, default=None))


def size(value: float | None) -> str:
    """A relative size with two digits; an en dash for none."""
    if value is None:
        return "–"
    return f"{value:.2g}" if value == 0 or value >= 0.01 else f"{value:.1e}"


def scores_answer(found: FaithfulnessScores, path: Path) -> Answer:
    """A table for each kind of score, and where all figures lie; after a dry run what it would take."""
    from bench.scoring.tables import head_words, sheets

    value = {key: each for key, each in dataclasses.asdict(found).items() if key != "schema"}
    value["cost"] |= {"forwards_per_image": found.cost.per_image, "seconds": found.cost.seconds}
    if not found.rows:
        return Answer({**value, "path": None}, ("no errors to look at",) if found.images == 0 else ())
    lines: list[Any] = [head_words(found)]
    for sheet in sheets(found):
        lines += ["", _sheet_table(sheet), sheet.note]
    return Answer({**value, "path": str(path.resolve())}, (*lines, "", str(path.resolve())))


def known_answer(found: KnownAnswers, path: Path) -> Answer:
    """A table for each test whose answer is known, and where all figures lie."""
    from bench.scoring.known_tables import known_head, known_sheets

    value = {key: each for key, each in dataclasses.asdict(found).items() if key != "schema"}
    told = [*known_sheets(found)]
    if not told and not found.notes:  # a dry run
        return Answer({**value, "path": None}, ())
    lines: list[Any] = [known_head(found)]
    for sheet in told:
        lines += ["", _sheet_table(sheet), sheet.note]
    return Answer({**value, "path": str(path.resolve())}, (*lines, *found.notes, "", str(path.resolve())))


def _sheet_table(sheet: Sheet) -> Grid:
    from bench.scoring.tables import WORD_HEADS

    numbers = [head for head in sheet.heads if head not in WORD_HEADS]
    return table_of(sheet.title, sheet.heads, sheet.rows, numbers=numbers)


# --- checks of plug-ins -------------------------------------------------------------------------------------


def reasons(one: Verified) -> str:
    """Every check that failed, each with its value; empty where all hold."""
    words = "; ".join(f"{each.name}: {each.words}" for each in one.failures)
    return f"{one.explainer} fails {len(one.failures)} of {len(one.outcomes)} checks ({words})" if words else ""


def as_value(one: Verified) -> dict[str, object]:
    """One explainer for `--json`."""
    checks = [{"name": each.name, "status": each.status, "words": each.words} for each in one.outcomes]
    return {
        "explainer": one.explainer, "passed": not one.failures, "layers": list(one.layers), "seconds": one.seconds,
        "checks": checks,
    }  # fmt: skip


def checks_table(one: Verified) -> Grid:
    """One row a check."""
    rows = [(each.name, shown(each.status, CHECK_STYLES[each.status]), each.words) for each in one.outcomes]
    return table_of(f"{one.explainer} at {', '.join(one.layers)}", ("check", "result", "what was found"), rows)


def checks_summary(found: Sequence[Verified]) -> Grid:
    """One row an explainer."""
    numbers = ("passed", "failed", "not applicable", "seconds")
    rows = []
    for one in found:
        passed, failed, without = (sum(each.status == status for each in one.outcomes) for status in CHECK_STYLES)
        fails = ", ".join(each.name for each in one.failures) or "–"
        counts = (passed, shown(failed, CHECK_STYLES["failed"] if failed else ""), without, f"{one.seconds:.1f}")
        rows.append((one.explainer, *counts, ", ".join(one.layers), fails))
    heads = ("explainer", *numbers, "layers", "fails at")
    return table_of("checks by explainer", heads, rows, numbers=numbers)


def checks_line(found: Sequence[Verified]) -> str:
    """The result in one line."""
    kept = sum(not one.failures for one in found)
    checks = sum(len(one.outcomes) for one in found)
    seconds = sum(one.seconds for one in found)
    return f"{kept} of {len(found)} keep the contract: {checks} checks in {seconds:.0f} s"
