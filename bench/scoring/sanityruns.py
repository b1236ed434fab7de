"""The sanity check on a run: maps of scrambled copies of its model, kept by cell, and how alike they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.contracts import STATUSES
from bench.errors import StoreError
from bench.evaluation import prepare
from bench.explaining.cells import cell_path
from bench.explaining.choosing import fixed_order
from bench.explaining.guard import statuses
from bench.explaining.planning import grids_of
from bench.machine import versions
from bench.scoring.agreeing import likeness
from bench.scoring.by_layer import kept
from bench.scoring.sanity import scrambled_maps, stages_of
from bench.stats import rank_matrix
from bench.store import read_npz, write_npz
from bench.values.scores import SanityScores

if TYPE_CHECKING:
    from bench.contracts import Dataset, ExplainerSpec, Floats, Integers, Progress
    from bench.explaining.choosing import Wanted
    from bench.nets.trained import Trained

SANITY_SCHEMA = 1
SANITY_SEED = 7007
MEASURED_ON = 256  # training images for the statistics of batch norms

Cells = dict[tuple[str, str], "Floats"]


def sanity_scores(
    trained: Trained,
    data: Dataset,
    before: Cells,
    *,
    specs: Mapping[str, ExplainerSpec],
    ids: Integers,
    predicted: Integers,
    seed: int,
    progress: Progress,
) -> list[SanityScores]:
    """How alike the maps for the predicted class are before and after each stage is scrambled.

    Args:
        before: of each explainer and layer the trained model's maps (N, h, w), NaN where one is not `ok`.
        ids: (N,) test ids; none of them gives no scores.
        predicted: (N,) the class that the trained model predicts.
        seed: of the bootstrap, the same for each line, so that equal maps have equal intervals.
    """
    if len(ids) == 0:
        return []
    stages = list(stages_of(trained.model, trained.spec.layers))
    missing = _missing(trained, specs, list(before), ids)
    if missing:
        _make(trained, data, missing, ids, predicted, progress=progress)
    found = []
    for (name, layer), trained_maps in before.items():
        raw = _read(trained, name, specs[name], layer, ids)
        assert raw is not None  # written above
        for stage, maps in zip(stages, raw, strict=True):
            after = kept(maps, statuses(maps) == STATUSES.index("ok"))
            alike = likeness([rank_matrix(after, trained_maps)], np.random.default_rng(seed))
            found.append(SanityScores(name, layer, stage, alike))
    return found


def sanity_passes(trained: Trained, wanted: Wanted, ids: Integers) -> float:
    """What the maps that are not on disk cost in forward passes, the statistics of batch norms included."""
    cells = [(name, layer) for name, spec in wanted.specs.items() for layer in grids_of(spec, wanted)]
    missing = _missing(trained, wanted.specs, cells, ids) if len(ids) else {}
    explaining = sum((max if spec.joint else sum)(map(spec.cost, layers)) for spec, layers in missing.values())
    stages = len(stages_of(trained.model, trained.spec.layers))
    return stages * (len(ids) * explaining + MEASURED_ON) if missing else 0.0


def _missing(
    trained: Trained, specs: Mapping[str, ExplainerSpec], cells: Sequence[tuple[str, str]], ids: Integers
) -> dict[str, tuple[ExplainerSpec, list[str]]]:
    """Explainers with those of their layers whose maps are not on disk."""
    found: dict[str, tuple[ExplainerSpec, list[str]]] = {}
    for name, layer in cells:
        if _read(trained, name, specs[name], layer, ids) is None:
            found.setdefault(name, (specs[name], []))[1].append(layer)
    return found


def _make(
    trained: Trained,
    data: Dataset,
    specs: Mapping[str, tuple[ExplainerSpec, list[str]]],
    ids: Integers,
    predicted: Integers,
    *,
    progress: Progress,
) -> None:
    """Maps of the scrambled copies, (S, N, h, w) of each cell, to disk."""
    device = next(trained.model.parameters()).device
    images = prepare(data.test.images[torch.from_numpy(ids)].to(device), trained.statistics)
    some = fixed_order(data.train.labels.numpy())[:MEASURED_ON]
    measured_on = prepare(data.train.images[torch.from_numpy(some)].to(device), trained.statistics)
    stages = len(stages_of(trained.model, trained.spec.layers))
    parts: dict[tuple[str, str], list[Any]] = {}
    with progress.track("scramble the weights", stages * len(specs)) as task:
        for stage, name, maps in scrambled_maps(
            trained.model,
            trained.spec.layers,
            images,
            targets=torch.from_numpy(predicted)[:, None].to(device),
            specs=specs,
            measured_on=measured_on,
            generator=torch.Generator().manual_seed(SANITY_SEED),
        ):
            for layer, raw in maps.items():
                parts.setdefault((name, layer), []).append(raw.numpy())
            task.advance(1, f"{stage}, {name}")
    for (name, layer), every in parts.items():
        _write(trained, name, specs[name][0], layer, ids, np.stack(every))


# --- on disk ------------------------------------------------------------------------------------------------


def sanity_path(run: Path, explainer: str, layer: str) -> Path:
    """Where the maps of scrambled copies lie."""
    return cell_path(run / "judge" / "sanity", explainer, layer)


def _head(trained: Trained, spec: ExplainerSpec) -> str:
    facts = {"schema": SANITY_SCHEMA, "checkpoint": trained.checkpoint, "revision": spec.revision, "seed": SANITY_SEED}
    return json.dumps({**facts, "versions": versions(("torch", spec.backend))}, sort_keys=True)


def _write(trained: Trained, name: str, spec: ExplainerSpec, layer: str, ids: Integers, raw: Floats) -> None:
    arrays = {"head": np.array(_head(trained, spec)), "ids": ids, "raw": raw}
    write_npz(sanity_path(trained.folder, name, layer), arrays)


def _read(trained: Trained, name: str, spec: ExplainerSpec, layer: str, ids: Integers) -> Floats | None:
    """The maps on disk, where they are of this model, this explainer and these images; more images do no harm."""
    path = sanity_path(trained.folder, name, layer)
    try:
        arrays = read_npz(path, ("head", "ids", "raw"))
    except StoreError:
        return None
    same = str(arrays["head"]) == _head(trained, spec) and np.array_equal(arrays["ids"][: len(ids)], ids)
    return arrays["raw"][:, : len(ids)] if same else None
