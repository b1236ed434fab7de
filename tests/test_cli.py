"""The command line as a user meets it: what is printed where, how it ends, where settings come from."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from command_line import SHORT, call, done, names_in
from pretended import pretended
from tiny import TINY_FILE, tiny_data, write_images

from bench.reports.figures import maps
from bench.request import ExplainRequest
from bench.store.runs import read_record

PLAIN = ("--explainer", "captum", "--layer", "layer4")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set as a folder, one of its classes with a hostile name."""
    names = ("<script>alert(1)<", "two", "three", "four")
    return write_images(tmp_path_factory.mktemp("pictures"), tiny_data(train=16, test=6), names)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """Two trained runs, made by the command line itself. Tests that change a run copy the folder."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, more in (("0", ()), ("1", ("--no-average",))):
        done("train", "--model", TINY_FILE, "--data", str(pictures), "--seed", seed, *SHORT, *more, runs=folder)
    return folder


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs, tmp_path / "runs"))


# --- the main line ------------------------------------------------------------------------------------------


def test_explain_needs_no_further_flags_after_a_training(copy: Path) -> None:
    page = Path(done("explain", "--explainer", "captum", "--layer", "layer3", runs=copy).stdout.splitlines()[-1])
    assert page.is_absolute() and page.is_file() and page.parent.name == (copy / "latest").read_text()


def test_compare_makes_the_missing_rows_prints_the_page_last_and_hostile_names_stay_text(copy: Path) -> None:
    page = Path(done("compare", *names_in(copy), "--no-time", runs=copy).stdout.splitlines()[-1])
    assert page == (copy / "compare" / "1" / "index.html").resolve()
    twin = json.loads((page.parent / "page.json").read_text())
    assert (twin["schema"], [cell["missing"] for cell in twin["cells"]]) == (2, [0] * 8)
    assert all(one["largest"] < 1e-5 for one in twin["agreements"])
    for each in (page, copy / names_in(copy)[0] / "report.html"):
        assert "<script>alert(1)<" not in each.read_text() and "alert(1)" in each.read_text()
    assert "<script>alert(1)<" in call("evaluate", runs=copy).stdout


def test_compare_without_computing_shows_rows_as_missing(copy: Path) -> None:
    first, second = names_in(copy)
    done("explain", "--run", first, *PLAIN, runs=copy)
    result = call("compare", first, second, "--no-compute", "--json", runs=copy)
    twin = json.loads(Path(json.loads(result.stdout)["twin"]).read_text())
    assert {(cell["run"], cell["explainer"]) for cell in twin["cells"]} == {(0, "captum")}
    assert not (copy / second / "explain").exists()


def test_a_page_renders_again_from_the_run_folder_alone(copy: Path, tmp_path: Path) -> None:
    name = names_in(copy)[0]
    done("explain", "--run", name, *PLAIN, runs=copy)
    page = shutil.copytree(copy / name, tmp_path / "elsewhere" / name) / "report.html"
    shutil.rmtree(copy)
    page.unlink()
    done("report", name, runs=tmp_path / "elsewhere", env={"BENCH_CACHE": str(tmp_path / "no-cache")})
    assert page.stat().st_size > 10_000


def test_ids_and_target_choose_the_rows_and_a_second_call_computes_nothing(copy: Path) -> None:
    for computed in (2, 0):
        answer = json.loads(done("explain", "--ids", "3,17", "--target", "true", *PLAIN, "--json", runs=copy).stdout)
        (cell,) = answer["runs"][0]["cells"]
        assert (answer["schema"], cell["computed"], cell["rows"]) == (1, computed, 2)


def test_what_the_same_bits_each_time_cost_is_said_before_training(tmp_path: Path, pictures: Path) -> None:
    words = ("train", "--model", TINY_FILE, "--data", str(pictures), "--dry-run", "--epochs", "1", "--batch-size", "8")
    here = call(*words, "--deterministic", "--device", "cpu", runs=tmp_path)
    assert "deterministic: on a CPU runs are equal anyway" in here.stderr
    with pretended("cuda"):
        there = call(*words, "--deterministic", "--device", "cuda", runs=tmp_path)
        plain = call(*words, "--device", "cuda", runs=tmp_path)
    assert "deterministic: the same bits each time on this GPU. Training is slower" in there.stderr
    assert (there.exit_code, plain.exit_code) == (0, 0) and "deterministic" not in plain.stderr


def test_a_dry_run_says_how_long_and_writes_nothing(copy: Path, pictures: Path) -> None:
    before = sorted(copy.rglob("*"))
    plan = call("train", "--model", TINY_FILE, "--data", str(pictures), "--dry-run", "--epochs", "1", runs=copy,
                env={"BENCH_BATCH_SIZE": "8"})  # fmt: skip
    assert "about" in plan.stderr
    planned = call("explain", "--dry-run", runs=copy)
    assert "about" in planned.stderr and planned.stdout == ""  # no page was written
    assert sorted(copy.rglob("*")) == before


def test_a_gallery_takes_the_explainer_and_layers_that_most_pictures_have_and_has_no_holes(
    copy: Path, tmp_path: Path
) -> None:
    run, figure = names_in(copy)[0], ("--figure", "gallery", "--to", str(tmp_path / "gallery.png"))
    done("explain", run, "--explainer", "captum", "--layer", "layer3", "--limit", "1", runs=copy)
    done("explain", run, "--explainer", "reference", "--layer", "layer4", "--limit", "4", runs=copy)
    with mock.patch("bench.reports.figures.maps.gallery", wraps=maps.gallery) as drawn:
        answer = json.loads(done("export", run, *figure, "--json", runs=copy).stdout)
    page, places, chosen, _ = drawn.call_args.args
    assert [(page.cells[cell].explainer, page.cells[cell].layer) for cell, _ in chosen] == [("reference", "layer4")]
    assert answer["ids"] == [page.gallery.ids[place] for place in places] and len(places) == 4
    assert (tmp_path / "gallery.png").read_bytes().startswith(b"\x89PNG")
    said = done("export", run, *figure, "--layer", "layer3", "--n", "4", runs=copy).stderr
    make = re.search(
        r"1 pictures? drawn, not 4: more have no such maps; bench (explain .*) makes them", " ".join(said.split())
    )
    assert make
    done(*shlex.split(make[1]), runs=copy)
    assert "not 4" not in done("export", run, *figure, "--layer", "layer3", "--n", "4", runs=copy).stderr
    lacking = call("export", run, *figure, "--layer", "layer3,layer4", "--explainer", "reference", runs=copy)
    assert (lacking.exit_code, lacking.stdout) == (2, "") and "try: bench explain" in lacking.stderr


def test_runs_and_explainers_are_drawn_side_by_side(copy: Path, tmp_path: Path) -> None:
    first, second = names_in(copy)
    cells = ("--explainer", "captum,reference", "--layer", "layer4", "--which", "all", "--limit", "6")
    done("explain", first, second, *cells, runs=copy)
    figure = ("--figure", "compare", "--to", str(tmp_path / "f.svg"), "--n", "1")
    found = []
    for runs in ((first, second), (first,)):
        with mock.patch("bench.reports.figures.maps.grid", wraps=maps.grid) as drawn:
            done("export", *runs, *figure, runs=copy)
        page, places, chosen, _ = drawn.call_args.args
        found.append([(page.cells[cell].run, page.cells[cell].explainer) for cell, _ in chosen])
        assert len(places) == 1
    assert found == [[(0, "captum"), (1, "captum")], [(0, "captum"), (0, "reference")]]


def test_markdown_can_be_pasted(copy: Path) -> None:
    text = done("show", "run", "latest", "--format", "markdown", runs=copy).stdout
    assert "| two |" in text and "<script>" not in text
    assert "try: bench show run latest --format markdown" in call("show", "run", "latest", "--markdown").stderr


def test_in_a_format_stdout_holds_the_tables_alone_and_their_lines_are_whole(copy: Path) -> None:
    first, second = names_in(copy)
    words = ("compare", first, second, "--no-compute", "--fail-if", f"accuracy[{first}] < 0")
    _, *rows = csv.reader(done(*words, "--format", "csv", runs=copy).stdout.splitlines())
    assert [row[0] for row in rows] == [first, second]
    text = done(*words, "--format", "latex", runs=copy).stdout
    assert text.startswith("% needs") and text.endswith("\\end{table}\n") and text.count("\\begin{tabular}") == 3
    only = done(*words, "--table", "pairs", runs=copy)
    assert only.stdout.startswith("| first | second |") and only.stderr.count("held: not accuracy") == 1
    assert json.loads(done(*words, "--format", "csv", "--json", runs=copy).stdout)["text"].startswith("run,model,")


def test_all_explainers_and_the_newest_run_of_a_model_can_be_asked_for(copy: Path) -> None:
    result = call("explain", "--model", TINY_FILE, "--explainer", "all", "--limit", "3", "--json", runs=copy)
    answer = json.loads(result.stdout)["runs"][0]
    assert (answer["run"], answer["images"]) == ((copy / "latest").read_text(), 3)
    assert {cell["explainer"] for cell in answer["cells"]} >= {"gradcam", "captum"}
    assert call("explain", "--model", "timm_resnet18", runs=copy).exit_code == 4


def test_on_a_cpu_a_long_explanation_is_cut_unless_a_limit_was_given(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.estimates.LONG", 0)
    monkeypatch.setattr("bench.estimates.LONG_LIMIT", 2)
    words = ("explain", "--which", "all", *PLAIN, "--json", "--device", "cpu")
    cut = call(*words, runs=copy)
    assert json.loads(cut.stdout)["runs"][0]["images"] == 2 and "--limit all" in cut.stderr
    assert json.loads(call(*words, "--limit", "all", runs=copy).stdout)["runs"][0]["images"] == 24


def test_paths_typed_in_one_folder_mean_the_same_in_another(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    shutil.copy(TINY_FILE.rpartition(":")[0], pictures.parent / "net.py")
    done("train", "--model", "net.py:TINY", "--data", pictures.name, *SHORT, runs=tmp_path)
    monkeypatch.chdir(tmp_path)
    done("explain", "--limit", "1", *PLAIN, runs=tmp_path)


def test_moved_data_is_found_again_and_other_data_is_refused(copy: Path, pictures: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(pictures, tmp_path / "moved"))
    done("explain", "--data", str(moved), "--limit", "2", *PLAIN, runs=copy)
    other = call("explain", "--data", "digits", "--which", "all", runs=copy)
    assert other.exit_code == 4 and "is not the data" in other.stderr


def test_a_run_without_errors_is_a_result(copy: Path, pictures: Path) -> None:
    words = ("--model", TINY_FILE, "--data", str(pictures), "--run", "perfect", *SHORT, "--epochs", "40")
    done("train", *words, runs=copy)
    assert read_record(copy / "perfect").results.accuracy == 1.0
    assert "no errors to explain" in done("explain", "--run", "perfect", runs=copy).stderr


# --- mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("explain", "--explainer", "captm"), 2, "did you mean 'captum'?"),
        (("explain", "--layer", "layr3"), 2, "did you mean 'layer3'?"),
        (("explain", "--which", "wrng"), 2, "did you mean 'wrong'?"),
        (("explain", "--target", "treu"), 2, "--target treu"),
        (("explain", "--run", "nothing-here"), 4, "no run 'nothing-here'"),
        (("explain", "--run", "../../etc"), 4, "no run"),
        (("explain", "--ids", "3,x"), 2, "'3,x' is neither a list of test ids"),
        (("explain", "--ids", "100000"), 2, "no test image 100000"),
        (("explain", "--limit", "none"), 2, "--limit 'none'"),
        (("train", "--model", "cifar_resnet81"), 2, "did you mean 'cifar_resnet18'?"),
        (("train", "--model", "nowhere.py:NET"), 4, "nowhere.py"),
        (("train", "--data", "digts"), 2, "did you mean 'digits'?"),
        (("train", "--data", "/no/such/folder"), 4, "/no/such/folder"),
        (("train", "--recipe", "curse"), 2, "did you mean 'course'?"),
        (("train", "--optimizer", "sgdd"), 2, "did you mean 'sgd'?"),
        (("train", "--init", "shard"), 2, "did you mean 'shared'?"),
        (("train", "--device", "tpu"), 2, "no device 'tpu'"),
        (("train", "--val", "1.5", "--data", "digits"), 2, "val 1.5"),
        (("train", "--epochs", "0"), 2, "epochs is 0"),
        (("train", "--resume", "latest"), 4, "no unfinished run"),
        (("train", "--resume", "nothing-here"), 4, "no run 'nothing-here'"),
        (("train", "--resume", "latest", "--epochs", "3"), 2, "--epochs cannot be used with --resume"),
        (("evaluate", "--fail-if", "acc < 1"), 2, "acc < 1"),
        (("evaluate", "--no-average", "--fail-if", "accuracy_mirror < 0.5"), 2, "< 0.5' is not measured"),
        (("export", "--figure", "gallery", "--to", "gallery.png"), 2, "try: bench explain"),
        (("export", "--figure", "gallery.png"), 2, "try: bench export --to gallery.png --figure gallery"),
        (("export", "--figure", "galery", "--to", "a.png"), 2, "did you mean 'gallery'?"),
        (("export", "--figure", "curves"), 2, "try: bench export --to curves.png --figure curves"),
        (("export", "--figure", "curves", "--to", "a.gif"), 2, "ends in .png, .pdf or .svg, not 'a.gif'"),
        (("export", "--figure", "curves", "--to", "a.png", "--layer", "layer4"), 2, "--layer means nothing for"),
        (("export", "--to", "."), 2, ". is there and not empty"),
        (("trian",), 2, "did you mean"),
        (("train", "--modle", "x"), 2, "--modle"),
        (("train", "--epochs", "three"), 2, "three"),
        (("list",), 2, "list what?"),
        (("list", "model"), 2, "did you mean 'models'?"),
        (("show", "modle"), 2, "did you mean 'model'?"),
        (("compare", "latest", "latest"), 2, "named twice"),
        (("schema", "pge"), 2, "did you mean 'page'?"),
        (("rm", ".."), 2, "cannot be a run's name"),
        (("explain", "--explainer", ""), 2, "--explainer is empty"),
        (("explain", "--layer", " , "), 2, "--layer is empty"),
        (("train", "--run", ""), 2, "--run is empty"),
    ],
)
def test_a_mistake_is_two_lines_with_the_value_and_the_right_exit_code(
    runs: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    result = call(*words, runs=runs)
    assert (result.exit_code, result.stdout) == (code, ""), result.stderr
    assert says.lower() in result.stderr.lower()
    assert result.stderr.startswith("error:") and "Traceback" not in result.stderr


NOT_THERE = (
    ("train", "--model", "cifar_resnet81"),
    ("train", "--recipe", "corse"),
    ("train", "--data", "no/such"),
    ("explain", "--explainer", "captm"),
    ("explain", "nosuch"),
    ("explain", "--image", "no.png"),
    ("adopt", "--weights", "no.pth"),
    ("time", "--model", "no.py:Net"),
    ("compare", "a", "b"),
    ("lr-find", "--recipe", "no.toml"),
)


def test_what_is_not_there_is_refused_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    code = f"""
import sys
from bench.cli.app import app
for words in {NOT_THERE!r}:
    try:
        app(words)
    except SystemExit as end:
        assert end.code in (2, 4), (words, end.code)
    assert "torch" not in sys.modules, words
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error:") == done.stderr.count("try:") == len(NOT_THERE)


NOISY = """
import os
import torch

class Net(torch.nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        self.head = torch.nn.Linear(4, num_classes)

    def forward(self, images):
        print("of Python")
        os.write(1, b"of the process")
        return self.head(self.body(images).mean((2, 3)))
"""


def test_json_is_one_object_whatever_a_net_prints(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY, encoding="utf-8")
    words = ["list", "layers", "--model", "noisy.py:Net", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert [each["name"] for each in json.loads(done.stdout)["layers"]] == ["body.0", "body.1", "body"]
    assert "of Python" in done.stderr and "of the process" in done.stderr


def test_code_that_ends_the_program_is_an_error_and_no_success(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("def ends(model, layers, images, targets):\n    raise SystemExit(0)\n", "utf-8")
    words = ["explain", "--explainer", f"{tmp_path / 'ends.py'}:ends", "--layer", "layer4", "--limit", "2"]
    ended = call(*words, runs=copy)
    assert ended.exit_code == 1 and "ended the program (SystemExit(0))" in ended.stderr


def test_a_threshold_that_breaks_exits_3(copy: Path) -> None:
    broken = call("evaluate", "--fail-if", "accuracy > 0", runs=copy)
    assert broken.exit_code == 3 and "95 % interval" in broken.stdout
    assert broken.stderr.rstrip().splitlines()[-2].startswith("error: broken: accuracy > 0; accuracy[")


def test_accuracy_is_printed_three_ways_and_each_can_be_a_threshold(copy: Path) -> None:
    limits = [f"--fail-if={name} < 0" for name in ("accuracy", "accuracy_mirror", "accuracy_shifts")]
    lines = done("evaluate", *limits, runs=copy).stdout.splitlines()
    line = next(each for each in lines if "95 % interval" in each and "accuracy" in each)
    assert [part.rsplit(" ", 2)[0] for part in line.split("; ")[1:]] == [
        "mirror average",
        "mirror and shifts",
    ]
    broken = call("evaluate", "--json", "--fail-if", "accuracy_shifts > 0", runs=copy)
    assert broken.exit_code == 3 and json.loads(broken.stdout)["thresholds"][0]["outcome"] == "broken"
    assert list(json.loads(broken.stdout)["metrics"]["averages"]) == ["mirror", "mirror and shifts"]


def test_a_training_leaves_the_averages_out_where_it_is_asked_to_and_its_record_says_so(runs: Path) -> None:
    with_them, without = (read_record(runs / name) for name in names_in(runs))
    assert (list(with_them.results.averages), list(without.results.averages)) == (["mirror", "mirror and shifts"], [])
    assert [one.request.every_origin()["average"] for one in (with_them, without)] == ["default", "flag"]
    assert (with_them.settings["average"], without.settings["average"]) == (True, False)


def test_a_name_is_never_overwritten(copy: Path, pictures: Path) -> None:
    name = names_in(copy)[0]
    before = read_record(copy / name)
    result = call("train", "--model", TINY_FILE, "--data", str(pictures), "--run", name, *SHORT, runs=copy)
    assert result.exit_code == 2 and "exists already" in result.stderr and read_record(copy / name) == before


def test_without_a_run_explain_says_how_to_make_one(tmp_path: Path) -> None:
    result = call("explain", runs=tmp_path)
    assert result.exit_code == 4 and "try: bench train" in result.stderr


def test_rm_removes_a_folder_without_a_record_and_nothing_where_nobody_answers(tmp_path: Path) -> None:
    (tmp_path / "corpse").mkdir()
    result = call("rm", "corpse", runs=tmp_path, typed="")
    assert result.exit_code == 1 and (tmp_path / "corpse").is_dir()
    assert result.stderr.splitlines()[-2:] == [
        "error: there was no answer, so nothing was done", f"  try: bench rm corpse --runs-dir {tmp_path} --yes"
    ]  # fmt: skip
    assert call("rm", "corpse", "--yes", runs=tmp_path).exit_code == 0 and not (tmp_path / "corpse").exists()


def test_a_damaged_run_does_not_keep_the_others_from_their_pages(copy: Path) -> None:
    good = names_in(copy)[0]
    shutil.copytree(copy / good, copy / "bad")
    (copy / "bad" / "samples.npz").write_bytes(b"x")
    (copy / good / "report.html").unlink()
    result = call("report", runs=copy)
    assert result.exit_code == 0 and (copy / good / "report.html").is_file()
    assert "run 'bad' has no new page" in result.stderr
    assert call("report", "bad", good, runs=copy).exit_code == 4


def test_rm_asks_and_removes_only_the_run(copy: Path) -> None:
    first, second = names_in(copy)
    assert (call("rm", first, runs=copy, typed="n\n").exit_code, names_in(copy)) == (1, [first, second])
    assert (call("rm", second, "--yes", runs=copy).exit_code, names_in(copy)) == (0, [first])


# --- settings -----------------------------------------------------------------------------------------------


def test_flag_beats_variable_beats_file_beats_default_and_origins_are_kept(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bench.toml").write_text(
        "runs-dir = 'made'\n[train]\nepochs = 2\nbatch-size = 8\nlr = 0.01\nval = 0.0\n", encoding="utf-8"
    )
    env = {"BENCH_DATA": str(pictures), "BENCH_BATCH_SIZE": "16", "BENCH_LR": "0.02"}
    done("train", "--model", TINY_FILE, "--lr", "0.05", env=env)
    record = read_record(next((tmp_path / "made").glob("TINY*")))
    assert [record.settings[key] for key in ("epochs", "batch_size", "lr", "data")] == [2, 16, 0.05, str(pictures)]
    assert [record.request.origins[key] for key in ("epochs", "batch_size", "lr", "data", "seed", "momentum")] == [
        "file", "env", "flag", "env", "default", "recipe",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [("epoch = 3", "no setting 'epoch'"), ("[trian]\nepochs = 3", "did you mean 'train'"),
     ("[train]\nepocs = 3", "did you mean 'epochs'"), ("x = [", "cannot be read")],
)  # fmt: skip
def test_an_unknown_key_of_the_file_is_an_error(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "my.toml").write_text(text, encoding="utf-8")
    result = call("list", "models", "--config", str(tmp_path / "my.toml"))
    assert (result.exit_code, says in result.stderr) == (2, True), result.stderr


def test_an_unknown_variable_only_warns() -> None:
    assert "BENCH_EPOCS" in done("list", "models", env={"BENCH_EPOCS": "3"}).stderr


# --- looking ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["models", "explainers", "engines", "layers", "recipes", "data", "runs"])
def test_everything_listed_is_listed_in_json_too(runs: Path, what: str) -> None:
    rows = json.loads(call("list", what, "--json", runs=runs).stdout)[what]
    assert len(rows) >= 2
    assert str(next(iter(rows[0].values())))[:30] in call("list", what, runs=runs).stdout


def test_recipes_are_listed_with_schedule_ingredients_source_and_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bench.recipes.recipe import RECIPES

    one = replace(
        RECIPES["fast20"], name="mine", epochs=7, batch_size=64, lr=0.4, lr_start=0.5, lr_end=0.07, warm_up=0.2,
        label_smoothing=0.2, source="a paper", measured="95.0 % here",
    )  # fmt: skip
    plain = replace(RECIPES["plain"], measured="")
    monkeypatch.setattr("bench.cli.commands.RECIPES", {"mine": one, "plain": plain})
    text = call("list", "recipes").stdout
    for words in ("7 epochs of batch 64, sgd, rate 0.2 to 0.4 at 20%, then to 0.028", "label smoothing 0.2", "a paper",
                  "measured: 95.0 % here", "not measured here"):  # fmt: skip
        assert words in text
    rows = json.loads(call("list", "recipes", "--json").stdout)["recipes"]
    assert [(row["name"], row["measured"]) for row in rows] == [("mine", "95.0 % here"), ("plain", "")]
    assert set(rows[0]) == {"name", "source", "measured", *one.values()}


def test_the_summary_of_a_model_is_the_classic_one() -> None:
    text = call("show", "model", "cifar_resnet18").stdout
    assert "11,173,962" in text and "source:" in text


def test_contact_sheets_are_written(pictures: Path, tmp_path: Path) -> None:
    for what in ("data", "augment"):
        sheet = Path(done("show", what, str(pictures), runs=tmp_path).stdout.splitlines()[-1])
        assert sheet.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("what", ["run", "page"])
def test_a_schema_describes_itself(what: str) -> None:
    assert "schema" in json.loads(call("schema", what, "--json").stdout)["json_schema"]["properties"]


def test_the_doctor_finds_every_name_loadable() -> None:
    assert json.loads(call("doctor", "--json").stdout)["problems"] == []


def test_limits_and_ids_are_read_as_written(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("3\n5, 8\n", encoding="utf-8")
    wanted = [ExplainRequest(ids=str(tmp_path / "ids.txt"), limit=each) for each in ("all", "300")]
    assert [(each.ids, each.limit) for each in wanted] == [((3, 5, 8), "all"), ((3, 5, 8), 300)]


# --- as a process -------------------------------------------------------------------------------------------


def test_bench_works_in_a_folder_with_packages_of_the_same_names(tmp_path: Path) -> None:
    for name in ("models", "explainers", "reports"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the user\\'s own')\n", encoding="utf-8")
    code = "import bench.models, bench.reports, runpy; assert callable(bench.train) and bench.models.ENTRIES; "
    code += "runpy.run_module('bench', run_name='__main__')"  # as `python -m bench` does
    script = Path(sys.executable).with_name("bench")
    listed = {
        subprocess.run([*start, "list", "models"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        for start in ([script], [sys.executable, "-c", code])
    }
    assert len(listed) == 1 and "timm_resnet18" in listed.pop()


# A shell that starts the tests in the background lets them ignore Ctrl-C; the child must not inherit that.
HEEDING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from bench.cli import main; main()"


IMPORTING = """
import builtins, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
real, when, number, told = builtins.__import__, sys.argv.pop(1), int(sys.argv.pop(1)), sys.argv.pop(1) == "told"
def importing(name, *others, **more):
    if name == when:
        builtins.__import__ = real
        try:
            signal.raise_signal(number)
        except BaseException as error:
            raised = ImportError("half imported")
            if told:
                raise raised from error
        raise raised
    return real(name, *others, **more)
builtins.__import__ = importing
from bench.cli import main
main()
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [("bench.cli.app", ["list", "runs"]), ("torch", ["train", "--data", "digits", "--dry-run"])],
    ids=["before a command", "while torch is imported"],
)
@pytest.mark.parametrize("cause", ["told", "lost"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_call_that_is_interrupted_while_it_loads_ends_without_a_traceback(
    tmp_path: Path, module: str, words: list[str], cause: str, number: int, code: int
) -> None:
    start = [sys.executable, "-c", IMPORTING, module, str(int(number)), cause, *words]
    done = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code and "Traceback" not in done.stderr and "error" not in done.stderr, done.stderr
    assert done.stderr.startswith("interrupted; nothing half-written is left.\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("explain", "--ids", "9" * 400), "no test image 9"),
        (("explain", "--ids", "9" * 5000), "is neither a list of test ids"),
        (("explain", "--ids", ",".join(map(str, range(9000)))), "no test image 24"),
        (("explain", "--ids", "3,,x"), "is neither a list of test ids"),
        (("explain", "--ids", "endless"), "at most 16,777,216 are read"),
        (("train", "--epochs", "9" * 400, "--dry-run"), "must be from 1 to 1,000,000"),
        (("list", "runs", "--config", "deep.toml"), "recursion depth"),
        (("train", "--recipe", "deep.toml", "--dry-run"), "recursion depth"),
    ],
)
def test_endless_numbers_lists_and_files_are_refused_by_name(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("deep.toml").write_text(f"a = {'[' * 5000}{']' * 5000}", "utf-8")
    with Path("endless").open("wb") as file:
        file.truncate(10**12)
    result = call(*words, runs=runs)
    assert result.exit_code in (2, 4) and says in result.stderr and "try:" in result.stderr, result.stderr


def test_maps_that_may_not_be_read_are_said_and_not_passed_over(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (name, *_) = names_in(copy)
    done("explain", "--run", name, "--limit", "1", *PLAIN, runs=copy)
    folder = copy / name / "explain"
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != folder)
    result = call("report", name, runs=copy)
    assert f"{folder} cannot be read" in result.stderr, result.stderr


def in_a_shell(line: str, runs: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell in which `bench` is the command line."""
    words = f'bench() {{ {sys.executable} -m bench "$@"; }}; {line}'
    options = {"cwd": runs.parent, "env": {**os.environ, **env}, "capture_output": True, "text": True}
    return subprocess.run(["bash", "-c", words], check=False, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("bench rm {run} <&-", 1, "there was no answer, so nothing was done"),
        ("bench list runs >&-", 0, ""),
        ("bench list runs <&- >&- 2>&-", 0, ""),
        ("bench nosuch 2>&-", 2, ""),
        ("bench --version >/dev/full", 1, "standard output cannot be written: No space left"),
        ("bench explain -h >/dev/full", 1, "standard output cannot be written: No space left"),
        ("(sleep 1; bench --help) | true; exit ${{PIPESTATUS[0]}}", 1, ""),
    ],
)
def test_closed_and_full_streams_end_in_a_named_error_or_none(copy: Path, line: str, code: int, says: str) -> None:
    done = in_a_shell(line.format(run=names_in(copy)[0]), copy)
    assert done.returncode == code and says in done.stderr, done.stderr
    assert done.stderr.count("error:") == bool(says) and "Traceback" not in done.stderr, done.stderr


def test_what_an_encoding_lacks_is_written_as_a_number(copy: Path) -> None:
    path = copy / names_in(copy)[0] / "run.json"
    value = json.loads(path.read_text("utf-8"))
    value["data"]["name"] = "\u8776"
    path.write_text(json.dumps(value), "utf-8")
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "TERM": "dumb"}
    done = in_a_shell("bench list runs; bench list runs --json", copy, **plain)
    assert done.returncode == 0 and "\\u8776" in done.stdout, done.stderr
    assert "\u8776" in [run["data"] for run in json.loads(done.stdout.splitlines()[-1])["runs"]]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_ends_with_its_code_and_says_so(
    tmp_path: Path, pictures: Path, number: int, code: int
) -> None:
    words = ("train", "--model", TINY_FILE, "--data", str(pictures), "--epochs", "5000", "--batch-size", "16")
    start = [sys.executable, "-c", HEEDING, *words]
    process = subprocess.Popen(start, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/log.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "interrupted" in errors and "Traceback" not in errors
    folder = next(tmp_path.glob("runs/*/run.json")).parent
    assert f"Continue: bench train --resume {folder.name}\n" in errors
    assert read_record(folder).status == "interrupted"
    names = sorted(re.sub(r"^resume-.*", "resume", path.name) for path in folder.iterdir())
    assert names == [".lock", ".training.lock", "log.jsonl", "resume", "resume", "run.json"]
