"""The images of a gallery one by one, with all that is said of each: what tests look at and change."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bench.schema.gallery import ROLES, CellMaps, Gallery, Said
from bench.schema.page import Page
from bench.schema.run import STATUSES, Status

Role = Literal["predicted", "true", "both", "asked"]


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


def items_of(page: Page | Gallery) -> list[GalleryItem]:
    """The images of a page, or of a gallery."""
    gallery = page if isinstance(page, Gallery) else page.gallery
    return [_item(gallery, place) for place in range(len(gallery.ids))]


def _item(gallery: Gallery, place: int) -> GalleryItem:
    return GalleryItem(
        id=gallery.ids[place],
        file=gallery.files[place],
        true=gallery.true[place],
        pixels=gallery.picture(place),
        predictions=tuple(_prediction(said, place) for said in gallery.said),
        maps=tuple(one for cell, maps in enumerate(gallery.maps) for one in _maps(cell, maps, place)),
        disagreement=gallery.disagreement[place],
    )


def _prediction(said: Said, place: int) -> Prediction | None:
    if said.predicted[place] < 0:
        return None
    top = tuple(zip(said.top_classes[place], said.top_shares[place], strict=True))
    return Prediction(said.predicted[place], said.probability[place], said.true_probability[place], top)


def _maps(cell: int, maps: CellMaps, place: int) -> Iterator[MapView]:
    for row in maps.places(place, place + 1):
        size = len(maps.levels) // len(maps.items)
        role: Role = ROLES[maps.roles[row]]  # type: ignore[assignment]
        status: Status = STATUSES[maps.statuses[row]]  # type: ignore[assignment]
        yield MapView(
            cell, role, maps.targets[row], maps.low[row], maps.high[row],
            maps.levels[size * row : size * (row + 1)], status,
        )  # fmt: skip
