"""pytorch-grad-cam's classes, shown a forward pass that has already been made."""

# The library's classes are half typed, and wrongly where an array is called a Tensor; ours are checked all the same.
# mypy: disable-error-code="no-untyped-call, arg-type, misc, override"

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from pytorch_grad_cam.grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.contracts import Floats

    from .recording import Recording


class Replay(nn.Module):
    """Stands for the model: runs one probe a layer, whose output is that layer's output, and gives the logits."""

    def __init__(self, model: nn.Module, recording: Recording) -> None:
        super().__init__()
        self.model = model  # the library asks its parameters for the device
        self.probes = nn.ModuleList(nn.Identity() for _ in recording.grids)
        self.recording = recording

    def forward(self, images: Tensor) -> Tensor:
        """The recorded logits (N, K), after the probes have shown the recorded grids."""
        for probe, grid in zip(self.probes, self.recording.grids.values(), strict=True):
            probe(grid)
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
        self.gradients = []
        return self.logits

    def release(self) -> None:
        """Remove the hooks and break the circle logits -> graph -> hook -> recorder -> logits, which would leak."""
        super().release()
        self.logits = self.model = None


class RawGradCAM(GradCAM):
    """The library's GradCAM, stopped before ReLU, scaling and resizing."""

    def __init__(self, replay: Replay) -> None:
        super().__init__(replay, [])
        self.target_layers = list(replay.probes)
        self.activations_and_grads = OneForward(replay)
        self.names = tuple(replay.recording.grids)

    @classmethod
    @contextmanager
    def of(cls, model: nn.Module, recording: Recording) -> Iterator[RawGradCAM]:
        """One for a recorded pass. The library's own `with` would swallow every IndexError."""
        cam = cls(Replay(model, recording))
        try:
            yield cam
        finally:
            cam.activations_and_grads.release()

    def raw(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """{layer: (N, h, w)} on the CPU for one target an image, by the library's own forward and backward."""
        maps = self(images.detach(), [ClassifierOutputTarget(target) for target in targets.tolist()])
        return {name: torch.from_numpy(values) for name, values in zip(self.names, maps, strict=True)}

    def compute_cam_per_layer(self, input_tensor: Tensor, targets: list[nn.Module], eigen_smooth: bool) -> list[Floats]:
        """The library's weighted sum of every layer (N, h, w), as it is."""
        kept = self.activations_and_grads
        grids = [as_numpy(grid) for grid in kept.activations]
        slopes = [as_numpy(slope) for slope in kept.gradients]
        return [
            self.get_cam_image(input_tensor, layer, targets, grid, slope, eigen_smooth)
            for layer, grid, slope in zip(self.target_layers, grids, slopes, strict=True)
        ]

    def aggregate_multi_layers(self, cam_per_target_layer: list[Floats]) -> list[Floats]:
        """Each layer for itself; the library would take the mean."""
        return cam_per_target_layer


def as_numpy(values: Tensor) -> Floats:
    """On the CPU; half precisions as float32."""
    wide = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    return wide.detach().cpu().numpy()
