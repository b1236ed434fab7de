"""The table of explainers by layers: what was judged, what it costs, what went wrong, and a link to its maps."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import quote

from bench.schema.page import Page

MANY = 40  # agreements: more of them stand in a table of their own
TONES = {"same": "good", "same up to rounding": "good", "other recipe": "warn", "wrong": "bad", "failed": "bad"}


def layers_of(page: Page) -> tuple[str, ...]:
    """Layers with maps, then those that were only judged or scored."""
    named = [cell.layer for cell in page.cells]
    named += [one.verdict.layer for one in page.verdicts] + [one.layer for one in page.scores]
    return tuple(dict.fromkeys(named))


def matrix_of(page: Page, run: int) -> list[SimpleNamespace]:
    """The lines of one run, the explainers' first, then their agreement in pairs.

    Returns:
        name: an explainer, or a pair of them.
        spots: one explainer at each layer, None where there is nothing, else
            cell, verdict, score: as far as it was computed, judged and scored.
            link: to its maps in the gallery; empty where there are none.
            tone: class of the verdict's word.
            speed: its rate by `bench time`, for the same artefact from all; the cell's own was noted in passing.
        agreements: of a pair at each layer, None where there is none.
    """
    layers = layers_of(page)
    cells = {(cell.explainer, cell.layer): cell for cell in page.cells if cell.run == run}
    verdicts = {(one.verdict.explainer, one.verdict.layer): one.verdict for one in page.verdicts if one.run == run}
    scores = {(one.explainer, one.layer): one for one in page.scores if one.run == run}
    speeds = {
        (one.arm.explainer, one.arm.layer): one
        for timing in page.speeds
        for one in timing.arms
        if one.arm.what == "explain" and run in one.runs
    }
    shown = page.agreements if len(page.agreements) <= MANY else ()
    agreed = {((a.first, a.second), a.layer): a for a in shown if a.run == run}

    def spot(name: str, layer: str) -> SimpleNamespace | None:
        key = name, layer
        if key not in cells and key not in verdicts and key not in scores:
            return None
        verdict = verdicts.get(key)
        return SimpleNamespace(
            cell=cells.get(key),
            verdict=verdict,
            score=scores.get(key),
            link=_link(page, run, name, layer) if key in cells else "",
            tone=TONES.get(verdict.verdict, "") if verdict else "",
            speed=speeds.get(key),
        )

    names = dict.fromkeys(name for name, _ in [*cells, *verdicts, *scores])
    rows = [SimpleNamespace(name=name, spots=[spot(name, one) for one in layers], agreements=()) for name in names]
    for pair in dict.fromkeys(pair for pair, _ in agreed):
        found = [agreed.get((pair, one)) for one in layers]
        rows.append(SimpleNamespace(name=" against ".join(pair), spots=(), agreements=found))
    return rows


def _link(page: Page, run: int, explainer: str, layer: str) -> str:
    """The gallery with this column; a list in an address is quoted once more, for commas of its own."""
    chosen = [("x", explainer), ("l", layer)] + ([("m", str(run))] if len(page.runs) > 1 else [])
    return "#" + "&".join(f"{key}={quote(quote(value, safe=''), safe='')}" for key, value in chosen)
