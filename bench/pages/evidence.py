"""What was judged of a run's explainers, and how faithful they are, as far as that was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import StoreError
from bench.registry.registry import short
from bench.schema.page import Judged, Score
from bench.schema.scores import SCORES_SCHEMA, ExplainerScores, FaithfulnessScores
from bench.store.files import read_value
from bench.store.migrations import scores_of_today
from bench.store.paths import scores_path
from bench.store.verdicts import read_judgement

if TYPE_CHECKING:
    from bench.schema.run import Cell


def judged_of(run: int, folder: Path, checkpoint: str, cells: Sequence[Cell]) -> tuple[Judged, ...]:
    """The verdicts on the weights with this sha256, by layer; a cell made by another revision is not judged."""
    found = read_judgement(folder, checkpoint)
    revisions = {(cell.explainer, cell.layer): cell.revision for cell in cells}
    return tuple(
        Judged(run, replace(one, explainer=short(one.explainer)))
        for one in sorted(found.verdicts if found else (), key=lambda one: one.layer)
        if revisions.get((one.explainer, one.layer), one.revision) == one.revision
    )


def scores_of(run: int, folder: Path, checkpoint: str) -> tuple[Score, ...]:
    """The scores of the explainers, baselines included; nothing where there are none that can be read."""
    try:
        found = read_value(scores_path(folder), FaithfulnessScores, SCORES_SCHEMA, scores_of_today)
    except StoreError:  # scoring again writes it anew
        return ()
    return tuple(_score(run, one) for one in found.rows) if found.checkpoint == checkpoint else ()


def _score(run: int, row: ExplainerScores) -> Score:
    value, null = row.logit.value, row.logit.null
    return Score(
        run=run,
        explainer=short(row.explainer),
        layer=row.layer,
        value=value.value if value else None,
        low=value.low if value else None,
        high=value.high if value else None,
        null=null.value if null else None,
        images=row.logit.images,
        evidence=row.logit.verdict,
    )
