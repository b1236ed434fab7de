"""The functions of `bench`: what they take from Python that no command line can, and what becomes of it."""

import functools
import hashlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import call, done
from docs_commands import ROOT, fenced
from pictures import few_digits
from tiny import TINY, TinyNet, tiny_data, write_images
from torch import Tensor, nn

import bench
from bench.contracts import ModelSpec
from bench.errors import StoreError, UsageError
from bench.registry.from_python import found_in_python, name_of, source_hash
from bench.request import ExplainRequest, LrFindRequest, TrainRequest
from bench.store.folder import read_run
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


def test_a_spec_of_a_librarys_function_is_found_where_a_script_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="has no name at the top level"):
        name_of(OF_A_LIBRARY)
    monkeypatch.setattr(sys.modules["__main__"], "MINE", OF_A_LIBRARY, raising=False)
    assert name_of(OF_A_LIBRARY) == "python:__main__:MINE"
    assert source_hash("python:__main__:MINE") == ""  # what has no source has no hash


def test_what_stands_elsewhere_than_at_a_modules_top_is_refused_by_its_name() -> None:
    class Inner(TinyNet):
        pass

    for value, name in ((Inner, "Inner"), (lambda classes: Net(classes).eval(), "<lambda>"), (Net(4), "Net")):
        with pytest.raises(UsageError, match=f"{name}.* has no name at the top level of a module") as error:
            TrainRequest(value)
        assert error.value.try_ == "give it one there, or pass path/to/file.py:NAME"


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
    assert result.stderr.splitlines() == [
        f"error: 'Net' of module {__name__} was given from Python, and this process does not have it",
        "  try: the same from the Python that defines it; what every process finds is path/to/file.py:Net",
    ]
    stored = read_record(place.runs / "one").as_json()["request"]
    assert (stored["model"], stored["objects"]) == (f"{TITLE}:Net", {f"{TITLE}:Net": NET}), "the hash is of then"
    for words in (("show", "run", "one"), ("report", "one"), ("list", "runs")):
        done(*words, runs=place.runs)


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


def test_help_shows_types_and_says_what_every_keyword_is() -> None:
    signature = inspect.signature(bench.train)
    assert str(signature.parameters["epochs"]) == "epochs: int | None = None"
    assert ([*signature.parameters][:2], [*signature.parameters][-1]) == (["model", "recipe"], "workspace")
    assert signature.return_annotation is Path
    assert str(inspect.signature(bench.compare)).startswith("(*run: str | collections.abc.Sequence[str], limit:")
    told = inspect.getdoc(bench.train) or ""
    assert "\n    epochs: Passes over the training images.\n" in told
    assert told.index("Args:") < told.index("Returns:") < told.index("Raises:")
    assert "origins" not in told


@pytest.mark.slow
def test_the_python_of_the_readme_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = fenced((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    few_digits(monkeypatch)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(block, found)
    assert sorted(run_names(Path("runs"))) == sorted([found["first"].name, found["second"].name])
    assert found["compared"].page.is_file()
    assert [cell.layer for cell in read_run(found["first"]).cells] == ["layer3"]
