"""`bench judge` in all its forms with workers: what they find is what this process finds, bit for bit."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_here import Here, with_engine
from tiny import TinyNet, finished_run, tiny_data, write_images
from torch import Tensor

from bench import api
from bench.contracts import ExplainerSpec, Silence
from bench.data.datasets import load_dataset
from bench.errors import RunError
from bench.store.files import read_npz
from bench.workspace import Workspace

IMAGES = 4
NAME, LEARNED = "tiny-run", "learned"


def mean(model: TinyNet, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The mean over channels of what a layer answers."""
    found: dict[str, Tensor] = {}
    for layer in layers:
        hook = model.get_submodule(layer).register_forward_hook(
            lambda _, __, out, layer=layer: found.update({layer: out})
        )
        with torch.no_grad():
            model(images)
        hook.remove()
    return {layer: (out.mean(dim=1)[:, None] + targets[..., None, None]).detach() for layer, out in found.items()}


def drawn(model: TinyNet, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The same under noise of torch's own generator."""
    return {
        layer: each + torch.randn(each.shape[-2:]).to(each.device)
        for layer, each in mean(model, layers, images, targets).items()
    }


MEAN = ExplainerSpec("mean", mean, source="tests", backend="torch", joint=False)
TWIN = dataclasses.replace(MEAN, name="twin")
DRAWN = ExplainerSpec("drawn", drawn, source="tests", backend="torch", stochastic=True, joint=False)
CPU = {"device": "cpu"}  # equal bits are promised there; `local:2` wants a GPU for each process where there is one
EXPLAINERS = ["reference", f"{__file__}:MEAN", f"{__file__}:DRAWN"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was hardly trained, one that has learned its images, and the images."""
    root = tmp_path_factory.mktemp("origin")
    images = write_images(root / "images", tiny_data(train=64, test=12))
    data = load_dataset(str(images), cache=root / "cache", progress=Silence())
    finished_run(root / "runs" / NAME, data, lr=1e-4)
    finished_run(root / "runs" / LEARNED, data, epochs=8)
    return root


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("judge", "known_answers"):
        monkeypatch.setattr(f"bench.commands.{module}.write_run_page", lambda *_: None)


@pytest.fixture
def place(origin: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(origin / "runs", tmp_path / "here")
    shutil.copytree(origin / "runs", tmp_path / "there")
    return Workspace(runs=tmp_path / "here", cache=origin / "cache")


@pytest.fixture
def engine(tmp_path: Path) -> Here:
    return Here(tmp_path / "worker")


def elsewhere(place: Workspace, engine: Here) -> Workspace:
    """The other copy of the run, and an engine."""
    return with_engine(dataclasses.replace(place, runs=place.runs.with_name("there")), engine)


def kept(place: Workspace) -> dict[str, Any]:
    """All arrays in what was judged and explained, by file."""
    found: dict[str, Any] = {}
    for path in sorted(place.runs.rglob("*.npz")):
        with np.load(path) as arrays:
            names = tuple(arrays.files)
        for name, each in read_npz(path, names).items():
            head = each.ndim == 0 and each.dtype.kind == "U" and str(each).startswith("{")
            value = (
                {key: one for key, one in json.loads(str(each)).items() if key != "timing"} if head else each.tobytes()
            )
            found[f"{path.relative_to(place.runs)} {name}"] = value
    return found


def scores(place: Workspace, **options: Any) -> Any:
    asked = {"explainer": EXPLAINERS, "layer": ["layer3", "layer4"], "limit": IMAGES, "sanity": 2, **CPU, **options}
    return dataclasses.replace(api.faithfulness(NAME, workspace=place, **asked), seconds=0.0)


def test_scores_by_workers_are_those_of_this_process_and_are_made_once(place: Workspace, engine: Here) -> None:
    other = elsewhere(place, engine)
    here, there = scores(place), scores(other, on="here")
    assert there == here and len(here.sanity) == 18 and here.new > 600
    assert kept(other) == kept(place)
    kinds = ("cover 8x8 of", "cover 8x8 by blur", "cover 8x8 by imputed", "sensitivity of", "5. time")
    assert all(any(kind in label for label in engine.asked) for kind in kinds)
    engine.asked.clear()
    again = scores(other, on="here")
    assert not engine.asked and again == dataclasses.replace(there, new=0, cost=again.cost)


def test_a_unit_that_fails_is_named_and_what_the_others_gave_is_kept(place: Workspace, engine: Here) -> None:
    other, few = elsewhere(place, engine), {"explainer": EXPLAINERS[1], "layer": "layer4", "sanity": 1}
    engine.hopeless = "shuffled for the 3. time"
    with pytest.raises(RunError, match=r"1 of 5 units of work failed 3 times: .*MEAN at layer4 .*for the 3\. time"):
        scores(other, on="here", **few)
    engine.hopeless, engine.asked = "", []
    again = scores(other, on="here", **few)
    assert again == dataclasses.replace(scores(place, **few), new=0, cost=again.cost)
    assert len(engine.asked) == 3  # of the third draw and of those behind it, which had no place to stand


def test_a_dry_run_of_scores_reaches_no_worker(place: Workspace, engine: Here) -> None:
    scores(elsewhere(place, engine), on="here", dry_run=True)
    assert not engine.asked


def test_verdicts_by_workers_are_those_of_this_process(place: Workspace, engine: Here) -> None:
    asked = {
        "explainer": ["gradcam", f"{__file__}:MEAN", f"{__file__}:TWIN"],
        "layer": ["layer3", "layer4"],
        "limit": IMAGES,
        **CPU,
    }
    here = api.judge(NAME, workspace=place, **asked).judgement
    there = api.judge(NAME, workspace=elsewhere(place, engine), on="here", **asked).judgement
    assert dataclasses.replace(there, created="") == dataclasses.replace(here, created="")
    assert [len(each.equal_to) for each in there.verdicts] == [0, 0, 1, 1, 1, 1] and len(engine.asked) == 3


@pytest.fixture
def easy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps teach little, and that is enough."""
    for module in ("bench.commands.known_answers", "bench.scoring.sticker_nets"):
        monkeypatch.setattr(f"{module}.STEPS", 30)
    monkeypatch.setattr("bench.scoring.sticker_nets.RATE", 0.1)
    monkeypatch.setattr("bench.scoring.known_scores.FOLLOWS", 0.0)
    monkeypatch.setattr("bench.scoring.known_scores.IGNORES", 1.0)
    monkeypatch.setattr("bench.scoring.known_scores.UNASKED", 1.0)
    monkeypatch.setattr("bench.scoring.mosaics.SURE", 0.0)
    monkeypatch.setattr("bench.commands.known_answers.FEWEST", 2)


@pytest.mark.usefixtures("easy")
def test_known_answers_by_workers_are_those_of_this_process(place: Workspace, engine: Here) -> None:
    other, asked = (
        elsewhere(place, engine),
        {"explainer": ["reference", f"{__file__}:MEAN"], "limit": 24, **CPU},
    )
    here, there = (
        api.known_answers(LEARNED, on=on, workspace=where, **asked) for on, where in (("local", place), ("here", other))
    )
    assert dataclasses.replace(there, created="") == dataclasses.replace(here, created="")
    assert here.stickers and here.mosaic_scores
    maps, others = kept(place), kept(other)
    assert {name: each for name, each in others.items() if name in maps} == maps
    engine.asked.clear()
    api.known_answers(LEARNED, on="here", workspace=other, **asked)
    assert not engine.asked


def judged_by(kind: str, place: Workspace, on: str) -> Any:
    """What a form of `bench judge` found, without its date."""
    asked = {"explainer": "reference", "layer": "layer4", "on": on, "workspace": place, **CPU}
    if kind == "faithfulness":
        return scores(place, sanity=1, **{name: each for name, each in asked.items() if name != "workspace"})
    if kind == "verdicts":
        return dataclasses.replace(api.judge(NAME, **asked).judgement, created="")
    return dataclasses.replace(api.known_answers(LEARNED, limit=24, **asked), created="")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["faithfulness", "verdicts", "known answers"])
def test_two_processes_judge_as_one_does(kind: str, place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)  # one thread each
    other, before = dataclasses.replace(place, runs=place.runs.with_name("there")), torch.get_num_threads()
    torch.set_num_threads(1)
    here = judged_by(kind, place, "local")
    torch.set_num_threads(before)
    assert judged_by(kind, other, "local:2") == here
    maps, others = kept(place), kept(other)
    assert {name: each for name, each in others.items() if name in maps} == maps
