"""Asking the model about covered patches: what has not been answered yet, the loop that asks, and the maps to rank."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bench.clock import Meter, Pace, Stopwatch
from bench.contracts import Booleans, Dataset, Floats, Integers, Progress
from bench.data.transforms import prepare
from bench.explaining.plan import INPUT_LAYER
from bench.machine import versions
from bench.memory import Room
from bench.nets.trained import Trained, check_same_model
from bench.precision import fp32_key, ieee
from bench.registry.layer_shapes import grids_of
from bench.schema.run import STATUSES, Cell
from bench.scoring.baselines import CENTRE, RANDOM, centre_maps, random_maps
from bench.scoring.layer_scores import Maps, Ranked, flat, health, ranked, shared_sets
from bench.scoring.patches import as_masks, shares
from bench.store.rows import Answers

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


def baselines_of(ids: Integers, size: tuple[int, int], grid: tuple[int, int]) -> tuple[list[Ranked], list[Ranked]]:
    """The rows `random` and `centre`, and the random orders that gains are counted against."""
    rows = {RANDOM: random_maps(ids, size, 0), CENTRE: centre_maps(ids, size)}
    draws = [random_maps(ids, size, draw) for draw in range(1, DRAWS + 1)]
    return (
        [ranked(without_model(name, maps), ids, grid) for name, maps in rows.items()],
        [ranked(without_model(RANDOM, maps), ids, grid) for maps in draws],
    )


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
    return 64 if device.type == "cpu" else 512


def covered(images: Tensor, masks: Tensor) -> Tensor:
    """Images whose masked patches are the data set's mean colour, which is 0 once an image is normalised.

    Args:
        images: (M, 3, H, W), normalised.
        masks: (M, h, w) bool, True where a patch is covered.

    Returns:
        (M, 3, H, W), channels last.
    """
    rows, columns = (
        torch.from_numpy(shares(*each)).to(masks.device) for each in zip(images.shape[2:], masks.shape[1:], strict=True)
    )
    pixels = masks[:, rows][:, :, columns]
    return images.masked_fill(pixels[:, None], 0).contiguous(memory_format=torch.channels_last)


def answers_to(
    model: nn.Module, images: Tensor, *, rows: Integers, sets: Integers, grid: tuple[int, int], room: Room
) -> Iterator[Floats]:
    """Logits of images with sets of patches covered, batch by batch.

    Args:
        model: in eval mode, gives logits (B, K).
        images: (N, 3, H, W), normalised, on the model's device.
        rows: (M,) which image each answer is of.
        sets: (M,) uint64, which of its patches are covered.
        room: how many images fit at once.

    Yields:
        (B, K) float32, in the order of `rows`.
    """

    def work(part: slice) -> Floats:
        chosen = torch.from_numpy(rows[part]).to(images.device)
        masks = torch.from_numpy(as_masks(sets[part], grid)).to(images.device)
        with torch.inference_mode(), ieee():
            logits: Tensor = model(covered(images[chosen], masks))
        found: Floats = logits.float().cpu().numpy().astype(np.float32)
        return found

    return room.batches("cover", len(rows), batch_size(images.device), work)


def wanted_sets(ids: Integers, every: Sequence[Ranked], patches: int) -> tuple[Integers, Integers]:
    """All sets of covered patches that scores of these maps need, as pairs (M,) ids and (M,) sets."""
    parts = [shared_sets(ids, patches), *(one.sets() for one in every)]
    return flat([(these, sets[:, None]) for these, sets in parts])


def known_answers(trained: Trained, grid: tuple[int, int]) -> Answers:
    """What was answered before, by this very model with this torch."""
    return trained.run.answers(grid, _head(trained, grid), len(trained.classes))


def _head(trained: Trained, grid: tuple[int, int]) -> dict[str, object]:
    about = {"checkpoint": trained.checkpoint, "versions": versions(("torch",)), "grid": list(grid)}
    return {**about, "dtype": "float32", **fp32_key(trained.device)}


def ask(
    trained: Trained, data: Dataset, wanted: tuple[Integers, Integers], *, grid: tuple[int, int], progress: Progress
) -> tuple[Answers, Meter]:
    """Answers to all sets that are wanted; what is new is saved every minute or so and at the end, even of a failure.

    Args:
        wanted: (M,) ids and (M,) sets.

    Raises:
        ContractError: the model is not the one that made the predictions.
    """
    answers = known_answers(trained, grid)
    ids, sets = answers.missing(*wanted)
    meter, room = Meter(trained.device), Room(progress)
    if not len(ids):
        return answers, meter
    chosen, rows = np.unique(ids, return_inverse=True)
    images = prepare(data.test.images[torch.from_numpy(chosen)].to(meter.device), trained.statistics)
    _check(trained, images, chosen, room)
    parts, pace, done = [answers.logits[:0]], Pace(), 0

    def saved() -> Answers:
        logits = np.concatenate(parts)
        new = Answers(ids[: len(logits)], sets[: len(logits)], logits)
        return trained.run.add_answers(grid, new, _head(trained, grid))

    try:
        with progress.track(f"cover {grid[0]}x{grid[1]}", len(ids)) as task:
            batches = answers_to(trained.model, images, rows=rows, sets=sets, grid=grid, room=room)
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


def _check(trained: Trained, images: Tensor, ids: Integers, room: Room) -> None:
    """The model gives the logits that are stored, for the whole images."""
    nothing = np.zeros(len(ids), dtype=np.uint64)
    logits = np.concatenate(
        list(answers_to(trained.model, images, rows=np.arange(len(ids)), sets=nothing, grid=(2, 2), room=room))
    )
    check_same_model(logits, trained.run.predictions.logits[ids], trained)
