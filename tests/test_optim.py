"""Every ingredient against a slow, plain way to say the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from tiny import BUSY, QUICK, RESIDUAL, TINY, TinyNet, TinyResNet, images_of
from torch import Tensor, nn

from bench.contracts import ModelSpec
from bench.data.transforms import normalise, shrink
from bench.errors import StoreError, UsageError
from bench.nets.weights import build_seeded
from bench.recipes.recipe import RECIPES, Recipe
from bench.registry.registry import discover
from bench.training.init import PATCH_IMAGES, initialise, whiten_stem, zero_residuals
from bench.training.optim import Lookahead, make_optimizer, parameter_groups, set_bn_momentum, set_rate

MODELS = discover("model", ModelSpec)
STATISTICS = ((0.25, 0.3, 0.35), (0.2, 0.25, 0.3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(count: int = 8, edge: int = 32) -> Tensor:
    return torch.randn(count, 3, edge, edge, generator=seeded(7))


# --- groups of parameters -----------------------------------------------------------------------------------


def settings_by_hand(model: nn.Module, recipe: Recipe, rate: float) -> dict[str, tuple[float, float]]:
    """The learning rate and the weight decay of every parameter, by the kind of its module and its name there."""
    found = {}
    for place, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            settings = (rate, recipe.weight_decay)
            if name == "bias" and isinstance(module, nn.BatchNorm2d | nn.Linear):
                settings = (rate * recipe.bias_scale, recipe.weight_decay / recipe.bias_scale)
            if name == "weight" and isinstance(module, nn.BatchNorm2d) and not recipe.norm_decay:
                settings = (rate, 0.0)
            found[f"{place}.{name}"] = settings
    return found


RECIPE_KINDS = [
    QUICK,
    replace(QUICK, bias_scale=64.0),
    replace(QUICK, norm_decay=False),
    BUSY,
    replace(BUSY, optimizer="adamw"),
    RECIPES["fast20"],
]


@pytest.mark.parametrize("name", [*MODELS, "tiny"])
@pytest.mark.parametrize("recipe", RECIPE_KINDS, ids=lambda recipe: recipe.name + recipe.optimizer)
def test_every_parameter_is_in_one_group_with_the_rate_and_decay_of_its_kind(name: str, recipe: Recipe) -> None:
    model = ({**MODELS, "tiny": TINY})[name].build(4)
    optimizer = make_optimizer(model, recipe, fused=False)
    assert set_rate(optimizer, 0.125) == 0.125
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    members = [(names[id(each)], group) for group in optimizer.param_groups for each in group["params"]]
    assert sorted(name for name, _ in members) == sorted(names.values())
    found = {name: (group["lr"], group["weight_decay"]) for name, group in members}
    assert found == settings_by_hand(model, recipe, 0.125)


def test_biases_move_64_times_as_far_and_decay_by_the_same_factor_of_themselves() -> None:
    model = TinyNet(4)
    optimizer = make_optimizer(model, replace(QUICK, bias_scale=64.0, momentum=0.0), fused=False)
    set_rate(optimizer, 0.01)
    with torch.no_grad():
        model.fc.bias.fill_(1.0)
    for each in model.parameters():
        each.grad = torch.full_like(each, 0.5)
    weight = model.fc.weight.clone()
    optimizer.step()
    assert torch.allclose(model.fc.bias, 1 - 64 * 0.01 * (0.5 + QUICK.weight_decay / 64 * torch.ones(4)))
    assert torch.allclose(model.fc.weight, weight - 0.01 * (0.5 + QUICK.weight_decay * weight))


def test_with_the_default_values_there_is_one_group_and_steps_are_those_of_plain_sgd() -> None:
    model, plain = build_seeded(TINY, 4, 0), build_seeded(TINY, 4, 0)
    ours = make_optimizer(model, QUICK, fused=False)
    theirs = torch.optim.SGD(plain.parameters(), lr=1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    assert len(ours.param_groups) == 1
    for step in range(4):
        set_rate(ours, 0.1 / (step + 1))
        theirs.param_groups[0]["lr"] = 0.1 / (step + 1)
        for net, optimizer in ((model, ours), (plain, theirs)):
            optimizer.zero_grad()
            net(inputs()).logsumexp(dim=1).sum().backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_frozen_parameters_are_left_out_and_tied_ones_come_once() -> None:
    model = TinyResNet(4)
    model.layer3[0].weight.requires_grad_(False)
    block: nn.Module = model.layer4[3]
    block.bn2 = block.bn1
    members = [id(each) for group in parameter_groups(model, BUSY) for each in group["params"]]
    assert len(members) == len(set(members)) == len([each for each in model.parameters() if each.requires_grad])


def test_sgd_without_momentum_is_no_nesterov() -> None:
    group = make_optimizer(TinyNet(4), replace(QUICK, momentum=0.0), fused=False).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.0, False)


def test_the_recipe_sets_optimizer_and_batch_norms() -> None:
    net = TinyNet(4)
    set_bn_momentum(net, 0.25)
    assert {module.momentum for module in net.modules() if isinstance(module, nn.BatchNorm2d)} == {0.25}
    group = make_optimizer(net, RECIPES["course"], fused=False).param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)
    assert isinstance(make_optimizer(net, replace(QUICK, optimizer="adamw"), fused=False), torch.optim.AdamW)


# --- whitening ----------------------------------------------------------------------------------------------


class Stem(nn.Module):
    """One convolution of the image."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, filters, 3, padding=1, bias=False)


def pictures(count: int = 64) -> Tensor:
    """Smooth ones, as photographs are: few patterns explain most of a patch."""
    small = torch.rand(count, 3, 8, 8, generator=seeded(1)) * 255
    large = nn.functional.interpolate(small, size=(32, 32), mode="bicubic").clamp(0, 255)
    noise = torch.randn(large.shape, generator=seeded(2)) * 4
    return (large + noise).clamp(0, 255).to(torch.uint8)


def patches_by_hand(images: Tensor) -> Tensor:
    """(n, 27) float64: every patch of 3x3 pixels, one after the other."""
    pixels = normalise(images, *STATISTICS, torch.float64)
    return torch.stack(
        [
            image[:, row : row + 3, column : column + 3].flatten()
            for image in pixels
            for row in range(30)
            for column in range(30)
        ]
    )


def whitened(filters: int, images: Tensor) -> tuple[Tensor, Tensor]:
    """The weights of a stem before and after."""
    torch.manual_seed(0)
    model = Stem(filters)
    before = model.conv.weight.detach().clone()
    whiten_stem(model, images, STATISTICS)
    return before, model.conv.weight.detach()


def test_responses_to_patches_are_uncorrelated_and_of_size_one_where_there_is_more_than_noise() -> None:
    images = pictures(16)
    patches = patches_by_hand(images)
    _, weight = whitened(64, images)
    filters = weight[:27].flatten(1).double()
    moments = (patches @ filters.T).T @ (patches @ filters.T) / len(patches)
    eigenvalues = torch.linalg.eigvalsh(patches.T @ patches / len(patches)).flip(0)
    wanted = torch.diag(eigenvalues / (eigenvalues + 5e-4))
    assert torch.allclose(moments, wanted, atol=1e-3)
    assert torch.allclose(moments, torch.eye(27).double(), atol=0.2)
    planted = filters * (eigenvalues + 5e-4).sqrt()[:, None]  # eigenvectors that nobody divided by the root
    moments = (patches @ planted.T).T @ (patches @ planted.T) / len(patches)
    assert not torch.allclose(moments, torch.eye(27).double(), atol=0.2)


@pytest.mark.parametrize(("filters", "kept"), [(64, 27), (54, 27), (16, 8), (9, 4), (1, 0)])
def test_the_largest_patterns_come_first_with_both_signs_and_filters_beyond_stay(filters: int, kept: int) -> None:
    before, after = whitened(filters, pictures(8))
    _, all_of_them = whitened(64, pictures(8))
    assert torch.equal(after[:kept], all_of_them[:kept])
    assert torch.equal(after[kept : 2 * kept], -after[:kept])
    assert torch.equal(after[2 * kept :], before[2 * kept :])
    norms = all_of_them[:27].flatten(1).norm(dim=1)  # 1 / sqrt(l), so it grows as l falls
    assert (norms.diff() > -1e-4).all()


def test_patches_are_of_all_classes_of_a_data_set_that_is_sorted_by_class() -> None:
    many = 2 * PATCH_IMAGES
    images = pictures(8)[:, :, :4, :4].repeat(many // 8, 1, 1, 1)
    images[: many // 2] = 0  # the first class is black
    _, black = whitened(54, images[: many // 2])
    _, found = whitened(54, images)
    _, every = whitened(54, images[::2])
    assert torch.equal(found, every)
    assert not torch.allclose(found, black)


@pytest.mark.parametrize("name", MODELS)
def test_the_real_models_can_be_whitened_and_keep_their_keys_and_all_other_weights(name: str) -> None:
    model = build_seeded(MODELS[name], 4, 0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    whiten_stem(model, pictures(4), STATISTICS)
    after = model.state_dict()
    assert list(after) == list(before)
    assert [key for key in after if not torch.equal(after[key], before[key])] == ["conv1.weight"]
    assert all(each.requires_grad for each in model.parameters())


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(3, 4),
        nn.Conv2d(1, 8, 3),
        nn.Conv2d(3, 9, 3, groups=3),
        nn.Sequential(nn.Conv2d(12, 8, 3), nn.Conv2d(3, 8, 3)),
    ],
    ids=["no convolution", "another image", "groups", "not the first"],
)
def test_a_model_that_does_not_begin_with_a_convolution_of_the_image_is_refused(model: nn.Module) -> None:
    with pytest.raises(UsageError, match="cannot be whitened") as error:
        whiten_stem(model, pictures(2), STATISTICS)
    assert error.value.try_ == "--no-whiten"


# --- residual branches --------------------------------------------------------------------------------------


def blocks_of(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """The residual blocks of the three code bases, each with its projection if it has one."""
    for name in ("layer1", "layer2", "layer3", "layer4"):
        for block in getattr(model, name):
            yield block, getattr(block, "shortcut", None) or getattr(block, "downsample", None)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_every_block_of_the_real_models_starts_as_its_shortcut(name: str, training: bool) -> None:
    model = build_seeded(MODELS[name], 4, 0).train(training)
    blocks = list(blocks_of(model))
    assert len(blocks) == 8
    x = torch.randn(2, 64, 8, 8, generator=seeded()).relu()
    with torch.no_grad():
        assert not torch.equal(blocks[0][0](x), x)
        zero_residuals(model)
        for block, projection in blocks:
            wanted = (x if projection is None else projection(x)).relu()
            x = block(x)
            assert torch.equal(x, wanted)


def test_of_three_norms_the_last_is_the_one() -> None:
    from torchvision.models.resnet import Bottleneck

    block = Bottleneck(16, 4)
    zero_residuals(nn.Sequential(block))
    assert not block.bn3.weight.any()
    assert block.bn1.weight.all() and block.bn2.weight.all()


def test_a_model_without_residual_blocks_is_refused() -> None:
    with pytest.raises(UsageError, match="no residual block") as error:
        zero_residuals(TinyNet(4))
    assert error.value.try_ == "--no-zero-init"


def test_a_recipe_that_asks_for_nothing_changes_no_weight() -> None:
    model, same, busy = (build_seeded(RESIDUAL, 4, 0) for _ in range(3))
    images = images_of(torch.arange(4), 0)
    initialise(model, QUICK, images, STATISTICS)
    initialise(busy, BUSY, images, STATISTICS)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    changed = [
        name for (name, a), b in zip(busy.named_parameters(), same.parameters(), strict=True) if not torch.equal(a, b)
    ]
    assert changed == ["layer3.0.weight", "layer4.3.bn2.weight"]


# --- slow weights -------------------------------------------------------------------------------------------


class One(nn.Module):
    """One weight, one running figure, one count."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value, dtype=torch.float64))
        self.register_buffer("mean", torch.tensor(value * 2, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))


def moves(total: int) -> list[float]:
    return torch.randn(total, generator=seeded(3)).tolist()


def by_hand(start: float, every: int, total: int) -> list[float]:
    """The weight after every step, in numbers."""
    fast = slow = start
    seen = []
    for done, move in enumerate(moves(total), start=1):
        fast += move
        if done == total:
            fast = slow
        elif done % every == 0:
            decay = 0.95**every * (done / total) ** 3
            slow = decay * slow + (1 - decay) * fast
            fast = slow
        seen.append(fast)
    return seen


@pytest.mark.parametrize(("every", "total"), [(1, 7), (5, 20), (5, 23), (3, 4), (9, 4)])
def test_slow_weights_follow_as_they_do_in_numbers_and_stay_at_the_end(every: int, total: int) -> None:
    model = One(0.5)
    lookahead, seen = Lookahead(model, every=every, total=total), []
    for done, move in enumerate(moves(total), start=1):
        with torch.no_grad():
            model.weight += move
            model.mean += 2 * move
            model.count += 1
        lookahead.after(done)
        seen.append(model.weight.item())
        assert model.mean.item() == pytest.approx(2 * model.weight.item(), rel=1e-9)  # running figures, too
    assert seen == pytest.approx(by_hand(0.5, every, total), rel=1e-9)
    assert model.count.item() == total  # what is no number between others is left alone
    assert seen[-1] == lookahead.slow["weight"].item()


def test_without_lookahead_no_step_changes_anything_or_takes_memory() -> None:
    model = One(0.5)
    lookahead = Lookahead(model, every=0, total=4)
    for done in range(1, 5):
        with torch.no_grad():
            model.weight += 1
        lookahead.after(done)
    assert model.weight.item() == 4.5
    assert lookahead.slow == {}


def test_slow_weights_are_put_back_and_those_of_another_model_refused() -> None:
    model = One(0.5)
    lookahead = Lookahead(model, every=2, total=8)
    lookahead.restore({"weight": torch.tensor(7.0), "mean": torch.tensor(8.0)})
    lookahead.after(8)
    assert (model.weight.item(), model.mean.item()) == (7.0, 8.0)
    with pytest.raises(StoreError, match="do not fit"):
        lookahead.restore({"other": torch.tensor(7.0)})


# --- smaller images -----------------------------------------------------------------------------------------


def tent(images: Tensor, edge: int) -> Tensor:
    """Each new pixel is the mean of the old ones under a tent of twice the new pixel's width, pixel by pixel."""
    whole = images.shape[-1]
    scale = whole / edge
    weights = torch.zeros(edge, whole, dtype=torch.float64)
    for new in range(edge):
        centre = (new + 0.5) * scale
        for old in range(whole):
            weights[new, old] = max(0.0, 1 - abs((old + 0.5 - centre) / scale))
        weights[new] /= weights[new].sum()
    return torch.einsum("yh,nchw,xw->ncyx", weights, images.double(), weights)


@pytest.mark.parametrize("edge", [8, 16, 20, 24, 31])
def test_smaller_images_are_means_under_a_tent(edge: int) -> None:
    images = inputs(3)
    small = shrink(images, edge)
    assert small.shape == (3, 3, edge, edge)
    assert small.dtype == torch.float32
    assert small.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(small.double(), tent(images, edge), atol=1e-5)


def test_half_the_edge_of_a_smooth_image_is_the_plain_average_of_four() -> None:
    ramp = torch.linspace(-1, 1, 32).view(1, 1, 1, 32).expand(1, 3, 32, 32)
    average = nn.functional.avg_pool2d(ramp, 2)
    assert torch.allclose(shrink(ramp, 16)[:, :, :, 1:-1], average[:, :, :, 1:-1], atol=1e-6)


@pytest.mark.parametrize("edge", [8, 17, 31])
def test_an_image_of_one_colour_keeps_it(edge: int) -> None:
    flat = torch.tensor([-1.5, 0.0, 2.0]).view(1, 3, 1, 1).expand(2, 3, 32, 32)
    assert torch.allclose(shrink(flat, edge), flat[:, :, :edge, :edge], atol=1e-6)


def test_a_pattern_finer_than_the_new_pixels_disappears() -> None:
    stripes = torch.tensor([1.0, -1.0]).repeat(16).view(1, 1, 1, 32).expand(1, 3, 32, 32)
    assert shrink(stripes, 8)[:, :, 1:-1, 1:-1].abs().max() < 1e-6
    planted = nn.functional.interpolate(stripes, size=(31, 31), mode="nearest")
    assert planted.abs().min() == 1  # what without antialiasing would come of them


@pytest.mark.parametrize("edge", [None, 32, 40])
def test_images_that_need_not_be_smaller_are_given_back_as_they_are(edge: int | None) -> None:
    images = inputs(2)
    assert shrink(images, edge) is images
