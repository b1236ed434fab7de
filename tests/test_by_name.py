"""Any class of the libraries by its name: what the probe finds is so, what cannot be is refused with the reason."""

import json
from collections.abc import Callable

import pytest
import torch
from command_line import call
from pictures import pictures
from torch import Tensor, nn

from bench.cli.tables import facts_of
from bench.contracts import ExplainerSpec, Layer
from bench.errors import ContractError, UsageError
from bench.registry.class_names import class_names
from bench.registry.registry import discover
from bench.store.paths import cell_path
from bench.verifying.toy_net import small_images, small_net

explainers = discover("explainer", ExplainerSpec)
LIBRARIES = {name: explainers.members(name) for name in explainers.libraries}
TYPICAL = ("captum:GuidedBackprop", "pytorch_grad_cam:FinerCAM")
DEAR = 200  # forward passes an image and class
FEW = ("spec", "answers", "shape", "finite", "repeatable", "hooks", "parameters")  # for one that takes 1,600
REFUSED = {
    "captum:NoiseTunnel": r"NoiseTunnel\(\) needs attribution_method",
    "captum:NeuronGradient": r"its attribute\(\) needs neuron_selector",
    "captum:FeaturePermutation": "for a single image every map is constant",
    "captum:Lime": "every map is constant",  # its penalty leaves nothing of small differences
    "captum:ShapleyValues": "over 1,000 forward passes",
    "captum:Summarizer": "it explains nothing",
    "pytorch_grad_cam:FullGrad": "it gives the same map at every layer",
    "pytorch_grad_cam:DeepFeatureFactorization": "not layers, images and targets",
}
IMAGES, TARGETS = small_images(2), torch.tensor([[0, 1], [1, 3]])


def twin(name: str, model: nn.Module, layers: list[str], images: Tensor = IMAGES) -> Tensor:
    return explainers[name].explain(model, layers, images, TARGETS[: len(images)])[layers[0]]


# --- what the probe finds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPICAL)
def test_typical_class_keeps_the_contract(
    name: str, conformance: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.commands.verify.IMAGES", 2)
    monkeypatch.setattr("bench.verifying.conformance.BATCHES", 4)
    conformance(name, layer=() if explainers[name].output == "input" else ("layer4",))


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"{library}:{each}" for library, every in LIBRARIES.items() for each in every])
def test_every_class_keeps_the_contract_or_is_refused_with_a_reason(
    name: str, conformance: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.commands.verify.IMAGES", 2)
    monkeypatch.setattr("bench.verifying.conformance.BATCHES", 4)
    try:
        spec = explainers[name]
    except UsageError as error:
        assert error.message.startswith(f"{name} is no explainer: ") and not error.message.endswith(": ")
        return
    layers = () if spec.output == "input" else ("layer4",) if spec.cost("layer2") > DEAR else ("layer2", "layer4")
    for check in FEW if spec.cost("input") > 2 * DEAR else (None,):
        conformance(name, check, layer=layers)


@pytest.mark.parametrize(
    ("name", "output", "signed", "stochastic", "class_specific", "max_batch"),
    [
        ("captum:GuidedBackprop", "input", True, False, True, 16),
        ("captum:Saliency", "input", False, False, True, 16),
        ("captum:LayerActivation", "layer", False, False, False, 16),
        ("captum:LayerGradientShap", "layer", True, True, True, 1),  # at a net's last stage its draws cannot be seen
        ("captum:GuidedGradCam", "pixels", True, False, True, 16),
        ("captum:LayerFeatureAblation", "layer", True, False, True, 1),  # it fails on a batch
        ("pytorch_grad_cam:RandomCAM", "layer", True, True, False, 1),
        ("pytorch_grad_cam:RefineCAM", "picture", False, False, True, 16),
    ],
)
def test_the_probe_finds_out_what_comes_back(
    name: str, output: str, signed: bool, stochastic: bool, class_specific: bool, max_batch: int
) -> None:
    spec = explainers[name]
    found = (spec.output, spec.signed, spec.stochastic, spec.class_specific, spec.max_batch)
    assert found == (output, signed, stochastic, class_specific, max_batch)
    assert bool(spec.steps) == (output == "picture")


@pytest.mark.parametrize(
    ("name", "layer", "passes"),
    [
        ("captum:Saliency", Layer("input", (3, 32, 32)), 2),
        ("captum:Occlusion", Layer("input", (3, 64, 64), pixels=64), 257),
        ("captum:LayerFeatureAblation", Layer("layer3", (256, 8, 8)), 66),
        ("pytorch_grad_cam:ScoreCAM", Layer("layer3", (256, 8, 8)), 257),
        ("pytorch_grad_cam:GradCAM", Layer("layer1", (64, 32, 32)), 2),
    ],
)
def test_costs_are_those_that_the_probe_counted_and_grow_with_what_they_grow_with(
    name: str, layer: Layer, passes: float
) -> None:
    assert explainers[name].cost(layer) == pytest.approx(passes, rel=0.02)


# --- that it is the library's own method --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "curated", "layer"),
    [
        ("pytorch_grad_cam:GradCAM", "gradcam", "layer4.1.bn2"),  # which is written over by `out += identity`
        ("captum:LayerGradCam", "captum", "layer4.1.bn2"),
        ("captum:LayerGradientXActivation", "hirescam", "layer4.1.bn2"),
        ("captum:GuidedGradCam", "guided_gradcam", "layer3"),
        ("captum:DeepLift", "deeplift", "input"),
    ],
)
def test_a_class_that_is_also_curated_gives_the_curated_maps(name: str, curated: str, layer: str) -> None:
    net, images = small_net().double(), IMAGES.double()
    found, truth = (twin(each, net, [layer], images) for each in (name, curated))
    assert float((found - truth).abs().max()) <= 1e-6 * float(truth.abs().max()) and truth.any()


def test_finercam_compares_the_target_with_the_classes_nearest_to_it() -> None:
    net, images = small_net().double(), IMAGES.double()
    found, logits = twin("pytorch_grad_cam:FinerCAM", net, ["layer3"], images), net(images)
    for image, column in ((0, 0), (0, 1), (1, 1)):
        target = int(TARGETS[image, column])
        nearest = (logits[image] - logits[image, target]).abs().argsort()[1:4]
        chosen = torch.tensor([[target, *nearest.tolist()]])
        maps = explainers["reference"].explain(net, ["layer3"], images[image : image + 1], chosen)["layer3"][0]
        shares = logits[image].softmax(0)[nearest]
        expected = maps[0] - (shares[:, None, None] * maps[1:]).sum(0) / shares.sum()
        assert torch.corrcoef(torch.stack([found[image, column].flatten(), expected.flatten()]))[0, 1] > 0.9


def test_a_stochastic_class_draws_anew_for_no_neighbour_in_the_batch() -> None:
    net, spec = small_net(), explainers["captum:GradientShap"]
    torch.manual_seed(3)
    both = spec.explain(net, ["input"], IMAGES, TARGETS)["input"]
    torch.manual_seed(3)
    assert torch.equal(both[1:], spec.explain(net, ["input"], IMAGES[1:], TARGETS[1:])["input"])


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_an_explainer_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UsageError, match=REFUSED[name]) as caught:
        explainers[name]
    assert caught.value.try_ == f"bench list explainers --library {name.partition(':')[0]}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("captum:GuidedBackpropp", "captum has no class 'GuidedBackpropp'; did you mean 'GuidedBackprop'"),
        ("pytorch_grad_cam:gradcam", "pytorch_grad_cam has no class 'gradcam'; did you mean 'GradCAM'"),
        ("pytorch_grad_cam", "pytorch_grad_cam has no class ''"),
        ("captun:Saliency", "no explainer named 'captun:Saliency'"),
    ],
)
def test_a_name_that_no_library_has_is_refused_before_the_library_is_imported(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        explainers.entry(name)


@pytest.mark.parametrize("library", list(LIBRARIES))
def test_the_names_read_from_a_package_hold_every_class_of_it(library: str) -> None:
    assert set(LIBRARIES[library]) <= set(class_names(explainers.libraries[library].package))


def test_a_package_that_is_not_there_names_nothing() -> None:
    assert class_names("no_such_package.of_mine") == ()


def test_list_tells_of_each_explainer_what_its_spec_says_within_80_columns() -> None:
    built_in = {name: one for name, one in explainers.entries.items() if one.owner == "bench"}
    assert {name: one.facts[2:] for name, one in built_in.items()} == {
        name: facts_of(explainers[name]) for name in built_in
    }
    libraries = {"captum": "Captum", "grad-cam": "pytorch-grad-cam", "torch": "ours", "zennit": "zennit"}
    assert {name: one.facts[1] for name, one in built_in.items()} == {
        name: libraries[explainers[name].backend] for name in built_in
    }
    lines = call("list", "explainers").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.split()[:1] == [name] for line in lines for name in built_in) == len(built_in)


def test_list_says_what_works_and_why_the_rest_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.explainers.any_captum.CAPTUM.package", FewClasses)
    rows = json.loads(call("list", "explainers", "--library", "captum", "--json").stdout)["explainers"]
    assert rows == [
        {"name": "captum:Saliency", "works": "yes", "about": "pixels; nothing below 0; 2 passes"},
        {"name": "captum:NoiseTunnel", "works": "no", "about": "NoiseTunnel() needs attribution_method"},
    ]
    assert (
        "no library of explainers named 'captun'; did you mean 'captum'"
        in call("list", "explainers", "--library", "captun").stderr
    )
    assert "--library cannot be used with models" in call("list", "models", "--library", "timm").stderr


class FewClasses:
    def __init__(self) -> None:
        from captum.attr import NoiseTunnel, Saliency

        vars(self).update({"NoiseTunnel": NoiseTunnel, "Saliency": Saliency})


def test_cells_of_two_classes_lie_in_two_folders_that_every_system_can_make(tmp_path: object) -> None:
    folders = [cell_path(tmp_path, f"captum:{name}", "input").parent.name for name in ("Saliency", "SALIENCY")]
    assert folders[0].lower() != folders[1].lower() and not any(set(name) & set('<>:"/\\|?*') for name in folders)


def test_a_class_that_gives_no_map_on_a_net_of_the_users_says_so() -> None:
    with pytest.raises(ContractError, match="layer 'fc' gives"):
        twin("captum:LayerGradCam", small_net(), ["fc"], pictures(2))
