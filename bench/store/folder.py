"""A run's folder as one call sees it: what was read of it, and what the call itself has added."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.contracts import Floats, Integers
from bench.errors import StoreError
from bench.schema.known_answers import KNOWN_ANSWERS_SCHEMA, KnownAnswers
from bench.schema.page import EpochPoint
from bench.schema.run import Cell, Results, RunRecord
from bench.schema.scores import SCORES_SCHEMA, FaithfulnessScores
from bench.schema.timing import ArmTiming, Timing
from bench.schema.verdicts import VERDICTS_SCHEMA, Judgement
from bench.store.files import (
    Migration,
    impossible,
    locked,
    read_curve,
    read_npz,
    read_value,
    readable,
    unsaid,
    write_json,
    write_npz,
)
from bench.store.migrations import scores_of_today
from bench.store.on_disk import Stamp, in_memory, stamp
from bench.store.paths import (
    CHECKPOINT,
    PREDICTIONS,
    SAMPLES,
    answers_path,
    cell_files,
    cell_path,
    known_scores_path,
    log_path,
    predictions_path,
    record_path,
    samples_path,
    scores_path,
    scrambled_path,
    verdicts_path,
)
from bench.store.predictions import Predictions, read_predictions
from bench.store.rows import (
    Answers,
    Samples,
    merge_cells,
    merge_samples,
    merged,
    read_answers,
    read_cell,
    read_samples,
    same_rows,
    write_answers,
    write_cell,
    write_samples,
)
from bench.store.runs import check_finished, read_record
from bench.store.timings import add_timing, rates_of, read_timings

Value = TypeVar("Value")
Own = TypeVar("Own", Judgement, FaithfulnessScores, KnownAnswers)


@dataclass(eq=False)
class RunFolder:
    """What a call knows of a run's folder. Each file is read when it is first asked for, and not again.

    One is made for a call and passed down. What another process adds meanwhile is not seen, and not lost either: files
    are merged under their locks.
    """

    path: Path
    _known: dict[Path, Any] = field(default_factory=dict, init=False, repr=False)
    _stamps: dict[Path, Stamp] = field(default_factory=dict, init=False, repr=False)
    doubts: list[str] = field(default_factory=list, init=False, repr=False)  # what was left out so far, in words

    def _once(self, path: Path, read: Callable[[Path], Value]) -> Value:
        if path not in self._known:
            self._stamps[path] = stamp(path)
            self._known[path] = read(path)
        value: Value = self._known[path]
        return value

    def _keep(self, path: Path, value: Value) -> Value:
        """Know what was just written under its lock."""
        self._stamps[path], self._known[path] = stamp(path), value
        return value

    @contextmanager
    def _held(self, path: Path) -> Iterator[None]:
        """Hold one of the run's files to write it."""
        with locked(path, self.path):
            yield

    def renewed(self) -> RunFolder:
        """The same folder, without what was read of files that others have changed since."""
        other = RunFolder(self.path)
        other._stamps = {path: found for path, found in self._stamps.items() if found == stamp(path)}
        other._known = {path: self._known[path] for path in other._stamps}
        return other

    def seen_as(self, **known: Any) -> RunFolder:  # noqa: ANN401 (what a property gives)
        """The same folder with other values in the place of what lies in it; nothing is written."""
        other = copy(self)
        vars(other).update(known)
        if "record" in known:
            vars(other).pop("results", None)  # they are made of it
        return other

    # --- what a run is ---

    @cached_property
    def record(self) -> RunRecord:
        """run.json."""
        return self._once(record_path(self.path), lambda _: read_record(self.path))

    @property
    def left_out(self) -> tuple[str, ...]:
        """The doubts that came up so far, each once, without the folders above the run's."""
        return tuple(dict.fromkeys(words.replace(str(self.path), self.path.name) for words in self.doubts))

    @cached_property
    def results(self) -> Results:
        """What came out of the run, without figures that cannot be."""
        for name in self.record.results.impossible:
            value = vars(self.record.results)[name]
            self.doubts.append(f"{record_path(self.path)} has {name} {value!s:.40}, which cannot be: left out")
        return self.record.results.possible

    @cached_property
    def curve(self) -> tuple[EpochPoint, ...]:
        """The epochs of log.jsonl; lines that no epoch can have written are left out."""
        path = log_path(self.path)
        points, lines = read_curve(path)
        if lines:
            self.doubts.append(f"{path} has {lines} lines that are no epochs: left out")
        return points

    @property
    def status(self) -> str:
        """How the run stands; empty for one that cannot be read."""
        try:
            return self.record.status
        except StoreError:
            return ""

    @property
    def checkpoint(self) -> str:
        """The sha256 of the weights the run ended with; empty before its end."""
        return self.record.artefacts.get(CHECKPOINT, "")

    @cached_property
    def predictions(self) -> Predictions:
        """The test logits."""
        return self._once(predictions_path(self.path), lambda _: read_predictions(self.path))

    # --- what was explained ---

    @cached_property
    def samples(self) -> Samples | None:
        """The explained images; None before any."""
        return self._once(samples_path(self.path), read_samples)

    def add_samples(self, new: Samples) -> None:
        """Add images to those that are there; nothing is written where all of them are."""
        if self.samples and same_rows(self.samples, merge_samples(self.samples, new)):
            return
        path = samples_path(self.path)
        with self._held(path):
            whole = merge_samples(read_samples(path), new)
            write_samples(path, whole)
            self.samples = self._keep(path, whole)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of the run's checkpoint, by explainer and layer; StoreError for the first that cannot be read."""
        found = [self._once(path, _cell_or_error) for path in cell_files(self.path)]
        if wrong := next((each for each in found if isinstance(each, StoreError)), None):
            raise wrong
        return tuple(each for each in found if isinstance(each, Cell) and each.checkpoint == self.checkpoint)

    def readable_cells(self) -> list[Cell]:
        """Every cell that can be read."""
        found = (self._once(path, _cell_or_error) for path in cell_files(self.path))
        return [each for each in found if isinstance(each, Cell)]

    def cell(self, explainer: str, layer: str) -> Cell | None:
        """A cell; None where there is none that can be read."""
        found = self._once(cell_path(self.path, explainer, layer), _cell_or_error)
        return found if isinstance(found, Cell) else None

    def add_rows(self, *parts: Cell) -> None:
        """Merge rows into their cell's file; one that cannot be read is replaced."""
        new = merged(parts, "ids", "classes")
        path = cell_path(self.path, new.explainer, new.layer)
        with self._held(path):
            old = _cell_or_error(path)
            whole = merge_cells(old if isinstance(old, Cell) else None, new)
            write_cell(path, whole)
            if in_memory(whole.raw):
                self._keep(path, whole)
            else:  # its maps are read from where they lie now
                self._known.pop(path, None)
                self._stamps.pop(path, None)
        vars(self).pop("cells", None)

    @cached_property
    def timings(self) -> tuple[Timing, ...]:
        """The timings of this run alone, the oldest first."""
        return read_timings(self.path, self.doubts.append)

    @cached_property
    def rates(self) -> Mapping[tuple[str, str, str], ArmTiming]:
        """What was noted while cells were made, by timing, explainer and layer."""
        return rates_of(self.timings)

    def add_timing(self, new: Timing) -> None:
        """Store what was noted in passing, beside what the same call noted before."""
        others = [one for one in self.timings if (one.id, one.what) != (new.id, new.what)]
        self.timings = tuple(sorted([*others, add_timing(self.path, new)], key=lambda one: one.id))
        vars(self).pop("rates", None)

    # --- what was judged ---

    @cached_property
    def judgement(self) -> Judgement | None:
        """The verdicts on the run's own weights; None where there are none that can be read."""
        return self._once(
            verdicts_path(self.path),
            lambda path: _own(path, self.checkpoint, Judgement, VERDICTS_SCHEMA, doubt=self.doubts.append),
        )

    def add_verdicts(self, new: Judgement) -> Judgement:
        """Write new verdicts beside those of other explainers and layers by the same versions; gives all of them."""
        path = verdicts_path(self.path)
        with self._held(path):
            old = _own(path, new.checkpoint, Judgement, VERDICTS_SCHEMA)
            every = (*(old.verdicts if old and old.versions == new.versions else ()), *new.verdicts)
            kept = {(one.explainer, one.layer): one for one in every}
            whole = replace(new, verdicts=tuple(kept[key] for key in sorted(kept)))
            write_json(path, dataclasses.asdict(whole))
            self.judgement = self._keep(path, whole)
        return whole

    @cached_property
    def scores(self) -> FaithfulnessScores | None:
        """The scores of explainers on the run's own weights; None where there are none that can be read."""
        return self._once(
            scores_path(self.path),
            lambda path: _own(
                path, self.checkpoint, FaithfulnessScores, SCORES_SCHEMA, scores_of_today, doubt=self.doubts.append
            ),
        )

    def keep_scores(self, new: FaithfulnessScores) -> None:
        """Replace the scores."""
        path = scores_path(self.path)
        with self._held(path):
            write_json(path, dataclasses.asdict(new))
            self.scores = self._keep(path, new)

    @cached_property
    def known_answers(self) -> KnownAnswers | None:
        """What tests with a known answer said of the run's own weights; None where nothing can be read."""
        return self._once(
            known_scores_path(self.path),
            lambda path: _own(path, self.checkpoint, KnownAnswers, KNOWN_ANSWERS_SCHEMA, doubt=self.doubts.append),
        )

    def keep_known_answers(self, new: KnownAnswers) -> None:
        """Replace what they said."""
        path = known_scores_path(self.path)
        with self._held(path):
            write_json(path, dataclasses.asdict(new))
            self.known_answers = self._keep(path, new)

    def answers(self, grid: tuple[int, int], head: Mapping[str, object], classes: int, fill: str = "") -> Answers:
        """What this very model answered with patches covered; `head` says of which model the answers must be.

        Args:
            fill: what covered patches show; empty for the mean colour.
        """
        return self._once(answers_path(self.path, grid, fill), partial(read_answers, head=head, classes=classes))

    def add_answers(self, grid: tuple[int, int], new: Answers, head: Mapping[str, object], fill: str = "") -> Answers:
        """Merge answers into those of the same model and fill; gives all."""
        path = answers_path(self.path, grid, fill)
        with self._held(path):
            whole = merged([read_answers(path, head, new.logits.shape[1]), new], "ids", "sets")
            write_answers(path, whole, head)
            return self._keep(path, whole)

    def scrambled(self, explainer: str, layer: str, *, head: str, ids: Integers, kind: str = "sanity") -> Floats | None:
        """The maps (S, I, h, w) of `ids` (I,) by copies whose weights were scrambled, for each stage that was.

        Of another kind what was found of each image, (S, I). None where there are none that can be read, they hang
        on other things than `head` or do not begin with these images; more images do no harm.
        """
        found = self._once(scrambled_path(self.path, explainer, layer, kind), _read_scrambled)
        same = found and str(found["head"]) == head and np.array_equal(found["ids"][: len(ids)], ids)
        return found["raw"][:, : len(ids)] if found and same else None

    def keep_scrambled(
        self, explainer: str, layer: str, *, head: str, ids: Integers, raw: Floats, kind: str = "sanity"
    ) -> None:
        """Write such maps in the place of those that are there."""
        path = scrambled_path(self.path, explainer, layer, kind)
        arrays = {"head": np.array(head), "ids": ids, "raw": raw}
        with self._held(path):
            write_npz(path, arrays)
            self._keep(path, arrays)


def _cell_or_error(path: Path) -> Cell | StoreError:
    try:
        return read_cell(path)
    except StoreError as error:
        return error


def _read_scrambled(path: Path) -> dict[str, Any] | None:
    return next(readable(partial(read_npz, names=("head", "ids", "raw")), [path]), None)


def _own(
    path: Path,
    checkpoint: str,
    kind: type[Own],
    schema: int,
    migrated: Migration = dict,
    *,
    doubt: Callable[[str], object] = unsaid,
) -> Own | None:
    """What was found of some weights; None for others, or where it cannot be read: the next call writes it anew."""
    if not os.path.lexists(path):
        return None
    found = next(readable(partial(read_value, kind=kind, schema=schema, migrated=migrated), [path], doubt), None)
    if found is None or found.checkpoint != checkpoint:
        return None
    figure = next(impossible(dataclasses.asdict(found)), None)
    if figure is None:
        return found
    doubt(f"{path} has a figure that cannot be, {figure:.60}: left out")
    return None


# --- all that a page needs ----------------------------------------------------------------------------------


def read_run(folder: Path) -> RunFolder:
    """The run in a folder, for whoever makes a page of it or a part of one; refused as `checked` says."""
    return checked(RunFolder(folder))


def checked(run: RunFolder) -> RunFolder:
    """The run itself; StoreError where it did not finish, or its files speak of other models, classes or images."""
    check_finished(run.record)
    again = f"bench evaluate {run.path.name}"
    # The predictions shown are those that the run's own weights made.
    stored, found = run.record.artefacts.get(PREDICTIONS), run.predictions.digest
    if stored not in (None, found):
        raise StoreError(
            f"{predictions_path(run.path)} is not the file this run was tested into: sha256 {found[:12]}, "
            f"run.json says {stored[:12]}",
            try_=again,
        )
    total, known = run.predictions.logits.shape
    parts = [("run.json names", len(run.record.data.classes), run.predictions.ids)]
    parts += [
        (f"{cell.explainer} at {cell.layer} has", max(known, int(cell.classes.max(initial=-1)) + 1), cell.ids)
        for cell in run.cells
    ]
    if samples := run.samples:
        parts.append((f"{SAMPLES} has", max(known, int(samples.labels.max(initial=-1)) + 1), samples.ids))
    for words, classes, ids in parts:
        largest = int(ids.max(initial=0))
        if classes != known or largest >= total or ids.min(initial=0) < 0:
            raise StoreError(
                f"{run.path} is damaged: {words} {classes} classes and ids up to {largest}, "
                f"its predictions have {known} classes of {total} test images",
                try_=again,
            )
    _check_labels(run)
    return run


def _check_labels(run: RunFolder) -> None:
    """Labels that stand beside pictures are those of the predictions, whose checksum is known."""
    known, samples = run.predictions, run.samples
    if samples is None:
        return
    other = np.flatnonzero(samples.labels != known.labels[samples.ids])
    if len(other):
        image, names = int(samples.ids[other[0]]), run.record.data.classes
        raise StoreError(
            f"{samples_path(run.path)} is damaged: it has test image {image} as '{names[samples.labels[other[0]]]}', "
            f"{PREDICTIONS} as '{names[known.labels[image]]}'",
            try_=f"delete it, then bench explain --run {run.path.name}",
        )
