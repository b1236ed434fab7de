"""What a figure of maps shows: pictures and maps that are all there, so that it has no holes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.errors import UsageError, did_you_mean
from bench.registry.registry import short
from bench.schema.page import Page

INPUT = "input"
FINE = 5  # values an edge of the smallest grid that is chosen where the others are as good
MOST_LINES = 6  # explainers of a figure for which nobody named any

Map = tuple[int, str]  # index into Page.cells, and the class it speaks for: `predicted` or `true`
Choice = tuple[Sequence[str], Sequence[str]]  # explainers and layers


@dataclass(frozen=True)
class Asked:
    """What somebody wants to see.

    Attributes:
        typed, layers: explainers as somebody typed them, and layers; empty for those that most pictures have.
        target: `predicted`, `true` or `both`.
        ids: test ids in the order wanted; None for the first `count` that a run of the page got wrong.
        again: what to type for maps that are missing, of an explainer, a layer and ids by these names.
    """

    typed: tuple[str, ...]
    layers: tuple[str, ...]
    target: str
    ids: tuple[int, ...] | None
    count: int
    again: Callable[..., str]

    @property
    def explainers(self) -> tuple[str, ...]:
        """The explainers as a page names them: those of a file without its folders."""
        return tuple(map(short, self.typed))

    @property
    def roles(self) -> tuple[str, ...]:
        """The classes that the maps speak for."""
        return ("predicted", "true") if self.target == "both" else (self.target,)

    @property
    def pictures(self) -> int:
        """How many pictures are wanted."""
        return self.count if self.ids is None else len(self.ids)


@dataclass(frozen=True)
class Shown:
    """Places in the gallery, and the maps of each."""

    places: tuple[int, ...]
    maps: tuple[Map, ...]


def gallery_of(page: Page, asked: Asked) -> Shown:
    """Pictures with the maps of one explainer, that which most of them have, at as many layers as these have.

    Raises:
        UsageError: no such maps, or not of all ids; names what makes them.
    """
    _check(page, asked)
    names = [asked.explainers] if asked.explainers else [(name,) for name in _explainers(page)]
    choices = [(those, layers) for those in names for layers in _layer_sets(page, asked, those)]
    return _best(page, asked, choices)


def side_by_side(page: Page, asked: Asked) -> Shown:
    """Of several runs one explainer's maps, of one run its explainers', at one layer; of one picture at all layers.

    Raises:
        UsageError: no such maps, or not of all ids; names what makes them.
    """
    _check(page, asked)
    every = _explainers(page)
    layers = [each for each in _layers(page) if each != INPUT] or [INPUT]
    if asked.layers:
        sets: list[tuple[str, ...]] = [asked.layers]
    elif asked.pictures == 1:
        sets = [tuple(each for each in layers if _maps(page, [name], [each], asked.roles)) for name in every]
    else:
        sets = [(each,) for each in layers]
    choices: list[Choice] = []
    for those in filter(None, dict.fromkeys(sets)):
        there = [name for name in every if _maps(page, [name], those, asked.roles)]
        if asked.explainers:
            choices.append((asked.explainers, those))
        elif len(page.runs) > 1:
            choices += [((name,), those) for name in there]
        else:
            choices.append((there[:MOST_LINES], those))
    return _best(page, asked, choices)


# --- what is there ----------------------------------------------------------------------------------------------


def _explainers(page: Page) -> tuple[str, ...]:
    return tuple(dict.fromkeys(cell.explainer for cell in page.cells))


def _layers(page: Page) -> tuple[str, ...]:
    """The layers of a page, the deepest first: those with the smallest grid, and pixels last."""
    edges = {cell.layer: (cell.layer == INPUT, cell.picture, cell.height * cell.width) for cell in page.cells}
    return tuple(sorted(dict.fromkeys(cell.layer for cell in page.cells), key=lambda name: edges[name]))


def _maps(page: Page, names: Iterable[str], layers: Iterable[str], roles: Sequence[str]) -> tuple[Map, ...]:
    """Runs before explainers before layers before roles; none where any of the cells is not there.

    An explainer that answers in pixels does so once, whatever the layer.
    """
    cells = {(cell.run, cell.explainer, cell.layer): index for index, cell in enumerate(page.cells)}
    found = [
        cells.get((run, name, layer), cells.get((run, name, INPUT)))
        for run in range(len(page.runs))
        for name in names
        for layer in layers
    ]
    known = [each for each in dict.fromkeys(found) if each is not None]
    return tuple((each, role) for each in known for role in roles) if None not in found else ()


def _covered(page: Page, maps: Sequence[Map]) -> list[int]:
    """Places of the pictures that have all of these maps."""
    gallery = page.gallery
    return [
        place
        for place in range(len(gallery.ids))
        if maps and all(gallery.maps[cell].of(place, role) is not None for cell, role in maps)
    ]


def _layer_sets(page: Page, asked: Asked, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The layers asked for; else those that these explainers have: the best-covered one, the best two, and so on."""
    if asked.layers:
        return [asked.layers]
    counts = {each: len(_covered(page, _maps(page, names, [each], asked.roles))) for each in _layers(page)}
    best = sorted((each for each in counts if counts[each]), key=lambda each: -counts[each])
    return [tuple(each for each in counts if each in best[: most + 1]) for most in range(len(best))]


# --- what is chosen ---------------------------------------------------------------------------------------------


def _best(page: Page, asked: Asked, choices: Sequence[Choice]) -> Shown:
    """Of the choices the one with most pictures, then with most maps, then at the deepest layer that is not coarse."""
    most: tuple[tuple[int, int, bool, int], Shown, Choice] | None = None
    for choice in choices:
        maps = _maps(page, *choice, asked.roles)
        shown = Shown(_places(page, asked, _covered(page, maps)), maps)
        edge = page.cells[maps[0][0]].height if maps else 0
        worth = len(shown.places), len(maps), edge >= FINE, -edge
        if most is None or worth > most[0]:
            most = worth, shown, choice
    if most is None or not most[1].maps or not most[1].places or len(most[1].places) < len(asked.ids or ()):
        raise _missing(page, asked, most)
    return most[1]


def _places(page: Page, asked: Asked, covered: Sequence[int]) -> tuple[int, ...]:
    if asked.ids is None:
        said, true = page.gallery.said, page.gallery.true
        wrong = [at for at in covered if any(run.predicted[at] not in (-1, true[at]) for run in said)]
        return tuple(wrong[: asked.count])
    there = {page.gallery.ids[place]: place for place in covered}
    return tuple(there[each] for each in asked.ids if each in there)


def _missing(page: Page, asked: Asked, most: tuple[object, Shown, Choice] | None) -> UsageError:
    names, layers = most[2] if most else (asked.explainers, asked.layers)
    typed = dict(zip(asked.explainers, asked.typed, strict=True))
    whole = tuple(typed.get(name, name) for name in names)
    make = asked.again(explainer=whole, layer=layers, **({} if asked.ids is None else {"ids": asked.ids}))
    where = f"{' and '.join(names) or 'an explainer'} at {' and '.join(layers) or 'one layer'}"
    of_all = " of all these runs" if len(page.runs) > 1 else ""
    if most and most[1].maps and asked.ids is not None:
        there = {page.gallery.ids[place] for place in most[1].places}
        lacking = [each for each in asked.ids if each not in there]
        which = f"{lacking[0]} has" if len(lacking) == 1 else f"{lacking[0]} and {len(lacking) - 1} more have"
        return UsageError(f"test image {which} no map of {where}{of_all}", try_=make)
    return UsageError(f"no picture has maps of {where}{of_all}", try_=make)


def _check(page: Page, asked: Asked) -> None:
    """UsageError for maps that no run of the page has."""
    runs = " and ".join(f"'{run.run}'" for run in page.runs)
    if not page.cells:
        raise UsageError(f"run {runs} has no maps yet", try_=asked.again())
    for name, typed in zip(asked.explainers, asked.typed, strict=True):
        if name not in _explainers(page):
            near = did_you_mean(name, _explainers(page))
            raise UsageError(f"run {runs} has no maps of '{name}'{near}", try_=asked.again(explainer=typed))
    for layer in asked.layers:
        if layer not in _layers(page):
            near = did_you_mean(layer, _layers(page))
            raise UsageError(f"run {runs} has no maps at '{layer}'{near}", try_=asked.again(layer=layer))
