"""Run folders of schema 1 are read, reported, compared and resumed, and no row of theirs is computed again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from old_runs import STORED, content, copied

from bench import api
from bench.store.files import read_lines, read_npz
from bench.store.paths import LOG, answers_path, cell_files, cell_path, predictions_path, resume_files
from bench.store.rows import read_cell
from bench.store.runs import read_record
from bench.store.timings import read_timings
from bench.workspace import Workspace

# Fields of pages that are newer than the stored one.
SINCE = {"bad", "complete", "skipped", "level", "calibration_floor", "swept", "dropped", "one_sided", "zeros"}
SINCE |= {"confused"}
ROWS = {("gradcam", "layer3"): 24, ("gradcam", "layer4"): 24, ("captum", "layer3"): 24, ("captum", "layer4"): 24}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return copied(tmp_path, monkeypatch)


@pytest.mark.parametrize(("name", "seed"), [("old", 0), ("other", 1), ("unfinished", 2)])
def test_an_old_record_says_what_was_asked_for_and_how_it_went(place: Workspace, name: str, seed: int) -> None:
    record, stored = read_record(place.runs / name), json.loads((STORED / name / "run.json").read_text())
    assert (stored["schema"], record.name, record.model, record.status) == (1, name, "tiny", stored["status"])
    assert record.settings["seed"] == seed and record.settings["lr"] == stored["config"]["lr"] == 0.05
    assert (record.results.accuracy, record.artefacts) == (stored["metrics"].get("accuracy"), stored["artefacts"])


def test_explaining_an_old_run_again_computes_no_row(place: Workspace) -> None:
    before = content(place.runs / "old", "explain/*/*.npz")
    found = api.explain("old", explainer=["gradcam", "captum"], layer=["layer3", "layer4"], limit=12, workspace=place)
    assert {(cell.explainer, cell.layer): cell.rows for cell in found.cells} == ROWS
    assert [cell.computed for cell in found.cells] == [0, 0, 0, 0]
    assert content(place.runs / "old", "explain/*/*.npz") == before and place.progress.tracked == {}


def test_more_images_of_an_old_run_are_added_to_its_rows(place: Workspace) -> None:
    found = api.explain("old", explainer="captum", layer="layer4", limit=14, workspace=place)
    assert [(cell.rows, cell.computed) for cell in found.cells] == [(28, 4)]


def test_an_old_run_is_reported_with_everything_that_lies_in_its_folder(place: Workspace) -> None:
    (page,) = api.report("old", workspace=place)
    twin = json.loads((place.runs / "old" / "page.json").read_text())
    stored = json.loads((STORED / "old" / "page.json").read_text())
    same = ("title", "classes", "runs", "agreements", "verdicts")
    assert {part: as_then(twin[part]) for part in same} == {part: stored[part] for part in same}
    told, then = as_then(twin["findings"]), stored["findings"]  # scored and timed after its page was made
    newer = [
        (one["before"], one["link"]) for one in told if one not in then and one["anchor"] not in ("speed", "trust")
    ]
    assert newer == [
        ("One of the weakest classes on these images is ", "0"),  # whose interval is for the lowest of ten
        ("", "No explainer computes another map than it claims"),  # which was said in other words
    ]
    assert [timing["id"] for timing in twin["speeds"]] == ["20261126T004159755382Z"]
    assert [cell["rows"] for cell in twin["cells"]] == [24] * 5
    assert [score["explainer"] for score in twin["scores"]] == ["gradcam", "random", "centre"]
    assert page.read_text().count("<html") == 1


def as_then(value: Any) -> Any:
    """What a page holds, without what pages did not say then."""
    if isinstance(value, list):
        return [as_then(each) for each in value]
    if isinstance(value, dict):
        return {name: as_then(each) for name, each in value.items() if name not in SINCE}
    return value


def rows_of(run: Path) -> dict[str, dict[tuple[int, int], bytes]]:
    """The maps of every cell by test id and class."""
    cells = {str(path.relative_to(run)): read_cell(path) for path in cell_files(run)}
    return {
        name: {(int(cell.ids[row]), int(cell.classes[row])): cell.raw[row].tobytes() for row in range(len(cell.ids))}
        for name, cell in cells.items()
    }


def test_old_runs_are_compared_and_only_rows_that_they_lack_are_computed(place: Workspace) -> None:
    asked = {"explainer": ["gradcam", "captum"], "limit": 4, "workspace": place}
    filled = {**asked, "no_time": True}
    lacking = api.compare("old", "other", compute=False, **asked).values
    before = {name: rows_of(place.runs / name) for name in ("old", "other")}
    found = api.compare("old", "other", **filled).values
    assert sum(cell.missing for cell in lacking.cells) > 0
    assert [cell.missing for cell in found.cells if cell.layer != "input"] == [0] * 8
    for name, cells in before.items():
        after = rows_of(place.runs / name)
        assert all(rows.items() <= after[cell].items() for cell, rows in cells.items())
    grown = [one.rows - other.rows for one, other in zip(found.cells, lacking.cells, strict=True)]
    assert grown == [0 if cell.layer == "input" else cell.missing for cell in lacking.cells]
    made = place.progress.advanced
    api.compare("old", "other", **filled)
    assert place.progress.advanced == made > 0


def test_what_explaining_noted_in_a_form_of_its_own_is_a_timing_like_any_other(place: Workspace) -> None:
    (timing,) = read_timings(place.runs / "other")
    (path,) = (STORED / "other" / "timing").iterdir()
    rows = json.loads(path.read_text())["rows"]
    assert (timing.what, timing.id, timing.rounds) == ("explain", path.stem, 0)
    assert [(arm.explainer, list(arm.layers), arm.targets, arm.batch_size, arm.rate) for arm in timing.arms] == [
        (row["explainer"], row["layers"], row["targets"], row["batch_size"], row["images_per_second"]) for row in rows
    ]
    laps = [
        [[one.images, each] for one in timing.samples if one.arm == arm.name for each in one.seconds]
        for arm in timing.arms
    ]
    assert laps == [row["samples"] for row in rows]


def test_an_old_timing_of_arms_in_turns_keeps_every_figure(place: Workspace) -> None:
    (timing,) = read_timings(place.runs / "old")
    (path,) = (STORED / "old" / "timing").iterdir()
    stored = json.loads(path.read_text())
    assert [(arm.name, arm.rate, arm.layer) for arm in timing.arms] == [
        (arm["name"], arm["rate"], arm["layer"]) for arm in stored["arms"]
    ]
    assert len(timing.samples) == len(stored["samples"])


def test_the_rates_that_the_page_of_an_old_run_shows_are_those_of_before(place: Workspace) -> None:
    api.report("other", workspace=place)
    twin, stored = (json.loads((runs / "other" / "page.json").read_text()) for runs in (place.runs, STORED))
    assert (len(stored["timings"]), twin["timings"]) == (4, stored["timings"])
    shown = ("explainer", "layer", "ms_per_image", "layers_per_call", "targets_per_call")
    now, then = ([[cell[name] for name in shown] for cell in page["cells"]] for page in (twin, stored))
    assert now == then[: len(now)] and len(now) == 4  # the fifth cell of that page is not among the files


def test_old_scores_need_no_map_and_no_old_answer_is_asked_for_again(place: Workspace) -> None:
    path = answers_path(place.runs / "old", (8, 8))
    before = read_npz(path, ("ids", "sets", "logits"))
    asked = {"explainer": "gradcam", "layer": "layer4", "limit": 6, "sanity": 0, "device": "cpu"}
    found = api.faithfulness("old", workspace=place, **asked)
    after = read_npz(path, ("ids", "sets", "logits"))
    assert found.cost.explanations == 0
    # By the mean colour only what orders need that older versions did not know.
    assert place.progress.tracked["cover 8x8"] == len(after["ids"]) - len(before["ids"]) < len(before["ids"])
    places = {key: n for n, key in enumerate(zip(after["ids"].tolist(), after["sets"].tolist(), strict=True))}
    kept = [places[key] for key in zip(before["ids"].tolist(), before["sets"].tolist(), strict=True)]
    assert np.array_equal(after["logits"][kept], before["logits"])


def test_an_unfinished_old_run_is_resumed_to_its_end(place: Workspace) -> None:
    assert len(resume_files(place.runs / "unfinished")) == 2
    folder = api.train(resume="unfinished", workspace=place)
    record = read_record(folder)
    assert (record.status, record.results.resumed) == ("done", 1) and not resume_files(folder)
    lines, stored = (read_lines(run / LOG) for run in (folder, STORED / "unfinished"))
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4] and lines[: len(stored)] == stored
    assert json.loads((folder / "run.json").read_text())["schema"] > 1 and predictions_path(folder).is_file()
    (timing,) = read_timings(folder)
    assert (timing.what, timing.arms[0].what, timing.arms[0].n) == ("train", "train", 4)
    assert [(one.round, one.images, len(one.seconds)) for one in timing.samples] == [(0, 352, 1), (1, 352, 3)]
    assert timing.arms[0].rate == record.results.train_images_per_second
    found = api.explain("unfinished", explainer="gradcam", layer="layer4", limit=2, workspace=place)
    assert found.cells[0].computed == 4 and cell_path(folder, "gradcam", "layer4").is_file()
