"""The explained images of a page, as columns: what is said of all images stands together. Standard library only."""

from bisect import bisect_left
from dataclasses import dataclass

# `both` when the predicted class is the true one; `asked` for a class asked for by number.
ROLES = ("predicted", "true", "both", "asked")


@dataclass(frozen=True)
class Said:
    """What one run says of N images.

    Attributes:
        predicted: class indices; -1 where the run does not know the image, with probabilities of 0 and no classes.
        probability, true_probability: of the predicted and of the true class.
        top_classes, top_shares: the most probable classes of each image with their probabilities, largest first.
    """

    predicted: tuple[int, ...]
    probability: tuple[float, ...]
    true_probability: tuple[float, ...]
    top_classes: tuple[tuple[int, ...], ...]
    top_shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class CellMaps:
    """The M maps of one cell, quantised: value = low + level / 255 * (high - low).

    Attributes:
        items: the image of each, by its place in the gallery; ascending.
        targets: class indices that the maps speak for.
        roles, statuses: M bytes, indices into ROLES and STATUSES.
        low, high: smallest and largest raw value of each.
        levels: M * height * width bytes, map by map, each row by row.
    """

    items: tuple[int, ...]
    targets: tuple[int, ...]
    roles: bytes
    statuses: bytes
    low: tuple[float, ...]
    high: tuple[float, ...]
    levels: bytes

    def places(self, start: int, stop: int) -> range:
        """Which of the maps are those of the images from `start` to before `stop`."""
        return range(bisect_left(self.items, start), bisect_left(self.items, stop))

    def of(self, place: int, role: str) -> int | None:
        """Which of the maps is that of an image and of `predicted` or `true`; None where there is none."""
        return next((k for k in self.places(place, place + 1) if ROLES[self.roles[k]] in (role, "both")), None)


@dataclass(frozen=True)
class Gallery:
    """N explained images.

    Attributes:
        ids: test ids.
        files: names in the data set, hostile text.
        true: class indices.
        pixels: N * edge * edge * 3 bytes, RGB, each picture row by row; empty where there are files instead.
        said: of each run of the page.
        maps: of each cell of the page.
        disagreement: 1 - rank correlation of the two explainers' maps that agree least; None with fewer than two.
        edge: pixels an edge of a picture, of files the largest.
        pictures: JPEG files of pictures that are too large to be kept as they are.
    """

    ids: tuple[int, ...]
    files: tuple[str, ...]
    true: tuple[int, ...]
    pixels: bytes
    said: tuple[Said, ...]
    maps: tuple[CellMaps, ...]
    disagreement: tuple[float | None, ...]
    edge: int = 32
    pictures: tuple[bytes, ...] = ()

    def picture(self, place: int) -> bytes:
        """One image: its JPEG file where there are files, else its edge * edge * 3 bytes."""
        size = self.edge**2 * 3
        return self.pictures[place] if self.pictures else self.pixels[size * place : size * (place + 1)]
