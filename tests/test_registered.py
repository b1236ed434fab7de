"""Everything registered as an explainer keeps the contract, on a small net that holds what is awkward."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pictures import pictures
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bench.contracts import ExplainerSpec
from bench.errors import BenchError, ContractError
from bench.explaining.guard import guarded
from bench.registry.registry import discover

explainers = discover("explainer", ExplainerSpec)
NAMES = list(explainers)
# Pictures are what users of a library get, its own refusals and gaps included.
RAW = [name for name in NAMES if explainers[name].output != "picture"]
CLASSES = 4
LAYERS = ("layer1", "layer2")
TARGETS = torch.tensor([[0, 1], [1, 3], [2, 3]])


class Block(nn.Module):
    """A residual block with torchvision's habits: one in-place ReLU for two calls, and a sum in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x
        return self.relu(out)


class Small(nn.Module):
    """Four channels, a ReLU that is a function, a residual block, pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4))
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.layer2 = Block(4)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.layer1(x), inplace=True)
        return self.fc(self.layer2(self.down(x)).mean(dim=(2, 3)))


@pytest.fixture
def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        small = Small()
        small(pictures(32))  # statistics of real images
        return small.eval()


@pytest.fixture
def images() -> Tensor:
    return pictures(3)[:, :, ::2, ::2].contiguous()


def layers_of(name: str) -> tuple[str, ...]:
    return ("input",) if explainers[name].output == "input" else LAYERS


def ask(name: str, net: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Guarded, and with torch's generator where bench would put it for a stochastic one."""
    with torch.random.fork_rng(enabled=explainers[name].stochastic):
        if explainers[name].stochastic:
            torch.manual_seed(7)
        return guarded(explainers[name], net, layers_of(name), images, targets)


def largest_error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Of all maps, each relative to its own largest value."""
    errors = [
        (found[layer] - expected[layer]).abs().amax((2, 3)) / expected[layer].abs().amax((2, 3)).clamp(min=1e-30)
        for layer in expected
    ]
    return float(torch.stack(errors).max())


@pytest.mark.parametrize("name", NAMES)
def test_two_calls_give_the_same_finite_maps_and_leave_nothing_behind(
    name: str, net: nn.Module, images: Tensor
) -> None:
    ask(name, net, images, TARGETS)  # a first call may import its library
    first, second = ask(name, net, images, TARGETS), ask(name, net, images, TARGETS)
    for layer, maps in first.items():
        assert maps.isfinite().all()
        assert maps.flatten(2).std(2).max() > 0  # a dead map is a finding, and one of six may be
        assert torch.equal(maps, second[layer])


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_its_images_give_alone(name: str, net: nn.Module, images: Tensor) -> None:
    batch = ask(name, net, images, TARGETS)
    singles = [ask(name, net, images[n : n + 1], TARGETS[n : n + 1]) for n in range(len(images))]
    alone = {layer: torch.cat([each[layer] for each in singles]) for layer in batch}
    assert largest_error(batch, alone) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_targets_and_layers_asked_for_together_get_what_they_get_alone(
    name: str, net: nn.Module, images: Tensor
) -> None:
    together = ask(name, net, images, TARGETS)
    columns = [ask(name, net, images, column[:, None]) for column in TARGETS.unbind(1)]
    assert largest_error(together, {layer: torch.cat([each[layer] for each in columns], 1) for layer in together}) == 0
    if len(together) > 1:
        alone = {layer: explainers[name].explain(net, [layer], images, TARGETS)[layer] for layer in together}
        assert largest_error(together, alone) <= 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_another_class_has_another_map_where_the_spec_says_so(name: str, net: nn.Module, images: Tensor) -> None:
    for maps in ask(name, net, images, TARGETS).values():
        differ = [not torch.equal(row[0], row[1]) for row in maps]
        assert differ == [explainers[name].class_specific] * len(images)


@pytest.mark.parametrize("name", NAMES)
def test_values_below_zero_come_only_from_the_signed_or_from_activations_below_zero(
    name: str, net: nn.Module, images: Tensor
) -> None:
    if not explainers[name].signed:
        grids = [maps for layer, maps in ask(name, net, images, TARGETS).items() if layer != "layer1"]  # ends in a norm
        assert all((maps >= 0).all() for maps in grids)


@pytest.mark.parametrize("name", RAW)
def test_maps_are_in_the_dtype_of_the_images(name: str, net: nn.Module, images: Tensor) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        raw = ask(name, net.to(dtype), images.to(dtype), TARGETS)
        assert all(maps.dtype is dtype and maps.isfinite().all() for maps in raw.values())


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_frozen_nets_in_training_mode_and_callers_without_gradients_get_the_same_maps(
    name: str, mode: Callable[[], torch.no_grad], net: nn.Module, images: Tensor
) -> None:
    expected = ask(name, net, images, TARGETS)
    net.train().requires_grad_(False)
    with mode():
        found = ask(name, net, images * 1, TARGETS)
    assert largest_error(found, expected) == 0
    assert net.training


@pytest.mark.parametrize("name", NAMES)
def test_images_that_want_gradients_get_none(name: str, net: nn.Module, images: Tensor) -> None:
    wanting = images.clone().requires_grad_()
    ask(name, net, wanting, TARGETS)
    assert wanting.requires_grad
    assert wanting.grad is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("target", "words"), [(CLASSES, "is none of the model's 4 classes"), (-1, "is below 0")])
def test_a_wrong_target_is_refused_and_named(
    name: str, target: int, words: str, net: nn.Module, images: Tensor
) -> None:
    wrong = TARGETS.clone()
    wrong[2, 1] = target
    with pytest.raises(ContractError, match=f"target {target} of image 2 {words}"):
        ask(name, net, images, wrong)


@pytest.mark.parametrize("name", RAW)
def test_a_layer_that_is_not_there_and_one_without_a_grid_are_refused(
    name: str, net: nn.Module, images: Tensor
) -> None:
    for layer in ("layer9", "fc") if layers_of(name) == LAYERS else ("layer1", "layer9"):
        with pytest.raises(BenchError, match=layer):
            guarded(explainers[name], net, [layer], images, TARGETS)


@pytest.mark.parametrize("name", NAMES)
def test_an_error_at_any_point_of_the_work_leaves_the_model_as_it_was(
    name: str, net: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, fatal = 0, 0

    def fails(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == fatal:
            raise IndexError("planted")
        return nn.functional.linear(x, net.fc.weight, net.fc.bias)

    monkeypatch.setattr(net.fc, "forward", fails)
    ask(name, net, images, TARGETS)
    last = calls
    for place in {1, (1 + last) // 2, last}:
        calls, fatal = 0, place
        with pytest.raises(IndexError, match="planted") as caught:
            ask(name, net, images, TARGETS)
        assert caught.value.__notes__ == [f"in explainer {name!r}"]  # the guard would add what was left


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("error")
def test_an_explainer_says_nothing(
    name: str, net: nn.Module, images: Tensor, capfd: pytest.CaptureFixture[str]
) -> None:
    ask(name, net, images, TARGETS)
    assert capfd.readouterr() == ("", "")


def test_more_calls_leave_no_more_tensors(net: nn.Module, images: Tensor) -> None:
    for name in NAMES:
        ask(name, net, images[:1], TARGETS[:1])
    before = live_tensors()
    for name in NAMES:
        for _ in range(3):
            ask(name, net, images[:1], TARGETS[:1])
    assert live_tensors() == before


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("name", [name for name in NAMES if explainers[name].output == "input"])
def test_cost_of_an_input_method_is_what_one_more_image_takes(name: str, net: nn.Module) -> None:
    def work(count: int) -> int:
        with Work() as counted:
            guarded(explainers[name], net, ["input"], pictures(count), TARGETS[:count, :1])
        return counted.flops

    with Work() as forward:
        net(pictures(1))
    taken = (work(3) - work(1)) / 2 / forward.flops
    assert taken == pytest.approx(explainers[name].cost("input"), rel=0.03)


class Work(TorchDispatchMode):
    """Adds up what convolutions and products cost; FlopCounterMode also follows modules, and stumbles over leaves."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **kwargs or {})
        count = flop_registry.get(func.overloadpacket)
        self.flops += count(*args, **kwargs or {}, out_val=output) if count else 0
        return output
