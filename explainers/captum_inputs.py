"""Captum's methods that answer in pixels, from gradients.

The baseline, where one is needed, is the data set's mean colour, which normalisation makes 0. Maps have the channels
summed with their sign, but for `saliency`. Captum's hooks fail or lie on ReLUs that run twice, in place, as functions
or one behind another: here each call has a module and a tensor of its own (explainers/own_relus.py).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts import ExplainerSpec

from .costs import gradcam_cost
from .pixels import INPUT, at_once, one_by_one, pixels

STEPS = 50  # of the path of integrated gradients: Captum's default
SAMPLES = 20
NOISY_SAMPLES, NOISY_STEPS = 10, 10  # noisy copies, and steps of each one's path: as many passes as 100 steps of one
SMOOTHED = 0.15  # of an image's range
NOISE = 0.1  # of the standard deviation of the data set's pixels, which normalisation makes 1


def saliency(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Saliency: the largest |gradient| of the target's logit over the three channels of a pixel.

    Args:
        As the contract has them (`bench.contracts.Explainer`); layers must be ("input",).

    Returns:
        {"input": (N, T, H, W)}, none below zero. Unit: logits per standard deviation of the pixels.

    Raises:
        ContractError: another layer than `input`; a target is missing or not a class; names which.

    Source: Simonyan et al. 2013, arXiv:1312.6034; captum.attr.Saliency.
    """
    from captum.attr import Saliency

    with pixels(model, layers, images, targets) as request:
        # Captum gives |gradient|; the largest of the channels is the paper's (section 3.1).
        return request.maps(lambda inputs, target: Saliency(model).attribute(inputs, target).amax(1))


def input_x_gradient(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Input x gradient: each pixel's distance from the mean colour times the gradient of the target's logit.

    Args:
        As the contract has them (`bench.contracts.Explainer`); layers must be ("input",).

    Returns:
        {"input": (N, T, H, W)}, signed. Unit: logits.

    Raises:
        ContractError: as in `saliency`.

    Source: Shrikumar et al. 2016, arXiv:1605.01713; captum.attr.InputXGradient.
    """
    from captum.attr import InputXGradient

    with pixels(model, layers, images, targets) as request:
        return request.maps(lambda inputs, target: InputXGradient(model).attribute(inputs, target).sum(1))


def integrated_gradients(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Integrated gradients: the gradient averaged on the way from the mean colour to the image, times that way.

    The mean is a Gauss-Legendre sum of 50 points, whose weights Captum keeps in float32.

    Args:
        As the contract has them (`bench.contracts.Explainer`); layers must be ("input",).

    Returns:
        {"input": (N, T, H, W)}, signed. Unit: logits; a map's sum is near logit(image) - logit(mean colour).

    Raises:
        ContractError: as in `saliency`.

    Source: Sundararajan et al. 2017, arXiv:1703.01365; captum.attr.IntegratedGradients.
    """
    from captum.attr import IntegratedGradients

    with pixels(model, layers, images, targets) as request:
        method: Any = IntegratedGradients(model)
        # 50 steps of a whole batch would fill the memory; Captum takes no less than one step of it at a time.
        most = max(at_once(images), len(images))
        return request.maps(
            lambda inputs, target: method.attribute(inputs, 0.0, target, n_steps=STEPS, internal_batch_size=most).sum(1)
        )


def deeplift(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """DeepLIFT, rescale rule: what each pixel's distance from the mean colour adds to the logit's.

    At a ReLU the multiplier is the change of its output over the change of its input, between image and baseline.
    Captum knows few functions, and those only as modules that run once. Here it is shown every call of a function of
    one value (ReLU, GELU, SiLU, sigmoid, ...); max-pooling has a rule of ours, since Captum's is wrong where windows
    overlap. Through anything else goes the plain gradient, as through layer norm, softmax and products: then a map's
    sum is not what it should be, and bench says so.

    Args:
        As the contract has them (`bench.contracts.Explainer`); layers must be ("input",).

    Returns:
        {"input": (N, T, H, W)}, signed. Unit: logits; a map's sum is logit(image) - logit(mean colour).

    Raises:
        ContractError: as in `saliency`.

    Source: Shrikumar et al. 2017, arXiv:1704.02685; captum.attr.DeepLift.
    """
    from captum.attr import DeepLift

    from .own_relus import OwnReLUs
    from .rescale import OF_ONE_VALUE, POOLING

    with pixels(model, layers, images, targets) as request:
        method: Any = DeepLift(OwnReLUs(model, images, functions=OF_ONE_VALUE, instead=POOLING))
        return request.maps(lambda inputs, target: method.attribute(inputs, 0.0, target).sum(1))


def gradient_shap(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """GradientSHAP: input x gradient at 20 random points between the mean colour and the image under noise, averaged.

    Captum draws from torch's and from numpy's global generator. Here both are seeded from one draw from torch's, and
    anew for each image and target: a map depends neither on its neighbours in the batch nor on the other target.

    Args:
        As the contract has them (`bench.contracts.Explainer`); layers must be ("input",).

    Returns:
        {"input": (N, T, H, W)}, signed. Unit: logits; a map's sum is near logit(image) - logit(mean colour).

    Raises:
        ContractError: as in `saliency`.

    Source: Lundberg & Lee 2017, arXiv:1705.07874; captum.attr.GradientShap.
    """
    from captum.attr import GradientShap

    with pixels(model, layers, images, targets) as request:
        method: Any = GradientShap(lambda points: model(points.to(images.dtype)))  # noise widens half precisions
        grey = torch.zeros_like(images[:1])

        def one(image: Tensor, target: Tensor) -> Tensor:
            maps: Tensor = method.attribute(image, grey, n_samples=SAMPLES, stdevs=NOISE, target=target)
            return maps[0].sum(0)

        return request.maps(one_by_one(one, images.device))


def smoothgrad(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """SmoothGrad: the gradient averaged over 20 noisy copies of the image; of its size the largest of the channels.

    The noise has 15 % of the image's own range as its standard deviation (the paper: 10 to 20 %).

    Args:
        As the contract has them (`bench.contracts.Explainer`); layers must be ("input",).

    Returns:
        {"input": (N, T, H, W)}, none below zero. Unit: logits per standard deviation of the pixels.

    Raises:
        ContractError: as in `saliency`.

    Source: Smilkov et al. 2017, arXiv:1706.03825; captum.attr.NoiseTunnel of captum.attr.Saliency.
    """
    from captum.attr import NoiseTunnel, Saliency

    with pixels(model, layers, images, targets) as request:
        method: Any = NoiseTunnel(Saliency(lambda noisy: model(noisy.to(images.dtype))))

        def one(image: Tensor, target: Tensor) -> Tensor:
            maps: Tensor = method.attribute(image, **noise(image, SAMPLES), target=target, abs=False)
            return maps[0].abs().amax(0)

        return request.maps(one_by_one(one, images.device))


def smoothgrad_ig(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Integrated gradients of 10 steps, averaged over 10 noisy copies of the image; noise as in `smoothgrad`.

    Args:
        As the contract has them (`bench.contracts.Explainer`); layers must be ("input",).

    Returns:
        {"input": (N, T, H, W)}, signed. Unit: logits.

    Raises:
        ContractError: as in `saliency`.

    Source: Smilkov et al. 2017, arXiv:1706.03825, section 3.4; captum.attr.NoiseTunnel of IntegratedGradients.
    """
    from captum.attr import IntegratedGradients, NoiseTunnel

    with pixels(model, layers, images, targets) as request:
        method: Any = NoiseTunnel(IntegratedGradients(lambda noisy: model(noisy.to(images.dtype))))
        most = {"n_steps": NOISY_STEPS, "internal_batch_size": max(NOISY_STEPS, at_once(images))}

        def one(image: Tensor, target: Tensor) -> Tensor:
            maps: Tensor = method.attribute(image, **noise(image, NOISY_SAMPLES), target=target, baselines=0.0, **most)
            return maps[0].sum(0)

        return request.maps(one_by_one(one, images.device))


def noise(image: Tensor, samples: int) -> dict[str, Any]:
    """What `NoiseTunnel` is told of the noisy copies of an image (1, 3, H, W)."""
    spread = SMOOTHED * float(image.max() - image.min())
    return {"nt_type": "smoothgrad", "nt_samples": samples, "nt_samples_batch_size": at_once(image), "stdevs": spread}


def guided_gradcam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Guided Grad-CAM: guided backprop in pixels, times the positive part of Grad-CAM at the layer, resized.

    It depends on a layer and answers in pixels. So it is asked for by layer, as the other CAMs, and its maps have
    the size of the image at every layer. Captum resizes Grad-CAM by repeating values (the paper: bilinear).

    Args:
        As the contract has them (`bench.contracts.Explainer`); outputs of the layers are (N, C, h, w).

    Returns:
        {layer: (N, T, H, W)}, channels summed with sign. Unit: logits squared per standard deviation of the pixels.

    Raises:
        UsageError, ContractError: as in `gradcam`.

    Source: Selvaraju et al. 2017, arXiv:1610.02391, section 3.3; captum.attr.GuidedGradCam.
    """
    from captum.attr import GuidedGradCam

    from .activations import record
    from .own_relus import OwnReLUs

    with pixels(model, (INPUT,), images, targets) as request:
        record(model, layers, images[:1], targets[:1])  # refuses, in our words, what has no map
        # Guided backprop sets negative gradients to 0 at every ReLU by a hook on its module.
        net = OwnReLUs(model, images)
        methods: dict[str, Any] = {name: GuidedGradCam(net, model.get_submodule(name)) for name in layers}

        def maps_at(name: str) -> Tensor:
            return request.maps(lambda inputs, target: methods[name].attribute(inputs, target).sum(1))[INPUT]

        return {name: maps_at(name) for name in layers}


SALIENCY = ExplainerSpec(
    name="saliency",
    explain=saliency,
    source="Simonyan et al. 2013, arXiv:1312.6034; captum.attr.Saliency",
    backend="captum",
    output="input",
    signed=False,
    cost=lambda layer: 2.0,
)
INPUT_X_GRADIENT = ExplainerSpec(
    name="input_x_gradient",
    explain=input_x_gradient,
    source="Shrikumar et al. 2016, arXiv:1605.01713; captum.attr.InputXGradient",
    backend="captum",
    output="input",
    cost=lambda layer: 2.0,
)
INTEGRATED_GRADIENTS = ExplainerSpec(
    name="integrated_gradients",
    explain=integrated_gradients,
    source="Sundararajan et al. 2017, arXiv:1703.01365; captum.attr.IntegratedGradients",
    backend="captum",
    output="input",
    cost=lambda layer: 2.0 * STEPS,
    max_batch=16,
    complete="always",
)
DEEPLIFT = ExplainerSpec(
    name="deeplift",
    explain=deeplift,
    source="Shrikumar et al. 2017, arXiv:1704.02685; captum.attr.DeepLift",
    backend="captum",
    revision=2,  # 1 was wrong with max-pooling
    output="input",
    cost=lambda layer: 4.0,
    max_batch=32,
    complete="always",
)
GRADIENT_SHAP = ExplainerSpec(
    name="gradient_shap",
    explain=gradient_shap,
    source="Lundberg & Lee 2017, arXiv:1705.07874; captum.attr.GradientShap",
    backend="captum",
    output="input",
    stochastic=True,
    cost=lambda layer: 2.0 * SAMPLES,
    max_batch=1,
    complete="expected",
)
SMOOTHGRAD = ExplainerSpec(
    name="smoothgrad",
    explain=smoothgrad,
    source="Smilkov et al. 2017, arXiv:1706.03825; captum.attr.NoiseTunnel of Saliency",
    backend="captum",
    output="input",
    signed=False,
    stochastic=True,
    cost=lambda layer: 2.0 * SAMPLES,
    max_batch=1,
)
SMOOTHGRAD_IG = ExplainerSpec(
    name="smoothgrad_ig",
    explain=smoothgrad_ig,
    source="Smilkov et al. 2017, arXiv:1706.03825; captum.attr.NoiseTunnel of IntegratedGradients",
    backend="captum",
    output="input",
    stochastic=True,
    cost=lambda layer: 2.0 * NOISY_SAMPLES * NOISY_STEPS,
    max_batch=1,
)
GUIDED_GRADCAM = ExplainerSpec(
    name="guided_gradcam",
    explain=guided_gradcam,
    source="Selvaraju et al. 2017, arXiv:1610.02391; captum.attr.GuidedGradCam",
    backend="captum",
    output="pixels",
    joint=False,
    cost=lambda layer: 2.0 + gradcam_cost(layer),
)
