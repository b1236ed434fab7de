"""Training recipes: data, not code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from bench.contracts import Augmentation
from bench.errors import UsageError
from bench.registry import did_you_mean

OPTIMIZERS = ("sgd", "adamw")
HALF = 16  # pixels; every picture is 32x32


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        name: what users type; of a recipe from a file the whole path.
        epochs: passes over the training split.
        batch_size: images a step; an incomplete last batch is left out.
        optimizer: `sgd` (Nesterov) or `adamw`.
        lr: the peak learning rate.
        lr_start: the first learning rate, as a share of the peak.
        warm_up: share of all steps until the peak.
        momentum: of SGD.
        weight_decay: on all parameters.
        bn_momentum: share of a new batch in the running statistics of batch norms.
        augmentation: what a training batch goes through.
        source: where the values come from.
    """

    name: str
    epochs: int
    batch_size: int
    lr: float
    source: str
    optimizer: str = "sgd"
    lr_start: float = 0.2
    warm_up: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    bn_momentum: float = 0.1
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Refuse values that cannot train anything."""
        if self.optimizer not in OPTIMIZERS:
            raise UsageError(
                f"no optimizer '{self.optimizer}'{did_you_mean(self.optimizer, OPTIMIZERS)}",
                try_="--optimizer sgd or --optimizer adamw",
            )
        for name, low in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < low:
                raise UsageError(f"{name} is {getattr(self, name)}, must be {low} or more")
        for name in ("lr", "weight_decay"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name} is {getattr(self, name)}, must be 0 or more and finite")
        for name in ("lr_start", "warm_up"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}, must be from 0 to 1")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum is {self.momentum}, must be 0 or more and below 1")
        if not 0 < self.bn_momentum <= 1:
            raise UsageError(f"bn_momentum is {self.bn_momentum}, must be above 0 and at most 1")
        for name, edge in (("pad", self.augmentation.pad), ("cutout", self.augmentation.cutout)):
            if not 0 <= edge <= HALF:
                raise UsageError(f"{name} is {edge}, must be from 0 to {HALF}, half of a picture's edge")

    def learning_rate(self, step: int, total: int) -> float:
        """The learning rate of a step: linear from lr_start x lr to lr, then linear to 0; never below 0.

        Args:
            step: 0 to total - 1.
            total: steps of the whole training.
        """
        if not 0 <= step < total:
            raise ValueError(f"step {step} of {total}")
        done = step / total
        if done < self.warm_up:
            return self.lr * (self.lr_start + (1 - self.lr_start) * done / self.warm_up)
        return self.lr * (1 - done) / (1 - self.warm_up)

    def values(self) -> dict[str, object]:
        """What a run's config stores of the recipe."""
        return {key: value for key, value in asdict(self).items() if key not in ("name", "source")}

    def changed(self, settings: Mapping[str, object]) -> Recipe:
        """This recipe with some fields replaced; None keeps a field."""
        known = {each.name for each in fields(self)}
        changes: dict[str, Any] = {key: value for key, value in settings.items() if key in known and value is not None}
        return replace(self, **changes)


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="course",
            epochs=20,
            batch_size=128,
            lr=0.1,
            source="the 20-epoch assignment of the EVA and ERA courses, with a schedule that ends at 0",
        ),
        Recipe(
            name="demo",
            epochs=1,
            batch_size=16,
            lr=0.02,
            bn_momentum=0.25,
            augmentation=Augmentation(pad=4, flip=False, cutout=0),
            source="digits in one epoch: many small steps, batch norms that follow quickly",
        ),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of a name; UsageError with the nearest name where there is none."""
    if name not in RECIPES:
        raise UsageError(f"no recipe '{name}'{did_you_mean(name, RECIPES)}", try_="bench list recipes")
    return RECIPES[name]
