"""pytorch-grad-cam's classes, shown a forward pass that has already been made."""

# The library's classes are half typed, and wrongly where an array is called a Tensor; ours are checked all the same.
# mypy: disable-error-code="no-untyped-call, arg-type, attr-defined, misc, override"

from collections.abc import Sequence

import numpy as np
import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from bench.contracts import Floats

from .activations import Recording, borrowed, finished, record


class Replay(nn.Module):
    """Stands for the model: runs one probe a layer, whose output is that layer's output, and gives the logits."""

    def __init__(self, model: nn.Module, recording: Recording) -> None:
        super().__init__()
        self.model = model  # the library asks its parameters for the device
        self.probes = nn.ModuleList(nn.Identity() for _ in recording.outputs)
        self.recording = recording

    def forward(self, images: Tensor) -> Tensor:
        """The recorded logits (N, K), after the probes have shown the recorded outputs."""
        for probe, output in zip(self.probes, self.recording.outputs.values(), strict=True):
            probe(output)
        return self.recording.logits


class OneForward(ActivationsAndGradients):
    """The library's recorder, which goes through the model once and then serves any number of targets."""

    def __init__(self, replay: Replay) -> None:
        super().__init__(replay, list(replay.probes), None)
        self.logits: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The logits; the gradients of the target before are forgotten, the activations stay."""
        if self.logits is None:
            self.logits = super().__call__(x)
        self.gradients = []  # the library only ever adds to them, and those of another target would stay behind
        return self.logits

    def release(self) -> None:
        """Remove the hooks and break the circle logits -> graph -> hook -> recorder -> logits, which would leak."""
        super().release()
        self.logits = self.model = None


class Raw(BaseCAM):
    """Any class of the library, stopped before ReLU, scaling and resizing. Stands before that class among the bases."""

    names: tuple[str, ...]

    def raw(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """{layer: (N, h, w)} on the CPU for one target an image, by the library's own forward and backward."""
        # One target for every image: of a list that is too short the library explains as many images as it has, and
        # gives zeros for the rest.
        maps = self(images.detach(), [ClassifierOutputTarget(target) for target in targets.tolist()])
        return {name: torch.from_numpy(values) for name, values in zip(self.names, maps, strict=True)}

    def compute_cam_per_layer(self, input_tensor: Tensor, targets: list[nn.Module], eigen_smooth: bool) -> list[Floats]:
        """The library's map of every layer (N, h, w), as it is."""
        kept = self.activations_and_grads
        given = as_numpy if self.detach else (lambda values: values)  # some classes take gradients of gradients
        outputs = [given(output) for output in kept.activations]
        slopes = [given(slope) for slope in kept.gradients] if self.uses_gradients else [None] * len(outputs)
        return [
            self.get_cam_image(input_tensor, layer, targets, output, slope, eigen_smooth)
            for layer, output, slope in zip(self.target_layers, outputs, slopes, strict=True)
        ]

    def aggregate_multi_layers(self, cam_per_target_layer: list[Floats]) -> list[Floats]:
        """Each layer for itself; the library would take the mean."""
        return cam_per_target_layer


class Replayed(Raw):
    """One that needs no more than the recorded pass: activations, and gradients where the method takes them."""

    uses_targets = True

    def __init__(self, replay: Replay) -> None:
        super().__init__(replay, [])
        self.target_layers = list(replay.probes)
        self.activations_and_grads = OneForward(replay)
        self.names = tuple(replay.recording.outputs)


class RawEigenCAM(Replayed, EigenCAM):
    """The first principal component of the activations, turned so that it rises where activations do."""

    uses_targets = False

    def get_cam_image(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module,
        targets: list[nn.Module],
        outputs: Floats,
        slopes: None,
        eigen_smooth: bool,
    ) -> Floats:
        """(N, h, w). A singular vector's sign is arbitrary; this one goes along with the mean over channels."""
        maps = super().get_cam_image(input_tensor, target_layer, targets, outputs, slopes, eigen_smooth)
        along = (maps * outputs.mean(axis=1)).sum(axis=(1, 2), keepdims=True)  # maps are centred, so a covariance
        turned: Floats = np.where(along < 0, -maps, maps)
        return turned


# The library's classes by their names there, each with the recorded pass behind it.
METHODS: dict[str, type[Replayed]] = {
    kind.__name__: type(kind.__name__, (Replayed, kind), {})
    for kind in (GradCAM, GradCAMPlusPlus, HiResCAM, XGradCAM, LayerCAM)
} | {"EigenCAM": RawEigenCAM}


def replayed_maps(
    name: str, model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """{layer: (N, T, h, w)} of one of METHODS, for all layers and targets from one forward pass."""
    kind = METHODS[name]
    with borrowed(model):
        recording = record(model, layers, images, targets)
        cam = kind(Replay(model, recording))
        try:  # the library's own `with` would swallow every IndexError
            # What does not depend on the target is asked once.
            columns = targets.unbind(1) if kind.uses_targets else targets[:, :1].unbind(1)
            maps = [cam.raw(images, column) for column in columns] * (targets.shape[1] // len(columns))
        finally:
            cam.activations_and_grads.release()
    return {name: finished([of_target[name] for of_target in maps], images) for name in layers}


def as_numpy(values: Tensor) -> Floats:
    """On the CPU; half precisions as float32."""
    wide = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    return wide.detach().cpu().numpy()
