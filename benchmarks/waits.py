"""What a GPU would be asked for and how often the host would wait for it, counted on the tests' pretended devices.

python benchmarks/waits.py --write docs/devices.md

Every figure is a count, the same on every machine with the same versions; seconds say nothing here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tables import finish, parser_of, table
from torch import Tensor, nn

from bench.clock import Stopwatch
from bench.contracts import Dataset, ExplainerSpec, ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.data.transforms import prepare
from bench.evaluation import predict
from bench.explaining.guard import guarded
from bench.machine import versions
from bench.nets.weights import build_seeded
from bench.recipes.recipe import RECIPES
from bench.registry.registry import discover
from bench.training.loop import TrainSettings, choose_images, steps_per_epoch, train_model
from bench.workspace import default_cache

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from pretended import Count, Machine, pretended
from pretended.steps import Steps

BATCH, IMAGES, LAYERS, TARGETS = 8, 2, ("layer3", "layer4"), 2
BARE, GUARDED, MASKED = ("reference", "gradcam", "captum"), "reference", ("scorecam", "ablationcam")
MACHINES: dict[str, dict[str, Any]] = {
    "A100": {"kind": "cuda", "capability": (8, 0)},
    "T4": {"kind": "cuda", "capability": (7, 5)},
    "Mac": {"kind": "mps"},
}
Row = tuple[str, Count]


def training(machine: Machine, net: nn.Module, data: Dataset) -> Iterator[Row]:
    """A step of `fast20`, and from one epoch to the next."""
    recipe = replace(RECIPES["fast20"], batch_size=BATCH, epochs=2, precision="auto")
    settings = TrainSettings(recipe, val=0.25, limit=4 * BATCH)
    of_epoch = steps_per_epoch(len(choose_images(data, settings)[0]), BATCH)
    with machine.counting() as count:
        steps = Steps(count, of_epoch, keep=1)
        train_model(net, data, settings, device=machine.device, progress=Silence(), keeper=steps)
    kept, plain = steps.within[:2]
    yield f"a step of `fast20`, batch {BATCH}", plain
    yield "the state that a killed training continues from", less(kept, plain)
    yield "from one epoch to the next, validation of one batch included", less(steps.between[0], plain)


def less(whole: Count, part: Count) -> Count:
    """What is left of a count."""
    return Count(whole.operations - part.operations, whole.waits - part.waits)


def counted(machine: Machine, work: Callable[[], object]) -> Count:
    """What one call of some work asks for; the second one, since the first may prepare."""
    work()
    with machine.counting() as count:
        work()
    return count


def explaining(machine: Machine, net: nn.Module, images: Tensor) -> Iterator[Row]:
    """Calls of explainers, bare and under the guard."""
    explainers = discover("explainer", ExplainerSpec)
    targets = torch.arange(TARGETS, device=machine.device).repeat(len(images), 1)
    for name in BARE:
        yield f"`{name}`", counted(machine, lambda: explainers[name].explain(net, LAYERS, images, targets))  # noqa: B023
    spec, watch = explainers[GUARDED], Stopwatch(machine.device)
    yield (
        f"`{GUARDED}` under the guard and timed",
        counted(machine, lambda: guarded(spec, net, LAYERS, images, targets, watch)),
    )
    for name in MASKED:
        with machine.counting() as count:  # once: a pass for each channel
            explainers[name].explain(net, LAYERS[-1:], images[:1], targets[:1])
        yield f"`{name}`, one image, `{LAYERS[-1]}` alone", count


def rows_of(facts: dict[str, Any], model: ModelSpec, data: Dataset) -> dict[str, Count]:
    """What each piece of work asks of a device, as `pretended` is told of it."""
    statistics = (data.mean, data.std)
    with pretended(**facts) as machine:
        net = build_seeded(model, len(data.classes), 0)
        found = dict(training(machine, net, data))
        net.eval()
        found["evaluation, one batch"] = counted(
            machine,
            lambda: predict(net, data.test.images[:BATCH], statistics, device=machine.device, progress=Silence()),
        )
        images = prepare(data.test.images[:IMAGES].to(machine.device), statistics)
        found |= dict(explaining(machine, net, images))
    assert not machine.refused, machine.refused
    return found


def text_of(model: ModelSpec, data: Dataset) -> str:
    """The table, under what it is of."""
    found = {label: rows_of(facts, model, data) for label, facts in MACHINES.items()}
    heads = ["", *(f"{label}, {what}" for label in found for what in ("kernels", "waits"))]
    rows = [
        [name, *(f"{each.total():,}" for of_kind in found.values()
                 for each in (of_kind[name].operations, of_kind[name].waits))]
        for name in next(iter(found.values()))
    ]  # fmt: skip
    named = ", ".join(f"{name} {number}" for name, number in versions(("torch", "grad-cam", "captum")).items())
    above = (
        f"`{model.name}` on {data.name}; explainers with {IMAGES} images, {TARGETS} classes each, at "
        f"{' and '.join(f'`{each}`' for each in LAYERS)}. Pretended devices; {named}."
    )
    return "\n\n".join([above, table(heads, rows, {""})])


def main() -> None:
    """Print the table, or write it into a document."""
    options = parser_of(__doc__, data="digits", model="cifar_resnet18", write=None).parse_args()
    data = replace(load_dataset(options.data, cache=default_cache(), progress=Silence()), mirror=True)
    finish(text_of(discover("model", ModelSpec)[options.model], data), options.write, "waits")


if __name__ == "__main__":
    main()
