"""Pages: one HTML file that needs no network or a folder that needs no server, and their JSON twin."""

import json
import math
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

import rjsmin
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.schema.page import MOST_CLASSES, Evidence, EvidencePicture, Page, run_labels
from bench.schema.pictures import PicturesPage
from bench.schema.verdicts import why

from . import charts, derived, filters
from .contact_strips import Strip, contact_strips
from .controls import controls_of
from .evidence import evidence_image
from .glossary import GLOSSARY
from .payload import Shard, as_json, index_of, shard_json, shards_of
from .telling import Telling, Tile, telling_errors

Form = Literal["auto", "single", "folder"]

INDEX = "index.html"
IN_NOTEBOOK = 6  # images
LARGEST = 10_000_000  # bytes of a page in one file, unless one file is asked for
SCRIPTS = ("colour.js", "elements.js", "data.js", "state.js", "cards.js", "dialog.js", "theme.js", "page.js")
_FOLDER = Path(__file__).parent
_MIME = {".webp": "image/webp", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Rendered:
    """A page as files by name, INDEX among them; one file alone is a page in one file.

    Attributes:
        note: why it is a folder, where nobody asked for one; else empty.
    """

    files: dict[str, bytes]
    note: str = ""


def render_files(page: Page, form: Form = "auto") -> Rendered:
    """A page as one file up to LARGEST bytes, else as a folder: index.html, style sheet, script, pictures, data.

    A folder opens from disk as well: its data are scripts, for a page from disk may not fetch. The same page gives the
    same files. Names of classes and files stay text wherever they go.

    Raises:
        ValueError: a picture of the gallery has not edge * edge * 3 bytes.
    """
    shards, strips = shards_of(page), contact_strips(page)
    if form == "folder":
        return Rendered(_folder(page, shards, strips))
    whole = _single(page, shards, strips).encode()
    if form == "single" or len(whole) <= LARGEST:
        return Rendered({INDEX: whole})
    size = f"{len(whole) / 1e6:.1f} MB"
    note = f"a folder, since one file would be {size}, above {LARGEST // 1_000_000} MB; --single-file makes one anyway"
    return Rendered(_folder(page, shards, strips), note)


def notebook_html(page: Page, address: str) -> str:
    """What a notebook shows of a page: its finding, its sentences, its figures and its first images.

    A piece of HTML without script or style sheet; names of classes and files stay text.

    Args:
        page: what is shown.
        address: of the whole page, to be linked to.
    """
    strips = [(strip, inside("strip.webp", strip.image)) for strip in contact_strips(page, most=IN_NOTEBOOK)]
    return filled("notebook.html", page=page, labels=run_labels(page.runs), strips=strips, address=address)


def page_json(page: Page | PicturesPage) -> str:
    """The page as JSON, `schema` first; bytes as base64, numbers that are not finite as null."""
    return json.dumps(_plain(page), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def script() -> str:
    """The page's one classic script: its parts in one scope, one after the other, without comments and spaces."""
    code = "\n".join(read(name) for name in SCRIPTS)
    return str(rjsmin.jsmin("(() => {'use strict';" + code + "})();")) + "\n"


def _single(page: Page, shards: list[Shard], strips: list[Strip]) -> str:
    parts = [shard_json(shard, inside) for shard in shards]
    scripts = f"{_hash(read('first.js'))} {_hash(script())}"
    sources = {"img": "data:", "style": _hash(read("style.css")), "script": scripts}
    return _html(page, strips, inside, sources, shards=parts)


def inside(name: str, content: bytes) -> str:
    """A picture as an address that holds it."""
    return f"data:{_MIME[Path(name).suffix]};base64,{b64encode(content).decode('ascii')}"


def _folder(page: Page, shards: list[Shard], strips: list[Strip]) -> dict[str, bytes]:
    files = {"style.css": read("style.css").encode(), "page.js": script().encode()}

    def beside(name: str, content: bytes) -> str:
        files[f"images/{name}"] = content
        return f"images/{name}"

    for k, shard in enumerate(shards):
        text = shard_json(shard, beside)
        files[f"data-{k:03}.js"] = f"benchShard({k}, {text});\n".encode()
    # `self` alone is not the folder of a page from disk in every browser; `file:` says that.
    here = "'self' file:"
    sources = {"img": f"{here} data:", "style": here, "script": f"{here} {_hash(read('first.js'))}"}
    return {INDEX: _html(page, strips, beside, sources, shards=None).encode(), **files}


def _html(
    page: Page,
    strips: list[Strip],
    asset: Callable[[str, bytes], str],
    sources: dict[str, str],
    *,
    shards: list[Markup] | None,
) -> str:
    """The page; `shards` are inside it, or None for a page whose files lie beside it."""
    return filled(
        "run.html" if page.kind == "run" else "comparison.html",
        page=page,
        view=derived.view_of(page),
        controls=controls_of(page),
        # Our own files are the only text that is not escaped.
        style=Markup(read("style.css")),
        first=Markup(read("first.js")),
        script=Markup(script()),
        sources=sources,
        asset=asset,
        data=as_json(index_of(page)),
        shards=shards,
        strips=[(strip, asset(f"strip-{strip.id}.webp", strip.image)) for strip in strips],
        trust_pictures=_trust_pictures(page, asset),
        telling=_telling(page, asset),
    )


def _trust_pictures(
    page: Page, asset: Callable[[str, bytes], str]
) -> list[tuple[Evidence, list[tuple[EvidencePicture, str]]]]:
    """The pictures of the section on trust with where they are."""
    return [
        (one, [(each, asset(f"trust-{at}-{k}.webp", evidence_image(each))) for k, each in enumerate(one.pictures)])
        for at, one in enumerate(page.trust.evidence if page.trust else ())
    ]


def _telling(page: Page, asset: Callable[[str, bytes], str]) -> list[tuple[Telling, list[tuple[Tile, str]]]]:
    """The errors of the first screen with where their drawings are."""
    return [
        (one, [(tile, asset(f"telling-{at}-{k}.webp", tile.image)) for k, tile in enumerate(one.tiles)])
        for at, one in enumerate(telling_errors(page))
    ]


def filled(name: str, **values: object) -> str:
    """A template of this folder with its values, which it escapes."""
    return _environment().get_template(name).render(**values)


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = (
        "percent", "points", "level", "count", "rate", "small", "p_value", "correlation", "moment", "plural",
        "quantiles", "whole", "term_id", "breakable",
    )  # fmt: skip
    environment.filters |= {name: getattr(filters, name) for name in names} | {"why": why}
    environment.globals.update(
        WIDTH=charts.WIDTH,
        MOST_CLASSES=MOST_CLASSES,
        GLOSSARY=GLOSSARY,
        OPEN_FINDINGS=derived.OPEN_FINDINGS,
    )
    return environment


@cache
def read(name: str) -> str:
    """A text file of this folder."""
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
