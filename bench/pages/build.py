"""Several runs on the same test images: what each alone gets wrong, exact paired tests, one Page."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from bench.contracts import Booleans, Integers
from bench.pages.class_alignment import aligned, not_shared
from bench.pages.class_changes import class_changes, class_findings, confusion_changes
from bench.pages.findings import (
    agreement_findings,
    comparison_badges,
    comparison_title,
    pair_findings,
    run_badges,
    run_findings,
    run_title,
    seed_findings,
    verdict_findings,
)
from bench.pages.gallery import gallery
from bench.pages.provenance import differences, provenance
from bench.pages.run_views import PAGE_SCHEMA, cell_view, judged_of, run_view, scores_of
from bench.pages.seeds import seed_shares
from bench.pages.speeds import with_speeds
from bench.pages.trust import with_trust
from bench.postprocess import PIPELINE
from bench.recipes.recipe import Recipe
from bench.registry.registry import short
from bench.schema.page import Badge, Page, PairTest, RunView, run_labels
from bench.schema.run import MOST_LABELS, Cell, keys_of
from bench.schema.timing import Timing
from bench.stats.agreement import agreements
from bench.stats.intervals import holm, holm_levels, mcnemar, paired_difference
from bench.store.folder import RunFolder
from bench.store.predictions import fixed_order, wanted_targets
from bench.store.timings import timings_of

MOST_IMAGES, MOST_LARGE = 2000, 500  # of a gallery for which nobody said another number; larger than thumbnails
MOST_TOLD = 3  # settings in a run's label, its seed apart
# What does not make a training better or worse, or is told by the model's name.
UNMOVED = ("seed", "seeds", "data", "device", "average", "compile", "skip_bad", "deterministic", "stem", "image_size")
UNTOLD = ("seed", "data", "device", "sizes")  # the last for what has few words; seed comes last


def wrong_in_any(runs: Sequence[RunFolder], limit: int | None) -> Integers:
    """The first `limit` test ids, in the fixed order, that at least one run got wrong."""
    order = fixed_order(runs[0].predictions.labels)
    wrong = np.unique(np.concatenate([data.predictions.wrong for data in runs]))
    return order[np.isin(order, wrong)][:limit]


def only_wrong(runs: Sequence[RunFolder]) -> list[int]:
    """For each run the test images that it alone got wrong."""
    wrong = np.stack([data.predictions.predicted != data.predictions.labels for data in runs])
    alone = wrong.sum(axis=0) == 1
    return [int((row & alone).sum()) for row in wrong]


def pair_tests(runs: Sequence[RunFolder]) -> tuple[PairTest, ...]:
    """Exact McNemar test of every pair of runs."""
    tests = tests_of(np.stack([data.predictions.predicted != data.predictions.labels for data in runs]))
    logits = [data.predictions.logits for data in runs]
    return tuple(replace(one, same_logits=np.array_equal(logits[one.first], logits[one.second])) for one in tests)


def tests_of(wrong: Booleans) -> tuple[PairTest, ...]:
    """The tests of every pair of runs as one family, so that a page of many pairs claims no more by chance than one.

    Args:
        wrong: (K, N) of each run and test image.
    """
    pairs = list(combinations(range(len(wrong)), 2))
    alone = [
        (int((wrong[first] & ~wrong[second]).sum()), int((~wrong[first] & wrong[second]).sum()))
        for first, second in pairs
    ]
    p_values = [mcnemar(*each) for each in alone]
    return tuple(
        PairTest(*pair, *each, p_value, paired_difference(*each, wrong.shape[1], level), adjusted=adjusted)
        for pair, each, p_value, adjusted, level in zip(
            pairs, alone, p_values, holm(p_values), holm_levels(p_values), strict=True
        )
    )


def same_settings(runs: Sequence[RunFolder]) -> bool:
    """Whether the runs differ in nothing but model, seed and where they were made.

    A recipe's name says nothing that its values, which the config holds too, do not say better.
    """
    left_out = ("model", "seed", "device", "data", "recipe")
    settings = [{key: value for key, value in data.record.settings.items() if key not in left_out} for data in runs]
    return all(one == settings[0] for one in settings)


def labels_of(runs: Sequence[RunFolder]) -> tuple[str, ...]:
    """The settings in which runs differ; the run's name where no setting does, or too many do.

    Never one of several: a finding about `lr 0.1` would read as if the rate alone were the cause. The seed is told only
    where nothing else tells runs apart.
    """
    settings = [
        {**data.record.settings, "model": short(data.record.model), "recipe": data.record.recipe} for data in runs
    ]
    first = ("model", "recipe", "optimizer", "lr")
    keys = (*first, *(key for key in settings[0] if key not in (*first, *UNTOLD)), "seed")
    chosen: list[str] = []
    for key in keys:
        parts = [[str(each.get(one)) for one in chosen] for each in settings]
        finer = [[*part, str(each.get(key))] for part, each in zip(parts, settings, strict=True)]
        if len(set(map(tuple, finer))) > len(set(map(tuple, parts))):
            chosen.append(key)
    implied = Recipe.__dataclass_fields__ if "recipe" in chosen else ()
    left = [key for key in settings[0] if len({str(each.get(key)) for each in settings}) > 1]
    left = [key for key in left if key not in {*chosen, *UNMOVED, *implied}]
    if len({type(data.record.request) for data in runs}) > 1:
        left = []  # what was adopted and what was trained here have no settings in common
    if left and (len({*chosen, *left} - {"seed"}) > MOST_TOLD or not {*left} <= {*keys}):
        return tuple(data.record.name for data in runs)
    chosen = [key for key in keys if key in {*chosen, *left}]
    words = [" · ".join(_setting(key, each[key]) for key in chosen if each.get(key) is not None) for each in settings]
    return tuple(
        " · ".join(filter(None, (text, data.record.name))) if words.count(text) > 1 else text or data.record.name
        for text, data in zip(words, runs, strict=True)
    )


def _setting(key: str, value: object) -> str:
    if key in ("model", "recipe", "optimizer"):
        return Path(str(value)).name
    return f"{key.replace('_', ' ')} {f'{value:g}' if isinstance(value, float) else value}"


def run_page(data: RunFolder, *, created: str, max_images: int | None = None) -> Page:
    """The page of one run: its errors, as far as they were explained, `max_images` of them in its gallery."""
    view = run_view(data)
    ids = reduce(np.union1d, (cell.ids for cell in data.cells), data.predictions.wrong)
    order, pictured = fixed_order(data.predictions.labels), () if data.samples is None else data.samples.ids
    explained = order[np.isin(order, ids) & np.isin(order, pictured)]
    shared = tuple(agreements(0, data.cells))
    shown = balanced(explained, data.predictions.labels, max_images)
    page = _page("run", [data], [view], shown, created, [_asked(data, explained)])
    page = replace(
        page,
        title=run_title(view),
        badges=run_badges(view),
        findings=run_findings(view) + verdict_findings(page.verdicts) + agreement_findings(shared, page.verdicts),
        agreements=shared,
        wanted=len(ids),
    )
    return _with_doubts(with_trust(with_speeds(page, [data]), [data]), [data])


def comparison_page(
    runs: Sequence[RunFolder],
    ids: Integers,
    *,
    created: str,
    max_images: int | None = None,
    taken: Sequence[Timing] = (),
) -> Page:
    """The page of several runs on the images `ids`, those that any of them got wrong; its gallery has `max_images`.

    Args:
        taken: timings beside those that lie in the runs' folders and beside them.
    """
    notes = tuple(Badge(False, words) for words in not_shared(runs))
    runs = aligned(runs)
    views = [
        replace(run_view(data, only_wrong=alone), label=label)
        for data, alone, label in zip(runs, only_wrong(runs), labels_of(runs), strict=True)
    ]
    tests = pair_tests(runs)
    shared = tuple(one for index, data in enumerate(runs) for one in agreements(index, data.cells))
    seeds, changes = seed_shares(runs), class_changes(runs)
    shown = balanced(ids, runs[0].predictions.labels, max_images)
    page = _page("comparison", runs, views, shown, created, [_both(data, ids) for data in runs])
    page = replace(
        page,
        title=comparison_title(views, tests, same_settings=same_settings(runs)),
        badges=comparison_badges(views, tests, same_settings=same_settings(runs)) + notes,
        findings=pair_findings(views, tests)
        + class_findings(views, changes)
        + verdict_findings(page.verdicts, run_labels(views))
        + agreement_findings(shared, page.verdicts)
        + seed_findings(seeds),
        seeds=seeds,
        class_changes=changes,
        confusion_changes=confusion_changes(
            runs[0].predictions.labels,
            [data.predictions.predicted for data in runs],
            runs[0].predictions.logits.shape[1],
        ),
        agreements=shared,
        pairs=tests,
        wanted=len(wrong_in_any(runs, None)),
    )
    return _with_doubts(with_trust(with_speeds(page, runs, taken), runs), runs)


def _with_doubts(page: Page, runs: Sequence[RunFolder]) -> Page:
    """The page with a badge for everything that was left out of it, since it cannot be or cannot be read."""
    return replace(page, badges=page.badges + tuple(Badge(False, words) for data in runs for words in data.left_out))


def most_images(runs: Sequence[RunFolder], asked: int | None) -> int:
    """How many images a gallery has: as many as were asked for, else as a browser shows well."""
    samples = [run.samples for run in runs]
    large = any(each is not None and each.pictures.dtype == object for each in samples)
    return asked or (MOST_LARGE if large else MOST_IMAGES)


def balanced(ids: Integers, labels: Integers, most: int | None) -> Integers:
    """The first `most` of some images (N,), as many of each class as there are; all of them for None.

    Args:
        labels: of all test images.
    """
    if most is None or len(ids) <= most:
        return ids
    by_class = np.argsort(labels[ids], kind="stable")
    _, starts, counts = np.unique(labels[ids][by_class], return_index=True, return_counts=True)
    turns = np.empty(len(ids), dtype=np.int64)
    turns[by_class] = np.arange(len(ids)) - np.repeat(starts, counts)
    found: Integers = ids[np.sort(np.argsort(turns, kind="stable")[:most])]
    return found


def _asked(data: RunFolder, ids: Integers) -> Integers:
    """Keys of the rows that any explainer was asked for; an image of `ids` without any lacks the predicted class's."""
    asked: Integers = reduce(np.union1d, (cell.keys for cell in data.cells), np.empty(0, dtype=np.int64))
    lacking = np.setdiff1d(ids, asked // MOST_LABELS)
    return np.union1d(asked, keys_of(lacking, data.predictions.predicted[lacking]))


def _both(data: RunFolder, ids: Integers) -> Integers:
    """Keys of the rows of the predicted and of the true class of every image."""
    return np.unique(keys_of(ids[:, None], wanted_targets(data.predictions, ids, "both")))


def _page(
    kind: Literal["run", "comparison"],
    runs: Sequence[RunFolder],
    views: Sequence[RunView],
    ids: Integers,
    created: str,
    wanted: Sequence[Integers],
) -> Page:
    """Everything of a page but what it says; `wanted` are the keys of rows that the cells of each run should hold."""
    cells: list[tuple[int, Cell]] = [(index, cell) for index, data in enumerate(runs) for cell in data.cells]
    items = gallery(runs, cells, ids)
    return Page(
        schema=PAGE_SCHEMA,
        kind=kind,
        title="",
        created=created,
        classes=runs[0].record.data.classes,
        badges=(),
        findings=(),
        runs=tuple(views),
        cells=tuple(cell_view(index, runs[index], cell, wanted[index]) for index, cell in cells),
        agreements=(),
        pairs=(),
        gallery=items,
        shown=len(items.ids),
        wanted=len(items.ids),
        pipeline=PIPELINE,
        provenance=tuple(provenance(data.record) for data in runs),
        timings=tuple(
            one
            for index, data in enumerate(runs)
            for one in timings_of(index, data.timings, views[index].curve, {cell.timing for cell in data.cells})
        ),
        differences=differences([data.record for data in runs]),
        verdicts=tuple(one for at, data in enumerate(runs) for one in judged_of(at, data)),
        scores=tuple(one for at, data in enumerate(runs) for one in scores_of(at, data)),
    )
