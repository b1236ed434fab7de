"""The table of explainers by layers: what was judged, what it costs, what went wrong, and a link to its maps."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from bench.schema.page import Agreement, ArmSpeed, CellView, Page, Score
from bench.schema.verdicts import Verdict

MANY = 40  # agreements: more of them stand in a table of their own
TONES = {"same": "good", "same up to rounding": "good", "other recipe": "warn", "wrong": "bad", "failed": "bad"}


@dataclass(frozen=True)
class Spot:
    """One explainer at one layer of one run, as far as it was computed, judged and scored.

    Attributes:
        link: to its maps in the gallery; empty where there are none.
        tone: class of the verdict's word.
        speed: its rate by `bench time`, for the same artefact from all; the cell's own was noted in passing.
    """

    cell: CellView | None
    verdict: Verdict | None
    score: Score | None
    link: str
    tone: str
    speed: ArmSpeed | None = None


@dataclass(frozen=True)
class MatrixRow:
    """One line of the matrix: an explainer or a pair of them, with one entry a layer, None where there is none."""

    name: str
    spots: tuple[Spot | None, ...] = ()
    agreements: tuple[Agreement | None, ...] = ()


def layers_of(page: Page) -> tuple[str, ...]:
    """Layers with maps, then those that were only judged or scored."""
    named = [cell.layer for cell in page.cells]
    named += [one.verdict.layer for one in page.verdicts] + [one.layer for one in page.scores]
    return tuple(dict.fromkeys(named))


def matrix_of(page: Page, run: int) -> tuple[MatrixRow, ...]:
    """The lines of one run, the explainers' first, then their agreement in pairs."""
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

    def spot(name: str, layer: str) -> Spot | None:
        key = name, layer
        if key not in cells and key not in verdicts and key not in scores:
            return None
        verdict = verdicts.get(key)
        link = _link(page, run, name, layer) if key in cells else ""
        tone = TONES.get(verdict.verdict, "") if verdict else ""
        return Spot(cells.get(key), verdict, scores.get(key), link, tone, speeds.get(key))

    names = dict.fromkeys(name for name, _ in [*cells, *verdicts, *scores])
    rows = [MatrixRow(name, tuple(spot(name, layer) for layer in layers)) for name in names]
    rows += [
        MatrixRow(f"{first} against {second}", agreements=tuple(agreed.get(((first, second), one)) for one in layers))
        for first, second in dict.fromkeys(pair for pair, _ in agreed)
    ]
    return tuple(rows)


def _link(page: Page, run: int, explainer: str, layer: str) -> str:
    """The gallery with this column; a list in an address is quoted once more, for commas of its own."""
    chosen = [("x", explainer), ("l", layer)] + ([("m", str(run))] if len(page.runs) > 1 else [])
    return "#" + "&".join(f"{key}={quote(quote(value, safe=''), safe='')}" for key, value in chosen)
