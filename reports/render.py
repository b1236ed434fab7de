"""Pages: one HTML file that needs no network, and its JSON twin."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from dataclasses import fields, is_dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.verdicts import why
from bench.views import Page

from . import charts, views, words
from .payload import gallery_json

_FOLDER = Path(__file__).parent


def render_page(page: Page) -> str:
    """One self-contained HTML page of a run or of a comparison.

    The same page gives the same text. Names of classes and files stay text wherever they go.

    Raises:
        ValueError: a picture of the gallery has not 32 * 32 * 3 bytes.
    """
    script = _read("page.js")
    return (
        _environment()
        .get_template("run.html" if page.kind == "run" else "comparison.html")
        .render(
            page=page,
            view=views.view_of(page),
            # Our own two files are the only text that is not escaped.
            style=Markup(_read("style.css")),
            script=Markup(script),
            script_hash=b64encode(sha256(script.encode()).digest()).decode("ascii"),
            data=gallery_json(page),
        )
    )


def page_json(page: Page) -> str:
    """The page as JSON, `schema` first; bytes as base64, numbers that are not finite as null."""
    return json.dumps(_plain(page), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("percent", "points", "count", "rate", "per_second", "small", "p_value", "correlation", "moment", "plural")
    environment.filters.update({name: getattr(words, name) for name in names})
    environment.filters["why"] = why
    environment.globals.update(WIDTH=charts.WIDTH, HEIGHT=charts.HEIGHT, MOST_CLASSES=views.MOST_CLASSES)
    return environment


@cache
def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
