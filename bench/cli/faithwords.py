"""Scores of explanations on the terminal and as JSON."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from bench.cli.console import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from bench.cli.session import Session
    from bench.schema.scores import FaithfulnessScores
    from bench.scoring.tables import Sheet


def faithfulness_answer(session: Session, run: str, **options: Any) -> Answer:  # noqa: ANN401 (those of `faithfulness`)
    """`bench judge --faithfulness`: the call and its answer."""
    from bench import api
    from bench.store.runs import find_run
    from bench.store.verdicts import scores_path

    found = api.faithfulness(run, workspace=session.place, **options)
    return scores_answer(found, scores_path(find_run(session.runs, run)))


def scores_answer(found: FaithfulnessScores, path: Path) -> Answer:
    """A table for each kind of score, and where all figures lie; after a dry run what it would take."""
    from bench.scoring.tables import WORD_HEADS, head_words, sheets

    value = {key: each for key, each in dataclasses.asdict(found).items() if key != "schema"}
    value["cost"] |= {"forwards_per_image": found.cost.per_image, "seconds": found.cost.seconds}
    if not found.rows:
        return Answer({**value, "path": None}, ("no errors to look at",) if found.images == 0 else ())
    lines: list[Any] = [head_words(found)]
    for sheet in sheets(found):
        lines += ["", _table(sheet, WORD_HEADS), sheet.note]
    return Answer({**value, "path": str(path.resolve())}, (*lines, "", str(path.resolve())))


def _table(sheet: Sheet, words: frozenset[str]) -> Table:
    table = Table(title=sheet.title, title_justify="left")
    for head in sheet.heads:
        table.add_column(head, justify="left" if head in words else "right")
    for row in sheet.rows:
        table.add_row(*(escape(each) for each in row))
    return table
