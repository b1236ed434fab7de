"""The data that a page's gallery carries: an index of all images, and shards of pictures and raw maps as numbers."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from markupsafe import Markup
from PIL import Image

from bench.schema.page import CellView, GalleryItem, MapView, Page, Prediction, run_labels
from bench.schema.run import STATUSES

ROLES = ("predicted", "true", "both", "asked")
SHARD = 512  # images a shard: what is read at once when one of them is looked at
MAPS = {"viridis": "viridis", "cividis": "cividis", "grey": "gray", "diverging": "RdBu_r"}  # ours, matplotlib's

# Nothing in the data may end the script element or start a comment in it, and the two separators are line ends in
# older scripts.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}

_Row = tuple[int, MapView]  # position in the shard, map
EDGE = 32  # pixels a side of one picture
COLUMNS = 32  # pictures a row


@dataclass(frozen=True)
class Shard:
    """Pictures (a WebP sprite sheet) and raw maps of up to SHARD images, in the order of the gallery."""

    sheet: bytes
    cells: tuple[dict[str, object], ...]
    tops: dict[str, object]


def index_of(page: Page) -> dict[str, object]:
    """What filters, sorts and counts need of every image, and what is said of cells as a whole."""
    items = page.gallery
    said = [[item.predictions[run] for item in items] for run in range(len(page.runs))]
    rows = _by_cell(items)
    return {
        "kind": page.kind,
        "classes": page.classes,
        "runs": run_labels(page.runs),
        "names": [run.run for run in page.runs],
        "edge": EDGE,
        "columns": COLUMNS,
        "perShard": SHARD,
        "ids": [item.id for item in items],
        "files": [item.file for item in items],
        "true": [item.true for item in items],
        "predicted": [[-1 if p is None else p.predicted for p in run] for run in said],
        "probability": [_floats(0.0 if p is None else p.probability for p in run) for run in said],
        "trueProbability": [_floats(0.0 if p is None else p.true_probability for p in run) for run in said],
        "margin": [_floats(0.0 if p is None else _margin(p) for p in run) for run in said],
        "disagreement": _floats(math.nan if item.disagreement is None else item.disagreement for item in items),
        "cells": [_cell_facts(cell, rows.get(index, [])) for index, cell in enumerate(page.cells)],
        "colours": {ours: colour_table(theirs) for ours, theirs in MAPS.items()},
    }


def shards_of(page: Page) -> list[Shard]:
    """The images of a page in shards."""
    parts = [page.gallery[start : start + SHARD] for start in range(0, len(page.gallery), SHARD)]
    return [
        Shard(sprite_sheet([item.pixels for item in part]), _cells(page, part), _tops(page, part)) for part in parts
    ]


def shard_json(shard: Shard, sheet: str) -> Markup:
    """A shard as JSON; `sheet` is where its pictures are."""
    return as_json({"sheet": sheet, "cells": shard.cells, **shard.tops})


def as_json(value: object) -> Markup:
    """JSON that is safe inside a script element: every character that means something to HTML is escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_ESCAPES))


def colour_table(name: str) -> str:
    """256 colours of a matplotlib colour map as base64 of 256 x 3 bytes, RGB."""
    from matplotlib import colormaps

    return _base64((colormaps[name](range(256), bytes=True)[:, :3]).tobytes())


def _margin(said: Prediction) -> float:
    """How far the most probable class is ahead of the next one."""
    return said.top[0][1] - said.top[1][1] if len(said.top) > 1 else said.probability - said.true_probability


def _tops(page: Page, part: Sequence[GalleryItem]) -> dict[str, object]:
    """The `most` likeliest classes of each run and image of a shard, and their probabilities in 1/65535."""
    most = max((len(p.top) for item in part for p in item.predictions if p is not None), default=0)
    classes, shares = [], []
    for run in range(len(page.runs)):
        said = [item.predictions[run] for item in part]
        tops = [((p.top if p is not None else ()) + ((65535, 0.0),) * most)[:most] for p in said]
        classes.append(_words(k for top in tops for k, _ in top))
        shares.append(_words(round(65535 * share) for top in tops for _, share in top))
    return {"most": most, "topClass": classes, "topShare": shares}


def _cell_facts(cell: CellView, rows: Sequence[_Row]) -> dict[str, object]:
    """Where a cell belongs, and its largest values: the scales that all its maps share."""
    return {
        "run": cell.run,
        "explainer": cell.explainer,
        "layer": cell.layer,
        "height": cell.height,
        "width": cell.width,
        "picture": cell.picture,
        "top": max((one.high for _, one in rows), default=0.0),
        "magnitude": max((max(abs(one.low), abs(one.high)) for _, one in rows), default=0.0),
        "difference": _largest_difference(rows),
    }


def _largest_difference(rows: Sequence[_Row]) -> float:
    """The largest |predicted - true| of a cell."""
    usable = [(place, one) for place, one in rows if one.status != "non-finite"]
    predicted = {place: one for place, one in usable if one.role == "predicted"}
    true = {place: one for place, one in usable if one.role == "true"}
    both = sorted(predicted.keys() & true.keys())
    if not both:
        return 0.0
    gap = _values([predicted[place] for place in both]) - _values([true[place] for place in both])
    return float(np.abs(gap).max(initial=0.0))


def _values(maps: Sequence[MapView]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """(N, cells) raw values."""
    low, high = (np.array([[getattr(one, end)] for one in maps]) for end in ("low", "high"))
    levels = np.frombuffer(b"".join(one.levels for one in maps), np.uint8).reshape(len(maps), -1)
    return np.asarray(low + levels / 255 * (high - low))


def _by_cell(part: Sequence[GalleryItem]) -> dict[int, list[_Row]]:
    rows: defaultdict[int, list[_Row]] = defaultdict(list)
    for position, item in enumerate(part):
        for one in item.maps:
            rows[one.cell].append((position, one))
    return rows


def _cells(page: Page, part: Sequence[GalleryItem]) -> tuple[dict[str, object], ...]:
    rows = _by_cell(part)
    return tuple(_cell(cell, rows.get(index, [])) for index, cell in enumerate(page.cells))


def _cell(cell: CellView, rows: Sequence[_Row]) -> dict[str, object]:
    """One cell as columns of numbers: a JSON object per map would cost more than the map."""
    blank = bytes(cell.height * cell.width)
    return {
        "item": _words(position for position, _ in rows),
        "target": [one.target for _, one in rows],
        "role": _base64(bytes(ROLES.index(one.role) for _, one in rows)),
        "status": _base64(bytes(STATUSES.index(one.status) for _, one in rows)),
        "levels": _base64(b"".join(one.levels if len(one.levels) == len(blank) else blank for _, one in rows)),
        "low": _floats(one.low for _, one in rows),
        "high": _floats(one.high for _, one in rows),
    }


def _floats(values: Iterable[float]) -> str:
    """Little-endian float32, the order of every machine a browser runs on."""
    return _base64(np.fromiter(values, "<f4").tobytes())


def _words(values: Iterable[int]) -> str:
    """Little-endian uint16."""
    return _base64(np.fromiter(values, "<u2").tobytes())


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def sprite_sheet(pictures: Sequence[bytes]) -> bytes:
    """One lossless WebP image of all pictures, COLUMNS a row, each EDGE x EDGE.

    Args:
        pictures: 1 to 16,000 times EDGE * EDGE * 3 bytes, RGB, row by row.

    Raises:
        ValueError: a picture has another number of bytes.
    """
    sheet = Image.new("RGB", (EDGE * min(COLUMNS, len(pictures)), EDGE * -(-len(pictures) // COLUMNS)))
    for position, pixels in enumerate(pictures):
        row, column = divmod(position, COLUMNS)
        sheet.paste(Image.frombytes("RGB", (EDGE, EDGE), pixels), (EDGE * column, EDGE * row))
    return webp(sheet, lossless=True)


def webp(image: Image.Image, *, lossless: bool) -> bytes:
    """An image as a WebP file; the same image gives the same bytes."""
    file = BytesIO()
    image.save(file, "WEBP", lossless=lossless, quality=60 if lossless else 82, method=4)
    return file.getvalue()
