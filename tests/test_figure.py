"""The figure for print: what is drawn, what is refused, and that names stay names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from page_factory import HOSTILE, make_page, quantise, with_items
from PIL import Image

from bench.errors import UsageError
from bench.reports.figure import gallery_figure

WANTED = {"ids": None, "layers": ("layer3", "layer4"), "explainer": "captum", "role": "both"}


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_figure_is_written_and_the_same_twice(suffix: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{k}.{suffix}" for k in "ab"]
    drawn = [gallery_figure(make_page(gaps=True), file, count=3, **WANTED) for file in files]
    assert drawn == [(1, 4, 7)] * 2
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes()[:4] == (b"%PDF" if suffix == "pdf" else b"\x89PNG")


def test_ids_are_drawn_in_the_order_asked_for(tmp_path: Path) -> None:
    assert gallery_figure(make_page(), tmp_path / "f.png", **WANTED | {"ids": [7, 1]}) == (7, 1)


def test_a_line_of_panels_is_added_for_every_layer_and_role(tmp_path: Path) -> None:
    def height(**options: object) -> int:
        gallery_figure(make_page(), tmp_path / "f.png", count=2, **WANTED | options)
        return Image.open(tmp_path / "f.png").height

    one = height(role="true", layers=("layer4",))
    panel = round(0.82 * 300)
    assert height(role="true") - one == pytest.approx(panel, abs=2)
    assert height(role="both") - one == pytest.approx(3 * panel, abs=2)
    assert height(role="true", layers=("layer4",), captions=False) < one


def test_hostile_names_and_glyphs_without_a_font_do_not_stop_it(tmp_path: Path) -> None:
    page = make_page(classes=[*HOSTILE, "$\\frac{", "猫", "a" * 500], images=12)
    for suffix in ("png", "pdf"):
        assert len(gallery_figure(page, tmp_path / f"f.{suffix}", **WANTED)) == 12


def test_map_is_drawn_where_it_is_hot(tmp_path: Path) -> None:
    hot = np.zeros((4, 4))
    hot[0, 0] = 1.0
    page = make_page(images=1, explainers=("captum",), layers=(("layer4", 4),))
    item = replace(page.gallery[0], pixels=bytes(32 * 32 * 3), maps=(quantise(hot, role="predicted"),))
    gallery_figure(
        with_items(page, [item]),
        tmp_path / "f.png",
        **WANTED | {"layers": ("layer4",), "role": "predicted", "captions": False},
    )
    pixels = np.asarray(Image.open(tmp_path / "f.png").convert("RGB")).astype(int)
    edge, left, top = 0.78 * 300, (0.05 + 0.58) * 300, (0.05 + 0.82) * 300

    def yellow(y: float, x: float) -> bool:
        red, green, blue = pixels[int(top + y * edge), int(left + x * edge)]
        return red > 2 * blue and green > 2 * blue

    assert yellow(0.1, 0.1)
    assert not any(yellow(y, x) for y, x in ((0.1, 0.9), (0.9, 0.1), (0.9, 0.9)))


def test_finished_picture_is_not_scaled_again(tmp_path: Path) -> None:
    half = np.full((32, 32), 0.25)
    half[:8, :8] = 0.5
    page = make_page(images=1, explainers=("captum",), layers=(("layer4", 32),))
    item = replace(page.gallery[0], pixels=bytes(32 * 32 * 3), maps=(quantise(half, role="predicted"),))
    page = with_items(replace(page, cells=tuple(replace(cell, picture=True) for cell in page.cells)), [item])
    options = WANTED | {"layers": ("layer4",), "role": "predicted", "captions": False}
    gallery_figure(page, tmp_path / "f.png", **options)
    pixels = np.asarray(Image.open(tmp_path / "f.png").convert("RGB")).astype(int)
    place = int((0.05 + 0.82 + 0.08) * 300), int((0.05 + 0.58 + 0.08) * 300)
    red, green, blue = pixels[place]
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
    assert error.value.try_
    assert not list(tmp_path.iterdir())
