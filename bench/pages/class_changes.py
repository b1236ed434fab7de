"""What another run does to each class: which of the first run's errors it mends, and what it breaks."""

from collections.abc import Sequence

import numpy as np

from bench.contracts import Booleans, Integers
from bench.pages.findings import shortened
from bench.schema.page import ClassChange, ConfusionChange, Finding, RunView as View, run_labels
from bench.stats.intervals import holm, holm_levels, mcnemar, paired_difference
from bench.store.folder import RunFolder

MOST = 8  # changes of confusions


def class_changes(runs: Sequence[RunFolder]) -> tuple[ClassChange, ...]:
    """Every class of every run but the first, against the first."""
    labels = runs[0].predictions.labels
    wrong = np.stack([data.predictions.predicted != labels for data in runs])
    return changes_of(wrong, labels)


def changes_of(wrong: Booleans, labels: Integers) -> tuple[ClassChange, ...]:
    """Exact McNemar tests of each class, as one family over all classes and runs.

    Args:
        wrong: (K, N) of each run and test image.
        labels: (N,) class indices.
    """
    keys = [(run, int(k)) for run in range(1, len(wrong)) for k in np.unique(labels)]
    counts = []
    for run, k in keys:
        first, other = wrong[0, labels == k], wrong[run, labels == k]
        counts.append((int((first & ~other).sum()), int((~first & other).sum()), len(first)))
    p_values = [mcnemar(mended, broken) for mended, broken, _ in counts]
    return tuple(
        ClassChange(run, k, mended, broken, paired_difference(broken, mended, total, level), adjusted)
        for (run, k), (mended, broken, total), adjusted, level in zip(
            keys, counts, holm(p_values), holm_levels(p_values), strict=True
        )
    )


def class_findings(views: Sequence[View], changes: Sequence[ClassChange]) -> tuple[Finding, ...]:
    """Which classes each run clearly does better or worse than the first; nothing where none is clear."""
    labels, found = run_labels(views), []
    for run in range(1, len(views)):
        clear = [one for one in changes if one.run == run and one.clear]
        if not clear:
            continue
        names = [row.name for row in views[0].per_class]
        better = shortened([names[one.label] for one in clear if one.difference.value > 0])
        worse = shortened([names[one.label] for one in clear if one.difference.value < 0])
        said = [f"better at {better}"] if better else []
        said += [f"worse at {worse}"] if worse else []
        evidence = f"exact McNemar tests, over {len(changes)} pairs of class and run by Holm"
        found.append(
            Finding(f"Compared with {labels[0]}, {labels[run]} is ", " and ".join(said), "classes", "", evidence)
        )
    return tuple(found)


def confusion_changes(labels: Integers, predicted: Sequence[Integers], classes: int) -> tuple[ConfusionChange, ...]:
    """The confusions whose counts differ most between the first run and another, as counts alone: no claim.

    Args:
        labels: (N,) class indices.
        predicted: (N,) of each run.
    """
    # Sparse, since of a thousand classes there are a million pairs.
    keys = [np.unique((labels * classes + one)[one != labels], return_counts=True) for one in predicted]
    found = []
    for run, (others, counts) in enumerate(keys[1:], 1):
        pairs = np.union1d(keys[0][0], others)
        first, other = (
            np.bincount(np.searchsorted(pairs, own), often, len(pairs)).astype(np.int64)
            for own, often in (keys[0], (others, counts))
        )
        order = np.argsort(-np.abs(other - first), kind="stable")[:MOST]
        for each in order[other[order] != first[order]].tolist():
            found.append(ConfusionChange(run, *divmod(int(pairs[each]), classes), int(first[each]), int(other[each])))
    return tuple(found)
