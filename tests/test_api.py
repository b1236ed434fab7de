"""The functions of `bench`: what they take from Python that no command line can, and what becomes of it."""

import functools
import hashlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from command_line import call, done
from docs_commands import ROOT, fenced
from pictures import few_digits
from tiny import TINY, TinyNet, tiny_data, write_images
from torch import Tensor, nn

import bench
from bench.contracts import ModelSpec
from bench.errors import BenchError, MissingError, StoreError, UsageError
from bench.registry.from_python import found_in_python, name_of, source_hash
from bench.request import ExplainRequest, LrFindRequest, TrainRequest
from bench.store.files import read_checkpoint
from bench.store.folder import read_run
from bench.store.paths import CHECKPOINT
from bench.store.runs import read_record, run_names
from bench.workspace import Workspace


class Net(TinyNet):
    """A class that has methods of the names that a spec has fields of."""

    def build(self) -> None:
        raise NotImplementedError

    def explain(self) -> None:
        raise NotImplementedError


def make_net(num_classes: int) -> nn.Module:
    return TinyNet(num_classes)


def first_channel(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The first channel of the image, for every target and layer."""
    found = images[:, None, 0].expand(-1, targets.shape[1], -1, -1)
    return {layer: found.clone() for layer in layers}


def sha256_of(value: object) -> str:
    return hashlib.sha256(inspect.getsource(value).encode()).hexdigest()  # type: ignore[arg-type]


OF_A_LIBRARY = ModelSpec(name="of_a_library", build=functools.partial(TinyNet), source="tests")
NET = sha256_of(Net)
TITLE = f"python:{__name__}"


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "name", "source"),
    [(Net, f"{TITLE}:Net", Net), (make_net, f"{TITLE}:make_net", make_net), (TinyNet, "python:tiny:TinyNet", TinyNet),
     (TINY, "python:tiny:TINY", TinyNet)],
)  # fmt: skip
def test_what_python_gives_stands_in_the_record_by_module_name_and_source(
    value: object, name: str, source: object
) -> None:
    asked = TrainRequest(value, image_size=64)
    assert (asked.model, asked.stored()["model"], asked.stored()["objects"]) == (
        (name,), name, {name: sha256_of(source)},
    )  # fmt: skip
    assert found_in_python(name) is value
    (sized,) = asked.trainings()
    assert sized.stored()["objects"] == {f"{name}@64": sha256_of(source)}


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An empty module in the place of the one of what was given without a name."""
    monkeypatch.setitem(sys.modules, "bench_given", ModuleType("bench_given"))
    return sys.modules["bench_given"]


def test_what_no_module_defines_is_kept_by_its_variable_or_its_own_name(
    kept: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Inner(TinyNet):
        pass

    net, other = Net(4), Net(4)
    monkeypatch.setattr(sys.modules["__main__"], "net", net, raising=False)
    given = {"net": net, "Inner": Inner, "lambda": lambda n: Net(n).eval(), "Net": other, "ModelSpec": OF_A_LIBRARY}
    for name, value in given.items():
        assert TrainRequest(value).model == (f"python:bench_given:{name}",)
    monkeypatch.setattr(sys.modules["__main__"], "net", other)  # a notebook sets its variables anew
    third = nn.Sequential(Net(4))  # which is iterable, and no list of models
    monkeypatch.setattr(sys.modules["__main__"], "net", third)
    assert name_of(third) == "python:bench_given:net_2"
    assert all(found_in_python(name_of(value)) is value for value in (*given.values(), third))
    assert source_hash("python:bench_given:Net") == NET, "of a net that of its class"
    assert source_hash("python:bench_given:ModelSpec") == ""  # what has no source has no hash


def test_a_variable_that_a_new_process_sets_again_is_found_there(
    kept: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(4)
    monkeypatch.setattr(sys.modules["__main__"], "mine", net, raising=False)
    assert found_in_python("python:bench_given:mine@64") is net


def test_a_lambda_of_one_letter_takes_the_number_of_classes_and_nothing_else_is_guessed(kept: ModuleType) -> None:
    models = Workspace().models
    assert models[name_of(lambda n: TinyNet(n).eval())].build(7).fc.out_features == 7
    for build in (lambda width: TinyNet(width).eval(), lambda n, m: TinyNet(n * m)):
        with pytest.raises(MissingError, match="and bench knows only the number of classes") as error:
            models[name_of(build)]
        assert error.value.try_ == "a function build(num_classes) that gives the model"


def test_a_command_says_that_a_shell_cannot_repeat_what_python_gave() -> None:
    end = "  # not repeatable from the shell: something in it was given from Python"
    assert TrainRequest(Net).command() == f"bench train --model {TITLE}:Net{end}"
    assert ExplainRequest("a", explainer=["captum", first_channel]).command().endswith(end)
    assert LrFindRequest("cifar_resnet18", steps=50).command() == "bench lr-find --steps 50"


# --- a run of it --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run of a class, explained by a function."""
    root = tmp_path_factory.mktemp("python")
    place = Workspace(root / "runs", root / "cache")
    data = write_images(root / "images", tiny_data(train=16, test=4))
    bench.train(Net, data=data, run="one", batch_size=16, epochs=1, lr=0.05, val=0, workspace=place)
    return place


def test_a_run_of_a_class_is_opened_where_the_class_is(place: Workspace) -> None:
    (cell,) = bench.explain("one", explainer=first_channel, layer="layer4", limit=2, workspace=place).cells
    assert (cell.explainer, cell.rows > 0) == (f"{TITLE}:first_channel", True)
    again = bench.explain("one", explainer=first_channel, layer="layer4", limit=2, workspace=place)
    assert again.cells[0].computed == 0
    assert bench.evaluate("one", average=False, workspace=place).total == 16
    record = read_record(place.runs / "one")
    assert (record.model, record.request.origins["model"]) == (f"{TITLE}:Net", "call")
    assert record.command == TrainRequest(
        Net, data=record.data.source, run="one", batch_size=16, epochs=1, lr=0.05, val=0
    ).command(place.runs)


def test_a_process_without_the_class_says_what_opens_its_run(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys.modules[__name__], "Net")
    result = call("evaluate", "one", runs=place.runs)
    assert result.exit_code == 2
    told, way_out = result.stderr.splitlines()
    assert told == f"error: 'Net' of module {__name__} was given from Python, but this process does not have it"
    assert way_out.startswith(
        "  try: the Python process that defines it; or, with its code in a file, bench adopt --weights "
    )
    stored = read_record(place.runs / "one").as_json()["request"]
    assert (stored["model"], stored["objects"]) == (f"{TITLE}:Net", {f"{TITLE}:Net": NET}), "the hash is of then"
    for words in (("show", "run", "one"), ("report", "one"), ("list", "runs")):
        done(*words, runs=place.runs)


def test_a_net_that_is_built_is_trained_from_its_weights_left_alone_and_opened_again(
    place: Workspace, kept: ModuleType
) -> None:
    net = Net(4)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    run = bench.train(net, data=place.runs.parent / "images", run="built", batch_size=16, epochs=1, lr=1e-9, val=0,
                      flip="none", workspace=place)  # fmt: skip
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items()) and net.training
    state, _ = read_checkpoint(run / CHECKPOINT)
    assert torch.allclose(state["fc.weight"], before["fc.weight"], atol=1e-6)
    assert bench.evaluate("built", average=False, workspace=place).total == 16
    vars(kept).clear()
    result = call("evaluate", "built", runs=place.runs)
    assert result.exit_code == 2 and "'Net' was given from Python, but this process does not have it" in result.stderr
    assert "bench adopt --weights" in result.stderr and "--model FILE.py:Net --data" in result.stderr


# --- calls --------------------------------------------------------------------------------------------------


def test_values_that_mean_several_trainings_are_for_sweep(place: Workspace) -> None:
    for given in ({"model": ["cifar_resnet18", Net]}, {"lr": [0.1, 0.2]}, {"seeds": 2}):
        with pytest.raises(UsageError, match="these are 2 trainings") as error:
            bench.train(**given, workspace=place)
        assert error.value.try_ == "bench.sweep with the same values"


def test_several_runs_are_named_one_after_the_other_or_as_a_list(place: Workspace) -> None:
    for values, named in ((("one", "two"), {}), ((["one", "two"],), {}), ((), {"run": ("one", "two")})):
        with pytest.raises(StoreError, match="no run 'two'"):
            bench.compare(*values, **named, workspace=place)


def test_every_expected_failure_is_a_bench_error_by_its_public_name(place: Workspace) -> None:
    assert bench.BenchError is BenchError and "BenchError" in bench.__all__
    wrong: dict[str, dict[str, Any]] = {
        "train": {"model": 3}, "explain": {"run": "one", "layer": "nowhere"}, "judge": {"run": "none"},
        "report": {"run": 7}, "faithfulness": {"run": "one", "limit": -1},
        "adopt": {"weights": "none.pt", "model": Net}, "sweep": {"model": "none.py:Net"},
        "measure": {"model": "nothing"},
    }  # fmt: skip
    for name, given in wrong.items():
        with pytest.raises(bench.BenchError) as caught:
            getattr(bench, name)(**given, workspace=place)
        assert caught.value.message, name


def test_help_shows_types_and_says_what_every_keyword_is() -> None:
    signature = inspect.signature(bench.train)
    assert str(signature.parameters["epochs"]) == "epochs: int | None = None"
    assert ([*signature.parameters][:2], [*signature.parameters][-1]) == (["model", "recipe"], "workspace")
    assert signature.return_annotation is Path
    assert str(inspect.signature(bench.compare)).startswith("(*run: str | collections.abc.Sequence[str], limit:")
    told = inspect.getdoc(bench.train) or ""
    assert "\n    epochs: Passes over the training images; else the recipe's.\n" in told
    assert told.index("Args:") < told.index("Returns:") < told.index("Raises:")
    assert "origins" not in told


@pytest.mark.slow
def test_the_python_of_the_readme_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = fenced((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    few_digits(monkeypatch)
    monkeypatch.setattr("bench.commands.compare.paired_timing", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(block, found)
    assert sorted(run_names(Path("runs"))) == sorted([found["first"].name, found["second"].name])
    assert found["compared"].page.is_file()
    assert [cell.layer for cell in read_run(found["first"]).cells] == ["layer3"]
