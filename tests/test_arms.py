"""Arms do the work they are named for, and leave the model that is timed as it was."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tiny import TINY, TINY_FILE
from torch import Tensor, nn

from bench.contracts import ExplainerSpec
from bench.errors import ContractError, UsageError
from bench.explaining.batches import explained
from bench.modes import evaluating
from bench.nets.weights import build_seeded
from bench.postprocess import postprocess
from bench.registry.registry import discover
from bench.timing.arms import ArmSpec, Subject, batch_of, copy_arm, explain_work, make_arm, product_arm, train_work

CPU = torch.device("cpu")
SPECS = discover("explainer", ExplainerSpec)


@pytest.fixture
def subject() -> Subject:
    net = build_seeded(TINY, 4, 0).to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    return Subject("tiny", TINY_FILE, net, 32)


@pytest.fixture
def images() -> Tensor:
    return batch_of(6, 32, CPU)


def state(net: nn.Module) -> dict[str, Any]:
    flags = {name: (module.training, len(module._forward_hooks)) for name, module in net.named_modules()}
    wants = {name: each.requires_grad for name, each in net.named_parameters()}
    return {"flags": flags, "wants": wants, "values": {key: value.clone() for key, value in net.state_dict().items()}}


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    equal = all(torch.equal(value, second["values"][key]) for key, value in first["values"].items())
    return equal and first["flags"] == second["flags"] and first["wants"] == second["wants"]


def doing(maps: Callable[[nn.Module, Tensor], Tensor], **changes: Any) -> ExplainerSpec:
    """An explainer that gives these maps of model and images at every layer."""

    def explain(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return dict.fromkeys(layers, maps(model, images))

    return ExplainerSpec(name="own", explain=explain, source="tests", backend="torch", **changes)


CARELESS = doing(lambda model, images: torch.zeros(len(model.train()(images)), 1, 2, 2))  # which the guard refuses


def test_every_arm_gets_the_same_batch_channels_last() -> None:
    first, second = batch_of(3, 32, CPU), batch_of(3, 32, CPU)
    assert torch.equal(first, second) and first.is_contiguous(memory_format=torch.channels_last)


def test_names_are_those_that_thresholds_use() -> None:
    assert ArmSpec("forward", "a").name == "forward[a]"
    assert ArmSpec("explain", "a", "captum", "layer3", "captum").name == "explain[a,captum,layer3]"
    assert ArmSpec("copy").name == "copy[]"


def test_a_forward_arm_gives_the_logits_without_a_graph(subject: Subject, images: Tensor) -> None:
    arm = make_arm(ArmSpec("forward", "tiny"), subject, images, explainers={})
    logits = arm.work()
    assert torch.equal(logits, subject.net(images)) and logits.grad_fn is None
    assert (arm.items, arm.unit, arm.single().shape) == (6, "images", (1, 4))


@pytest.mark.parametrize("what", ["forward", "train", "explain", "shipped"])
def test_no_arm_changes_the_model_that_is_timed(what: Any, subject: Subject, images: Tensor) -> None:
    before = state(subject.net)
    names = {"explain": ("gradcam", "layer4", "gradcam"), "shipped": ("gradcam", "layer4", "gradcam_shipped")}
    arm = make_arm(ArmSpec(what, "tiny", *names.get(what, ())), subject, images, explainers=SPECS)
    for _ in range(2):
        arm.work()
    assert same(before, state(subject.net))


def test_a_training_step_makes_gradients_of_all_weights_and_moves_none(subject: Subject, images: Tensor) -> None:
    seen: list[nn.Module] = []
    hook = nn.modules.module.register_module_forward_hook(lambda module, inputs, output: seen.append(module))
    try:
        work = train_work(subject.net, images, "fp32")
        first, second = work(), work()
    finally:
        hook.remove()
    own = next(module for module in reversed(seen) if type(module) is type(subject.net))
    assert own is not subject.net and own.training
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in own.parameters())
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), subject.net.parameters(), strict=True))
    assert torch.equal(first, second)  # batch statistics and weights are the same


def test_the_same_artefact_is_the_post_processed_map_of_the_predicted_class_on_the_host(
    subject: Subject, images: Tensor
) -> None:
    spec = SPECS["captum"]
    found = explain_work(spec, subject.net, "layer4", images=images, finished=True)()
    targets = subject.net(images).argmax(dim=1, keepdim=True)
    with evaluating(subject.net):
        raw = spec.explain(subject.net, ("layer4",), images, targets)["layer4"]
    assert (found.shape, found.dtype) == ((6, 1, 32, 32), torch.float32)
    assert torch.equal(found, postprocess(raw, 32))


def test_as_shipped_is_what_the_entry_gives(subject: Subject, images: Tensor) -> None:
    for name, size in (("reference", 8), ("gradcam_shipped", 32)):
        found = explain_work(SPECS[name], subject.net, "layer4", images=images, finished=False)()
        assert found.shape == (6, 1, size, size)


def test_what_is_timed_of_a_stochastic_explainer_are_the_maps_of_bench_explain(
    subject: Subject, images: Tensor
) -> None:
    spec = doing(lambda model, images: torch.rand(len(images), 1, 2, 2), stochastic=True)
    targets = subject.net(images).argmax(dim=1, keepdim=True)
    found = explain_work(spec, subject.net, "layer4", images=images, finished=False)()
    assert torch.equal(found, explained(spec, subject.net, ("layer4",), images, targets)["layer4"])


def test_the_guard_is_not_in_what_is_timed(subject: Subject, images: Tensor) -> None:
    explain_work(CARELESS, subject.net, "layer4", images=images, finished=False)()
    assert subject.net.training


@pytest.mark.parametrize(("changes", "sizes"), [({"max_batch": 4}, [4, 2]), ({"stochastic": True}, [1] * 6), ({}, [6])])
def test_an_explainer_gets_as_many_images_a_call_as_bench_explain_gives_it(
    changes: dict[str, Any], sizes: list[int], subject: Subject, images: Tensor
) -> None:
    calls: list[int] = []
    spec = doing(lambda model, images: calls.append(len(images)) or torch.zeros(len(images), 1, 2, 2), **changes)
    explain_work(spec, subject.net, "layer4", images=images, finished=True)()
    assert calls == sizes


def test_an_explainer_that_breaks_its_contract_is_not_timed(subject: Subject, images: Tensor) -> None:
    with pytest.raises(ContractError, match="'own' broke its contract"):
        make_arm(ArmSpec("explain", "tiny", "own", "layer4", "own"), subject, images, explainers={"own": CARELESS})


def test_a_layer_that_is_not_there_is_refused_with_the_nearest(subject: Subject, images: Tensor) -> None:
    spec = ArmSpec("explain", "tiny", "captum", "layer44", "captum")
    with pytest.raises(UsageError, match=r"did you mean 'layer4"):
        make_arm(spec, subject, images, explainers=SPECS)


@pytest.mark.parametrize(("tiles", "size"), [(False, 1024), (True, 2048)])
def test_the_limits_count_flop_and_bytes_moved(tiles: bool, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    product, copy = product_arm(CPU, "bf16"), copy_arm(CPU, mib=1)
    assert (product.items, product.unit, product.precision) == (2 * size**3, "FLOP", "bf16")
    assert product_arm(CPU, "fp32").items == 2 * 1024**3
    assert (copy.items, copy.unit, copy.work().nbytes) == (2 * 2**20, "bytes", 2**20)


def test_the_limits_move_and_multiply_numbers_as_nets_have_them() -> None:
    product, copy = (arm.work().float() for arm in (product_arm(CPU, "fp32"), copy_arm(CPU, mib=1)))
    assert copy.std().item() == pytest.approx(1, abs=0.01) and abs(copy.mean().item()) < 0.01
    assert product.std().item() == pytest.approx(1024**0.5, rel=0.01)
