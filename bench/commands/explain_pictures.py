"""`bench.explain_pictures`: the maps of a run's model for pictures of one's own, with no data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.contracts import ExplainerSpec
from bench.data.pictures import OwnPicture, read_picture
from bench.data.transforms import prepare
from bench.errors import BenchError, RoomError, UsageError, did_you_mean
from bench.evaluation import BATCH, EVALUATE, softmax
from bench.explaining.batches import explained
from bench.explaining.guard import statuses
from bench.explaining.plan import (
    DEFAULT_EXPLAINERS,
    Wanted,
    at_layers,
    layers_of,
    wanted_explainers,
)
from bench.fields import names, paths
from bench.machine import describe_device, versions
from bench.memory import Room
from bench.modes import evaluating
from bench.nets.trained import Trained, open_run
from bench.pages.gallery import picture_map
from bench.pages.write import reports, twin, write_page_files
from bench.postprocess import PIPELINE
from bench.registry.registry import short
from bench.request import ExplainPicturesRequest, one_run
from bench.schema.pictures import PictureMap, PicturesPage, PictureView
from bench.schema.run import STATUSES
from bench.store.files import write_npz
from bench.store.paths import CHECKPOINT, MAPS, index_path, pictures_path
from bench.store.runs import new_folder
from bench.workspace import Workspace

PICTURES_SCHEMA = 1
TOP = 5  # classes of a picture whose probabilities are shown


@dataclass(frozen=True)
class Found:
    """Raw maps of one explainer at one layer: raw (N, T, h, w), status (N, T)."""

    explainer: str
    layer: str
    finished: bool
    raw: np.ndarray[Any, Any]
    status: np.ndarray[Any, Any]


@dataclass(frozen=True)
class ExplainedPictures:
    """What `explain_pictures` did: its page, and for each picture its most probable classes."""

    page: Path
    pictures: tuple[PictureView, ...]


def explain_pictures(request: ExplainPicturesRequest, workspace: Workspace) -> ExplainedPictures:
    """Explain what a run's model sees in pictures of one's own, and render a page of their own.

    Each picture is resized once to what the model takes. The explainers and layers are as in `bench.explain`; beside
    the predicted class the classes named are explained.

    Returns:
        The page; maps.npz with the raw maps and page.json lie beside it. Nothing is written before all is computed.

    Raises:
        DataError: a file is no picture that can be read; names it.
        UsageError: a class, an explainer or a layer that there is not, or no picture.
    """
    if not request.image:
        raise UsageError("no picture named", try_="--image cat.png")
    wanted = wanted_explainers(names(request.explainer), workspace, default=DEFAULT_EXPLAINERS, slow=request.slow)
    trained = open_run(one_run(request.run), request.device, workspace)
    wanted = at_layers(wanted, names(request.layer), trained, workspace.progress)
    asked = [_class_number(name, trained) for name in names(request.class_)]
    own = [read_picture(path, trained.record.size, trained.record.data.levels) for path in paths(request.image)]
    inputs = prepare(torch.from_numpy(np.stack([each.pixels for each in own])).to(trained.device), trained.statistics)
    room = Room(workspace.progress)
    with evaluating(trained.model):
        logits = torch.cat(
            list(room.batches(EVALUATE, len(inputs), BATCH, lambda rows: trained.model(inputs[rows]).float().cpu()))
        )
        predicted = logits.argmax(dim=1)
        targets = torch.stack([predicted, *(torch.full_like(predicted, each) for each in asked)], dim=1)
        found = [one for name in wanted.specs for one in _of_explainer(name, trained, wanted, inputs, targets, room)]
    page = _page(trained, own, found, logits.numpy(), targets.numpy(), workspace)
    index = index_path(request.out or new_folder(pictures_path(trained.folder)))
    belongs = {"names": np.array([one.path.name for one in own]), "logits": logits.numpy(), "targets": targets.numpy()}
    raw = {f"{each.explainer} {each.layer}".replace("/", "_"): each.raw for each in found}
    write_npz(index.with_name(MAPS), {**belongs, **raw})
    write_page_files(index, {index.name: reports("pictures").render_pictures(page).encode()}, twin(page))
    return ExplainedPictures(index, page.pictures)


def _class_number(name: str, trained: Trained) -> int:
    if name not in trained.classes:
        raise UsageError(
            f"'{name}' is not one of the {len(trained.classes)} classes of run '{trained.record.name}'"
            f"{did_you_mean(name, trained.classes)}",
            try_=f"--class {trained.classes[0]}",
        )
    return trained.classes.index(name)


def _of_explainer(
    name: str, trained: Trained, wanted: Wanted, inputs: Tensor, targets: Tensor, room: Room
) -> list[Found]:
    """One explainer at all its layers; one that only `all` brought in and that fails is told of and left out."""
    spec = wanted.specs[name]
    layers = layers_of(spec, wanted)
    calls = [layers] if spec.joint and layers else [(layer,) for layer in layers]
    try:
        return [one for call in calls for one in _maps(name, spec, trained, call, inputs, targets, room=room)]
    except BenchError as error:
        if spec.name not in wanted.ceilings or isinstance(error, RoomError):
            raise
        room.progress.warn(f"{name} is left out: {error.message}")
        return []


def _maps(
    name: str,
    spec: ExplainerSpec,
    trained: Trained,
    layers: tuple[str, ...],
    inputs: Tensor,
    targets: Tensor,
    *,
    room: Room,
) -> list[Found]:
    """One explainer at these layers."""
    found = []
    for layer, raw in explained(spec, trained.model, layers, inputs, targets.to(inputs.device), room=room).items():
        maps = raw.float().cpu().numpy()
        status = statuses(maps.reshape(-1, *maps.shape[2:])).reshape(maps.shape[:2])
        found.append(Found(name, layer, spec.output == "picture", maps, status))
    return found


def _page(
    trained: Trained,
    own: Sequence[OwnPicture],
    found: Sequence[Found],
    logits: np.ndarray[Any, Any],
    targets: np.ndarray[Any, Any],
    place: Workspace,
) -> PicturesPage:
    shares, names = softmax(logits), trained.classes
    pictures = []
    for row, one in enumerate(own):
        order = np.argsort(-shares[row], kind="stable")[:TOP]
        columns = [at for at, each in enumerate(targets[row].tolist()) if each not in targets[row, :at].tolist()]
        pictures.append(
            PictureView(
                file=one.path.name,
                width=one.size[0],
                height=one.size[1],
                done=one.done,
                preview=one.preview,
                edge=one.pixels.shape[1],
                pixels=one.pixels.transpose(1, 2, 0).tobytes(),
                top=tuple((names[each], float(shares[row, each])) for each in order),
                maps=tuple(_map(each, row, at, names[targets[row, at]]) for each in found for at in columns),
            )
        )
    said = ", ".join(f"{one.file}: {one.top[0][0]}" for one in pictures[:3])
    return PicturesPage(
        schema=PICTURES_SCHEMA,
        title=said + (f" and {len(pictures) - 3} more" if len(pictures) > 3 else ""),
        created=place.created,
        run=trained.record.name,
        model=short(trained.record.model),
        pictures=tuple(pictures),
        pipeline=PIPELINE,
        provenance=(
            ("command", place.command),
            ("run", trained.record.name),
            ("checkpoint sha256", trained.record.artefacts.get(CHECKPOINT, "")),
            ("normalised with", f"mean {trained.statistics[0]}, std {trained.statistics[1]}"),
            ("machine", describe_device(trained.device)),
            ("versions", ", ".join(f"{name} {number}" for name, number in versions().items())),
        ),
    )


def _map(found: Found, row: int, column: int, target: str) -> PictureMap:
    status: Any = STATUSES[int(found.status[row, column])]
    raw, name = found.raw[row, column], short(found.explainer)
    return picture_map(raw, name, found.layer, target, finished=found.finished, status=status)
