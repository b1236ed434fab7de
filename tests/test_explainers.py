"""Everything registered as an explainer keeps the contract; ours also name what cannot be meant.

What the contract asks of all, plug-ins included, stands in bench/verifying; its faults are planted in test_conformance.
"""

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from pictures import pictures
from reference_cam import gradcam_by_hand
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from bench.contracts import Explainer, ExplainerSpec, Layer, ModelSpec
from bench.errors import BenchError, ContractError, UsageError
from bench.explaining.guard import guarded
from bench.nets.weights import build_seeded
from bench.registry.registry import discover

explainers = discover("explainer", ExplainerSpec)
models = discover("model", ModelSpec)
CAMS = [name for name in explainers if explainers[name].claims == "grad-cam" and explainers[name].output == "layer"]
PICTURES = [name for name in explainers if explainers[name].output == "picture"]
RAW = [name for name in explainers if name not in PICTURES]
EDGES = {"layer1": 32, "layer2": 16, "layer3": 8, "layer4": 4}
A_PASS_A_CHANNEL = 60  # forward passes; layer1 and layer2 of the small net have 24 channels, all four have 120
# 50 passes a map and more; what they share with the other input methods, those try.
SLOWEST = ("integrated_gradients", "smoothgrad", "smoothgrad_ig", "kernel_shap", "rise")
WITHOUT_GRADIENTS = ("occlusion", "kernel_shap", "rise")


# --- everything registered ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOWEST else name for name in explainers]
)
def test_registered_explainer_keeps_the_contract(
    name: str, conformance: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.commands.verify.IMAGES", 2)  # three images and more batches are what users ask for
    monkeypatch.setattr("bench.verifying.conformance.BATCHES", 4)
    dear = explainers[name].output == "layer" and explainers[name].cost("layer1") > A_PASS_A_CHANNEL
    conformance(name, layer=("layer1", "layer2") if dear else ())


def test_spec_bears_the_registered_name_and_a_cost_that_can_be_whatever_is_known_of_a_layer() -> None:
    assert [name for name in explainers if explainers[name].name != name] == []
    layers = ("input", "anything", Layer("deep", (2048, 7, 7), pixels=224, behind=0.0, work=4.1e9))
    costs = {name: [explainers[name].cost(layer) for layer in layers] for name in explainers}
    assert [name for name, each in costs.items() if not all(1 <= cost <= 4000 for cost in each)] == []


@pytest.mark.parametrize(
    ("name", "layer", "passes"),
    [
        ("occlusion", Layer("input", (3, 64, 64), pixels=64), 257),
        ("occlusion", Layer("input", (3, 224, 224), pixels=224), 3137),
        ("occlusion", Layer("input", (3, 30, 30), pixels=30), 65),  # the last patches overlap
        ("scorecam", Layer("blocks.0", (16, 16, 16)), 18),
        ("ablationcam", Layer("layer1", (256, 8, 8)), 258),
        ("gradcam", Layer("layer4", behind=0.25), 1.25),
        ("guided_gradcam", Layer("layer4", behind=0.25), 3.25),
        ("eigencam", Layer("stem", (64, 32, 32), work=5.6e8), 6.5),
    ],
)
def test_costs_are_those_of_the_very_layer_and_size(name: str, layer: Layer, passes: float) -> None:
    assert explainers[name].cost(layer) == pytest.approx(passes, rel=0.01)


@pytest.mark.parametrize("model", list(models))
def test_registered_model_and_grad_cam_give_maps_of_32_16_8_4_cells_under_the_guard(model: str) -> None:
    net, targets = build_seeded(models[model], 10, 0).eval(), torch.tensor([[1, 2]])
    for name in (*CAMS, *PICTURES):
        edges = dict.fromkeys(EDGES, 32) if name in PICTURES else EDGES
        raw = guarded(explainers[name], net, list(edges), pictures(1), targets)
        assert {layer: tuple(maps.shape) for layer, maps in raw.items()} == {
            layer: (1, 2, edge, edge) for layer, edge in edges.items()
        }, name


# --- on a net with everything that is awkward to hook -------------------------------------------------------


class Awkward(nn.Module):
    """In-place operations, a module used twice, outputs without a grid, idle parts."""

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


IMAGES, TARGETS = pictures(4), torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]])


@pytest.fixture
def awkward() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Awkward().train(False)


@pytest.fixture(params=CAMS)
def explain(request: pytest.FixtureRequest) -> Explainer:
    return explainers[request.param].explain


def test_layers_that_are_overwritten_or_run_twice_are_right_alone_and_together(
    explain: Explainer, awkward: nn.Module
) -> None:
    layers = ["bn2", "conv1", "relu", "bn1", "conv2"]
    together = explain(awkward, layers, IMAGES, TARGETS)
    assert list(together) == layers
    for layer, found in together.items():
        truth = gradcam_by_hand(awkward, layer, IMAGES, TARGETS, at_once=4)
        assert (found - truth).abs().amax() <= 1e-5 * truth.abs().amax(), layer
        assert torch.equal(found, explain(awkward, [layer], IMAGES, TARGETS)[layer]), layer


def test_parallel_branches_are_not_mixed_up(explain: Explainer) -> None:
    net = build_seeded(models["torchvision_resnet18"], 10, 0).eval()
    layers, wanted = ["layer4.0.bn2", "layer4.0.downsample.1", "layer4.0.conv2"], torch.tensor([[3]])
    found = explain(net, layers, pictures(1), wanted)
    for layer in layers:
        truth = gradcam_by_hand(net, layer, pictures(1), wanted)
        assert (found[layer] - truth).abs().max() <= 1e-5 * truth.abs().max()


def asked(
    net: nn.Module, images: Tensor, targets: Tensor, names: Sequence[str] = RAW
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """What everything with raw maps gives: layer methods at two layers, input methods in pixels."""
    for name in names:
        layers = ["input"] if explainers[name].output == "input" else ["bn1", "bn2"]
        with torch.random.fork_rng(enabled=explainers[name].stochastic):
            if explainers[name].stochastic:
                torch.manual_seed(7)
            yield name, explainers[name].explain(net, layers, images, targets)


@pytest.mark.parametrize(
    ("dtype", "names"),
    [(torch.bfloat16, RAW), (torch.float16, CAMS)],  # float64 the kit asks for
    ids=["bfloat16", "float16"],
)
def test_maps_are_in_the_dtype_of_the_images(awkward: nn.Module, dtype: torch.dtype, names: list[str]) -> None:
    for name, raw in asked(awkward.to(dtype), IMAGES[:2].to(dtype), TARGETS[:2], names):
        assert all(maps.dtype is dtype and maps.isfinite().all() for maps in raw.values()), name


def test_autocast_maps_are_in_the_dtype_of_the_images(explain: Explainer, awkward: nn.Module) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert explain(awkward, ["conv2"], IMAGES, TARGETS)["conv2"].dtype is torch.float32


def test_model_in_training_mode_is_explained_in_eval_mode_frozen_and_where_no_gradient_is_recorded(
    awkward: nn.Module,
) -> None:
    images, targets = IMAGES[:2], TARGETS[:2]
    expected = dict(asked(awkward, images, targets))
    awkward.train().requires_grad_(False)
    awkward.bn1.eval()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = dict(asked(awkward, images * 1, targets))
        for name, maps in expected.items():
            assert all(torch.equal(found[name][layer], each) for layer, each in maps.items()), (name, mode)
    assert (awkward.training, awkward.bn1.training, int(awkward.bn2.num_batches_tracked)) == (True, False, 0)


def test_two_layers_and_two_targets_cost_one_forward_pass_and_two_short_backward_passes(explain: Explainer) -> None:
    net = build_seeded(models["cifar_resnet18"], 10, 0).eval()
    forward, stage = 555_422_720, 134_217_728  # multiplications of the whole net and of layer4
    with FlopCounterMode(display=False) as counter:
        explain(net, ["layer3", "layer4"], pictures(1), torch.tensor([[1, 2]]))
    assert counter.get_total_flops() // 2 <= forward + 2 * (stage + 20_000)


class Staged(nn.Module):
    """Two stages, the first run in some other way."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.last, self.fc, self.run = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()), nn.Linear(4, 4), run

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.run(self.first, x)).mean(dim=(2, 3)))


def plainly(stage: nn.Module, x: Tensor) -> Tensor:
    return stage(x)


def staged(run: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(6)
        return Staged(run).eval()


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_stage_under_checkpoint_has_the_maps_of_any_other(reentrant: bool) -> None:
    def kept(stage: nn.Module, x: Tensor) -> Tensor:
        return checkpoint(stage, x, use_reentrant=reentrant)

    for name in explainers:
        layers, found = ["input"] if explainers[name].output == "input" else ["first"], []
        for run in (plainly, kept):
            with torch.random.fork_rng():
                torch.manual_seed(7)
                found.append(explainers[name].explain(staged(run), layers, IMAGES[:1], TARGETS[:1])[layers[0]])
        assert torch.equal(*found) and found[0].any(), name


def test_methods_that_need_a_gradient_where_none_arrives_say_so_and_what_takes_none() -> None:
    @torch.no_grad()
    def cut(stage: nn.Module, x: Tensor) -> Tensor:
        return stage(x)

    net = staged(cut)
    for name in explainers:
        if name in WITHOUT_GRADIENTS:
            assert explainers[name].explain(net, ["input"], IMAGES, TARGETS)["input"].any()
            continue
        layers = ["input"] if explainers[name].output == "input" else ["first"]
        with pytest.raises(ContractError, match="no gradient reaches it, as if under") as caught:
            explainers[name].explain(net, layers, IMAGES[:1], TARGETS[:1])
        assert "occlusion" in caught.value.try_, name


def test_an_image_too_small_for_a_patch_is_refused_with_its_size() -> None:
    with pytest.raises(ContractError, match="3x8 pixels hold no patch of 4x4"):
        explainers["occlusion"].explain(staged(plainly), ["input"], torch.rand(1, 3, 3, 8), TARGETS[:1])


# --- what cannot be meant is named --------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(explainers))
def test_a_wrong_target_and_a_layer_without_a_map_are_refused_by_name(name: str, awkward: nn.Module) -> None:
    layers = ["input"] if explainers[name].output == "input" else ["bn2"]
    for target, words in ((4, "is not one of the model's 4 classes"), (-1, "is below 0")):
        wrong = torch.tensor([[0, 1], [1, 2], [2, target], [3, 0]])
        with pytest.raises(ContractError, match=f"target {target} of image 2 {words}"):
            explainers[name].explain(awkward, layers, IMAGES, wrong)
    for layer in () if name in PICTURES else ("layer9", "bn2" if layers == ["input"] else "fc"):
        with pytest.raises(BenchError, match=layer):
            explainers[name].explain(awkward, [layer], IMAGES, TARGETS)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([[0], [1]]), "2 rows of targets for 4 images"),
        (torch.tensor([0, 1, 2, 3]), r"targets must be \(N, T\) int64 with T >= 1, not \(4\)"),
        (torch.zeros(4, 0, dtype=torch.int64), r"targets must be \(N, T\) int64 with T >= 1"),
        (torch.zeros(4, 1), r"int64 .* not \(4, 1\) torch\.float32"),
    ],
    ids=["too few", "flat", "empty", "floats"],
)
def test_wrong_targets_are_refused(explain: Explainer, awkward: nn.Module, targets: Tensor, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        explain(awkward, ["conv1"], IMAGES, targets)


@pytest.mark.parametrize(
    ("layers", "images", "message"),
    [
        (["conv1", "fc"], 4, r"layer 'fc' gives \(4, 4\), and a map needs \(N, C, h, w\)"),
        (["conv1", "pair"], 4, "layer 'pair' gives a tuple"),
        (["conv1", "idle"], 4, "layer 'idle' did not run"),
        (["conv1", "aside"], 4, "logits do not depend on layer 'aside'"),
        (["conv1", ""], 4, r"no layer ''.*'conv1'"),
        ([], 0, "no layer was asked for|N >= 1"),
        (["conv1"], 0, "N >= 1"),
    ],
)
def test_layers_without_a_map_and_requests_for_nothing_are_refused(
    explain: Explainer, awkward: nn.Module, layers: list[str], images: int, message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        explain(awkward, layers, IMAGES[:images], TARGETS[:images])


def test_unknown_layer_gets_the_names_that_come_close(explain: Explainer) -> None:
    net = models["timm_resnet18"].build(10)
    with pytest.raises(UsageError, match=r"no layer 'layer4\.1\.bn3' .* did you mean 'layer4\.1\.bn[12]'") as caught:
        explain(net, ["layer4.1.bn3"], pictures(1), torch.tensor([[0]]))
    assert caught.value.try_ == "bench list layers"


def test_model_without_logits_is_refused(explain: Explainer) -> None:
    with pytest.raises(ContractError, match=r"must give logits \(N, K\) for 4 images, not \(4, 2, 32, 32\)"):
        explain(nn.Sequential(nn.Conv2d(3, 2, 1)), ["0"], IMAGES, TARGETS)
