"""The images of a page with what every run says and every cell shows, in columns from the cell on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.contracts import SIZE, Booleans, Floats, Integers
from bench.data.decoding import as_file, edge_of, resized
from bench.evaluation import softmax
from bench.schema.gallery import ROLES, CellMaps, Gallery, Said
from bench.schema.pictures import PictureMap
from bench.schema.run import Cell, Status
from bench.stats.agreement import disagreements
from bench.store.folder import RunFolder
from bench.store.predictions import Predictions
from bench.store.rows import Samples

TOP = 10  # classes of an image whose probabilities a page carries
AT_ONCE = 512  # maps that are quantised together


def gallery(runs: Sequence[RunFolder], cells: Sequence[tuple[int, Cell]], ids: Integers) -> Gallery:
    """The images of a page.

    Args:
        runs: in page order; each knows its predictions.
        cells: (run index, cell) in the order of Page.cells.
        ids: (N,) test ids; those no run has a sample of are left out.

    Returns:
        The most confident error first.
    """
    pictures = _pictures(runs, ids)
    known = np.array([each for each in ids.tolist() if each in pictures], dtype=np.int64)
    labels = np.array([samples.labels[row] for samples, row in map(pictures.__getitem__, known.tolist())], np.int64)
    order = np.argsort(-_confidence([_shares(data, known) for data in runs], labels), kind="stable")
    shown, true = known[order], labels[order]
    found = [pictures[each] for each in shown.tolist()]
    apart = disagreements(cells, shown)
    edge, pixels, files = _shown_at([samples.pictures[row] for samples, row in found])
    return Gallery(
        ids=tuple(shown.tolist()),
        files=tuple(str(samples.names[row]) for samples, row in found),
        true=tuple(true.tolist()),
        pixels=pixels,
        said=tuple(_said(_shares(data, shown), shown < len(data.predictions.ids), true) for data in runs),
        maps=tuple(cell_maps(cell, runs[run].predictions, shown) for run, cell in cells),
        disagreement=tuple(apart.get(each) for each in shown.tolist()),
        edge=edge,
        pictures=files,
    )


def _shown_at(pictures: Sequence[Any]) -> tuple[int, bytes, tuple[bytes, ...]]:
    """Pixels an edge at which a page shows pictures, and their pixels, or else their files.

    Args:
        pictures: each (h, w, 3) uint8 or a JPEG file.
    """
    if any(isinstance(each, bytes) for each in pictures):
        files = tuple(each if isinstance(each, bytes) else as_file(each) for each in pictures)
        return max(map(edge_of, files)), b"", files
    edge = max((max(each.shape[:2]) for each in pictures), default=SIZE)
    return edge, b"".join(resized(each.transpose(2, 0, 1), edge).transpose(1, 2, 0).tobytes() for each in pictures), ()


def _pictures(runs: Sequence[RunFolder], ids: Integers) -> dict[int, tuple[Samples, int]]:
    """Where each image lies: in the samples of the first run that has it, of one that saw it large if there is one."""
    found: dict[int, tuple[Samples, int]] = {}
    samples = [data.samples for data in runs if data.samples is not None]
    for each in sorted(samples, key=lambda one: one.pictures.ndim):  # files, then pixels
        for row in np.flatnonzero(np.isin(each.ids, ids)).tolist():
            found.setdefault(int(each.ids[row]), (each, row))
    return found


def _shares(data: RunFolder, ids: Integers) -> Floats:
    """(N, K) probabilities of the images `ids` (N,) by a run; NaN of one that it does not know."""
    logits = data.predictions.logits
    known = ids < len(logits)
    shares = softmax(logits[np.where(known, ids, 0)])
    return np.where(known[:, None], shares, np.nan)


def _confidence(tables: Sequence[Floats], true: Integers) -> Floats:
    """(N,) the largest probability that a run gave to a wrong class; -1 where none is wrong."""
    most = np.full(len(true), -1.0)
    for rows in tables:
        wrong = ~np.isnan(rows[:, 0]) & (rows.argmax(axis=1) != true)
        most = np.maximum(most, np.where(wrong, rows.max(axis=1), -1.0))
    return most


def _said(rows: Floats, known: Booleans, true: Integers) -> Said:
    """What a run with these probabilities (N, K) says of images, as far as it knows them."""
    every = np.arange(len(true))
    predicted, top = rows.argmax(axis=1), np.argsort(-rows, axis=1, kind="stable")[:, :TOP]
    shares = np.take_along_axis(rows, top, axis=1)
    return Said(
        predicted=tuple(np.where(known, predicted, -1).tolist()),
        probability=tuple(np.where(known, rows[every, predicted], 0.0).tolist()),
        true_probability=tuple(np.where(known, rows[every, true], 0.0).tolist()),
        top_classes=tuple(tuple(row) if one else () for row, one in zip(top.tolist(), known, strict=True)),
        top_shares=tuple(tuple(row) if one else () for row, one in zip(shares.tolist(), known, strict=True)),
    )


def cell_maps(cell: Cell, predictions: Predictions, ids: Integers) -> CellMaps:
    """The maps of a cell for the images `ids` (N,), image by image."""
    places = {each: place for place, each in enumerate(ids.tolist())}
    items = np.array([places.get(each, -1) for each in cell.ids.tolist()], dtype=np.int64)
    rows = np.flatnonzero(items >= 0)
    rows = rows[np.argsort(items[rows], kind="stable")]
    images, targets = cell.ids[rows], cell.classes[rows]
    is_predicted, is_true = predictions.predicted[images] == targets, predictions.labels[images] == targets
    both, first, second, asked = (ROLES.index(role) for role in ("both", "predicted", "true", "asked"))
    roles = np.select([is_predicted & is_true, is_predicted, is_true], [both, first, second], asked)
    parts = [quantised(cell.raw[rows[start : start + AT_ONCE]]) for start in range(0, len(rows), AT_ONCE)]
    return CellMaps(
        items=tuple(items[rows].tolist()),
        targets=tuple(targets.tolist()),
        roles=roles.astype(np.uint8).tobytes(),
        statuses=cell.status[rows].astype(np.uint8).tobytes(),
        low=tuple(each for low, _, _ in parts for each in low.tolist()),
        high=tuple(each for _, high, _ in parts for each in high.tolist()),
        levels=b"".join(levels.tobytes() for _, _, levels in parts),
    )


def quantised(raw: np.ndarray[Any, Any]) -> tuple[Floats, Floats, Integers]:
    """Raw maps (M, h, w) as their smallest and largest finite values (M,), and 256 levels (M, h, w) between these."""
    values = raw.astype(np.float64)
    finite = np.isfinite(values)
    some = finite.any(axis=(1, 2))
    low = np.where(some, np.where(finite, values, np.inf).min(axis=(1, 2)), 0.0)
    high = np.where(some, np.where(finite, values, -np.inf).max(axis=(1, 2)), 0.0)
    ends, span = low[:, None, None], (high - low)[:, None, None]
    whole = np.where(finite, values, np.where(values == np.inf, high[:, None, None], ends))
    shares = np.divide(whole - ends, span, out=np.zeros_like(whole), where=span > 0)
    return low, high, np.rint(shares * 255).astype(np.uint8)


def picture_map(
    raw: np.ndarray[Any, Any], explainer: str, layer: str, target: str, *, finished: bool, status: Status
) -> PictureMap:
    """One raw map (h, w) by itself, as a page carries it."""
    (low,), (high,), levels = quantised(raw[None])
    height, width = raw.shape
    return PictureMap(
        explainer, layer, target, finished, height, width, float(low), float(high), levels.tobytes(), status
    )
