"""Counted work against sums done by hand."""

from __future__ import annotations

import pytest
import torch
from tiny import TinyNet
from torch import nn

from bench.contracts import ModelSpec
from bench.counting import counted, floor_flops
from bench.registry import discover
from bench.weights import build_seeded

GMAC = 2e9


def test_flop_of_a_matrix_product_are_two_a_multiplication() -> None:
    left, right = torch.ones(3, 5), torch.ones(5, 7)
    assert counted(lambda: left @ right).flops == 2 * 3 * 5 * 7


def test_bytes_are_those_read_and_written() -> None:
    left, right = torch.ones(10, 10), torch.ones(10, 10)
    assert counted(lambda: left + right).bytes == 3 * 400
    assert counted(lambda: left.add_(right)).bytes == 2 * 400  # the one written to is read where it lies
    assert counted(lambda: left @ right).bytes == 3 * 400


def test_a_view_moves_nothing() -> None:
    large = torch.ones(10, 10)
    assert counted(lambda: large.view(100)[3:].unsqueeze(0)).bytes == 0


def test_a_backward_pass_is_counted_too() -> None:
    layer = nn.Linear(5, 7, bias=False)
    inputs = torch.ones(3, 5)
    assert counted(lambda: layer(inputs).sum().backward()).flops == 2 * (2 * 3 * 5 * 7)  # forward, weight gradient


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return build_seeded(discover("model", ModelSpec)["cifar_resnet18"], 10, 0).eval()


@pytest.mark.parametrize(
    ("layer", "gmac"), [("layer1", 0.9581), ("layer2", 0.8239), ("layer3", 0.6896), ("layer4", 0.5554)]
)
def test_the_floor_is_the_forward_pass_and_the_input_gradients_above_the_layer(
    resnet: nn.Module, layer: str, gmac: float
) -> None:
    found = floor_flops(resnet, layer, torch.zeros(1, 3, 32, 32))
    assert found == pytest.approx(gmac * GMAC, rel=1e-3)


def test_counting_the_floor_leaves_the_model_as_it_was(resnet: nn.Module) -> None:
    before = {name: value.clone() for name, value in resnet.state_dict().items()}
    floor_flops(resnet, "layer3", torch.zeros(1, 3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in resnet.state_dict().items())
    assert not any(module._forward_hooks for module in resnet.modules())
    assert all(each.requires_grad and each.grad is None for each in resnet.parameters())


def test_a_layer_without_a_part_in_the_logits_and_the_input_have_no_floor() -> None:
    net = TinyNet(4)
    net.unused = nn.Conv2d(3, 8, 3)
    images = torch.zeros(1, 3, 32, 32)
    assert floor_flops(net, "unused", images) is None
    assert floor_flops(net, "input", images) is None
