"""The page of one's own pictures: one HTML file without a script, every map drawn here."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from PIL import Image

from bench.postprocess import postprocess
from bench.schema.pictures import PictureMap, PicturesPage, PictureView

from .render import _environment, _read

if TYPE_CHECKING:
    import numpy as np

    Pixels = np.ndarray[tuple[int, ...], np.dtype[Any]]

SHOWN = 192  # pixels an edge of what the page shows
OPACITY = 0.55
WORDS = {
    "dead": "no positive value: all zero after ReLU",
    "constant": "the same value everywhere",
    "non-finite": "not finite",
}


@dataclass(frozen=True)
class Drawn:
    """One map as the template prints it; `uri` is empty where there is nothing to draw, and `words` say why."""

    map: PictureMap
    uri: str
    words: str


@dataclass(frozen=True)
class Card:
    """One picture with its drawings."""

    picture: PictureView
    preview: str
    seen: str
    drawn: tuple[Drawn, ...]


def render_pictures(page: PicturesPage) -> str:
    """One self-contained HTML page. The same page gives the same text; names stay text wherever they go."""
    style = Markup(_read("style.css"))  # our own file is the only text that is not escaped
    cards = [_card(one) for one in page.pictures]
    return _environment().get_template("pictures.html").render(page=page, cards=cards, style=style, size=SHOWN)


def _card(one: PictureView) -> Card:
    import numpy as np

    pixels = np.frombuffer(one.pixels, np.uint8).reshape(one.edge, one.edge, 3)
    large = Image.fromarray(pixels).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
    seen = np.asarray(large) / 255
    preview = f"data:image/webp;base64,{b64encode(one.preview).decode('ascii')}"
    return Card(one, preview, _uri(seen), tuple(_drawn(each, seen) for each in one.maps))


def _drawn(one: PictureMap, seen: Pixels) -> Drawn:
    if one.status != "ok":
        return Drawn(one, "", WORDS[one.status])
    return Drawn(one, _uri((1 - OPACITY) * seen + OPACITY * _heat(one)), "")


def _heat(one: PictureMap) -> Pixels:
    """(SHOWN, SHOWN, 3) colours of a raw map after the one post-processing; a finished picture is only resized."""
    import torch
    from matplotlib import colormaps

    levels = torch.frombuffer(bytearray(one.levels), dtype=torch.uint8).reshape(one.height, one.width)
    raw = one.low + levels.to(torch.float64) / 255 * (one.high - one.low)
    heat = postprocess(raw, SHOWN, scale=1.0 if one.finished else "map")
    colours: Pixels = colormaps["viridis"](heat.numpy())[..., :3]
    return colours


def _uri(picture: Pixels) -> str:
    """(h, w, 3) in 0..1 as a data: address; the same picture gives the same text."""
    file = BytesIO()
    Image.fromarray((picture * 255).round().astype("uint8")).save(file, "WEBP", quality=90, method=4)
    return f"data:image/webp;base64,{b64encode(file.getvalue()).decode('ascii')}"
