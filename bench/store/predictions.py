"""Test logits of a run, and which images and classes are taken of them: one fixed order, so that selections nest."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts import Floats, Integers
from bench.errors import StoreError, UsageError
from bench.store.files import ARRAY_BYTES, check_arrays, check_range, read_npz, sha256, write_npz
from bench.store.paths import predictions_path
from bench.whole_file import opened

LOGIT_TOLERANCE = 1e-3  # of the largest logit: another batch size or device moves logits by less
ROWS = {"ids": "i1", "labels": "i1", "logits": "f2"}


@dataclass(frozen=True)
class Predictions:
    """Test logits of a run.

    Attributes:
        ids, labels: (N,) int64.
        logits: (N, K) float32.
        digest: sha256 of the file they were read from; empty for others.
    """

    ids: Integers
    labels: Integers
    logits: Floats
    digest: str = ""

    @property
    def predicted(self) -> Integers:
        """(N,) class of the largest logit."""
        classes: Integers = self.logits.argmax(axis=1)
        return classes

    @property
    def wrong(self) -> Integers:
        """Test ids of the misclassified images, ascending."""
        ids: Integers = self.ids[self.predicted != self.labels]
        return ids


def read_predictions(folder: Path) -> Predictions:
    """predictions.npz of a run, checked."""
    path, again = predictions_path(folder), f"bench evaluate {folder.name}"
    try:
        with opened(path, ARRAY_BYTES) as file:
            arrays = read_npz(path, tuple(ROWS), file)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except StoreError as reason:
        raise StoreError(reason.message, try_=again) from reason
    check_arrays(arrays, ROWS, path, again)
    check_range(arrays, "labels", arrays["logits"].shape[1], path, again)
    ids = arrays["ids"]
    if not len(ids) or not np.array_equal(ids, np.arange(len(ids))):
        raise StoreError(f"{path} is damaged: ids are not 0 to {len(ids) - 1}", try_=again)
    return Predictions(**arrays, digest=digest)


def logit_gap(logits: Floats, stored: Floats) -> float | None:
    """The largest difference of (N, K) logits from those of predictions.npz; None where it is no more than rounding."""
    gap = float(np.abs(logits - stored).max(initial=0.0))
    return None if gap <= LOGIT_TOLERANCE * max(1.0, float(np.abs(stored).max(initial=0.0))) else gap


def write_predictions(folder: Path, found: Predictions) -> str:
    """Write predictions.npz of a run; gives the file's sha256."""
    path = predictions_path(folder)
    write_npz(path, {name: getattr(found, name) for name in ROWS})
    return sha256(path)


def fixed_order(labels: Integers) -> Integers:
    """All test ids in the one order that every run and every limit uses, balanced by true class.

    Within a class ids are ordered by a hash; then classes take turns. So the first N of any selection nest in
    the first M of it, and coincide between runs on the same test split.
    """
    # A hash, and no generator, whose numbers a new release may change. Balanced, since in a data set sorted by class
    # the first N would be of one, and of a random N small classes might be missing.
    digests = (hashlib.sha256(f"bench:{index}".encode()).digest() for index in range(len(labels)))
    by_class = np.lexsort((np.fromiter(digests, dtype="S32", count=len(labels)), labels))
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    turns = np.arange(len(labels)) - np.repeat(starts, counts)
    order: Integers = by_class[np.argsort(turns, kind="stable")]
    return order


def choose_ids(predictions: Predictions, which: str, limit: int | None) -> Integers:
    """The first `limit` test ids, wrong ones or all, of the fixed order."""
    order = fixed_order(predictions.labels)
    if which == "wrong":
        order = order[np.isin(order, predictions.wrong)]
    return order[:limit]


def check_ids(ids: Sequence[int], total: int) -> Integers:
    """Ids a user asked for; UsageError names the first that is not in the test split."""
    for each in ids:
        if not 0 <= each < total:
            raise UsageError(f"no test image {each}", try_=f"ids from 0 to {total - 1}")
    return np.array(sorted(set(ids)), dtype=np.int64)


def wanted_targets(predictions: Predictions, ids: Integers, target: str) -> Integers:
    """(N, T) classes whose maps are wanted: predicted, true, or both in this order."""
    predicted, true = predictions.predicted[ids], predictions.labels[ids]
    columns = {"predicted": (predicted,), "true": (true,), "both": (predicted, true)}[target]
    return np.stack(columns, axis=1).astype(np.int64)
