"""Pages on disk: which form, which files, what an earlier page leaves, how many images."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gallery_items import items_of
from listening import Listener
from page_factory import make_page, render_page
from pydantic import TypeAdapter
from run_factory import make_cell, make_request, make_run, make_samples

from bench.evaluation import calibration_bins, calibration_error, calibration_floor, softmax
from bench.pages.provenance import differences, provenance
from bench.pages.write import page_of, write_page, write_run_page
from bench.reports import render
from bench.schema.page import CalibrationBin, Page
from bench.schema.run import Code
from bench.store.folder import RunFolder
from bench.store.predictions import read_predictions
from bench.store.runs import read_record
from bench.store.timings import Passed, noted, read_timings, timings_of, write_timing
from bench.workspace import Workspace

LABELS, PREDICTED = (0, 0, 1, 1, 2, 2), (0, 1, 1, 0, 2, 0)  # ids 1, 3 and 5 are wrong


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    runs = tmp_path / "runs"
    runs.mkdir()
    cells = [make_cell([(1, 0), (1, 1), (3, 0), (3, 1), (5, 0), (5, 2)])]
    samples = make_samples([1, 3, 5], labels=[0, 1, 2])
    make_run(runs, "one", labels=LABELS, predicted=PREDICTED, cells=cells, samples=samples)
    return Workspace(runs=runs, progress=Listener())


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_run_has_one_page_whichever_form_it_had_before(place: Workspace) -> None:
    folder = place.runs / "one"
    before = files_of(folder)
    for _ in range(2):
        assert write_run_page(RunFolder(folder), place, form="folder") == folder / "report" / "index.html"
        assert not (folder / "report.html").exists()
        assert write_run_page(RunFolder(folder), place) == folder / "report.html"
        assert files_of(folder) - before == {"report.html", "page.json"}


@pytest.mark.parametrize("form", ["single", "folder"])
def test_the_twin_of_a_run_page_lies_in_its_folder_and_holds_every_image(form: str, place: Workspace) -> None:
    write_run_page(RunFolder(place.runs / "one"), place, form=form)
    path = place.runs / "one" / "page.json"
    told = TypeAdapter(Page).validate_json(path.read_bytes())
    page = page_of(RunFolder(place.runs / "one"), place)
    assert json.loads(path.read_text()) == json.loads(render.page_json(page))
    assert (told.gallery.ids, told.kind, told.runs[0].run) == (page.gallery.ids, "run", "one")


def test_what_is_not_ours_in_the_folder_of_a_page_stays(tmp_path: Path) -> None:
    own = {"style.css": b"body {}", "data-mine.js": b"1", "index.html": b"<p>mine</p>"}
    for name, content in own.items():
        (tmp_path / name).write_bytes(content)
    write_page(make_page(images=1), tmp_path / "other.html", workspace=Workspace(progress=Listener()))
    assert {name: (tmp_path / name).read_bytes() for name in own} == own


def test_a_smaller_folder_leaves_no_part_of_a_larger_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.reports.payload.SHARD", 2)
    place = Workspace(progress=Listener())
    for images, parts in ((5, 3), (3, 2)):
        write_page(make_page(images=images), tmp_path / "index.html", form="folder", workspace=place)
        assert [len(list(tmp_path.glob(names))) for names in ("data-*.js", "images/sheet-*.webp")] == [parts, parts]


def test_why_a_page_became_a_folder_is_said(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "LARGEST", 10_000)
    assert write_run_page(RunFolder(place.runs / "one"), place).name == "index.html"
    told = place.progress.said[-1]
    assert "a folder, since one file would be" in told and "--single-file" in told


def test_fewer_images_are_the_first_of_the_fixed_order_and_the_tables_stay(place: Workspace) -> None:
    whole, two = (page_of(RunFolder(place.runs / "one"), place, max_images=most) for most in (None, 2))
    assert (len(whole.gallery.ids), two.shown, two.wanted, whole.wanted) == (3, 2, 3, 3)
    assert {item.id for item in items_of(two)} < {item.id for item in items_of(whole)} and two.cells == whole.cells
    assert two.runs == whole.runs and "2 of 3 images" in render_page(two)


# --- what a page shows beside its tables -------------------------------------------------------------------


def binned(probabilities: np.ndarray, labels: np.ndarray, **options: int) -> tuple[CalibrationBin, ...]:
    return calibration_bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, **options)


def test_calibration_bins_are_those_counted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.normal(scale=2, size=(500, 4)))
    labels = rng.integers(0, 4, 500)
    found = binned(probabilities, labels, bins=7)
    rows = [(max(row), row.index(max(row)) == label) for row, label in zip(probabilities.tolist(), labels, strict=True)]
    slow = [[(p, right) for p, right in rows if low < 7 * p <= low + 1 + 1e-14] for low in range(7)]
    expected = [each for each in slow if each]
    assert [(one.total, one.correct) for one in found] == [(len(e), sum(right for _, right in e)) for e in expected]
    assert [one.confidence for one in found] == pytest.approx([sum(p for p, _ in e) / len(e) for e in expected])
    error = sum(abs(sum(right for _, right in e) - sum(p for p, _ in e)) for e in expected) / 500
    assert calibration_error(found) == pytest.approx(error)


def test_a_confidence_at_the_upper_end_of_a_range_belongs_to_it() -> None:
    ends = np.arange(5, 16) / 15  # below a third no class of four is the likeliest with 2 / 9 for the others
    confidence = np.concatenate([ends - 1e-9, ends])
    rest = (1 - confidence) / 3
    found = binned(np.stack([confidence, rest, rest, rest], axis=1), np.zeros(22, int))
    assert [one.total for one in found] == [2] * 11 and [one.confidence for one in found] == pytest.approx(ends)


def test_a_model_that_is_right_as_often_as_it_says_has_no_calibration_error() -> None:
    probabilities = np.tile([0.75, 0.25], (4, 1))
    assert calibration_error(binned(probabilities, np.array([0, 0, 0, 1]))) == pytest.approx(0)
    assert calibration_error(()) is None


@pytest.mark.parametrize("count", [100, 360, 3000])
def test_the_floor_of_the_calibration_error_is_what_calibrated_models_show(count: int) -> None:
    """Labels drawn from the model's own probabilities, over and over: its error is then chance alone."""
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.normal(scale=3, size=(count, 10)))
    edges = probabilities.cumsum(axis=1)
    drawn = [(rng.random((count, 1)) > edges).sum(axis=1).clip(max=9) for _ in range(300)]
    slow = np.mean([calibration_error(binned(probabilities, labels)) for labels in drawn])
    assert calibration_floor(binned(probabilities, drawn[0])) == pytest.approx(slow, rel=0.05)


def test_a_floor_needs_images_and_certainty_has_none() -> None:
    sure = CalibrationBin(8, 8, 1.0, 0.7, 1.0)
    assert (calibration_floor(()), calibration_floor((sure,))) == (None, 0.0)
    assert calibration_floor((CalibrationBin(2, 1, 0.5, 0.0, 1.0),)) == pytest.approx(
        0.25
    )  # 1 of 2, or off by 1 half the time


def test_a_confidence_that_rounds_to_more_than_1_is_in_the_last_range() -> None:
    (found,) = binned(np.array([[1 + 2.0**-52, 0.0]]), np.array([0]))
    (same,) = binned(np.array([[1 + 2.0**-52, 0.0], [0.99, 0.01]]), np.array([0, 0]))
    assert (found.total, same.total) == (1, 2)


def test_the_floor_stands_beside_the_calibration_error(place: Workspace) -> None:
    page = page_of(RunFolder(place.runs / "one"), place, max_images=None)
    (run,) = page.runs
    assert run.calibration_floor == calibration_floor(run.calibration) is not None
    assert f"would show {100 * run.calibration_floor:.2f}" in render_page(page)


def test_timings_are_those_the_cells_name_in_the_order_they_were_taken(place: Workspace) -> None:
    folder = place.runs / "one"
    work = Passed("explain", "one", 64, 64.0, [(64, 2.0), (64, 1.0), (32, 0.5), (1, 0)], "captum", ("layer4",))
    timing = noted("explain", [work], {}, image_size=32, device=torch.device("cpu"), workspace=place)
    for name in ("T1", "T2"):
        write_timing(folder, dataclasses.replace(timing, id=name))
    (folder / "timing" / "T3.json").write_text("{")
    found = timings_of(0, read_timings(folder), (), {"T1", "T3"})
    assert [(one.what, one.each, one.values) for one in found] == [("captum at layer4", "batch", (32.0, 64.0, 64.0))]


def test_what_runs_were_made_with_differently_is_named_and_nothing_else(place: Workspace) -> None:
    record = read_record(place.runs / "one")
    environment = dataclasses.replace(record.environment, versions={"torch": "3.0"}, code=Code("ab", dirty=True))
    other = dataclasses.replace(record, request=make_request(seed=7), environment=environment)
    assert differences([record, record]) == ()
    assert {(one.group, one.name): one.values for one in differences([record, other])} == {
        ("setting", "seed"): ("0", "7"),
        ("version", "torch"): ("2.0", "3.0"),
        ("machine", "code"): ("no git checkout known", "commit ab, with changes of its own"),
    }


def test_what_an_earlier_version_did_not_note_of_a_machine_is_no_difference(place: Workspace) -> None:
    record = read_record(place.runs / "one")
    facts = {"capability": "8.0", "gpu_memory": "40.0 GB", "driver": "580.65", "cuda": "13.0", "cudnn": "9.24.0"}
    tf32 = dataclasses.replace(record.environment, **facts, flags={"fp32 convolution": "tf32"})
    new, ieee = (
        dataclasses.replace(record, environment=dataclasses.replace(tf32, flags={"fp32 convolution": kind}))
        for kind in ("tf32", "ieee")
    )
    assert differences([record, new]) == ()
    (found,) = differences([new, ieee])
    assert (found.group, found.name, found.values) == ("machine", "fp32 convolution", ("tf32", "ieee"))
    machine = dict(provenance(new)[1])["machine"]
    gpu = "capability 8.0, 40.0 GB, driver 580.65, CUDA 13.0, cuDNN 9.24.0"
    assert machine == f"some CPU, {gpu}, Linux, fp32 convolution tf32"


def test_probabilities_of_a_page_are_the_largest_first_and_those_of_the_run(place: Workspace) -> None:
    expected = softmax(read_predictions(place.runs / "one").logits)
    for item in items_of(page_of(RunFolder(place.runs / "one"), place)):
        said, shares = item.predictions[0], dict(enumerate(expected[item.id].tolist()))
        assert said.top[0] == (said.predicted, said.probability) and dict(said.top) == shares
        assert [share for _, share in said.top] == sorted(shares.values(), reverse=True)
