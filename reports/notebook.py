"""What a notebook shows of a page: its finding, its sentences, its figures and its first images."""

from __future__ import annotations

from base64 import b64encode

from bench.schema.page import Page, run_labels

from .contact_strips import contact_strips
from .render import template

MOST = 6  # images


def notebook_html(page: Page, address: str) -> str:
    """A piece of HTML without script or style sheet; names of classes and files stay text.

    Args:
        page: what is shown.
        address: of the whole page, to be linked to.
    """
    strips = [
        (strip, f"data:image/webp;base64,{b64encode(strip.image).decode('ascii')}")
        for strip in contact_strips(page, most=MOST)
    ]
    return template("notebook.html").render(page=page, labels=run_labels(page.runs), strips=strips, address=address)
