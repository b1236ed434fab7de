"""The conformance kit: it passes what is honest, and each check fails what is planted for it."""

import re
from dataclasses import replace

import pytest
import torch
from planted import PLANTED, Explain, aliasing, each, hirescam, honest, min_max, of_pixels, spec_of
from reference_cam import gradcam_by_hand
from torch import Tensor, nn

from bench.commands.verify import small_stage, targets_of, trial_of
from bench.contracts import ExplainerSpec
from bench.errors import UsageError
from bench.explaining.side_effects import changes, watch
from bench.registry.registry import discover
from bench.verifying.conformance import CHECKS, LEFT, outcome_of, outcomes_of, scaling_of
from bench.verifying.process_memory import growth, held_bytes
from bench.verifying.toy_net import small_images, small_net
from bench.verifying.trial import Trial, gap, slow_gradcam
from bench.workspace import Workspace

explainers = discover("explainer", ExplainerSpec)
CASES = [(check, *case) for check, cases in PLANTED.items() for case in cases]


def trial(spec: ExplainerSpec, *layers: str) -> Trial:
    return trial_of("planted", spec, small_stage(layers or ("layer3", "layer4")), Workspace(explainers={}))


def failures(spec: ExplainerSpec, *layers: str) -> list[str]:
    return [one.name for one in outcomes_of(trial(spec, *layers)) if one.status == "failed"]


def status(check: str, explain: Explain, *layers: str, **changes: object) -> str:
    return outcome_of(trial(spec_of(explain, **changes), *layers), check).status


@pytest.fixture(autouse=True)
def few_batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """That memory is counted over 50 batches is told by the check itself, with a leak planted."""
    if "[memory" not in request.node.name:
        monkeypatch.setattr("bench.verifying.conformance.BATCHES", 4)


# --- each check ---------------------------------------------------------------------------------------------


def test_every_check_has_something_planted_for_it() -> None:
    assert list(PLANTED) and set(PLANTED) == set(CHECKS)


@pytest.mark.parametrize(("check", "spec", "words"), CASES, ids=[f"{case[0]}-{i}" for i, case in enumerate(CASES)])
def test_check_fails_what_is_planted_and_names_it(check: str, spec: ExplainerSpec, words: str) -> None:
    outcome = outcome_of(trial(spec), check)
    assert outcome.status == "failed", outcome
    assert re.search(words, outcome.words), outcome.words


@pytest.mark.parametrize("claims", ["grad-cam", ""])
def test_honest_explainer_passes_every_check(claims: str) -> None:
    found = list(outcomes_of(trial(spec_of(honest, claims=claims))))
    skipped = {"picture", "cost"} if claims else {"picture", "cost", "head-scale", "reference"}
    assert [one for one in found if one.status == "failed"] == []
    assert {one.name for one in found if one.status == "not applicable"} == skipped
    assert [one.name for one in found] == list(CHECKS)


def test_honest_input_method_passes_every_check() -> None:
    found = list(outcomes_of(trial(spec_of(of_pixels, output="input", cost=lambda layer: 2.0))))
    assert [one for one in found if one.status == "failed"] == []
    assert next(one for one in found if one.name == "cost").words == "2.00 forward passes"


def test_planted_faults_are_told_one_by_one_and_who_does_not_answer_is_tried_no_further() -> None:
    assert failures(PLANTED["hooks"][0][0], "layer3") == ["hooks"]
    assert failures(PLANTED["answers"][0][0]) == ["answers"]
    assert outcome_of(trial(PLANTED["answers"][0][0]), "memory").words == "not tried: a call returns no maps"


def test_wrong_shape_spoils_no_other_check() -> None:
    found = {one.name: one.status for one in outcomes_of(trial(PLANTED["shape"][0][0], "layer4"))}
    assert found["shape"] == "failed" and found["hooks"] == found["memory"] == found["repeatable"] == "passed"


# --- where a check applies ----------------------------------------------------------------------------------


def test_stochastic_explainer_gets_one_image_a_call_and_may_draw() -> None:
    def noisy(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        assert len(images) == 1
        return {name: maps * (1 + torch.rand(())) for name, maps in honest(model, layers, images, targets).items()}

    found = {one.name: one for one in outcomes_of(trial(spec_of(noisy, stochastic=True), "layer4"))}
    assert [one for one in found.values() if one.status == "failed"] == []
    assert found["random-state"].status == found["batch"].status == "not applicable"
    assert found["repeatable"].status == "passed"


def test_unsigned_maps_need_no_value_below_zero_and_may_be_there_where_the_layers_output_is() -> None:
    assert status("signed", each(torch.relu), signed=False) == "passed"
    assert status("signed", honest, "layer4.1.bn2", signed=False) == "passed"


def test_picture_may_be_scaled_and_must_lie_in_0_to_1() -> None:
    def picture(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        scaled = {name: min_max(maps) for name, maps in honest(model, layers, images, targets).items()}
        size = {"size": images.shape[2:], "mode": "bilinear"}
        return {name: nn.functional.interpolate(maps, **size) for name, maps in scaled.items()}

    spec = spec_of(picture, output="picture", steps=("scaled", "resized"), claims="grad-cam")
    found = {one.name: one.status for one in outcomes_of(trial(spec, "layer4"))}
    assert "failed" not in found.values() and found["picture"] == "passed"
    assert found["raw"] == found["reference"] == "not applicable"


def test_claim_of_grad_cam_is_held_against_float64_unless_the_library_casts() -> None:
    for change, told in (
        (lambda maps: maps * (1 + 1e-14), "passed"),
        (lambda maps: maps * (1 + 1e-9), "failed"),
        (lambda maps: maps.float().to(maps.dtype), "passed"),
    ):
        assert status("reference", each(change), claims="grad-cam") == told


@pytest.mark.parametrize("reference", [None, "reference"])
def test_overwritten_activation_is_found_inside_a_block_and_harmless_at_its_end(reference: str | None) -> None:
    known = explainers[reference].explain if reference in explainers else None
    layers = ("layer3", "layer4", "layer4.1.bn2")
    tried = replace(trial(spec_of(aliasing, claims="grad-cam"), *layers), reference=known)
    assert outcome_of(replace(tried, layers=layers[:2]), "reference").status == "passed"
    found = outcome_of(replace(tried, layers=layers[2:]), "reference")
    assert found.status == "failed" and "at layer4.1.bn2" in found.words


# --- what checks stand on -----------------------------------------------------------------------------------


def test_slow_gradcam_is_that_of_the_tests() -> None:
    net, images = small_net().double(), small_images(3).double()
    targets = targets_of(net, images)
    for layer, maps in slow_gradcam(net, ["layer1", "layer4.1.bn2", "conv1"], images, targets).items():
        assert gap(maps, gradcam_by_hand(net, layer, images, targets)) < 1e-12
    assert gap(hirescam(net, ["layer3"], images, targets)["layer3"], maps) == float("inf")  # another grid


def test_small_net_is_always_the_same_and_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    one, two = small_net(), small_net()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not any(module.training for module in one.modules())
    assert torch.equal(small_images(2), small_images(2))


def test_small_net_overwrites_what_a_norm_inside_a_block_gave() -> None:
    net, kept = small_net(), []
    net.layer4[1].bn2.register_forward_hook(lambda module, inputs, output: kept.extend([output, output.clone()]))
    net(small_images(1))
    assert not torch.equal(*kept)


def test_targets_are_the_class_predicted_and_others_that_change_from_image_to_image() -> None:
    class Fixed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([[0.0, 3.0, 1.0]]).expand(len(images), 3)

    assert targets_of(Fixed(), torch.zeros(3, 1)).tolist() == [[1, 2], [1, 0], [1, 2]]


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ([[[1.0, 2.0]]], [[[1.0, 2.0]]], 0.0),
        ([[[1.0, 2.0]]], [[[1.0, 1.0]]], 0.5),
        ([[[0.0, 4.0]], [[1.0, 1.0]]], [[[0.0, 4.0]], [[1.0, 0.0]]], 1.0),
        ([[[0.0, 0.0]]], [[[0.0, 0.0]]], 0.0),
        ([[[torch.nan, 1.0]]], [[[torch.nan, 1.0]]], 0.0),
        ([[[torch.nan, 1.0]]], [[[0.0, 1.0]]], torch.inf),
        ([[[torch.inf, 1.0]]], [[[torch.inf, 1.0]]], 0.0),
        ([[[1.0]]], [[[1.0, 2.0]]], torch.inf),
    ],
)
def test_gap_is_relative_to_the_largest_value_of_the_map(found: list, wanted: list, expected: float) -> None:
    assert gap(torch.tensor(found), torch.tensor(wanted)) == expected


def test_maps_of_their_own_sizes_and_one_map_for_everything_are_not_taken_for_scaled_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    own, signed = torch.rand(8, 16, generator=generator), torch.randn(8, 1024, generator=generator)
    centred = signed - signed.mean(1, keepdim=True)  # a sum of zero is no scale
    for maps in (own, signed, centred, torch.linspace(0, 1, 16).expand(8, 16)):
        assert scaling_of(maps) == ""


def test_memory_that_is_kept_is_counted_to_the_byte() -> None:
    kept: list[Tensor] = []
    once: dict[str, Tensor] = {}
    if held_bytes() is None:
        pytest.skip("this system does not report how much memory is in use")
    assert 1.9e6 < growth(lambda: kept.append(torch.ones(25_000)), 20) < 2.3e6  # 100 kB a time
    assert growth(lambda: once.setdefault("cache", torch.ones(1_000_000)), 20) < 100_000


def test_nothing_of_a_trial_reaches_the_caller() -> None:
    one = trial(spec_of(honest), "layer4")
    before = {name: values.clone() for name, values in one.model.state_dict().items()}
    checks = watch(one.model, one.images, one.targets, stochastic=False)
    for bad in [spec for check in (*LEFT, "random-state", "image-gradients", "silent") for spec, _ in PLANTED[check]]:
        tried = replace(one, spec=bad)
        for check in ("silent", "hooks", "wrong-target", "image-gradients", "error"):
            outcome_of(tried, check)
    assert changes(checks) == []
    assert all(torch.equal(values, one.model.state_dict()[name]) for name, values in before.items())


def test_layer_that_the_small_net_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'layr3' is not a layer of the small net; did you mean 'layer[1-4]'"):
        small_stage(("layr3",))
