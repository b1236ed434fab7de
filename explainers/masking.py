"""pytorch-grad-cam's methods that take no gradient but run the model on hundreds of changed inputs."""

# The library's classes are half typed, and wrongly where an array is called a Tensor; ours are checked all the same.
# mypy: disable-error-code="no-untyped-call, arg-type, attr-defined, misc, override"

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from pytorch_grad_cam import AblationCAM, ScoreCAM, ablation_cam, score_cam
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from torch import Tensor, nn

from bench.contracts import Floats

from .activations import Recording, borrowed, finished, record
from .memoized import Remembering
from .private_copy import private_copy
from .replay import Raw

AT_ONCE = 64  # changed inputs a forward pass: a layer has up to 512 channels, each a pass of its own


class Shown(ActivationsAndGradients):
    """The library's recorder, which was shown the pass already and touches no model."""

    def __init__(self, logits: Tensor, output: Tensor) -> None:
        super().__init__(None, [], None)
        self.logits, self.activations = logits.detach().cpu(), [output.detach()]  # they are read one by one

    def __call__(self, x: Tensor) -> Tensor:
        """The recorded logits (N, K)."""
        return self.logits


class RawScoreCAM(Raw, ScoreCAM):
    """The library's ScoreCAM, raw."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, [])
        self.batch_size = AT_ONCE


class RawAblationCAM(Raw, AblationCAM):
    """The library's AblationCAM, raw, with the sign of a negative logit and the overwritten activation put right."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, [], ablation_layer=Zeroing(), batch_size=AT_ONCE)

    def save_activation(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        """Keep a copy: what comes behind the layer may write over its output."""
        self.activations = output.clone()

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module,
        targets: list[Callable[[Tensor], Tensor]],
        activations: Floats,
        grads: None,
    ) -> Floats:
        """(N, C): the drop of the logit over its size; the library divides by the logit, sign and all."""
        weights = super().get_cam_weights(input_tensor, target_layer, targets, activations, grads)
        logits = [
            target(row).item() for target, row in zip(targets, self.activations_and_grads(input_tensor), strict=True)
        ]
        signed: Floats = weights * np.where(np.less(logits, 0), -1, 1).astype(weights.dtype)[:, None]
        return signed


class Zeroing(AblationLayer):
    """The library's ablation layer, with zero for what is taken away, as in the paper; a hook on the layer itself.

    Where any activation is below zero, the library puts the smallest one less 1e7, once more for every place in the
    batch, so that its weights depend on the size of the batch.
    """

    indices: Any  # (channels still to come,) int32
    handle: Any  # of the hook

    def __call__(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        """(B, C, h, w): the b-th image without the b-th of the channels whose turn it is."""
        left: Tensor = self.activations.clone()
        left.diagonal(int(self.indices[0]), 0, 1).zero_()  # channels take turns in order; a list would be copied there
        return left


def masked_maps(
    kind: type[RawScoreCAM | RawAblationCAM], model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """{layer: (N, T, h, w)} of one of the classes above, layer by layer on a private copy."""
    with borrowed(model), quiet():
        recording = record(model, layers, images, targets)
        # AblationCAM changes the model, and leaves it changed where an error comes between.
        copy = private_copy(model)
        return {name: finished(_maps(kind, copy, name, recording, images, targets), images) for name in layers}


def _maps(
    kind: type[RawScoreCAM | RawAblationCAM],
    model: nn.Module,
    layer: str,
    recording: Recording,
    images: Tensor,
    targets: Tensor,
) -> list[Tensor]:
    """T maps (N, h, w); the changed inputs are the same for every target, so each is run once."""
    asked = Remembering(model, images.dtype, to_host=True)
    cam: Any = kind(asked)
    cam.names, cam.target_layers = (layer,), [model.get_submodule(layer)]
    cam.activations_and_grads = Shown(recording.logits, recording.outputs[layer])
    maps = []
    for column in targets.unbind(1):
        asked.begin_again()
        maps.append(cam.raw(images, column)[layer])
    return maps


def hook_in_place_of(model: nn.Module, old: Any, new: Any) -> None:  # noqa: ANN401
    """Instead of a layer in the place of another, a hook on it: what a layer gives its hooks may be turned round."""
    if isinstance(new, Zeroing):
        new.handle = old.register_forward_hook(new)
    else:
        old.handle.remove()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bar that the library draws for every image."""
    silent = SimpleNamespace(tqdm=lambda steps: steps)
    with (
        patch.object(score_cam, "tqdm", silent),
        patch.object(ablation_cam, "tqdm", silent),
        patch.object(ablation_cam, "replace_layer_recursive", hook_in_place_of),
    ):
        yield
