"""The one loop that runs an explainer over images: how many a call, from which seed, under the guard.

A stochastic explainer gets one image and one class a call, and torch's generators then start from a seed made of the
image itself, the explainer's name and its revision. So an image has one map for a class, on every page and in every
call, whatever stands beside it; and every model is explained with the same draws.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.clock import Meter, Stopwatch
from bench.contracts import ExplainerSpec
from bench.explaining.guard import Call, guarded
from bench.memory import Room
from bench.modes import generators_kept
from bench.precision import ieee

BY_IMAGE = "image"  # stands in the key of stochastic rows, so that those of another way to seed are made anew


@ieee()
def explained(
    spec: ExplainerSpec,
    model: nn.Module,
    layers: Sequence[str],
    images: Tensor,
    targets: Tensor,
    *,
    meter: Meter | None = None,
    call: Call = guarded,
    room: Room | None = None,
) -> dict[str, Tensor]:
    """Maps of all images, in batches that the explainer takes.

    Args:
        spec: whose `explain` is called.
        model: gives logits (N, K); in eval mode. Left as found.
        layers: dotted module names, or ("input",).
        images: (N, 3, H, W), normalised, N >= 1.
        targets: (N, T) int64, on the images' device.
        meter: gets a lap for each batch, of the bare calls: neither guard nor seed is in it.
        call: what makes a call and holds the explainer to its contract.
        room: where memory runs out, fewer images a call; without it that is an error.

    Returns:
        {layer: (N, T, h, w)} in the order of `layers`, detached, where the images are.

    Raises:
        ContractError: as `guarded` does.
        RoomError: not even one image fits.
    """

    def work(rows: slice) -> Mapping[str, Tensor]:
        watch = Stopwatch(images.device)
        found = _batch(spec, model, layers, images[rows], targets[rows], watch=watch, call=call)
        if meter is not None:
            meter.add(len(images[rows]), watch.seconds)
        return found

    if room is None:
        parts = [work(rows) for rows in batches(spec, len(images))]
    else:
        parts = list(room.batches(named(spec.name, layers), len(images), at_once(spec), work))
    return {layer: torch.cat([part[layer] for part in parts]) for layer in layers}


def at_once(spec: ExplainerSpec) -> int:
    """Images a call: as many as the explainer takes; one where it is stochastic."""
    return 1 if spec.stochastic else spec.max_batch


def named(name: str, layers: Sequence[str]) -> str:
    """An explainer's work in words: what it needs of memory depends on the layers."""
    return f"{name} at {', '.join(layers)}"


def batches(spec: ExplainerSpec, count: int) -> Iterator[slice]:
    """Which of `count` images go into each batch."""
    size = at_once(spec)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _batch(
    spec: ExplainerSpec,
    model: nn.Module,
    layers: Sequence[str],
    images: Tensor,
    targets: Tensor,
    *,
    watch: Stopwatch,
    call: Call,
) -> Mapping[str, Tensor]:
    """One call; where the explainer is stochastic one a class, so that no map depends on which others are wanted."""
    columns = torch.split(targets, 1, dim=1) if spec.stochastic else (targets,)
    found = []
    for column in columns:
        with drawing(spec, images):
            found.append(call(spec, model, layers, images, column, watch))
    return {layer: torch.cat([maps[layer] for maps in found], dim=1) for layer in layers}


@contextmanager
def overheard(model: nn.Module, images: Tensor) -> Iterator[list[Tensor]]:
    """The model's first answer (N, K) to these very images, in a list that is empty until there is one.

    Most explainers begin with that pass, and one of our own only for the logits would take up to a third of the whole.
    What a copy of the model answers does not count, nor an answer to other images. An explainer may change what the
    model computes, or write over the images, so hold an answer against known logits.
    """
    answers: list[Tensor] = []

    def listen(module: nn.Module, asked: tuple[object, ...], answer: object) -> None:
        one = asked[0] if len(asked) == 1 else None
        these = isinstance(one, Tensor) and (one.data_ptr(), one.shape) == (images.data_ptr(), images.shape)
        if module is model and these and not answers and isinstance(answer, Tensor):
            answers.append(answer.detach().clone())

    handle = model.register_forward_hook(listen)
    try:
        yield answers
    finally:
        handle.remove()


@contextmanager
def drawing(spec: ExplainerSpec, images: Tensor) -> Iterator[None]:
    """The generators of torch where a stochastic explainer of this image finds them, and afterwards where they were."""
    if not spec.stochastic:
        yield
        return
    with generators_kept(images.device, seed_of(spec, images)):
        yield


def seed_of(spec: ExplainerSpec, image: Tensor) -> int:
    """What a stochastic explainer of this image draws from: of its float32 values, whatever their precision or layout.

    Args:
        image: (1, 3, H, W).
    """
    values = image.detach().cpu().float().contiguous().numpy()
    digest = hashlib.sha256(f"{spec.name} {spec.revision} ".encode())
    digest.update(values.tobytes())
    return int.from_bytes(digest.digest()[:7], "big")  # torch takes seeds of less than 64 bits


def seeding(spec: ExplainerSpec) -> str:
    """What the key of stored rows says of their seed; empty where nothing is drawn."""
    return BY_IMAGE if spec.stochastic else ""
