"""Weights trained elsewhere become a run like any other, and what is wrong with them is told."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from unittest import mock

import classic_train
import numpy as np
import pytest
import torch
from command_line import call, done, names_in
from pictures import few_digits
from tiny import QUICK, TINY, TINY_FILE, TinyNet, tiny_data, write_images
from torch import nn

from bench.commands.adopt import natural
from bench.contracts import Silence
from bench.evaluation import predict, score
from bench.nets.import_doubts import COMMON, at_chance, better_fit
from bench.nets.weights import build_seeded
from bench.store.files import read_checkpoint
from bench.store.predictions import read_predictions
from bench.store.runs import read_record
from bench.training.loop import TrainSettings, train_model

CLASSIC = f"{classic_train.__file__}:narrow"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the classic script leaves: DataParallel keys in its wrapper."""
    path = tmp_path_factory.mktemp("classic") / "ckpt.pth"
    few = tuple(part[:256] for part in classic_train.digits())
    with mock.patch.object(classic_train, "digits", return_value=few):
        classic_train.main(str(path), 1, 8)
    return path


@pytest.fixture(scope="module")
def trained() -> TinyNet:
    """Trained on the tiny data, so that what spoils its answers shows."""
    torch.manual_seed(0)
    net = TinyNet(4)
    train_model(net, tiny_data(), TrainSettings(replace(QUICK, epochs=10), val=0.0), device=CPU, progress=Silence())
    return net


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("pictures"), tiny_data(train=16, test=40))


def test_a_classic_checkpoint_is_adopted_explained_and_compared_with_a_run_of_ours(
    classic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_digits(monkeypatch)
    adopted = done("adopt", "--weights", str(classic), "--model", CLASSIC, "--data", "digits", runs=tmp_path)
    assert "acc " in adopted.stderr and "wrapper names taken off" in adopted.stderr
    quick = ("--epochs", "1", "--batch-size", "64", "--lr", "0.05", "--val", "0", "--run", "ours")
    done("train", "--model", TINY_FILE, "--data", "digits", *quick, runs=tmp_path)
    theirs = next(name for name in names_in(tmp_path) if name != "ours")
    done("explain", "--run", theirs, "--limit", "8", runs=tmp_path)
    compared = done("compare", theirs, "ours", "--limit", "8", "--no-time", "--json", runs=tmp_path)
    twin = json.loads(Path(json.loads(compared.stdout)["twin"]).read_text())
    assert [run["run"] for run in twin["runs"]] == [theirs, "ours"]
    assert {(cell["layer"], cell["missing"]) for cell in twin["cells"]} == {("layer3", 0), ("layer4", 0)}
    page = (tmp_path / theirs / "report.html").read_text()
    assert "trained elsewhere" in page and "0 epochs" not in page and "wrapper names taken off" in page


ORDER = "one,two,three,four"


def adopting(weights: object, pictures: Path, folder: Path) -> list[str]:
    """The words that adopt these weights as the tiny net's."""
    torch.save(weights, folder / "w.pth")
    statistics = ["--mean", "0.25", "--std", "0.2"]
    return ["adopt", "--weights", str(folder / "w.pth"), "--model", TINY_FILE, "--data", str(pictures), *statistics]


def test_an_adopted_run_holds_the_weights_and_the_answers_of_the_file(
    trained: TinyNet, pictures: Path, tmp_path: Path
) -> None:
    state = {f"module.{key}": value for key, value in trained.state_dict().items()}
    done(*adopting({"net": state}, pictures, tmp_path), "--classes", ORDER, "--run", "mine", runs=tmp_path)
    state, about = read_checkpoint(tmp_path / "mine" / "checkpoint.safetensors")
    assert all(torch.equal(state[key], value) for key, value in trained.state_dict().items())
    assert (about["mean"], about["std"]) == ([0.25] * 3, [0.2] * 3)
    record, data = read_record(tmp_path / "mine"), tiny_data(train=16, test=40)
    logits, _ = predict(trained, data.test.images, (data.mean, data.std), device=CPU, progress=Silence())
    assert record.results.correct == score(logits, data.test.labels).correct
    assert record.data.classes == data.classes
    by_folder = sorted(range(len(data.test)), key=lambda each: (data.classes[data.test.labels[each]], each))
    assert torch.allclose(torch.from_numpy(read_predictions(tmp_path / "mine").logits), logits[by_folder], atol=1e-5)


def test_the_order_of_the_outputs_is_that_of_classes(trained: TinyNet, pictures: Path, tmp_path: Path) -> None:
    for name, more in (("sorted", []), ("named", ["--classes", ORDER])):
        done(*adopting(trained.state_dict(), pictures, tmp_path), *more, "--run", name, runs=tmp_path)
    by_folder, named = (read_record(tmp_path / name) for name in ("sorted", "named"))
    assert named.results.accuracy > by_folder.results.accuracy and named.data.classes == tuple(ORDER.split(","))
    done("explain", "--run", "named", "--which", "all", "--limit", "6", runs=tmp_path)
    assert np.bincount(read_predictions(tmp_path / "named").labels).tolist() == [40] * 4


def test_names_in_the_file_are_heard_whatever_their_capitals_and_others_are_told(
    trained: TinyNet, pictures: Path, tmp_path: Path
) -> None:
    order = {name.upper(): place for place, name in enumerate(ORDER.split(","))}
    words = adopting({"model": trained.state_dict(), "class_to_idx": order}, pictures, tmp_path)
    heard = done(*words, "--run", "heard", runs=tmp_path)
    assert read_record(tmp_path / "heard").data.classes == tuple(ORDER.split(","))
    assert "which are not the classes" not in heard.stderr
    other = {"model": trained.state_dict(), "classes": ["a", "b", "c", "d"]}
    told = done(*adopting(other, pictures, tmp_path), "--run", "other", runs=tmp_path)
    assert "the file calls its 4 outputs a, b, c, d, which are not the classes of the data" in " ".join(
        told.stderr.split()
    )


# --- doubts --------------------------------------------------------------------------------------------------


def scrambled(trained: TinyNet, order: list[int]) -> TinyNet:
    """The net whose output k answers for class order[k]."""
    net = deepcopy(trained)
    net.fc.weight.data, net.fc.bias.data = trained.fc.weight.data[order], trained.fc.bias.data[order]
    return net


def test_another_order_of_the_classes_is_found(trained: TinyNet) -> None:
    data, order = tiny_data(test=40), [2, 3, 1, 0]
    found = better_fit(scrambled(trained, order), data, torch.arange(len(data.test)), CPU)
    assert found is not None and found.order == tuple(order) and found.right > 0.9 * found.total


def test_other_statistics_are_found_by_name(trained: TinyNet) -> None:
    """The same net, its first layer turned so that it wants pixels in 0..255."""
    mean, std = COMMON["none, pixels in 0..255"]
    net = deepcopy(trained)
    wrong = replace(tiny_data(test=40), mean=(0.95, 0.05, 0.95), std=(0.01, 2.0, 0.01))
    scale, shift = (torch.tensor(each)[None, :, None, None] / 0.2 for each in (std, [one - 0.25 for one in mean]))
    net.layer3[0].register_forward_pre_hook(lambda module, inputs: inputs[0] * scale + shift)
    found = better_fit(net, wrong, torch.arange(len(wrong.test)), CPU)
    assert found is not None and (found.name, found.order) == ("none, pixels in 0..255", None)


def test_weights_that_fit_raise_no_doubt_and_random_ones_are_at_chance(trained: TinyNet) -> None:
    data = tiny_data(test=40)
    for net in (trained, build_seeded(TINY, 4, 0)):
        assert better_fit(net, data, torch.arange(len(data.test)), CPU) is None
    assert [at_chance(right, 160, data.test.labels) for right in (40, 45, 80)] == [True, True, False]


def test_guessing_is_warned_of_with_the_options_that_cure_it(trained: TinyNet, pictures: Path, tmp_path: Path) -> None:
    words = adopting(scrambled(trained, [2, 3, 1, 0]).state_dict(), pictures, tmp_path)
    said = done(*words, "--classes", ORDER, "--run", "first", runs=tmp_path).stderr
    assert "no better than guessing" in said and "--classes three,four,two,one" in said
    done(*words, "--classes", "three,four,two,one", "--run", "cured", runs=tmp_path)
    assert read_record(tmp_path / "cured").results.accuracy > 0.9


def test_other_colours_first_are_found_and_chosen_by_a_flag(trained: TinyNet, pictures: Path, tmp_path: Path) -> None:
    net = deepcopy(trained)
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    first.weight.data = first.weight.data.flip(1)
    words = [*adopting(net.state_dict(), pictures, tmp_path), "--classes", ORDER]
    data = tiny_data(test=40)
    found = better_fit(net.eval(), data, torch.arange(len(data.test)), CPU)
    assert found is not None and found.bgr
    done(*words, "--channels", "bgr", "--run", "bgr", runs=tmp_path)
    done(*adopting(trained.state_dict(), pictures, tmp_path), "--classes", ORDER, "--run", "rgb", runs=tmp_path)
    bgr, rgb = (read_predictions(tmp_path / name).logits for name in ("bgr", "rgb"))
    assert np.allclose(bgr, rgb, atol=1e-5)
    done("explain", "bgr", "--which", "all", "--limit", "4", runs=tmp_path)  # opened again, it gives the same logits


def changed(trained: TinyNet, pictures: Path, folder: Path, answer: str) -> list[str]:
    """What to type to adopt the net with something done to its answer."""
    (folder / "net.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom tiny import TinyNet\n"
        f"class Net(TinyNet):\n    def forward(self, x):\n        return super().forward(x){answer}\n"
    )
    torch.save(trained.state_dict(), folder / "w.pth")
    files = ["--weights", str(folder / "w.pth"), "--model", f"{folder}/net.py:Net", "--data", str(pictures)]
    return ["adopt", *files, "--classes", ORDER]


def test_probabilities_are_said_and_made_logits_by_a_flag(trained: TinyNet, pictures: Path, tmp_path: Path) -> None:
    words = changed(trained, pictures, tmp_path, ".softmax(1)")
    said = done(*words, "--run", "soft", runs=tmp_path).stderr
    assert "ends with a softmax" in said and "--outputs probabilities" in said
    again = done(*words, "--outputs", "probabilities", "--run", "logits", runs=tmp_path).stderr
    assert "softmax" not in again
    soft, logits = (read_predictions(tmp_path / name).logits for name in ("soft", "logits"))
    assert np.allclose(np.exp(logits), soft, atol=1e-6) and not np.allclose(logits, soft)
    done("explain", "logits", "--which", "all", "--limit", "4", runs=tmp_path)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (".mul(__import__('torch').rand(()))", "gives random answers"),
        (".mul(x[:1].std())", "other logits beside other images"),
    ],
)
def test_a_model_that_answers_by_chance_or_by_other_images_is_told_of(
    answer: str, words: str, trained: TinyNet, pictures: Path, tmp_path: Path
) -> None:
    said = done(*changed(trained, pictures, tmp_path, answer), "--run", "a", runs=tmp_path)
    assert words in " ".join(said.stderr.split())


def test_names_are_counted_as_people_count() -> None:
    assert natural(("10", "1", "2", "a10", "a9")) == ("1", "2", "10", "a9", "a10")


# --- nothing half-written ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--model", "timm:resnet18@cifar"), "do not fit"),
        (("--model", TINY_FILE, "--classes", "one,two,three"), "class 'four'"),
        (("--model", TINY_FILE, "--classes", "one,two,three,four,five"), "all 4 outputs"),
        (("--model", TINY_FILE, "--classes", "one,two,three,four,four"), "names 'four' twice"),
        (("--model", TINY_FILE, "--classes", "one"), "not a list of two or more classes"),
        (("--model", TINY_FILE, "--mean", "0.5,0.5"), "one value or three"),
        (("--model", TINY_FILE, "--mean", "a"), "not made of numbers"),
        (("--model", TINY_FILE, "--std", "0"), "above 0"),
    ],
)
def test_what_cannot_be_adopted_leaves_no_run(
    trained: TinyNet, pictures: Path, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    shared = ("--weights", str(tmp_path / "w.pth"), "--data", str(pictures))
    result = call("adopt", *shared, *more, runs=tmp_path / "runs")
    assert result.exit_code in (2, 4), result.stdout
    assert words in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


def test_weights_whose_answers_are_no_numbers_leave_no_run(trained: TinyNet, pictures: Path, tmp_path: Path) -> None:
    state = trained.state_dict()
    broken = {key: -each - 1 if key.endswith("running_var") else each for key, each in state.items()}
    words = adopting({"model": broken, "model_ema": state}, pictures, tmp_path)
    result = call(*words, "--run", "a", runs=tmp_path / "runs")
    assert result.exit_code == 1 and "answers 160 of 160 test images with logits that are not finite" in result.stderr
    assert "--weights-key model_ema takes another" in result.stderr and not (tmp_path / "runs" / "a").exists()
    done(*words, "--weights-key", "model_ema", "--run", "a", runs=tmp_path / "runs")
