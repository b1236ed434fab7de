"""Captum's LayerGradCam."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from bench.contracts import ExplainerSpec

from .activations import borrowed, finished, record
from .costs import gradcam_cost


def layer_gradcam(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Captum's Grad-CAM: channels weighted by the mean gradient of the target's logit, then summed.

    Captum selects the target, takes the gradients of all layers in one backward pass a target, averages and sums
    them. Ours is the forward pass: one for all targets and layers, on a frozen model. Captum sees it through one
    module whose output is the layers' outputs; the maps equal those of `LayerGradCam(model, layer)` bit for bit.

    Args:
        model: gives logits (N, K). Left as found.
        layers: dotted module names whose outputs are (N, C, h, w).
        images: (N, 3, H, W), normalised as in training.
        targets: (N, T) int64, the classes each map speaks for.

    Returns:
        {layer: (N, T, h, w)} in the dtype of `images`, signed, detached.

    Raises:
        UsageError: a layer is no module of the model.
        ContractError: a layer has no grid or no part in the logits, a target is missing or not a class; names which.

    Source: Selvaraju et al. 2017, arXiv:1610.02391; captum.attr.LayerGradCam.
    """
    from captum.attr import LayerGradCam

    with borrowed(model):
        recording = record(model, layers, images, targets)
        tap = Tap(tuple(recording.outputs.values()))

        def replay(_: Tensor) -> Tensor:
            tap()
            return recording.logits

        # Captum takes one layer; one whose output is a tuple gets the gradients of all in a single way back.
        cam = LayerGradCam(replay, tap)
        maps = [attribute(cam, images, column) for column in targets.to(images.device).unbind(1)]
    found = {
        name: finished([of_target[place].squeeze(1) for of_target in maps], images)
        for place, name in enumerate(recording.outputs)
    }
    return {name: found[name] for name in layers}


class Tap(nn.Module):
    """A module that gives what other modules gave."""

    def __init__(self, outputs: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self) -> tuple[Tensor, ...]:
        """Those outputs, each (N, C, h, w)."""
        return self.outputs


def attribute(cam: Any, images: Tensor, targets: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 (Captum's, not imported)
    """Captum's maps (N, 1, h, w) of every layer, for one target an image; the graph stays for the next target."""
    # Without ReLU, which is Captum's default: the sign of a value is for the page to take away, or not.
    maps = cam.attribute(images.detach(), target=targets, grad_kwargs={"retain_graph": True})
    return maps if isinstance(maps, tuple) else (maps,)


CAPTUM = ExplainerSpec(
    name="captum",
    explain=layer_gradcam,
    source="Selvaraju et al. 2017, arXiv:1610.02391; captum.attr.LayerGradCam",
    backend="captum",
    claims="grad-cam",
    cost=gradcam_cost,
)
