"""bench judge as a user meets it: what is judged, what is printed, what is kept, how it ends."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import SHORT, call, done
from pydantic import TypeAdapter
from run_factory import make_record
from tiny import RESIDUAL_FILE, tiny_data, write_images

from bench.cli.tables import sentence, shared_rows, size
from bench.pages.write import page_of
from bench.schema.verdicts import VERDICTS_SCHEMA, Judgement, Step, Verdict, why
from bench.store.folder import RunFolder
from bench.store.paths import CHECKPOINT, cell_path, verdicts_path
from bench.store.rows import read_cell, write_cell
from bench.store.runs import read_record
from bench.workspace import Workspace

WRONG_FILE = f"{Path(__file__).parent / 'wrong_cams.py'}:WITH_RELU"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run with cells of gradcam at two layers and of captum_shipped at one."""
    data = write_images(tmp_path_factory.mktemp("pictures"), tiny_data(train=16, test=6))
    runs = tmp_path_factory.mktemp("runs")
    for words in (
        ("train", "--model", RESIDUAL_FILE, "--data", str(data), "--run", "one", *SHORT),
        ("explain", "--explainer", "gradcam", "--which", "all", "--limit", "6"),
        ("explain", "--explainer", "captum_shipped", "--layer", "layer3", "--which", "all", "--limit", "4"),
    ):
        done(*words, runs=runs)
    return runs


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def rows(found: dict) -> set[tuple[str, str]]:
    return {(one["explainer"].rpartition(":")[2], one["layer"]) for one in found["verdicts"]}


def test_without_options_every_cell_of_the_run_is_judged_on_images_that_all_have(runs: Path) -> None:
    found = json.loads(done("judge", "--json", runs=runs).stdout)
    assert next(iter(found)) == "schema" and rows(found) == {
        ("gradcam", "layer3"),
        ("gradcam", "layer4"),
        ("captum_shipped", "layer3"),
    }
    shared = [read_cell(cell_path(runs / "one", name, "layer3")).ids for name in ("gradcam", "captum_shipped")]
    assert set(found["ids"]) == set(shared[0].tolist()) & set(shared[1].tolist())
    assert all(one["images"] == 4 for one in found["verdicts"])


def test_limit_explainer_and_layer_choose_what_is_judged(runs: Path) -> None:
    for words, expected in (
        (("--explainer", "captum", "--layer", "layer4", "--limit", "2"), {("captum", "layer4")}),
        (("--explainer", "captum_shipped", "--limit", "2"), {("captum_shipped", "layer3")}),
        (("--layer", "layer4", "--limit", "2"), {("gradcam", "layer4"), ("captum_shipped", "layer4")}),
    ):
        found = json.loads(done("judge", "one", *words, "--json", runs=runs).stdout)
        assert (rows(found), len(found["ids"])) == (expected, 2)


def test_a_run_without_cells_is_judged_where_explainers_are_named_and_else_says_what_to_type(runs: Path) -> None:
    shutil.rmtree(runs / "one" / "explain")
    result = call("judge", runs=runs)
    assert result.exit_code == 2 and f"bench explain one --runs-dir {runs}" in result.stderr
    found = json.loads(call("judge", "--explainer", "captum", "--limit", "1", "--json", runs=runs).stdout)
    assert rows(found) == {("captum", "layer3"), ("captum", "layer4")}


def test_what_is_wrong_is_told_in_a_sentence_and_ends_with_3_only_where_asked(runs: Path) -> None:
    words = ("judge", "--explainer", WRONG_FILE, "--layer", "layer3", "--limit", "2")
    *_, told, path = done(*words, runs=runs).stdout.splitlines()
    assert told.startswith("wrong_cams.py:WITH_RELU at layer3 is wrong: ReLU was applied to the raw map. Instead: give")
    assert told.endswith(f"Try: bench explain one --explainer reference --layer layer3 --runs-dir {runs}")
    assert Path(path) == verdicts_path(runs / "one").resolve()
    strict = call(*words, "--strict", runs=runs)
    assert strict.exit_code == 3 and "1 of 1 are wrong or failed" in strict.stderr
    done("judge", "--explainer", "gradcam", "--layer", "layer3", "--limit", "1", "--strict", runs=runs)


def test_verdicts_are_kept_beside_those_of_other_calls_and_fit_their_schema(runs: Path) -> None:
    call("judge", "--explainer", "gradcam", "--layer", "layer3", "--limit", "1", runs=runs)
    call("judge", "--explainer", "captum", "--layer", "layer3", "--limit", "1", runs=runs)
    kept = json.loads(verdicts_path(runs / "one").read_text())
    assert rows(kept) == {("gradcam", "layer3"), ("captum", "layer3")}
    assert kept["checkpoint"] == read_record(runs / "one").artefacts["checkpoint.safetensors"]
    assert "torch" in kept["versions"]
    TypeAdapter(Judgement).validate_python(kept)
    assert "Judgement" in call("schema", "judge", runs=runs).stdout


def test_the_page_of_the_run_shows_the_verdicts_of_its_cells_until_they_are_made_anew(runs: Path) -> None:
    call("judge", "--limit", "1", runs=runs)
    page = page_of(RunFolder(runs / "one"), Workspace(runs=runs))
    cells = {("gradcam", "layer3"), ("gradcam", "layer4"), ("captum_shipped", "layer3")}
    assert {(one.verdict.explainer, one.verdict.layer) for one in page.verdicts} == cells
    assert 'id="verdicts"' in (runs / "one" / "report.html").read_text()
    cell = read_cell(cell_path(runs / "one", "gradcam", "layer3"))
    write_cell(cell_path(runs / "one", "gradcam", "layer3"), replace(cell, revision=cell.revision + 1))
    page = page_of(RunFolder(runs / "one"), Workspace(runs=runs))
    assert {(one.verdict.explainer, one.verdict.layer) for one in page.verdicts} == cells - {("gradcam", "layer3")}


def test_a_cell_of_an_explainer_that_is_gone_is_warned_of_and_left_out(runs: Path) -> None:
    cell = read_cell(cell_path(runs / "one", "gradcam", "layer3"))
    write_cell(cell_path(runs / "one", "vanished", "layer3"), replace(cell, explainer="vanished"))
    result = call("judge", "--limit", "1", "--json", runs=runs)
    assert "'vanished' cannot be judged: no explainer named 'vanished'" in result.stderr
    assert "vanished" not in {name for name, _ in rows(json.loads(result.stdout))}


# --- the file -----------------------------------------------------------------------------------------------


def judgement(*verdicts: Verdict, checkpoint: str = "c", torch: str = "2") -> Judgement:
    return Judgement(VERDICTS_SCHEMA, "one", checkpoint, "now", "CPU", {"torch": torch}, (1,), verdicts)


def kept(folder: Path, checkpoint: str) -> Judgement | None:
    return RunFolder(folder).seen_as(record=make_record("one", artefacts={CHECKPOINT: checkpoint})).judgement


OLD, NEW = Verdict("a", "x", 1, "wrong"), Verdict("b", "x", 1, "same")


def test_verdicts_of_other_weights_or_versions_do_not_stand_beside_new_ones(tmp_path: Path) -> None:
    better = replace(OLD, verdict="same")  # judged again it is replaced
    for new, expected in (
        (judgement(better), (better,)),
        (judgement(OLD), (OLD,)),
        (judgement(NEW), (OLD, NEW)),
        (judgement(NEW, torch="3"), (NEW,)),
        (judgement(OLD, checkpoint="d", torch="3"), (OLD,)),
    ):
        assert RunFolder(tmp_path).add_verdicts(new).verdicts == expected
    assert kept(tmp_path, "c") is None and kept(tmp_path, "d") is not None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "run": 3}'])
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    verdicts_path(tmp_path).parent.mkdir()
    verdicts_path(tmp_path).write_text(text)
    assert kept(tmp_path, "c") is None and RunFolder(tmp_path).add_verdicts(judgement(NEW)).verdicts == (NEW,)


# --- words --------------------------------------------------------------------------------------------------


def test_why_names_steps_with_their_sizes_and_leaves_out_those_without_effect() -> None:
    steps = (Step("nearest value", 0.47), Step("ReLU after resizing", 0.0))
    assert why(Verdict("a", "x", 1, "other recipe", steps=steps)) == "nearest value (0.47)"
    wrong = Verdict("a", "x", 1, "wrong", words="overwritten", steps=steps)
    assert why(wrong) == "overwritten. Its recipe besides: nearest value (0.47)"
    assert why(Verdict("a", "x", 1, "same", equal_to=("b", "c"))) == "bit for bit as b, c"


def test_methods_that_equal_grad_cam_for_one_reason_share_a_row_with_the_largest_figures() -> None:
    one = Verdict("hirescam", "x", 1, "another method", words="equal", difference=1e-16, moved=3e-6)
    two = Verdict("xgradcam", "x", 1, "another method", words="equal", difference=1e-8, moved=2e-6)
    alone = Verdict("xgradcam", "y", 1, "another method", words="equal")
    (names, row), (_, other) = shared_rows([one, alone, two])
    assert (names, row.difference, row.moved, other) == ("hirescam = xgradcam", 1e-8, 3e-6, alone)


def test_a_failure_is_told_with_its_reason() -> None:
    failed = Verdict("a", "x", 1, "failed", words="ValueError: no", instead="another layer")
    assert sentence(failed, "one", Path("runs")) == "a at x failed: ValueError: no. Instead: another layer."


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "0"), (0.912, "0.91"), (1.3e-16, "1.3e-16"), (2.0, "2")]
)
def test_sizes_have_two_digits(value: float | None, text: str) -> None:
    assert size(value) == text
