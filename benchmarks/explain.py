"""Speed of explaining: the reference beside the plain forward pass and beside both libraries, interleaved in one run.

    python benchmarks/explain.py --data $BENCH_DATA --run latest --write docs/results.md

Everyone ends with the same artefact, maps in 0..1 of the images' size, float32, on the host: one for each image, layer
and predicted class, from the same normalised images in channels_last and fp32. The libraries are called the way their
users call them, on a model whose parameters want gradients: one call a layer, so "all four" is four calls. The
reference and our adapters get a layer each, then all four in one call. Ratios are taken within a round; every second
round goes backwards, so that drift hits all. Without `--run` the weights are seeded, which changes no speed.
"""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tables import table, write_between
from torch import Tensor, nn

from bench.clock import now
from bench.contracts import RESNET_LAYERS, Dataset, ExplainerSpec, ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.data.transforms import prepare
from bench.machine import choose_device, describe_device, versions
from bench.nets.trained import open_run
from bench.nets.weights import build_seeded, on_device
from bench.postprocess import postprocess
from bench.registry.registry import discover
from bench.workspace import Workspace, default_cache

if TYPE_CHECKING:
    from bench.contracts import Floats

Work = Callable[[Sequence[str], Tensor, Tensor], "list[Floats]"]
Times = dict[tuple[str, str], list[float]]  # by arm and setting: seconds of a batch, round by round

FORWARD, REFERENCE, GRADCAM, CAPTUM = "plain forward", "reference", "pytorch-grad-cam", "Captum"
ALL = "all four"
# What the reference is held to: the least ratio of its images a second to another's.
GOALS = (
    (FORWARD, "layer4", 0.93),
    (GRADCAM, "layer4", 3.2),
    (GRADCAM, "layer1", 2.0),
    *((CAPTUM, layer, 1.0) for layer in RESNET_LAYERS),
    (GRADCAM, ALL, 8.0),
    (CAPTUM, ALL, 2.5),
)


@dataclass(frozen=True)
class Arm:
    """One contestant.

    Attributes:
        work: gives the maps (N, H, W) of every layer it is given.
        together: takes all layers in one call; else a call a layer.
        layers: the only layers it is asked for.
    """

    work: Work
    together: bool = False
    layers: tuple[str, ...] = field(default=RESNET_LAYERS)


# --- the arms -------------------------------------------------------------------------------------------------


def arms_of(model: nn.Module) -> dict[str, Arm]:
    """All contestants on one model, which is in eval mode and whose parameters want gradients, as a user's does."""
    explainers = discover("explainer", ExplainerSpec)
    frozen = deepcopy(model).requires_grad_(False)
    return {
        FORWARD: Arm(by_forward(model), layers=("layer4",)),
        REFERENCE: Arm(by_ours(explainers["reference"], model), together=True),
        "gradcam adapter": Arm(by_ours(explainers["gradcam"], model), together=True),
        "captum adapter": Arm(by_ours(explainers["captum"], model), together=True),
        GRADCAM: Arm(by_gradcam(model)),
        CAPTUM: Arm(by_captum(model)),
        f"{CAPTUM}, frozen model": Arm(by_captum(frozen)),
    }


def by_forward(model: nn.Module) -> Work:
    """No map at all: what classifying the batch costs."""

    def work(layers: Sequence[str], images: Tensor, targets: Tensor) -> list[Floats]:
        with torch.inference_mode():
            model(images).cpu().numpy()
        return []

    return work


def by_ours(spec: ExplainerSpec, model: nn.Module) -> Work:
    """One of our entries, and our post-processing."""

    def work(layers: Sequence[str], images: Tensor, targets: Tensor) -> list[Floats]:
        raw = spec.explain(model, layers, images, targets[:, None])
        return [postprocess(maps[:, 0], images.shape[-1]).cpu().numpy() for maps in raw.values()]

    return work


def by_gradcam(model: nn.Module) -> Work:
    """pytorch-grad-cam as its README calls it."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def work(layers: Sequence[str], images: Tensor, targets: Tensor) -> list[Floats]:
        found = []
        for layer in layers:
            with GradCAM(model, [model.get_submodule(layer)]) as cam:
                found.append(cam(images, [ClassifierOutputTarget(target) for target in targets.tolist()]))
        return found

    return work


def by_captum(model: nn.Module) -> Work:
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


def measured(arms: dict[str, Arm], images: Tensor, targets: Tensor, *, rounds: int) -> Times:
    """Seconds of every arm on one batch, at each layer and for all four, round by round."""
    settings = [(name, layer) for layer in RESNET_LAYERS for name, arm in arms.items() if layer in arm.layers]
    settings += [(name, ALL) for name, arm in arms.items() if arm.together]
    for arm in arms.values():
        arm.work(RESNET_LAYERS if arm.together else RESNET_LAYERS[:1], images, targets)  # kernel choice, allocations
    times: Times = {setting: [] for setting in settings}
    for turn in range(rounds):
        gc.collect()  # nobody starts with the rubbish of the round before
        for name, layer in settings if turn % 2 == 0 else reversed(settings):
            layers = RESNET_LAYERS if layer == ALL else (layer,)
            times[name, layer].append(seconds_of(arms[name].work, layers, images, targets))
    for name, arm in arms.items():
        if not arm.together and arm.layers == RESNET_LAYERS:
            calls = [times[name, layer] for layer in RESNET_LAYERS]
            times[name, ALL] = [sum(each) for each in zip(*calls, strict=True)]
    return times


def seconds_of(work: Work, *arguments: object) -> float:
    """How long one call takes."""
    device = next(each.device for each in arguments if isinstance(each, Tensor))
    started = now(device)
    work(*arguments)
    return now(device) - started


# --- telling --------------------------------------------------------------------------------------------------


def rates_row(name: str, times: Times, batch: int) -> list[str]:
    """An arm's images a second at each layer and for all four."""
    cells = []
    for layer in (*RESNET_LAYERS, ALL):
        found = times.get((name, layer))
        rates = [batch / each for each in found or ()]
        low, high = np.percentile(rates, [10, 90]) if rates else (0, 0)
        cells.append(f"{statistics.median(rates):.1f} ({low:.1f} to {high:.1f})" if rates else "–")
    return [str(batch), name, *cells]


def ratios(times: Times, other: str, layer: str) -> list[float]:
    """Images a second of the reference over another arm's, round by round."""
    own, theirs = times[REFERENCE, layer], times[other, layer]
    return [their / ours for ours, their in zip(own, theirs, strict=True)]


def goal_row(other: str, layer: str, goal: float, by_batch: dict[int, Times]) -> list[str]:
    """What is asked of the reference, and what each batch size gave."""
    cells, medians = [], []
    for times in by_batch.values():
        found = ratios(times, other, layer)
        medians.append(statistics.median(found))
        cells.append(f"{medians[-1]:.2f} ({min(found):.2f} to {max(found):.2f})")
    calls = ", four calls" if layer == ALL else ""
    return [f"{other}{calls}", layer, f"{goal:g}", *cells, "yes" if min(medians) >= goal else "no"]


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
            "Images a second, median (10th to 90th percentile):",
            table(["batch", "arm", *RESNET_LAYERS, ALL], rates, {"arm"}),
            "Images a second of the reference over those of another, within a round, median (smallest to largest):",
            table(["over", "layer", "at least", *batches, "reached"], goals, {"over", "layer"}),
        ]
    )


# --- the command ----------------------------------------------------------------------------------------------


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--run", help="the run whose weights are explained; else seeded ones")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--model", default="cifar_resnet18", help="where no run is given")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", type=Path)
    return parser.parse_args(arguments)


def model_of(options: argparse.Namespace, classes: int, device: torch.device) -> tuple[nn.Module, str]:
    """The model as its user has it, in channels_last, and what it is."""
    if options.run:
        trained = open_run(options.run, str(device), Workspace(runs=options.runs_dir))
        return trained.model.requires_grad_(True), f"`{trained.spec.name}` of run `{trained.record.name}`"
    net = build_seeded(discover("model", ModelSpec)[options.model], classes, 0)
    return on_device(net, device).eval(), f"`{net_name(options.model)}` with seeded weights"


def net_name(model: str) -> str:
    """A registered name, or the last part of FILE.py:NAME."""
    return model.rsplit("/", maxsplit=1)[-1]


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
        size: measured(arms, *batch_of(data, size, model, device), rounds=options.rounds) for size in options.batch_size
    }
    named = ", ".join(f"{name} {number}" for name, number in versions(("torch", "grad-cam", "captum")).items())
    return told(
        by_batch,
        f"{describe_device(device)}; {named}; {what}, {data.name}, fp32, channels_last, {options.rounds} rounds.",
    )


def main() -> None:
    """Print the tables, and write them where asked."""
    options = read_options()
    text = measure(options)
    print(text)
    if options.write:
        write_between(options.write, "explain", text)


if __name__ == "__main__":
    main()
