"""What the templates need beyond the page's own values: names to tell runs apart, rankings, the matrix."""

import shlex
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import quote

from bench.schema.page import Page, RunView, run_labels

from . import columns, telling
from .charts import Chart, axis_of, calibration_chart, curve_chart, series_of
from .speedtables import tables_of, timed_runs
from .timing_chart import timing_chart

MOST_PAIRS = 8
LONG_MATRIX = 12  # cells
OPEN_FINDINGS = 4  # on the first screen; the others unfold
MANY = 40  # agreements: more of them stand in a table of their own
TONES = {"same": "good", "same up to rounding": "good", "other recipe": "warn", "wrong": "bad", "failed": "bad"}


_RUN_SECTIONS = (
    ("accuracy", "Accuracy"),
    ("classes", "Classes"),
    ("confusion", "Confusion"),
    ("calibration", "Calibration"),
    ("explainers", "Explainers"),
    ("speed", "Speed"),
    ("timing", "Its own speeds"),
    ("curves", "Learning curves"),
)
_COMPARISON_SECTIONS = (
    ("models", "Accuracy"),
    ("classes", "Which classes differ"),
    ("calibration", "Calibration"),
    ("differences", "What was made differently"),
    ("seeds", "The seed"),
    ("explainers", "Explainers"),
    ("speed", "Speed"),
    ("curves", "Learning curves"),
)


def view_of(page: Page) -> SimpleNamespace:
    """Everything derived from a Page that a template prints.

    Returns:
        labels, layers, sizes: of the runs; of the matrix, and how large their grids are.
        accuracy_axis, recall_axis: of the interval bars.
        ways: the averages that any run has, by name.
        averages: those of each run in the order of `ways`, None where it has none.
        charts, calibration, timing: drawings.
        confused: the most frequent confusions as (count, true, predicted, share of the true class).
        most_off_diagonal: the count of the first of them.
        matrix, many_pairs: the lines of each run; whether its pairs stand in a table of their own.
        anchors: the places a finding may link to.
        contents: the sections as (anchor, words).
        layers_shown: those with maps.
        missing: which maps a run lacks that others have, in words, and the command that makes them.
        lead: the explainer and the layer that stand for all; empty names without maps.
        telling_title: of the errors on the first screen.
        pictures: explainers whose columns are a library's finished pictures, each with the library's steps.
        speeds: a table for each timing of the page.
        timed_runs: of each run its arms in them.
        paired, trained_in_turns: whether all runs are in one and the same timing; whether their training is.
        memory_known: whether peak memory was measured.
        pairs_summary, classes_summary, verdicts_summary, matrix_summary: the finding of a table that is folded.
        classes_apart: of a comparison each class with each run's recall and its change against the first run.
        calibrations: of a comparison (label, drawing, run) of each run whose calibration is known.
        long_matrix: whether the matrix is folded.
        trained_apart: whether images and epochs have to be told for each run, for no badge tells them for all.
    """
    layers = layers_of(page)
    first = page.runs[0]
    confused = [
        (count, true, predicted, count / max(1, first.per_class[true].total))
        for true, predicted, count in first.most_confused(MOST_PAIRS)
    ]
    ways = tuple(dict.fromkeys(one.name for run in page.runs for one in run.averages))
    speeds = tables_of(page)
    timed = timed_runs(page, speeds)
    drawn = first.averages if page.kind == "run" else ()
    return SimpleNamespace(
        labels=run_labels(page.runs),
        layers=layers,
        sizes=tuple(_size(page, layer) for layer in layers),
        accuracy_axis=axis_of([run.accuracy for run in page.runs] + [one.accuracy for one in drawn]),
        ways=ways,
        averages=tuple(tuple(map({one.name: one for one in run.averages}.get, ways)) for run in page.runs),
        recall_axis=axis_of(row.recall for row in first.per_class),
        charts=_charts(page),
        calibration=calibration_chart(first.calibration) if page.kind == "run" else None,
        timing=timing_chart(page.timings) if page.kind == "run" else None,
        confused=confused,
        most_off_diagonal=confused[0][0] if confused else 0,
        matrix=tuple(matrix_of(page, run) for run in range(len(page.runs))),
        many_pairs=len(page.agreements) > MANY,
        anchors=_anchors(page),
        contents=_contents(page),
        layers_shown=columns.layers_of(page.cells),
        missing=tuple(_missing(page)),
        lead=columns.lead_of(page),
        telling_title=_telling_title(page),
        speeds=speeds,
        timed_runs=timed,
        paired=len(speeds) == 1 and all(one["forward"] for one in timed),
        trained_in_turns=all(one["train"] for one in timed),
        memory_known=any(one["forward"] and one["forward"].arm.memory_mb is not None for one in timed),
        pairs_summary=_pairs_summary(page),
        classes_apart=_classes_apart(page),
        classes_summary=_classes_summary(page),
        calibrations=_calibrations(page),
        verdicts_summary=_verdicts_summary(page),
        long_matrix=len(page.cells) > LONG_MATRIX,
        matrix_summary=_matrix_summary(page),
        trained_apart=not any(badge.ok and badge.text.startswith("same recipe") for badge in page.badges),
        pictures=tuple({cell.explainer: cell.steps for cell in page.cells if cell.picture}.items()),
    )


def _anchors(page: Page) -> frozenset[str]:
    """The places a finding may link to; another one is shown as plain text."""
    fixed = {"top", "findings", "models", "accuracy", "curves", "explainers", "errors", "provenance", "glossary"}
    own = {"classes", "confusion"} if page.kind == "run" else {"agreement"}
    own |= {"classes"} if page.class_changes else set()
    own |= {"calibration"} if any(run.calibration for run in page.runs) else set()
    tables = {
        "speed": page.speeds,
        "verdicts": page.verdicts,
        "agreement": page.agreements,
        "pairs": page.pairs,
        "seeds": page.seeds,
        "differences": page.differences,
        "timing": page.timings if page.kind == "run" else (),
        "trust": page.trust.groups if page.trust else (),
    }
    shown = {name for name, rows in tables.items() if rows}
    return frozenset(fixed | own | shown | {f"i{each}" for each in page.gallery.ids})


def _contents(page: Page) -> tuple[tuple[str, str], ...]:
    """The sections that the page has, in their order."""
    own = _RUN_SECTIONS if page.kind == "run" else _COMPARISON_SECTIONS
    shown = _anchors(page)
    first = (("trust", "Can the picture be trusted?"), ("errors", f"Errors ({len(page.gallery.ids):,})"))
    return tuple(
        one for one in (*first, *own, ("provenance", "How it was made"), ("glossary", "Words")) if one[0] in shown
    )


def _pairs_summary(page: Page) -> str:
    clear = sum(pair.clear for pair in page.pairs)
    return f"{clear} of {len(page.pairs)} pairs differ clearly"


def _classes_apart(page: Page) -> tuple[SimpleNamespace, ...]:
    """Each class that has images, with (recall, change) of every run; the first run has no change."""
    if page.kind == "run" or not page.class_changes:
        return ()
    changes = {(one.run, one.label): one for one in page.class_changes}

    def change(run: int, k: int) -> SimpleNamespace | None:
        one = changes.get((run, k))
        if one is None:
            return None
        return SimpleNamespace(of=one, tone="" if not one.clear else "good" if one.difference.value > 0 else "bad")

    return tuple(
        SimpleNamespace(
            name=row.name,
            total=row.total,
            runs=[(run.per_class[k].recall.value, change(at, k)) for at, run in enumerate(page.runs)],
        )
        for k, row in enumerate(page.runs[0].per_class)
        if row.total
    )


def _classes_summary(page: Page) -> str:
    """What the table of classes shows, in a line."""
    if page.kind == "comparison":
        tones = [change.tone for row in _classes_apart(page) for _, change in row.runs if change]
        return f"{len(page.classes)} classes: {tones.count('good')} clearly better, {tones.count('bad')} clearly worse"
    known = [row for row in page.runs[0].per_class if row.total]
    ends = [row.recall.value for row in known] or [0.0]
    return f"{len(known)} classes, recall {100 * min(ends):.0f} % to {100 * max(ends):.0f} %"


def _calibrations(page: Page) -> tuple[tuple[str, Chart, RunView], ...]:
    if page.kind == "run":
        return ()
    labels = run_labels(page.runs)
    drawn = [(label, calibration_chart(run.calibration), run) for label, run in zip(labels, page.runs, strict=True)]
    return tuple((label, chart, run) for label, chart, run in drawn if chart is not None)


def _verdicts_summary(page: Page) -> str:
    counts = Counter(one.verdict.verdict for one in page.verdicts)
    worst = sorted(counts.items(), key=lambda one: list(reversed(TONES)).index(one[0]) if one[0] in TONES else 9)
    return f"{len(page.verdicts)} verdicts: " + ", ".join(f"{count} {word}" for word, count in worst)


def _matrix_summary(page: Page) -> str:
    explainers, layers = len(columns.explainers_of(page)), len(columns.layers_of(page.cells))
    maps = sum(cell.rows for cell in page.cells)
    return f"{maps:,} maps by {explainers} explainers at {layers} layers: verdicts, agreement, missing maps"


def _missing(page: Page) -> Iterator[tuple[str, str]]:
    """Of each run that lacks maps: which, and what to type."""
    labels, explainers = run_labels(page.runs), columns.explainers_of(page)
    wanted = {(cell.explainer, cell.layer) for cell in page.cells}
    for at, run in enumerate(page.runs):
        own = {(cell.explainer, cell.layer): cell.missing for cell in page.cells if cell.run == at}
        lacks = [each for each in wanted if own.get(each, 1)]
        if not lacks or not page.gallery.ids:
            continue
        names = [one for one in explainers if one in {name for name, _ in lacks}]
        layers = [one for one in columns.layers_of(page.cells) if one in {layer for _, layer in lacks}]
        rows = sum(own.get(each, 0) for each in lacks)
        absent = sum(each not in own for each in lacks)
        told = [f"{absent} {'pair' if absent == 1 else 'pairs'} of explainer and layer"] if absent else []
        told += [f"{rows:,} {'map' if rows == 1 else 'maps'} of single images"] if rows else []
        command = shlex.join(["bench", "explain", run.run, "--explainer", ",".join(names), "--layer", ",".join(layers)])
        yield f"{labels[at]} lacks {' and '.join(told)}. To make them:", command


def _telling_title(page: Page) -> str:
    wrong = sum(
        any(said.predicted[place] not in (-1, true) for said in page.gallery.said)
        for place, true in enumerate(page.gallery.true)
    )
    every = max(sum(run.total - run.correct for run in page.runs) if page.kind == "run" else page.wanted, wrong)
    kind = "errors" if wrong == every else "explained errors"
    return f"Six of {wrong:,} {kind}, the ones that tell most" if wrong > telling.MOST else f"The {kind}"


def _size(page: Page, layer: str) -> str:
    cells = [cell for cell in page.cells if cell.layer == layer]
    grids = [cell for cell in cells if not cell.picture] or cells  # a finished picture says nothing of the layer's grid
    sizes = {f"{cell.height}×{cell.width}" for cell in grids}
    return sizes.pop() if len(sizes) == 1 else "sizes differ" if sizes else ""


def _charts(page: Page) -> tuple[Chart, ...]:
    names = run_labels(page.runs) if len(page.runs) > 1 else ("",)
    drawn = []
    for quantity in ("loss", "accuracy"):
        # Twelve lines on one drawing say nothing: of several runs only the better judge of each is drawn.
        series = [
            one
            for k, (run, name) in enumerate(zip(page.runs, names, strict=True))
            for one in series_of(run.curve, quantity, label=name, colour=k % 6 + 1)[-1 if name else 0 :]
        ]
        drawn.append(curve_chart(tuple(series), title=quantity, percent=quantity == "accuracy"))
    return tuple(chart for chart in drawn if chart is not None)


# --- explainers by layers: what was judged, what it costs, what went wrong, and a link to its maps -------------


def layers_of(page: Page) -> tuple[str, ...]:
    """Layers with maps, then those that were only judged or scored."""
    others = [one.verdict.layer for one in page.verdicts] + [one.layer for one in page.scores]
    return columns.layers_of(page.cells, others)


def matrix_of(page: Page, run: int) -> list[SimpleNamespace]:
    """The lines of one run, the explainers' first, then their agreement in pairs.

    Returns:
        name: an explainer, or a pair of them.
        spots: one explainer at each layer, None where there is nothing, else
            cell, verdict, score: as far as it was computed, judged and scored.
            link: to its maps in the gallery; empty where there are none.
            tone: class of the verdict's word.
            speed: its rate by `bench time`, of maps in one form from all; none where it was not measured in turns.
        agreements: of a pair at each layer, None where there is none.
    """
    layers = layers_of(page)
    cells = {(cell.explainer, cell.layer): cell for cell in page.cells if cell.run == run}
    verdicts = {(one.verdict.explainer, one.verdict.layer): one.verdict for one in page.verdicts if one.run == run}
    scores = {(one.explainer, one.layer): one for one in page.scores if one.run == run}
    speeds = {
        (one.arm.explainer, one.arm.layer): one
        for timing in page.speeds
        for one in timing.arms
        if one.arm.what == "explain" and run in one.runs
    }
    shown = page.agreements if len(page.agreements) <= MANY else ()
    agreed = {((a.first, a.second), a.layer): a for a in shown if a.run == run}

    def spot(name: str, layer: str) -> SimpleNamespace | None:
        key = name, layer
        if key not in cells and key not in verdicts and key not in scores:
            return None
        verdict = verdicts.get(key)
        return SimpleNamespace(
            cell=cells.get(key),
            verdict=verdict,
            score=scores.get(key),
            link=_link(page, run, name, layer) if key in cells else "",
            tone=TONES.get(verdict.verdict, "") if verdict else "",
            speed=speeds.get(key),
        )

    names = dict.fromkeys(name for name, _ in [*cells, *verdicts, *scores])
    rows = [SimpleNamespace(name=name, spots=[spot(name, one) for one in layers], agreements=()) for name in names]
    for pair in dict.fromkeys(pair for pair, _ in agreed):
        found = [agreed.get((pair, one)) for one in layers]
        rows.append(SimpleNamespace(name=" against ".join(pair), spots=(), agreements=found))
    return rows


def _link(page: Page, run: int, explainer: str, layer: str) -> str:
    """The gallery with this column; a list in an address is quoted once more, for commas of its own."""
    chosen = [("x", explainer), ("l", layer)] + ([("m", str(run))] if len(page.runs) > 1 else [])
    return "#" + "&".join(f"{key}={quote(quote(value, safe=''), safe='')}" for key, value in chosen)
