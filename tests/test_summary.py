"""The summary counts right, shows the classic rows and leaves the model as found."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import ModelSpec
from bench.errors import ContractError
from bench.explaining.side_effects import changes, watch
from bench.nets.summary import Summary, shown_rows, summarise, texts_of, totals
from bench.registry.registry import discover

models = discover("model", ModelSpec)


@pytest.fixture(scope="module", params=list(models))
def summary(request: pytest.FixtureRequest) -> Summary:
    return summarise(models[request.param].build(10))


def test_classic_rows_are_49_and_totals_those_of_resnet18(summary: Summary) -> None:
    kinds = Counter(row.kind for row in summary.rows if row.classic)
    assert kinds == {"Conv2d": 20, "BatchNorm2d": 20, "BasicBlock": 8, "Linear": 1}
    assert summary.parameters == summary.trainable == 11_173_962
    assert sum(row.parameters for row in summary.rows) == summary.parameters and summary.macs == 555_422_720


def test_rows_bear_output_shapes_in_forward_order(summary: Summary) -> None:
    shapes = {"layer1": (64, 32, 32), "layer2": (128, 16, 16), "layer3": (256, 8, 8), "layer4": (512, 4, 4)}
    assert {row.name: row.shape for row in summary.rows if row.name in shapes} == shapes
    assert (summary.rows[0].name, summary.rows[-1].shape) == ("conv1", (10,))


def test_short_text_has_the_classic_rows_and_the_totals_and_the_full_one_every_row(summary: Summary) -> None:
    assert len(shown_rows(summary)) == 49
    lines = totals(summary)
    assert lines[0].startswith("49 rows") and "more with --all" in lines[0]
    assert lines[1:] == ("11,173,962 parameters, 11,173,962 trainable", "0.5554 GMAC a forward pass and image")
    assert shown_rows(summary, all=True) == list(summary.rows) and "--all" not in totals(summary, all=True)[0]


def test_model_is_left_as_found() -> None:
    model = models["torchvision_resnet18"].build(10).train()
    model.layer1.eval()
    model.fc.requires_grad_(False)
    checks = watch(model, torch.zeros(1, 3, 32, 32), torch.zeros(1, 1), stochastic=False)
    frozen = summarise(model)
    assert changes(checks) == []
    assert frozen.trainable == frozen.parameters - 5_130


def test_model_is_left_as_found_when_it_fails() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(7, 2)).train()
    checks = watch(model, torch.zeros(1, 3, 32, 32), torch.zeros(1, 1), stochastic=False)
    with pytest.raises(ContractError, match=r"cannot take one image \(3, 32, 32\)"):
        summarise(model)
    assert changes(checks) == []


class Twice(nn.Module):
    """Runs one convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x)).flatten(1)


def test_module_that_runs_twice_has_two_rows_and_its_parameters_once() -> None:
    found = summarise(Twice(), 4)
    assert [row.parameters for row in found.rows] == [9, 0] and found.macs == 2 * 9 * 16
    assert "(9)" in [texts_of(row)[3] for row in found.rows]
