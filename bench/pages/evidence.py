"""Pictures of what the tests with known answers found: a sticker found and missed, a mosaic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.data.decoding import decode, resized
from bench.errors import StoreError
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
    found = []
    for make in (_of_sticker, _of_mosaic):
        try:
            found.append(make(data, answers, heads))
        except StoreError as error:  # the page does without
            data.doubts.append(error.message)
    return tuple(each for each in found if each is not None)


def _shown(heads: Sequence[TrustLine], *folders: RunFolder) -> list[tuple[TrustLine, tuple[Cell, ...]]]:
    """The best explainer and the first others, each with its cells in these folders, as far as it has them."""
    every = [(one, tuple(_cell(folder, one) for folder in folders)) for one in heads]
    there = [(one, tuple(cell for cell in cells if cell is not None)) for one, cells in every]
    whole = [(one, cells) for one, cells in there if len(cells) == len(folders)]
    best = next((each for each in whole if each[0].advice != "avoid"), None)
    return [*([best] if best else []), *[each for each in whole if each is not best][: MOST - bool(best)]]


def _of_sticker(data: RunFolder, answers: KnownAnswers, heads: Sequence[TrustLine]) -> Evidence | None:
    """The maps of both nets for one image with a sticker, of each explainer."""
    reliant, control = _folder(data, RELIANT), _folder(data, CONTROL)
    shown, samples = _shown(heads, reliant, control), reliant.samples
    if samples is None or not shown or not answers.checks or answers.pixels < 1:
        return None
    cells = [pair for _, pair in shown]
    places = {each: (row, column, edge) for each, row, column, edge in answers.places}
    held = [set(cell.ids.tolist()) for pair in cells for cell in pair]
    common = sorted(set(places).intersection(samples.ids.tolist(), *held))
    if not common:
        return None
    count = len(answers.checks)
    # The picture that tells most: the first explainer finds the sticker where it counts and not where it means nothing,
    # the last one does not; of several the one whose sticker is seen best, which comes first.
    chosen = max(common, key=lambda each: (_tells(cells, each, places[each], answers.pixels), -(each % count)))
    strength = answers.checks[chosen % count].strength
    edge, pixels = _picture(samples.pictures[samples.ids.tolist().index(chosen)])
    row, column, width = (round(each * edge / answers.pixels) for each in places[chosen])
    box = (row, column, width)
    pictures = [EvidencePicture("the picture, its sticker marked", edge, pixels, None, box)]
    for one, pair in shown:
        for cell, words in zip(pair, ("the net relies on it", "it means nothing"), strict=True):
            drawn = _map(cell, chosen, answers.target)
            pictures.append(EvidencePicture(f"{one.explainer} at {one.layer}: {words}", edge, pixels, drawn, box))
    title = f"A sticker of {100 * strength:g} % strength, in a net that relies on it and in one where it means nothing"
    return Evidence("sticker", title, tuple(pictures))


def _tells(cells: Sequence[tuple[Cell, ...]], image: int, box: tuple[int, int, int], pixels: int) -> int:
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


def _of_mosaic(data: RunFolder, answers: KnownAnswers, heads: Sequence[TrustLine]) -> Evidence | None:
    """The maps of one mosaic for the class of its first image."""
    folder = _folder(data, MOSAICS)
    samples, classes = folder.samples, data.record.data.classes
    shown = [(one, cells[0]) for one, cells in _shown(heads, folder) if 0 in cells[0].ids]
    row = samples.ids.tolist().index(0) if samples is not None and 0 in samples.ids else -1
    if samples is None or not shown or row < 0 or samples.labels[row] >= len(classes):
        return None
    name = classes[int(samples.labels[row])]
    edge, pixels = _picture(samples.pictures[row])
    pictures = [EvidencePicture(f"four pictures; {name} is top left", edge, pixels, None)]
    for one, cell in shown:
        words = f"{one.explainer} at {one.layer}, for {name}"
        pictures.append(EvidencePicture(words, edge, pixels, _map(cell, 0, name)))
    return Evidence("mosaic", f"Four pictures in one, and the maps for {name}, which is top left", tuple(pictures))


def _folder(data: RunFolder, name: str) -> RunFolder:
    return RunFolder(known_answers_path(data.path) / name)


def _cell(folder: RunFolder, one: TrustLine) -> Cell | None:
    every = (cell for cell in folder.readable_cells() if cell.layer == one.layer)
    return next((cell for cell in every if short(cell.explainer) == one.explainer), None)


def _picture(picture: Any) -> tuple[int, bytes]:  # noqa: ANN401 (an array, or a JPEG file)
    """Edge and pixels of a picture as a page carries it."""
    if isinstance(picture, bytes):
        try:
            return EDGE, decode(picture, EDGE).pixels.transpose(1, 2, 0).tobytes()
        except Exception:  # a damaged file of a run from elsewhere
            return EDGE, bytes(EDGE * EDGE * 3)
    edge = min(EDGE, max(picture.shape[:2]))
    return edge, resized(picture.transpose(2, 0, 1), edge).transpose(1, 2, 0).tobytes()


def _map(cell: Cell, image: int, target: str) -> PictureMap:
    """The map of an image, which has one class here."""
    row = cell.ids.tolist().index(image)
    status: Any = STATUSES[int(cell.status[row])]
    finished = cell.output == "picture"
    return picture_map(cell.raw[row], short(cell.explainer), cell.layer, target, finished=finished, status=status)
