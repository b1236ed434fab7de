"""The gallery as a figure for print: pictures with their classes, maps of one explainer beneath."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from bench.errors import UsageError
from bench.schema.page import Page
from bench.schema.run import STATUSES
from bench.whole_file import replacing

from .contact_strips import Picture, heat_of
from .filters import one_line
from .payload import picture_of

_PIXELS, _LARGE = 128, 224  # a side of one panel, and of one whose picture was kept large
_OPACITY = 0.55
_COLUMNS = 8  # most pictures side by side
_FORMATS = (".png", ".pdf")
_WORDS = {"dead": "no positive\nvalue", "constant": "same value\neverywhere", "non-finite": "not finite"}

# Inches: eight pictures make a figure of seven inches, the width of a page.
_PANEL, _GAP, _MARGIN, _CAPTION, _LABEL, _BAR = 0.78, 0.04, 0.05, 0.22, 0.58, 0.34

_Choice = Literal["predicted", "true", "both"]


_Row = tuple[int, str, str]  # a line of maps: which cell, which role, and the words at its left


def gallery_figure(
    page: Page,
    path: Path,
    *,
    ids: Sequence[int] | None,
    count: int = 20,
    layers: Sequence[str],
    explainer: str,
    role: _Choice,
    captions: bool = True,
) -> tuple[int, ...]:
    """Draws pictures with their true and predicted class and, beneath, one map per layer and role.

    The first run of the page is drawn. The same arguments give the same bytes.

    Args:
        page: holds the images and the raw maps.
        path: where to write; .png at 300 dpi or .pdf with its text as text.
        ids: test ids in the order wanted; None takes the first `count` of the gallery.
        count: most images without `ids`.
        layers: one line of maps each.
        explainer: whose maps.
        role: the class the maps speak for; `both` draws two lines a layer.
        captions: write "true: cat, predicted: dog" above each picture.

    Returns:
        The ids that were drawn.

    Raises:
        UsageError: another suffix, an id, a layer or an explainer that the page does not hold, or no image at all.
    """
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"a figure ends in .png or .pdf, not {path.name!r}", try_=f"--figure {path.stem}.pdf")
    places = _places(page, ids, count)
    rows = list(_rows(page, layers, explainer, role))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # what the font lacks is drawn as a box
        _save(_draw(page, places, rows, captions), path)
    return tuple(page.gallery.ids[place] for place in places)


def _places(page: Page, ids: Sequence[int] | None, count: int) -> Sequence[int]:
    held = {each: place for place, each in enumerate(page.gallery.ids)}
    missing = [one for one in ids or () if one not in held]
    if missing:
        raise UsageError(
            f"no explained image has the id {missing[0]}",
            try_=f"one of {', '.join(map(str, list(held)[:8]))}" if held else "bench explain",
        )
    places = range(max(0, min(count, len(held)))) if ids is None else [held[one] for one in ids]
    if not places:
        raise UsageError("there is no explained image to draw", try_="bench explain")
    return places


def _rows(page: Page, layers: Sequence[str], explainer: str, role: _Choice) -> Iterator[_Row]:
    cells = {(cell.explainer, cell.layer): k for k, cell in enumerate(page.cells) if cell.run == 0}
    for layer in layers:
        if (explainer, layer) not in cells:
            has = ", ".join(f"{e} at {one}" for e, one in cells) or "no maps at all"
            raise UsageError(
                f"the run holds no maps of {explainer} at {layer}; it has {has}",
                try_=f"bench explain --explainer {explainer} --layer {layer}",
            )
        for one in ("predicted", "true") if role == "both" else (role,):
            yield cells[explainer, layer], one, f"{layer}\n{one}"


def _draw(page: Page, places: Sequence[int], rows: Sequence[_Row], captions: bool) -> Figure:
    """Bands of up to eight pictures with their maps, a colour bar at the foot; sizes in inches."""
    bands = -(-len(places) // _COLUMNS)
    columns = -(-len(places) // bands)
    head = _CAPTION if captions else 0.0
    band = head + (1 + len(rows)) * (_PANEL + _GAP) + 3 * _GAP
    width = 2 * _MARGIN + _LABEL + columns * (_PANEL + _GAP)
    height = 2 * _MARGIN + bands * band + (_BAR if rows else 0.0)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)

    def panel(column: int, top: float) -> Axes:
        left = _MARGIN + _LABEL + column * (_PANEL + _GAP)
        box = (left / width, (height - top - _PANEL) / height, _PANEL / width, _PANEL / height)
        axes = figure.add_axes(box)
        axes.set_axis_off()
        return axes

    for k, place in enumerate(places):
        top = _MARGIN + (k // columns) * band + head
        found = picture_of(page.gallery, place)
        side = _LARGE if page.gallery.pictures else _PIXELS
        picture = np.asarray(found.resize((side, side), Image.Resampling.NEAREST)) / 255  # pixels stay squares
        axes = panel(k % columns, top)
        axes.imshow(picture, interpolation="nearest")
        if captions:
            _caption(axes, page, place)
        for line, (cell, role, words) in enumerate(rows, 1):
            axes = panel(k % columns, top + line * (_PANEL + _GAP))
            _map(axes, page, place, cell, role, picture)
            if k % columns == 0:
                axes.text(-0.08, 0.5, words, transform=axes.transAxes, ha="right", va="center", **_type(5.5))
    if rows:
        _colour_bar(figure, width, height)
    return figure


def _type(size: float, colour: str = "black") -> dict[str, Any]:
    """How text is set: never as mathematics, since names may hold dollar signs."""
    return {"fontsize": size, "color": colour, "parse_math": False, "linespacing": 1.15}


def _caption(axes: Axes, page: Page, place: int) -> None:
    true, said = page.gallery.true[place], page.gallery.said[0].predicted[place]
    _fitted(axes, 0.17, "true: ", page.classes[true], "black")
    predicted = page.classes[said] if said >= 0 else "unknown"
    _fitted(axes, 0.05, "predicted: ", predicted, "black" if said in (-1, true) else "#a3372a")


def _fitted(axes: Axes, above: float, head: str, name: str, colour: str) -> None:
    """One line `above` inches over a panel; the name is cut until the line is no wider than the panel."""
    name = one_line(name)[:40]
    text = axes.text(0.5, 1 + above / _PANEL, head + name, transform=axes.transAxes, ha="center", **_type(5, colour))
    room = axes.bbox.width * (1 + _GAP / 2 / _PANEL)
    while name and text.get_window_extent().width > room:
        name = name[:-1]
        text.set_text(f"{head}{name.rstrip()}…")


def _map(axes: Axes, page: Page, place: int, cell: int, role: str, picture: Picture) -> None:
    maps = page.gallery.maps[cell]
    found = maps.of(place, role)
    status = "missing" if found is None else STATUSES[maps.statuses[found]]
    if found is None or status != "ok":
        axes.set_axis_on()
        axes.set(xticks=(), yticks=())
        axes.spines[:].set(color="0.7", linewidth=0.4, linestyle=(0, (3, 2)))
        words = _WORDS.get(status, status)
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", **_type(4.5, "0.35"))
        return
    coloured = heat_of(page, cell, found, len(picture))
    axes.imshow((1 - _OPACITY) * picture + _OPACITY * coloured, interpolation="nearest", vmin=0, vmax=1)


def _colour_bar(figure: Figure, width: float, height: float) -> None:
    left = _MARGIN + _LABEL
    length = min(1.6, width - left - _MARGIN)
    axes = figure.add_axes((left / width, (_MARGIN + 0.17) / height, length / width, 0.07 / height))
    axes.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap="viridis", extent=(0, 1, 0, 1))
    axes.set(yticks=())
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    axes.tick_params(labelsize=5, width=0.4, length=2, pad=1)
    axes.spines[:].set(linewidth=0.4)
    words = "× largest value of each map"
    fits = width - left - length > 1.4
    place = (1.06, 0.5, "left", "center") if fits else (0.5, 1.5, "center", "bottom")
    axes.text(*place[:2], words, transform=axes.transAxes, ha=place[2], va=place[3], **_type(5.5))


def _save(figure: Figure, path: Path, dpi: int = 300) -> None:
    # Without dates and versions the same figure has the same bytes.
    metadata = {"Software": None} if path.suffix.lower() == ".png" else {"CreationDate": None, "Producer": None}
    with rc_context({"pdf.fonttype": 42}), replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=dpi, metadata=metadata)


def rate_figure(path: Path, rates: Sequence[float], losses: Sequence[float], suggestion: float, title: str) -> None:
    """Draw the smoothed loss over the learning rate, with the suggestion marked.

    Args:
        path: .png or .pdf.
        rates, losses: the curve; losses in nats.
        title: shown as it is.

    Raises:
        UsageError: another kind of file.
    """
    if path.suffix not in _FORMATS:
        raise UsageError(f"cannot draw a '{path.suffix}' file", try_="--out curve.png or --out curve.pdf")
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(rates, losses, color="#0b6b74", linewidth=1.6)
    axes.axvline(suggestion, color="#8a5a00", linewidth=1, linestyle="--")
    axes.annotate(f"falls fastest at {suggestion:.1e}", (suggestion, max(losses)), xytext=(-4, -2), ha="right",
                  textcoords="offset points", fontsize=8, color="#8a5a00")  # fmt: skip
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss, nats")
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    _save(figure, path, dpi=200)
