"""The maps are Grad-CAM: against a slow reference, against each library's plain use, against arithmetic."""

from copy import deepcopy
from functools import cache

import pytest
import torch
from pictures import SOURCE, pictures
from reference_cam import gradcam_by_hand
from torch import Tensor, nn

from bench.contracts import ExplainerSpec, ModelSpec
from bench.nets.weights import build_seeded
from bench.registry.registry import discover

LAYERS = ("layer1", "layer3", "layer4", "layer4.1.bn2")
TARGETS = torch.tensor([[3, 5], [7, 7]])
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}

explainers = discover("explainer", ExplainerSpec)
models = discover("model", ModelSpec)
CLAIMING = [name for name in explainers if explainers[name].claims == "grad-cam" and explainers[name].output == "layer"]

pytestmark = pytest.mark.parametrize("source", [SOURCE])


@cache
def lived(name: str, dtype: torch.dtype) -> nn.Module:
    """A model with statistics of real images and norms that differ by channel, so that no map is degenerate."""
    model = build_seeded(models[name], 10, 7)
    generator = torch.Generator().manual_seed(11)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
    with torch.no_grad():
        for batch in pictures(48).split(16):
            model(batch)
    return model.eval().to(dtype)


@cache
def truth_of(name: str, layer: str, dtype: torch.dtype) -> Tensor:
    """The reference, in the adapter's own batches."""
    return gradcam_by_hand(lived(name, dtype), layer, pictures(len(TARGETS)).to(dtype), TARGETS, at_once=len(TARGETS))


def largest_error(found: Tensor, truth: Tensor) -> float:
    """Of all maps, each relative to its own largest value."""
    errors = (found - truth).abs().amax(dim=(2, 3)) / truth.abs().amax(dim=(2, 3))
    return float(errors.max())


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("explainer", CLAIMING)
@pytest.mark.parametrize("model", list(models))
def test_maps_are_those_of_the_slow_reference(model: str, explainer: str, dtype: torch.dtype, source: str) -> None:
    net, images = lived(model, dtype), pictures(len(TARGETS)).to(dtype)
    found = explainers[explainer].explain(net, LAYERS, images, TARGETS)
    errors = {layer: largest_error(found[layer], truth_of(model, layer, dtype)) for layer in LAYERS}
    assert max(errors.values()) <= TOLERANCE[dtype], errors


@pytest.mark.parametrize("explainer", CLAIMING)
@pytest.mark.parametrize("model", list(models))
def test_layer4_map_and_bias_add_up_to_the_logit(model: str, explainer: str, source: str) -> None:
    net, images = lived(model, torch.float64), pictures(len(TARGETS)).double()
    raw = explainers[explainer].explain(net, ["layer4"], images, TARGETS)["layer4"]
    head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    logits = net(images).gather(1, TARGETS).detach()
    sums = raw.sum(dim=(2, 3)) + head.bias.detach()[TARGETS]
    assert ((sums - logits).abs() <= 1e-12 * logits.abs().max()).all()


@pytest.mark.parametrize("explainer", CLAIMING)
def test_maps_are_linear_in_the_target(explainer: str, source: str) -> None:
    net, images = lived("cifar_resnet18", torch.float64), pictures(len(TARGETS)).double()
    both = explainers[explainer].explain(net, ["layer3"], images, TARGETS)["layer3"]
    head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        kept = head.weight.clone()
        head.weight[0] = kept[3] - kept[5]
        difference = explainers[explainer].explain(net, ["layer3"], images[:1], torch.tensor([[0]]))["layer3"]
        head.weight.copy_(kept)
    assert torch.allclose(difference[0, 0], both[0, 0] - both[0, 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", ["layer1", "layer4"])
@pytest.mark.parametrize("model", list(models))
@pytest.mark.parametrize("explainer", ["captum", "gradcam"])
def test_an_adapter_gives_what_its_library_gives_in_plain_use(
    explainer: str, model: str, layer: str, source: str
) -> None:
    net, images = lived(model, torch.float32), pictures(len(TARGETS))
    plain = plain_captum if explainer == "captum" else plain_gradcam
    found = explainers[explainer].explain(net, [layer], images, TARGETS)[layer]
    assert torch.equal(found[:, 0], plain(net, layer, images, TARGETS[:, 0]))


def test_plain_use_of_pytorch_grad_cam_is_wrong_where_the_adapter_is_right(source: str) -> None:
    net, images, layer = lived("torchvision_resnet18", torch.float32), pictures(len(TARGETS)), "layer4.1.bn2"
    truth = truth_of("torchvision_resnet18", layer, torch.float32)[:, :1]
    assert largest_error(plain_gradcam(net, layer, images, TARGETS[:, 0]).unsqueeze(1), truth) > 0.1
    ours = explainers["gradcam"].explain(net, [layer], images, TARGETS)[layer][:, :1]
    assert largest_error(ours, truth) <= 1e-5


@pytest.mark.parametrize("explainer", CLAIMING)
def test_bf16_maps_are_near_those_of_fp32(explainer: str, source: str) -> None:
    net, images = lived("cifar_resnet18", torch.float32), pictures(len(TARGETS))
    truth = explainers[explainer].explain(net, ["layer4"], images, TARGETS)["layer4"]
    half = deepcopy(net).to(torch.bfloat16)
    found = explainers[explainer].explain(half, ["layer4"], images.bfloat16(), TARGETS)["layer4"]
    assert found.dtype is torch.bfloat16 and largest_error(found.float(), truth) < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("explainer", CLAIMING)
def test_maps_on_cuda_are_those_of_the_slow_reference_there(explainer: str, source: str) -> None:
    net = deepcopy(lived("torchvision_resnet18", torch.float64)).cuda()
    images = pictures(len(TARGETS)).double().cuda()
    found = explainers[explainer].explain(net, LAYERS, images, TARGETS.cuda())
    for layer in LAYERS:
        truth = gradcam_by_hand(net, layer, images, TARGETS.cuda())
        assert found[layer].device == images.device
        assert largest_error(found[layer], truth) <= TOLERANCE[torch.float64]


def plain_captum(model: nn.Module, layer: str, images: Tensor, targets: Tensor) -> Tensor:
    """(N, h, w), as its README shows it."""
    from captum.attr import LayerGradCam

    return LayerGradCam(model, model.get_submodule(layer)).attribute(images, target=targets).detach().squeeze(1)


def plain_gradcam(model: nn.Module, layer: str, images: Tensor, targets: Tensor) -> Tensor:
    """(N, h, w) as pytorch-grad-cam has it before it scales, used the way its README shows."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    seen = []

    class Watched(GradCAM):
        def get_cam_image(self, *args: object, **options: object) -> object:
            seen.append(super().get_cam_image(*args, **options))
            return seen[-1]

    with Watched(model, [model.get_submodule(layer)]) as cam:
        cam(images, [ClassifierOutputTarget(target) for target in targets.tolist()])
    model.zero_grad()
    return torch.from_numpy(seen[0])
