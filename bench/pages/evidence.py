"""Pictures of what the tests with known answers found: a sticker found and missed, a mosaic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.data.decoding import decode, resized
from bench.pages.gallery import picture_map
from bench.registry.registry import short
from bench.schema.known_answers import KnownAnswers
from bench.schema.page import Evidence, EvidencePicture, TrustLine
from bench.schema.pictures import PictureMap
from bench.schema.run import STATUSES, Cell
from bench.store.folder import RunFolder
from bench.store.paths import known_answers_path

MOST = 3  # explainers of a row of pictures
EDGE = 64  # pixels an edge at most of a picture that a page carries
RELIANT, CONTROL, MOSAICS = "reliant", "control", "mosaics"


def evidence_of(data: RunFolder, answers: KnownAnswers, heads: Sequence[TrustLine]) -> tuple[Evidence, ...]:
    """A row of pictures for the sticker and one for the mosaic, as far as there are maps.

    Args:
        heads: the line to look at first of each explainer of the run, in the order of the page.
    """
    shown = _told_apart(heads)
    found = (_of_sticker(data, answers, shown), _of_mosaic(data, answers, shown))
    return tuple(each for each in found if each is not None)


def _told_apart(heads: Sequence[TrustLine]) -> list[TrustLine]:
    """The best explainer, the worst, and one between: those with an answer of the sticker or the mosaic."""
    tested = [one for one in heads if one.sticker.holds is not None or one.mosaic.holds is not None]
    good = [one for one in tested if one.advice == "use"]
    rest = [one for one in tested if one.advice != "use"]
    return [*good[:1], *rest[: MOST - len(good[:1])]]


def _of_sticker(data: RunFolder, answers: KnownAnswers, shown: Sequence[TrustLine]) -> Evidence | None:
    """The maps of both nets for one image with a sticker, of each explainer."""
    folders = {name: _folder(data, name) for name in (RELIANT, CONTROL)}
    pairs = [tuple(_cell(folders[name], one) for name in (RELIANT, CONTROL)) for one in shown]
    samples = folders[RELIANT].samples
    cells = [(one, other) for one, other in pairs if one is not None and other is not None]
    places = {each: (row, column, edge) for each, row, column, edge in answers.places}
    held = [set(cell.ids.tolist()) for pair in cells for cell in pair]
    if samples is None or not cells or len(cells) < len(shown):
        return None
    common = sorted(set(places).intersection(samples.ids.tolist(), *held))
    if not common:
        return None
    # The picture that tells most: the first explainer finds the sticker where it counts and not where it means nothing,
    # the last one does not; of several the one whose sticker is seen best, which comes first.
    chosen = max(
        common, key=lambda each: (_tells(cells, each, places[each], answers.pixels), -(each % len(answers.checks)))
    )
    strength = answers.checks[chosen % len(answers.checks)].strength
    edge, pixels = _picture(samples.pictures[samples.ids.tolist().index(chosen)])
    row, column, width = (round(each * edge / answers.pixels) for each in places[chosen])
    box = (row, column, width)
    pictures = [EvidencePicture("the picture, its sticker marked", edge, pixels, None, box)]
    for one, pair in zip(shown, cells, strict=True):
        for cell, words in zip(pair, ("the net relies on it", "it means nothing"), strict=True):
            drawn = _map(cell, chosen, answers.target)
            pictures.append(EvidencePicture(f"{one.explainer} at {one.layer}: {words}", edge, pixels, drawn, box))
    title = (
        f"A sticker of {100 * strength:g} % strength, in a net that relies on it and in one to which it means nothing"
    )
    return Evidence("sticker", title, tuple(pictures))


def _tells(cells: Sequence[tuple[Cell, Cell]], image: int, box: tuple[int, int, int], pixels: int) -> int:
    """How many of three things a picture shows."""
    first, last = cells[0], cells[-1]
    found = [_at(first[0], image, box, pixels), not _at(first[1], image, box, pixels)]
    return sum([*found, not _at(last[0], image, box, pixels) or _at(last[1], image, box, pixels)])


def _at(cell: Cell, image: int, box: tuple[int, int, int], pixels: int) -> bool:
    """Whether the largest value of a map lies on the sticker."""
    raw = cell.raw[cell.ids.tolist().index(image)]
    place = np.unravel_index(int(np.nan_to_num(raw).argmax()), raw.shape)
    corners = [
        (int(at) * pixels / size, (int(at) + 1) * pixels / size) for at, size in zip(place, raw.shape, strict=True)
    ]
    return all(low < start + box[2] and start < high for (low, high), start in zip(corners, box[:2], strict=True))


def _of_mosaic(data: RunFolder, answers: KnownAnswers, shown: Sequence[TrustLine]) -> Evidence | None:
    """The maps of one mosaic for the class of its first image."""
    folder = _folder(data, MOSAICS)
    cells = [_cell(folder, one) for one in shown]
    samples = folder.samples
    if samples is None or not cells or any(cell is None or 0 not in cell.ids for cell in cells) or not answers.mosaics:
        return None
    row = samples.ids.tolist().index(0)
    name = data.record.data.classes[int(samples.labels[row])]
    picture = _picture(samples.pictures[row])
    pictures = [EvidencePicture(f"four pictures; {name} is top left", *picture, None)]
    for one, cell in zip(shown, cells, strict=True):
        assert cell is not None
        pictures.append(EvidencePicture(f"{one.explainer} at {one.layer}, for {name}", *picture, _map(cell, 0, name)))
    return Evidence("mosaic", f"Four pictures in one, and the maps for {name}, which is top left", tuple(pictures))


def _folder(data: RunFolder, name: str) -> RunFolder:
    return RunFolder(known_answers_path(data.path) / name)


def _cell(folder: RunFolder, one: TrustLine) -> Cell | None:
    every = (cell for cell in folder.readable_cells() if cell.layer == one.layer)
    return next((cell for cell in every if short(cell.explainer) == one.explainer), None)


def _picture(picture: Any) -> tuple[int, bytes]:  # noqa: ANN401 (an array, or a JPEG file)
    """Edge and pixels of a picture as a page carries it."""
    if isinstance(picture, bytes):
        return EDGE, decode(picture, EDGE).pixels.transpose(1, 2, 0).tobytes()
    edge = min(EDGE, max(picture.shape[:2]))
    return edge, resized(picture.transpose(2, 0, 1), edge).transpose(1, 2, 0).tobytes()


def _map(cell: Cell, image: int, target: str) -> PictureMap:
    """The map of an image, which has one class here."""
    row = cell.ids.tolist().index(image)
    status: Any = STATUSES[int(cell.status[row])]
    finished = cell.output == "picture"
    return picture_map(cell.raw[row], short(cell.explainer), cell.layer, target, finished=finished, status=status)
