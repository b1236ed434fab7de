"""`bench.adopt`: a run made of weights that were trained elsewhere, evaluated like any other."""

import dataclasses
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.contracts import Dataset, ModelSpec, Silence
from bench.data.datasets import in_class_order, load_dataset, resolved_source, told
from bench.errors import MissingError, UsageError
from bench.evaluation import Scores, predict
from bench.homes import at, homeless
from bench.machine import choose_device
from bench.nets.foreign_files import Foreign, chosen_sets, read_foreign
from bench.nets.foreign_weights import best_matches, checked_match, fits
from bench.nets.import_doubts import TRIED, Fit, at_chance, better_fit, probabilities_of
from bench.nets.weights import Match, build_seeded, for_inference, load_weights
from bench.pages.write import write_run_page
from bench.registry.foreign_models import described
from bench.registry.layer_shapes import shapes_of
from bench.registry.registry import resolved
from bench.request import AdoptRequest
from bench.schema.run import Results
from bench.store.files import sha256
from bench.store.folder import RunFolder
from bench.store.predictions import fixed_order
from bench.store.runs import updated, write_latest
from bench.training.checkpoint import discard, new_run
from bench.training.run import begin, evaluate_into, keep_weights
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
    progress, weights = workspace.progress, at(request.weights)
    device = choose_device(request.device, progress.warn)
    model, data = resolved(request.whole_name(request.model)), resolved_source(request.data)
    spec, foreign = workspace.models[model], read_foreign(weights)
    dataset = load_dataset(
        data, cache=workspace.cache, progress=progress, skip_bad=request.skip_bad, size=spec.input_size
    )
    chosen = _as_answered(dataset, request, foreign.classes)
    net = build_seeded(spec, len(chosen.classes), 0)
    match, lines = _match(net, chosen_sets(foreign, request.weights_key), model)
    load_weights(net, {**net.state_dict(), **match.state})
    described(net, channels=request.channels, outputs=request.outputs)
    _check_answer(net, spec, chosen)
    if foreign.said:
        progress.say("the file says: " + ", ".join(f"{key} {value!s:.60}" for key, value in foreign.said[:6]))
    lines += _unnamed(foreign) + _unheard(foreign.classes, chosen.classes, request)
    for line in lines:
        progress.warn(line)
    told(dataset, progress)
    kept = dataclasses.replace(
        request, weights=Path(homeless(str(weights.resolve()))), model=model, stem=None, image_size=None, data=data,
        classes=chosen.classes, mean=chosen.mean, std=chosen.std,
    )  # fmt: skip
    with _new_run(request, workspace, model, dataset.name) as folder:
        begin(folder, workspace, chosen, kept, device, lines)
        keep_weights(folder, net, Results(epochs_run=0, weights_sha256=sha256(weights)))
        for_inference(net, device)
        statistics = (chosen.mean, chosen.std)
        scores = evaluate_into(folder, net, chosen, statistics, device=device, progress=progress, average=False)
        discard(folder)
    logits = torch.from_numpy(RunFolder(folder).predictions.logits)
    doubts = _doubts(net, chosen, scores, logits, request.channels)
    for line in doubts:
        progress.warn(line)
    updated(folder, lambda record: dataclasses.replace(record, notes=lines + doubts))
    write_latest(folder)
    write_run_page(RunFolder(folder), workspace)
    return Adopted(folder, scores, lines + doubts)


def _unnamed(foreign: Foreign) -> tuple[str, ...]:
    """Lines about tensors in lists, as some programs keep averages of weights."""
    return tuple(
        f"{label or 'the file'} holds {count} tensors without names, which only what wrote them can put in place; "
        "left alone"
        for label, count in foreign.unnamed.items()
    )


@contextmanager
def _new_run(request: AdoptRequest, workspace: Workspace, model: str, data: str) -> Iterator[Path]:
    """The folder of a new run, which goes where adopting fails: nothing is in it that the weights do not give again."""
    with new_run(workspace.runs, model=model, data=data, seed=0, name=request.run) as folder:
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _match(net: nn.Module, sets: Mapping[str, dict[str, Tensor]], model: str) -> tuple[Match, tuple[str, ...]]:
    """The set of weights that fits best, and lines about it and about others that fit; MissingError where none does."""
    found = best_matches(net, sets)
    label, match = next(iter(found.items()))
    lines = checked_match(match, model, net)
    others = [each for each, one in found.items() if each != label and fits(one)]
    if not others:
        return match, lines
    taken = repr(label) if label else "the first"
    held = f"the file holds {len(others) + 1} sets of weights that fit: taken is {taken}"
    return match, (*lines, f"{held}; --weights-key {' or '.join(others)} takes another")


def _unheard(said: Sequence[str], used: Sequence[str], request: AdoptRequest) -> tuple[str, ...]:
    """A line about names of outputs in the file that are not the classes of the data: their order says nothing."""
    if not said or request.classes or request.class_order:
        return ()
    if [name.casefold() for name in said] == [name.casefold() for name in used]:
        return ()
    few = f"{', '.join(said[:5])}{', …' if len(said) > 5 else ''}"
    return (
        f"the file calls its {len(said)} outputs {few}, which are not the classes of the data; they are taken in the "
        f"order {', '.join(used[:5])}{', …' if len(used) > 5 else ''}: --classes says another",
    )


def _as_answered(data: Dataset, request: AdoptRequest, said: Sequence[str]) -> Dataset:
    """The data set as the model sees it: its classes in the order of the outputs, its statistics those of training.

    Args:
        said: the names of the outputs in the file, which hold unless the user says an order.
    """
    given = request.classes or (natural(data.classes) if request.class_order == "natural" else ())
    folded = {name.casefold(): name for name in data.classes}
    heard = [folded.get(name.casefold(), name) for name in said]  # Cat is cat
    told_so = heard if request.class_order is None and sorted(heard) == sorted(data.classes) else data.classes
    names = tuple(given or told_so)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--classes names '{twice}' twice", try_="a different name for each output")
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
    """The model answers with one logit for each class, or nothing is written."""
    answer = shapes_of(net, spec.input_size)[1]
    if answer.ndim != 2 or answer.shape[1] != len(data.classes):
        raise MissingError(
            f"the model returns {tuple(answer.shape)} for one image, but there are {len(data.classes)} classes",
            try_="--classes with the names of all outputs, in their order",
        )


AT_RANDOM = (
    "the model gives random answers: two passes over the same images give different logits, as with dropout that stays "
    "on in eval mode; its maps would be random, too, and `bench explain` will refuse it"
)
BESIDE_OTHERS = (
    "the model gives an image other logits beside other images, as if it used means over the batch in eval mode; "
    "`bench explain` will refuse it"
)


def _doubts(net: nn.Module, data: Dataset, scores: Scores, logits: Tensor, channels: str) -> tuple[str, ...]:
    """Warnings: answers that are no logits, and what else would make clearly more images right."""
    ids = torch.from_numpy(fixed_order(data.test.labels.numpy())[:TRIED])
    guessing = at_chance(scores.correct, scores.total, data.test.labels)
    device = next(net.parameters()).device
    again = predict(net, data.test.images[ids], (data.mean, data.std), device=device, progress=Silence())[0]
    lines = []
    if not torch.allclose(again, logits[ids], atol=1e-3 * float(logits.abs().max())):
        once_more = predict(net, data.test.images[ids], (data.mean, data.std), device=device, progress=Silence())[0]
        lines.append(BESIDE_OTHERS if torch.equal(again, once_more) else AT_RANDOM)
    ending = probabilities_of(logits)
    if ending:
        lines.append(
            f"the outputs are probabilities: the model ends with a {ending}, so the maps explain probabilities; "
            "--outputs probabilities turns them into logits"
        )
    if guessing:
        lines.append(
            f"{scores.accuracy:.1%} right is no better than guessing: the usual reasons are a wrong normalisation "
            "(--mean, --std), another order of the classes (--classes) or of the colours (--channels bgr)"
        )
    found = better_fit(net, data, ids, device)
    if found is not None:
        lines.append(_in_words(found, data, "rgb" if channels == "bgr" else "bgr"))
    elif guessing:
        lines.append(
            "no common normalisation and no order of the classes is better: do these weights belong to this data "
            "and this model?"
        )
    return tuple(lines)


def _in_words(found: Fit, data: Dataset, other: str) -> str:
    """What would make clearly more images right, and the options that choose it."""
    how = f"of {found.total} test images {found.right} are right"
    mean, std = (",".join(f"{value:.6g}" for value in values) for values in found.statistics)
    own = found.statistics == (data.mean, data.std)
    options = ("" if own else f" --mean {mean} --std {std}") + (f" --channels {other}" if found.bgr else "")
    if found.order is None:
        what = f"colours as {other}" if found.bgr else f"statistics {found.name}"
        return f"with {what} {how}: try{options}"
    names = tuple(data.classes[each] for each in found.order)
    ordered = "--class-order natural" if names == natural(data.classes) else f"--classes {','.join(names)}"
    return f"with another order of the classes {how}: try {ordered}{options}"


def natural(names: Sequence[str]) -> tuple[str, ...]:
    """Names in the order that people count in: 2 before 10."""
    return tuple(sorted(names, key=lambda name: [(part.isdecimal(), int(part) if part.isdecimal() else part)
                                                 for part in re.split(r"([0-9]+)", name)]))  # fmt: skip
