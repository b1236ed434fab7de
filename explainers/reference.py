"""Grad-CAM of our own: exact, and with no more work than its maps need."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import ExplainerSpec

from .activations import Recording, borrowed, finished, graph_of, record
from .costs import gradcam_cost

# What pooling and a linear layer leave in a graph, with the clones of the recording: each is linear in that output.
AFFINE = {
    "AddmmBackward0",
    "AliasBackward0",
    "AsStridedBackward0",
    "AsStridedBackward1",
    "CloneBackward0",
    "MeanBackward1",
    "ReshapeAliasBackward0",
    "SqueezeBackward1",
    "TBackward0",
    "UnsafeViewBackward0",
    "ViewBackward0",
    "torch::autograd::AccumulateGrad",
}


def reference(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Grad-CAM: channels weighted by the mean gradient of the target's logit, then summed over channels.

    map[n, t] = sum over c of A[n, c] x mean over positions of d logit[n, target t] / d A[n, c].

    One forward pass, whose graph begins at the first wanted layer: that is a trunk without autograd and a head with
    it, at the work of a model cut in two, and needs no cut. Then one backward pass a target for all layers together.
    Where only pooling and one linear layer stand behind a layer, the gradient of a logit is a row of the weights over
    the number of positions, and no backward pass is made.

    Args:
        model: gives logits (N, K). Left as found.
        layers: dotted module names whose outputs are (N, C, h, w).
        images: (N, 3, H, W), normalised as in training; float64 images and model give float64 maps.
        targets: (N, T) int64, the classes each map speaks for.

    Returns:
        {layer: (N, T, h, w)} in the dtype of `images`, signed, detached. Unit: logits.

    Raises:
        UsageError: a layer is no module of the model.
        ContractError: a layer has no grid or no part in the logits, a target is missing or not a class; names which.

    Source: Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2, before the ReLU.
    """
    with borrowed(model):
        recording = record(model, layers, images, targets)
        columns = targets.to(images.device).unbind(1)
        weights = weights_of(model, recording, columns)
        with torch.no_grad():
            # No matrix product, which TF32 and autocast would round.
            return {
                name: finished(
                    [(each[:, :, None, None] * recording.outputs[name]).sum(dim=1) for each in weights[name]], images
                )
                for name in layers
            }


def weights_of(model: nn.Module, recording: Recording, columns: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """{layer: T weights (N, C)}: the mean gradient of each target's logit, the short way wherever it is exact."""
    found: dict[str, list[Tensor]] = {}
    for name, output in recording.outputs.items():
        head = linear_head(model, output, recording.logits)
        if head is not None:
            positions = output.shape[2] * output.shape[3]
            found[name] = [head.weight.detach()[column] / positions for column in columns]
    others = [name for name in recording.outputs if name not in found]
    return found | mean_slopes(recording, others, columns)


def linear_head(model: nn.Module, output: Tensor, logits: Tensor) -> nn.Linear | None:
    """The linear layer whose rows are the gradients, if what stands behind the layer is pooling and that layer alone.

    Nothing is assumed of the model. Mean and layer must give the batch's own logits bit for bit, and the graph
    between must hold nothing that bends: a ReLU behind a ReLU changes no logit, yet its slope at 0 is another.

    Args:
        output: (N, C, h, w) of a layer.
        logits: (N, K) of the same pass.
    """
    head = next((module for module in reversed(list(model.modules())) if isinstance(module, nn.Linear)), None)
    if head is None or (head.in_features, head.out_features) != (output.shape[1], logits.shape[1]):
        return None
    if (head.weight.dtype, head.weight.device) != (output.dtype, output.device):
        return None
    if any(node.name() not in AFFINE for node in graph_of(logits, until=output.grad_fn)):
        return None
    with torch.no_grad():
        # Called as a function, so that no hook of the caller's runs a second time.
        again = functional.linear(functional.adaptive_avg_pool2d(output, 1).flatten(1), head.weight, head.bias)
    return head if torch.equal(again, logits) else None


def mean_slopes(recording: Recording, layers: Sequence[str], columns: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """{layer: T weights (N, C)}: the gradient of each target's logit by the layer's output, averaged over positions."""
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    outputs = [recording.outputs[name] for name in layers]
    for place, column in enumerate(columns if layers else ()):
        # In eval mode images do not touch one another, so the gradient of the sum holds each image's own.
        total = recording.logits.gather(1, column[:, None]).sum()
        more = place + 1 < len(columns)  # the last one frees the graph as it goes
        slopes = torch.autograd.grad(total, outputs, retain_graph=more)
        for name, slope in zip(layers, slopes, strict=True):
            found[name].append(slope.mean(dim=(2, 3)))
    return found


REFERENCE = ExplainerSpec(
    name="reference",
    explain=reference,
    source="Selvaraju et al. 2017, arXiv:1610.02391; ours",
    backend="torch",
    claims="grad-cam",
    cost=gradcam_cost,
)
