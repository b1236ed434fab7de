"""Arms do the work they are named for, and leave the model that is timed as it was."""

from __future__ import annotations

from collections.abc import Sequence
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


def test_every_arm_gets_the_same_batch_channels_last() -> None:
    first, second = batch_of(3, 32, CPU), batch_of(3, 32, CPU)
    assert torch.equal(first, second)
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_names_are_those_that_thresholds_use() -> None:
    assert ArmSpec("forward", "a").name == "forward[a]"
    assert ArmSpec("explain", "a", "captum", "layer3", "captum").name == "explain[a,captum,layer3]"
    assert ArmSpec("copy").name == "copy[]"


def test_a_forward_arm_gives_the_logits_without_a_graph(subject: Subject, images: Tensor) -> None:
    arm = make_arm(ArmSpec("forward", "tiny"), subject, images, explainers={})
    logits = arm.work()
    assert isinstance(logits, Tensor)
    assert torch.equal(logits, subject.net(images))
    assert logits.grad_fn is None
    assert (arm.items, arm.unit) == (6, "images")
    assert arm.single is not None
    single = arm.single()
    assert isinstance(single, Tensor)
    assert single.shape == (1, 4)


@pytest.mark.parametrize("what", ["forward", "train", "explain", "shipped"])
def test_no_arm_changes_the_model_that_is_timed(what: Any, subject: Subject, images: Tensor) -> None:
    before = state(subject.net)
    names = {"explain": ("gradcam", "layer4", "gradcam"), "shipped": ("gradcam", "layer4", "gradcam_shipped")}
    arm = make_arm(ArmSpec(what, "tiny", *names.get(what, ())), subject, images, explainers=SPECS)
    arm.work()
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
    assert own is not subject.net
    assert own.training
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in own.parameters())
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), subject.net.parameters(), strict=True))
    assert isinstance(first, Tensor)
    assert isinstance(second, Tensor)
    assert torch.equal(first, second)  # batch statistics and weights are the same


def test_the_same_artefact_is_the_post_processed_map_of_the_predicted_class_on_the_host(
    subject: Subject, images: Tensor
) -> None:
    spec = SPECS["captum"]
    found = explain_work(spec, subject.net, "layer4", images=images, finished=True)()
    targets = subject.net(images).argmax(dim=1, keepdim=True)
    with evaluating(subject.net):
        raw = spec.explain(subject.net, ("layer4",), images, targets)["layer4"]
    assert isinstance(found, Tensor)
    assert found.shape == (6, 1, 32, 32)
    assert found.dtype == torch.float32
    assert torch.equal(found, postprocess(raw, 32))


def test_as_shipped_is_what_the_entry_gives(subject: Subject, images: Tensor) -> None:
    raw = explain_work(SPECS["reference"], subject.net, "layer4", images=images, finished=False)()
    picture = explain_work(SPECS["gradcam_shipped"], subject.net, "layer4", images=images, finished=False)()
    assert isinstance(raw, Tensor)
    assert isinstance(picture, Tensor)
    assert raw.shape == (6, 1, 8, 8)
    assert picture.shape == (6, 1, 32, 32)


def test_what_is_timed_of_a_stochastic_explainer_are_the_maps_of_bench_explain(
    subject: Subject, images: Tensor
) -> None:
    def explain(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {layer: torch.rand(len(images), targets.shape[1], 2, 2) for layer in layers}

    spec = ExplainerSpec(name="own", explain=explain, source="tests", backend="torch", stochastic=True)
    targets = subject.net(images).argmax(dim=1, keepdim=True)
    found = explain_work(spec, subject.net, "layer4", images=images, finished=False)()
    assert isinstance(found, Tensor)
    assert torch.equal(found, explained(spec, subject.net, ("layer4",), images, targets)["layer4"])


def test_the_guard_is_not_in_what_is_timed(subject: Subject, images: Tensor) -> None:
    def explain(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        model.train()  # which the guard would refuse
        return {layer: torch.zeros(len(images), 1, 2, 2) for layer in layers}

    spec = ExplainerSpec(name="own", explain=explain, source="tests", backend="torch")
    explain_work(spec, subject.net, "layer4", images=images, finished=False)()
    assert subject.net.training


def counting(calls: list[int], **changes: Any) -> ExplainerSpec:
    def explain(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        calls.append(len(images))
        return {layer: torch.zeros(len(images), targets.shape[1], 2, 2) for layer in layers}

    return ExplainerSpec(name="own", explain=explain, source="tests", backend="torch", **changes)


@pytest.mark.parametrize(("changes", "sizes"), [({"max_batch": 4}, [4, 2]), ({"stochastic": True}, [1] * 6), ({}, [6])])
def test_an_explainer_gets_as_many_images_a_call_as_bench_explain_gives_it(
    changes: dict[str, Any], sizes: list[int], subject: Subject, images: Tensor
) -> None:
    calls: list[int] = []
    work = explain_work(counting(calls, **changes), subject.net, "layer4", images=images, finished=True)
    work()
    assert calls == sizes


def test_an_explainer_that_breaks_its_contract_is_not_timed(subject: Subject, images: Tensor) -> None:
    def explain(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        model.train()
        return {layer: torch.zeros(len(images), 1, 2, 2) for layer in layers}

    bad = ExplainerSpec(name="bad", explain=explain, source="tests", backend="torch")
    with pytest.raises(ContractError, match="'bad' broke its contract"):
        make_arm(ArmSpec("explain", "tiny", "bad", "layer4", "bad"), subject, images, explainers={"bad": bad})


def test_a_layer_that_is_not_there_is_refused_with_the_nearest(subject: Subject, images: Tensor) -> None:
    spec = ArmSpec("explain", "tiny", "captum", "layer44", "captum")
    with pytest.raises(UsageError, match=r"did you mean 'layer4"):
        make_arm(spec, subject, images, explainers=SPECS)


def test_the_limits_count_flop_and_bytes_moved() -> None:
    product, copy = product_arm(CPU, "fp32"), copy_arm(CPU, mib=1)
    assert (product.items, product.unit) == (2 * 1024**3, "FLOP")
    assert (copy.items, copy.unit) == (2 * 2**20, "bytes")
    assert product_arm(CPU, "bf16").precision == "bf16"
    found = copy.work()
    assert isinstance(found, Tensor)
    assert found.nbytes == 2**20
