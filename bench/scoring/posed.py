"""A net that is asked about images that we made: opened as a run is, in a folder of its own within the run's.

So the one loop that explains runs makes its maps, keeps them in cells and goes on where it was interrupted.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import Dataset, Floats, Integers, Progress, Split
from bench.engines.driving import HERE, Workers
from bench.errors import StoreError
from bench.evaluation import predict
from bench.explaining.plan import Wanted, layers_of, usable_cell
from bench.explaining.runner import explain_run
from bench.nets.trained import Trained
from bench.nets.weights import load_weights
from bench.store.files import make_within, read_checkpoint, sha256, write_checkpoint
from bench.store.folder import RunFolder
from bench.store.paths import CHECKPOINT, PREDICTIONS, checkpoint_path, known_answers_path
from bench.store.predictions import Predictions, write_predictions
from bench.store.rows import row_keys
from bench.store.runs import write_record
from bench.whole_file import written
from bench.workspace import Workspace


@dataclass(frozen=True)
class Posed:
    """A net and the images it is asked about, each for one class.

    Attributes:
        trained: as of a run whose test images these are.
        data: the run's data set with these images as its test split.
        origin: the folder of the run that the net was made of, or is.
    """

    trained: Trained
    data: Dataset
    origin: Path

    @property
    def predicted(self) -> Integers:
        """(N,) the net's answers."""
        return self.trained.run.predictions.predicted

    def explained(
        self, wanted: Wanted, ids: Integers, workspace: Workspace, on: Workers = HERE
    ) -> dict[tuple[str, str], Floats]:
        """(R, h, w) raw maps of the images `ids` for their classes, by explainer and layer.

        They are made where they are missing, here or by workers; what could not be made is left out.
        """
        asked = replace(wanted, target="true")
        if on.engine is not None:
            self._write()
        explain_run(self.trained, self.data, asked, ids, workspace=workspace, on=on)
        classes = self.data.test.labels.numpy()
        keys = [(each, int(classes[each])) for each in ids.tolist()]
        found = {}
        for name, spec in asked.specs.items():
            for layer in layers_of(spec, asked):
                cell = usable_cell(self.trained, name, spec, layer)
                if cell is None or not row_keys(cell).issuperset(keys):
                    continue
                rows = {key: row for row, key in enumerate(zip(cell.ids.tolist(), cell.classes.tolist(), strict=True))}
                found[name, layer] = cell.raw[[rows[key] for key in keys]]
        return found

    def _write(self) -> None:
        """Put into the folder what makes it a run that a worker can open."""
        run, folder = self.trained.run, self.trained.folder
        weights = checkpoint_path(folder)
        if not weights.is_file() or sha256(weights) != self.trained.checkpoint:  # it is the net of the run itself
            with written(weights):
                shutil.copyfile(checkpoint_path(self.origin), weights)
        predictions = write_predictions(folder, run.predictions)
        artefacts = {CHECKPOINT: self.trained.checkpoint, PREDICTIONS: predictions}
        write_record(folder, replace(run.record, artefacts=artefacts))


def posed(
    trained: Trained, name: str, data: Dataset, images: Tensor, classes: Integers, *, progress: Progress
) -> Posed:
    """The net of `trained` asked about images (N, 3, H, H) uint8, each for one class of (N,).

    Args:
        name: of the folder that the cells lie in.
    """
    edge = int(images.shape[-1])
    logits, _ = predict(trained.model, images, trained.statistics, device=trained.device, progress=progress)
    ids = np.arange(len(images), dtype=np.int64)
    record = replace(trained.record, data=replace(trained.record.data, size=edge))
    folder = known_answers_path(trained.folder) / name
    make_within(folder, trained.folder)
    run = RunFolder(folder).seen_as(
        record=record, predictions=Predictions(ids, classes.astype(np.int64), logits.numpy())
    )
    names = tuple(f"{name}/{each}" for each in ids.tolist())
    test = Split(images, torch.from_numpy(classes.astype(np.int64)), names)
    return Posed(replace(trained, run=run), replace(data, test=test), trained.folder)


def kept_net(trained: Trained, name: str, about: Mapping[str, object], *, whole: bool = False) -> Trained | None:
    """A net that was made of the run's own; None where there is none of which the same is said, or it is damaged.

    Args:
        whole: the file must say all that it takes to open it without the run, as workers do; older ones do not.
    """
    path = checkpoint_path(known_answers_path(trained.folder) / name)
    try:
        state, head = read_checkpoint(path)
        if head.get("about") != dict(about) or (whole and "mean" not in head):
            return None
        model = deepcopy(trained.model)  # with what an adopted net was told of its channels and outputs
        load_weights(model, state)
        return replace(trained, model=model, checkpoint=sha256(path))
    except StoreError:
        return None  # it can be made again


def keep_net(trained: Trained, name: str, model: nn.Module, about: Mapping[str, object]) -> Trained:
    """Write a net that was made of the run's own."""
    path = checkpoint_path(known_answers_path(trained.folder) / name)
    make_within(path.parent, trained.folder)
    mean, std = trained.statistics
    head = {"model": trained.record.model, "classes": list(trained.classes), "mean": mean, "std": std}
    digest = write_checkpoint(path, model.state_dict(), {**head, "about": dict(about)})
    return replace(trained, model=model, checkpoint=digest)
