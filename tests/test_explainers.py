"""Everything registered as an explainer keeps the contract, in every way that people trip over."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pictures import pictures
from reference_cam import gradcam_by_hand
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import Explainer, ExplainerSpec, ModelSpec
from bench.errors import ContractError, UsageError
from bench.explaining.guard import guarded
from bench.nets.weights import build_seeded
from bench.registry.registry import discover

explainers = discover("explainer", ExplainerSpec)
models = discover("model", ModelSpec)
CAMS = [name for name in explainers if explainers[name].claims == "grad-cam" and explainers[name].output == "layer"]
# Grad-CAM by whatever name; tests/test_registered.py runs everything, on a smaller net.
GRADCAMS = [name for name in explainers if explainers[name].claims or explainers[name].output == "picture"]
EDGES = {"layer1": 32, "layer2": 16, "layer3": 8, "layer4": 4}
STATM = Path("/proc/self/statm")


class Tiny(nn.Module):
    """Everything that is awkward to hook: in-place ops, a module used twice, outputs without a grid, idle parts."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(6)
        self.pair = Pair()
        self.idle = nn.Conv2d(6, 6, 1)
        self.aside = nn.Conv2d(6, 6, 1)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        self.aside(x)
        out = self.bn2(self.conv2(x))
        out += x
        out, _ = self.pair(self.relu(out))
        return self.fc(out.mean(dim=(2, 3)))


class Pair(nn.Module):
    """Gives two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.fixture
def tiny() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Tiny().train(False)


@pytest.fixture
def images() -> Tensor:
    return pictures(4)


@pytest.fixture
def targets() -> Tensor:
    return torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]])


@pytest.fixture(params=CAMS)
def explain(request: pytest.FixtureRequest) -> Explainer:
    return explainers[request.param].explain


# --- everything registered ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(explainers))
def test_spec_bears_the_registered_name_a_source_and_four_parameters(name: str) -> None:
    spec = explainers[name]
    assert spec.name == name
    assert spec.source
    assert list(inspect.signature(spec.explain).parameters) == ["model", "layers", "images", "targets"]
    assert all(1 <= spec.cost(layer) <= 1000 for layer in (*EDGES, "conv1", "layer4.1.bn2", "input", "anything"))


@pytest.mark.parametrize("explainer", GRADCAMS)
@pytest.mark.parametrize("model", list(models))
def test_explainer_passes_the_guard_with_maps_of_32_16_8_4_cells(model: str, explainer: str) -> None:
    spec = explainers[explainer]
    edges = {"layer": EDGES, "input": {"input": 32}, "picture": dict.fromkeys(EDGES, 32)}[spec.output]
    net = build_seeded(models[model], 10, 0).eval()
    wanted = torch.tensor([[1, 2, 3]])
    guarded(spec, net, list(edges), pictures(1), wanted)  # a first call may import its library
    raw = guarded(spec, net, list(edges), pictures(1), wanted)
    assert {layer: tuple(maps.shape) for layer, maps in raw.items()} == {
        layer: (1, 3, edge, edge) for layer, edge in edges.items()
    }


@pytest.mark.parametrize(
    ("layer", "passes"),
    [("layer4", 1.0), ("layer3", 1.25), ("layer1", 1.73), ("layer4.1.bn2", 1.25), ("layer1.0", 2.0), ("conv1", 2.0)],
)
@pytest.mark.parametrize("name", CAMS)
def test_cost_is_a_forward_pass_and_the_way_back_to_the_layer(name: str, layer: str, passes: float) -> None:
    assert explainers[name].cost(layer) == passes


# --- Grad-CAM, wherever it stands --------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["conv1", "bn1", "conv2", "bn2", "relu"])
def test_layers_that_are_overwritten_or_run_twice_are_right(
    explain: Explainer, tiny: nn.Module, images: Tensor, targets: Tensor, layer: str
) -> None:
    truth = gradcam_by_hand(tiny, layer, images, targets, at_once=4)
    found = explain(tiny, [layer], images, targets)[layer]
    assert ((found - truth).abs().amax() <= 1e-5 * truth.abs().amax()).all()


def test_layers_asked_for_together_get_the_maps_they_get_alone(
    explain: Explainer, tiny: nn.Module, images: Tensor, targets: Tensor
) -> None:
    layers = ["bn2", "conv1", "relu", "bn1", "conv2"]
    together = explain(tiny, layers, images, targets)
    assert list(together) == layers
    for layer in layers:
        assert torch.equal(together[layer], explain(tiny, [layer], images, targets)[layer])


def test_targets_asked_for_together_get_the_maps_they_get_alone(
    explain: Explainer, tiny: nn.Module, images: Tensor, targets: Tensor
) -> None:
    together = explain(tiny, ["conv2"], images, targets)["conv2"]
    alone = [explain(tiny, ["conv2"], images, column[:, None])["conv2"] for column in targets.unbind(1)]
    assert torch.equal(together, torch.cat(alone, dim=1))


def test_parallel_branches_are_not_mixed_up(explain: Explainer) -> None:
    net = build_seeded(models["torchvision_resnet18"], 10, 0).eval()
    layers, wanted = ["layer4.0.bn2", "layer4.0.downsample.1", "layer4.0.conv2"], torch.tensor([[3]])
    found = explain(net, layers, pictures(1), wanted)
    for layer in layers:
        truth = gradcam_by_hand(net, layer, pictures(1), wanted)
        assert (found[layer] - truth).abs().max() <= 1e-5 * truth.abs().max()


def test_one_image_works(explain: Explainer, tiny: nn.Module) -> None:
    assert explain(tiny, ["conv1"], pictures(1), torch.tensor([[2]]))["conv1"].shape == (1, 1, 32, 32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_maps_are_in_the_dtype_of_the_images_and_detached(
    explain: Explainer, tiny: nn.Module, images: Tensor, targets: Tensor, dtype: torch.dtype
) -> None:
    raw = explain(tiny.to(dtype), ["conv2"], images.to(dtype), targets)["conv2"]
    assert raw.dtype is dtype
    assert not raw.requires_grad
    assert raw.grad_fn is None
    assert raw.isfinite().all()


def test_autocast_maps_are_in_the_dtype_of_the_images(
    explain: Explainer, tiny: nn.Module, images: Tensor, targets: Tensor
) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        raw = explain(tiny, ["conv2"], images, targets)["conv2"]
    assert raw.dtype is torch.float32


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_frozen_models_and_callers_without_gradients_get_the_same_maps(
    explain: Explainer, tiny: nn.Module, images: Tensor, targets: Tensor, mode: Callable[[], object]
) -> None:
    expected = explain(tiny, ["bn1", "bn2"], images, targets)
    tiny.requires_grad_(False)
    with mode():
        found = explain(tiny, ["bn1", "bn2"], images * 1, targets)
    assert all(torch.equal(found[layer], maps) for layer, maps in expected.items())


def test_model_in_training_mode_is_explained_in_eval_mode(
    explain: Explainer, tiny: nn.Module, images: Tensor, targets: Tensor
) -> None:
    expected = explain(tiny, ["bn2"], images, targets)["bn2"]
    tiny.train()
    tiny.bn1.eval()
    assert torch.equal(explain(tiny, ["bn2"], images, targets)["bn2"], expected)
    assert tiny.training
    assert not tiny.bn1.training
    assert tiny.bn2.num_batches_tracked == 0


def test_gradients_of_a_training_are_kept(explain: Explainer, tiny: nn.Module, images: Tensor, targets: Tensor) -> None:
    tiny(images).sum().backward()
    before = {name: (parameter.grad, parameter.grad.clone()) for name, parameter in used(tiny)}
    explain(tiny, ["conv1"], images, targets)
    for name, parameter in used(tiny):
        assert parameter.grad is before[name][0]
        assert torch.equal(parameter.grad, before[name][1])


def used(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in model.named_parameters() if not name.startswith(("idle", "aside"))]


def test_images_that_want_gradients_get_none(
    explain: Explainer, tiny: nn.Module, images: Tensor, targets: Tensor
) -> None:
    wanting = images.clone().requires_grad_()
    explain(tiny, ["conv1"], wanting, targets)
    assert wanting.grad is None
    assert wanting.requires_grad


# --- what cannot be meant ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([[0], [1]], "2 rows of targets for 4 images"),
        ([[0], [1], [2], [4]], r"target 4 of image 3 is none of the model's 4 classes \(0 to 3\)"),
        ([[0], [-1], [2], [3]], "target -1 of image 1 is below 0"),
        ([0, 1, 2, 3], r"targets must be \(N, T\) int64 with T >= 1, not \(4\)"),
        ([[], [], [], []], r"targets must be \(N, T\) int64 with T >= 1"),
    ],
)
def test_wrong_targets_are_refused(
    explain: Explainer, tiny: nn.Module, images: Tensor, targets: list[object], message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        explain(tiny, ["conv1"], images, torch.tensor(targets, dtype=torch.int64))


def test_targets_as_floats_are_refused(explain: Explainer, tiny: nn.Module, images: Tensor) -> None:
    with pytest.raises(ContractError, match=r"int64 .* not \(4, 1\) torch\.float32"):
        explain(tiny, ["conv1"], images, torch.zeros(4, 1))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("fc", r"layer 'fc' gives \(4, 4\), and a map needs \(N, C, h, w\)"),
        ("pair", "layer 'pair' gives a tuple"),
        ("idle", "layer 'idle' did not run"),
        ("aside", "logits do not depend on layer 'aside'"),
    ],
)
def test_layers_without_a_map_are_refused(
    explain: Explainer, tiny: nn.Module, images: Tensor, targets: Tensor, layer: str, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        explain(tiny, ["conv1", layer], images, targets)


def test_unknown_layer_gets_the_names_that_come_close(explain: Explainer) -> None:
    net = models["timm_resnet18"].build(10)
    with pytest.raises(UsageError, match=r"no layer 'layer4\.1\.bn3' .* did you mean 'layer4\.1\.bn[12]'") as caught:
        explain(net, ["layer4.1.bn3"], pictures(1), torch.tensor([[0]]))
    assert caught.value.try_ == "bench list layers"


def test_model_itself_is_no_layer(explain: Explainer, tiny: nn.Module, images: Tensor, targets: Tensor) -> None:
    with pytest.raises(UsageError, match=r"no layer ''.*'conv1'"):
        explain(tiny, [""], images, targets)


@pytest.mark.parametrize("layers", [[], ["conv1"]])
def test_requests_for_nothing_are_refused(explain: Explainer, tiny: nn.Module, layers: list[str]) -> None:
    with pytest.raises(ContractError, match=r"no layer was asked for|N >= 1"):
        explain(tiny, layers, pictures(1)[:0], torch.zeros(0, 1, dtype=torch.int64))


def test_model_without_logits_is_refused(explain: Explainer, images: Tensor, targets: Tensor) -> None:
    with pytest.raises(ContractError, match=r"must give logits \(N, K\) for 4 images, not \(4, 2, 32, 32\)"):
        explain(nn.Sequential(nn.Conv2d(3, 2, 1)), ["0"], images, targets)


# --- nothing is left behind --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CAMS)
def test_index_error_in_the_model_is_not_swallowed_and_all_is_put_back(
    name: str, tiny: nn.Module, images: Tensor, targets: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(x: Tensor) -> Tensor:
        raise IndexError("planted")

    tiny.train()
    tiny.conv1.requires_grad_(False)
    monkeypatch.setattr(tiny.pair, "forward", fail)
    with pytest.raises(IndexError, match="planted") as caught:
        guarded(explainers[name], tiny, ["conv1", "bn2"], images, targets)
    assert caught.value.__notes__ == [f"in explainer {name!r}"]


def test_fifty_batches_leave_no_tensor_and_no_memory(explain: Explainer, tiny: nn.Module) -> None:
    batch, wanted = pictures(8), torch.zeros(8, 2, dtype=torch.int64)
    for _ in range(3):
        explain(tiny, ["conv1", "bn2"], batch, wanted)
    gc.collect()
    gc.disable()
    try:
        tensors, memory = live_tensors(), resident()
        for _ in range(50):
            explain(tiny, ["conv1", "bn2"], batch, wanted)
        assert live_tensors() == tensors
        assert resident() - memory < 20e6  # leaked graphs would be 1 MB a batch
    finally:
        gc.enable()


def live_tensors() -> int:
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


def resident() -> float:
    """Bytes of this process, 0 where /proc is not there."""
    return int(STATM.read_text().split()[1]) * 4096.0 if STATM.exists() else 0.0


def test_two_layers_and_two_targets_cost_one_forward_pass_and_two_short_backward_passes(explain: Explainer) -> None:
    net = build_seeded(models["cifar_resnet18"], 10, 0).eval()
    forward, stage = 555_422_720, 134_217_728  # multiplications of the whole net and of layer4
    with FlopCounterMode(display=False) as counter:
        explain(net, ["layer3", "layer4"], pictures(1), torch.tensor([[1, 2]]))
    assert counter.get_total_flops() // 2 <= forward + 2 * (stage + 20_000)
