"""Explainers that claim Grad-CAM and make one known mistake each, for the judge to find out."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from reference_cam import activations_and_slopes, maps_of
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bench.contracts import ExplainerSpec

Maps = dict[str, Tensor]
Change = Callable[[Tensor], Tensor]


def claiming(explain: Callable[..., Maps], name: str = "planted", **fields: Any) -> ExplainerSpec:
    """An entry that claims Grad-CAM."""
    plain = ExplainerSpec(name=name, explain=explain, source="tests", backend="torch", claims="grad-cam")
    return replace(plain, **fields)


# --- pytorch-grad-cam as its users call it, but stopped before it scales -------------------------------------


def gradcam_unguarded(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
    """The library used naively: no clone behind the layer, whatever follows may overwrite what was kept."""
    own = deepcopy(model).requires_grad_(True)
    return {layer: _unguarded(own, layer, images, list(targets.unbind(1))) for layer in layers}


def gradcam_of_too_few_targets(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
    """The same with targets for the first half of the images only, which the library does not refuse."""
    own = deepcopy(model).requires_grad_(True)
    columns = [column[: len(images) // 2] for column in targets.unbind(1)]
    return {layer: _unguarded(own, layer, images, columns) for layer in layers}


def _unguarded(model: nn.Module, layer: str, images: Tensor, columns: Sequence[Tensor]) -> Tensor:
    from pytorch_grad_cam.grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    class Raw(GradCAM):
        def compute_cam_per_layer(self, *args: Any) -> Any:
            kept = self.activations_and_grads
            activation, gradient = kept.activations[0].numpy(), kept.gradients[0].numpy()
            return [self.get_cam_image(images, self.target_layers[0], [], activation, gradient, False)]

        def aggregate_multi_layers(self, maps: Any) -> Any:
            return maps[0]

    cam: Any = Raw(model, [model.get_submodule(layer)])  # type: ignore[no-untyped-call]
    try:
        maps = [cam(images, [ClassifierOutputTarget(one) for one in column.tolist()]) for column in columns]
    finally:
        cam.activations_and_grads.release()
    return torch.stack([torch.from_numpy(each) for each in maps], dim=1)


# --- by hand ------------------------------------------------------------------------------------------------


def by_hand(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
    """Grad-CAM, slow and plain."""
    return {layer: maps_of(model, layer, images, targets) for layer in layers}


def changed(change: Change) -> ExplainerSpec:
    """Grad-CAM with something done to the maps (N, T, h, w)."""

    def explain(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
        return {layer: change(maps) for layer, maps in by_hand(model, layers, images, targets).items()}

    return claiming(explain)


def retargeted(change: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> ExplainerSpec:
    """Grad-CAM of other classes than those asked for."""
    return claiming(
        lambda model, layers, images, targets: by_hand(model, layers, images, change(model, images, targets))
    )


def scored(score: Change, *, elementwise: bool = False, training: bool = False) -> ExplainerSpec:
    """Grad-CAM of a score other than the logits, or weighted position by position, or in training mode."""

    def explain(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Maps:
        own = deepcopy(model).train(training)
        maps = {}
        for layer in layers:
            grid, slopes = activations_and_slopes(own, layer, images, targets, score)
            weights = slopes if elementwise else [slope.mean(dim=(2, 3), keepdim=True) for slope in slopes]
            maps[layer] = torch.stack([(weight * grid).sum(1) for weight in weights], dim=1)
        return maps

    return claiming(explain)


def by_range(maps: Tensor) -> Tensor:
    """Every map from 0 to 1."""
    shifted = maps - maps.amin(dim=(2, 3), keepdim=True)
    return shifted / shifted.amax(dim=(2, 3), keepdim=True)


def enlarged(maps: Tensor) -> Tensor:
    """Maps of 32x32."""
    return interpolate(maps, size=(32, 32), mode="bilinear")


def without_second_half(maps: Tensor) -> Tensor:
    """Zeros for the second half of the images."""
    return torch.cat([maps[: len(maps) // 2], torch.zeros_like(maps[len(maps) // 2 :])])


def with_nan(maps: Tensor) -> Tensor:
    """One value that is not finite."""
    maps = maps.clone()
    maps[0, 0, 0, 0] = torch.nan
    return maps


def of_noise(maps: Tensor) -> Tensor:
    """Nothing of the kind."""
    noise = torch.rand(maps.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return (noise - 0.5).to(maps)


def predicted(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The argmax, whatever was asked for."""
    with torch.no_grad():
        classes: Tensor = model(images).argmax(1)
    return classes[:, None].expand_as(targets).contiguous()


MISTAKES = {
    "softmax": scored(lambda logits: logits.softmax(1)),
    "log-softmax": scored(lambda logits: logits.log_softmax(1)),
    "elementwise": scored(lambda logits: logits, elementwise=True),
    "training mode": scored(lambda logits: logits, training=True),
    "predicted class": retargeted(predicted),
    "first class": retargeted(lambda model, images, targets: targets[:, :1].expand_as(targets).contiguous()),
    "other class": retargeted(lambda model, images, targets: (targets + 1) % 4),
    "zero rows": changed(without_second_half),
    "all zero": changed(torch.zeros_like),
    "not finite": changed(with_nan),
    "relu": changed(torch.relu),
    "scaled": changed(by_range),
    "resized": changed(enlarged),
    "sum": changed(lambda maps: maps * maps[0, 0].numel()),
    "sign": changed(torch.neg),
    "factor": changed(lambda maps: 2.5 * maps),
    "unknown": changed(of_noise),
}
WITH_RELU = MISTAKES["relu"]
