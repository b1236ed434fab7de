"""The data that a page's gallery carries: an index of all images, and shards of pictures and raw maps as numbers."""

import json
import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from PIL import Image

from bench.schema.gallery import ROLES, CellMaps, Gallery, Said
from bench.schema.page import CellView, Page, run_labels
from bench.schema.run import STATUSES

from .columns import explainers_of, layers_of, lead_of

SHARD = 512  # images a shard: what is read at once when one of them is looked at
Values = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

MAPS = {"viridis": "viridis", "cividis": "cividis", "grey": "gray", "diverging": "RdBu_r"}  # ours, matplotlib's

# Nothing in the data may end the script element or start a comment in it, and the two separators are line ends in
# older scripts.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}

COLUMNS = 32  # pictures a row
FEW = 64  # images a shard where each picture is a file


@dataclass(frozen=True)
class Shard:
    """Pictures and raw maps of some images, in the order of the gallery.

    Attributes:
        first: place of its first image.
        sheet: a WebP sprite sheet of all pictures; empty where each is a file.
        pictures: JPEG files of large pictures.
    """

    first: int
    sheet: bytes
    pictures: tuple[bytes, ...]
    cells: tuple[dict[str, object], ...]
    tops: dict[str, object]


def index_of(page: Page) -> dict[str, object]:
    """What filters, sorts and counts need of every image, and what is said of cells as a whole."""
    gallery = page.gallery
    return {
        "kind": page.kind,
        "classes": page.classes,
        "runs": run_labels(page.runs),
        "names": [run.run for run in page.runs],
        "edge": gallery.edge,
        "columns": 0 if gallery.pictures else COLUMNS,  # of one sheet
        "perShard": per_shard(gallery),
        "ids": gallery.ids,
        "files": gallery.files,
        "true": gallery.true,
        "predicted": [said.predicted for said in gallery.said],
        "probability": [_floats(said.probability) for said in gallery.said],
        "trueProbability": [_floats(said.true_probability) for said in gallery.said],
        "margin": [_floats(_margins(said)) for said in gallery.said],
        "disagreement": _floats(math.nan if each is None else each for each in gallery.disagreement),
        "explainers": explainers_of(page),
        "layers": layers_of(page.cells),
        "lead": lead_of(page),
        "cells": [_cell_facts(cell, maps) for cell, maps in zip(page.cells, gallery.maps, strict=True)],
        "colours": {ours: colour_table(theirs) for ours, theirs in MAPS.items()},
    }


def shards_of(page: Page) -> list[Shard]:
    """The images of a page in shards, made side by side: to encode their pictures takes longest, and holds no lock."""
    count, most = len(page.gallery.ids), per_shard(page.gallery)
    starts = range(0, count, most)
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda start: _shard(page, start, min(start + most, count)), starts))


def per_shard(gallery: Gallery) -> int:
    """How many images a shard holds."""
    return FEW if gallery.pictures else SHARD


def _shard(page: Page, start: int, stop: int) -> Shard:
    """The images from `start` to before `stop`."""
    gallery = page.gallery
    pictures = [gallery.picture(place) for place in range(start, stop)]
    sheet = b"" if gallery.pictures else sprite_sheet(pictures, gallery.edge)
    cells = tuple(_cell(cell, maps, start, stop) for cell, maps in zip(page.cells, gallery.maps, strict=True))
    return Shard(start, sheet, gallery.pictures[start:stop], cells, _tops(gallery, start, stop))


def shard_json(shard: Shard, asset: Callable[[str, bytes], str]) -> Markup:
    """A shard as JSON; `asset` takes a file's name and content and says where it is."""
    pictures = [asset(f"picture-{k:05}.jpg", content) for k, content in enumerate(shard.pictures, shard.first)]
    if shard.sheet:
        pictures = [asset(f"sheet-{shard.first // SHARD:03}.webp", shard.sheet)]
    return as_json({"pictures": pictures, "cells": shard.cells, **shard.tops})


def as_json(value: object) -> Markup:
    """JSON that is safe inside a script element: every character that means something to HTML is escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_ESCAPES))


def colour_table(name: str) -> str:
    """256 colours of a matplotlib colour map as base64 of 256 x 3 bytes, RGB."""
    return _base64((colormaps[name](range(256), bytes=True)[:, :3]).tobytes())


def _margins(said: Said) -> Iterator[float]:
    """How far the most probable class of each image is ahead of the next one."""
    for shares, sure, true in zip(said.top_shares, said.probability, said.true_probability, strict=True):
        yield shares[0] - shares[1] if len(shares) > 1 else sure - true


def _tops(gallery: Gallery, start: int, stop: int) -> dict[str, object]:
    """The `most` likeliest classes of each run and image of a shard, and their probabilities in 1/65535."""
    classes = [said.top_classes[start:stop] for said in gallery.said]
    shares = [said.top_shares[start:stop] for said in gallery.said]
    most = max((len(top) for run in classes for top in run), default=0)
    return {
        "most": most,
        "topClass": [_words(k for top in run for k in (*top, *(65535,) * (most - len(top)))) for run in classes],
        "topShare": [
            _words(round(65535 * share) for top in run for share in (*top, *(0.0,) * (most - len(top))))
            for run in shares
        ],
    }


def _cell_facts(cell: CellView, maps: CellMaps) -> dict[str, object]:
    """Where a cell belongs, and its largest values: the scales that all its maps share."""
    return {
        "run": cell.run,
        "explainer": cell.explainer,
        "layer": cell.layer,
        "height": cell.height,
        "width": cell.width,
        "picture": cell.picture,
        "top": max(maps.high, default=0.0),
        "magnitude": max(map(abs, (*maps.low, *maps.high)), default=0.0),
        "difference": _largest_difference(maps),
    }


def _largest_difference(maps: CellMaps) -> float:
    """The largest |predicted - true| of a cell."""
    usable = np.frombuffer(maps.statuses, np.uint8) != STATUSES.index("non-finite")
    roles, items = np.frombuffer(maps.roles, np.uint8), np.array(maps.items, dtype=np.int64)
    first, second = (np.flatnonzero(usable & (roles == ROLES.index(role))) for role in ("predicted", "true"))
    _, here, there = np.intersect1d(items[first], items[second], return_indices=True)
    if not len(here):
        return 0.0
    gap = _values(maps, first[here]) - _values(maps, second[there])
    return float(np.abs(gap).max(initial=0.0))


def _values(maps: CellMaps, rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Values:
    """(N, height * width) raw values of some maps."""
    low, high = (np.array(ends)[rows, None] for ends in (maps.low, maps.high))
    levels = np.frombuffer(maps.levels, np.uint8).reshape(len(maps.items), -1)[rows]
    return np.asarray(low + levels / 255 * (high - low))


def _cell(cell: CellView, maps: CellMaps, start: int, stop: int) -> dict[str, object]:
    """The maps of one cell in a shard, as columns of numbers: a JSON object per map would cost more than the map."""
    places, size = maps.places(start, stop), cell.height * cell.width
    rows = slice(places.start, places.stop)
    return {
        "item": _words(item - start for item in maps.items[rows]),
        "target": maps.targets[rows],
        "role": _base64(maps.roles[rows]),
        "status": _base64(maps.statuses[rows]),
        "levels": _base64(maps.levels[rows.start * size : rows.stop * size]),
        "low": _floats(maps.low[rows]),
        "high": _floats(maps.high[rows]),
    }


def _floats(values: Iterable[float]) -> str:
    """Little-endian float32, the order of every machine a browser runs on."""
    return _base64(np.fromiter(values, "<f4").tobytes())


def _words(values: Iterable[int]) -> str:
    """Little-endian uint16."""
    return _base64(np.fromiter(values, "<u2").tobytes())


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def picture_of(gallery: Gallery, place: int) -> Image.Image:
    """One image, as the page shows it; grey where its file cannot be decoded."""
    content, edge = gallery.picture(place), gallery.edge
    if not gallery.pictures:
        return Image.frombytes("RGB", (edge, edge), content)
    try:
        with Image.open(BytesIO(content), formats=("JPEG",)) as image:
            return image.convert("RGB").resize((edge, edge))
    except Exception:  # a damaged file of a run from elsewhere
        return Image.new("RGB", (edge, edge), "grey")


def sprite_sheet(pictures: Sequence[bytes], edge: int) -> bytes:
    """One lossless WebP image of all pictures, COLUMNS a row, each edge x edge.

    Args:
        pictures: 1 to 8,000 times edge * edge * 3 bytes, RGB, row by row.

    Raises:
        ValueError: a picture has another number of bytes.
    """
    sheet = Image.new("RGB", (edge * min(COLUMNS, len(pictures)), edge * -(-len(pictures) // COLUMNS)))
    for position, pixels in enumerate(pictures):
        row, column = divmod(position, COLUMNS)
        sheet.paste(Image.frombytes("RGB", (edge, edge), pixels), (edge * column, edge * row))
    return webp(sheet, lossless=True)


def webp(image: Image.Image, *, lossless: bool) -> bytes:
    """An image as a WebP file; the same image gives the same bytes."""
    file = BytesIO()
    image.save(file, "WEBP", lossless=lossless, quality=60 if lossless else 82, method=4)
    return file.getvalue()
