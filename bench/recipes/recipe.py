"""Training recipes: data, not code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from bench.contracts import Augmentation
from bench.errors import UsageError, did_you_mean
from bench.precision import PRECISIONS

OPTIMIZERS = ("sgd", "adamw")
FLIPS = ("none", "random", "alternating")
HALF = 16  # pixels, of a picture of 32
SMALLEST, LARGEST = 8, 1024  # pixels; below, the last stages see one pixel
ABOUT = ("name", "source", "measured")  # what is said about a recipe, not what it does
Range = tuple[Callable[[float], bool], str]
NOT_NEGATIVE: Range = (lambda value: 0 <= value < float("inf"), "0 or more and finite")
SHARE: Range = (lambda value: 0 <= value <= 1, "from 0 to 1")
BELOW_ONE: Range = (lambda value: 0 <= value < 1, "0 or more and below 1")
IN_PICTURE: Range = (lambda edge: 0 <= edge <= HALF, f"from 0 to {HALF}, half of a picture's edge")
RANGES: Mapping[str, Range] = {  # which values can train something, and in words
    "epochs": (lambda count: 1 <= count <= 1_000_000, "from 1 to 1,000,000"),
    "batch_size": (lambda count: count >= 2, "2 or more"),
    "lookahead": (lambda count: count >= 0, "0 or more"),
    "lr": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "lr_start": SHARE,
    "lr_end": SHARE,
    "warm_up": SHARE,
    "momentum": BELOW_ONE,
    "label_smoothing": BELOW_ONE,
    "bn_momentum": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "bias_scale": (lambda value: 0 < value < float("inf"), "above 0 and finite"),
    "translate": IN_PICTURE,
    "cutout": IN_PICTURE,
}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        name: what users type; of a recipe from a file the whole path.
        epochs: passes over the training split.
        batch_size: images a step; an incomplete last batch is left out.
        source: where the values come from.
        optimizer: `sgd` (Nesterov) or `adamw`.
        lr: the peak learning rate.
        lr_start, lr_end: the first and the last learning rate, as shares of the peak.
        warm_up: share of all steps until the peak.
        momentum: of SGD.
        weight_decay: on all parameters.
        norm_decay: whether it acts on the scales of batch norms, too.
        bias_scale: the learning rate of the biases of batch norms as a multiple of `lr`; their weight decay is divided
            by it.
        label_smoothing: share of a label's weight that is spread over all classes while training.
        bn_momentum: share of a new batch in the running statistics of batch norms.
        lookahead: steps between two looks of the slow weights (see `bench.training.optim.Lookahead`); 0 for none.
        whiten: start the first convolution from the eigenvectors of the training images' patches.
        zero_init: start every residual branch at 0, by the scale of its last batch norm.
        sizes: pairs (edge in pixels, share of the epochs) that come first, in this order, on images made smaller;
            the epochs that remain, and the last in any case, see the images as they are.
        flip, translate, cutout: what a training batch goes through; see `bench.contracts.Augmentation`.
        precision: `fp32`, `bf16` or `fp16` (autocast, the last with a scaled loss), or `auto`: what the device
            multiplies in fastest; see `bench.precision.best_precision`.
        measured: what it gave here, in words.
    """

    name: str
    epochs: int
    batch_size: int
    lr: float
    source: str
    optimizer: str = "sgd"
    lr_start: float = 0.2
    lr_end: float = 0.0
    warm_up: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    norm_decay: bool = True
    bias_scale: float = 1.0
    label_smoothing: float = 0.0
    bn_momentum: float = 0.1
    lookahead: int = 0
    whiten: bool = False
    zero_init: bool = False
    sizes: tuple[tuple[int, float], ...] = ()
    flip: Literal["none", "random", "alternating"] = "random"
    translate: int = 4
    cutout: int = 16
    precision: str = "auto"
    measured: str = ""

    def __post_init__(self) -> None:
        """Refuse values that cannot train anything."""
        for name, known in (("optimizer", OPTIMIZERS), ("precision", PRECISIONS), ("flip", FLIPS)):
            value = getattr(self, name)
            if value not in known:
                hint = " or ".join(f"--{name} {each}" for each in known)
                raise UsageError(f"no {name} '{value}'{did_you_mean(value, known)}", try_=hint)
        for name, (holds, words) in RANGES.items():
            value = getattr(self, name)
            if not holds(value):
                raise UsageError(f"{name} is {value}, must be {words}", try_="bench list recipes  # values that work")
        for edge, share in self.sizes:
            if not SMALLEST <= edge <= LARGEST or not 0 < share < 1:
                raise UsageError(
                    f"sizes holds {edge}:{share}: the edge must be from {SMALLEST} to {LARGEST:,}, "
                    "the share between 0 and 1",
                    try_="--sizes 16:0.5,24:0.25",
                )
        if not sum(share for _, share in self.sizes) < 1:
            raise UsageError(
                "sizes leaves no epoch for the images as they are: the shares must sum to less than 1",
                try_="--sizes 16:0.5,24:0.25",
            )

    @property
    def augmentation(self) -> Augmentation:
        """What a training batch goes through."""
        return Augmentation(self.translate, self.flip, self.cutout)

    def learning_rate(self, step: int, total: int) -> float:
        """The learning rate of a step: linear from lr_start x lr to lr, then linear to lr_end x lr; never below 0.

        Args:
            step: 0 to total - 1.
            total: steps of the whole training.
        """
        if not 0 <= step < total:
            raise ValueError(f"step {step} of {total}")
        # Straight lines: of short trainings they did best (Li et al. 2020, arXiv:1905.04753). By the step, not the
        # epoch, so that a training of few epochs has no jumps.
        done = step / total
        if done < self.warm_up:
            return self.lr * (self.lr_start + (1 - self.lr_start) * done / self.warm_up)
        return self.lr * (self.lr_end + (1 - self.lr_end) * (1 - done) / (1 - self.warm_up))

    def edge(self, epoch: int, size: int) -> int:
        """Pixels an edge of the images of an epoch, from 0; `size`, their own, at most."""
        until = 0.0
        for edge, share in self.sizes:
            until += share
            if (epoch + 1) / self.epochs <= until + 1e-9 and epoch + 1 < self.epochs:  # slack for 0.1 + 0.2
                return min(edge, size)
        return size

    def values(self) -> dict[str, Any]:
        """What the recipe does, by the names of `bench train`'s options and of a recipe file's keys."""
        return {name: value for name, value in asdict(self).items() if name not in ABOUT}

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """This recipe with some values replaced; None keeps a value.

        Raises:
            UsageError: no such value, or one that cannot train anything.
        """
        given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        for name in given:
            if name not in SETTINGS:
                raise UsageError(f"a recipe has no '{name}'{did_you_mean(name, SETTINGS)}", try_="bench train --help")
        # What was measured was measured with the recipe's own values.
        return replace(self, **given | ({"measured": ""} if given else {}))


SETTINGS = tuple(each.name for each in fields(Recipe) if each.name not in ABOUT)


PLAIN = Recipe(
    name="plain",
    epochs=26,
    batch_size=500,
    lr=0.2,
    cutout=12,
    source="Jordan 2024, cifar10-zoo: the baseline that reaches 94 % with mirror averaging on original pixels",
)
FAST20 = Recipe(
    name="fast20",
    epochs=20,
    batch_size=512,
    lr=0.4,
    lr_end=0.07,
    warm_up=0.22,
    label_smoothing=0.1,
    bn_momentum=0.4,
    lookahead=5,
    whiten=True,
    zero_init=True,
    sizes=((16, 0.25), (24, 0.25)),
    flip="alternating",
    translate=2,
    cutout=0,
    source="ingredients of Jordan 2024, arXiv:2404.00498, and Page 2019, for this network",
    measured="89.7 % with all 50,000 JPEG images, in bf16: 22 s on an H100, 45 min on two cores",
)
RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="course",
            epochs=20,
            batch_size=128,
            lr=0.1,
            source="the 20-epoch assignment of the EVA and ERA courses, with a schedule that ends at 0",
            measured="89.6 % with all 50,000 JPEG images, in bf16: 2 h on two cores",
        ),
        PLAIN,
        replace(PLAIN, name="plain80", epochs=80, source="Jordan 2024, cifar10-zoo: the same for 96 %"),
        FAST20,
        replace(
            FAST20,
            name="fast40",
            epochs=40,
            lr_end=0.0,
            warm_up=0.1,
            translate=4,
            cutout=12,
            source="as fast20, with stronger augmentation for more epochs",
            measured="",
        ),
        Recipe(
            name="cpu",
            epochs=16,
            batch_size=64,
            lr=0.04,
            lr_end=0.07,
            label_smoothing=0.1,
            bn_momentum=0.4,
            lookahead=5,
            whiten=True,
            sizes=((16, 0.5), (24, 0.25)),
            flip="alternating",
            translate=2,
            cutout=0,
            source="the ingredients of fast20 in small batches, half of the epochs at a quarter of the pixels",
            measured="79.3 % with 10,000 JPEG images: 22 min on two cores in fp32",
        ),
        Recipe(
            name="demo",
            epochs=1,
            batch_size=16,
            lr=0.02,
            bn_momentum=0.25,
            precision="fp32",
            flip="none",
            cutout=0,
            source="digits in one epoch: many small steps, fast statistics of batch norms",
        ),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of a name; UsageError with the nearest name where there is none."""
    if name not in RECIPES:
        raise UsageError(f"no recipe '{name}'{did_you_mean(name, RECIPES)}", try_="bench list recipes")
    return RECIPES[name]
