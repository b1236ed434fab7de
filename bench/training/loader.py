"""From places in the training split to what the model sees: order, augmentation, size, normalisation."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bench.data.transforms import Statistics, Turns, augment, fill_colour, prepare, shrink
from bench.recipes.recipe import Recipe


class Batches:
    """The batches of one training, which its seed decides.

    Attributes:
        order: draws a permutation for each epoch.
        pixels: draws the augmentation of each batch.
    """

    def __init__(self, images: Tensor, recipe: Recipe, *, mirror: bool, seed: int, statistics: Statistics) -> None:
        """Batches of images on their device.

        Args:
            images: (N, 3, H, W) uint8, all that is trained on.
            mirror: whether the data set allows mirroring.
            seed: of order, augmentation and turns.
            statistics: mean and standard deviation.
        """
        self.images, self.recipe, self.statistics = images, recipe, statistics
        # Three generators: an augmentation that is switched on or off leaves the order as it was, so that two recipes
        # see the same batches. The order is drawn on the CPU, and is the same on every device.
        self.order = torch.Generator().manual_seed(seed)
        self.pixels = torch.Generator(images.device).manual_seed(seed + 1)
        self.augmentation = recipe.augmentation if mirror else replace(recipe.augmentation, flip="none")
        in_turn = self.augmentation.flip == "alternating"
        self.turns = Turns.of(len(images), seed + 2, images.device) if in_turn else None
        self.fill = fill_colour(statistics[0]).to(images.device)

    @property
    def steps(self) -> int:
        """Whole batches in an epoch."""
        return len(self.images) // self.recipe.batch_size

    def shapes(self) -> set[tuple[int, ...]]:
        """(B, 3, h, w) of the batches of all epochs."""
        edges = {self.recipe.edge(epoch) for epoch in range(self.recipe.epochs)}
        whole = min(self.images.shape[2:])
        count, channels = self.recipe.batch_size, self.images.shape[1]
        return {(count, channels, edge or whole, edge or whole) for edge in edges}

    def shuffled(self) -> Sequence[Tensor]:
        """The batches of an epoch, as places in the split, (B,) int64 each."""
        size = self.recipe.batch_size
        # What is left over is dropped, other images in every epoch: batch norms of a handful would be noise, and
        # one compiled shape is enough.
        permutation = torch.randperm(len(self.images), generator=self.order).to(self.images.device)
        return torch.split(permutation[: self.steps * size], size)

    def inputs(self, batch: Tensor, epoch: int) -> Tensor:
        """What the model sees of a batch in an epoch: (B, 3, h, w) float32, augmented anew at each call."""
        mirrored = self.turns.mirrored(batch, epoch) if self.turns else None
        seen = augment(self.images[batch], self.augmentation, fill=self.fill, generator=self.pixels, mirrored=mirrored)
        return shrink(prepare(seen, self.statistics), self.recipe.edge(epoch))
