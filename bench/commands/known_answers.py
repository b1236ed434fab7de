"""`bench judge --known-answers`: tests whose right answer is known, since we made the question.

Two nets are made of the run's own weights: one in which a sticker decides a class, one in which it means nothing. A map
that shows what its net looks at finds the sticker in the first and not in the second. And of four images in one, the
map of a class should lie on the image of that class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from bench.contracts import Booleans, Dataset, Floats, Integers
from bench.data.packed import packed
from bench.data.transforms import prepare
from bench.engines.driving import Workers, workers_for
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
from bench.explaining.units import Hands, hands_for
from bench.fields import names
from bench.gates.runs import Sides, check
from bench.machine import describe_device, versions
from bench.nets.trained import Trained, data_of_run, open_run
from bench.nets.weights import load_weights
from bench.pages.write import write_run_page
from bench.precision import best_precision
from bench.registry.libraries import takes
from bench.registry.registry import short
from bench.request import KnownAnswersRequest
from bench.schema.known_answers import KNOWN_ANSWERS_SCHEMA, UNASKED, KnownAnswers, StickerCheck, StickerScore
from bench.schema.page import Estimate
from bench.scoring.known_scores import Planted, Shown, check_of, model_free, mosaic_scores, sticker_scores
from bench.scoring.mosaics import TILES, Mosaics, choose_mosaics, halved, tiled, top_four
from bench.scoring.occluded_answers import layer_sizes
from bench.scoring.patches import patch_grid
from bench.scoring.posed import Posed, keep_net, kept_net, posed
from bench.scoring.sticker_nets import BATCH, CONTROL, RECIPE, RELIANT, SEED, STEPS, Taught, fine_tuned, flips
from bench.scoring.stickers import STRENGTHS, places_of, planted, sticker_edge
from bench.stats.intervals import bootstrap_mean, wilson
from bench.store.predictions import fixed_order
from bench.thresholds import read_threshold
from bench.whole_file import check_writable
from bench.workspace import Workspace

DEFAULT_EXPLAINERS = ("gradcam", "captum", "reference")
IMAGES = 100  # with a sticker, unless a limit is given; half as many where nothing multiplies in bf16 or fp16
TARGET = 0  # the class that the sticker stands for
TARGETS = {RELIANT: TARGET, CONTROL: None}  # of the two nets
FEWEST = 10  # images or mosaics: of fewer nothing can be said
MOSAICS = "mosaics"


@dataclass(frozen=True)
class _Asked:
    """What one call is about.

    Attributes:
        on, hands: who does it; no hands for this process.
    """

    trained: Trained
    data: Dataset
    wanted: Wanted
    workspace: Workspace
    on: Workers
    hands: Hands | None


def known_answers(request: KnownAnswersRequest, workspace: Workspace) -> KnownAnswers:
    """Whether explainers find a sticker that decides, and the right one of four images.

    Says first what it takes. Nets and maps are kept in judge/known-answers/ of the run's folder, so a call that was
    interrupted goes on where it stopped. Without names the explainers and layers are those of the run's cells.

    Returns:
        The scores; runs/NAME/judge/known-answers/scores.json has them too, and the run's page is rendered with them.
        After a dry run they are empty.
    """
    trained = open_run(request.run, request.own_device, workspace)
    wanted = _wanted(request, trained, workspace)
    keys = [(short(name), layer) for name, spec in wanted.specs.items() for layer in layers_of(spec, wanted)]
    sides = Sides((request.run,), (trained.run,), {"sticker": [keys], "mosaic": [keys]})
    check(map(read_threshold, names(request.fail_if)), sides)
    images = request.limit or (IMAGES // 2 if best_precision(trained.device)[0] == "fp32" else IMAGES)
    mosaics = choose_mosaics(trained.run.predictions, max(1, images // 2))
    workspace.progress.say(
        known_answers_words(images, len(mosaics.ids), _seconds(trained, wanted, images, len(mosaics.ids)))
    )
    found = _empty(trained, workspace)
    if request.dry_run:
        return found
    check_writable(trained.folder)
    data = data_of_run(trained.record, request.data, workspace)
    with workers_for(request, workspace) as on:
        asked = _Asked(trained, data, wanted, workspace, on, hands_for(on, trained, data, workspace))
        found = _with_mosaics(_with_stickers(found, asked, images), asked, mosaics)
    if asked.hands and asked.hands.device:
        found = replace(found, device=asked.hands.device)
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


@dataclass(frozen=True)
class _Stickered:
    """Images with a sticker, all strengths of an image one after the other, and what the two nets make of them.

    Attributes:
        nets: the one that relies on the sticker, and the one that does not.
        places, strengths: (R, 2) and (R,) of the stickers.
        turned: (R,) for each net, 1 where it takes the image for the sticker's class with it and not without.
        other: (R,) whether both take it for another class without it.
    """

    nets: tuple[Posed, ...]
    places: Integers
    strengths: Floats
    turned: tuple[Integers, ...]
    other: Booleans

    @property
    def unasked(self) -> Estimate:
        """Share of the images that one of the nets takes for the sticker's class without it."""
        images = self.other[:: len(STRENGTHS)]
        return wilson(int((~images).sum()), len(images))

    @property
    def checks(self) -> tuple[StickerCheck, ...]:
        """Of each strength whether the nets have learned what they were taught."""
        found = []
        for strength in STRENGTHS:
            reliant, control = (each[self.other & (self.strengths == strength)] for each in self.turned)
            found.append(check_of(strength, reliant, control, self.unasked))
        return tuple(found)

    def rows(self, counted: Sequence[float]) -> Integers:
        """The images of these strengths that one net takes for the sticker's class, and the other does not."""
        reliant, control = self.turned
        found: Integers = np.flatnonzero(
            self.other & (reliant == 1) & (control == 0) & np.isin(self.strengths, counted)
        )
        return found


def _with_stickers(found: KnownAnswers, asked: _Asked, limit: int) -> KnownAnswers:
    """What the sticker says; a note where it cannot be tried or was not learned."""
    ids = _sticker_ids(asked.trained, limit)
    if len(asked.data.train) < BATCH or len(ids) < FEWEST:
        return _noted(
            found, f"no sticker: {len(asked.data.train)} training images, {len(ids)} test images that are right"
        )
    shown = _stickered(asked, ids)
    found = replace(found, unasked=shown.unasked, checks=shown.checks)
    counted = [check.strength for check in found.checks if check.counts]
    if not counted:
        return _noted(found, f"no result for the sticker: {_why_none(found, shown.unasked)}")
    rows, edge = shown.rows(counted), sticker_edge(asked.trained.record.size)
    return replace(
        found,
        places=tuple((row, *shown.places[row].tolist(), edge) for row in rows.tolist()),
        stickers=tuple(_scored(asked, shown, rows)),
    )


def _why_none(found: KnownAnswers, unasked: Estimate) -> str:
    if unasked.high <= UNASKED:
        return "the network did not learn it"
    return f"without one up to {100 * unasked.high:.0f} % of the images may be taken for {found.target}, too"


def _stickered(asked: _Asked, ids: Integers) -> _Stickered:
    """The two nets, asked about test images with stickers of all strengths."""
    nets = list(_nets(asked).values())
    pictures = asked.data.test.images[torch.from_numpy(ids)].cpu()
    # All strengths of an image stand together, so that a larger sample holds the smaller one.
    places = np.repeat(places_of(ids, pictures.shape[-1]), len(STRENGTHS), axis=0)
    strengths = np.tile(STRENGTHS, len(ids))
    images = planted(pictures.repeat_interleave(len(STRENGTHS), dim=0), places, strengths)
    classes, progress = np.full(len(images), TARGET), asked.workspace.progress
    every = tuple(
        posed(net, name, asked.data, images, classes, progress=progress)
        for net, name in zip(nets, TARGETS, strict=True)
    )
    plain = [predict(net.model, pictures, net.statistics, device=net.device, progress=progress)[0] for net in nets]
    before = [logits.argmax(dim=1).numpy().repeat(len(STRENGTHS)) for logits in plain]
    turned = tuple(flips(old, each.predicted, TARGET) for old, each in zip(before, every, strict=True))
    return _Stickered(every, places, strengths, turned, (before[0] != TARGET) & (before[1] != TARGET))


def _noted(found: KnownAnswers, words: str) -> KnownAnswers:
    return replace(found, notes=(*found.notes, words))


def _sticker_ids(trained: Trained, limit: int) -> Integers:
    """The first test images, in the fixed order, that are of another class than the sticker's and right."""
    predictions = trained.run.predictions
    order = fixed_order(predictions.labels)
    fit = (predictions.labels != TARGET) & (predictions.predicted == predictions.labels)
    chosen: Integers = order[fit[order]][:limit]
    return chosen


def _nets(asked: _Asked) -> dict[str, Trained]:
    """The two nets: those that were made before, or new ones."""
    known = {
        name: kept_net(asked.trained, name, _about(asked, name), whole=asked.hands is not None) for name in TARGETS
    }
    missing = [name for name, net in known.items() if net is None]
    for name, model in _taught(asked, missing):
        known[name] = keep_net(asked.trained, name, model, _about(asked, name))
    return {name: net for name, net in known.items() if net is not None}


def _about(asked: _Asked, name: str) -> dict[str, object]:
    """What one of the nets hangs on."""
    return {
        "of": asked.trained.checkpoint, "net": name, "recipe": RECIPE, "seed": SEED, "steps": STEPS, "batch": BATCH,
        "target": TARGETS[name], "data": asked.data.digest,
    }  # fmt: skip


def _taught(asked: _Asked, missing: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    """Nets by name, as they are taught: here, or each by a worker."""
    trained, data, hands = asked.trained, asked.data, asked.hands
    best = best_precision(trained.device)[0]
    precision = "fp32" if best == "fp16" else best  # fp16 would need a scaled loss
    if hands is not None and missing:
        training = packed(data, asked.workspace.cache, ("train",))
        units = [
            Taught(**hands.common, net=name, target=TARGETS[name], precision=precision, training=training)
            for name in missing
        ]
        for unit, weights in hands.answers(units, "teach the nets"):
            model = deepcopy(trained.model)  # with what an adopted net was told of its channels and outputs
            load_weights(model, weights)
            yield unit.net, model
        return
    for name in missing:
        with asked.workspace.progress.track(f"teach the {name} net", STEPS) as task:
            model = fine_tuned(
                trained.model, data.train, trained.statistics, target=TARGETS[name], precision=precision, task=task
            )
            yield name, model


def _scored(asked: _Asked, shown: _Stickered, rows: Integers) -> list[StickerScore]:
    """The scores of all explainers and layers, and of the rows that know no model, of some of the images."""
    reliant, control = (net.explained(asked.wanted, rows, asked.workspace, asked.on) for net in shown.nets)
    images = prepare(shown.nets[0].data.test.images[torch.from_numpy(rows)], asked.trained.statistics)
    classes, strengths, places = np.full(len(rows), TARGET), shown.strengths[rows], shown.places[rows]
    pairs: list[tuple[Shown, Shown]] = []
    for name, layer in [key for key in reliant if key in control]:
        first, second = Shown(name, layer, reliant[name, layer]), Shown(name, layer, control[name, layer])
        if all(layer != one.layer for one, _ in pairs):
            free = [model_free(each, images, rows, classes) for each in (first, second)]
            pairs += zip(*free, strict=True)
        pairs.append((first, second))
    pixels = int(images.shape[-1])
    sizes = layer_sizes(asked.trained.model, list(dict.fromkeys(one.layer for one, _ in pairs)), pixels)
    grids = {layer: patch_grid(*size, pixels) for layer, size in sizes.items()}
    of_strength = {strength: strengths == strength for strength in dict.fromkeys(strengths.tolist())}
    return sticker_scores(
        [
            Planted(strength, one.part(own), other.part(own), places[own], pixels, grids[one.layer])
            for one, other in pairs
            for strength, own in of_strength.items()
        ]
    )


# --- the mosaic ---------------------------------------------------------------------------------------------


def _with_mosaics(found: KnownAnswers, asked: _Asked, chosen: Mosaics) -> KnownAnswers:
    """What the mosaics say; a note where there are too few."""
    trained = asked.trained
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
    maps = game.explained(asked.wanted, ids, asked.workspace, asked.on)
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
