"""Which classes another run mends and breaks: planted changes, the family of all tests, counts of confusions."""

import numpy as np
import pytest
from page_factory import make_page
from scipy.stats import binomtest

from bench.pages.class_changes import changes_of, class_findings, confusion_changes

CLASSES, EACH = 4, 250


def planted(mended: int, broken: int, runs: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Wrong answers of runs and the labels; the last run mends images of class 1 and breaks images of class 2."""
    labels = np.repeat(np.arange(CLASSES), EACH)
    wrong = np.zeros((runs, len(labels)), bool)
    wrong[:, ::5] = True
    first, other = wrong[0], wrong[-1]
    first[np.flatnonzero((labels == 1) & ~first)[:mended]] = True
    other[np.flatnonzero((labels == 2) & ~other)[:broken]] = True
    return wrong, labels


def test_a_class_that_was_mended_and_one_that_was_broken_are_found_and_no_other() -> None:
    changes = changes_of(*planted(30, 25))
    assert [(one.label, one.mended, one.broken) for one in changes if one.clear] == [(1, 30, 0), (2, 0, 25)]
    gap = changes[1].difference
    assert gap.value == pytest.approx(30 / EACH) and 0 < gap.low < gap.value < gap.high
    views = make_page("comparison", runs=2, classes=("ant", "bee", "cat", "dog")).runs
    (found,) = class_findings(views, changes)
    assert found.link == "better at bee and worse at cat" and found.anchor == "classes"


def test_p_is_corrected_over_all_classes_of_all_runs() -> None:
    """By hand: sorted p, each times how many are left, never falling."""
    wrong, labels = planted(9, 3, runs=3)
    changes = changes_of(wrong, labels)
    alone = []
    for one in changes:
        own = labels == one.label
        mended = int((wrong[0] & ~wrong[one.run])[own].sum())
        broken = int((~wrong[0] & wrong[one.run])[own].sum())
        alone.append(binomtest(min(mended, broken), mended + broken).pvalue if mended + broken else 1.0)
    order, most = np.argsort(alone, kind="stable"), 0.0
    expected = np.empty(len(alone))
    for rank, k in enumerate(order):
        most = max(most, min(1.0, (len(alone) - rank) * alone[k]))
        expected[k] = most
    assert len(changes) == 2 * CLASSES and [one.adjusted for one in changes] == pytest.approx(expected.tolist())
    nine = next(one for one in changes if (one.run, one.label) == (2, 1))
    assert alone[changes.index(nine)] < 0.05 and nine.clear == (nine.adjusted <= 0.05)


def test_what_would_be_clear_alone_is_not_claimed_among_many_classes() -> None:
    changes = changes_of(*planted(7, 0))
    assert changes[1].mended == 7 and changes[1].adjusted > 0.05 and not any(one.clear for one in changes)
    assert class_findings(make_page("comparison", runs=2, classes=("a", "b", "c", "d")).runs, changes) == ()


def test_confusions_that_changed_most_come_first_and_right_answers_are_none() -> None:
    labels = np.repeat([0, 1, 2], 100)
    first, other = (
        np.concatenate([np.repeat([0, 1, 2], counts) for counts in confusion])
        for confusion in (((90, 9, 1), (4, 95, 1), (0, 0, 100)), ((97, 2, 1), (4, 90, 6), (0, 0, 100)))
    )
    found = [(one.true, one.predicted, one.first, one.other) for one in confusion_changes(labels, (first, other), 3)]
    assert found == [(0, 1, 9, 2), (1, 2, 1, 6)]
