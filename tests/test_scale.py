"""Ten times the data and a thousand classes: pages stay as small, and so does the memory that they take."""

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from run_factory import make_cell, make_run, make_samples

from bench.cli.tables import run_lines
from bench.pages.build import balanced, comparison_page, run_page, wrong_in_any
from bench.reports.render import page_json, render_files
from bench.schema.page import MOST_CLASSES, MOST_CONFUSED
from bench.schema.run import DataFacts
from bench.store.files import write_npz
from bench.store.folder import RunFolder, read_run
from bench.store.on_disk import OnDisk
from bench.store.paths import PREDICTIONS
from bench.store.predictions import fixed_order

NOW = "2026-11-21T03:00:00+00:00"
CELLS, GRID = 3, (16, 16)


def test_a_sample_for_the_gallery_has_as_many_images_of_each_class_as_there_are() -> None:
    labels = np.repeat([0, 1, 2], [50, 5, 20])
    ids = fixed_order(labels)
    found = balanced(ids, labels, 25)
    assert np.bincount(labels[found]).tolist() == [10, 5, 10]
    assert found.tolist() == [each for each in ids.tolist() if each in set(found.tolist())], "not in their order"
    assert set(balanced(ids, labels, 12).tolist()) < set(found.tolist()), "samples do not nest"
    assert balanced(ids, labels, None) is ids and balanced(ids, labels, 75) is ids


# --- a thousand classes --------------------------------------------------------------------------------------


def run_of_many_classes(runs: Path, name: str, seed: int, classes: int = 1000) -> RunFolder:
    """Three in ten images of each class are taken for one of the next two."""
    labels, random = np.arange(4 * classes) % classes, np.random.default_rng(seed)
    by = random.choice([0, 1, 2], len(labels), p=[0.7, 0.2, 0.1])
    logits = np.zeros((len(labels), classes), np.float32)
    logits[np.arange(len(labels)), (labels + by) % classes] = 1
    facts = DataFacts(name="many", digest="d", classes=tuple(f"class {each}" for each in range(classes)))
    folder = make_run(runs, name, labels=[0], predicted=[0], data=facts)
    write_npz(folder / PREDICTIONS, {"ids": np.arange(len(labels)), "labels": labels, "logits": logits})
    return read_run(folder)


def test_pages_of_a_thousand_classes_hold_the_largest_confusions_and_no_matrix(tmp_path: Path) -> None:
    runs = [run_of_many_classes(tmp_path, name, seed) for seed, name in enumerate(("one", "two"))]
    whole = comparison_page(runs, wrong_in_any(runs, None), created=NOW)
    alone, known = run_page(runs[0], created=NOW), runs[0].predictions
    errors = zip(known.labels.tolist(), known.predicted.tolist(), strict=True)
    slow = [(*pair, often) for pair, often in Counter(pair for pair in errors if len(set(pair)) == 2).items()]
    slow.sort(key=lambda one: (-one[2], one[:2]))
    for view in (whole.runs[0], alone.runs[0]):
        assert view.confusion == () and list(view.confused) == slow[:MOST_CONFUSED] and len(view.per_class) == 1000
    assert len(whole.class_changes) == 1000 and len(whole.confusion_changes) == 8
    assert max(len(one.text) + len(one.evidence) for one in (*alone.findings, *whole.findings)) < 400
    table, *_ = run_lines(runs[0].path)
    assert len(table.rows) == MOST_CLASSES and table.title.startswith(f"{MOST_CLASSES} weakest of 1,000 classes")
    for page in (whole, alone):
        assert len(page_json(page)) < 1_000_000 and len(render_files(page).files) == 1


# --- ten times the rows --------------------------------------------------------------------------------------


def run_of_many_rows(runs: Path, images: int) -> RunFolder:
    """Every second image is wrong and has the maps of both its classes in each cell."""
    labels = np.arange(images) % 3
    predicted = np.where(np.arange(images) % 2, labels, (labels + 1) % 3)
    rows = [(each, of) for each in range(0, images, 2) for of in sorted((each % 3, (each % 3 + 1) % 3))]
    noise = np.random.default_rng(0).normal(size=(len(rows), *GRID)).astype(np.float32)
    cells = [make_cell(rows, explainer=f"e{each}", raw=noise + np.float32(each)) for each in range(CELLS)]
    samples = make_samples(list(range(0, images, 2)), labels=labels[::2].tolist())
    return RunFolder(
        make_run(runs, "many", labels=labels.tolist(), predicted=predicted.tolist(), cells=cells, samples=samples)
    )


def bytes_beyond_the_data(data: RunFolder) -> int:
    """What making the run's page takes at most, beyond its predictions, its pictures and the keys of its rows."""
    tracemalloc.start()
    page = run_page(read_run(data.path), created=NOW, max_images=50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(page.gallery.ids) == 50 and [cell.missing for cell in page.cells] == [0] * CELLS
    known, samples = data.predictions, data.samples
    assert samples is not None
    arrays = [each for of in (known, samples) for each in vars(of).values() if isinstance(each, np.ndarray)]
    keys = CELLS * page.cells[0].rows * (8 + 8 + 1)
    return peak - keys - sum(each.nbytes for each in arrays)


def test_a_page_of_ten_times_the_rows_takes_hardly_more_memory_beyond_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.store.on_disk.WHOLE", 0)
    monkeypatch.setattr("bench.store.files.WHOLE", 0)
    monkeypatch.setattr("bench.stats.agreement.AT_ONCE", 2**15)
    monkeypatch.setattr("bench.store.on_disk.AT_ONCE", 2**17)
    few, many = (run_of_many_rows(tmp_path / str(images), images) for images in (300, 3000))
    assert all(isinstance(cell.raw, OnDisk) for cell in many.cells)
    run_page(read_run(few.path), created=NOW)  # what is imported counts in neither
    before, after = (bytes_beyond_the_data(RunFolder(run.path)) for run in (few, many))
    assert after <= 1.5 * before, (before, after)
    assert after < many.cells[0].raw[:].nbytes
