"""The reference does no work that its maps do not need, and takes the short way only where that is exact."""

from unittest.mock import Mock

import pytest
import torch
from pictures import pictures
from reference_cam import gradcam_by_hand
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import ExplainerSpec, ModelSpec
from bench.explaining.float64 import in_float64
from bench.nets.summary import layers_in, summarise
from bench.nets.weights import build_seeded
from bench.registry.registry import discover

LEAST = {"layer1": 958_100_000, "layer2": 823_900_000, "layer3": 689_600_000, "layer4": 555_500_000}  # multiplications
FORWARD = 555_422_720
TARGETS = torch.tensor([[1, 2], [3, 0]])

models = discover("model", ModelSpec)
spec = discover("explainer", ExplainerSpec)["reference"]
reference = spec.explain


class Bent(torch.autograd.Function):
    """Changes nothing on the way there, and the sign on the way back."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        """The same values."""
        return x.view_as(x)

    @staticmethod
    def backward(context: object, slope: Tensor) -> Tensor:
        """The negative slope."""
        return -slope


class Small(nn.Module):
    """A convolution with a ReLU, pooling, one linear layer, and whatever is planted between or behind."""

    def __init__(self, planted: str = "") -> None:
        super().__init__()
        self.body, self.planted = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4), nn.ReLU()), planted
        self.fc = nn.Linear(6, 4)
        if planted == "another layer last":
            self.aside = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 4)."""
        grid = self.body(x)
        between = {"a second ReLU": torch.relu, "a slope of its own": Bent.apply, "a power": torch.square}
        grid = between.get(self.planted, lambda same: same)(grid)
        ways = {"largest": lambda: grid.amax(dim=(2, 3)), "mean": lambda: grid.mean(dim=(2, 3))}
        pooled = ways.get(self.planted, lambda: nn.functional.adaptive_avg_pool2d(grid, 1).flatten(1))
        logits: Tensor = self.fc(pooled())
        return 2 * logits if self.planted == "a scale" else logits


def small(planted: str = "") -> nn.Module:
    """One with seeded weights."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Small(planted).eval()


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Counts backward passes."""
    counting = Mock(side_effect=torch.autograd.grad)
    monkeypatch.setattr(torch.autograd, "grad", counting)
    return counting


def multiplications(net: nn.Module, layers: list[str], targets: Tensor) -> float:
    """Those of one image, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        reference(net, layers, pictures(len(targets)), targets)
    return counter.get_total_flops() / 2 / len(targets)


# --- the least work -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", list(LEAST))
@pytest.mark.parametrize("model", list(models))
def test_one_layer_and_one_target_cost_the_least_that_is_possible(model: str, layer: str) -> None:
    spent = multiplications(build_seeded(models[model], 10, 0).eval(), [layer], TARGETS[:, :1])
    assert FORWARD <= spent <= 1.01 * LEAST[layer]


def test_four_layers_and_two_targets_cost_less_than_two_and_a_half_forward_passes() -> None:
    assert multiplications(build_seeded(models["cifar_resnet18"], 10, 0).eval(), list(LEAST), TARGETS) <= 2.48 * FORWARD


@pytest.mark.parametrize("layer", [*LEAST, "layer4.1.bn2", "layer2.0"])
def test_the_cost_it_states_is_the_cost_that_is_counted(layer: str) -> None:
    net = build_seeded(models["torchvision_resnet18"], 10, 0).eval()
    seen = layers_in(summarise(net), [layer])[0]
    counted, stated = multiplications(net, [layer], TARGETS[:, :1]) / FORWARD, spec.cost(seen)
    assert stated == pytest.approx(counted, abs=0.01)


def test_all_layers_share_one_backward_pass_a_target(backwards: Mock) -> None:
    reference(build_seeded(models["cifar_resnet18"], 10, 0).eval(), list(LEAST), pictures(2), TARGETS)
    assert backwards.call_count == 2


# --- the short way --------------------------------------------------------------------------------------------

SHORT = ["", "mean"]
LONG = ["a second ReLU", "a slope of its own", "a power", "largest", "a scale", "another layer last"]


@pytest.mark.parametrize("planted", [*SHORT, *LONG])
def test_whatever_stands_behind_a_layer_the_map_is_that_of_the_slow_reference(planted: str) -> None:
    net, images = small(planted).double(), pictures(2).double()
    truth = gradcam_by_hand(net, "body", images, TARGETS)
    found = reference(net, ["body"], images, TARGETS)["body"]
    assert (found - truth).abs().max() <= 1e-12 * truth.abs().max()


def test_a_second_relu_changes_no_logit_and_yet_the_map() -> None:
    plain, bent, images = small(), small("a second ReLU"), pictures(2)
    assert torch.equal(plain(images), bent(images))
    maps = [gradcam_by_hand(net, "body", images, TARGETS) for net in (plain, bent)]
    assert (maps[0] - maps[1]).abs().max() > 0.01 * maps[0].abs().max()


@pytest.mark.parametrize(("planted", "passes"), [*((each, 0) for each in SHORT), *((each, 2) for each in LONG)])
def test_no_backward_pass_where_pooling_and_the_head_give_the_logits_and_one_a_target_elsewhere(
    planted: str, passes: int, backwards: Mock
) -> None:
    reference(small(planted), ["body"], pictures(2), TARGETS)
    assert backwards.call_count == passes


def test_a_head_in_another_precision_takes_the_long_way(backwards: Mock) -> None:
    net = small()
    net.body.bfloat16()
    net.fc.register_forward_pre_hook(lambda module, inputs: (inputs[0].float(),))
    maps = reference(net, ["body"], pictures(2).bfloat16(), TARGETS)["body"]
    assert maps.dtype is torch.bfloat16 and backwards.call_count == 2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("layer", ["layer4", "layer4.1"])
@pytest.mark.parametrize("model", ["cifar_resnet18", "timm_resnet18", "torchvision_resnet18"])
def test_every_built_in_model_ends_in_the_short_way(
    model: str, layer: str, layout: torch.memory_format, backwards: Mock
) -> None:
    net = build_seeded(models[model], 10, 0).eval().to(memory_format=layout)
    maps = reference(net, [layer], pictures(2).contiguous(memory_format=layout), TARGETS)[layer]
    assert (maps.shape, backwards.call_count) == ((2, 2, 4, 4), 0)


def test_short_and_long_way_give_the_same_map(monkeypatch: pytest.MonkeyPatch, backwards: Mock) -> None:
    net = build_seeded(models["cifar_resnet18"], 10, 0).eval()
    short = reference(net, ["layer4"], pictures(2), TARGETS)["layer4"]
    monkeypatch.setattr("bench.explainers.reference.AFFINE", set())
    long = reference(net, ["layer4"], pictures(2), TARGETS)["layer4"]
    assert backwards.call_count == 2 and (short - long).abs().max() <= 1e-6 * long.abs().max()


# --- layout and precision -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["layer1", "layer3", "layer4.1.bn2"])
def test_channels_last_maps_are_those_of_the_slow_reference_there(layer: str) -> None:
    net = build_seeded(models["torchvision_resnet18"], 10, 0).eval().double().to(memory_format=torch.channels_last)
    images = pictures(2).double().contiguous(memory_format=torch.channels_last)
    truth = gradcam_by_hand(net, layer, images, TARGETS)
    found = reference(net, [layer], images, TARGETS)[layer]
    assert (found - truth).abs().max() <= 1e-12 * truth.abs().max()


def test_float64_on_demand_is_nearer_to_the_truth_than_rounding() -> None:
    net = small("a power")
    truth = gradcam_by_hand(small("a power").double(), "body", pictures(2).double(), TARGETS)
    found = in_float64(spec, net, ["body"], pictures(2), TARGETS)["body"]
    rough = reference(net, ["body"], pictures(2), TARGETS)["body"]
    assert (found - truth).abs().max() <= 1e-12 * truth.abs().max() < (rough - truth).abs().max()
