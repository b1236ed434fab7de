"""How much of what differs between maps is the seed's: runs that differ in nothing else, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from bench.contracts import Floats, Integers
from bench.registry.registry import short
from bench.schema.page import Estimate, SeedLikeness, SeedShare
from bench.schema.run import STATUSES, Cell
from bench.stats.intervals import bootstrap_mean, largest_relative_difference, mean_interval, rank_matrix
from bench.stats.variance import components, of_the_seed
from bench.store.folder import RunFolder
from bench.store.predictions import fixed_order

FEWEST_RUNS, FOR_SHARES = 2, 3
SEED = 9009
FEWEST_IMAGES, MOST_IMAGES = 20, 1000  # each image is held against each other one, so time grows with the square
BLOCKS = 10  # of images, each left out in turn
ALIKE = 1e-5  # of a map's largest value: two explainers this close are one, and would count twice


def seed_shares(runs: Sequence[RunFolder]) -> tuple[SeedShare, ...]:
    """What of the maps is the seed's at every layer that two or more runs have maps of, which differ in it alone."""
    found = []
    for group in only_seeds_differ(runs):
        layers = dict.fromkeys(cell.layer for place in group for cell in runs[place].cells)
        shares = [seed_share([runs[place] for place in group], group, layer) for layer in layers]
        found += [one for one in shares if one is not None]
    return tuple(found)


def only_seeds_differ(runs: Sequence[RunFolder]) -> list[tuple[int, ...]]:
    """Places of runs that were trained alike but for their seeds, two or more together."""
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        settings = {name: value for name, value in run.record.settings.items() if name not in ("seed", "device", "run")}
        groups.setdefault(repr((run.record.model, run.record.recipe, sorted(settings.items(), key=str))), []).append(
            place
        )
    seeds = {key: {runs[place].record.settings.get("seed") for place in each} for key, each in groups.items()}
    return [tuple(each) for key, each in groups.items() if len(seeds[key]) == len(each) >= FEWEST_RUNS]


def seed_share(runs: Sequence[RunFolder], places: tuple[int, ...], layer: str) -> SeedShare | None:
    """The same at one layer, of the maps for the true class; None where too few images are in all cells."""
    cells = [{cell.explainer: cell for cell in run.cells if cell.layer == layer} for run in runs]
    labels = runs[0].predictions.labels
    names = [
        name for name in cells[0]
        if all(name in each for each in cells) and cells[0][name].output != "picture"
        and len({each[name].raw.shape[1:] for each in cells}) == 1
    ]  # fmt: skip
    sizes = [cells[0][name].raw.shape[1:] for name in names]
    names = [name for name, size in zip(names, sizes, strict=True) if size == sizes[0]]
    if not names:
        return None
    rows = [{name: _rows(each[name], labels) for name in names} for each in cells]
    common, order = set.intersection(*(set(of) for each in rows for of in each.values())), fixed_order(labels)
    ids = sorted(order[np.isin(order, list(common))][:MOST_IMAGES].tolist())
    if len(ids) < FEWEST_IMAGES:
        return None
    maps = [np.stack([each[name].raw[[of[name][id_] for id_ in ids]] for each, of in zip(cells, rows, strict=True)])
            for name in names]  # fmt: skip
    kept = _each_once(maps)
    stack = np.stack([maps[place] for place in kept], axis=2)
    flat = stack.reshape(*stack.shape[:3], -1)
    enough = len(runs) >= FOR_SHARES
    whole = components(flat) if enough else ()
    return SeedShare(
        runs=places,
        layer=layer,
        explainers=tuple(short(names[place]) for place in kept),
        images=len(ids),
        share=_with_interval(flat) if enough else None,
        parts=tuple((" and ".join(one.factors) or "in all maps alike", one.share) for one in whole),
        alike=tuple(alike(short(name), each, labels[ids]) for name, each in zip(names, maps, strict=True)),
    )


def alike(explainer: str, maps: Floats, classes: Integers) -> SeedLikeness:
    """How alike maps (S, I, h, w) of the same images are between runs, beside maps of others of the class (I,)."""
    same = classes[:, None] == classes[None, :]
    np.fill_diagonal(same, False)
    own, null = [], []
    for first, second in combinations(maps, 2):
        matrix = rank_matrix(first, second)
        own.append(np.diagonal(matrix))
        others = np.where(same & ~np.isnan(matrix), matrix, 0.0)
        with np.errstate(invalid="ignore"):
            null.append(others.sum(axis=1) / (same & ~np.isnan(matrix)).sum(axis=1))
    means = (bootstrap_mean(np.mean(each, axis=0), np.random.default_rng(SEED)) for each in (own, null))
    return SeedLikeness(explainer, *means)


def _rows(cell: Cell, labels: np.ndarray) -> dict[int, int]:
    """Where the good map of each image for its true class stands."""
    keys = zip(cell.ids.tolist(), cell.classes.tolist(), cell.status.tolist(), strict=True)
    good = STATUSES.index("ok")
    return {each: row for row, (each, one, status) in enumerate(keys) if one == labels[each] and status == good}


def _each_once(maps: Sequence[Floats]) -> list[int]:
    """Places of maps (S, I, h, w) without those that an earlier explainer gives as well."""
    flat = [each.reshape(-1, *each.shape[2:]) for each in maps]
    same = [
        (a, b) for a, b in combinations(range(len(flat)), 2) if largest_relative_difference(flat[a], flat[b]) <= ALIKE
    ]
    again = {later for _, later in same}
    return [place for place in range(len(maps)) if place not in again]


def _with_interval(maps: Floats) -> Estimate:
    """The seed's share with its interval over images, by leaving out a tenth of them in turn.

    Source: Shao & Tu 1995, The Jackknife and Bootstrap, section 2.3 (grouped jackknife).
    """
    value = of_the_seed(components(maps))
    blocks = np.arange(maps.shape[1]) % BLOCKS
    without = [of_the_seed(components(maps[:, blocks != block])) for block in range(BLOCKS)]
    found = mean_interval([BLOCKS * value - (BLOCKS - 1) * each for each in without])
    assert found is not None  # of ten
    return Estimate(value, max(0.0, min(value, found.low)), min(1.0, max(value, found.high)))
