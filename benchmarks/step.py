"""Where the time of a training step goes: shares by kind of work, told by torch's profiler.

    python benchmarks/step.py --data $BENCH_DATA --steps 3 --write docs/measurements.md

A step is that of `bench train` on one batch: augmentation, forward and backward pass, and the update of the weights.
Shares are of the time that the CPU, or the GPU, spent in operators themselves.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from tables import finish, machine_words, parser_of, table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from bench.contracts import ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.machine import choose_device
from bench.nets.weights import build_seeded, on_device
from bench.precision import autocast, resolved_precision
from bench.recipes.recipe import find_recipe
from bench.registry.registry import discover
from bench.training.loader import Batches
from bench.training.optim import Stepper, make_stepper
from bench.workspace import default_cache

# What an operator's name says it is for, looked for in this order.
KINDS = (
    ("convolutions", ("conv",)),
    ("batch norms", ("batch_norm",)),
    ("ReLUs", ("relu", "threshold")),
    ("casts, copies, windows of small maps", ("copy_", "_to_copy", "clone", "contiguous")),
    ("sums of branches", ("add",)),
    ("head, loss, products of small maps", ("addmm", "mm", "softmax", "nll", "mean", "avg_pool", "div")),
)
OTHER = "other"


def kind_of(name: str) -> str:
    """Which kind of work an operator does."""
    return next((kind for kind, words in KINDS if any(word in name for word in words)), OTHER)


def profiled(work: Callable[[], object], device: torch.device) -> Counter[str]:
    """Microseconds that a call spent in each operator itself."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as found:
        work()
    of_kind = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    return Counter({each.key: round(getattr(each, of_kind)) for each in found.key_averages()})


def passes(net: nn.Module, inputs: Tensor, labels: Tensor, precision: str, stepper: Stepper) -> None:
    """Forward and backward pass of a batch."""
    with autocast(inputs.device, precision):
        logits = net(inputs)
    stepper.backward(cross_entropy(logits.float(), labels))


def measure(options: argparse.Namespace) -> str:
    """Profile some steps, and give the text."""
    device = choose_device(options.device)
    data = load_dataset(options.data, cache=default_cache(), progress=Silence())
    recipe = find_recipe(options.recipe)
    size, precision = recipe.batch_size, resolved_precision(options.precision, device)
    net = on_device(build_seeded(discover("model", ModelSpec)[options.model], len(data.classes), 0), device).train()
    stepper = make_stepper(net, recipe, device, precision)
    images, labels = data.train.images[:size].to(device), data.train.labels[:size].to(device)
    batches = Batches(images, recipe, mirror=data.mirror, seed=0, statistics=(data.mean, data.std))

    augment = partial(batches.inputs, torch.arange(size, device=device), 0)
    stages: dict[str, Callable[[], object]] = {
        "augmentation": augment,
        "": partial(passes, net, augment(), labels, precision, stepper),
        "update of the weights": stepper.update,
    }
    spent: Counter[str] = Counter()
    for number in range(1 + options.steps):
        for kind, work in stages.items():
            for name, time in profiled(work, device).items() if number else ():  # the first one allocates
                spent[kind or kind_of(name)] += time
    rows = [[kind, f"{100 * time / spent.total():.1f} %"] for kind, time in spent.most_common()]
    head = f"{machine_words(device, 'torch')}, {precision}; `{options.model}`, batch {size}, {options.steps} steps."
    return f"{head}\n\n{table(['work', 'share'], rows, {'work'})}"


def main() -> None:
    """Print the table, and write it where asked."""
    parser = parser_of(__doc__, data="digits", model="cifar_resnet18", device="auto", write=None)
    parser.add_argument("--recipe", default="course")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    finish(measure(options), options.write, "step")


if __name__ == "__main__":
    main()
