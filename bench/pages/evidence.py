"""What was judged of a run's explainers, and how faithful they are, as far as that was looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.registry.registry import short
from bench.schema.page import Score, VerdictView

if TYPE_CHECKING:
    from bench.schema.scores import ExplainerScores
    from bench.store.folder import RunFolder


def judged_of(run: int, data: RunFolder) -> tuple[VerdictView, ...]:
    """The verdicts on a run's weights, by layer; a cell made by another revision is not judged."""
    revisions = {(cell.explainer, cell.layer): cell.revision for cell in data.cells}
    return tuple(
        VerdictView(run, replace(one, explainer=short(one.explainer)))
        for one in sorted(data.judgement.verdicts if data.judgement else (), key=lambda one: one.layer)
        if revisions.get((one.explainer, one.layer), one.revision) == one.revision
    )


def scores_of(run: int, data: RunFolder) -> tuple[Score, ...]:
    """The scores of a run's explainers, baselines included."""
    return tuple(_score(run, one) for one in data.scores.rows) if data.scores else ()


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
