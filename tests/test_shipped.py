"""Finished pictures are what each library gives its users, and the model comes back as it was."""

import numpy as np
import pytest
import torch
from tiny import TinyResNet
from torch import Tensor, nn

from bench.contracts import ExplainerSpec
from bench.errors import ContractError, UsageError
from bench.explaining.guard import guarded
from bench.registry.registry import discover

explainers = discover("explainer", ExplainerSpec)
SHIPPED = ("gradcam_shipped", "captum_shipped")
TARGETS = torch.tensor([[0, 1], [3, 2], [2, 0]])


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = TinyResNet(4)
        model(torch.randn(16, 3, 32, 32))
    return model.eval()


def images() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layer", ["layer3", "layer4", "layer4.3.bn2"])
def test_picture_of_pytorch_grad_cam_is_what_its_readme_gives(layer: str) -> None:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    found = explainers["gradcam_shipped"].explain(net(), [layer], images(), TARGETS)[layer]
    for place, column in enumerate(TARGETS.unbind(1)):
        model = net()
        cam = GradCAM(model, [model.get_submodule(layer)])
        plain = cam(images(), [ClassifierOutputTarget(target) for target in column.tolist()])
        assert np.array_equal(found[:, place].numpy(), plain)


def test_picture_of_captum_is_what_its_visualiser_scales() -> None:
    from captum.attr import LayerAttribution, LayerGradCam
    from captum.attr._utils.visualization import _normalize_attr

    found, model = explainers["captum_shipped"].explain(net(), ["layer4"], images(), TARGETS)["layer4"], net()
    for place, column in enumerate(TARGETS.unbind(1)):
        maps = LayerGradCam(model, model.layer4).attribute(images(), target=column)
        large = LayerAttribution.interpolate(maps, (32, 32)).detach()[:, 0].numpy()
        drawn = [_normalize_attr(each, "positive", 2) if (each > 0).any() else np.zeros_like(each) for each in large]
        assert np.array_equal(found[:, place].numpy(), drawn)


@pytest.mark.parametrize("name", SHIPPED)
def test_pictures_pass_the_guard_in_nought_to_one_and_each_layer_has_its_own(name: str) -> None:
    guarded(explainers[name], net(), ["layer4"], images(), TARGETS)  # a first call imports its library
    both = guarded(explainers[name], net().requires_grad_(False), ["layer4", "layer3"], images(), TARGETS)
    assert {layer: tuple(maps.shape) for layer, maps in both.items()} == dict.fromkeys(
        ("layer4", "layer3"), (3, 2, 32, 32)
    )
    assert all(maps.min() >= 0 and maps.max() <= 1 for maps in both.values())
    alone = guarded(explainers[name], net(), ["layer3"], images(), TARGETS)
    assert torch.equal(alone["layer3"], both["layer3"]) and not torch.equal(both["layer3"], both["layer4"])


@pytest.mark.parametrize("name", SHIPPED)
def test_what_cannot_be_meant_is_refused(name: str) -> None:
    for layer, targets, kind, words in (
        (
            "layer4",
            torch.tensor([[0], [4], [1]]),
            ContractError,
            "target 4 of image 1 is not one of the model's 4 classes",
        ),
        ("layer4", TARGETS[:2], ContractError, "2 rows of targets for 3 images"),
        ("layer5", TARGETS, UsageError, "no layer 'layer5'"),
    ):
        with pytest.raises(kind, match=words):
            explainers[name].explain(net(), [layer], images(), targets)


@pytest.mark.parametrize("name", SHIPPED)
def test_map_without_a_positive_value_is_a_picture_of_zeros_and_no_figure_is_opened(name: str) -> None:
    from matplotlib import pyplot

    model = net()
    with torch.no_grad():
        model.fc.weight.copy_(-model.fc.weight.abs())
    assert (explainers[name].explain(model, ["layer4"], images(), TARGETS)["layer4"] == 0).all()
    assert pyplot.get_fignums() == []


def test_captum_picture_of_a_map_that_is_not_finite_is_not_finite_alone() -> None:
    some = images()
    some[1, 0, 0, 0] = torch.inf
    found = explainers["captum_shipped"].explain(net(), ["layer4"], some, TARGETS)["layer4"]
    assert found[1].isnan().all() and found[[0, 2]].isfinite().all()


@pytest.mark.parametrize("name", SHIPPED)
def test_each_names_its_steps(name: str) -> None:
    assert explainers[name].output == "picture" and len(explainers[name].steps) >= 3
    assert any("ReLU" in step for step in explainers[name].steps)
