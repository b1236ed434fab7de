"""Someone's model, used without leaving a trace: one forward pass with the outputs of layers kept as they were made."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from bench.errors import ContractError
from bench.modes import evaluating, hooked

from .layers import check_grid, check_logits, check_request, find_layers

NO_GRADIENT = "no gradient reaches it, as if under torch.no_grad() or after detach()"
WITHOUT_GRADIENT = "--explainer occlusion, which takes no gradient"


@contextmanager
def borrowed(model: nn.Module) -> Iterator[None]:
    """The model in eval mode and frozen, with gradients recorded; afterwards as it was found, come what may.

    Frozen parameters are what makes a CAM cheap: nothing below the first recorded layer enters the graph, and no
    gradient of a weight is computed. The gradient at the layer stays the same bit for bit.
    """
    frozen = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    # Both: inference mode makes tensors that autograd refuses for good, and to record gradients does not end it.
    with torch.inference_mode(False), evaluating(model, gradients=True):
        try:
            model.requires_grad_(False)
            yield
        finally:
            for parameter, needs_grad, grad in frozen:
                parameter.requires_grad_(needs_grad)
                parameter.grad = grad  # pytorch-grad-cam calls zero_grad, between two steps of a training say


@dataclass
class Recording:
    """What one forward pass left behind, still attached to its graph.

    Attributes:
        logits: (N, K), whose graph leads back to every layer.
        outputs: each layer's output (N, C, h, w), in forward order.
    """

    logits: Tensor
    outputs: dict[str, Tensor]


def record(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> Recording:
    """Run the model once and keep what the layers gave. Call it inside `borrowed`.

    The rest of the net works on clones, so an in-place ReLU or `out += identity` behind a layer cannot overwrite
    what was recorded. A module that runs several times a pass answers for its last run.

    Raises:
        UsageError: a layer is no module of the model.
        ContractError: a layer has no grid or no part in the logits, a target is not a class; names which.
    """
    check_request(layers, images, targets)
    outputs: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, module in find_layers(model, layers).items():
            hooks.enter_context(hooked(module, keep_output(name, len(images), outputs)))
        logits = check_logits(model(private(images)), targets)
    behind = graph_of(logits)  # asked before any gradient is: autograd would refuse without naming the layer
    for name in layers:
        if name not in outputs:
            raise ContractError(f"layer {name!r} did not run in the forward pass, so it has no map")
        if outputs[name].grad_fn not in behind:
            reached = [each for each, kept in outputs.items() if kept.grad_fn in behind]
            raise ContractError(
                f"the logits do not depend on layer {name!r}, so it has no map: {NO_GRADIENT}",
                try_=f"--layer {reached[-1]}" if reached else WITHOUT_GRADIENT,
            )
    return Recording(logits, outputs)


def graph_of(logits: Tensor, *, until: Node | None = None) -> set[Node]:
    """The nodes of the graph behind the logits; without `until` and what only it leads to, where that is given."""
    seen: set[Node] = set()
    front = [logits.grad_fn]
    while front:
        node = front.pop()
        if node is not None and node is not until and node not in seen:
            seen.add(node)
            front.extend(above for above, _ in node.next_functions)
    return seen


def keep_output(name: str, batch: int, outputs: dict[str, Tensor]) -> Callable[..., Tensor]:
    """A forward hook that keeps a layer's output in `outputs` and hands a clone on."""

    def hook(module: nn.Module, inputs: object, output: object) -> Tensor:
        kept = check_grid(name, output, batch)
        if not kept.requires_grad:
            # The graph begins here. A view, because the gradients of leaves arrive in no fixed order, and
            # pytorch-grad-cam pairs gradients with activations by order.
            leaf = kept.detach().requires_grad_()
            kept = leaf.view_as(leaf)
        outputs.pop(name, None)  # a later run takes a later place: libraries pair layers with gradients by their order
        outputs[name] = kept
        return kept.clone()

    return hook


def private(images: Tensor) -> Tensor:
    """The images, free of the caller's graph and usable for autograd even when made in inference mode."""
    return images.clone() if images.is_inference() else images.detach()


def finished(maps: Sequence[Tensor], images: Tensor) -> Tensor:
    """(N, T, h, w) of T maps (N, h, w), on the device and in the dtype of the images, detached."""
    return torch.stack(tuple(maps), dim=1).detach().to(images)
