"""Many trainings in one call: which there are, what came of them, and what is left when one ends early."""

import dataclasses
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from command_line import call, done
from docs_commands import Line, parse
from run_factory import make_record, make_run
from tiny import TINY_FILE, tiny_data, write_images

import bench
from bench import api
from bench.commands import sweep as sweeps
from bench.commands.sweep import Combination, Sweep, commands
from bench.errors import GuardRailError, UsageError
from bench.request import TrainRequest
from bench.schema.page import EpochPoint
from bench.store.files import append_line
from bench.store.paths import LOG
from bench.store.runs import read_record, run_names
from bench.workspace import Workspace


@dataclass
class Stand:
    """Stands in for a training: makes run folders without one, or fails where it is told to."""

    ends: dict[int, BaseException] = field(default_factory=dict)
    asked: list[TrainRequest] = field(default_factory=list)
    validation: tuple[float, ...] = ()  # at the end of each training in turn; none are kept where it is empty
    swept: int = -1

    def __call__(self, asked: TrainRequest, workspace: Workspace, swept: int) -> Path:
        self.asked.append(asked)
        self.swept = swept
        number = len(self.asked)
        if number in self.ends:
            raise self.ends[number]
        name = asked.run or f"made-{number}"
        results = replace(make_record(name).results, accuracy=0.9 + number / 100)
        folder = make_run(workspace.runs, name, labels=(0, 1, 2), predicted=(0, 1, 2), results=results)
        if self.validation:
            end = EpochPoint(2, 1.0, 0.5, 1.0, self.validation[number - 1], 50.0, 0.1)
            append_line(folder / LOG, dataclasses.asdict(end))
        return folder


Put = Callable[..., Stand]


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Put:
    def put(**ends: BaseException) -> Stand:
        found = Stand({int(name[1:]): error for name, error in ends.items()})
        monkeypatch.setattr(sweeps, "train_one", found)
        return found

    return put


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "runs", tmp_path / "cache")


# --- which runs there are ----------------------------------------------------------------------------------


def test_every_model_meets_every_optimizer_and_rate_once() -> None:
    found = TrainRequest(["a", "b", "a"], optimizer="sgd", lr=[0.1, 0.2, 0.10]).trainings()
    assert [(one.model, one.optimizer, one.lr) for one in found] == [
        (("a",), ("sgd",), (0.1,)), (("a",), ("sgd",), (0.2,)), (("b",), ("sgd",), (0.1,)), (("b",), ("sgd",), (0.2,)),
    ]  # fmt: skip
    assert TrainRequest("a").trainings() == (TrainRequest("a"),)


def test_seeds_follow_one_another_and_named_runs_are_numbered() -> None:
    found = TrainRequest(["a", "b"], seed=10, seeds=2, run="x").trainings()
    assert [(one.model, one.seed, one.run) for one in found] == [
        (("a",), 10, "x-1"), (("a",), 11, "x-2"), (("b",), 10, "x-3"), (("b",), 11, "x-4"),
    ]  # fmt: skip
    alone, unnamed = TrainRequest("a", run="x").trainings(), TrainRequest(["a", "b"]).trainings()
    assert ([one.run for one in alone], [one.run for one in unnamed]) == (["x"], [None, None])


def test_each_training_is_that_of_a_call_of_its_own() -> None:
    swept = TrainRequest(["timm:resnet10t", "b"], stem="cifar", lr=[0.1, 0.2], seeds=2, val=0.0).trainings()
    assert swept[1] == TrainRequest("timm:resnet10t@cifar", lr=0.1, seed=1, val=0.0)
    assert [one.trainings() for one in swept] == [(one,) for one in swept]


def test_every_training_is_asked_for_once(stand: Put, place: Workspace) -> None:
    made = stand()
    models = ("cifar_resnet18", "timm_resnet18")
    found = bench.sweep(models, lr=[0.1, 0.2], seeds=2, seed=3, epochs=2, workspace=place)
    assert [(one.model, one.lr, one.seed, one.epochs) for one in made.asked] == [
        ((model,), (lr,), seed, 2) for model in models for lr in (0.1, 0.2) for seed in (3, 4)
    ]
    assert len(found.runs) == 8 and found.failure is None


# --- what came of them --------------------------------------------------------------------------------------


def test_a_combination_says_mean_deviation_and_interval_of_its_runs(stand: Put, place: Workspace) -> None:
    stand()
    (found,) = api.sweep(seeds=3, workspace=place).combinations
    assert (found.accuracies, found.optimizer, found.lr) == (pytest.approx((0.91, 0.92, 0.93)), "sgd", 0.1)
    assert (found.mean, found.deviation) == (pytest.approx(0.92), pytest.approx(statistics.stdev(found.accuracies)))
    assert found.interval.high - 0.92 == pytest.approx(4.302652729911275 * 0.01 / 3**0.5)


def test_one_run_has_no_interval_over_seeds_and_one_of_accuracies_stays_within_0_and_1() -> None:
    found = Combination("a", "sgd", 0.1, (Path("x"),), (0.9,))
    assert (found.mean, found.deviation, found.interval) == (0.9, None, None)
    interval = Combination("a", "sgd", 0.1, (Path("x"), Path("y")), (0.2, 0.9)).interval
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_what_a_guard_rail_stops_is_noted_and_the_others_go_on(stand: Put, place: Workspace) -> None:
    wild = GuardRailError("the loss is nan")
    made = stand(_2=wild)
    found = api.sweep(lr=[0.1, 9.0, 0.2], workspace=place)
    assert [len(each.runs) for each in found.combinations] == [1, 0, 1] and found.combinations[1].mean is None
    assert len(made.asked) == 3 and found.failure is wild


# --- what ends it -------------------------------------------------------------------------------------------


def test_an_interrupted_sweep_says_how_to_go_on_and_what_is_missing(stand: Put, place: Workspace) -> None:
    end = KeyboardInterrupt()
    end.add_note("bench train --resume made-2")
    stand(_2=end)
    with pytest.raises(KeyboardInterrupt) as caught:
        api.sweep(lr=[0.1, 0.2], seeds=3, val=0.0, whiten=False, compile=True, workspace=place)
    shared = f"--no-whiten --runs-dir {place.runs}"
    assert caught.value.__notes__ == [
        "bench train --resume made-2",
        f"bench train --seed 2 --val 0.0 --compile --lr 0.1 {shared}",
        f"bench train --seed 0 --seeds 3 --val 0.0 --compile --lr 0.2 {shared}",
    ]
    assert run_names(place.runs) == ["made-1"]


def test_a_run_that_cannot_be_resumed_is_among_the_missing(stand: Put, place: Workspace) -> None:
    stand(_1=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as caught:
        api.sweep(seeds=2, workspace=place)
    assert caught.value.__notes__ == [f"bench train --seed 0 --seeds 2 --runs-dir {place.runs}"]


def test_what_is_printed_for_missing_runs_can_be_typed() -> None:
    asked = TrainRequest(optimizer="adamw", lr=1e-3, sizes="16:0.5", norm_decay=False, translate=2, seed=4, seeds=2)
    (words,) = commands(asked.trainings(), Path("other place"))
    found = parse(Line(words.removeprefix("bench "), in_fence=True))
    told = {
        "optimizer": ["adamw"], "lr": ["0.001"], "sizes": "16:0.5", "seed": 4, "seeds": 2, "norm_decay": False,
        "translate": 2, "runs_dir": Path("other place"),
    }  # fmt: skip
    assert {name: found[name] for name in told} == told


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seeds": 0}, "--seeds 0"),
        ({"seeds": -2}, "--seeds -2"),
        ({"seeds": 2, "resume": "latest"}, "cannot be combined with --resume"),
        ({"lr": [0.1, -1.0]}, "lr is -1.0"),
        ({"optimizer": ["sgd", "adamv"]}, "did you mean 'adamw'?"),
        ({"model": ["cifar_resnet18", "tim_resnet18"]}, "did you mean 'timm_resnet18'?"),
        ({"seeds": 2, "run": "no/name"}, "cannot be a run's name"),
    ],
)
def test_a_sweep_that_cannot_be_meant_trains_nothing(
    stand: Put, place: Workspace, given: dict[str, Any], says: str
) -> None:
    made = stand()
    with pytest.raises(UsageError, match=says.replace("?", r"\?")):
        api.sweep(workspace=place, **given)
    assert made.asked == []


def test_a_name_that_is_taken_is_refused_before_anything_is_trained(stand: Put, place: Workspace) -> None:
    made = stand()
    (place.runs / "x-2").mkdir(parents=True)
    with pytest.raises(UsageError, match="run 'x-2' exists already"):
        api.sweep(seeds=3, run="x", workspace=place)
    assert made.asked == []


# --- on the command line ------------------------------------------------------------------------------------


def test_combinations_are_ranked_on_validation_images_and_the_test_is_told_of_the_best_alone(
    stand: Put, tmp_path: Path
) -> None:
    """The test images would choose the last: its accuracy there is 0.94."""
    made = stand()
    made.validation = (0.70, 0.74, 0.81, 0.83, 0.60, 0.62)
    result = call("train", "--lr", "0.1,0.2,0.3", "--seeds", "2", "--run", "x", runs=tmp_path)
    lines = result.stdout.splitlines()
    assert "on the validation images, best first" in lines[0]
    assert [line.split()[2:6] for line in lines[2:5]] == [
        ["0.2", "2", "82.00", "1.41"], ["0.1", "2", "72.00", "2.83"], ["0.3", "2", "61.00", "1.41"],
    ]  # fmt: skip
    assert lines[5].startswith(
        "chosen on the validation images: cifar_resnet18, sgd, lr 0.2; on the test images 93.50 %, 95 % interval over"
    )
    assert result.stdout.count("test images") == 1 and made.swept == 3


def test_the_runs_that_validation_did_not_choose_show_no_test_figures(stand: Put, tmp_path: Path) -> None:
    made = stand()
    made.validation = (0.8, 0.7)
    shown = call("train", "--lr", "0.1,0.2", runs=tmp_path).stdout.splitlines()
    assert [line for line in shown if "test images wrong" in line] == [next(li for li in shown if "made-1: acc" in li)]
    made.asked.clear()
    answer = json.loads(call("train", "--lr", "0.1,0.2", "--json", runs=tmp_path / "other").stdout)
    assert answer["winner"] == 0 and [each["mean"] for each in answer["summaries"]] == [pytest.approx(0.91), None]
    assert [each["validation"]["mean"] for each in answer["summaries"]] == [0.8, 0.7]


def test_a_combination_of_which_a_training_failed_is_not_chosen() -> None:
    """The one seed of five that survived a high rate says nothing of that rate."""
    path, failed = Path("run"), ((1, GuardRailError("the loss is nan", try_="--lr 0.01")),)
    lucky = Combination("m", "sgd", 0.1, runs=(path,), accuracies=(0.7,), validation=(0.71,), failures=failed)
    good = Combination("m", "sgd", 0.01, runs=(path, path), accuracies=(0.7, 0.7), validation=(0.7, 0.7))
    assert Sweep((lucky, good)).winner == good and Sweep((lucky, lucky)).winner is None


def test_without_validation_images_nothing_is_ranked_and_that_is_said(stand: Put, tmp_path: Path) -> None:
    stand()
    result = call("train", "--lr", "0.1,0.2", runs=tmp_path)
    assert "not ranked: there were no validation images" in result.stdout and "chosen" not in result.stdout


def test_seeds_alone_are_no_choice(stand: Put, tmp_path: Path) -> None:
    made = stand()
    made.validation = (0.8, 0.7)
    result = call("train", "--seeds", "2", runs=tmp_path)
    assert "on the test images" in result.stdout and "ranked" not in result.stdout and made.swept == 0


def test_one_combination_without_validation_figures_leaves_all_unranked() -> None:
    known, unknown = (
        Combination("a", "sgd", 0.1, (Path("x"),), (0.9,), validation=(0.8,)),
        Combination("a", "sgd", 0.2, (Path("y"),), (0.95,)),
    )
    failed = Combination("a", "sgd", 0.3)
    assert Sweep((known, unknown)).winner is None and Sweep((known, failed)).winner is known


def test_the_command_prints_a_line_a_combination_and_what_to_compare(stand: Put, tmp_path: Path) -> None:
    made = stand(_3=GuardRailError("the loss is nan", try_="a lower --lr"))
    result = call("train", "--lr", "0.1,9", "--lr", "0.10", "--seeds", "2", "--run", "x", runs=tmp_path)
    lines = result.stdout.splitlines()
    assert [line.split()[:6] for line in lines[2:4]] == [
        ["cifar_resnet18", "sgd", "0.1", "2", "91.50", "0.71"], ["cifar_resnet18", "sgd", "9", "1", "94.00", "–"],
    ]  # fmt: skip
    assert "cifar_resnet18, sgd, lr 0.1: x-1 x-2" in lines
    assert "failed: cifar_resnet18, sgd, lr 9, seed 0: the loss is nan" in lines
    assert lines[-1] == f"next: bench compare x-1 x-2 x-4 --runs-dir {tmp_path}"
    assert (result.exit_code, len(made.asked)) == (1, 4) and "try: a lower --lr" in result.stderr


def test_the_table_fits_80_columns(stand: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from bench.cli.tables import sweep_answer

    stand()
    found = api.sweep("torchvision_resnet18", lr=0.00025, seeds=3, workspace=Workspace(tmp_path))
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    console.print(sweep_answer(found, tmp_path).lines[0])
    assert any(
        "torchvision_resnet18" in line and "89.52 to 94.48" in line for line in console.export_text().split("\n")
    )


def test_json_holds_runs_and_summaries(stand: Put, tmp_path: Path) -> None:
    stand(_3=GuardRailError("no"))
    answer = json.loads(call("train", "--seeds", "3", "--json", runs=tmp_path).stdout)
    assert [run["run"] for run in answer["runs"]] == ["made-1", "made-2"]
    (row,) = answer["summaries"]
    assert (row["n"], row["runs"], row["failures"]) == (2, ["made-1", "made-2"], [{"seed": 2, "message": "no"}])
    assert row["interval"][0] < row["mean"] < row["interval"][1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--seeds", "0"), "--seeds 0"),
        (("--resume", "latest", "--seeds", "2"), "--seeds cannot be used with --resume"),
        (("--resume", "latest", "--lr", "0.1"), "--lr cannot be used with --resume"),
        (("--resume", "latest", "--lr", "0.1,0.2"), "--lr cannot be used with --resume"),
        (("--resume", "latest", "--compile"), "--compile cannot be used with --resume"),
        (("--lr", "much"), "--lr 'much'"),
    ],
)
def test_what_the_command_refuses(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    result = call("train", *words, runs=tmp_path)
    assert (result.exit_code, says in result.stderr) == (2, True), result.stderr


def test_variables_and_the_file_may_hold_one_value_or_several(
    stand: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bench.toml").write_text("[train]\nlr = [0.1, 0.2]\noptimizer = 'sgd'\ncompile = true\n", encoding="utf-8")
    made = stand()
    done("train", env={"BENCH_MODEL": "cifar_resnet18,timm_resnet18"})
    assert [(one.model, one.optimizer, one.lr, one.compile) for one in made.asked] == [
        ((model,), ("sgd",), (lr,), True) for model in ("cifar_resnet18", "timm_resnet18") for lr in (0.1, 0.2)
    ]


# --- with trainings -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("pictures"), tiny_data(train=16, test=6))


QUICK = ("--model", TINY_FILE, "--batch-size", "16", "--epochs", "1", "--val", "0")


def test_runs_of_a_sweep_are_those_of_single_calls(tmp_path: Path, pictures: Path) -> None:
    done("train", "--data", str(pictures), "--seeds", "2", "--seed", "5", *QUICK, runs=tmp_path)
    done("train", "--data", str(pictures), "--seed", "6", "--run", "one", *QUICK, runs=tmp_path)
    swept, alone = (read_record(tmp_path / name) for name in (sorted(run_names(tmp_path))[1], "one"))
    assert swept.artefacts["checkpoint.safetensors"] == alone.artefacts["checkpoint.safetensors"]
    assert (swept.swept, alone.swept) == (0, 0)
    assert (swept.request, swept.request.origins) == (alone.request, {**alone.request.origins})


def test_a_dry_run_of_a_sweep_plans_every_combination_and_writes_nothing(tmp_path: Path, pictures: Path) -> None:
    words = ("--data", str(pictures), "--seeds", "3", "--lr", "0.1,0.2", "--dry-run")
    result = done("train", *words, *QUICK, runs=tmp_path / "runs")
    assert result.stderr.count("about") == 2 and "lr 0.2" in result.stderr
    assert run_names(tmp_path / "runs") == []


def test_origins_tell_of_compile_and_of_what_batches_go_through(tmp_path: Path, pictures: Path) -> None:
    words = ("--no-compile", "--translate", "2", "--cutout", "0", "--run", "one")
    done("train", "--data", str(pictures), *words, *QUICK, runs=tmp_path)
    origins = read_record(tmp_path / "one").request.origins
    assert [origins[name] for name in ("compile", "translate", "cutout")] == ["flag"] * 3
    assert [origins[name] for name in ("lookahead", "flip")] == ["recipe"] * 2


def test_python_users_may_name_any_ingredient(tmp_path: Path, pictures: Path) -> None:
    place = Workspace(tmp_path / "runs", tmp_path / "cache")
    options = {"val": 0.0, "epochs": 1, "batch_size": 16, "lr": 0.05, "lookahead": 5}
    request = read_record(bench.train(TINY_FILE, data=str(pictures), workspace=place, **options)).request
    assert (request.lr, request.lookahead) == ((0.05,), 5)
