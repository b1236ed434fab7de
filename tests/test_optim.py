"""Groups of parameters and slow weights, against a slow, plain way to say the same."""

from dataclasses import replace

import pytest
import torch
from tiny import BUSY, QUICK, TINY, TinyNet, TinyResNet
from torch import nn

from bench.contracts import ModelSpec
from bench.errors import StoreError
from bench.nets.weights import build_seeded
from bench.recipes.recipe import RECIPES, Recipe
from bench.registry.registry import discover
from bench.training.optim import Lookahead, make_optimizer, parameter_groups, set_bn_momentum, set_rate

MODELS = discover("model", ModelSpec)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- groups of parameters -----------------------------------------------------------------------------------


def settings_by_hand(model: nn.Module, recipe: Recipe, rate: float) -> dict[str, tuple[float, float]]:
    """The learning rate and the weight decay of every parameter, by the kind of its module and its name there."""
    found = {}
    for place, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            found[f"{place}.{name}"] = (rate, recipe.weight_decay)
            if name == "bias" and isinstance(module, nn.BatchNorm2d):
                found[f"{place}.{name}"] = (rate * recipe.bias_scale, recipe.weight_decay / recipe.bias_scale)
            if name == "weight" and isinstance(module, nn.BatchNorm2d) and not recipe.norm_decay:
                found[f"{place}.{name}"] = (rate, 0.0)
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
    found = [
        (names[id(each)], (group["lr"], group["weight_decay"]))
        for group in optimizer.param_groups
        for each in group["params"]
    ]
    assert sorted(found) == sorted(settings_by_hand(model, recipe, 0.125).items())


def test_biases_move_64_times_as_far_and_decay_by_the_same_factor_of_themselves() -> None:
    model = TinyNet(4)
    optimizer = make_optimizer(model, replace(QUICK, bias_scale=64.0, momentum=0.0), fused=False)
    set_rate(optimizer, 0.01)
    norm = next(each for each in model.modules() if isinstance(each, nn.BatchNorm2d))
    with torch.no_grad():
        norm.bias.fill_(1.0)
    for each in model.parameters():
        each.grad = torch.full_like(each, 0.5)
    weight = model.fc.weight.clone()
    optimizer.step()
    assert torch.allclose(norm.bias, 1 - 64 * 0.01 * (0.5 + QUICK.weight_decay / 64 * torch.ones_like(norm.bias)))
    assert torch.allclose(model.fc.weight, weight - 0.01 * (0.5 + QUICK.weight_decay * weight))


def test_with_the_default_values_there_is_one_group_and_steps_are_those_of_plain_sgd() -> None:
    model, plain = build_seeded(TINY, 4, 0), build_seeded(TINY, 4, 0)
    ours = make_optimizer(model, QUICK, fused=False)
    theirs = torch.optim.SGD(plain.parameters(), lr=1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    images = torch.randn(8, 3, 32, 32, generator=seeded(7))
    assert len(ours.param_groups) == 1
    for step in range(4):
        set_rate(ours, 0.1 / (step + 1))
        theirs.param_groups[0]["lr"] = 0.1 / (step + 1)
        for net, optimizer in ((model, ours), (plain, theirs)):
            optimizer.zero_grad()
            net(images).logsumexp(dim=1).sum().backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_frozen_parameters_are_left_out_and_tied_ones_come_once() -> None:
    model = TinyResNet(4)
    model.layer3[0].weight.requires_grad_(False)
    block: nn.Module = model.layer4[3]
    block.bn2 = block.bn1
    members = [id(each) for group in parameter_groups(model, BUSY) for each in group["params"]]
    assert len(members) == len(set(members)) == len([each for each in model.parameters() if each.requires_grad])


def test_the_recipe_sets_optimizer_and_batch_norms_and_sgd_without_momentum_is_no_nesterov() -> None:
    net = TinyNet(4)
    set_bn_momentum(net, 0.25)
    assert {module.momentum for module in net.modules() if isinstance(module, nn.BatchNorm2d)} == {0.25}
    for momentum in (0.9, 0.0):
        (group,) = make_optimizer(net, replace(RECIPES["course"], momentum=momentum), fused=False).param_groups
        assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (momentum, momentum > 0, 5e-4)
    assert isinstance(make_optimizer(net, replace(QUICK, optimizer="adamw"), fused=False), torch.optim.AdamW)


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
    looked = 0
    for done, move in enumerate(moves(total), start=1):
        fast += move
        if done - looked == every or done == total:
            decay = 0.95 ** (done - looked) * (done / total) ** 3 if looked else 0.0
            slow = decay * slow + (1 - decay) * fast
            fast, looked = slow, done
        seen.append(fast)
    return seen


@pytest.mark.parametrize(("every", "total"), [(1, 7), (5, 20), (5, 23), (3, 4), (9, 4), (4, 4)])
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
        model.weight.data += 1
        lookahead.after(done)
    assert (model.weight.item(), lookahead.slow) == (4.5, {})


def test_slow_weights_are_put_back_and_those_of_another_model_refused() -> None:
    model = One(0.5)
    lookahead = Lookahead(model, every=2, total=8)
    lookahead.restore({"weight": torch.tensor(7.0), "mean": torch.tensor(8.0)})
    lookahead.after(8)
    kept = 0.95**2  # of the slow weights, at the last step
    expected = (0.5 + kept * 6.5, 1 + kept * 7.0)
    assert (model.weight.item(), model.mean.item()) == pytest.approx(expected)
    with pytest.raises(StoreError, match="do not fit"):
        lookahead.restore({"other": torch.tensor(7.0)})
