"""What is timed: a forward pass, a training step, an explanation. Each is one call on the same batch."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import ExplainerSpec
from bench.explaining.batches import explained
from bench.explaining.plan import check_names
from bench.machine import large_product
from bench.modes import kernels_for_training
from bench.postprocess import postprocess
from bench.precision import autocast, resolved_precision
from bench.recipes.recipe import find_recipe
from bench.schema.timing import What
from bench.timing.flops import Counted
from bench.timing.rounds import Work
from bench.training.optim import make_stepper, set_rate

RECIPE = "course"  # whose optimiser a training step uses
FEW = 2  # images an explainer is checked on before it is timed
MODES = {
    "forward": "eval mode, no gradients",
    "train": "training mode: forward, loss, backward, optimiser; no augmentation",
    "explain": "eval mode, frozen; one class an image; normalised float32 maps as large as the images, on the host",
    "shipped": "eval mode, one class an image; what the library's user gets",
    "product": "matrix product",
    "copy": "copy of a large array",
}


@dataclass(frozen=True)
class Subject:
    """A model to be timed: in eval mode, gradients off, channels last, on its device.

    Attributes:
        label: how arms name it: the registered name, or the run's.
        model: registered name or FILE.py:NAME.
        checkpoint: sha256 of the weights; empty where they come from a seed.
    """

    label: str
    model: str
    net: nn.Module
    input_size: int
    checkpoint: str = ""


@dataclass(frozen=True)
class ArmSpec:
    """An arm by names alone, so that it can be made again in another process.

    Attributes:
        model: label of the subject.
        entry: the registered explainer that is called; for `shipped` it may be another one than `explainer`.
    """

    what: What
    model: str = ""
    explainer: str = ""
    layer: str = ""
    entry: str = ""

    @property
    def name(self) -> str:
        """`forward[cifar_resnet18]`, `explain[cifar_resnet18,captum,layer3]`."""
        return f"{self.what}[{','.join(each for each in (self.model, self.explainer, self.layer) if each)}]"


@dataclass(frozen=True)
class Arm:
    """An arm ready to work.

    Attributes:
        work: one call on the whole batch; `single` on its first image.
        items: what one call handles, in `unit`.
        counted: what one call does; None where it was not counted.
        floor: FLOP an image that a Grad-CAM at the arm's layer cannot do without; None for other work.
    """

    spec: ArmSpec
    work: Work
    single: Work | None
    items: float
    unit: str = "images"
    precision: str = "fp32"
    counted: Counted | None = None
    floor: float | None = None

    @property
    def name(self) -> str:
        """The spec's."""
        return self.spec.name


def batch_of(size: int, edge: int, device: torch.device) -> Tensor:
    """(size, 3, edge, edge) float32 drawn from a standard normal with a fixed seed, channels last."""
    images = torch.randn(size, 3, edge, edge, generator=torch.Generator().manual_seed(0))
    return images.to(device).contiguous(memory_format=torch.channels_last)


def make_arm(spec: ArmSpec, subject: Subject, images: Tensor, *, explainers: Mapping[str, ExplainerSpec]) -> Arm:
    """The arm of these names on the given batch.

    Args:
        images: (N, 3, H, W) normalised.
        explainers: by name; the arm's entry is looked up here.
    """
    if spec.entry:
        check_explainer(explainers[spec.entry], subject, spec.layer, images)
    precision = resolved_precision("auto", images.device) if spec.what == "train" else "fp32"
    return Arm(
        spec,
        work_of(spec, subject.net, images, explainers),
        work_of(spec, subject.net, images[:1].contiguous(memory_format=torch.channels_last), explainers),
        len(images),
        precision=precision,
    )


def work_of(spec: ArmSpec, net: nn.Module, images: Tensor, explainers: Mapping[str, ExplainerSpec]) -> Work:
    """The call that an arm's names mean."""
    if spec.what == "forward":
        return forward_work(net, images)
    if spec.what == "train":
        return train_work(net, images)
    return explain_work(explainers[spec.entry], net, spec.layer, images=images, finished=spec.what == "explain")


def forward_work(net: nn.Module, images: Tensor) -> Work:
    """Logits of the batch, as `bench evaluate` computes them."""

    def work() -> object:
        with torch.no_grad():
            return net(images)

    return work


def train_work(net: nn.Module, images: Tensor, precision: str = "auto") -> Work:
    """One step of `bench train` on a private copy, without augmentation, at the precision that `auto` means.

    The learning rate is 0: the same sums are made, and the net that is timed stays the one that was named.
    """
    own = copy.deepcopy(net).train().requires_grad_(True)
    with torch.no_grad():
        classes = net(images[:1]).shape[1]
    labels = torch.arange(len(images), device=images.device) % classes
    precision = resolved_precision(precision, images.device)
    stepper = make_stepper(own, find_recipe(RECIPE), images.device, precision)
    set_rate(stepper.optimizer, 0.0)

    def work() -> object:
        with kernels_for_training(deterministic=False):
            with autocast(images.device, precision):
                logits = own(images)
            loss = functional.cross_entropy(logits.float(), labels)
            stepper.step(loss)
        return loss

    return work


def explain_work(spec: ExplainerSpec, net: nn.Module, layer: str, *, images: Tensor, finished: bool) -> Work:
    """Maps of the predicted class of every image of the batch, as `bench explain` makes them but for the guard.

    `check_explainer` held the explainer to its contract before, and the guard's work is not the explainer's.

    Args:
        finished: post-processed to the images' size, float32, on the host; else as the explainer gives them.
    """
    with torch.no_grad():
        targets = net(images).argmax(dim=1, keepdim=True)

    def work() -> Tensor:
        """(N, 1, h, w) as the explainer gives it, or (N, 1, H, W) finished and on the host."""
        raw = explained(spec, net, (layer,), images, targets, call=unguarded)[layer]
        if not finished:
            return raw
        picture = raw if spec.output == "picture" else postprocess(raw, images.shape[-1])
        return picture.float().cpu()

    return work


def unguarded(
    spec: ExplainerSpec, net: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor, watch: object
) -> Mapping[str, Tensor]:
    """The bare call."""
    return spec.explain(net, layers, images, targets)


def check_explainer(spec: ExplainerSpec, subject: Subject, layer: str, images: Tensor) -> None:
    """UsageError for a layer the model lacks, ContractError for an explainer that breaks its contract."""
    check_names(subject.net, subject.model, (layer,))
    few = images[:FEW]
    targets = torch.zeros(len(few), 1, dtype=torch.int64, device=few.device)
    explained(spec, subject.net, (layer,), few, targets)


# --- the machine's own limits ---------------------------------------------------------------------------------


def product_arm(device: torch.device, precision: str) -> Arm:
    """A large matrix product: `items` FLOP a call."""
    multiply, operations = large_product(device, precision)
    return Arm(ArmSpec("product", model=precision), multiply, None, operations, "FLOP", precision)


def copy_arm(device: torch.device, mib: int = 256) -> Arm:
    """A copy of an array larger than caches: `items` bytes a call, read and written."""
    row = torch.randn(1, 2**20 // 4, generator=torch.Generator().manual_seed(0))  # numbers as nets have them
    source = row.to(device).expand(mib, -1).contiguous()
    target = torch.empty_like(source)
    return Arm(ArmSpec("copy"), lambda: target.copy_(source), None, 2.0 * source.nbytes, "bytes")
