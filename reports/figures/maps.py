"""Pictures and the maps of them: a gallery of strips, and explainers or models side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from bench.schema.page import Page, run_labels
from bench.schema.run import STATUSES

from ..contact_strips import Picture, heat_of
from ..filters import percent
from ..payload import picture_of
from .paper import GAP, LINE, MARGIN, SOFT, WRONG, Look, Sheet, fitted, longest, wrapped

PIXELS, LARGE = 128, 224  # a side of one panel, and of one whose picture was kept large
OPACITY = 0.55
NARROWEST, WIDEST = 0.62, 1.15  # inches of a panel
LARGEST = 1.7  # inches of a panel of a grid
ALONE = 1.3  # inches of a panel whose classes stand in a line above it
BAR = 0.32  # inches of the colour bar with its words
WORDS = {"dead": "no\npositive\nvalue", "constant": "same\nvalue\neverywhere", "non-finite": "not\nfinite"}


Map = tuple[int, str]  # index into Page.cells, and the class it speaks for: `predicted` or `true`


# --- strips: a picture with its maps beside it ----------------------------------------------------------------


def gallery(page: Page, places: Sequence[int], maps: Sequence[Map], look: Look) -> Sheet:
    """Pictures of the page's first run, each with its maps at its right and its classes above.

    Args:
        page: holds the pictures and the raw maps.
        places: of the gallery's images, in the order wanted.
        maps: of each; none for pictures alone.
        look: how it looks.
    """
    room, panels = look.inches - 2 * MARGIN, 1 + len(maps)
    least = panels * (NARROWEST + GAP) if maps else ALONE
    across = max(1, min(len(places), int((room + 2 * GAP) / (least + 2 * GAP))))
    across = -(-len(places) // -(-len(places) // across))  # as many in each row
    strip = (room - (across - 1) * 3 * GAP) / across
    panel = min(WIDEST if maps else ALONE, (strip - (panels - 1) * GAP) / panels)
    words = _part_words(page, maps)
    head = max((len(each.split("\n")) for each in words), default=0) * LINE + 2 * GAP
    lines = 1 if maps and strip > 2.6 else 2
    band = lines * LINE + panel + 4 * GAP
    rows = -(-len(places) // across)
    sheet = Sheet(look, MARGIN + head + rows * band + (BAR if maps else 0), _caption(page, places, maps, look))
    for column in range(across):
        for at, each in enumerate(words, 1):
            middle = MARGIN + column * (strip + 3 * GAP) + at * (panel + GAP) + panel / 2
            sheet.text(middle, MARGIN, _each_fitted(each, panel + GAP), color=SOFT, ha="center", linespacing=1.2)
    for number, place in enumerate(places):
        row, column = divmod(number, across)
        left, top = MARGIN + column * (strip + 3 * GAP), MARGIN + head + row * band
        _names(sheet, page, place, left, top, min(strip, panels * (panel + GAP)), lines=lines)
        top += lines * LINE + GAP
        sheet.picture(left, top, panel, _picture(page, place))
        for at, each_map in enumerate(maps, 1):
            sheet.picture(left + at * (panel + GAP), top, panel, _map(page, place, each_map, look.colours))
    if maps:
        _colour_bar(sheet, MARGIN + head + rows * band + GAP, look)
    return sheet


def _names(sheet: Sheet, page: Page, place: int, left: float, top: float, room: float, *, lines: int) -> None:
    """The true and the predicted class of a picture, in one line or two."""
    true, said = page.gallery.true[place], page.gallery.said[0].predicted[place]
    taken = "unknown" if said < 0 else page.classes[said]
    colour = WRONG if said not in (-1, true) else SOFT
    if lines == 2:
        sheet.text(left, top, fitted(f"true: {page.classes[true]}", room))
        sheet.text(left, top + LINE, fitted(f"predicted: {taken}", room), color=colour)
        return
    share = f" ({page.gallery.said[0].probability[place]:.2f})" if said >= 0 else ""
    sheet.text(left, top, fitted(f"true: {page.classes[true]}", room / 2 - GAP))
    sheet.text(left + room / 2, top, fitted(f"predicted: {taken}{share}", room / 2), color=colour)


# --- a grid: rows are explainers or models, columns are images or layers ---------------------------------------


def grid(page: Page, places: Sequence[int], maps: Sequence[Map], look: Look) -> Sheet:
    """Maps side by side: a line for each, a column an image; of one image the columns are the layers.

    Args:
        page: of one run or several.
        places: of the gallery's images, in the order wanted.
        maps: of each image; the words at the left tell them by what they differ in.
        look: how it looks.
    """
    layered = len(places) == 1 and len({page.cells[cell].layer for cell, _ in maps}) > 1
    lines = _lines_of(page, maps, layered=layered)
    several = len({page.cells[cell].run for cell, _ in maps}) > 1
    columns = 1 + len(lines[0][1]) if layered else len(places)
    margin = MARGIN + longest([one for words, _ in lines for one in words.split("\n")], 1.15) + 2 * GAP
    panel = min(LARGEST, (look.inches - margin - MARGIN - (columns - 1) * GAP) / columns)
    below = LINE if several else 0.0  # what each model says of the image
    top = MARGIN + (2 - several) * LINE + GAP
    height = top + (len(lines) + (not layered)) * (panel + GAP) + len(lines) * below + BAR
    sheet = Sheet(look, height, _caption(page, places, maps, look))
    lefts = [margin + column * (panel + GAP) for column in range(columns)]
    for left, place in zip(lefts, places, strict=False):
        _head(sheet, page, place, left, panel + GAP / 2, several=several)
    for left, each in zip(lefts[1:], lines[0][1] if layered else (), strict=False):
        sheet.text(left + panel / 2, top - LINE - GAP, fitted(page.cells[each[0]].layer, panel), ha="center")
    for left, place in zip(lefts, () if layered else places, strict=False):
        sheet.picture(left, top, panel, _picture(page, place))
    top += 0 if layered else panel + GAP
    for words, of_line in lines:
        text = _each_fitted(words, margin - MARGIN - 2 * GAP)
        sheet.text(margin - 2 * GAP, top + panel / 2, text, ha="right", va="center", linespacing=1.2)
        if layered:
            sheet.picture(lefts[0], top, panel, _picture(page, places[0]))
        shown = [(places[0], each) for each in of_line] if layered else [(place, of_line[0]) for place in places]
        for left, (place, each) in zip(lefts[layered:], shown, strict=True):
            sheet.picture(left, top, panel, _map(page, place, each, look.colours))
        for left, place in zip(lefts, places, strict=False) if several else ():
            _said(sheet, page, page.cells[of_line[0][0]].run, place, left, top + panel + 0.02, panel + GAP / 2)
        top += panel + GAP + below
    _colour_bar(sheet, top + GAP, look)
    return sheet


def _lines_of(page: Page, maps: Sequence[Map], *, layered: bool) -> list[tuple[str, list[Map]]]:
    """The lines of a grid with what stands at their left; `layered`: maps that differ in their layer alone are one."""
    groups: dict[tuple[object, ...], list[Map]] = {}
    for cell, role in maps:
        view = page.cells[cell]
        groups.setdefault((view.run, view.explainer, role, "" if layered else view.layer), []).append((cell, role))
    keys = list(groups)
    labels = run_labels(page.runs)
    told = [any(key[part] != keys[0][part] for key in keys) for part in range(4)]
    if not any(told):
        told[1] = True
    lines = []
    for group in groups.values():
        view = page.cells[group[0][0]]
        words = ("\n".join(_broken(labels[view.run])), view.explainer, f"for {group[0][1]}", view.layer)
        lines.append(("\n".join(word for word, shown in zip(words, told, strict=True) if shown), group))
    return lines


def _broken(label: str, room: float = 1.1) -> list[str]:
    """A run's label in lines; names break behind a low line, where they must."""
    return [line.replace("_ ", "_") for line in wrapped(label.replace("_", "_ "), room)]


def _head(sheet: Sheet, page: Page, place: int, left: float, room: float, *, several: bool) -> None:
    true = page.gallery.true[place]
    sheet.text(left, MARGIN, fitted(f"true: {page.classes[true]}", room))
    if not several:
        _said(sheet, page, 0, place, left, MARGIN + LINE, room)


def _said(sheet: Sheet, page: Page, run: int, place: int, left: float, top: float, room: float) -> None:
    said, true = page.gallery.said[run].predicted[place], page.gallery.true[place]
    name = "unknown" if said < 0 else page.classes[said]
    sheet.text(left, top, fitted(f"says: {name}", room), color=WRONG if said not in (-1, true) else SOFT)


# --- panels -----------------------------------------------------------------------------------------------------


def _picture(page: Page, place: int) -> Picture:
    """(side, side, 3) in 0..1, its pixels as squares."""
    side = LARGE if page.gallery.pictures else PIXELS
    shown = picture_of(page.gallery, place).resize((side, side), Image.Resampling.NEAREST)
    return np.asarray(shown) / 255


def _map(page: Page, place: int, which: Map, colours: str) -> Picture | str:
    """A picture with a map over it; words where there is nothing to see in it."""
    maps, picture = page.gallery.maps[which[0]], _picture(page, place)
    found = maps.of(place, which[1])
    status = "not\nmade" if found is None else STATUSES[maps.statuses[found]]
    if found is None or status != "ok":
        return WORDS.get(status, status)
    coloured = heat_of(page, which[0], found, len(picture), colours)
    both: Picture = (1 - OPACITY) * picture + OPACITY * coloured
    return both


def _colour_bar(sheet: Sheet, top: float, look: Look) -> None:
    axes = sheet.axes(MARGIN + 0.04, top, 1.2, 0.07)
    axes.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=look.colours, extent=(0, 1, 0, 1))
    axes.set(yticks=())
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    axes.tick_params(length=2, pad=1)
    axes.spines[:].set_visible(False)
    sheet.text(MARGIN + 1.4, top + 0.035, "of the largest value of each map", va="center", color=SOFT)


# --- words ------------------------------------------------------------------------------------------------------


def _each_fitted(words: str, room: float) -> str:
    return "\n".join(fitted(line, room) for line in words.split("\n"))


def _part_words(page: Page, maps: Sequence[Map]) -> list[str]:
    """What each map of a strip is, in as few lines as tell it from the others."""
    views = [(page.cells[cell].explainer, page.cells[cell].layer, role) for cell, role in maps]
    told = [len({view[part] for view in views}) > 1 for part in range(3)]
    told[1] = True
    return ["\n".join(word for word, shown in zip(view, told, strict=True) if shown) for view in views]


def _caption(page: Page, places: Sequence[int], maps: Sequence[Map], look: Look) -> str:
    """What a figure shows: data, models, explainers, layers, and how maps became colours."""
    shown = list(dict.fromkeys(page.cells[cell].run for cell, _ in maps)) or [0]
    first = page.runs[shown[0]]
    wrong = all(
        any(page.gallery.said[run].predicted[place] != page.gallery.true[place] for run in shown) for place in places
    )
    one = len(places) == 1
    what = f"Test image {page.gallery.ids[places[0]]}" if one else f"{len(places):,} test images"
    models = "; ".join(
        f"{run.model} (run {run.run}, {percent(run.accuracy.value)} of {run.total:,} right)"
        for run in (page.runs[each] for each in shown)
    )
    by = ", by " if not wrong else ", wrongly classified by " + "at least one of " * (len(shown) > 1)
    said = f"{what} of {first.data}{by}{models}."
    if not maps:
        return said
    views = [page.cells[cell] for cell, _ in maps]
    names = ", ".join(dict.fromkeys(view.explainer for view in views))
    layers = ", ".join(dict.fromkeys(f"{view.layer} ({view.height}x{view.width} values)" for view in views))
    roles = " and the ".join(dict.fromkeys(role for _, role in maps))
    finished = " Pictures as the library ships them." if all(view.picture for view in views) else ""
    how = (
        finished or " Values below 0 are left out, each map is divided by its largest value and enlarged to the image."
    )
    return f"{said} Maps of {names} at {layers}, for the {roles} class.{how} Colours: {look.colours}."
