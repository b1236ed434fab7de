"""Counted work against sums done by hand."""

from typing import Any

import pytest
import torch
from tiny import TinyNet
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.contracts import ModelSpec
from bench.nets.weights import build_seeded
from bench.registry.registry import discover
from bench.timing.flops import counted, floor_flops

GMAC = 2e9


def test_flop_of_a_matrix_product_are_two_a_multiplication() -> None:
    assert counted(lambda: torch.ones(3, 5) @ torch.ones(5, 7)).flops == 2 * 3 * 5 * 7


def test_bytes_are_those_read_and_written() -> None:
    left, right = torch.ones(10, 10), torch.ones(10, 10)
    assert counted(lambda: left + right).bytes == counted(lambda: left @ right).bytes == 3 * 400
    assert counted(lambda: left.add_(right)).bytes == 2 * 400  # the one written to is read where it lies
    assert counted(lambda: left.view(100)[3:].unsqueeze(0)).bytes == 0  # a view moves nothing


@pytest.mark.parametrize("by", ["weights", "input"])
def test_a_backward_pass_is_counted_too(by: str) -> None:
    net = nn.Sequential(nn.Linear(5, 7, bias=False)).requires_grad_(by == "weights")
    inputs = torch.ones(3, 5, requires_grad=by == "input")
    assert counted(lambda: net(inputs).sum().backward()).flops == 2 * (2 * 3 * 5 * 7)  # forward, one gradient


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return build_seeded(discover("model", ModelSpec)["cifar_resnet18"], 10, 0).eval()


@pytest.mark.parametrize(
    ("layer", "gmac"), [("layer1", 0.9581), ("layer2", 0.8239), ("layer3", 0.6896), ("layer4", 0.5554)]
)
def test_the_floor_is_the_forward_pass_and_the_input_gradients_above_the_layer(
    resnet: nn.Module, layer: str, gmac: float
) -> None:
    assert floor_flops(resnet, layer, torch.zeros(1, 3, 32, 32)) == pytest.approx(gmac * GMAC, rel=1e-3)


def operations(net: nn.Module, images: torch.Tensor) -> list[str]:
    """Names of all operations of a forward pass, whether they write in place or not."""
    found: list[str] = []

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found.append(func.name().partition("::")[2].partition(".")[0].removesuffix("_"))
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Names():
        net(images)
    return found


def test_the_three_models_do_the_same_and_differ_only_in_what_they_overwrite() -> None:
    models = discover("model", ModelSpec)
    names = ("cifar_resnet18", "timm_resnet18", "torchvision_resnet18")
    images = torch.zeros(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    nets = [build_seeded(models[name], 10, 0).eval().requires_grad_(False) for name in names]
    own, timms, torchvisions = (sorted(operations(net, images)) for net in nets)
    assert own == timms == torchvisions
    own_bytes, *theirs = (counted(lambda net=net: net(images)).bytes for net in nets)  # type: ignore[misc]
    # Of a ReLU or a sum that overwrites its input one tensor less is touched: all of them, and nothing else.
    grids: list[int] = []
    for module in nets[0].modules():
        if isinstance(module, nn.ReLU) or type(module).__name__ == "BasicBlock":  # a block gives a sum, rectified
            module.register_forward_hook(lambda module, inputs, output: grids.append(output.nbytes))
    nets[0](images)
    assert theirs == [own_bytes - sum(grids)] * 2


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
    assert floor_flops(net, "unused", images) is None and floor_flops(net, "input", images) is None
