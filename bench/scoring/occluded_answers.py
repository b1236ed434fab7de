"""Asking the model about covered patches: what has not been answered yet, the loop that asks, and the maps to rank."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from bench.clock import Meter, Pace, Stopwatch
from bench.contracts import Booleans, Dataset, Files, Floats, Integers, Progress, Silence
from bench.data.transforms import prepare
from bench.explaining.plan import INPUT_LAYER, rate_of
from bench.explaining.units import Hands, OfRun
from bench.machine import versions
from bench.memory import Room
from bench.nets.trained import Trained, check_same_model
from bench.precision import fp32_key, ieee
from bench.registry.layer_shapes import grids_of
from bench.schema.run import STATUSES, Cell
from bench.scoring.baselines import (
    CENTRE,
    CONTRAST,
    EDGES,
    RANDOM,
    TEMPLATE,
    centre_maps,
    class_templates,
    contrast_maps,
    edge_maps,
    random_maps,
)
from bench.scoring.fills import BLACK, BLUR, IMPUTED, MEAN_COLOUR, black, blurred, others_of
from bench.scoring.imputing import imputed
from bench.scoring.layer_scores import Errors, Maps, Ranked, drops, flat, health, ranked, shared_sets
from bench.scoring.patches import as_masks, shares
from bench.store.rows import Answers

Fill: TypeAlias = "Tensor | Integers | None"
LARGEST = 512  # images a call, on any device: units are whole batches wherever they run
SECONDS = 10.0  # of a unit, about
DRAWS = 5  # random orders that the mean is of; the row `random` is one more


# --- maps ---------------------------------------------------------------------------------------------------


def maps_of(cell: Cell, name: str, ids: Integers, *, predicted: Integers, true: Integers) -> Maps:
    """The maps of a cell for both classes of each image; all must be there.

    Args:
        ids: (I,) test ids, with the classes (I,) `predicted` and `true`.
    """
    rows = {key: row for row, key in enumerate(zip(cell.ids.tolist(), cell.classes.tolist(), strict=True))}
    places = [
        np.array([rows[key] for key in zip(ids.tolist(), of.tolist(), strict=True)], dtype=np.int64)
        for of in (predicted, true)
    ]
    good = cell.status == STATUSES.index("ok")
    every = np.unique(np.concatenate(places))
    return Maps(
        name,
        cell.raw[places[0]],
        good[places[0]],
        cell.raw[places[1]],
        good[places[1]],
        health(cell.raw[every], cell.status[every]),
    )


def baselines_of(
    ids: Integers, images: Tensor, size: tuple[int, int], grid: tuple[int, int]
) -> tuple[list[Ranked], list[Ranked]]:
    """The rows that need no answer of the model, and the random orders that gains are counted against.

    Args:
        images: (I, 3, H, W), normalised.
        size: of the layer's maps.
    """
    fine = (min(size[0], images.shape[2]), min(size[1], images.shape[3]))  # no patch is smaller than a pixel
    rows = {
        RANDOM: random_maps(ids, size, 0),
        CENTRE: centre_maps(ids, size),
        CONTRAST: contrast_maps(images, fine),
        EDGES: edge_maps(images, fine),
    }
    draws = [random_maps(ids, size, draw) for draw in range(1, DRAWS + 1)]
    return (
        [ranked(without_model(name, maps), ids, grid) for name, maps in rows.items()],
        [ranked(without_model(RANDOM, maps), ids, grid) for maps in draws],
    )


def template_of(errors: Errors, answers: Answers, grid: tuple[int, int]) -> Ranked:
    """The row `class template`, from what the model answered to single patches in the mean colour.

    One map for the logit and one for the margin, each of the other images that are taken for the same class.
    """
    logit, margin = (class_templates(each, errors.predicted) for each in drops(answers, errors, grid))
    maps = without_model(TEMPLATE, logit)
    return Ranked(maps, errors.ids, logit, margin, maps.predicted_ok, maps.predicted_ok)


def without_model(name: str, maps: Floats) -> Maps:
    """Maps of a baseline, one an image whatever the class; NaN where it has none."""
    known: Booleans = np.isfinite(maps.sum(axis=(1, 2)))
    return Maps(name, maps, known)


def layer_sizes(model: nn.Module, layers: Sequence[str], pixels: int) -> dict[str, tuple[int, int]]:
    """The grid (h, w) of each layer (all have one) for images of `pixels` an edge; `input` has the image's own."""
    grids = {**grids_of(model, pixels), INPUT_LAYER: (3, pixels, pixels)}
    return {name: grids[name][1:] for name in layers}


# --- answers ------------------------------------------------------------------------------------------------


def batch_size(device: torch.device) -> int:
    """Images a call: on a CPU no more than keep their activations near the cores."""
    return 64 if device.type == "cpu" else LARGEST


def covered(images: Tensor, masks: Tensor, fill: Tensor | None = None) -> Tensor:
    """Images whose masked patches are something else.

    Args:
        images: (M, 3, H, W), normalised.
        masks: (M, h, w) bool, True where a patch is covered.
        fill: (M, 3, H, W), what covered patches show; None for the data set's mean colour, which is 0 once an image
            is normalised.

    Returns:
        (M, 3, H, W), channels last.
    """
    pixels = in_pixels(images, masks)[:, None]
    found = images.masked_fill(pixels, 0) if fill is None else torch.where(pixels, fill, images)
    return found.contiguous(memory_format=torch.channels_last)


def in_pixels(images: Tensor, masks: Tensor) -> Tensor:
    """Masks of patches (M, h, w) as those of pixels (M, H, W)."""
    rows, columns = (
        torch.from_numpy(shares(*each)).to(masks.device) for each in zip(images.shape[2:], masks.shape[1:], strict=True)
    )
    return masks[:, rows][:, :, columns]


def answers_to(
    model: nn.Module,
    images: Tensor,
    *,
    rows: Integers,
    sets: Integers,
    grid: tuple[int, int],
    room: Room,
    fill: Fill = None,
) -> Iterator[Floats]:
    """Logits of images with sets of patches covered, batch by batch.

    Args:
        model: in eval mode, gives logits (B, K).
        images: (N, 3, H, W), normalised, on the model's device.
        rows: (M,) which image each answer is of.
        sets: (M,) uint64, which of its patches are covered.
        room: how many images fit at once.
        fill: as of `fill_of`.

    Yields:
        (B, K) float32, in the order of `rows`.
    """

    def work(part: slice) -> Floats:
        chosen = torch.from_numpy(rows[part]).to(images.device)
        masks = torch.from_numpy(as_masks(sets[part], grid)).to(images.device)
        whole = images[chosen]
        if isinstance(fill, Tensor):
            shown = covered(whole, masks, fill[chosen])
        elif fill is None:
            shown = covered(whole, masks)
        else:
            seeds = np.stack([fill[rows[part]].astype(np.uint64), sets[part]], axis=1)
            shown = imputed(whole, in_pixels(whole, masks).cpu().numpy(), seeds)
        with torch.inference_mode(), ieee():
            logits: Tensor = model(shown)
        found: Floats = logits.float().cpu().numpy().astype(np.float32)
        return found

    return room.batches("cover", len(rows), batch_size(images.device), work)


def wanted_sets(ids: Integers, every: Sequence[Ranked], patches: int) -> tuple[Integers, Integers]:
    """All sets of covered patches that scores of these maps need, as pairs (M,) ids and (M,) sets."""
    parts = [shared_sets(ids, patches), *(one.sets() for one in every)]
    return flat([(these, sets[:, None]) for these, sets in parts])


def known_answers(trained: Trained, grid: tuple[int, int], fill: str = MEAN_COLOUR) -> Answers:
    """What was answered before, by this very model with this torch."""
    return trained.run.answers(grid, _head(trained, grid, fill), len(trained.classes), _told(fill))


def _head(trained: Trained, grid: tuple[int, int], fill: str = MEAN_COLOUR) -> dict[str, object]:
    about = {"checkpoint": trained.checkpoint, "versions": versions(("torch",)), "grid": list(grid)}
    filled = {"fill": fill} if _told(fill) else {}
    return {**about, "dtype": "float32", **fp32_key(trained.device), **filled}


def _told(fill: str) -> str:
    """The fill as keys and files say it: nothing for the first there was."""
    return "" if fill == MEAN_COLOUR else fill


def fill_of(fill: str, images: Tensor, ids: Integers, *, trained: Trained, data: Dataset) -> Fill:
    """What covered patches of the images show: (I, 3, H, W), None for the mean colour, (I,) ids where it is imputed."""
    if fill == IMPUTED:
        return ids
    if fill == MEAN_COLOUR:
        return None
    if fill == BLUR:
        return blurred(images)
    if fill == BLACK:
        return black(images, trained.statistics)
    predictions = trained.run.predictions
    return normalised(trained, data, others_of(ids, predictions.labels, predictions.predicted))


def normalised(trained: Trained, data: Dataset, ids: Integers) -> Tensor:
    """Test images as the model is given them, where it is: (I, 3, H, W)."""
    return prepare(data.test.images[torch.from_numpy(ids)].to(trained.device), trained.statistics)


def ask(
    trained: Trained,
    data: Dataset,
    wanted: tuple[Integers, Integers],
    *,
    grid: tuple[int, int],
    progress: Progress,
    fill: str = MEAN_COLOUR,
    hands: Hands | None = None,
) -> tuple[Answers, Meter]:
    """Answers to all sets that are wanted; what is new is saved every minute or so and at the end, even of a failure.

    Args:
        wanted: (M,) ids and (M,) sets.
        fill: what covered patches show.
        hands: workers that are asked; None for this process.

    Raises:
        ContractError: the model is not the one that made the predictions.
    """
    answers = known_answers(trained, grid, fill)
    ids, sets = answers.missing(*wanted)
    meter, room = Meter(trained.device), Room(progress)
    if not len(ids):
        return answers, meter
    if hands is not None:
        started = time.monotonic()
        answers = _from_workers(hands, trained, ids, sets, grid=grid, fill=fill)
        meter.add(len(ids), time.monotonic() - started)
        return answers, meter
    chosen, rows = np.unique(ids, return_inverse=True)
    images = normalised(trained, data, chosen)
    _check(trained, images, chosen, room)
    filling = fill_of(fill, images, chosen, trained=trained, data=data)
    parts, pace, done = [answers.logits[:0]], Pace(), 0

    def saved() -> Answers:
        logits = np.concatenate(parts)
        new = Answers(ids[: len(logits)], sets[: len(logits)], logits)
        return trained.run.add_answers(grid, new, _head(trained, grid, fill), _told(fill))

    try:
        with progress.track(_covering(grid, fill), len(ids)) as task:
            batches = answers_to(trained.model, images, rows=rows, sets=sets, grid=grid, room=room, fill=filling)
            while done < len(ids):
                watch = Stopwatch(meter.device)
                with watch.running():
                    parts.append(next(batches))
                meter.add(len(parts[-1]), watch.seconds)
                done += len(parts[-1])
                task.advance(len(parts[-1]), f"{meter.rate or 0:.0f} images/s")
                if pace.due():
                    with pace.saving():
                        saved()
    finally:
        found = saved()
    return found, meter


def _covering(grid: tuple[int, int], fill: str) -> str:
    return f"cover {grid[0]}x{grid[1]}{f' by {fill}' if _told(fill) else ''}"


@dataclass(frozen=True, kw_only=True)
class Covered(OfRun):
    """Answers to sets of covered patches.

    Attributes:
        every: all images that the call asks about, of which fills are made together.
        rows: (M,) which of them each answer is of.
        sets: (M,) which of its patches are covered.
    """

    every: tuple[int, ...]
    rows: tuple[int, ...]
    sets: tuple[int, ...]
    grid: tuple[int, int]
    fill: str

    @property
    def label(self) -> str:
        """Which patches of which run."""
        return f"{_covering(self.grid, self.fill)} of run {self.name}, {len(self.rows)} answers"

    def found(self, trained: Trained, data: Dataset, files: Files) -> Floats:
        """(M, K) logits."""
        every, rows = np.array(self.every), np.array(self.rows)
        images, room = normalised(trained, data, every), Room(Silence())
        own = np.unique(rows)
        _check(trained, images[torch.from_numpy(own)], every[own], room)
        filling = fill_of(self.fill, images, every, trained=trained, data=data)
        sets = np.array(self.sets, dtype=np.uint64)
        parts = answers_to(trained.model, images, rows=rows, sets=sets, grid=self.grid, room=room, fill=filling)
        return np.concatenate(list(parts))


def _from_workers(
    hands: Hands, trained: Trained, ids: Integers, sets: Integers, *, grid: tuple[int, int], fill: str
) -> Answers:
    """Have workers answer, and save the answers as they come; gives all that are known then."""
    every, rows = np.unique(ids, return_inverse=True)
    affordable = min(SECONDS * rate_of(trained), len(ids) / max(1, hands.engine.workers))
    size = LARGEST * max(1, ceil(affordable / LARGEST))
    units = [
        Covered(
            **hands.common,
            every=tuple(every.tolist()),
            rows=tuple(rows[start : start + size].tolist()),
            sets=tuple(sets[start : start + size].tolist()),
            grid=grid,
            fill=fill,
        )
        for start in range(0, len(ids), size)
    ]
    parts: list[Answers] = []
    pace = Pace()

    def save() -> None:
        if parts:
            new = Answers(
                *(np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "sets", "logits"))
            )
            trained.run.add_answers(grid, new, _head(trained, grid, fill), _told(fill))
            parts.clear()

    try:
        for unit, logits in hands.answers(units, _covering(grid, fill)):
            parts.append(Answers(every[list(unit.rows)], np.array(unit.sets, dtype=np.uint64), logits))
            if pace.due():
                with pace.saving():
                    save()
    finally:
        save()
    return known_answers(trained, grid, fill)


def _check(trained: Trained, images: Tensor, ids: Integers, room: Room) -> None:
    """The model gives the logits that are stored, for the whole images."""
    nothing = np.zeros(len(ids), dtype=np.uint64)
    logits = np.concatenate(
        list(answers_to(trained.model, images, rows=np.arange(len(ids)), sets=nothing, grid=(2, 2), room=room))
    )
    check_same_model(logits, trained.run.predictions.logits[ids], trained)
