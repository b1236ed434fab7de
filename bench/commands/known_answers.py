"""`bench judge --known-answers`: tests whose right answer is known, since we made the question.

Two nets are made of the run's own weights: one in which a sticker decides a class, one in which it means nothing. A map
that shows what its net looks at finds the sticker in the first and not in the second. And of four images in one, the
map of a class should lie on the image of that class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bench.contracts import Dataset, Floats, Integers
from bench.data.transforms import prepare
from bench.estimates import BACKWARD_COST, known_answers_words
from bench.evaluation import predict
from bench.explaining.plan import (
    ALL,
    INPUT_LAYER,
    Wanted,
    at_layers,
    ceilings,
    find_explainers,
    layers_of,
    rate_of,
)
from bench.fields import names
from bench.machine import describe_device, versions
from bench.nets.trained import Trained, data_of_run, open_run
from bench.pages.write import write_run_page
from bench.precision import best_precision
from bench.registry.libraries import takes
from bench.request import KnownAnswersRequest
from bench.schema.known_answers import KNOWN_ANSWERS_SCHEMA, KnownAnswers, StickerScore
from bench.scoring.known_scores import Planted, Shown, check_of, model_free, mosaic_scores, sticker_scores
from bench.scoring.mosaics import TILES, choose_mosaics, halved, tiled, top_four
from bench.scoring.posed import Posed, keep_net, kept_net, posed
from bench.scoring.sticker_nets import BATCH, CONTROL, RECIPE, RELIANT, SEED, STEPS, fine_tuned, flips
from bench.scoring.stickers import STRENGTHS, places_of, planted, sticker_edge
from bench.stats.intervals import bootstrap_mean
from bench.store.predictions import fixed_order
from bench.whole_file import check_writable
from bench.workspace import Workspace

DEFAULT_EXPLAINERS = ("gradcam", "captum", "reference")
IMAGES = 100  # with a sticker, unless a limit is given; half as many where nothing multiplies in bf16 or fp16
TARGET = 0  # the class that the sticker stands for
FEWEST = 10  # images or mosaics: of fewer nothing can be said
MOSAICS = "mosaics"


@dataclass(frozen=True)
class _Asked:
    """What one call is about."""

    trained: Trained
    data: Dataset
    wanted: Wanted
    workspace: Workspace


def known_answers(request: KnownAnswersRequest, workspace: Workspace) -> KnownAnswers:
    """Whether explainers find a sticker that decides, and the right one of four images.

    Says first what it takes. Nets and maps are kept in judge/known-answers/ of the run's folder, so a call that was
    interrupted goes on where it stopped. Without names the explainers and layers are those of the run's cells.

    Returns:
        The scores; runs/NAME/judge/known-answers/scores.json has them too, and the run's page is rendered with them.
        After a dry run they are empty.
    """
    trained = open_run(request.run, request.device, workspace)
    wanted = _wanted(request, trained, workspace)
    images = request.limit or (IMAGES // 2 if best_precision(trained.device)[0] == "fp32" else IMAGES)
    mosaics = choose_mosaics(trained.run.predictions, max(1, images // 2))
    workspace.progress.say(
        known_answers_words(images, len(mosaics.ids), _seconds(trained, wanted, images, len(mosaics.ids)))
    )
    found = _empty(trained, workspace)
    if request.dry_run:
        return found
    check_writable(trained.folder)
    asked = _Asked(trained, data_of_run(trained.record, request.data, workspace), wanted, workspace)
    found = _with_mosaics(_with_stickers(found, asked, images), asked, images)
    trained.run.keep_known_answers(found)
    write_run_page(trained.run, workspace)
    return found


def _wanted(request: KnownAnswersRequest, trained: Trained, workspace: Workspace) -> Wanted:
    """The explainers and layers that were named, else those of the run's cells."""
    cells = [cell for cell in trained.run.readable_cells() if cell.checkpoint == trained.checkpoint and len(cell.ids)]
    asked = names(request.explainer)
    specs = find_explainers(asked or sorted({cell.explainer for cell in cells}) or DEFAULT_EXPLAINERS, workspace)
    # What was not named is what happens to be there: no reason to make what costs much.
    wanted = Wanted(specs, (), "true", ceilings(asked or (ALL,), specs))
    layers = names(request.layer) or [
        name for name in trained.spec.layers if any(cell.layer == name for cell in cells)
    ] or sorted({cell.layer for cell in cells} - {INPUT_LAYER})  # fmt: skip
    return at_layers(wanted, layers, trained, workspace.progress)


def _empty(trained: Trained, workspace: Workspace) -> KnownAnswers:
    return KnownAnswers(
        schema=KNOWN_ANSWERS_SCHEMA,
        run=trained.record.name,
        checkpoint=trained.checkpoint,
        model=trained.record.model,
        device=describe_device(trained.device),
        versions=versions(),
        created=workspace.created,
        target=trained.classes[TARGET],
        pixels=trained.record.size,
    )


def _seconds(trained: Trained, wanted: Wanted, images: int, mosaics: int) -> float:
    """What all of it takes where nothing is there yet."""
    costs = [(spec.joint, [spec.cost(layer) for layer in layers_of(spec, wanted)]) for spec in wanted.specs.values()]
    per_map = sum(1 + (max if joint else sum)(every) for joint, every in costs if every)
    maps = 2 * len(STRENGTHS) * images + TILES * TILES * mosaics  # a mosaic has the pixels of four images
    return (2 * STEPS * BATCH * BACKWARD_COST + maps * per_map) / rate_of(trained)


# --- the sticker --------------------------------------------------------------------------------------------


def _with_stickers(found: KnownAnswers, asked: _Asked, limit: int) -> KnownAnswers:
    """What the sticker says; a note where it cannot be tried or was not learned."""
    ids = _sticker_ids(asked.trained, limit)
    if len(asked.data.train) < BATCH or len(ids) < FEWEST:
        return _noted(
            found, f"no sticker: {len(asked.data.train)} training images, {len(ids)} test images that are right"
        )
    nets = [_net(asked, name, target) for name, target in ((RELIANT, TARGET), (CONTROL, None))]
    pictures = asked.data.test.images[torch.from_numpy(ids)].cpu()
    # All strengths of an image stand together, so that a larger sample holds the smaller one.
    places = np.repeat(places_of(ids, pictures.shape[-1]), len(STRENGTHS), axis=0)
    strengths = np.tile(STRENGTHS, len(ids))
    images = planted(pictures.repeat_interleave(len(STRENGTHS), dim=0), places, strengths)
    classes = np.full(len(images), TARGET)
    asked_nets = [
        posed(net, name, asked.data, images, classes, progress=asked.workspace.progress)
        for net, name in zip(nets, (RELIANT, CONTROL), strict=True)
    ]
    before = [
        predict(net.model, pictures, net.statistics, device=net.device, progress=asked.workspace.progress)[0]
        .argmax(dim=1).numpy().repeat(len(STRENGTHS))
        for net in nets
    ]  # fmt: skip
    turned = [flips(old, each.predicted, TARGET) for old, each in zip(before, asked_nets, strict=True)]
    other = (before[0] != TARGET) & (before[1] != TARGET)
    checks = tuple(
        check_of(strength, *(each[other & (strengths == strength)] for each in turned)) for strength in STRENGTHS
    )
    counted = [check.strength for check in checks if check.counts]
    rows = np.flatnonzero(other & (turned[0] == 1) & (turned[1] == 0) & np.isin(strengths, counted))
    found = replace(found, checks=checks)
    if not counted:
        return _noted(found, "no answer of the sticker: the net did not learn it")
    edge = sticker_edge(int(images.shape[-1]))
    return replace(
        found,
        places=tuple((row, *places[row].tolist(), edge) for row in rows.tolist()),
        stickers=tuple(_scored(asked, asked_nets, rows, places=places, strengths=strengths)),
    )


def _noted(found: KnownAnswers, words: str) -> KnownAnswers:
    return replace(found, notes=(*found.notes, words))


def _sticker_ids(trained: Trained, limit: int) -> Integers:
    """The first test images, in the fixed order, that are of another class than the sticker's and right."""
    predictions = trained.run.predictions
    order = fixed_order(predictions.labels)
    fit = (predictions.labels != TARGET) & (predictions.predicted == predictions.labels)
    chosen: Integers = order[fit[order]][:limit]
    return chosen


def _net(asked: _Asked, name: str, target: int | None) -> Trained:
    """One of the two nets: that which was made before, or a new one."""
    trained, data = asked.trained, asked.data
    about = {
        "of": trained.checkpoint, "net": name, "recipe": RECIPE, "seed": SEED, "steps": STEPS, "batch": BATCH,
        "target": target, "data": data.digest,
    }  # fmt: skip
    known = kept_net(trained, name, about)
    if known is not None:
        return known
    with asked.workspace.progress.track(f"teach the {name} net", STEPS) as task:
        model = fine_tuned(trained.model, trained.spec.layers, data.train, trained.statistics, target=target, task=task)
    return keep_net(trained, name, model, about)


def _scored(
    asked: _Asked, nets: Sequence[Posed], rows: Integers, *, places: Integers, strengths: Floats
) -> list[StickerScore]:
    """The scores of all explainers and layers, and of the rows that know no model.

    Args:
        rows: which of the images with a sticker are explained.
        places, strengths: of all images with a sticker.
    """
    reliant, control = (net.explained(asked.wanted, rows, asked.workspace) for net in nets)
    images = prepare(nets[0].data.test.images[torch.from_numpy(rows)], asked.trained.statistics)
    classes = np.full(len(rows), TARGET)
    pairs: list[tuple[Shown, Shown]] = []
    for name, layer in [key for key in reliant if key in control]:
        first, second = Shown(name, layer, reliant[name, layer]), Shown(name, layer, control[name, layer])
        if all(layer != one.layer for one, _ in pairs):
            free = [model_free(each, images, rows, classes) for each in (first, second)]
            pairs += zip(*free, strict=True)
        pairs.append((first, second))
    every = []
    for one, other in pairs:
        for strength in dict.fromkeys(strengths[rows].tolist()):
            own = strengths[rows] == strength
            where, pixels = places[rows][own], int(images.shape[-1])
            every.append(Planted(strength, one.part(own), other.part(own), where, pixels))
    return sticker_scores(every)


# --- the mosaic ---------------------------------------------------------------------------------------------


def _with_mosaics(found: KnownAnswers, asked: _Asked, limit: int) -> KnownAnswers:
    """What the mosaics say; a note where there are too few."""
    trained = asked.trained
    chosen = choose_mosaics(trained.run.predictions, max(1, limit // 2))
    if len(chosen.ids) < FEWEST:
        return _noted(
            found, f"no mosaic game: the net is right and sure of too few images for {FEWEST} mosaics of four classes"
        )
    tiles = asked.data.test.images[torch.from_numpy(chosen.ids)].cpu()
    images = tiled(tiles)
    whole = takes(trained.model, int(images.shape[-1]))
    if not whole:
        images = halved(images)
    rows = images.repeat_interleave(TILES, dim=0)
    game = posed(trained, MOSAICS, asked.data, rows, chosen.classes.ravel(), progress=asked.workspace.progress)
    ids = np.arange(len(rows), dtype=np.int64)
    maps = game.explained(asked.wanted, ids, asked.workspace)
    normalised = prepare(rows, trained.statistics)
    every: list[Shown] = []
    for (name, layer), each in maps.items():
        shown = Shown(name, layer, each)
        if all(layer != one.layer for one in every):
            every += model_free(shown, normalised, ids, chosen.classes.ravel())
        every.append(shown)
    logits = game.trained.run.predictions.logits[::TILES]
    return replace(
        found,
        mosaics=len(chosen.ids),
        mosaic_pixels=int(images.shape[-1]),
        top_four=bootstrap_mean(top_four(logits, chosen.classes), np.random.default_rng(0), within=(0, 1)),
        mosaic_scores=tuple(mosaic_scores(every)),
    )
