"""Speed of explaining: the reference beside the plain forward pass and beside both libraries, interleaved in one run.

    python benchmarks/explain.py --data $BENCH_DATA --run latest --write docs/measurements.md

Everyone ends with the same artefact, maps in 0..1 of the images' size, float32, on the host: one for each image, layer
and predicted class, from the same normalised images in channels_last and fp32. The libraries are called the way their
users call them, on a model whose parameters want gradients: one call a layer, so "all four" is four calls. The
reference and our adapters get a layer each, then all four in one call. Ratios are taken within a round, which goes
forwards and backwards, so that drift hits all. Without `--run` the weights are seeded, which changes no speed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import torch
from in_turns import timed
from tables import cell, finish, machine_words, parser_of, table
from torch import Tensor, nn

from bench.contracts import RESNET_LAYERS, Dataset, ExplainerSpec, ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.data.transforms import prepare
from bench.machine import choose_device
from bench.nets.trained import open_run
from bench.nets.weights import build_seeded, on_device
from bench.postprocess import postprocess
from bench.registry.registry import discover, short
from bench.stats.rates import ratio_interval, ratios_of
from bench.timing.rounds import Take, Work, taker
from bench.workspace import Workspace, default_cache

if TYPE_CHECKING:
    from bench.contracts import Floats

# Gives the finished maps (N, H, W) of every layer it is given, for images (N, 3, H, W) and targets (N,).
Maps = Callable[[Sequence[str], Tensor, Tensor], "list[Floats]"]
Times = dict[tuple[str, str], list[float]]  # by arm and setting: seconds of a batch, round by round

FORWARD, REFERENCE, GRADCAM, CAPTUM = "plain forward", "reference", "pytorch-grad-cam", "Captum"
ALL = "all four"
TOGETHER = (REFERENCE, "gradcam adapter", "captum adapter")  # take all layers in one call; others a call a layer
# What the reference is held to: the least ratio of its images a second to another's.
GOALS = (
    (FORWARD, "layer4", 0.93),
    (GRADCAM, "layer4", 3.2),
    (GRADCAM, "layer1", 2.0),
    *((CAPTUM, layer, 1.0) for layer in RESNET_LAYERS),
    (GRADCAM, ALL, 8.0),
    (CAPTUM, ALL, 2.5),
)


# --- the arms -------------------------------------------------------------------------------------------------


def arms_of(model: nn.Module) -> dict[str, Maps]:
    """All contestants on one model, which is in eval mode and whose parameters want gradients, as a user's does."""
    explainers = discover("explainer", ExplainerSpec)
    frozen = deepcopy(model).requires_grad_(False)
    return {
        FORWARD: by_forward(model),
        REFERENCE: by_ours(explainers["reference"], model),
        "gradcam adapter": by_ours(explainers["gradcam"], model),
        "captum adapter": by_ours(explainers["captum"], model),
        GRADCAM: by_gradcam(model),
        CAPTUM: by_captum(model),
        f"{CAPTUM}, frozen model": by_captum(frozen),
    }


def by_forward(model: nn.Module) -> Maps:
    """No map at all: what classifying the batch costs."""

    def work(layers: Sequence[str], images: Tensor, targets: Tensor) -> list[Floats]:
        with torch.inference_mode():
            model(images).cpu().numpy()
        return []

    return work


def by_ours(spec: ExplainerSpec, model: nn.Module) -> Maps:
    """One of our entries, and our post-processing."""

    def work(layers: Sequence[str], images: Tensor, targets: Tensor) -> list[Floats]:
        raw = spec.explain(model, layers, images, targets[:, None])
        return [postprocess(maps[:, 0], images.shape[-1]).cpu().numpy() for maps in raw.values()]

    return work


def by_gradcam(model: nn.Module) -> Maps:
    """pytorch-grad-cam as its README calls it."""
    from pytorch_grad_cam.grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def work(layers: Sequence[str], images: Tensor, targets: Tensor) -> list[Floats]:
        found = []
        for layer in layers:
            with GradCAM(model, [model.get_submodule(layer)]) as cam:
                found.append(cam(images, [ClassifierOutputTarget(target) for target in targets.tolist()]))
        return found

    return work


def by_captum(model: nn.Module) -> Maps:
    """Captum's LayerGradCam and its interpolation, then each map divided by its largest value."""
    from captum.attr import LayerAttribution, LayerGradCam

    def work(layers: Sequence[str], images: Tensor, targets: Tensor) -> list[Floats]:
        found = []
        for layer in layers:
            cam = LayerGradCam(model, model.get_submodule(layer))
            maps = cam.attribute(images, target=targets, relu_attributions=True)
            large = LayerAttribution.interpolate(maps, tuple(images.shape[-2:]), "bilinear").detach().squeeze(1)
            top = large.amax(dim=(1, 2), keepdim=True)
            found.append((large / top.where(top > 0, 1)).cpu().numpy())
        return found

    return work


# --- measuring ------------------------------------------------------------------------------------------------


def measured(arms: Mapping[str, Maps], images: Tensor, targets: Tensor, *, rounds: int, take: Take) -> Times:
    """Seconds of every arm on one batch, at each layer and for all four, round by round."""
    settings = [(name, layer) for layer in RESNET_LAYERS for name in arms if name != FORWARD or layer == "layer4"]
    settings += [(name, ALL) for name in arms if name in TOGETHER]
    works: dict[str, Work] = {
        f"{name} at {layer}": partial(arms[name], RESNET_LAYERS if layer == ALL else (layer,), images, targets)
        for name, layer in settings
    }
    seconds = timed(works, rounds, take)
    times = {(name, layer): seconds[f"{name} at {layer}"] for name, layer in settings}
    for name in arms:
        if name not in (FORWARD, *TOGETHER):
            calls = [times[name, layer] for layer in RESNET_LAYERS]
            times[name, ALL] = [sum(each) for each in zip(*calls, strict=True)]
    return times


# --- telling --------------------------------------------------------------------------------------------------


def rates_row(name: str, times: Times, batch: int) -> list[str]:
    """An arm's images a second at each layer and for all four."""
    found = [times.get((name, layer)) for layer in (*RESNET_LAYERS, ALL)]
    return [str(batch), name, *(cell([batch / each for each in one]) if one else "–" for one in found)]


def goal_row(other: str, layer: str, goal: float, by_batch: dict[int, Times]) -> list[str]:
    """What is asked of the reference over another arm, and what each batch size gave."""
    ratios = [ratios_of(times[REFERENCE, layer], times[other, layer]) for times in by_batch.values()]
    calls = ", four calls" if layer == ALL else ""
    reached = "yes" if min(map(median, ratios)) >= goal else "no"
    return [f"{other}{calls}", layer, f"{goal:g}", *(cell(each, ratio_interval) for each in ratios), reached]


def told(by_batch: dict[int, Times], heading: str) -> str:
    """The tables."""
    rates = [
        rates_row(name, times, batch)
        for batch, times in by_batch.items()
        for name in dict.fromkeys(name for name, _ in times)
    ]
    goals = [goal_row(*goal, by_batch) for goal in GOALS]
    batches = [f"batch {batch}" for batch in by_batch]
    return "\n\n".join(
        [
            heading,
            "Images a second, median (interval):",
            table(["batch", "arm", *RESNET_LAYERS, ALL], rates, {"arm"}),
            "Images a second of the reference over those of another, within a round, median (interval):",
            table(["over", "layer", "at least", *batches, "reached"], goals, {"over", "layer"}),
        ]
    )


# --- the command ----------------------------------------------------------------------------------------------


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of(
        __doc__, data="digits", model="cifar_resnet18", runs_dir="runs", rounds=7, block=0.2, device="auto", write=None
    )
    parser.add_argument("--run", help="the run whose weights are explained; else seeded ones")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(arguments)


def model_of(options: argparse.Namespace, classes: int, device: torch.device) -> tuple[nn.Module, str]:
    """The model as its user has it, in channels_last, and what it is."""
    if options.run:
        trained = open_run(options.run, str(device), Workspace(runs=options.runs_dir))
        return trained.model.requires_grad_(True), f"`{trained.spec.name}` of run `{trained.record.name}`"
    net = build_seeded(discover("model", ModelSpec)[options.model], classes, 0)
    return on_device(net, device).eval(), f"`{short(options.model)}` with seeded weights"


def batch_of(data: Dataset, size: int, model: nn.Module, device: torch.device) -> tuple[Tensor, Tensor]:
    """Test images (N, 3, 32, 32) as the model sees them, from all over the split, and their predicted classes (N,)."""
    ids = torch.arange(size) * len(data.test) // size
    images = prepare(data.test.images[ids].to(device), (data.mean, data.std))
    with torch.no_grad():
        return images, model(images).argmax(dim=1)


def measure(options: argparse.Namespace) -> str:
    """Measure, and give the text."""
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    data = load_dataset(options.data, cache=default_cache(), progress=Silence())
    model, what = model_of(options, len(data.classes), device)
    arms = arms_of(model)
    by_batch = {
        size: measured(arms, *batch_of(data, size, model, device), rounds=options.rounds, take=taker(options.block))
        for size in options.batch_size
    }
    machine = machine_words(device, "torch", "grad-cam", "captum")
    return told(by_batch, f"{machine}; {what}, {data.name}, fp32, channels_last, {options.rounds} rounds.")


def main() -> None:
    """Print the tables, and write them where asked."""
    options = read_options()
    finish(measure(options), options.write, "explain")


if __name__ == "__main__":
    main()
