"""The page of one's own pictures: one HTML file without a script, every map drawn here."""

from io import BytesIO

import numpy as np
from markupsafe import Markup
from PIL import Image

from bench.schema.pictures import PictureMap, PicturesPage, PictureView

from .contact_strips import Picture, heat
from .render import filled, inside, read

SHOWN = 192  # pixels an edge of what the page shows
OPACITY = 0.55
WORDS = {
    "dead": "no positive value: all zero after ReLU",
    "constant": "the same value everywhere",
    "non-finite": "not finite",
}


def render_pictures(page: PicturesPage) -> str:
    """One self-contained HTML page. The same page gives the same text; names stay text wherever they go."""
    style = Markup(read("style.css"))  # our own file is the only text that is not escaped
    cards = [_card(one) for one in page.pictures]
    return filled("pictures.html", page=page, cards=cards, style=style, size=SHOWN)


def _card(one: PictureView) -> tuple[PictureView, str, str, list[tuple[PictureMap, str, str]]]:
    """One picture with the drawings of its file, of what the model sees, and of its maps."""
    pixels = np.frombuffer(one.pixels, np.uint8).reshape(one.edge, one.edge, 3)
    seen = np.asarray(Image.fromarray(pixels).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)) / 255
    return one, inside("preview.webp", one.preview), _uri(seen), [_drawn(each, seen) for each in one.maps]


def _drawn(one: PictureMap, seen: Picture) -> tuple[PictureMap, str, str]:
    """A map, its drawing over the picture, and words where there is none."""
    if one.status != "ok":
        return one, "", WORDS[one.status]
    coloured = heat(one.levels, (one.low, one.high), (one.height, one.width), SHOWN, finished=one.finished)
    return one, _uri((1 - OPACITY) * seen + OPACITY * coloured), ""


def _uri(picture: Picture) -> str:
    """(h, w, 3) in 0..1 as a data: address; the same picture gives the same text."""
    file = BytesIO()
    Image.fromarray((picture * 255).round().astype("uint8")).save(file, "WEBP", quality=90, method=4)
    return inside("picture.webp", file.getvalue())
