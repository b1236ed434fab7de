"""Maps in float64 come from a copy: exact, and nobody's model is touched."""

from dataclasses import replace

import pytest
import torch
from pictures import pictures
from reference_cam import gradcam_by_hand
from tiny import TINY
from torch import nn

from bench.contracts import ExplainerSpec
from bench.errors import ContractError
from bench.explaining import float64 as doubles
from bench.explaining.float64 import double_copy, home_of_float64, in_float64
from bench.explaining.side_effects import changes, watch
from bench.nets.weights import build_seeded
from bench.registry.registry import discover

TARGETS = torch.tensor([[0, 1], [2, 3]])

explainers = discover("explainer", ExplainerSpec)


@pytest.fixture
def net() -> nn.Module:
    return build_seeded(TINY, 4, 0).eval()


@pytest.mark.parametrize("name", ["gradcam", "captum"])
def test_maps_are_those_of_the_slow_reference_in_float64(name: str, net: nn.Module) -> None:
    found = in_float64(explainers[name], net, ["layer4", "layer3"], pictures(2), TARGETS)
    assert list(found) == ["layer4", "layer3"]
    copy = double_copy(net)
    for layer, maps in found.items():
        truth = gradcam_by_hand(copy, layer, pictures(2).double(), TARGETS)
        assert maps.dtype is torch.float64 and (maps - truth).abs().max() <= 1e-12 * truth.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_model_and_the_images_are_untouched(net: nn.Module, dtype: torch.dtype) -> None:
    net.train().to(dtype)
    net.fc.bias.grad = torch.ones_like(net.fc.bias)
    images = pictures(2).to(dtype)
    checks = watch(net, images, TARGETS, stochastic=False)
    in_float64(explainers["captum"], net, ["layer3"], images, TARGETS)
    assert changes(checks) == []
    assert {parameter.dtype for parameter in net.parameters()} == {dtype}


def test_a_copy_shares_no_tensor_and_no_gradient_and_is_in_eval_mode(net: nn.Module) -> None:
    net.train()
    net(pictures(2)).sum().backward()
    copy = double_copy(net)
    pairs = zip([*net.parameters(), *net.buffers()], [*copy.parameters(), *copy.buffers()], strict=True)
    for own, other in pairs:
        assert own.data_ptr() != other.data_ptr() and torch.equal(own.double(), other.double())
    assert all(parameter.grad is None and parameter.dtype is torch.float64 for parameter in copy.parameters())
    assert not any(module.training for module in copy.modules())


def test_a_caller_in_inference_mode_gets_the_same_maps(net: nn.Module) -> None:
    expected = in_float64(explainers["captum"], net, ["layer3"], pictures(2), TARGETS)["layer3"]
    with torch.inference_mode():
        found = in_float64(explainers["captum"], net, ["layer3"], pictures(2) * 1, TARGETS + 0)["layer3"]
    assert torch.equal(found, expected)


def test_an_explainer_that_breaks_its_contract_is_named(net: nn.Module) -> None:
    spec = replace(explainers["captum"], name="single", explain=lambda *_: {"layer3": torch.zeros(2, 2, 16, 16)})
    with pytest.raises(ContractError, match=r"'single' .* returned \(2, 2, 16, 16\) torch.float32 at layer3"):
        in_float64(spec, net, ["layer3"], pictures(2), TARGETS)


def test_a_device_without_float64_sends_model_and_images_to_the_cpu() -> None:
    homes = {name: str(home_of_float64(torch.device(name))) for name in ("mps", "cuda:1")}
    assert homes == {"mps": "cpu", "cuda:1": "cuda:1"}


def test_a_copy_moves_before_it_is_made_double(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(doubles, "WITHOUT_FLOAT64", ("cpu",))  # stands for MPS
    monkeypatch.setattr(nn.Module, "cpu", lambda self: steps.append("moved") or self)
    monkeypatch.setattr(nn.Module, "double", lambda self: steps.append("doubled") or self)
    double_copy(net)
    assert steps == ["moved", "doubled"]
