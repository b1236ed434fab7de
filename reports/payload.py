"""The data that a page's gallery carries: raw maps as packed numbers, coloured only in the browser."""

from __future__ import annotations

import json
import math
from array import array
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from bench.contracts import STATUSES
from bench.views import CellView, MapView, Page

from .sprites import EDGE, sprite_sheet
from .views import run_labels

ROLES = ("predicted", "true", "both", "asked")

# Nothing in the data may end the script element or start a comment in it, and the two separators are line ends in
# older scripts.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}

_Row = tuple[int, MapView]  # position in the gallery, map


def gallery_json(page: Page) -> Markup:
    """Pictures, predictions and raw maps of the gallery as one JSON text that is safe inside a script element."""
    payload = {
        "kind": page.kind,
        "classes": page.classes,
        "runs": run_labels(page),
        "edge": EDGE,
        **_items(page),
        "cells": _cells(page),
        "colours": {"sequential": colour_table("viridis"), "diverging": colour_table("RdBu_r")},
    }
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_ESCAPES))  # every character that means something to HTML is escaped


def colour_table(name: str) -> str:
    """256 colours of a matplotlib colour map as base64 of 256 x 3 bytes, RGB."""
    from matplotlib import colormaps

    return b64encode((colormaps[name](range(256), bytes=True)[:, :3]).tobytes()).decode("ascii")


def _items(page: Page) -> dict[str, object]:
    sheet = sprite_sheet([item.pixels for item in page.gallery])
    said = [[item.predictions[run] for item in page.gallery] for run in range(len(page.runs))]
    return {
        "sheet": sheet.uri,
        "columns": sheet.columns,
        "ids": [item.id for item in page.gallery],
        "files": [item.file for item in page.gallery],
        "true": [item.true for item in page.gallery],
        "predicted": [[-1 if p is None else p.predicted for p in run] for run in said],
        "probability": [[0.0 if p is None else _short(p.probability) for p in run] for run in said],
        "trueProbability": [[0.0 if p is None else _short(p.true_probability) for p in run] for run in said],
    }


def _short(value: float) -> float:
    return round(value, 4) if math.isfinite(value) else 0.0


def _cells(page: Page) -> list[dict[str, object]]:
    rows: defaultdict[int, list[_Row]] = defaultdict(list)
    for position, item in enumerate(page.gallery):
        for one in item.maps:
            rows[one.cell].append((position, one))
    return [_cell(cell, rows[index]) for index, cell in enumerate(page.cells)]


def _cell(cell: CellView, rows: Sequence[_Row]) -> dict[str, object]:
    """One cell as columns of numbers: a JSON object per map would cost more than the map."""
    blank = bytes(cell.height * cell.width)
    return {
        "run": cell.run,
        "explainer": cell.explainer,
        "layer": cell.layer,
        "height": cell.height,
        "width": cell.width,
        "picture": cell.picture,
        "item": [position for position, _ in rows],
        "target": [one.target for _, one in rows],
        "role": _base64(bytes(ROLES.index(one.role) for _, one in rows)),
        "status": _base64(bytes(STATUSES.index(one.status) for _, one in rows)),
        "levels": _base64(b"".join(one.levels if len(one.levels) == len(blank) else blank for _, one in rows)),
        "low": _floats(one.low for _, one in rows),
        "high": _floats(one.high for _, one in rows),
    }


def _floats(values: Iterable[float]) -> str:
    """Little-endian float32, the order of every machine a browser runs on."""
    packed = array("f", values)
    if array("H", [1]).tobytes() != b"\x01\x00":
        packed.byteswap()
    return _base64(packed.tobytes())


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
