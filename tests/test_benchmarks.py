"""The scripts that measure: what they compare, and which way a difference is counted."""

import argparse
import multiprocessing
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

import answering
import numpy as np
import pytest
import torch
from PIL import Image
from timing_factory import make_timing
from tiny import RESIDUAL, TINY, TINY_FILE, TinyNet, tiny_data
from torch.nn import functional

from bench.contracts import ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.nets.weights import build_seeded
from bench.recipes.recipe import RECIPES, Recipe
from bench.registry.registry import discover
from bench.schema.timing import Ratio, Verdict
from bench.store.predictions import Predictions
from bench.timing import rounds as timing_rounds
from bench.timing.flops import counted
from bench.timing.rounds import Work
from bench.training.loop import TrainSettings, choose_images

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))

import ablation  # noqa: E402 (from the folder above)
import data  # noqa: E402
import errors  # noqa: E402
import in_turns  # noqa: E402
import inplace  # noqa: E402
import instrument  # noqa: E402
import plain_loop  # noqa: E402
import report  # noqa: E402
import scale  # noqa: E402
import speeds  # noqa: E402
import tables  # noqa: E402
import train  # noqa: E402
import trust  # noqa: E402
import waits  # noqa: E402


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_every_arm_of_an_ablation_is_another_training(recipe: Recipe) -> None:
    arms = ablation.arms_of(recipe)
    values = [repr(recipe.changed(changes).values()) for changes in arms.values()]
    assert values[0] == repr(recipe.values())
    assert not [name for name, each in zip(arms, values, strict=True) if values.count(each) > 1]


def test_each_ingredient_that_a_recipe_has_is_taken_away_once() -> None:
    arms = ablation.arms_of(RECIPES["fast20"])
    recipe = RECIPES["fast20"]
    for name, field, value in [
        ("no whitening of the stem", "whiten", False),
        ("full size from the start", "sizes", ()),
        ("no label smoothing", "label_smoothing", 0.0),
        ("no lookahead", "lookahead", 0),
        ("no zero-init residual", "zero_init", False),
    ]:
        assert getattr(recipe, field) != value == getattr(recipe.changed(arms[name]), field)


def test_an_arm_that_is_not_there_is_refused_with_those_that_are() -> None:
    assert list(ablation.wanted(RECIPES["cpu"], ["half the batch"])) == ["the recipe", "half the batch"]
    assert ablation.wanted(RECIPES["cpu"], None) == ablation.arms_of(RECIPES["cpu"])
    with pytest.raises(SystemExit, match="no arm 'half the bach'; one of: the recipe, no whitening"):
        ablation.wanted(RECIPES["cpu"], ["half the bach"])


def test_what_was_trained_is_not_trained_again(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "kept.jsonl"
    work = mock.Mock(return_value={"right": "101"})
    assert [ablation.kept_or_trained(path, ["a", key], work) for key in (1, 1, 2)] == ["101"] * 3
    assert work.call_count == 2


def test_images_kept_apart_are_not_trained_on() -> None:
    tiny = tiny_data()
    trained, _ = choose_images(tiny, TrainSettings(RECIPES["course"], val=0, limit=40))
    held = ablation.held_out(tiny, trained, 30)
    assert len({*held.tolist()} - {*trained.tolist()}) == len(held) == 30
    assert len(ablation.held_out(tiny, trained, 10_000)) == len(tiny.train) - 40


def test_an_arm_that_is_better_than_the_recipe_has_a_positive_difference() -> None:
    whole, better = {0: "1100000000" * 40}, {0: "1111000000" * 40}
    name, n, accuracy, _, difference, interval = ablation.row_of("an arm", better, whole)
    assert (name, n, accuracy, difference) == ("an arm", "1", "40.0 %", "+20.0")
    low, high = (float(each) for each in interval.split(" to "))
    assert 0 < low < 20 < high


def test_several_seeds_give_students_interval_of_the_paired_differences() -> None:
    whole = {0: "1000000000", 1: "1100000000", 2: "1110000000"}
    row = ablation.row_of("an arm", {0: "1100000000", 1: "1100000000", 2: "1111100000"}, whole)
    gaps = torch.tensor([0.1, 0.0, 0.2], dtype=torch.float64)
    half = 4.302652729749462 * float(gaps.std()) / 3**0.5  # t of two degrees of freedom, from a table
    assert (row[4], row[5]) == ("+10.0", f"{100 * (0.1 - half):+.1f} to {100 * (0.1 + half):+.1f}")


def test_an_ablation_of_the_tiny_net_is_the_same_twice() -> None:
    settings = TrainSettings(RECIPES["demo"], val=0, limit=64)
    first, second = (
        ablation.trained_arm(TINY, tiny_data(), settings, torch.device("cpu"), 20)["right"] for _ in range(2)
    )
    assert (first, len(str(first))) == (second, 20)


def test_a_table_replaces_what_stands_between_its_marks_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a <!-- x: begin -->old\nold<!-- x: end --> b <!-- y: begin --><!-- y: end -->", encoding="utf-8")
    tables.write_between(page, "x", "new \\1")
    assert (
        page.read_text(encoding="utf-8")
        == "a <!-- x: begin -->\n\nnew \\1\n\n<!-- x: end --> b <!-- y: begin --><!-- y: end -->"
    )
    with pytest.raises(SystemExit, match="no marks"):
        tables.write_between(page, "z", "new")


# --- the instrument -----------------------------------------------------------------------------------------


def test_a_planted_slowdown_is_that_many_more_equal_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(instrument.torch, "mm", lambda left, right, out: made.append(1))
    for planted, pieces in ((0.0, 200), (0.1, 220), (0.01, 202)):
        made.clear()
        instrument.repeated(round(instrument.UNITS * (1 + planted)), torch.zeros(4, 4), torch.zeros(4, 4))()
        assert len(made) == pieces


def options(**changes: object) -> argparse.Namespace:
    return argparse.Namespace(**{"same": 10, "planted": 2, "rounds": 12, "block": 0.0, "edge": 4} | changes)


def test_the_kinds_of_trials_take_turns() -> None:
    planned = instrument.plan(options(same=100, planted=20))
    halves = [[half.count(each) for each in (0.0, 0.1, 0.01)] for half in (planned[:70], planned[70:])]
    assert halves == [[50, 10, 10]] * 2


def clock(monkeypatch: pytest.MonkeyPatch, seconds: float, extra: float) -> None:
    """Every piece takes so long, and each block a little more or less; who comes when is drawn from one seed."""
    noise = Random(2)
    monkeypatch.setattr(timing_rounds, "random", SimpleNamespace(Random=lambda: Random(1)))
    pieces: list[int] = []
    monkeypatch.setattr(instrument.torch, "mm", lambda left, right, out: pieces.append(1))

    def take(work: Callable[[], object]) -> tuple[int, list[float]]:
        pieces.clear()
        work()
        return 1, [len(pieces) * seconds * (1 + noise.uniform(-extra, extra))]

    monkeypatch.setattr(instrument, "taker", lambda block: take)
    monkeypatch.setattr(timing_rounds, "WARM_UP", 0.0)


@pytest.mark.parametrize(("planted", "said"), [(0.0, "no measurable difference"), (0.1, "slower"), (0.01, "slower")])
def test_a_trial_finds_what_is_planted_and_claims_nothing_else(
    planted: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 1e-3, 0.001)
    found = instrument.trial(planted, options(), torch.device("cpu"))
    assert (found.ratio.verdict, found.covered, found.truth) == (said, True, 1 / (1 + planted))


def test_a_slowdown_below_the_noise_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 1e-3, 0.05)
    assert not instrument.trial(0.01, options(), torch.device("cpu")).claimed


def planted(slowdown: float, value: float, low: float, high: float, verdict: Verdict) -> instrument.Planted:
    return instrument.Planted(slowdown, Ratio("one", value, low, high, 0.99, 12, verdict))


def test_a_row_counts_claims_and_intervals_that_hold_the_truth() -> None:
    trials = [
        planted(0.1, 0.91, 0.90, 0.92, "slower"),
        planted(0.1, 0.95, 0.94, 0.96, "slower"),
        planted(0.1, 0.95, 0.80, 1.10, "no measurable difference"),
        planted(0.0, 1.00, 0.90, 1.10, "no measurable difference"),
    ]
    assert instrument.row(0.1, trials) == [
        "10% slower", "3", "2", "1 of 2", "2 of 3", "0.9500 (0.9091)", "1.00 %",
    ]  # fmt: skip
    assert instrument.row(0.0, trials)[:5] == ["nothing (A/A)", "1", "0", "–", "1 of 1"]


def test_rounds_too_few_for_an_interval_hold_nothing() -> None:
    assert not instrument.Planted(0.0, Ratio("one", 1.0, None, None, None, 5, "n too small")).covered


def test_the_table_of_a_timing_shows_interval_verdict_and_that_the_machine_was_busy() -> None:
    timing = make_timing(
        {"a": [0.04] * 12, "b": [0.05, 0.051, 0.049, 0.05] * 3}, notes=("the machine was busy: others took 34% of it",)
    )
    told = ("Note: the machine was busy", "| `forward[b]` | 80.0 | 78.4 to 81.6 |", "0.800× (slower), 0.784 to 0.816",
            "Timing T1, some CPU, 2 threads")  # fmt: skip
    assert [words for words in told if words not in speeds.figures(timing)] == []


@pytest.mark.parametrize("images", [1, 3])
def test_the_net_with_everything_in_place_answers_the_same_and_moves_what_the_libraries_move(images: int) -> None:
    models = discover("model", ModelSpec)
    own, timms = (
        build_seeded(models[name], 10, 0).eval().to(memory_format=torch.channels_last)
        for name in ("cifar_resnet18", "timm_resnet18")
    )
    batch = torch.randn(images, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    changed = inplace.in_place(own)
    with torch.inference_mode():
        expected = own(batch)
        assert torch.equal(changed(batch), expected) and torch.equal(own(batch), expected)  # the net stays as it is
        bytes_of = [counted(lambda net=net: net(batch)).bytes for net in (own, changed, timms)]  # type: ignore[misc]
    assert bytes_of[1] == bytes_of[2] < bytes_of[0]


def test_a_row_of_the_nets_in_place_has_rate_and_ratio_with_their_intervals() -> None:
    rounds = {inplace.OWN: [0.04] * 6 + [0.05] * 6, inplace.CHANGED: [0.02] * 6 + [0.025] * 6}
    assert inplace.row(inplace.OWN, rounds, 8) == [f"`{inplace.OWN}`", "180", "160 to 200", "baseline"]
    assert inplace.row(inplace.CHANGED, rounds, 8)[3] == "2.000× (faster), 2.000 to 2.000"


# --- what the scripts share ---------------------------------------------------------------------------------


def test_a_shared_option_has_the_default_of_its_script_and_the_type_of_all() -> None:
    parser = tables.parser_of("what it does", rounds=7, runs_dir="runs", write=None)
    found = vars(parser.parse_args(["--rounds", "9"]))
    assert found == {"rounds": 9, "runs_dir": Path("runs"), "write": None}
    assert "what it does" in parser.format_help()


def test_what_a_benchmark_found_is_printed_and_stands_in_the_document_where_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- x: begin --><!-- x: end -->", encoding="utf-8")
    for words, named in (("first", None), ("second", page)):
        tables.finish(words, named, "x")
        assert (words in page.read_text(encoding="utf-8")) == bool(named)
    assert capsys.readouterr().out == "first\nsecond\n"


def test_a_cell_holds_the_median_of_rounds_and_its_interval() -> None:
    assert tables.cell([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == "3.5 (1.0 to 6.0)"
    assert tables.cell([1.0, 2.0, 3.0]) == "2.0 (n too small)"


# --- in turns -----------------------------------------------------------------------------------------------


def test_every_work_is_warmed_up_before_any_round_and_the_warm_up_is_no_round() -> None:
    calls: list[str] = []

    def work(name: str, *seconds: float) -> Work:
        left = iter(seconds)
        return lambda: calls.append(name) or next(left)

    rounds = in_turns.timed({"A": work("A", 9.0, 9.0, 1.0, 3.0), "B": work("B", 7.0, 7.0, 4.0, 4.0)}, 1, in_turns.told)
    assert (rounds, calls[:4]) == ({"A": [2.0], "B": [4.0]}, ["A", "A", "B", "B"])
    assert "".join(calls[4:]) in ("ABBA", "BAAB")


def test_a_call_that_tells_no_seconds_is_no_block() -> None:
    assert in_turns.told(lambda: 2.5) == (1, (2.5,))
    with pytest.raises(TypeError, match="told None instead of its seconds"):
        in_turns.told(lambda: None)


# --- training -----------------------------------------------------------------------------------------------


def test_an_arm_of_its_own_process_works_when_asked_and_ends_with_the_block() -> None:
    with train.processes(["one", "other"], answering.work_as, argparse.Namespace(step=0.5)) as works:
        assert [works[name]() for name in ("one", "other", "one")] == [0.5, 0.5, 1.0]
        assert in_turns.timed(works, 1, in_turns.told).keys() == {"one", "other"}
        running = multiprocessing.active_children()
        assert {each.name for each in running} >= {"one", "other"}
    for each in running:
        each.join(30)
    assert {each.exitcode for each in running} == {0}


def test_a_process_that_ended_is_noticed_instead_of_waited_for() -> None:
    with (
        train.processes(["one"], answering.end_at_once, argparse.Namespace()) as works,
        pytest.raises((EOFError, ConnectionError)),
    ):
        works["one"]()


def test_ours_is_compared_with_the_peer_the_bare_step_and_the_limit_where_that_stood_still() -> None:
    ones = [1.0, 2.0, 1.0, 1.0]  # in the second round the machine is half as fast, which the limit after it shows
    seconds = {"ours, fp32": [2 * each for each in ones], "bare step, fp32": [1.9 * each for each in ones]}
    seconds |= {"peer loop, fp32": [5.0, 99.0, 99.0, 5.0]}
    assert train.rows_of(seconds, {"fp32": [100.0, 108.0, 50.0, 100.0, 100.0]}, 100) == [
        ["ours, fp32, images/s", "50 (n too small)"], ["bare step, fp32, images/s", "53 (n too small)"],
        ["peer loop, fp32, images/s", "11 (n too small)"],
        ["limit by the fp32 matrix product, images/s", "100 (n too small)"],
        ["rounds in which the limit moved by less than 10 %", "2 of 4"],
        ["ours, fp32, over the peer loop, fp32, round by round", "2.5 (n too small)"],
        ["ours, fp32, % of the bare step", "95 (n too small)"],
        ["ours, fp32, % of the fp32 limit", "49 (n too small)"],
    ]  # fmt: skip


def test_the_limit_is_taken_before_the_first_round_and_after_each() -> None:
    told, limits = iter(range(100)), iter(range(100))
    works = {"ours": lambda: float(next(told)), "peer": lambda: float(next(told))}
    with mock.patch.object(train, "warm_up"):
        seconds, found = train.measured(works, 2, lambda: {"fp32": float(next(limits))})
    assert [one["fp32"] for one in found] == [0.0, 1.0, 2.0]
    assert {name: len(each) for name, each in seconds.items()} == {"ours": 2, "peer": 2}


@pytest.mark.parametrize("name", ["ours, fp32", "bare step, bf16", "peer loop, bf16"])
def test_every_arm_trains_the_model(name: str) -> None:
    options = argparse.Namespace(device="cpu", data="digits", model=TINY_FILE, images=64, batch_size=32)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    ours.send(True)
    ours.send(False)
    with mock.patch.object(train, "build_seeded", return_value=TinyNet(10)) as built:
        before = {key: value.clone() for key, value in built.return_value.state_dict().items()}
        train.work_as(name, theirs, options)
    assert ours.recv() > 0
    assert not any(torch.equal(value, before[key]) for key, value in built.return_value.named_parameters())


# --- images and pages ---------------------------------------------------------------------------------------


def test_a_row_of_the_images_is_in_the_unit_its_words_name() -> None:
    assert data.row("a batch, ms", [0.001] * 3 + [0.003] * 3) == ["a batch, ms", "2.0", "1.0 to 3.0", "6"]
    assert data.row("first reading, s", [2.0]) == ["first reading, s", "2.0", "n too small", "1"]


def test_pages_are_visited_in_turns_and_what_is_above_its_limit_is_told() -> None:
    visited: list[str] = []

    def visit(name: str, seconds: float) -> dict[str, float]:
        visited.append(name)
        return {"paint": seconds, "ready": seconds, "filter": 1.0, "sort": 1.0, "elements": 9, "memory": 1.0}

    small, large = report.PAGES
    samples = report.in_turns({small: lambda: visit(small, 0.5), large: lambda: visit(large, 3.0)}, 2)
    found = report.rounds_of(samples)
    there = visited[:2]
    assert sorted(there) == sorted((small, large)) and visited[:4] == [*there, *reversed(there)]
    assert [visited.count(each) for each in (small, large)] == [4, 4] and visited[4:6] == visited[7:5:-1]
    once = {f"{name}: {figure}": [1.0] for name in report.PAGES for figure in ("render", "size", "resident")}
    rows, missed = report.rows_of(found | once)
    assert len(rows) == len(report.PAGES) * len(report.ROWS)
    assert missed == [f"{large}: first paint, s 3, at most 2.0"]


def test_waits_and_kernels_of_each_piece_of_work_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "MACHINES", {"A100": waits.MACHINES["A100"]})
    monkeypatch.setattr(waits, "MASKED", ())
    rows = [line.strip("| ").split(" | ") for line in waits.text_of(RESIDUAL, tiny_data()).splitlines()[2:]]
    found = {row[0]: row[1:] for row in rows}
    assert rows[0][-2:] == ["A100, kernels", "A100, waits"] and len(found) == len(rows) == 2 + 8
    step, guarded, bare = (found[next(name for name in found if part in name)] for part in ("step", "guard", "`ref"))
    assert step[1] == "0" and int(step[0]) > 50 and 0 < int(guarded[1]) - int(bare[1]) <= 5


# --- ten times the data --------------------------------------------------------------------------------------


def test_made_up_data_are_a_data_set_of_so_many_images_and_classes_whose_colours_tell_the_class(tmp_path: Path) -> None:
    scale.make_data(tmp_path / "data.npz", scale.Size(60, 8, 20, 1 / 2))
    found = load_dataset(str(tmp_path / "data.npz"), cache=tmp_path / "cache", progress=Silence(), size=8)
    assert (len(found.train), len(found.test), len(found.classes)) == (30, 30, 20)
    colours = found.train.images.float().mean(dim=(2, 3))
    assert (colours[1] - colours[21]).abs().max() < 25 < (colours[1] - colours[4]).abs().max()


def test_memory_beyond_the_data_is_what_the_table_compares() -> None:
    steps = {name: {"peak": 900e6, "data": 100e6, "seconds": 3.0, "saving": 0.1} for name in ("nothing", *scale.STEPS)}
    more = {name: {**each, "peak": 2200e6, "data": 1000e6} for name, each in steps.items()}
    few, many = (scale.Found(scale.Size(count, 32, 10, 0.5), each, {}) for count, each in ((10, steps), (100, more)))
    assert {row[5] for row in scale.rows_of(few, many)} == {"1.50"}


def test_hours_come_from_rates_that_the_results_hold() -> None:
    (line,) = [each for each in scale.hours_table().splitlines() if each.startswith("| CIFAR-10, 100 trainings")]
    rate = scale.rate_in(scale.RESULTS.read_text(encoding="utf-8"), r"ours, bf16, images/s \|")
    assert line.split("|")[2].strip() == f"{100 * 20 * 50_000 / rate / 3600:.1f} h"


# --- errors, and a training that shares no code ---------------------------------------------------------------


def answers(*rows: tuple[int, float], labels: list[int]) -> Any:
    """A run of three classes that gives each image a class with such a probability, and shares out the rest."""
    logits = np.stack([np.log([(p if each == answer else (1 - p) / 2) for each in range(3)]) for answer, p in rows])
    record = SimpleNamespace(recipe="cpu", model="tiny", data=SimpleNamespace(classes=("ape", "bat", "cow")))
    return record, Predictions(np.arange(len(rows)) + 40, np.array(labels), logits.astype(np.float32))


def test_labels_are_doubtful_where_all_runs_are_sure_of_the_same_other_class() -> None:
    labels = [0, 0, 0, 0, 1]
    first = answers((1, 0.95), (1, 0.95), (1, 0.95), (1, 0.99), (1, 0.99), labels=labels)
    second = answers((1, 0.92), (2, 0.95), (1, 0.8), (1, 0.97), (1, 0.99), labels=labels)
    found = errors.doubtful([first, second])
    assert [each[:3] for each in found] == [(3, 0, 1), (0, 0, 1)]  # not: another class, not sure, right
    assert [each[3] for each in found] == pytest.approx([0.97, 0.92], rel=1e-5)
    told = errors.shared_words([first, second])
    assert "4 of 5 test images: 4 by all 2, 3 of them with the same wrong class, 0 by one alone" in told
    assert "| ape, bat | 4 | 3 |" in errors.confused([first, second])
    sure = errors.sureness([first, second]).splitlines()
    assert sure[-1] == "| 0.9 to 1 | 4 of 5 (80.0 %) | 3 of 4 (75.0 %) |" and sure[2].endswith("| – | – |")


def test_the_independent_training_reads_the_files_and_compresses_them_once_more(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:32, :32]
    pixels = np.stack([8 * rows, 8 * columns, 4 * (rows + columns)], axis=2).astype(np.uint8)
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        for name in ("train/ape/1.jpg", "train/bat/1.jpg", "test/bat/1.jpg", "test/readme.txt"):
            file = BytesIO()
            Image.fromarray(pixels).save(file, "JPEG")
            member = tarfile.TarInfo(f"images/{name}")
            member.size = len(file.getvalue())
            archive.addfile(member, BytesIO(file.getvalue()))
    images, labels, test = plain_loop.read(tmp_path / "images.tar", 1)
    assert images.shape == (3, 3, 32, 32) and labels.tolist() == [0, 1, 1] and test.tolist() == [False, False, True]
    again = plain_loop.read(tmp_path / "images.tar", 2)[0]
    apart = (again.float() - images.float()).abs()[..., 8:24, 8:24].mean()
    assert 0 < apart < 6  # it is in its place again: half a block away it would be about 25


def test_the_independent_training_varies_images_as_windows_of_the_padded_and_its_net_is_ours() -> None:
    torch.manual_seed(0)
    padded = functional.pad(torch.arange(1, 26.0).view(1, 1, 5, 5).expand(40, 3, 5, 5), (2,) * 4)
    windows = [padded[0, 0, y : y + 5, x : x + 5] for y in range(5) for x in range(5)]
    known = [each for window in windows for each in (window, window.flip(1))]
    found = plain_loop.varied(padded, 5)
    assert found.shape == (40, 3, 5, 5)
    which = {next(n for n, each in enumerate(known) if torch.equal(each, image[0])) for image in found}
    assert len(which) > 20 and {each % 2 for each in which} == {0, 1}
    ours = build_seeded(discover("model", ModelSpec)["cifar_resnet18"], 10, 0)
    assert sum(each.numel() for each in plain_loop.network().parameters()) == sum(
        each.numel() for each in ours.parameters()
    )


def test_a_row_of_trust_says_what_each_test_gave() -> None:
    none = {"words": "", "holds": None, "figure": None}
    figure = {"value": 0.5, "low": 0.25, "high": 0.75}
    line = {"advice": "use", "explainer": "a = b", "layer": "layer4", "claims": {**none, "holds": True}}
    line |= {
        "sticker": {**none, "words": "no"},
        "mosaic": {**none, "words": "little", "figure": figure},
        "hiding": none,
    }
    assert trust.row_of(line) == ["use", "`a` = `b`", "layer4", "yes", "no", "0.50 (0.25 to 0.75), little", "–"]
