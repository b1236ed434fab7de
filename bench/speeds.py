"""What a comparison page says of speed: the newest paired timing of its runs, or that there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.registry import short
from bench.store import CHECKPOINT
from bench.timingfile import newest_timing
from bench.timingwords import speed_findings, timing_badge

if TYPE_CHECKING:
    from bench.pages import RunData
    from bench.timingfile import Timing
    from bench.views import Page

UNPAIRED = "timings not paired"  # how the badge begins that a paired timing replaces


def with_speeds(page: Page, runs: Sequence[RunData]) -> Page:
    """The page with the sentences and the badge of the newest timing that knows all its runs; as it was without one.

    A timing by the runs' own names and weights comes first, else one by the names of their models: how fast a net is
    does not hang on what it learned.
    """
    timing = timing_of(runs)
    if timing is None:
        return page
    badges = [timing_badge(timing) if each.text.startswith(UNPAIRED) else each for each in page.badges]
    explainers = {cell.explainer for cell in page.cells}
    return replace(page, badges=tuple(badges), findings=page.findings + speed_findings(timing, explainers=explainers))


def timing_of(runs: Sequence[RunData]) -> Timing | None:
    """The newest timing in the runs' folders or beside them that knows all of them."""
    folders = {folder: None for data in runs for folder in (data.folder, data.folder.parent)}
    own = {data.record.name: data.record.artefacts.get(CHECKPOINT, "") for data in runs}
    models = {short(data.record.model): None for data in runs}
    return newest_timing(*folders, models=own) or newest_timing(*folders, models=models)
