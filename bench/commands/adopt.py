"""`bench.adopt`: a run made of weights that were trained elsewhere, evaluated like any other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench.data.class_order import in_class_order
from bench.data.datasets import load_dataset, settled_source
from bench.errors import MissingError, UsageError
from bench.machine import choose_device
from bench.nets.foreign_weights import best_match, checked_match, read_foreign
from bench.nets.import_doubts import TRIED, at_chance, better_fit
from bench.nets.weights import build_seeded, load_weights
from bench.pages.write import report
from bench.registry.layer_shapes import shapes_of
from bench.registry.registry import settled
from bench.schema.run import RunRecord
from bench.store.predictions import fixed_order
from bench.store.runs import CHECKPOINT, create_run, sha256, updated, write_bytes, write_checkpoint
from bench.training.run import begin, evaluate_into, recorded
from bench.workspace import Workspace

if TYPE_CHECKING:
    from torch import nn

    from bench.contracts import Dataset, ModelSpec
    from bench.evaluation import Scores

RECIPE = "adopted"  # in the place of a recipe's name


@dataclass(frozen=True)
class Adopted:
    """What `adopt` made: the run folder, its scores, and what the reader should look at first."""

    run: Path
    scores: Scores
    warnings: tuple[str, ...]


def adopt(  # noqa: PLR0913 (one parameter for each option of the command)
    weights: Path,
    *,
    model: str,
    data: str = "cifar10",
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    run: str | None = None,
    device: str = "auto",
    skip_bad: bool = False,
    workspace: Workspace | None = None,
) -> Adopted:
    """Make a run of weights that were trained elsewhere, and test it.

    Args:
        weights: .safetensors, or .pt and .pth that hold tensors and plain values; read without running anything.
        model: a registered name, path/to/file.py:attribute, timm:NAME or torchvision:NAME.
        data: whose test images it is tested on, as in `bench.train`.
        classes: the names of the model's outputs in their order; by default those of the data set.
        mean, std: what the images were normalised with, one value or three, of pixels in 0..1; by default those of
            the data set's training images.
        run: name of the run folder.

    Returns:
        The run, and warnings: what the keys lacked, and what fits better where the accuracy is that of guessing.

    Raises:
        MissingError: the weights cannot be read, or do not fit the model; nothing is written then.
        UsageError: a value that cannot be meant.
    """
    place, where = workspace or Workspace(), choose_device(device)
    model, data = settled(model), settled_source(data)
    spec, foreign = place.models[model], read_foreign(weights)
    dataset = load_dataset(data, cache=place.cache, progress=place.progress, skip_bad=skip_bad, size=spec.input_size)
    chosen = _as_answered(dataset, classes, mean, std)
    net = build_seeded(spec, len(chosen.classes), 0)
    match = best_match(net, foreign.state)
    lines = checked_match(match, model)
    load_weights(net, {**net.state_dict(), **match.state})
    _check_answer(net, spec, chosen)
    if foreign.said:
        place.progress.say("the file says: " + ", ".join(f"{key} {value!s:.60}" for key, value in foreign.said[:6]))
    for line in lines:
        place.progress.warn(line)
    folder = create_run(place.runs, model=_slug(model), data=dataset.name, seed=0, name=run)
    config: dict[str, object] = {
        "model": model, "data": data, "recipe": RECIPE, "seed": 0, "epochs": 0, "device": device,
        "weights": str(weights.resolve()), "weights_sha256": sha256(weights),
    }  # fmt: skip
    begin(folder, place, chosen, config, where)
    with recorded(folder):
        _keep(folder, net)
        net.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.eval().requires_grad_(False)
        statistics = (chosen.mean, chosen.std)
        scores = evaluate_into(folder, net, chosen, statistics, device=where, progress=place.progress, average=False)
    doubts = _doubts(net, chosen, scores, given=mean is not None or std is not None, device=where)
    for line in doubts:
        place.progress.warn(line)
    write_bytes(place.runs / "latest", folder.name.encode())
    report(folder.name, workspace=place)
    return Adopted(folder, scores, lines + doubts)


def _as_answered(
    data: Dataset, classes: Sequence[str] | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Dataset:
    """The data set as the model sees it: its classes in the order of the outputs, its statistics those of training."""
    names = tuple(classes) if classes else data.classes
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--classes names '{twice}' twice", try_="each output's own name")
    ordered = in_class_order(data, names)
    return dataclasses.replace(
        ordered, mean=_three("--mean", mean, data.mean), std=_three("--std", std, data.std, above=0.0)
    )


def _three(
    option: str, values: Sequence[float] | None, default: tuple[float, float, float], *, above: float = -1e9
) -> tuple[float, float, float]:
    if values is None:
        return default
    three = tuple(values) * 3 if len(values) == 1 else tuple(values)
    if len(three) != 3 or not all(above < value < 1e9 for value in three):
        raise UsageError(
            f"{option} {','.join(map(str, values))}: one value or three" + (", above 0" if above == 0 else ""),
            try_=f"{option} {'0.485,0.456,0.406' if option == '--mean' else '0.229,0.224,0.225'}",
        )
    return three


def _check_answer(net: nn.Module, spec: ModelSpec, data: Dataset) -> None:
    """The model answers with one logit a class, or nothing is written."""
    answer = shapes_of(net, spec.input_size)[1]
    if answer.ndim != 2 or answer.shape[1] != len(data.classes):
        raise MissingError(
            f"the model gives {tuple(answer.shape)} for one image, and there are {len(data.classes)} classes",
            try_="--classes with the names of all outputs, in their order",
        )


def _keep(folder: Path, net: nn.Module) -> None:
    """Write the checkpoint as a training would, and the figures that are known of it."""

    def finish(record: RunRecord) -> RunRecord:
        about = {name: record.data[name] for name in ("classes", "mean", "std", "mirror")}
        digest = write_checkpoint(folder / CHECKPOINT, net.state_dict(), {"model": record.model, **about})
        metrics = {"epochs_run": 0, "parameters": sum(each.numel() for each in net.parameters())}
        return dataclasses.replace(record, metrics=metrics, artefacts={CHECKPOINT: digest})

    updated(folder, finish)


def _doubts(net: nn.Module, data: Dataset, scores: Scores, *, given: bool, device: torch.device) -> tuple[str, ...]:
    """Warnings about an accuracy that other statistics or another order of the classes would better."""
    guessing = at_chance(scores.correct, scores.total, data.test.labels)
    if not guessing and given:
        return ()
    ids = torch.from_numpy(fixed_order(data.test.labels.numpy())[:TRIED])
    found = better_fit(net, data, ids, device)
    lines = []
    if guessing:
        lines.append(
            f"{scores.accuracy:.1%} right is no more than guessing: wrong statistics (--mean, --std) or another order "
            "of the classes (--classes) are the usual reasons"
        )
    if found is None:
        if guessing:
            lines.append(
                "none of the common statistics and no order of the classes fits better: do these weights belong to "
                "this data and this model?"
            )
        return tuple(lines)
    how = f"of {found.total} test images {found.right} are right"
    mean, std = (",".join(f"{value:.6g}" for value in values) for values in found.statistics)
    own = found.statistics == (data.mean, data.std)
    options = "" if own else f" --mean {mean} --std {std}"
    if found.order is not None:
        names = ",".join(data.classes[each] for each in found.order)
        lines.append(f"with another order of the classes {how}: try --classes {names}{options}")
    else:
        lines.append(f"with statistics {found.name} {how}: try{options}")
    return tuple(lines)


def _slug(model: str) -> str:
    """A name that may stand in a folder's name."""
    name = model.rpartition(":")[2]
    return "".join(each if each.isalnum() or each == "_" else "-" for each in name).strip("-_") or "model"
