"""Every method is its formula: against slow references, cases solved by hand, and the traps that are known."""

import sys
from collections.abc import Callable
from copy import deepcopy

import pytest
import reference_methods as plain
import torch
import torch.nn.functional as F
from pictures import pictures
from torch import Tensor, nn

from bench.contracts import ExplainerSpec
from bench.errors import ContractError, MissingError
from bench.registry.registry import discover
from bench.verifying.toy_net import small_images, small_net

explainers = discover("explainer", ExplainerSpec)
TARGETS = torch.tensor([[0, 1], [1, 3]])
EXACT, CASTS = 1e-12, 1e-6  # of the largest value; the second where a library goes through float32
LAYERS = ("layer1", "layer2", "layer2.relu", "layer2.bn2")  # the last is written over by `out += x`


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
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.layer1(x), inplace=True)
        return self.fc(self.layer2(self.down(x)).mean(dim=(2, 3)))


@pytest.fixture
def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        small = Small()
        small(pictures(32))
        return small.double().eval()


@pytest.fixture
def images() -> Tensor:
    return pictures(2)[:, :, ::2, ::2].double().contiguous()


def largest_error(found: Tensor, truth: Tensor) -> float:
    """Of all maps, each relative to its own largest value; dead maps must be dead."""
    top = truth.abs().amax((2, 3))
    assert (found.abs().amax((2, 3))[top == 0] == 0).all()
    return float(((found - truth).abs().amax((2, 3)) / top)[top > 0].max())


# --- pytorch-grad-cam's -----------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("name", "formula", "tolerance"),
    [
        ("gradcam++", plain.gradcam_plus_plus, EXACT),
        ("hirescam", plain.hirescam, EXACT),
        ("xgradcam", plain.xgradcam, EXACT),
        ("layercam", plain.layercam, EXACT),
        ("eigencam", lambda grid, slope: plain.eigencam(grid), CASTS),  # the first principal component
    ],
)
def test_cams_of_activations_and_slopes_are_their_formula(
    name: str, formula: Callable[..., plain.Floats], tolerance: float, layer: str, net: nn.Module, images: Tensor
) -> None:
    truth = plain.for_all(images, TARGETS, lambda x, target: formula(*plain.grid_and_slope(net, layer, x, target)))
    found = explainers[name].explain(net, [layer], images, TARGETS)[layer]
    assert largest_error(found, truth) <= tolerance


def test_eigencam_rises_with_the_activations_whatever_sign_the_library_finds(
    net: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytorch_grad_cam import eigen_cam

    expected = explainers["eigencam"].explain(net, ["layer2"], images, TARGETS)["layer2"]
    project = eigen_cam.get_2d_projection
    monkeypatch.setattr(eigen_cam, "get_2d_projection", lambda grids: -project(grids))
    turned = explainers["eigencam"].explain(net, ["layer2"], images, TARGETS)["layer2"]
    assert torch.equal(turned, expected)
    mean = torch.as_tensor(plain.grid_and_slope(net, "layer2", images[0], 0)[0]).mean(0)
    assert torch.corrcoef(torch.stack([expected[0, 0].flatten(), mean.flatten()]))[0, 1] > 0


@pytest.mark.parametrize("layer", LAYERS)
def test_scorecam_weighs_channels_by_the_softmax_of_the_logits_seen_through_them(
    layer: str, net: nn.Module, images: Tensor
) -> None:
    def one(image: Tensor, target: int) -> plain.Floats:
        return plain.scorecam(net, plain.grid_and_slope(net, layer, image, target)[0], image, target)

    found = explainers["scorecam"].explain(net, [layer], images, TARGETS)[layer]
    assert largest_error(found, plain.for_all(images, TARGETS, one)) <= CASTS


def ablation_by_hand(net: nn.Module, layer: str, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(N, T, h, w) twice: the maps, and what they may be off because a weight goes through float32.

    The library takes the difference of two logits in float32, and divides it by one: u (2 + 3 |weight|) at the most.
    """

    def one(image: Tensor, target: int) -> Tensor:
        grid, _ = plain.grid_and_slope(net, layer, image, target)
        weights = plain.ablation_weights(net, layer, len(grid), image, target=target)
        room = [2.0**-24 * (2 + 3 * abs(weight)) for weight in weights]
        maps = plain.ablationcam(weights, grid), plain.ablationcam(room, abs(grid))
        return torch.stack([torch.as_tensor(each) for each in maps])

    truth, room = plain.for_all(images, targets, one).unbind(2)
    assert (truth.abs().amax((2, 3)) > 100 * room.amax((2, 3))).all()  # or nothing would be tested
    return truth, room


@pytest.mark.parametrize("layer", ["layer1", "layer2", "layer2.bn2", "layer2.conv1"])
def test_ablationcam_weighs_channels_by_the_drop_over_the_size_of_the_logit(
    layer: str, net: nn.Module, images: Tensor
) -> None:
    truth, room = ablation_by_hand(net, layer, images, TARGETS)
    found = explainers["ablationcam"].explain(net, [layer], images, TARGETS)[layer]
    assert ((found - truth).abs() <= room).all()


def test_ablationcam_of_a_negative_logit_is_not_turned_round_as_the_library_turns_it(
    net: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.explainers.masking import RawAblationCAM

    with torch.no_grad():
        net.fc.bias -= net(images).amax() + 0.1  # the same drops, all logits below zero
    truth, room = ablation_by_hand(net, "layer2", images, TARGETS)
    found = explainers["ablationcam"].explain(net, ["layer2"], images, TARGETS)["layer2"]
    assert ((found - truth).abs() <= room).all()
    monkeypatch.setattr(RawAblationCAM, "get_cam_weights", RawAblationCAM.__mro__[2].get_cam_weights)
    shipped = explainers["ablationcam"].explain(net, ["layer2"], images, TARGETS)["layer2"]
    assert ((shipped + truth).abs() <= room).all()


def test_the_librarys_ablation_where_activations_are_negative_depends_on_its_batch(
    net: nn.Module, images: Tensor
) -> None:
    """What the adapter's zero is for."""
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.ablation_layer import AblationLayer

    def weights(size: int) -> Tensor:
        cam = AblationCAM(net, [net.down], ablation_layer=AblationLayer(), batch_size=size)
        grid = torch.as_tensor(plain.grid_and_slope(net, "down", images[0], 1)[0])[None]
        return torch.as_tensor(
            cam.get_cam_weights(images[:1], net.down, [lambda logits: logits[1]], grid.numpy(), None)
        )

    assert not torch.allclose(weights(4), weights(1), rtol=0.5)


@pytest.mark.parametrize("name", ["scorecam", "ablationcam"])
def test_a_second_target_costs_no_forward_pass(name: str, net: nn.Module, images: Tensor) -> None:
    seen = []
    net.fc.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    explainers[name].explain(net, ["layer2"], images, TARGETS[:, :1])
    alone = sum(seen)
    explainers[name].explain(net, ["layer2"], images, TARGETS)
    assert sum(seen) == 2 * alone >= 8 * len(images)


# --- Captum's ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "formula", "tolerance"),
    [
        ("saliency", plain.saliency, EXACT),
        ("input_x_gradient", plain.input_x_gradient, EXACT),
        ("integrated_gradients", plain.integrated_gradients, CASTS),
        ("occlusion", plain.occlusion, CASTS),
    ],
)
def test_input_methods_are_their_formula(
    name: str, formula: Callable[..., Tensor], tolerance: float, net: nn.Module, images: Tensor
) -> None:
    truth = plain.for_all(images, TARGETS, lambda image, target: formula(net, image, target))
    found = explainers[name].explain(net, ["input"], images, TARGETS)["input"]
    assert largest_error(found, truth) <= tolerance


@pytest.mark.parametrize("name", ["input_x_gradient", "integrated_gradients", "deeplift", "gradient_shap"])
def test_of_a_linear_net_all_contributions_are_weight_times_input(name: str, images: Tensor) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)).double()
    parts = net[1].weight[TARGETS].detach() * images.flatten(1)[:, None]  # (N, T, 3 * 16 * 16)
    truth = parts.unflatten(2, (3, 16, 16)).sum(2)
    found = explainers[name].explain(net, ["input"], images, TARGETS)["input"]
    # The noise of GradientSHAP moves the input by a tenth, the mean of 20 draws by 0.022.
    assert largest_error(found, truth) <= (0.2 if name == "gradient_shap" else CASTS)


def test_deeplift_through_one_relu_is_the_case_solved_by_hand() -> None:
    """logit = 5 relu(2 a - 1) over one pixel: from 0 to 5 as a goes from 0 to 1, where the gradient would say 10."""
    net = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([2.0, 0.0, 0.0]).view(1, 3, 1, 1))
        net[0].bias.fill_(-1)
        net[3].weight.fill_(5)
    image = torch.tensor([1.0, 7.0, -3.0], dtype=torch.float64).view(1, 3, 1, 1)
    target = torch.tensor([[0]])
    assert explainers["deeplift"].explain(net, ["input"], image, target)["input"].item() == pytest.approx(5, abs=1e-12)
    gradient = explainers["input_x_gradient"].explain(net, ["input"], image, target)["input"].item()
    assert gradient == pytest.approx(10, abs=1e-12)


def test_deeplift_adds_up_to_the_difference_of_the_logits_with_reused_and_functional_relus(
    net: nn.Module, images: Tensor
) -> None:
    """The rescale rule promises it only if no ReLU is missed."""
    assert sums_are_off(net, images) <= 1e-9


POOLS: dict[str, Callable[[], nn.Module]] = {
    "windows side by side": lambda: nn.MaxPool2d(2),
    "overlap": lambda: nn.MaxPool2d(3, 2, 1),
    "at every pixel": lambda: nn.MaxPool2d(3, 1, 1),
    "beyond the edge": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "with gaps": lambda: nn.MaxPool2d(2, 1, dilation=2),
    "oblong": lambda: nn.MaxPool2d((3, 2), (2, 1), (1, 0)),
    "adaptive": lambda: nn.AdaptiveMaxPool2d(4),
}


@pytest.mark.parametrize("pool", list(POOLS))
@pytest.mark.parametrize("pool_first", [True, False])
def test_deeplift_adds_up_through_max_pooling_on_either_side_of_a_relu(
    pool: str, pool_first: bool, images: Tensor
) -> None:
    def block(inside: int, outside: int) -> list[nn.Module]:
        pair = [POOLS[pool](), nn.ReLU()]
        return [nn.Conv2d(inside, outside, 3, padding=2), *(pair if pool_first else pair[::-1])]

    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(*block(3, 4), *block(4, 5), *block(5, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    assert sums_are_off(net, images) <= 1e-9


class Shared(nn.Module):
    """One ReLU, one pool and one GELU that run twice each, a shortcut around a ReLU, functions, pools in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.gelu, self.pool = nn.ReLU(inplace=True), nn.GELU(), nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.pool(self.first(x))))
        x = x + self.gelu(self.gelu(self.second(F.silu(x)))) + F.max_pool2d(x, 3, 1, 1).sigmoid()
        return F.leaky_relu_(self.relu(self.second(x)) + x.relu() + x.clamp(min=0.1)).mean((2, 3))


def test_deeplift_adds_up_through_modules_that_run_twice_functions_and_shortcuts(images: Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = Shared().double().eval()
    logits = net(images)
    assert sums_are_off(net, images) <= 1e-9
    assert torch.equal(net(images), logits)


def sums_are_off(net: nn.Module, images: Tensor) -> float:
    """By how much DeepLIFT's maps miss the difference of the logits, of that difference at the most."""
    found = explainers["deeplift"].explain(net, ["input"], images, TARGETS)["input"].sum((2, 3))
    with torch.no_grad():
        truth = (net(images) - net(torch.zeros_like(images))).gather(1, TARGETS)
    return float(((found - truth) / truth).abs().max())


@pytest.mark.parametrize("options", [(2, 2), (3, 1, 1), (3, 2, 1, 1, True), ((2, 3), (1, 2), (0, 1), (2, 1))])
def test_max_pooling_by_the_rescale_rule_is_the_rule_window_by_window(options: tuple[object, ...]) -> None:
    from bench.explainers.rescale import max_pooled

    images = torch.randn(2, 1, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    images[1, 0, 2:4] = images[0, 0, 2:4]  # nothing changes here
    largest, places = F.max_pool2d(images, *options, return_indices=True)
    slopes = torch.randn(largest.shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    due, change = torch.zeros(7 * 8, dtype=torch.float64), (images[0] - images[1]).flatten()
    plain = due.clone()
    for image, baseline, slope, place, other in zip(
        *largest.flatten(1), slopes.flatten(), *places.flatten(1), strict=True
    ):
        due[place] += slope * max(image - baseline, 0)
        due[other] -= slope * max(baseline - image, 0)
        plain[place] += slope
    leaf = images.clone().requires_grad_()
    pooled = max_pooled(leaf, *options)
    assert torch.equal(pooled, largest)
    (found,) = torch.autograd.grad(pooled, leaf, torch.stack([slopes, slopes]))
    truth = torch.where(change == 0, plain, due / change).view(7, 8)
    assert torch.allclose(found[0, 0], truth, rtol=0, atol=1e-12)


def test_plain_deeplift_fails_on_a_relu_that_runs_twice(images: Tensor) -> None:
    from captum.attr import DeepLift

    block = nn.Sequential(nn.Conv2d(3, 4, 1), Block(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    with pytest.raises((RuntimeError, AssertionError)), pytest.warns(UserWarning):
        DeepLift(block).attribute(images, target=0)
    assert explainers["deeplift"].explain(block, ["input"], images, TARGETS)["input"].isfinite().all()


class ModularBlock(Block):
    """The same with a ReLU for each of its calls."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + x)


class Modular(Small):
    """The same net with a module for each ReLU."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.layer2 = ModularBlock(4)
        self.load_state_dict(net.state_dict())
        self.relu, self.layer2.last = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer2(self.down(self.relu(self.layer1(x)))).mean(dim=(2, 3)))


@pytest.mark.filterwarnings("ignore:Setting", "ignore:Input Tensor")
def test_reused_relus_and_functions_give_the_maps_that_plain_captum_gives_where_each_is_a_module_used_once(
    net: nn.Module, images: Tensor
) -> None:
    from captum.attr import DeepLift, GuidedGradCam

    separate, target = Modular(net).double().eval(), torch.tensor([[1], [1]])
    assert torch.equal(separate(images), net(images))
    truth = {
        "deeplift": ("input", DeepLift(separate).attribute(images, target=1)),
        "guided_gradcam": ("layer2", GuidedGradCam(separate, separate.layer2).attribute(images, target=1)),
    }
    for name, (layer, maps) in truth.items():
        for each in (net, separate):
            found = explainers[name].explain(each, [layer], images, target)[layer]
            assert largest_error(found, maps.detach().sum(1, keepdim=True)) <= EXACT, name
    wrong = GuidedGradCam(net, net.layer2).attribute(images, target=1).detach()  # it sees no function
    assert largest_error(wrong.sum(1, keepdim=True), truth["guided_gradcam"][1].detach().sum(1, keepdim=True)) > 0.1


def test_gradient_shap_depends_on_torchs_generator_alone(net: nn.Module, images: Tensor) -> None:
    import numpy as np

    def maps(seed: int, numpys: int) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            np.random.seed(numpys)  # noqa: NPY002
            return explainers["gradient_shap"].explain(net, ["input"], images, TARGETS)["input"]

    kept = np.random.get_state()  # noqa: NPY002
    try:
        assert torch.equal(maps(0, 0), maps(0, 1)) and not torch.equal(maps(0, 0), maps(1, 0))
    finally:
        np.random.set_state(kept)  # noqa: NPY002


def test_gradient_shap_nears_the_plain_mean_over_noise_and_the_way_from_grey(net: nn.Module, images: Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        many = [explainers["gradient_shap"].explain(net, ["input"], images, TARGETS)["input"] for _ in range(32)]
        truth = plain.gradient_shap(net, images, TARGETS)
    assert largest_error(torch.stack(many).mean(0), truth) < 0.1 < largest_error(many[0], truth)


# --- of many noisy, masked or covered copies: what was drawn is overheard -------------------------------------


def overheard(net: nn.Module, name: str, image: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """A map (H, W) of one image and target, and all images (n, 3, H, W) that the net was shown for it."""
    seen: list[Tensor] = []
    handle = net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        found = explainers[name].explain(net, ["input"], image[None], torch.tensor([[target]]))["input"][0, 0]
    handle.remove()
    return found, torch.cat(seen[1:])  # the first shows how many classes there are


def test_smoothgrad_is_the_mean_gradient_of_noisy_copies_of_its_size_the_largest(
    net: nn.Module, images: Tensor
) -> None:
    found, noisy = overheard(net, "smoothgrad", images[0], 1)
    mean = sum(plain.pixel_slope(net, each, 1) for each in noisy) / len(noisy)
    assert len(noisy) == 20
    assert largest_error(found[None, None], mean.abs().amax(0)[None, None]) <= EXACT
    spread = float(((noisy - images[0]) / (images[0].max() - images[0].min())).std())
    assert spread == pytest.approx(0.15, rel=0.03)


def test_noisy_integrated_gradients_are_the_mean_of_those_of_noisy_copies(
    net: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from captum.attr import IntegratedGradients

    noisy: list[Tensor] = []
    own = IntegratedGradients.attribute.__wrapped__

    def listening(self: IntegratedGradients, inputs: Tensor, **options: object) -> object:
        noisy.extend(inputs.detach())
        return own(self, inputs, **options)

    listening.__wrapped__ = listening
    monkeypatch.setattr(IntegratedGradients, "attribute", listening)
    found, _ = overheard(net, "smoothgrad_ig", images[0], 1)
    truth = sum(plain.integrated_gradients(net, each, 1, steps=10) for each in noisy) / len(noisy)
    assert len(noisy) == 10
    assert largest_error(found[None, None], truth[None, None]) <= CASTS


def test_kernel_shap_is_the_linear_model_of_the_answers_to_images_without_squares(
    net: nn.Module, images: Tensor
) -> None:
    found, covered = overheard(net, "kernel_shap", images[0], 2)
    there = (covered == images[0]).all(1)[:, ::2, ::2].flatten(1).numpy()  # squares of 2x2 of 16 pixels
    assert there.all(1).any() and not there.any(1).all()
    logits = net(covered)[:, 2].detach().numpy()
    truth = torch.from_numpy(plain.kernel_shap(there, logits)).reshape(8, 8)
    assert largest_error(found[None, None, ::2, ::2], truth[None, None]) <= 5e-3  # Captum's weights are float32
    assert torch.equal(found, found[::2, ::2].repeat_interleave(2, 0).repeat_interleave(2, 1))
    due = (net(images[:1]) - net(torch.zeros_like(images[:1])))[0, 2].detach()
    assert float(found[::2, ::2].sum()) == pytest.approx(float(due), rel=1e-3)


def test_rise_is_the_mean_of_the_masks_each_weighted_by_what_is_seen_through_it(net: nn.Module, images: Tensor) -> None:
    found, masked = overheard(net, "rise", images[0], 2)
    masks = (masked / images[0])[:, 0]
    chances = [net(each[None]).softmax(1)[0, 2].detach() for each in masked]
    truth = sum(chance * mask for chance, mask in zip(chances, masks, strict=True)) / (len(masks) * 0.5)
    assert len(masks) == 200 and masks.min() >= 0 and masks.max() <= 1
    assert float(masks.mean()) == pytest.approx(0.5, abs=0.02) and len({each.sum().item() for each in masks}) > 150
    assert largest_error(found[None, None], truth[None, None]) <= EXACT


@pytest.mark.parametrize("name", ["kernel_shap", "rise"])
def test_an_image_with_fewer_pixels_than_parts_is_refused_with_its_size(name: str, net: nn.Module) -> None:
    with pytest.raises(ContractError, match="images of 6x9 pixels hold no"):
        explainers[name].explain(net, ["input"], torch.rand(1, 3, 6, 9), TARGETS[:1])


# --- layer-wise relevance propagation -------------------------------------------------------------------------


def lrp_by_hand(net: Small, image: Tensor, target: int) -> Tensor:
    """(H, W): epsilon-plus through each layer of the small net, written out."""
    convolutions = [
        plain.merged(*net.layer1), plain.merged(net.down),
        plain.merged(net.layer2.conv1, net.layer2.bn1), plain.merged(net.layer2.conv2, net.layer2.bn2),
    ]  # fmt: skip
    stem, down, first, second = convolutions
    x1 = F.conv2d(image[None], *stem, stride=2, padding=1)[0].relu()
    x2 = F.conv2d(x1[None], *down, stride=2, padding=1)[0]
    x3 = F.conv2d(x2[None], *first, padding=1)[0].relu()
    branch = F.conv2d(x3[None], *second, padding=1)[0]
    x4 = (branch + x2).relu()
    means = x4.mean((1, 2))
    weight, logit = net.fc.weight[target].detach(), (net.fc.weight[target] @ means + net.fc.bias[target]).detach()
    of_means = plain.in_shares(means * weight, logit, logit)
    of_sum = plain.in_shares(x4 / x4[0].numel(), means[:, None, None].expand_as(x4), of_means[:, None, None])
    of_branch, of_shortcut = (plain.in_shares(each, branch + x2, of_sum) for each in (branch, x2))
    of_block = plain.z_plus(first, x2, plain.z_plus(second, x3, of_branch, stride=1), stride=1) + of_shortcut
    return plain.z_plus(stem, image, plain.z_plus(down, x1, of_block, stride=2), stride=2).sum(0)


def test_lrp_hands_the_logit_back_by_its_rules_layer_by_layer(net: Small, images: Tensor) -> None:
    found = explainers["lrp"].explain(net, ["input"], images, TARGETS)["input"]
    truth = plain.for_all(images, TARGETS, lambda image, target: lrp_by_hand(net, image, target))
    assert largest_error(found, truth) <= 1e-9 and float(found.min()) < 0


def test_lrp_of_a_resnet_is_what_zennit_gives_with_its_own_sums() -> None:
    from zennit.composites import EpsilonPlus
    from zennit.torchvision import ResNetCanonizer

    net, images = small_net().double(), small_images(2).double()
    found = explainers["lrp"].explain(net, ["input"], images, TARGETS)["input"]
    for column, target in enumerate(TARGETS.unbind(1)):
        with EpsilonPlus(canonizers=[ResNetCanonizer()]).context(deepcopy(net)) as other:
            inputs = images.clone().requires_grad_()
            logits = other(inputs).gather(1, target[:, None])
            (truth,) = torch.autograd.grad(logits, inputs, logits.detach())
        # A norm that zennit itself has merged still divides by the root of 1 + 1e-5.
        assert largest_error(found[:, column, None], truth.sum(1, keepdim=True)) <= 1e-3


class Gated(Small):
    """With an activation times another, as in squeeze and excitation."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(x)
        return super().forward(torch.nn.functional.pad(x * x.sigmoid(), (0, 8, 0, 8))[:, :3])


class NormFirst(Small):
    """A norm before its convolution, which stands behind another in the list of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.BatchNorm2d(3)
        self.before.running_mean.fill_(0.5)
        self.layer1, self.down = nn.Sequential(self.layer1[0]), nn.Sequential(self.down, self.before)
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer2(self.down[0](F.relu(self.layer1(self.before(x))))).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Gated(), "no rule for a product of activations"),
        (NormFirst(), "cannot merge this network's norms"),
        (nn.Sequential(nn.Conv2d(3, 4, 16), nn.GroupNorm(2, 4), nn.Flatten()), "no rule for '1', a GroupNorm"),
    ],
)
def test_lrp_refuses_a_net_that_it_has_no_rule_for(net: nn.Module, words: str, images: Tensor) -> None:
    net.double()(images)
    with pytest.raises(ContractError, match=words):
        explainers["lrp"].explain(net.eval(), ["input"], images, TARGETS)


def test_lrp_without_zennit_says_what_to_install(
    net: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zennit.composites", None)
    with pytest.raises(MissingError, match="lrp needs zennit") as caught:
        explainers["lrp"].explain(net, ["input"], images, TARGETS)
    assert caught.value.try_ == "pip install 'cambench[lrp]'"
