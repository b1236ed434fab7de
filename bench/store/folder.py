"""A run's folder as one call sees it: what was read of it, and what the call itself has added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import StoreError
from bench.store.answers import add_answers, read_answers
from bench.store.cells import add_rows, read_cell
from bench.store.paths import (
    CHECKPOINT,
    answers_path,
    cell_files,
    cell_path,
    predictions_path,
    record_path,
    samples_path,
    scores_path,
    scrambled_path,
    timings_path,
    verdicts_path,
)
from bench.store.predictions import read_predictions
from bench.store.record import read_record
from bench.store.samples import add_samples, holds, read_samples
from bench.store.scrambled import read_scrambled, write_scrambled
from bench.store.timings import add_timing, read_timings
from bench.store.verdicts import add_verdicts, read_judgement, read_scores

if TYPE_CHECKING:
    from bench.schema.run import Cell, RunRecord
    from bench.schema.scores import FaithfulnessScores
    from bench.schema.timing import Timing
    from bench.schema.verdicts import Judgement
    from bench.store.answers import Answers
    from bench.store.predictions import Predictions
    from bench.store.samples import Samples
    from bench.store.scrambled import Scrambled

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class RunFolder:
    """What a call knows of a run's folder. Each file is read when it is first asked for, and not again.

    One is made for a call and passed down. What another process adds meanwhile is not seen, and not lost either: files
    are merged under their locks.
    """

    path: Path
    _known: dict[Path, Any] = field(default_factory=dict, init=False, repr=False)

    def _once(self, path: Path, read: Callable[[], Value]) -> Value:
        if path not in self._known:
            self._known[path] = read()
        value: Value = self._known[path]
        return value

    # --- what a run is ---

    @property
    def record(self) -> RunRecord:
        """run.json."""
        return self._once(record_path(self.path), lambda: read_record(self.path))

    @property
    def is_done(self) -> bool:
        """Whether it holds a run that finished; one that cannot be read did not."""
        try:
            return self.record.status == "done"
        except StoreError:
            return False

    @property
    def checkpoint(self) -> str:
        """The sha256 of the weights the run ended with; empty before its end."""
        return self.record.artefacts.get(CHECKPOINT, "")

    @property
    def predictions(self) -> Predictions:
        """The test logits."""
        return self._once(predictions_path(self.path), lambda: read_predictions(self.path))

    # --- what was explained ---

    @property
    def samples(self) -> Samples | None:
        """The explained images; None before any."""
        return self._once(samples_path(self.path), lambda: read_samples(self.path))

    def add_samples(self, new: Samples) -> None:
        """Add images to those that are there; nothing is written where all of them are."""
        if not holds(self.samples, new):
            self._known[samples_path(self.path)] = add_samples(self.path, new)

    def cell(self, explainer: str, layer: str) -> Cell | None:
        """A cell; None where there is none that can be read."""
        path = cell_path(self.path, explainer, layer)
        found = self._cell(path) if path in self._known or path.exists() else None
        return None if isinstance(found, StoreError) else found

    def cells(self) -> list[Cell]:
        """Every cell, in order of explainer and layer; StoreError for the first that cannot be read."""
        return [_or_raise(self._cell(path)) for path in cell_files(self.path)]

    def readable_cells(self) -> list[Cell]:
        """Every cell that can be read."""
        found = (self._cell(path) for path in cell_files(self.path))
        return [each for each in found if not isinstance(each, StoreError)]

    def _cell(self, path: Path) -> Cell | StoreError:
        def read() -> Cell | StoreError:
            try:
                return read_cell(path)
            except StoreError as error:
                return error

        return self._once(path, read)

    def add_rows(self, new: Cell) -> None:
        """Merge rows into their cell."""
        path = cell_path(self.path, new.explainer, new.layer)
        self._known[path] = add_rows(path, new)

    @property
    def timings(self) -> tuple[Timing, ...]:
        """The timings of this run alone, the oldest first."""
        return self._once(timings_path(self.path), lambda: read_timings(self.path))

    def add_timing(self, new: Timing) -> None:
        """Store what was noted in passing, beside what the same call noted before."""
        others = [one for one in self.timings if (one.id, one.what) != (new.id, new.what)]
        found = [*others, add_timing(self.path, new)]
        self._known[timings_path(self.path)] = tuple(sorted(found, key=lambda one: one.id))

    # --- what was judged ---

    @property
    def judgement(self) -> Judgement | None:
        """The verdicts on the run's own weights; None where there are none that can be read."""
        return self._once(verdicts_path(self.path), lambda: read_judgement(self.path, self.checkpoint))

    def add_verdicts(self, new: Judgement) -> None:
        """Merge verdicts into those that still hold."""
        self._known[verdicts_path(self.path)] = add_verdicts(self.path, new)

    @property
    def scores(self) -> FaithfulnessScores | None:
        """The scores of explainers on the run's own weights; None where there are none that can be read."""
        return self._once(scores_path(self.path), lambda: read_scores(self.path, self.checkpoint))

    def answers(self, grid: tuple[int, int], head: Mapping[str, object], classes: int) -> Answers:
        """What this very model answered with patches covered; `head` says of which model the answers must be."""
        path = answers_path(self.path, grid)
        return self._once(path, lambda: read_answers(path, head, classes))

    def add_answers(self, grid: tuple[int, int], new: Answers, head: Mapping[str, object]) -> Answers:
        """Merge answers into those of the same model; gives all."""
        path = answers_path(self.path, grid)
        found = self._known[path] = add_answers(path, new, head)
        return found

    def scrambled(self, explainer: str, layer: str) -> Scrambled | None:
        """The maps of copies with scrambled weights; None where there are none that can be read."""
        path = scrambled_path(self.path, explainer, layer)
        return self._once(path, lambda: read_scrambled(path))

    def keep_scrambled(self, explainer: str, layer: str, new: Scrambled) -> None:
        """Write such maps in the place of those that are there."""
        path = scrambled_path(self.path, explainer, layer)
        write_scrambled(path, new)
        self._known[path] = new


def _or_raise(found: Cell | StoreError) -> Cell:
    if isinstance(found, StoreError):
        raise found
    return found
