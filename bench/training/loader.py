"""From places in the training split to what the model sees: order, augmentation, size, normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.contracts import Progress, Split
from bench.data.transforms import Statistics, Turns, augment, fill_colour, prepare, shrink
from bench.memory import free_on
from bench.recipes.recipe import Recipe

SHARE = 0.5  # of a device's free memory that a split may take; the rest is for the net and what it computes


@dataclass(frozen=True)
class InRam:
    """Rows of a split that stay in RAM: each batch is copied and sent to the device when it is asked for.

    Attributes:
        whole: (M, ...) of the split, on the CPU; nothing of it is copied ahead.
        ids: (N,) int64, which rows of it there are.
        device: where batches go.
    """

    whole: Tensor
    ids: Tensor
    device: torch.device

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...) as if the rows were a tensor."""
        return (len(self.ids), *self.whole.shape[1:])

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """Those of some places (B,), which are on the CPU: (B, ...) on the device."""
        return sent(self.whole[self.ids[rows]], self.device)


Rows = Tensor | InRam


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Values on the device, without a wait for it: a GPU takes from pinned memory while it computes."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def placed(split: Split, ids: Tensor, device: torch.device, progress: Progress) -> tuple[Rows, Rows]:
    """Images and labels of a split on the device, or in RAM where they would fill it; results are the same.

    Args:
        ids: (N,) int64, which of the split are wanted.
        progress: told where they stay in RAM.
    """
    size, free = split.images[:1].nbytes * len(ids), free_on(device)
    if device.type == "cpu" or (free is not None and size > SHARE * free):
        if free is not None:
            progress.say(
                f"{len(ids):,} images take {size / 1e9:.1f} GB, more than {SHARE:.0%} of the {free / 1e9:.1f} GB of "
                f"memory that are free on {device}: they stay in RAM, and each batch is sent there"
            )
        return InRam(split.images, ids, device), InRam(split.labels, ids, device)
    return split.images[ids].to(device), split.labels[ids].to(device)


class Batches:
    """The batches of one training, which its seed decides.

    Attributes:
        order: draws a permutation for each epoch.
        pixels: draws the augmentation of each batch.
    """

    def __init__(
        self,
        images: Rows,
        recipe: Recipe,
        *,
        mirror: bool,
        seed: int,
        statistics: Statistics,
        part: slice | None = None,
    ) -> None:
        """Batches of images on their device.

        Args:
            images: (N, 3, H, W) uint8, all that is trained on, on the device or in RAM.
            mirror: whether the data set allows mirroring.
            seed: of order, augmentation and turns.
            statistics: mean and standard deviation.
            part: rows of each batch that are worked on here; None for all. Order and augmentation are drawn for the
                whole batch, so they do not depend on how it is shared out.
        """
        whole = slice(0, recipe.batch_size)
        self.part = part or whole
        self.drawn = None if self.part == whole else (recipe.batch_size, self.part)
        self.images, self.recipe, self.statistics = images, recipe, statistics
        # Three generators: an augmentation that is switched on or off leaves the order as it was, so that two recipes
        # see the same batches. The order is drawn on the CPU, and is the same on every device.
        self.order = torch.Generator().manual_seed(seed)
        self.pixels = torch.Generator(images.device).manual_seed(seed + 1)
        self.augmentation = recipe.augmentation if mirror else replace(recipe.augmentation, flip="none")
        in_turn = self.augmentation.flip == "alternating"
        self.places_on = torch.device("cpu") if isinstance(images, InRam) else images.device
        self.turns = Turns.of(len(images), seed + 2, self.places_on) if in_turn else None
        self.fill = fill_colour(statistics[0]).to(images.device)

    @property
    def size(self) -> int:
        """Pixels of the shorter edge of the images as they are."""
        return min(self.images.shape[2:])

    @property
    def steps(self) -> int:
        """Whole batches in an epoch."""
        return len(self.images) // self.recipe.batch_size

    def shapes(self) -> set[tuple[int, ...]]:
        """(B, 3, h, w) of the batches of all epochs."""
        edges = {self.recipe.edge(epoch, self.size) for epoch in range(self.recipe.epochs)}
        count, channels = self.part.stop - self.part.start, self.images.shape[1]
        return {(count, channels, edge, edge) for edge in edges}

    def shuffled(self) -> Sequence[Tensor]:
        """This process's parts of an epoch's batches, as places in the split, (B,) int64 each."""
        size = self.recipe.batch_size
        # What is left over is dropped, other images in every epoch: batch norms of a handful would be noise, and
        # one compiled shape is enough.
        permutation = torch.randperm(len(self.images), generator=self.order).to(self.places_on)
        return [whole[self.part] for whole in torch.split(permutation[: self.steps * size], size)]

    def inputs(self, batch: Tensor, epoch: int) -> Tensor:
        """What the model sees of its part of a batch in an epoch: (B, 3, h, w) float32, augmented anew at each call."""
        mirrored = sent(self.turns.mirrored(batch, epoch), self.images.device) if self.turns else None
        seen = augment(
            self.images[batch],
            self.augmentation,
            fill=self.fill,
            generator=self.pixels,
            mirrored=mirrored,
            part=self.drawn,
        )
        return shrink(prepare(seen, self.statistics), self.recipe.edge(epoch, self.size))
