"""Pages made of seeded random data, for the tests of everything that renders one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Literal, get_args

import numpy as np
from gallery_items import GalleryItem, MapView, Prediction, Role, items_of
from timing_factory import make_speeds

from bench.reports.render import INDEX, render_files
from bench.schema.gallery import ROLES, CellMaps, Gallery, Said
from bench.schema.page import (
    Agreement,
    Average,
    Badge,
    CalibrationBin,
    CellView,
    ClassRow,
    Difference,
    EpochPoint,
    Estimate,
    Finding,
    Page,
    PairTest,
    Rates,
    RunView,
    VerdictView,
)
from bench.schema.run import STATUSES, Status
from bench.schema.verdicts import Step, Verdict, Word

DIGITS = tuple(str(digit) for digit in range(10))
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "a|b\n$x_1$ & \u202eevil",
    "\"'`{{7*7}}",
)
MODELS = ("cifar_resnet18", "timm_resnet18", "torchvision_resnet18", "own_net", "wide_net", "sixth")
LAYERS = (("layer3", 8), ("layer4", 4))


@cache
def digit_pictures() -> np.ndarray:
    """(1797, 32, 32, 3) uint8: scikit-learn's handwritten digits, each pixel repeated."""
    from sklearn.datasets import load_digits

    images = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    return np.repeat(np.repeat(np.repeat(images[..., None], 3, axis=3), 4, axis=1), 4, axis=2)


def quantise(raw: np.ndarray, *, cell: int = 0, role: Role = "predicted", target: int = 0) -> MapView:
    """A raw (h, w) map as the page carries it."""
    finite = raw[np.isfinite(raw)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    status: Status
    if not np.isfinite(raw).all():
        status = "non-finite"
    elif high <= 0:
        status = "dead"
    else:
        status = "constant" if high == low else "ok"
    span = (high - low) or 1.0
    levels = np.round((np.nan_to_num(raw, nan=low, posinf=high, neginf=low) - low) / span * 255).astype(np.uint8)
    return MapView(cell, role, target, low, high, levels.tobytes(), status)


def random_map(rng: np.random.Generator, edge: int) -> np.ndarray:
    """A signed map with one hot place; now and then one that is dead, constant or not finite."""
    kind = rng.integers(20)
    if kind == 0:
        return -np.abs(rng.normal(size=(edge, edge)))
    if kind == 1:
        return np.full((edge, edge), 0.25)
    rows, columns = np.mgrid[:edge, :edge] / edge
    y, x = rng.random(2)
    raw = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) * 8) + 0.1 * rng.normal(size=(edge, edge)) - 0.1
    if kind == 2:
        raw[0, 0] = np.nan
    return np.asarray(raw)


def estimate(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))


def make_run(index: int, classes: Sequence[str], rng: np.random.Generator, *, epochs: int, validation: bool) -> RunView:
    """A run whose confusion, classes and accuracy agree with each other."""
    k = len(classes)
    confusion = rng.poisson(1.2, size=(k, k)) + np.diag(rng.integers(88, 97, size=k))
    correct, total = int(np.trace(confusion)), int(confusion.sum())
    curve = tuple(
        EpochPoint(
            epoch,
            2.0 * 0.8**epoch + 0.02 * index,
            1 - 0.8 * 0.8**epoch,
            2.0 * 0.83**epoch + 0.05 if validation else None,
            1 - 0.8 * 0.82**epoch - 0.01 * index if validation else None,
            900.0,
            0.1,
        )
        for epoch in range(1, epochs + 1)
    )
    rows = tuple(
        ClassRow(
            classes[c],
            int(confusion[c, c]),
            int(confusion[c].sum()),
            int(confusion[:, c].sum()),
            estimate(confusion[c, c] / confusion[c].sum(), 0.05),
        )
        for c in range(k)
    )
    model = MODELS[index]
    return RunView(
        run=f"{model}-digits-s0-1",
        model=model,
        data="digits",
        recipe="demo",
        seed=0,
        epochs=epochs,
        train_images=1437,
        accuracy=estimate(correct / total),
        correct=correct,
        total=total,
        loss=0.24,
        only_wrong=3 + index,
        parameters=11_173_962,
        train_rate=29.9 if index != 1 else None,
        forward_rate=117.4 if index != 2 else None,
        device="cpu",
        checkpoint="ab" * 32,
        curve=curve,
        per_class=rows,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        averages=make_averages(correct, total),
        calibration=tuple(CalibrationBin(20, 2 * k, k / 10, k / 10 - 0.05, k / 10 + 0.05) for k in range(2, 10)),
        calibration_error=0.012,
    )


def make_averages(correct: int, total: int) -> tuple[Average, ...]:
    """A few more right by each."""
    more = (("mirror average", 2, 3), ("mirror and shifts", 6, 5))
    return tuple(
        Average(name, estimate(min(total, correct + gain) / total), min(total, correct + gain), views)
        for name, views, gain in more
    )


def make_page(  # noqa: PLR0913 (what pages differ in)
    kind: Literal["run", "comparison"] = "run",
    *,
    runs: int | None = None,
    images: int = 12,
    classes: Sequence[str] = DIGITS,
    explainers: Sequence[str] = ("gradcam", "captum"),
    layers: Sequence[tuple[str, int]] = LAYERS,
    epochs: int = 5,
    validation: bool = True,
    pixels: np.ndarray | None = None,
    gaps: bool = False,
    speeds: bool = True,
    seed: int = 0,
) -> Page:
    """A page of `runs` runs with all explainers and layers.

    Args:
        kind: `run` or `comparison`.
        runs: 1 for a run page, 3 for a comparison unless told.
        images: pictures of the gallery.
        pixels: (images, 32, 32, 3) uint8; digits unless told.
        gaps: leave out some predictions, maps and one whole cell's rows.
        speeds: the runs are in one timing by `bench time`.
    """
    rng = np.random.default_rng(seed)
    runs = runs or (1 if kind == "run" else 3)
    views = tuple(make_run(k, classes, rng, epochs=epochs, validation=validation) for k in range(runs))
    cells = tuple(
        CellView(k, explainer, layer, edge, edge, images, int(gaps) * 2, 1, 1, 0, 8.4 + edge, len(layers), 2)
        for k in range(runs)
        for explainer in explainers
        for layer, edge in layers
    )
    pictures = digit_pictures()[:images] if pixels is None else pixels
    items = [_item(n, pictures[n], views, cells, len(classes), rng, gaps) for n in range(images)]
    judged = tuple(VerdictView(cell.run, _verdict(k, cell)) for k, cell in enumerate(cells)) if kind == "run" else ()
    return Page(
        schema=2,
        kind=kind,
        title="95.2 % of the test digits are right; most errors take 8 for 1"
        if kind == "run"
        else "Three ResNet18s on digits: no measurable difference in accuracy",
        created="2026-11-21T04:15:00Z",
        classes=tuple(classes),
        badges=(Badge(True, "same 360 test images"), Badge(False, "one seed: no claim about the architecture")),
        findings=(
            Finding(
                "gradcam and captum ", "compute the same maps", "agreement", " up to rounding", "3.9e-7 of the maximum"
            ),
            Finding("", "No measurable accuracy difference", "models", " between the models", "McNemar p = 0.41"),
        ),
        runs=views,
        cells=cells,
        agreements=_agreements(runs, explainers, layers, images),
        verdicts=judged,
        pairs=tuple(
            PairTest(a, b, 5, 7, 0.774, Estimate(0.0056, -0.012, 0.023))
            for a in range(runs)
            for b in range(a + 1, runs)
        ),
        gallery=in_columns(items, runs, len(cells)),
        shown=images,
        wanted=images,
        pipeline="relu, scale per map, bilinear with half-pixel centres, viridis; differences RdBu centred on 0",
        provenance=(
            ("command", (("command line", "bench train --model cifar_resnet18"), ("seed", "0"))),
            ("versions", (("torch", "2.14.1"), ("captum", "0.9.0"))),
            ("hashes", (("checkpoint", "ab" * 32), ("data", "cd" * 32))),
        ),
        timings=(
            Rates(0, "training", "epoch", (20.0, 29.0, 30.5, 30.0, 29.5)),
            Rates(0, "gradcam", "batch", (99.0,)),
        ),
        speeds=(make_speeds(runs, explainers, layers[0][0]),) if speeds else (),
        differences=(Difference("setting", "epochs", tuple(str(k) for k in range(runs))),) if runs > 1 else (),
    )


def render_page(page: Page) -> str:
    """The page as one HTML file."""
    return str(render_files(page, "single").files[INDEX].decode())


def with_items(page: Page, items: Iterable[GalleryItem]) -> Page:
    """The page with these images in its gallery."""
    return replace(page, gallery=in_columns(list(items), len(page.runs), len(page.cells)))


def top_right() -> Page:
    """A picture that is red only at its top right, with a map that is hot only there: not its own transpose."""
    picture, hot = np.zeros((32, 32, 3), np.uint8), np.zeros((4, 4))
    picture[:16, 16:], hot[0, 3] = (255, 0, 0), 1.0
    page = make_page(images=1, explainers=("captum",), layers=(("layer4", 4),), pixels=picture[None])
    maps = tuple(quantise(hot, cell=0, role=role) for role in ("predicted", "true"))
    return with_items(page, [replace(items_of(page)[0], maps=maps)])


def corners_of(pixels: np.ndarray) -> np.ndarray:
    """(4, 3) the colours near the corners: top left, top right, bottom left, bottom right."""
    return pixels[np.ix_((6, -7), (6, -7))].reshape(4, -1)


def in_columns(items: Sequence[GalleryItem], runs: int, cells: int) -> Gallery:
    """The gallery of these images."""
    return Gallery(
        ids=tuple(item.id for item in items),
        files=tuple(item.file for item in items),
        true=tuple(item.true for item in items),
        pixels=b"".join(item.pixels for item in items),
        said=tuple(_said([item.predictions[run] for item in items]) for run in range(runs)),
        maps=tuple(_maps(items, cell) for cell in range(cells)),
        disagreement=tuple(item.disagreement for item in items),
    )


def _said(every: Sequence[Prediction | None]) -> Said:
    known = [one or Prediction(-1, 0.0, 0.0) for one in every]
    return Said(
        predicted=tuple(one.predicted for one in known),
        probability=tuple(one.probability for one in known),
        true_probability=tuple(one.true_probability for one in known),
        top_classes=tuple(tuple(k for k, _ in one.top) for one in known),
        top_shares=tuple(tuple(share for _, share in one.top) for one in known),
    )


def _maps(items: Sequence[GalleryItem], cell: int) -> CellMaps:
    rows = [(place, one) for place, item in enumerate(items) for one in item.maps if one.cell == cell]
    return CellMaps(
        items=tuple(place for place, _ in rows),
        targets=tuple(one.target for _, one in rows),
        roles=bytes(ROLES.index(one.role) for _, one in rows),
        statuses=bytes(STATUSES.index(one.status) for _, one in rows),
        low=tuple(one.low for _, one in rows),
        high=tuple(one.high for _, one in rows),
        levels=b"".join(one.levels for _, one in rows),
    )


def _item(
    n: int,
    picture: np.ndarray,
    views: Sequence[RunView],
    cells: Sequence[CellView],
    k: int,
    rng: np.random.Generator,
    gaps: bool,
) -> GalleryItem:
    true = int(rng.integers(k))
    said: list[Prediction | None] = []
    for index in range(len(views)):
        wrong = (true + 1 + int(rng.integers(k - 1))) % k
        predicted = true if index and rng.random() < 0.4 else wrong
        sure = 0.4 + 0.59 * float(rng.random())
        left = (1 - sure) * float(rng.random())
        said.append(
            Prediction(predicted, sure, sure if predicted == true else left, _top(k, predicted, true, sure, left))
        )
    if gaps and len(views) > 1 and n % 3 == 0:
        said[-1] = None
    maps = []
    for index, cell in enumerate(cells):
        prediction = said[cell.run]
        if prediction is None or (gaps and rng.random() < 0.1):
            continue
        targets: list[tuple[Role, int]] = (
            [("both", true)] if prediction.predicted == true else [("predicted", prediction.predicted), ("true", true)]
        )
        maps += [
            quantise(random_map(rng, cell.height), cell=index, role=role, target=target) for role, target in targets
        ]
    apart = round(float(rng.random()), 3) if len(maps) > 1 and n % 7 else None
    return GalleryItem(3 * n + 1, f"test/{true}/{n:04d}.png", true, picture.tobytes(), tuple(said), tuple(maps), apart)


def _top(k: int, predicted: int, true: int, sure: float, left: float) -> tuple[tuple[int, float], ...]:
    """Probabilities that add up to 1, the largest first."""
    others = [each for each in range(k) if each not in (predicted, true)]
    known = {predicted: sure} if predicted == true else {predicted: sure, true: left}
    rest = (1 - sum(known.values())) / max(1, len(others))
    shares = {**known, **dict.fromkeys(others, rest)}
    return tuple(sorted(shares.items(), key=lambda pair: -pair[1])[:10])


def _verdict(k: int, cell: CellView) -> Verdict:
    """Each word in turn; words of an error may be anybody's."""
    word: Word = get_args(Word)[k % len(get_args(Word))]
    steps = (Step("nearest value instead of bilinear", 0.47),) if word == "other recipe" else ()
    words = HOSTILE[k % len(HOSTILE)] if word in ("wrong", "failed") else ""
    equal = ("reference",) if word == "same" else ()
    return Verdict(
        cell.explainer, cell.layer, 1, word, words=words, steps=steps, difference=0.5, moved=1e-6, images=8,
        equal_to=equal,
    )  # fmt: skip


def _agreements(
    runs: int, explainers: Sequence[str], layers: Sequence[tuple[str, int]], rows: int
) -> tuple[Agreement, ...]:
    pairs = [(a, b) for i, a in enumerate(explainers) for b in explainers[i + 1 :]]
    return tuple(
        Agreement(k, layer, a, b, rows, 3.9e-7, 1.0 if edge > 4 else None, 0.12 if edge > 4 else None)
        for k in range(runs)
        for layer, edge in layers
        for a, b in pairs
    )
