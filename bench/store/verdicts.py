"""Verdicts and scores on disk; verdicts are written with those of earlier calls that still hold."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

from bench.errors import StoreError
from bench.schema.scores import SCORES_SCHEMA, FaithfulnessScores
from bench.schema.verdicts import VERDICTS_SCHEMA, Judgement
from bench.store.files import locked, read_value, write_json
from bench.store.migrations import scores_of_today
from bench.store.paths import scores_path, verdicts_path


def read_judgement(run: Path, checkpoint: str) -> Judgement | None:
    """The verdicts on a run's own weights; None where there are none, or none that can be read."""
    try:
        found = read_value(verdicts_path(run), Judgement, VERDICTS_SCHEMA)
    except StoreError:  # judging again writes it anew
        return None
    return found if found.checkpoint == checkpoint else None


def read_scores(run: Path, checkpoint: str) -> FaithfulnessScores | None:
    """The scores of explainers on a run's own weights; None where there are none, or none that can be read."""
    try:
        found = read_value(scores_path(run), FaithfulnessScores, SCORES_SCHEMA, scores_of_today)
    except StoreError:  # scoring again writes it anew
        return None
    return found if found.checkpoint == checkpoint else None


def write_scores(run: Path, found: FaithfulnessScores) -> None:
    """Replace the scores of a run."""
    write_json(scores_path(run), dataclasses.asdict(found))


def add_verdicts(run: Path, new: Judgement) -> Judgement:
    """Write new verdicts beside those of other explainers and layers by the same versions; gives all of them."""
    path = verdicts_path(run)
    with locked(path):
        old = read_judgement(run, new.checkpoint)
        kept = {(one.explainer, one.layer): one for one in old.verdicts} if old and old.versions == new.versions else {}
        kept |= {(one.explainer, one.layer): one for one in new.verdicts}
        whole = replace(new, verdicts=tuple(kept[key] for key in sorted(kept)))
        write_json(path, dataclasses.asdict(whole))
    return whole
