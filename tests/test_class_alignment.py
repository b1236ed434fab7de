"""Runs that differ in classes, sizes or layers stand side by side as far as they share anything; the rest is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import call, done
from foreign_nets import Two
from run_factory import CLASSES, make_cell, make_logits, make_run, make_samples
from tiny import TINY_FILE, TinyNet, tiny_data, write_images

from bench.errors import DataError
from bench.evaluation import softmax
from bench.pages.class_alignment import aligned, check_comparable, not_shared
from bench.schema.run import DataFacts
from bench.store.files import write_npz
from bench.store.folder import read_run
from bench.store.paths import PREDICTIONS

LABELS = [0, 1, 2, 0]
NETS = Path(__file__).with_name("foreign_nets.py")


def data_of(classes: tuple[str, ...], **more: Any) -> DataFacts:
    return DataFacts(**{"name": "x", "source": "x", "digest": "d" * 64, "classes": classes, **more})


@pytest.fixture
def pair(tmp_path: Path) -> list:
    """Two runs on the same four images; the second numbers the classes backwards."""
    backwards = tuple(reversed(CLASSES))
    rows = [(0, 1), (0, 2), (3, 0)]
    make_run(tmp_path, "one", labels=LABELS, predicted=[1, 1, 2, 0], cells=[make_cell(rows)],
             samples=make_samples([0, 3], [0, 0]), data=data_of(CLASSES))  # fmt: skip
    make_run(tmp_path, "two", labels=[2 - each for each in LABELS], predicted=[2, 0, 0, 1], cells=[make_cell(rows)],
             samples=make_samples([0, 3], [2, 2]), data=data_of(backwards))  # fmt: skip
    return [read_run(tmp_path / name) for name in ("one", "two")]


def test_runs_that_number_the_classes_differently_are_comparable_and_matched_by_name(pair: list) -> None:
    check_comparable(pair)
    first, second = (run.predictions for run in aligned(pair))
    assert first.labels.tolist() == second.labels.tolist() == LABELS and second.predicted.tolist() == [0, 2, 2, 1]
    assert second.logits.tolist() == pair[1].predictions.logits[:, ::-1].tolist()
    assert not_shared(pair) == ("the models number the classes differently: matched by name",)


def test_rows_of_cells_follow_their_class_and_stay_sorted(pair: list) -> None:
    before, after = pair[1].cells[0], aligned(pair)[1].cells[0]
    assert list(zip(after.ids.tolist(), after.classes.tolist(), strict=True)) == [(0, 0), (0, 1), (3, 2)]
    by_hand = {(0, 0): 1, (0, 1): 0, (3, 2): 2}  # (id, class by name) -> row of the cell as it was
    for row, key in enumerate(by_hand):
        assert np.array_equal(after.raw[row], before.raw[by_hand[key]])
    assert aligned(pair)[1].samples.labels.tolist() == [0, 0]


def test_runs_with_the_same_classes_come_back_as_they_are(pair: list) -> None:
    same = [pair[0], pair[0]]
    assert (aligned(same), not_shared(same)) == (same, ())


def test_a_class_that_only_one_model_knows_is_never_the_others_answer(tmp_path: Path, pair: list) -> None:
    folder = make_run(tmp_path, "wide", labels=LABELS, predicted=[1, 1, 2, 0], data=data_of((*CLASSES, "owl")))
    logits = np.concatenate([make_logits([1, 1, 2, 0]), [[9], [0], [0], [0]]], axis=1).astype(np.float32)
    write_npz(folder / PREDICTIONS, {"ids": np.arange(4), "labels": np.array(LABELS), "logits": logits})
    wide = read_run(folder)
    check_comparable([pair[0], wide])
    first, second = aligned([pair[0], wide])
    assert softmax(first.predictions.logits)[:, 3].tolist() == [0] * 4
    assert (first.predictions.predicted.tolist(), second.predictions.predicted.tolist()) == ([1, 1, 2, 0], [3, 1, 2, 0])
    assert "3 classes shared by models of 3 and 4" in not_shared([pair[0], wide])[0]


@pytest.mark.parametrize(
    ("more", "same"), [({"files": "f"}, True), ({"files": "g"}, False), ({"files": ""}, False), ({}, False)]
)
def test_pictures_of_another_size_are_the_same_when_their_files_are(
    tmp_path: Path, more: dict[str, Any], same: bool
) -> None:
    small = data_of(CLASSES, files="f" if more.get("files") != "" else "", size=32)
    large = data_of(CLASSES, **more, size=64, digest="e" * 64)
    runs = [
        read_run(make_run(tmp_path, name, labels=LABELS, predicted=LABELS, data=data))
        for name, data in (("a", small), ("b", large))
    ]
    if same:
        check_comparable(runs)
        assert not_shared(runs) == ("pictures of 32 and 64 pixels an edge",)
    else:
        with pytest.raises(DataError, match="made on different data"):
            check_comparable(runs)


@pytest.fixture
def adopted(tmp_path: Path) -> Path:
    """Two adopted runs on one data set: `tiny` of four classes, and `two` of other layers, size and six classes."""
    data = write_images(tmp_path / "data", tiny_data(train=4, test=6))
    torch.manual_seed(0)
    others = ["--image-size", "20", "--classes", "owl,two,one,three,four,eel"]
    for name, net, model, more in (("two", Two(6), f"{NETS}:build", others), ("tiny", TinyNet(4), TINY_FILE, [])):
        torch.save(net.state_dict(), tmp_path / f"{name}.pth")
        words = ["--weights", str(tmp_path / f"{name}.pth"), "--model", model, "--data", str(data), *more]
        done("adopt", *words, "--mean", "0.25", "--std", "0.2", "--run", name, runs=tmp_path / "runs")
    return tmp_path / "runs"


def test_models_of_other_classes_sizes_and_layers_stand_on_one_page(adopted: Path) -> None:
    result = done("compare", "tiny", "two", "--layer", "layer4", "--layer", "a", "--no-time", "--json", runs=adopted)
    twin = json.loads(Path(json.loads(result.stdout)["twin"]).read_text())
    assert {(cell["run"], cell["layer"], cell["missing"]) for cell in twin["cells"]} == {(0, "layer4", 0), (1, "a", 0)}
    assert twin["classes"] == ["four", "one", "three", "two", "owl", "eel"]
    words = " | ".join(badge["text"] for badge in twin["badges"] if not badge["ok"])
    for each in ("4 classes shared by models of 4 and 6", "pictures of 32 and 20 pixels", "layer4 · a"):
        assert each in words
    images = zip(twin["gallery"]["files"], twin["gallery"]["true"], strict=True)
    assert all(file.split("/")[1] == twin["classes"][true] for file, true in images)


def test_a_run_without_any_of_the_layers_shows_its_own_and_says_so(adopted: Path) -> None:
    shown = done("compare", "tiny", "two", "--layer", "layer4", "--no-time", runs=adopted)
    assert "run 'two' has none of the layers layer4: its own a, b are shown" in shown.stderr
    none = call("compare", "tiny", "two", "--layer", "nowhere", runs=adopted)
    assert none.exit_code == 2 and "'nowhere' is not a layer" in none.stderr
