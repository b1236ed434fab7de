"""Evaluation into a run folder: the plain forward is what is stored, the averages are counts beside it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretended import pretended
from run_factory import make_record, make_request
from tiny import TINY, tiny_data
from torch import nn

from bench.contracts import Dataset, Silence
from bench.evaluation import predict
from bench.nets.weights import build_seeded
from bench.pages.gallery import gallery
from bench.pages.run_views import run_view
from bench.request import TrainRequest
from bench.schema.run import DataFacts, Results
from bench.store.folder import read_run
from bench.store.paths import PREDICTIONS
from bench.store.runs import read_record, write_record
from bench.training import run as runlife
from bench.training.run import evaluate_into
from bench.workspace import Workspace

CPU = torch.device("cpu")


def evaluated(folder: Path, *, mirror: bool = True, average: bool = True, **given: Any) -> tuple[nn.Module, Dataset]:
    """A run folder after its evaluation, by a net that has learned nothing."""
    data, net = dataclasses.replace(tiny_data(), mirror=mirror), build_seeded(TINY, 4, 0)
    about = DataFacts(name="tiny", digest="d", classes=data.classes, mirror=mirror)
    if not (folder / "run.json").exists():
        folder.mkdir()
        write_record(folder, make_record(folder.name, data=about, request=make_request(**given), results=Results()))
    evaluate_into(folder, net, data, (data.mean, data.std), device=CPU, progress=Silence(), average=average)
    return net, data


def test_stored_predictions_are_those_of_the_plain_forward_bit_for_bit(tmp_path: Path) -> None:
    net, data = evaluated(tmp_path / "run")
    plain, _ = predict(net, data.test.images, (data.mean, data.std), device=CPU, progress=Silence())
    assert np.load(tmp_path / "run" / PREDICTIONS)["logits"].tobytes() == plain.numpy().tobytes()


def test_averages_change_neither_predictions_nor_any_figure_but_their_own(tmp_path: Path) -> None:
    evaluated(tmp_path / "with")
    evaluated(tmp_path / "without", average=False)
    one, other = (read_run(tmp_path / name) for name in ("with", "without"))
    assert one.record.artefacts[PREDICTIONS] == other.record.artefacts[PREDICTIONS]
    views = [dataclasses.replace(run_view(each), run="", averages=(), forward_rate=None) for each in (one, other)]
    assert views[0] == views[1]
    assert (gallery([one], (), np.arange(8)), len(run_view(one).averages)) == (gallery([other], (), np.arange(8)), 2)
    assert run_view(other).averages == ()


def test_metrics_hold_accuracy_count_and_views_of_each_average(tmp_path: Path) -> None:
    evaluated(tmp_path / "run")
    results = read_record(tmp_path / "run").results
    assert {name: row.views for name, row in results.averages.items()} == {"mirror": 2, "mirror and shifts": 6}
    assert all(row.accuracy == row.correct / results.total for row in results.averages.values())
    evaluated(tmp_path / "run", average=False)  # leaves those that are there
    assert read_record(tmp_path / "run").results.averages == results.averages
    evaluated(tmp_path / "other", mirror=False)
    assert list(read_record(tmp_path / "other").results.averages) == ["shifts"]


@pytest.mark.parametrize(
    ("given", "precision"), [({"precision": "bf16"}, "bf16"), ({"precision": "fp32"}, "fp32"), ({}, "fp32")]
)
def test_further_views_run_in_the_precision_of_the_training(
    given: dict[str, Any], precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(runlife, "average_logits", lambda *_, **options: asked.append(options["precision"]) or {})
    evaluated(tmp_path / "run", **given)
    assert asked == [precision]


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_record_says_how_kernels_are_chosen_while_it_trains(tmp_path: Path, deterministic: bool) -> None:
    with pretended("cuda") as machine:
        request = TrainRequest("cifar_resnet18", deterministic=deterministic)
        runlife.begin(tmp_path, Workspace(), tiny_data(4), request, machine.device)
        flags = read_record(tmp_path).environment.flags
    switches = {name: flags[name] for name in ("cuDNN benchmark", "cuDNN deterministic", "deterministic algorithms")}
    on, off = ("off", "on") if deterministic else ("on", "off")
    assert list(switches.values()) == [on, off, off] and not torch.are_deterministic_algorithms_enabled()
