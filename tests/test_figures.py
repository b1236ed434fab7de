"""Figures for print: readable at their size, whole, true to the values, and never with a hole."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from gallery_items import items_of
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.text import Text
from page_factory import HOSTILE, make_page, quantise, top_right, with_items
from PIL import Image

from bench.errors import UsageError
from bench.pages.covered import Asked, gallery_of, side_by_side
from bench.reports.figures import maps, paper, pictures, plots
from bench.schema.page import Page

NAMES = (*HOSTILE, "$\\frac{", "猫", "a" * 500, "automobile", "dog", "deer")
SQUARE = np.zeros((32, 32, 3), np.uint8)
LONG = "A sentence that is longer than a column is wide, with 12.3 % in it, again and again. " * 3


def grid_of(page: Page, look: paper.Look, *, images: int = 3) -> paper.Sheet:
    chosen = (
        range(len(page.cells)) if images == 1 else [k for k, cell in enumerate(page.cells) if cell.layer == "layer4"]
    )
    return maps.grid(page, range(images), [(cell, "predicted") for cell in chosen], look)


DRAWINGS: dict[str, Callable[[Page, paper.Look], paper.Sheet]] = {
    "curves": plots.curves,
    "confusion": plots.confusion,
    "classes": plots.classes,
    "calibration": plots.calibration,
    "range test": lambda page, look: plots.range_test((1e-7, 1e-3, 1.0), (2.0, 1.0, 9.0), 1e-3, "net"),
    "errors": lambda page, look: maps.gallery(page, range(7), (), look),
    "gallery": lambda page, look: maps.gallery(page, range(7), [(0, "predicted"), (1, "true"), (2, "true")], look),
    "grid": grid_of,
    "grid of layers": partial(grid_of, images=1),
    "data": lambda page, look: pictures.by_class([(name, [SQUARE] * 10) for name in NAMES[::3]], look, LONG),
    "augmentation": lambda page, look: pictures.pairs([(name, SQUARE, SQUARE) for name in NAMES], look, LONG),
}  # fmt: skip


def sheet_of(draw: Callable[[], paper.Sheet]) -> paper.Sheet:
    with rc_context(paper.SETTINGS):
        return draw()


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("width", ["one", pytest.param("two", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", DRAWINGS)
def test_every_text_is_of_7_points_and_inside_the_figure_whatever_the_names(kind: str, width: str) -> None:
    several = kind.startswith("grid")
    page = make_page("comparison" if several else "run", classes=NAMES, images=7)
    with rc_context(paper.SETTINGS):
        sheet = DRAWINGS[kind](page, paper.Look(width))
        figure, canvas = sheet.figure, sheet.figure.canvas
        figure.set_dpi(paper.DPI)  # of a few dots a letter is as wide as it must be, not as it is
        inside = figure.get_tightbbox(canvas.get_renderer())  # type: ignore[attr-defined]
        texts = [one for one in figure.findobj(Text) if one.get_text().strip()]
    assert figure.get_figwidth() == paper.WIDTHS[width] or kind == "range test"
    assert min(one.get_fontsize() for one in texts) >= 7
    rounding = 1e-9  # inches
    assert inside.x0 >= -rounding and inside.y0 >= -rounding
    assert inside.x1 <= figure.get_figwidth() + rounding and inside.y1 <= figure.get_figheight() + rounding


@pytest.mark.parametrize("suffix", paper.FORMATS)
def test_a_file_of_each_format_is_the_same_twice_and_as_wide_as_its_column(suffix: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{k}{suffix}" for k in "ab"]
    for file in files:
        paper.save(lambda: DRAWINGS["gallery"](make_page(), paper.Look("one")), file)
    first, second = (file.read_bytes() for file in files)
    assert first == second
    if suffix == ".png":
        assert Image.open(files[0]).width == 3.5 * 300
    else:
        assert (b'width="252pt"' if suffix == ".svg" else b"/MediaBox [ 0 0 252 ") in first


@pytest.mark.parametrize("kind", ["gallery", "grid"])
def test_a_figure_says_of_what_it_is(kind: str) -> None:
    page = make_page()
    words = " ".join(one.get_text() for one in sheet_of(lambda: DRAWINGS[kind](page, paper.Look())).figure.texts)
    for each in (
        "cifar_resnet18",
        "digits",
        page.runs[0].run,
        "gradcam",
        "layer4 (4x4 values)",
        "predicted",
        "viridis",
    ):
        assert each in words, each
    plain = sheet_of(lambda: DRAWINGS[kind](page, paper.Look(captions=False))).figure
    assert not any(page.runs[0].run in one.get_text() for one in plain.texts)


# --- maps -------------------------------------------------------------------------------------------------------


def panels(sheet: paper.Sheet) -> list[np.ndarray]:
    """What is drawn as an image, in order."""
    return [np.asarray(image.get_array()) for axes in sheet.figure.axes for image in axes.images]


def test_a_map_is_drawn_over_its_picture_in_the_colours_asked_for() -> None:
    page = top_right()
    found = {colours: panels(sheet_of(lambda: maps.gallery(page, [0], [(0, "true")], paper.Look(colours=colours))))  # noqa: B023
             for colours in ("viridis", "gray", "jet")}  # fmt: skip
    picture = found["viridis"][0]
    heat = {colours: (drawn[1] - 0.45 * picture) / 0.55 for colours, drawn in found.items()}
    assert np.allclose(heat["gray"][6, -7], 1, atol=0.02) and np.allclose(heat["gray"][-7, 6], 0, atol=0.02)
    red, green, blue = heat["viridis"][6, -7]
    assert min(red, green) > 0.8 and blue < 0.3  # yellow
    assert heat["jet"][6, -7][0] > 0.4 > heat["jet"][6, -7][2]  # dark red


def test_a_finished_picture_is_not_scaled_again() -> None:
    half = np.full((32, 32), 0.25)
    half[:8, :8] = 0.5
    page = make_page(images=1, explainers=("captum",), layers=(("layer4", 32),))
    page = replace(page, cells=tuple(replace(cell, picture=True) for cell in page.cells))
    page = with_items(page, [replace(items_of(page)[0], pixels=bytes(3072), maps=(quantise(half, role="true"),))])
    drawn = panels(sheet_of(lambda: maps.gallery(page, [0], [(0, "true")], paper.Look(colours="gray"))))[1]
    assert np.allclose(drawn[4, 4] / 0.55, 0.5, atol=0.02) and np.allclose(drawn[-4, -4] / 0.55, 0.25, atol=0.02)


def test_a_map_without_a_positive_value_says_so() -> None:
    page = make_page(images=1, explainers=("captum",), layers=(("layer4", 4),))
    dead = quantise(-np.ones((4, 4)), role="true")
    page = with_items(page, [replace(items_of(page)[0], maps=(replace(dead, status="dead"),))])
    sheet = sheet_of(lambda: maps.gallery(page, [0], [(0, "true")], paper.Look()))
    assert "no\npositive\nvalue" in [text.get_text() for text in sheet.figure.texts] and len(panels(sheet)) == 2


# --- which maps -------------------------------------------------------------------------------------------------


def asked(**changes: object) -> Asked:
    plain = Asked((), (), "predicted", None, 20, lambda **more: f"bench explain {more}")
    return replace(plain, **changes)  # type: ignore[arg-type]


def without(page: Page, cell: int, ids: set[int]) -> Page:
    """The page whose cell lacks the maps of some images."""
    items = [replace(one, maps=tuple(each for each in one.maps if each.cell != cell or one.id not in ids))
             for one in items_of(page)]  # fmt: skip
    return with_items(page, items)


def test_what_is_drawn_is_what_most_pictures_have_and_nothing_is_missing_in_it() -> None:
    page = make_page(images=6)  # gradcam at layer3 and layer4, then captum
    page = without(without(page, 0, {1, 4, 7}), 2, {1})
    shown = gallery_of(page, asked())
    named = [(page.cells[cell].explainer, page.cells[cell].layer) for cell, _ in shown.maps]
    assert named == [("gradcam", "layer4")] and len(shown.places) == 6  # captum lacks one at layer3, gradcam three
    assert len(gallery_of(page, asked(count=3)).maps) == 2  # three pictures have both layers
    beside = side_by_side(page, asked())
    assert [page.cells[cell].layer for cell, _ in beside.maps] == ["layer4", "layer4"] and len(beside.places) == 6
    one = side_by_side(page, asked(ids=(10,)))
    assert len(one.maps) == 4 and one.places == (3,)
    right = with_items(page, [replace(one, predictions=(replace(one.predictions[0], predicted=one.true),))
                              if one.id == 4 else one for one in items_of(page)])  # fmt: skip
    assert 4 not in [right.gallery.ids[place] for place in gallery_of(right, asked()).places]
    holes = [maps_of.of(place, role) for found in (shown, beside, one) for place in found.places
             for cell, role in found.maps for maps_of in [page.gallery.maps[cell]]]  # fmt: skip
    assert None not in holes


def test_of_several_runs_one_explainer_is_drawn_that_all_have() -> None:
    page = make_page("comparison", images=4)
    several = side_by_side(without(page, 0, {1, 4, 7, 10}), asked())
    cells = [page.cells[cell] for cell, _ in several.maps]
    assert [(cell.run, cell.explainer, cell.layer) for cell in cells] == [(run, "captum", "layer3") for run in range(3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": (4, 2)}, "test image 2 has no map"),
        (
            {"ids": (1, 4), "typed": ("gradcam",), "layers": ("layer3",)},
            "test image 1 has no map of gradcam at layer3",
        ),
        ({"ids": (1, 2, 5)}, "test image 2 and 1 more have no map"),
        ({"layers": ("layer9",)}, "no maps at 'layer9'"),
        ({"typed": ("captm",)}, "no maps of 'captm'; did you mean 'captum'"),
        ({"count": 0}, "no picture has maps"),
    ],
)
def test_what_is_not_there_is_named_with_what_makes_it(changes: dict[str, object], message: str) -> None:
    for choose in (gallery_of, side_by_side):
        with pytest.raises(UsageError, match=message) as error:
            choose(without(make_page(), 0, {1}), asked(**changes))
        assert error.value.try_.startswith("bench explain")


# --- numbers ----------------------------------------------------------------------------------------------------


def lines_of(axes: Axes) -> dict[str, tuple[object, ...]]:
    return {str(one.get_label()): (one.get_marker(), one.get_linestyle(), one.get_color()) for one in axes.lines}


@pytest.mark.parametrize("epochs", [1, 5])
def test_training_and_validation_differ_in_more_than_their_colour(epochs: int) -> None:
    page = make_page(epochs=epochs)
    loss, accuracy = sheet_of(lambda: plots.curves(page, paper.Look())).figure.axes
    told = lines_of(loss)
    assert [one != other for one, other in zip(told["training"], told["validation"], strict=True)] == [True, True, True]
    low, high = loss.get_xlim()
    assert low <= 0.5 and high >= epochs + 0.5 and loss.get_ylim()[0] == 0
    low, high = accuracy.get_ylim()
    assert low >= 0 and high <= 101 and high - low >= 10
    assert all(float(tick) == int(tick) for tick in loss.get_xticks())


def test_few_classes_are_a_table_of_confusions_and_many_the_pairs_that_are_confused_most() -> None:
    page = make_page()
    table = sheet_of(lambda: plots.confusion(page, paper.Look())).figure.axes[0]
    assert [int(one.get_text()) for one in table.texts] == [n for row in page.runs[0].confusion for n in row]
    many = make_page(classes=[f"class {k}" for k in range(60)], images=2)
    confusion = [list(row) for row in many.runs[0].confusion]
    confusion[7][9] = 88
    many = replace(many, runs=(replace(many.runs[0], confusion=tuple(map(tuple, confusion))),))
    bars = sheet_of(lambda: plots.confusion(many, paper.Look())).figure.axes[0]
    assert bars.get_yticklabels()[0].get_text() == "class 7 taken for class 9"
    long = replace(many, classes=tuple(f"{k} " + "w" * 99 for k in range(60)))
    cut = sheet_of(lambda: plots.confusion(long, paper.Look("one"))).figure.axes[0].get_yticklabels()[0].get_text()
    assert re.fullmatch(r"7 w+…\ntaken for 9 w+…", cut)
    assert bars.texts[0].get_text().startswith(f"88 of {many.runs[0].per_class[7].total:,}") and len(bars.patches) == 20
