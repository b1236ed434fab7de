"""What a gallery can be filtered by and which maps it can show: the choices of its controls."""

import math
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

from bench.schema.gallery import Gallery
from bench.schema.page import Page, run_labels

from .columns import explainers_of, layers_of

MOST_PAIRS = 20
LEAST_DISAGREEMENT = 0.005  # below, explainers give the same order of positions

Choice = tuple[str, str]  # the value in an address, the words


def controls_of(page: Page) -> SimpleNamespace:
    """The choices that the images, runs and cells of a page leave, as the lists and columns of its gallery offer them.

    Returns:
        true, predicted, pairs, wrong, orders: the choices of each list.
        apart: the end of its range, 0 where explainers agree.
        columns: (key, words, choices) of each.
    """
    labels, several = run_labels(page.runs), len(page.runs) > 1
    gallery = page.gallery
    said = {predicted for run in gallery.said for predicted in run.predicted if predicted >= 0}
    top = max((each or 0.0 for each in gallery.disagreement), default=0.0)
    apart = math.ceil(20 * top) / 20 if top > LEAST_DISAGREEMENT else 0.0
    columns = (
        ("x", "explainers", tuple((one, one) for one in explainers_of(page))),
        ("l", "layers", tuple((one, one) for one in layers_of(page.cells))),
        ("m", "models", tuple((str(k), label) for k, label in enumerate(labels))),
    )
    return SimpleNamespace(
        true=_classes(page, set(gallery.true)),
        predicted=_classes(page, said),
        pairs=_pairs(page),
        wrong=_wrong(labels) if several else (("", "any image"), ("all", "errors"), ("none", "recognised")),
        orders=_orders(several=several, apart=apart > 0),
        apart=apart,
        columns=tuple(one for one in columns if len(one[2]) > 1),
    )


def _classes(page: Page, present: set[int]) -> tuple[Choice, ...]:
    return (("", "any"), *((str(k), page.classes[k]) for k in sorted(present)))


def _pairs(page: Page) -> tuple[Choice, ...]:
    """The most frequent confusions, each image counted once for each wrong class."""
    counts = Counter(_confusions(page.gallery))
    chosen = sorted(counts, key=lambda pair: (-counts[pair], pair))[:MOST_PAIRS]
    return (("", "any"), *((f"{t},{p}", f"{page.classes[t]} taken for {page.classes[p]}") for t, p in chosen))


def _confusions(gallery: Gallery) -> Iterator[tuple[int, int]]:
    """Of each image its true class with every wrong one that a run takes it for."""
    columns = [run.predicted for run in gallery.said]
    for true, *predicted in zip(gallery.true, *columns, strict=True):
        yield from ((true, k) for k in set(predicted) - {true, -1})


def _wrong(labels: tuple[str, ...]) -> tuple[Choice, ...]:
    own = [(f"in{k}", label) for k, label in enumerate(labels)]
    alone = [(f"only{k}", f"only {label}") for k, label in enumerate(labels)]
    return (("", "any run"), ("all", "every run"), ("none", "no run"), *own, *alone)


def _orders(*, several: bool, apart: bool) -> tuple[Choice, ...]:
    orders = [("sure", "most sure first"), ("unsure", "least sure first"), ("margin", "smallest margin first")]
    orders += [("loss", "largest loss first")]
    orders += [("apart", "explainers differ most")] if apart else []
    orders += [("models", "models differ most")] if several else []
    return (*orders, ("id", "test id"))
