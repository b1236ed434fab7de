"""`bench.adopt`: a run made of weights that were trained elsewhere, evaluated like any other."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bench.contracts import Dataset, ModelSpec
from bench.data.datasets import in_class_order, load_dataset, resolved_source
from bench.errors import MissingError, UsageError
from bench.evaluation import Scores
from bench.machine import choose_device
from bench.nets.foreign_weights import best_match, checked_match, read_foreign
from bench.nets.import_doubts import TRIED, at_chance, better_fit
from bench.nets.weights import build_seeded, for_inference, load_weights
from bench.pages.write import write_run_page
from bench.registry.layer_shapes import shapes_of
from bench.registry.registry import resolved
from bench.request import AdoptRequest
from bench.schema.run import Results
from bench.store.files import sha256
from bench.store.folder import RunFolder
from bench.store.predictions import fixed_order
from bench.store.runs import create_run, write_latest
from bench.training.run import begin, evaluate_into, keep_weights, recorded
from bench.workspace import Workspace


@dataclass(frozen=True)
class Adopted:
    """What `adopt` made: the run folder, its scores, and what the reader should look at first."""

    run: Path
    scores: Scores
    warnings: tuple[str, ...]


def adopt(request: AdoptRequest, workspace: Workspace) -> Adopted:
    """Make a run of weights that were trained elsewhere, and test it. Nothing of the file is run.

    Without statistics and classes those of the data set's training images are taken.

    Returns:
        The run, and warnings: what the keys lacked, and what fits better where the accuracy is that of guessing.

    Raises:
        MissingError: the weights cannot be read, or do not fit the model; nothing is written then.
        UsageError: a value that cannot be meant.
    """
    device, progress, weights = choose_device(request.device), workspace.progress, Path(request.weights)
    model, data = resolved(request.whole_name(request.model)), resolved_source(request.data)
    spec, foreign = workspace.models[model], read_foreign(weights)
    dataset = load_dataset(
        data, cache=workspace.cache, progress=progress, skip_bad=request.skip_bad, size=spec.input_size
    )
    chosen = _as_answered(dataset, request)
    net = build_seeded(spec, len(chosen.classes), 0)
    match = best_match(net, foreign.state)
    lines = checked_match(match, model)
    load_weights(net, {**net.state_dict(), **match.state})
    _check_answer(net, spec, chosen)
    if foreign.said:
        progress.say("the file says: " + ", ".join(f"{key} {value!s:.60}" for key, value in foreign.said[:6]))
    for line in lines:
        progress.warn(line)
    folder = create_run(workspace.runs, model=model, data=dataset.name, seed=0, name=request.run)
    kept = dataclasses.replace(
        request, weights=weights.resolve(), model=model, stem=None, image_size=None, data=data,
        classes=chosen.classes, mean=chosen.mean, std=chosen.std,
    )  # fmt: skip
    begin(folder, workspace, chosen, kept, device)
    with recorded(folder):
        keep_weights(folder, net, Results(epochs_run=0, weights_sha256=sha256(weights)))
        for_inference(net, device)
        statistics = (chosen.mean, chosen.std)
        scores = evaluate_into(folder, net, chosen, statistics, device=device, progress=progress, average=False)
    given = request.mean is not None or request.std is not None
    doubts = _doubts(net, chosen, scores, given=given, device=device)
    for line in doubts:
        progress.warn(line)
    write_latest(folder)
    write_run_page(RunFolder(folder), workspace)
    return Adopted(folder, scores, lines + doubts)


def _as_answered(data: Dataset, request: AdoptRequest) -> Dataset:
    """The data set as the model sees it: its classes in the order of the outputs, its statistics those of training."""
    names = tuple(request.classes or data.classes)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--classes names '{twice}' twice", try_="each output's own name")
    mean, std = _three("--mean", request.mean, data.mean), _three("--std", request.std, data.std, above=0.0)
    return dataclasses.replace(in_class_order(data, names), mean=mean, std=std)


def _three(
    option: str, values: str | Sequence[float] | None, default: tuple[float, float, float], *, above: float = -1e9
) -> tuple[float, float, float]:
    if values is None or isinstance(values, str):  # words have been read
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
