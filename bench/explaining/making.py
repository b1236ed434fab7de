"""What makes rows: an explainer over the images of a run, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from bench.clock import Meter, Pace
from bench.contracts import Dataset, Floats
from bench.data.transforms import prepare
from bench.errors import BenchError, in_one_line
from bench.explaining.batches import at_once, explained, named, overheard
from bench.explaining.guard import statuses
from bench.explaining.plan import MissingRows, empty_cell
from bench.memory import Room, free, ran_out
from bench.nets.trained import Trained, check_same_model
from bench.schema.run import Cell
from bench.store.predictions import logit_gap


@dataclass(frozen=True)
class Explaining:
    """What all rows of one call have in common.

    Attributes:
        failed: cells that cannot be made with this model, and why; only what `all` brought in comes here.
        too_large: what does not fit into memory with a single image.
    """

    trained: Trained
    data: Dataset
    timing: str
    room: Room
    failed: dict[tuple[str, str], Exception] = field(default_factory=dict)
    too_large: list[str] = field(default_factory=list)

    @contextmanager
    def kept_from_others(self, missing: MissingRows) -> Iterator[None]:
        """What does not fit into memory is noted, and the other explainers go on."""
        try:
            yield
        except Exception as error:
            if not ran_out(error):
                raise
            self.too_large.append(named(missing.name, missing.layers))
        free()

    def tried(self, missing: MissingRows, *, optional: bool) -> list[MissingRows]:
        """The rows, once one image went through (imports and allocations, untimed); or those that can be made.

        Where memory runs out with all layers at once, each is tried by itself.

        Args:
            optional: a failure costs the layers at which it happens, and does not end the whole.
        """
        failure: Exception | None = None
        try:
            self.maps(missing.part(slice(1)))
            return [missing]
        except Exception as error:
            if not ran_out(error):  # else what it holds is the memory that is missing
                failure = error
        if failure is None:
            free()
        elif not optional:
            raise failure
        if len(missing.layers) > 1:
            alone = [replace(missing, layers=(layer,)) for layer in missing.layers]
            return [each for one in alone for each in self.tried(one, optional=optional)]
        if failure is None:
            self.too_large.append(named(missing.name, missing.layers))
        else:
            self.failed[missing.name, missing.layers[0]] = failure
            why = failure.message if isinstance(failure, BenchError) else in_one_line(failure)
            self.room.progress.warn(f"{missing.name} is left out at {missing.layers[0]}: {why}")
        return []

    def done(self, missing: MissingRows) -> Meter:
        """Make the rows batch by batch; they are saved every minute or so and at the end, even of a failure."""
        meter, pace = Meter(self.trained.device), Pace()
        parts: list[list[Cell]] = []
        try:
            with self.room.progress.track(f"{missing.name} {','.join(missing.layers)}", len(missing.ids)) as task:
                for count, cells in self.rows(missing, meter):
                    parts.append(cells)
                    if pace.due():
                        with pace.saving():
                            self.save(parts)
                    task.advance(count, f"{meter.rate or 0:.1f} images/s")
        finally:
            self.save(parts)
        return meter

    def rows(self, missing: MissingRows, meter: Meter) -> Iterator[tuple[int, list[Cell]]]:
        """The rows of each batch with its number of images: a cell with nothing else for each layer."""

        def work(rows: slice) -> tuple[MissingRows, Floats, dict[str, Floats]]:
            part, own = missing.part(rows), Meter(meter.device)
            found = self.maps(part, own)
            meter.laps.extend(own.laps)  # not before all of it went well
            return (part, *found)

        empty = [empty_cell(self.trained, missing.name, missing.spec, layer, self.timing) for layer in missing.layers]
        baseline = self.baseline() if missing.spec.complete else None
        what = named(missing.name, missing.layers)
        for part, logits, raw in self.room.batches(what, len(missing.ids), at_once(missing.spec), work):
            yield len(part.ids), [filled(cell, part, logits, raw[cell.layer], baseline=baseline) for cell in empty]

    def maps(self, missing: MissingRows, meter: Meter | None = None) -> tuple[Floats, dict[str, Floats]]:
        """(N, K) logits, and raw maps {layer: (N, T, h, w)}, once it is clear that the model is that of the run."""
        trained, ids = self.trained, torch.from_numpy(missing.ids)
        inputs = prepare(self.data.test.images[ids].to(trained.device), trained.statistics)
        targets = torch.from_numpy(missing.targets).to(trained.device)
        with overheard(trained.model, inputs) as heard:
            found = explained(missing.spec, trained.model, missing.layers, inputs, targets, meter=meter)
        logits = self.logits(inputs, heard, trained.run.predictions.logits[missing.ids])
        return logits, {layer: maps.float().cpu().numpy() for layer, maps in found.items()}

    def logits(self, inputs: Tensor, heard: Sequence[Tensor], stored: Floats) -> Floats:
        """(N, K) logits: those that the explainer's own pass gave where they are the run's, else of a pass of ours."""
        given: Floats = heard[0].float().cpu().numpy() if heard else np.empty(0)
        if given.shape == stored.shape and logit_gap(given, stored) is None:
            return given
        own: Floats = self.trained.model(inputs).float().cpu().numpy()
        check_same_model(own, stored, self.trained)
        return own

    def baseline(self) -> Floats:
        """(K,) logits of the mean colour, which the sums of maps are held against."""
        edge = self.trained.record.size
        grey = torch.zeros(1, 3, edge, edge, device=self.trained.device)
        logits: Floats = self.trained.model(grey)[0].float().cpu().numpy()
        return logits

    def save(self, parts: list[list[Cell]]) -> None:
        """Add rows to those on disk, and let go of them."""
        for of_layer in zip(*parts, strict=True):
            self.trained.run.add_rows(*of_layer)
        parts.clear()


def filled(empty: Cell, missing: MissingRows, logits: Floats, maps: Floats, *, baseline: Floats | None = None) -> Cell:
    """A cell with rows of its key; where predicted and true class are one, so are their rows.

    Args:
        baseline: (K,) logits of the mean colour, where the sums of maps promise something.
    """
    first = [[one not in row[:column] for column, one in enumerate(row)] for row in missing.targets.tolist()]
    image, column = np.nonzero(np.array(first))
    raw, classes = maps[image, column], missing.targets[image, column]
    return replace(
        empty,
        ids=missing.ids[image],
        classes=classes,
        raw=raw,
        status=statuses(raw),
        due=None if baseline is None else logits[image, classes] - baseline[classes],
    )
