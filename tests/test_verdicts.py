"""Verdicts: every known trap is found out with its cause, and what is right is not accused."""

from dataclasses import replace
from functools import cache
from typing import get_args

import numpy as np
import pytest
import torch
from listening import Listener
from pictures import SOURCE, pictures
from reference_cam import gradcam_by_hand
from test_truth import lived
from tiny import TinyNet, TinyResNet
from torch import Tensor, nn
from wrong_cams import (
    MISTAKES,
    Maps,
    by_hand,
    changed,
    claiming,
    gradcam_of_too_few_targets,
    gradcam_unguarded,
    scored,
)

from bench.commands.judge import told_apart
from bench.contracts import ExplainerSpec, Silence
from bench.errors import RoomError
from bench.judging.verdicts import Case, Inputs, is_float32, moved, verdicts
from bench.registry.registry import discover
from bench.schema.verdicts import CAUSES, Verdict, Word

OVERWRITTEN = ("layer4.1.bn2", "layer4.0.bn2", "bn1")
RIGHT = ("layer4", "layer4.1.conv2", "layer4.0.downsample.1")
TWICE = "layer4.1.relu"  # torchvision's blocks use their ReLU twice
TORCHVISIONS, TIMMS = "torchvision_resnet18", "timm_resnet18"  # of the second a layer of each kind

explainers = discover("explainer", ExplainerSpec)
REFERENCE = explainers["reference"]


def judge(model: nn.Module, sample: Inputs, specs: dict[str, ExplainerSpec], *layers: str) -> list[Verdict]:
    cases = [Case(name, spec, layers) for name, spec in specs.items()]
    return list(verdicts(cases, REFERENCE, model, sample, progress=Silence()))


def verdict_of(spec: ExplainerSpec, net: nn.Module | None = None, layer: str = "layer3") -> Verdict:
    """Of one explainer on the small net."""
    (one,) = judge(net or small(), small_sample(), {spec.name: spec}, layer)
    return one


def small(seed: int = 2) -> nn.Module:
    """A net of four classes whose norms differ by channel and whose statistics are of a batch."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = TinyResNet(4)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.3)
        net(torch.randn(16, 3, 32, 32))
    return net.eval().requires_grad_(False)


def small_sample(count: int = 4) -> Inputs:
    """Images whose two classes differ, and of which the net predicts neither always."""
    images = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    return Inputs(images, torch.tensor([[0, 1], [2, 3], [1, 2], [3, 0]] * (count // 4)))


# --- the traps of pytorch-grad-cam, in the nets they are known from ------------------------------------------


@cache
def unguarded(model: str) -> dict[str, Verdict]:
    """The library used naively, at every layer of the table."""
    layers = (*OVERWRITTEN, *RIGHT, TWICE) if model == TORCHVISIONS else (OVERWRITTEN[0], RIGHT[0])
    sample = Inputs(pictures(1), torch.tensor([[3]]))
    found = judge(lived(model, torch.float32), sample, {"unguarded": claiming(gradcam_unguarded)}, *layers)
    return {one.layer: one for one in found}


@pytest.mark.parametrize("source", [SOURCE])
@pytest.mark.parametrize(("model", "layer"), [*((TORCHVISIONS, each) for each in OVERWRITTEN), (TIMMS, OVERWRITTEN[0])])
def test_activation_overwritten_in_place_is_found_out(model: str, layer: str, source: str) -> None:
    one = unguarded(model)[layer]
    assert (one.verdict, one.causes) == ("wrong", ("overwritten",))
    assert one.difference > 0.1 and "overwritten in place" in one.words and "end of the block" in one.instead


@pytest.mark.parametrize("source", [SOURCE])
@pytest.mark.parametrize(("model", "layer"), [*((TORCHVISIONS, each) for each in RIGHT), (TIMMS, RIGHT[0])])
def test_layers_at_which_the_library_is_right_are_not_accused(model: str, layer: str, source: str) -> None:
    one = unguarded(model)[layer]
    assert (one.verdict, one.causes) == ("same up to rounding", ()) and one.difference <= 1e-12


@pytest.mark.parametrize("source", [SOURCE])
def test_first_run_of_a_module_used_twice_is_told_from_the_last(source: str) -> None:
    one = unguarded(TORCHVISIONS)[TWICE]
    assert (one.verdict, one.causes) == ("wrong", ("first call",))


def test_two_targets_for_four_images_are_found_out() -> None:
    one = verdict_of(claiming(gradcam_of_too_few_targets), layer="layer4")
    assert (one.verdict, one.causes) == ("wrong", ("zero rows",)) and one.words.endswith("(4 of 8 maps)")


# --- one mistake at a time ----------------------------------------------------------------------------------


def test_every_cause_but_those_of_the_real_nets_has_a_planted_mistake() -> None:
    assert set(MISTAKES) == set(CAUSES) - {"overwritten", "first call", "mixed calls"}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_planted_mistake_is_named_and_no_other(mistake: str) -> None:
    one = verdict_of(MISTAKES[mistake])
    assert (one.verdict, one.causes) == ("wrong", (mistake,)) and one.words.startswith(CAUSES[mistake][0])


def rippled(maps: Tensor, height: float) -> Tensor:
    """Maps whose values are off by up to a share of themselves."""
    return maps * (1 + height * torch.sin(torch.arange(maps.numel()).to(maps)).view_as(maps))


@pytest.mark.parametrize(
    ("factor", "cause"),
    [(256, "sum"), (256.1, "factor"), (-1, "sign"), (-1.001, "factor"), (1e-4, "factor"), (1e9, "factor")],
)
@pytest.mark.parametrize("cast", [False, True], ids=["float64", "float32"])
def test_a_constant_is_known_for_what_it_is_however_small_or_large(factor: float, cause: str, cast: bool) -> None:
    """layer3 has 16 x 16 cells; a library may cast the map to float32 on the way."""
    one = verdict_of(changed(lambda maps: (factor * maps).float().to(maps) if cast else factor * maps))
    assert (one.verdict, one.causes) == ("wrong", (cause,))


@pytest.mark.parametrize("factor", [1e-4, 1.0, 1e9])
def test_a_constant_times_maps_that_are_not_grad_cams_is_no_constant(factor: float) -> None:
    one = verdict_of(changed(lambda maps: factor * rippled(maps, 1e-8)))
    assert (one.verdict, one.causes) == ("wrong", ("unknown",))


def test_something_where_grad_cam_gives_nothing_is_wrong() -> None:
    net = small()
    with torch.no_grad():
        net.fc.weight[1] = 0
    one = verdict_of(changed(lambda maps: maps + 0.5 * (maps == 0).all(3, keepdim=True).all(2, keepdim=True)), net)
    assert (one.verdict, one.causes) == ("wrong", ("unknown",))


def test_what_is_not_finite_in_truth_hides_no_cause() -> None:
    sample = small_sample()
    sample.images[0] = torch.nan
    (one,) = judge(small(), sample, {"planted": MISTAKES["relu"]}, "layer3")
    assert (one.verdict, one.causes) == ("wrong", ("relu",))


def test_two_mistakes_at_once_are_both_named() -> None:
    half = changed(lambda maps: torch.relu(maps) / torch.relu(maps).amax(dim=(2, 3), keepdim=True).clamp_min(1e-300))
    softmax = MISTAKES["softmax"].explain
    both = claiming(lambda *given: {layer: maps.relu() for layer, maps in softmax(*given).items()})
    assert (verdict_of(half).causes, verdict_of(both).causes) == (("relu", "scaled"), ("softmax", "relu"))


def test_other_class_is_shown_by_an_example() -> None:
    assert "for instance class 1 where class 0 was asked for" in verdict_of(MISTAKES["other class"]).words


@pytest.mark.parametrize("mistake", ["first class", "predicted class"])
def test_causes_that_fit_alike_are_all_named_and_targets_of_mixed_columns_tell_them_apart(mistake: str) -> None:
    """With the predicted class always in the first column, to take the first and to take the predicted class is one."""
    net, images = small(), small_sample().images
    predicted = net(images).argmax(1)
    plain = torch.stack([predicted, (predicted + 1) % 4], dim=1)
    (one,) = judge(net, Inputs(images, plain), {"planted": MISTAKES[mistake]}, "layer3")
    assert all(CAUSES[each][0] in one.words for each in ("first class", "predicted class"))
    assert "these images do not tell them apart" in one.words
    mixed = torch.from_numpy(told_apart(plain.numpy(), net(images).numpy()))
    (one,) = judge(net, Inputs(images, mixed), {"planted": MISTAKES[mistake]}, "layer3")
    assert one.causes == (mistake,) and one.words == CAUSES[mistake][0]


def test_no_column_of_what_is_judged_is_always_the_predicted_class_and_no_row_asks_one_class_twice() -> None:
    logits = np.array([[3.0, 1, 2], [3, 1, 2], [1, 3, 2], [1, 2, 3]])
    found = told_apart(np.array([[0, 0], [0, 1], [1, 1], [2, 0]]), logits)
    assert found.tolist() == [[0, 2], [1, 0], [1, 2], [0, 2]]
    assert told_apart(np.zeros((2, 2), int), np.ones((2, 1))).tolist() == [[0, 0], [0, 0]]  # a net of one class


def test_unknown_cause_comes_with_size_and_correlation() -> None:
    one = verdict_of(MISTAKES["unknown"])
    assert one.difference > 0.1 and abs(one.correlation) < 0.5


def test_error_beyond_float64_is_wrong_and_within_float32_right_only_where_a_library_casts() -> None:
    cast = changed(lambda maps: maps.float().to(maps))
    near, coarse = changed(lambda maps: rippled(maps, 1e-9)), changed(lambda maps: rippled(maps, 1e-5).float().to(maps))
    right, *wrong = judge(small(), small_sample(), {"cast": cast, "near": near, "coarse": coarse}, "layer3")
    assert (right.verdict, [one.verdict for one in wrong]) == ("same up to rounding", ["wrong", "wrong"])
    assert is_float32(torch.tensor([0.5, 0.25], dtype=torch.float64))
    assert not is_float32(torch.tensor([0.1], dtype=torch.float64))


# --- what is right ------------------------------------------------------------------------------------------


def test_right_ones_with_the_same_bits_are_same_and_name_each_other() -> None:
    twins = {"one": claiming(by_hand, "one"), "two": claiming(by_hand, "two"), "gradcam": explainers["gradcam"]}
    one, two, gradcam = judge(small(), small_sample(), twins, "layer3")
    assert (one.verdict, two.verdict) == ("same", "same") and "two" in one.equal_to
    assert "one" in two.equal_to and gradcam.verdict in ("same", "same up to rounding")


def test_wrong_twins_stay_wrong() -> None:
    wrong = MISTAKES["relu"]
    found = judge(small(), small_sample(), {"one": wrong, "two": wrong}, "layer3")
    assert [one.verdict for one in found] == ["wrong", "wrong"] and found[0].equal_to == ("two",)


def test_maps_of_zeros_are_equal_to_nothing() -> None:
    """Neither where Grad-CAM has something to say nor, as here for one class more, where it is silent itself."""
    net, nothing = small(), changed(torch.zeros_like)
    found = judge(net, small_sample(), {"one": nothing, "two": nothing}, "layer3")
    assert [(one.verdict, one.causes, one.equal_to) for one in found] == [("wrong", ("all zero",), ())] * 2
    with torch.no_grad():
        net.fc.weight.zero_()
    silent = judge(net, small_sample(), {"one": claiming(by_hand), "two": claiming(by_hand)}, "layer3")
    assert [(one.verdict, one.equal_to) for one in silent] == [("same up to rounding", ())] * 2


def test_a_map_that_is_zero_in_truth_is_no_zero_row() -> None:
    """The second half of the images is lost: four maps, of which one is of a class that Grad-CAM is silent about."""
    net = small()
    with torch.no_grad():
        net.fc.weight[1] = 0
    one = verdict_of(MISTAKES["zero rows"], net)
    assert (one.verdict, one.causes) == ("wrong", ("zero rows",)) and one.words.endswith("(3 of 8 maps)")


def test_reference_itself_is_held_against_the_slow_one() -> None:
    def lying(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> Maps:
        return {layer: maps.relu() for layer, maps in by_hand(model, layers, images, targets).items()}

    false = claiming(lying, "reference")
    (one,) = verdicts([Case("reference", false, ("layer3",))], false, small(), small_sample(), progress=Silence())
    assert (one.verdict, one.causes) == ("wrong", ("relu",))


def test_without_a_reference_the_slow_one_judges() -> None:
    cases = [Case("planted", MISTAKES["sum"], ("layer3",)), Case("captum", explainers["captum"], ("layer3",))]
    wrong, right = verdicts(cases, None, small(), small_sample(), progress=Silence())
    assert (wrong.causes, right.verdict) == (("sum",), "same up to rounding")


def test_model_is_left_as_it_was() -> None:
    net, sample = small(), small_sample()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    judge(net, sample, {"planted": MISTAKES["training mode"]}, "layer3")
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items()) and not net.training
    assert {value.dtype for value in net.parameters()} == {torch.float32}
    assert torch.equal(sample.images, small_sample().images)


# --- what claims nothing, and what fails --------------------------------------------------------------------


def test_another_method_is_not_wrong_and_its_equality_at_the_last_layer_is_told_with_the_reason() -> None:
    hirescam = replace(scored(lambda logits: logits, elementwise=True), name="hirescam", claims="")
    pooled = TinyNet(4).eval().requires_grad_(False)
    early, late = judge(pooled, small_sample(), {"hirescam": hirescam}, "layer3", "layer4")
    assert (early.verdict, late.verdict) == ("another method", "another method")
    assert (early.words, early.difference) == ("", None)
    assert late.words.startswith("equals Grad-CAM at this layer: only pooling and a linear layer follow")


def test_method_in_pixels_is_another_method() -> None:
    spec = ExplainerSpec("pixels", lambda m, layers, x, t: {"input": x.sum(1, keepdim=True).expand(-1, 2, -1, -1).clone()}, "tests", "torch", output="input")  # fmt: skip # noqa: E501
    (one,) = verdicts([Case("pixels", spec, ("input",))], REFERENCE, small(), small_sample(), progress=Silence())
    assert (one.verdict, one.difference) == ("another method", None)


def test_explainer_that_raises_at_one_layer_fails_there_alone() -> None:
    def picky(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> Maps:
        if "layer4" in layers:
            raise ZeroDivisionError("planted")
        return by_hand(model, layers, images, targets)

    good, bad = judge(small(), small_sample(), {"picky": claiming(picky)}, "layer3", "layer4")
    assert (good.verdict, bad.verdict) == ("same", "failed")
    assert bad.words == "ZeroDivisionError: planted"


def test_memory_that_runs_out_is_no_verdict_on_the_explainer_and_the_others_get_theirs() -> None:
    def hungry(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> Maps:
        raise torch.OutOfMemoryError("planted")

    cases = [Case("hungry", claiming(hungry, "hungry"), ("layer4",)), Case("good", claiming(by_hand), ("layer4",))]
    told = Listener()
    (one,) = verdicts(cases, REFERENCE, small(), small_sample(), progress=told)
    assert (one.explainer, one.verdict) == ("good", "same")
    assert any("no verdict on hungry" in each and "--device cpu" in each for each in told.warned)
    with pytest.raises(RoomError):
        verdicts(cases[:1], REFERENCE, small(), small_sample(), progress=Silence())


def test_explainer_that_leaves_a_trace_fails_with_its_name() -> None:
    def careless(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> Maps:
        model.train()
        return by_hand(model, layers, images, targets)

    one = verdict_of(claiming(careless, "careless"))
    assert one.verdict == "failed" and "left training = True" in one.words


def test_layer_without_a_map_is_told() -> None:
    assert verdict_of(claiming(by_hand), layer="fc").verdict == "failed"


# --- rounding -----------------------------------------------------------------------------------------------


def test_moved_by_rounding_is_fp32_against_its_own_float64_and_no_verdict() -> None:
    def rough(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> Maps:
        found = by_hand(model, layers, images, targets)
        step = 0.25 if images.dtype is torch.float32 else 0.0
        return {name: maps + step * maps.abs().amax(dim=(2, 3), keepdim=True) for name, maps in found.items()}

    one = verdict_of(claiming(rough))
    assert one.verdict == "same"
    assert 0.2 < one.moved < 0.3  # rounding itself moves these maps by less than 0.01


def test_moved_by_hand() -> None:
    own = torch.tensor([[[[1.0, -4.0]]], [[[0.0, torch.nan]]]], dtype=torch.float64)
    fast = torch.tensor([[[[1.5, -4.0]]], [[[9.0, 9.0]]]], dtype=torch.float64)
    assert moved(fast, own) == 0.125 and moved(fast[1:], own[1:]) is None


# --- finished pictures --------------------------------------------------------------------------------------


@cache
def shipped() -> dict[tuple[str, str], Verdict]:
    """Both libraries' pictures on the real net."""
    sample, net = Inputs(pictures(1), torch.tensor([[3]])), lived(TORCHVISIONS, torch.float32)
    found = judge(net, sample, {name: explainers[name] for name in STEPS}, "layer4", "layer4.1.bn2")
    return {(one.explainer, one.layer): one for one in found}


STEPS = {
    "gradcam_shipped": ("smallest value subtracted", "scaled again after resizing: smallest value subtracted"),
    "captum_shipped": (
        "nearest value instead of bilinear",
        "ReLU after resizing instead of before",
        "scaled after resizing instead of before: divided by the value at 98 % of the cumulative sum",
    ),
}


@pytest.mark.parametrize("source", [SOURCE])
@pytest.mark.parametrize("name", list(STEPS))
def test_finished_pictures_differ_by_these_steps_alone(name: str, source: str) -> None:
    one = shipped()[name, "layer4"]
    assert (one.verdict, one.causes, len(one.steps)) == ("other recipe", (), len(STEPS[name]))
    assert all(step.words.startswith(words) for step, words in zip(one.steps, STEPS[name], strict=True))
    least, most = 0.3 if name == "captum_shipped" else 0.01, sum(step.difference for step in one.steps) + 1e-6
    assert least < one.difference <= most


@pytest.mark.parametrize("source", [SOURCE])
def test_picture_of_an_overwritten_activation_is_wrong_and_keeps_its_recipe(source: str) -> None:
    wrong, right = (shipped()[name, "layer4.1.bn2"] for name in STEPS)
    assert (wrong.verdict, wrong.causes) == ("wrong", ("overwritten",))
    assert [step.words[:26] for step in wrong.steps] == ["smallest value subtracted ", "scaled again after resizin"]
    assert right.verdict == "other recipe"


def test_picture_by_our_own_recipe_is_same_up_to_rounding() -> None:
    from bench.postprocess import postprocess

    def ours(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> Maps:
        return {name: postprocess(maps, 32) for name, maps in by_hand(model, layers, images, targets).items()}

    assert verdict_of(claiming(ours, output="picture")).verdict == "same up to rounding"


# --- maps that carry nothing --------------------------------------------------------------------------------


def test_grid_of_one_cell_shows_that_the_min_shift_makes_nothing_of_it() -> None:
    net = TinyNet(4).eval().requires_grad_(False)
    with torch.no_grad():
        net.fc.weight.abs_()  # every map positive
        net.layer4[1].bias.fill_(1)
    images = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    sample = Inputs(images, small_sample().targets)
    assert (explainers["gradcam_shipped"].explain(net, ["layer4"], images, sample.targets)["layer4"] == 0).all()
    raw, picture = judge(net, sample, {name: explainers[name] for name in ("gradcam", "gradcam_shipped")}, "layer4")
    assert (raw.verdict in ("same", "same up to rounding"), raw.constant, raw.maps) == (True, 8, 8)
    assert (picture.verdict, picture.difference, picture.steps[0].difference) == ("other recipe", 1.0, 1.0)
    assert "smallest value subtracted" in picture.steps[0].words and "8 of 8 constant" in picture.words


def test_maps_without_a_positive_value_are_counted_and_no_error_of_the_explainer() -> None:
    net = TinyNet(4).eval().requires_grad_(False)
    with torch.no_grad():
        net.fc.weight.copy_(-net.fc.weight.abs())
    names = ("captum", "gradcam_shipped", "captum_shipped")
    found = judge(net, small_sample(), {name: explainers[name] for name in names}, "layer4")
    assert {one.verdict for one in found} <= {"same", "same up to rounding"} and all(one.dead == 8 for one in found)
    assert all("8 of 8 without a positive value" in one.words for one in found)


def test_reference_by_hand_and_planted_copy_agree() -> None:
    net, sample = small().double(), small_sample()
    truth = gradcam_by_hand(net, "layer3", sample.images.double(), sample.targets, at_once=4)
    assert (by_hand(net, ("layer3",), sample.images.double(), sample.targets)["layer3"] - truth).abs().max() <= 1e-12


def test_verdict_words_are_those_of_the_table() -> None:
    assert set(get_args(Word)) == {"same", "same up to rounding", "other recipe", "another method", "wrong", "failed"}
