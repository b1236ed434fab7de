"""A net that is asked about images that we made: opened as a run is, in a folder of its own within the run's.

So the one loop that explains runs makes its maps, keeps them in cells and goes on where it was interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import Dataset, Floats, Integers, Progress, Split
from bench.errors import StoreError
from bench.evaluation import predict
from bench.explaining.plan import Wanted, layers_of, usable_cell
from bench.explaining.runner import explain_run
from bench.nets.trained import Trained
from bench.nets.weights import load_weights
from bench.store.files import make_within, read_checkpoint, sha256, write_checkpoint
from bench.store.folder import RunFolder
from bench.store.paths import checkpoint_path, known_answers_path
from bench.store.predictions import Predictions
from bench.store.rows import row_keys
from bench.workspace import Workspace


@dataclass(frozen=True)
class Posed:
    """A net and the images it is asked about, each for one class.

    Attributes:
        trained: as of a run whose test images these are.
        data: the run's data set with these images as its test split.
    """

    trained: Trained
    data: Dataset

    @property
    def predicted(self) -> Integers:
        """(N,) the net's answers."""
        return self.trained.run.predictions.predicted

    def explained(self, wanted: Wanted, ids: Integers, workspace: Workspace) -> dict[tuple[str, str], Floats]:
        """(R, h, w) raw maps of the images `ids` for their classes, by explainer and layer.

        They are made where they are missing; what could not be made is left out.
        """
        asked = replace(wanted, target="true")
        explain_run(self.trained, self.data, asked, ids, workspace=workspace)
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
    return Posed(replace(trained, run=run), replace(data, test=test))


def kept_net(trained: Trained, name: str, about: Mapping[str, object]) -> Trained | None:
    """A net that was made of the run's own; None where there is none of which the same is said, or it is damaged."""
    path = checkpoint_path(known_answers_path(trained.folder) / name)
    try:
        state, head = read_checkpoint(path)
        if head.get("about") != dict(about):
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
    digest = write_checkpoint(path, model.state_dict(), {"classes": list(trained.classes), "about": dict(about)})
    return replace(trained, model=model, checkpoint=digest)
