"""The explained images of a page, as columns: what is said of all images stands together. Standard library only."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bench.schema.run import STATUSES, Status

Role = Literal["predicted", "true", "both", "asked"]

# `both` when the predicted class is the true one; `asked` for a class asked for by number.
ROLES: tuple[Role, ...] = ("predicted", "true", "both", "asked")
PICTURE = 32 * 32 * 3  # bytes of one


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

    def places(self, start: int, stop: int) -> slice:
        """Which of the maps are those of the images from `start` to before `stop`."""
        return slice(bisect_left(self.items, start), bisect_left(self.items, stop))


@dataclass(frozen=True)
class Gallery:
    """N explained images.

    Attributes:
        ids: test ids.
        files: names in the data set, hostile text.
        true: class indices.
        pixels: N * 32 * 32 * 3 bytes, RGB, each picture row by row.
        said: of each run of the page.
        maps: of each cell of the page.
        disagreement: 1 - rank correlation of the two explainers' maps that agree least; None with fewer than two.
    """

    ids: tuple[int, ...]
    files: tuple[str, ...]
    true: tuple[int, ...]
    pixels: bytes
    said: tuple[Said, ...]
    maps: tuple[CellMaps, ...]
    disagreement: tuple[float | None, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[GalleryItem]:
        return map(self.__getitem__, range(len(self.ids)))

    def __getitem__(self, place: int) -> GalleryItem:
        """One image with all that is said of it, for whoever draws a few of them."""
        place = range(len(self.ids))[place]
        return GalleryItem(
            id=self.ids[place],
            file=self.files[place],
            true=self.true[place],
            pixels=self.pixels[PICTURE * place : PICTURE * (place + 1)],
            predictions=tuple(_prediction(said, place) for said in self.said),
            maps=tuple(one for cell, maps in enumerate(self.maps) for one in _maps(cell, maps, place)),
            disagreement=self.disagreement[place],
        )


@dataclass(frozen=True)
class Prediction:
    """What one run says of one image: class index, its probability, the true class's probability.

    `top` are the most probable classes and their probabilities, the most probable first.
    """

    predicted: int
    probability: float
    true_probability: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class MapView:
    """One raw map, quantised as in CellMaps; `cell` is an index into Page.cells."""

    cell: int
    role: Role
    target: int
    low: float
    high: float
    levels: bytes
    status: Status


@dataclass(frozen=True)
class GalleryItem:
    """One image of a gallery; of its runs None where one does not know it."""

    id: int
    file: str
    true: int
    pixels: bytes
    predictions: tuple[Prediction | None, ...]
    maps: tuple[MapView, ...]
    disagreement: float | None = None


def _prediction(said: Said, place: int) -> Prediction | None:
    if said.predicted[place] < 0:
        return None
    top = tuple(zip(said.top_classes[place], said.top_shares[place], strict=True))
    return Prediction(said.predicted[place], said.probability[place], said.true_probability[place], top)


def _maps(cell: int, maps: CellMaps, place: int) -> Iterator[MapView]:
    places = maps.places(place, place + 1)
    for row in range(places.start, places.stop):
        size = len(maps.levels) // len(maps.items)
        status: Status = STATUSES[maps.statuses[row]]  # type: ignore[assignment]
        yield MapView(
            cell, ROLES[maps.roles[row]], maps.targets[row], maps.low[row], maps.high[row],
            maps.levels[size * row : size * (row + 1)], status,
        )  # fmt: skip
