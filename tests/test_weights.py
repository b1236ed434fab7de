"""Weights travel one to one, load whole or not at all, and come from a seed without touching anyone's generator."""

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import ModelSpec
from bench.errors import ContractError, MissingError
from bench.nets.weights import build_seeded, clean_keys, convert, load_weights, shared_initialisation
from bench.registry.registry import discover

models = discover("model", ModelSpec)


def tiny_spec(**fields: object) -> ModelSpec:
    return ModelSpec("tiny", lambda classes: nn.Linear(3, classes), source="a test", **fields)


@pytest.mark.parametrize("target", list(models))
@pytest.mark.parametrize("source", list(models))
def test_key_map_is_one_to_one_and_keeps_the_order(source: str, target: str) -> None:
    state = models[source].build(10).state_dict()
    there = convert(state, models[source], models[target])
    back = convert(there, models[target], models[source])
    assert (list(there), list(back)) == (list(models[target].build(10).state_dict()), list(state))
    assert all(back[key] is state[key] for key in state)


def test_key_map_that_joins_two_keys_is_refused() -> None:
    joining = tiny_spec(key_map=(("a.", "x."), ("b.", "x.")))
    with pytest.raises(ContractError, match=r"tiny is not one to one: .*x\.weight"):
        convert({"a.weight": torch.ones(1), "b.weight": torch.ones(1)}, joining, tiny_spec())


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_are_stripped(wrapper: str) -> None:
    assert list(clean_keys({f"{wrapper}fc.weight": torch.ones(1)})) == ["fc.weight"]


def test_names_of_wrappers_inside_a_key_stay() -> None:
    assert list(clean_keys({"head.module.weight": torch.ones(1)})) == ["head.module.weight"]


def test_wrapped_and_bare_keys_that_collide_are_refused() -> None:
    with pytest.raises(ContractError, match=r"called fc\.weight"):
        clean_keys({"fc.weight": torch.ones(1), "module.fc.weight": torch.ones(1)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bias"), r"1 missing \(bias\)"),
        (lambda state: state.update(extra=torch.ones(1)), r"1 unexpected \(extra\)"),
        (lambda state: state.update(bias=torch.ones(4)), r"1 of another shape \(bias \(4,\), not \(2,\)\)"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_loaded(change: object, message: str) -> None:
    model = nn.Linear(3, 2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state: dict[str, Tensor] = {key: value + 1 for key, value in before.items()}
    change(state)
    with pytest.raises(MissingError, match=message):
        load_weights(model, state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_long_lists_of_keys_are_cut() -> None:
    with pytest.raises(MissingError, match=r"122 missing \(conv1\.weight, .*, \.\.\.\)"):
        load_weights(models["cifar_resnet18"].build(10), {})


def test_seed_gives_the_weights_and_leaves_the_global_generator() -> None:
    before = torch.get_rng_state()
    one, two, other = (build_seeded(models["torchvision_resnet18"], 10, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


@pytest.mark.parametrize("name", list(models))
def test_shared_initialisation_is_the_canonical_one(name: str) -> None:
    canonical = models["cifar_resnet18"]
    state = convert(shared_initialisation(models[name], canonical, 10, 5).state_dict(), models[name], canonical)
    expected = build_seeded(canonical, 10, 5).state_dict()
    assert all(torch.equal(state[key], value) for key, value in expected.items())


def test_shared_initialisation_of_another_family_names_the_keys() -> None:
    with pytest.raises(MissingError, match="missing"):
        shared_initialisation(tiny_spec(), models["cifar_resnet18"], 10, 0)
