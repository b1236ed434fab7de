"""The figure for print: what is drawn, what is refused, and that names stay names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gallery_items import items_of
from page_factory import HOSTILE, corners_of, make_page, quantise, with_items
from PIL import Image

from bench.errors import UsageError
from bench.reports.figure import gallery_figure

WANTED = {"ids": None, "layers": ("layer3", "layer4"), "explainer": "captum", "role": "both"}


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_figure_is_written_and_the_same_twice(suffix: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{k}.{suffix}" for k in "ab"]
    drawn = [gallery_figure(make_page(gaps=True), file, count=3, **WANTED) for file in files]
    first, second = (file.read_bytes() for file in files)
    assert drawn == [(1, 4, 7)] * 2 and first == second
    assert first.startswith(b"%PDF" if suffix == "pdf" else b"\x89PNG")


def test_ids_are_drawn_in_the_order_asked_for(tmp_path: Path) -> None:
    assert gallery_figure(make_page(), tmp_path / "f.png", **WANTED | {"ids": [7, 1]}) == (7, 1)


def test_a_line_of_panels_is_added_for_every_layer_and_role(tmp_path: Path) -> None:
    def height(**options: object) -> int:
        gallery_figure(make_page(), tmp_path / "f.png", count=2, **WANTED | options)
        return Image.open(tmp_path / "f.png").height

    one, panel = height(role="true", layers=("layer4",)), round(0.82 * 300)
    assert [height(role=role) - one for role in ("true", "both")] == pytest.approx([panel, 3 * panel], abs=2)
    assert height(role="true", layers=("layer4",), captions=False) < one


def test_hostile_names_and_glyphs_without_a_font_do_not_stop_it(tmp_path: Path) -> None:
    page = make_page(classes=[*HOSTILE, "$\\frac{", "猫", "a" * 500], images=4)
    for suffix in ("png", "pdf"):
        assert len(gallery_figure(page, tmp_path / f"f.{suffix}", **WANTED)) == 4


def drawn(raw: np.ndarray, path: Path, *, picture: bool = False) -> np.ndarray:
    """(h, w, 3) the panel of one map over a black image."""
    page = make_page(images=1, explainers=("captum",), layers=(("layer4", len(raw)),))
    item = replace(items_of(page)[0], pixels=bytes(32 * 32 * 3), maps=(quantise(raw, role="predicted"),))
    page = with_items(replace(page, cells=tuple(replace(cell, picture=picture) for cell in page.cells)), [item])
    gallery_figure(page, path, **WANTED | {"layers": ("layer4",), "role": "predicted", "captions": False})
    edge, left, top = 0.78 * 300, (0.05 + 0.58) * 300, (0.05 + 0.82) * 300
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return pixels[int(top) : int(top + edge), int(left) : int(left + edge)]


def test_map_is_drawn_where_it_is_hot(tmp_path: Path) -> None:
    corners = corners_of(drawn(np.eye(4) * [1, 0, 0, 0], tmp_path / "f.png"))
    assert [bool(red > 2 * blue and green > 2 * blue) for red, green, blue in corners] == [True, False, False, False]


def test_finished_picture_is_not_scaled_again(tmp_path: Path) -> None:
    half = np.full((32, 32), 0.25)
    half[:8, :8] = 0.5
    red, green, blue = drawn(half, tmp_path / "f.png", picture=True)[24, 24]
    assert red < green < 1.5 * blue  # viridis at one half is teal, at one yellow


@pytest.mark.parametrize(
    ("options", "path", "message"),
    [
        ({}, "f.svg", "ends in .png or .pdf"),
        ({"ids": [1, 2]}, "f.png", "id 2"),
        ({"layers": ("layer9",)}, "f.png", "no maps of captum at layer9"),
        ({"explainer": "captm"}, "f.png", "no maps of captm"),
        ({"count": 0}, "f.png", "no explained image"),
    ],
)
def test_what_cannot_be_drawn_is_named(options: dict, path: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as error:
        gallery_figure(make_page(), tmp_path / path, **WANTED | options)
    assert error.value.try_ and not list(tmp_path.iterdir())
