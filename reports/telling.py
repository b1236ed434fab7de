"""The errors that tell most, for the first screen: each with its maps side by side and a reason that was computed."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bench.schema.page import CellView, Page, run_labels
from bench.schema.run import STATUSES

from .columns import layers_of, lead_of
from .contact_strips import OPACITY, heat_of
from .payload import picture_of, webp

MOST = 6  # errors
MAPS = 3  # beside the picture
SIDE = 112  # pixels an edge of a drawing
RIGHT = ("same", "same up to rounding")


@dataclass(frozen=True)
class Tile:
    """A drawing of a card.

    Attributes:
        label: the run, the explainer or the layer.
        said: what the run took the image for, with its probability; empty where the card says it once.
        right: whether the run was right; None where nothing is said.
        wrong_map: whether the judge found the map wrong.
        alt: all of it, for whoever does not see it.
    """

    image: bytes
    label: str
    said: str
    right: bool | None
    alt: str
    wrong_map: bool = False


@dataclass(frozen=True)
class Telling:
    """An error of the first screen, by its place in the gallery."""

    place: int
    reason: str
    true: str
    taken: tuple[str, ...]
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Choice:
    """An error that was chosen; `cells` are shown where the reason is about their maps."""

    place: int
    reason: str
    cells: tuple[int, ...] = ()


def telling_errors(page: Page) -> tuple[Telling, ...]:
    """Up to MOST errors of a page's gallery, each chosen for another reason as far as there are reasons."""
    return tuple(_card(page, each) for each in chosen(page))


def chosen(page: Page) -> list[Choice]:
    """The errors without their drawings: reason by reason the first of its ranking that was not taken yet."""
    errors = [place for place in range(len(page.gallery.ids)) if _wrong(page, place)]
    found: list[Choice] = []
    for choices in _reasons(page, errors):
        one = next((each for each in choices if each.place not in {other.place for other in found}), None)
        found += [one] if one else []
    return [*found, *_rest(page, errors, found)][:MOST]


def _reasons(page: Page, errors: list[int]) -> list[Iterator[Choice]]:
    own = _of_several(page, errors) if len(page.runs) > 1 else _of_one(page, errors)
    return [*own[:2], _wrong_maps(page, errors), *own[2:], _apart(page, errors)]


def _of_several(page: Page, errors: list[int]) -> list[Iterator[Choice]]:
    labels, every = run_labels(page.runs), range(len(page.runs))
    both = "both" if len(page.runs) == 2 else "all"
    alike = [place for place in errors if len(_wrong(page, place)) == len(every) and len(_answers(page, place)) == 1]
    differ = [place for place in errors if len(_answers(page, place)) > 1]
    reasons = [
        _ranked(alike, lambda place: _least(page, place), f"{both} wrong alike, most sure"),
        _ranked(differ, lambda place: len(_answers(page, place)) + _least(page, place), "the runs differ most"),
    ]
    for run in every:
        alone = [place for place in errors if _wrong(page, place) == [run]]
        reasons.append(_ranked(alone, lambda place, run=run: _sure(page, place, run), f"only {labels[run]} wrong"))  # type: ignore[misc]
    return reasons


def _of_one(page: Page, errors: list[int]) -> list[Iterator[Choice]]:
    gallery = page.gallery
    pairs = Counter(_pair(page, place) for place in errors)
    often = [place for place in errors if pairs and _pair(page, place) == pairs.most_common(1)[0][0]]
    common = f"the most frequent error here: {len(often)} times"
    return [
        _ranked(errors, lambda place: _sure(page, place, 0), "most sure, and wrong"),
        _ranked(often if len(often) > 1 else [], lambda place: _sure(page, place, 0), common),
        _ranked(errors, lambda place: gallery.said[0].true_probability[place], "nearly right"),
    ]


def _ranked(places: Sequence[int], key: Callable[[int], float], reason: str) -> Iterator[Choice]:
    """The largest first; of equals the first of the gallery."""
    return (Choice(place, reason) for place in sorted(places, key=lambda place: -key(place)))


def _apart(page: Page, errors: list[int]) -> Iterator[Choice]:
    """Images whose maps by several explainers differ most, at the layer of the page."""
    apart = page.gallery.disagreement
    known = [place for place in errors if apart[place] is not None and apart[place] > 0.05]  # type: ignore[operator]
    _, layer = lead_of(page)
    for place in sorted(known, key=lambda place: -(apart[place] or 0.0)):
        run = _wrong(page, place)[0]
        cells = [
            k for k, cell in enumerate(page.cells)
            if (cell.run, cell.layer) == (run, layer) and _usable(page, k, place) is not None
        ]  # fmt: skip
        if len(cells) > 1:
            yield Choice(place, "the explainers differ most", tuple(cells))


def _wrong_maps(page: Page, errors: list[int]) -> Iterator[Choice]:
    """Images with a map that the judge found wrong, beside one of the same layer that is right."""
    verdicts = {(one.run, one.verdict.explainer, one.verdict.layer): one.verdict.verdict for one in page.verdicts}
    said = [verdicts.get((cell.run, cell.explainer, cell.layer), "") for cell in page.cells]
    for bad, cell in enumerate(page.cells):
        if said[bad] != "wrong":
            continue
        good = [
            k for k, other in enumerate(page.cells)
            if (other.run, other.layer) == (cell.run, cell.layer) and said[k] in RIGHT
        ]  # fmt: skip
        for place in errors:
            if good and all(_usable(page, k, place) is not None for k in (bad, good[0])):
                yield Choice(place, f"{cell.explainer} is wrong at {cell.layer}", (good[0], bad))


def _rest(page: Page, errors: list[int], found: Sequence[Choice]) -> Iterator[Choice]:
    """The next surest errors, other pairs of classes first."""
    taken, pairs = {each.place for each in found}, {_pair(page, each.place) for each in found}
    left = [place for place in errors if place not in taken]
    order = sorted(left, key=lambda place: (_pair(page, place) in pairs, -max(_sures(page, place))))
    for place in order:
        yield Choice(place, "also sure, and wrong")


# --- what the runs say ---------------------------------------------------------------------------------------


def _wrong(page: Page, place: int) -> list[int]:
    """The runs that took an image for another class."""
    true = page.gallery.true[place]
    return [run for run, said in enumerate(page.gallery.said) if said.predicted[place] not in (-1, true)]


def _answers(page: Page, place: int) -> set[int]:
    return {said.predicted[place] for said in page.gallery.said if said.predicted[place] >= 0}


def _sure(page: Page, place: int, run: int) -> float:
    return page.gallery.said[run].probability[place]


def _sures(page: Page, place: int) -> list[float]:
    return [_sure(page, place, run) for run in _wrong(page, place)]


def _least(page: Page, place: int) -> float:
    return min(said.probability[place] for said in page.gallery.said if said.predicted[place] >= 0)


def _pair(page: Page, place: int) -> tuple[int, int]:
    return page.gallery.true[place], page.gallery.said[_wrong(page, place)[0]].predicted[place]


# --- cards ---------------------------------------------------------------------------------------------------


def _card(page: Page, choice: Choice) -> Telling:
    gallery, place = page.gallery, choice.place
    wrong = [gallery.said[run].predicted[place] for run in _wrong(page, place)]
    picture = picture_of(gallery, place).resize((SIDE, SIDE))
    first = Tile(webp(picture, lossless=False), "picture", "", None, f"test image {gallery.ids[place]}")
    maps = [_tile(page, place, cell, picture, about=bool(choice.cells)) for cell in _cells(page, choice)]
    return Telling(
        place,
        choice.reason,
        page.classes[gallery.true[place]],
        tuple(page.classes[k] for k in dict.fromkeys(wrong)),
        (first, *maps),
    )


def _cells(page: Page, choice: Choice) -> list[int]:
    """Which cells a card shows: those that its reason names, else a map of each run, or of each layer of one run."""
    if choice.cells:
        return list(choice.cells)[:MAPS]
    explainer, layer = lead_of(page)
    usable = [k for k in range(len(page.cells)) if _usable(page, k, choice.place) is not None]
    if len(page.runs) == 1:
        shown = [k for k in usable if page.cells[k].explainer == explainer]
        layers = layers_of(page.cells)
        return sorted(shown, key=lambda k: layers.index(page.cells[k].layer))[-MAPS:]
    wrong = _wrong(page, choice.place)
    runs = sorted(sorted(range(len(page.runs)), key=lambda run: run not in wrong)[:MAPS])
    found = [_of_run(page, usable, run, (explainer, layer)) for run in runs]
    return [k for k in found if k is not None]


def _of_run(page: Page, usable: Sequence[int], run: int, lead: tuple[str, str]) -> int | None:
    """The cell of a run that is most like the one that stands for the page."""
    own = [k for k in usable if page.cells[k].run == run and page.cells[k].explainer == lead[0]]
    return next((k for k in own if page.cells[k].layer == lead[1]), own[-1] if own else None)


def _usable(page: Page, cell: int, place: int) -> int | None:
    """The row of a cell with the map for the predicted class of an image; None where there is none to draw."""
    maps = page.gallery.maps[cell]
    row = maps.of(place, "predicted")
    return row if row is not None and STATUSES[maps.statuses[row]] == "ok" else None


def _tile(page: Page, place: int, at: int, picture: Image.Image, *, about: bool) -> Tile:
    """A map over the picture; `about` says that the card is about maps and not about runs."""
    cell, row = page.cells[at], _usable(page, at, place)
    assert row is not None
    coloured = Image.fromarray((255 * heat_of(page, at, row, SIDE)).round().astype(np.uint8))
    drawn = webp(Image.blend(picture, coloured, OPACITY), lossless=False)
    several, said = len(page.runs) > 1, page.gallery.said[cell.run]
    right = said.predicted[place] == page.gallery.true[place]
    words = f"{page.classes[said.predicted[place]]} {said.probability[place]:.2f}".replace(" 0.", " .")
    label = _label(page, cell, about=about)
    alt = f"{cell.explainer} at {cell.layer}{f' of {run_labels(page.runs)[cell.run]}' if several else ''}, for {words}"
    wrong_map = any(
        (one.run, one.verdict.explainer, one.verdict.layer, one.verdict.verdict)
        == (cell.run, cell.explainer, cell.layer, "wrong")
        for one in page.verdicts
    )
    if about or not several:
        return Tile(drawn, label, "wrong map" if wrong_map else "", None, alt, wrong_map)
    return Tile(drawn, label, words, right, alt, wrong_map)


def _label(page: Page, cell: CellView, *, about: bool) -> str:
    if about:
        return cell.explainer
    return run_labels(page.runs)[cell.run] if len(page.runs) > 1 else cell.layer
