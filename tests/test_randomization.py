"""Scrambling a model from the head down: what changes, what stays, and that batch norms fit the new weights."""

from collections.abc import Iterator

import pytest
import torch
from tiny import RESIDUAL
from torch import Tensor, nn

from bench.contracts import ExplainerSpec, ModelSpec
from bench.nets.weights import build_seeded
from bench.registry.registry import discover
from bench.scoring.randomization import scrambled, scrambled_maps, shuffle, stages_of

LAYERS = RESIDUAL.layers


def images(count: int = 12, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def trained_like(seed: int = 0) -> nn.Module:
    """A net whose batch norms are not those of a fresh one."""
    net = build_seeded(RESIDUAL, 4, seed)
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(module.num_features, generator=generator))
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator))  # type: ignore[union-attr]
    return net.eval().requires_grad_(False)


def states(net: nn.Module) -> Iterator[tuple[str, dict[str, Tensor]]]:
    for stage, copy in scrambled(net, LAYERS, images(), torch.Generator().manual_seed(0)):
        yield stage, {name: value.clone() for name, value in copy.state_dict().items()}


@pytest.mark.parametrize("name", list(discover("model", ModelSpec)))
def test_stages_of_every_model_go_from_the_head_down_and_hold_each_parameter_once(name: str) -> None:
    spec = discover("model", ModelSpec)[name]
    net = build_seeded(spec, 10, 0)
    found = stages_of(net, spec.layers)
    assert list(found) == ["head", "layer4", "layer3", "layer2", "layer1", "stem"]
    assert sorted(each for names in found.values() for each in names) == sorted(
        name for name, _ in net.named_parameters()
    )
    assert all(each.startswith(("fc.", "linear.")) for each in found["head"])
    assert {each.split(".")[0] for each in found["stem"]} == {"conv1", "bn1"}


def test_each_stage_scrambles_its_own_parameters_and_no_earlier_ones() -> None:
    net = trained_like()
    before, gone = net.state_dict(), set()
    for stage, state in states(net):
        gone |= set(stages_of(net, LAYERS)[stage])
        changed = {name for name, _ in net.named_parameters() if not torch.equal(state[name], before[name])}
        assert changed == {name for name in gone if before[name].unique().numel() > 1}
    assert gone == {name for name, _ in net.named_parameters()}


def test_scrambling_moves_the_values_of_a_parameter_and_invents_none() -> None:
    net = trained_like()
    for _, state in states(net):
        for name, parameter in net.named_parameters():
            assert torch.equal(state[name].flatten().sort().values, parameter.flatten().sort().values)


def test_a_value_goes_to_every_place_equally_often() -> None:
    """A reversal or a turn would move all values too, and keep what was learned."""
    count, generator = 2000, torch.Generator().manual_seed(0)
    landed = torch.zeros(6, 6)  # [value, place]
    for _ in range(count):
        weights = torch.arange(6.0).reshape(2, 3)
        shuffle(weights, generator)
        landed[weights.flatten().long(), torch.arange(6)] += 1
    assert (landed - count / 6).abs().max() < 4.5 * (count * 1 / 6 * 5 / 6) ** 0.5  # standard deviations


def test_the_model_itself_is_left_as_found() -> None:
    net = trained_like()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [module.training for module in net.modules()]
    list(states(net))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert flags == [module.training for module in net.modules()]


def test_statistics_of_scrambled_batch_norms_are_those_of_what_arrives_there() -> None:
    """In eval mode each one's input has the mean and variance it expects; slowly, by a hook."""
    batch = images()
    *_, (_, copy) = scrambled(trained_like(), LAYERS, batch, torch.Generator().manual_seed(0))
    arrived: dict[nn.Module, Tensor] = {}
    for each in [module for module in copy.modules() if isinstance(module, nn.BatchNorm2d)]:
        each.register_forward_pre_hook(lambda norm, x: arrived.update({norm: x[0].clone()}))
        each.train().momentum = 0.0  # batch statistics are used, the running ones stay
    copy(batch)
    assert len(arrived) == 4
    for norm, values in arrived.items():
        wanted = values.transpose(0, 1).flatten(1)
        assert torch.allclose(norm.running_mean, wanted.mean(dim=1), atol=1e-4)  # type: ignore[arg-type]
        assert torch.allclose(norm.running_var, wanted.var(dim=1), rtol=1e-3)  # type: ignore[arg-type]


def test_statistics_above_the_scrambled_stage_stay_and_the_copy_is_in_eval_mode() -> None:
    net = trained_like()
    for stage, copy in scrambled(net, LAYERS, images(), torch.Generator().manual_seed(0)):
        assert not any(module.training for module in copy.modules())
        same = torch.equal(copy.layer3[1].running_mean, net.layer3[1].running_mean)  # type: ignore[index, union-attr]
        assert same == (stage in ("head", "layer4"))
        assert all(each.momentum == 0.1 for each in copy.modules() if isinstance(each, nn.BatchNorm2d))


def weights_count(model: nn.Module, layers: tuple[str, ...], x: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {layer: model(x)[:, :1, None, None].expand(len(x), targets.shape[1], 2, 2).clone() for layer in layers}


def edges(model: nn.Module, layers: tuple[str, ...], x: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {layer: x[:, :1, ::8, ::8].expand(len(x), targets.shape[1], 4, 4).clone() for layer in layers}


DEPENDS = ExplainerSpec(name="depends", explain=weights_count, source="tests", backend="torch", max_batch=5)
IGNORES = ExplainerSpec(name="ignores", explain=edges, source="tests", backend="torch", max_batch=5)


def test_an_explainer_that_ignores_the_weights_gives_the_same_maps_at_every_stage() -> None:
    targets = torch.zeros(12, 1, dtype=torch.int64)
    found = list(
        scrambled_maps(
            trained_like(), LAYERS, images(), targets=targets, measured_on=images(8, 1),
            specs={"ignores": (IGNORES, ["layer4"]), "depends": (DEPENDS, ["layer4"])},
            generator=torch.Generator().manual_seed(0),
        )
    )  # fmt: skip
    assert [(stage, name) for stage, name, _ in found[:3]] == [
        ("head", "ignores"), ("head", "depends"), ("layer4", "ignores"),
    ]  # fmt: skip
    ignoring, depending = ([maps["layer4"] for _, name, maps in found if name == one] for one in ("ignores", "depends"))
    assert all(torch.equal(each, ignoring[0]) for each in ignoring) and not torch.allclose(*depending[:2])
