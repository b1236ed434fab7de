"""The folder that `bench export` writes: everything of a run in one README, with figures and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import torch

from bench.commands.explain import explain
from bench.contracts import Augmentation, Dataset, Split
from bench.data.contact_sheets import describe, seen_by_model, taken
from bench.errors import BenchError, UsageError, WriteError
from bench.fields import names, numbers
from bench.nets.summary import HEADS, shown_rows, summarise, texts_of, totals
from bench.nets.trained import Trained, data_of_run, open_run
from bench.nets.weights import build_seeded
from bench.pages.covered import Asked, gallery_of, side_by_side
from bench.pages.write import free_name, is_free, new_folder, page_of, reports
from bench.request import ExplainRequest, ExportRequest, LrFindRequest, TrainRequest, one_run
from bench.schema.hand_in import DataPictures, HandIn, MapsShown, Missing, ModelFacts
from bench.schema.page import Page
from bench.schema.run import RunRecord
from bench.store.folder import RunFolder
from bench.store.predictions import check_ids, choose_ids
from bench.store.runs import find_run
from bench.workspace import Workspace

EXPLAINERS = ("gradcam", "gradcam++")
PICTURES = 20  # misclassified ones
COMPARED = 6  # of them with several explainers
LAYERS = 4  # the last ones that a model names
BY_CLASS, CLASSES, PAIRS = 10, 20, 20  # pictures of a class, classes of a figure, pairs of augmented images
MEGABYTE = 2**20


def hand_in(request: ExportRequest, workspace: Workspace) -> tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]:
    """Write the folder; gives its files, the test ids of the pictures, and what is missing with what makes it.

    Raises:
        UsageError: a folder that is not empty, or several runs.
        WriteError: the folder cannot be written; nothing of it is left.
    """
    assert request.to is not None
    _check_free(request.to, request, workspace)
    found = _collected(request, workspace)
    look = reports("figures.paper").Look(request.width, request.colours, request.captions)
    with new_folder(request.to) as folder:
        files = reports("hand_in").write(found, look, folder)
    missing = tuple(f"{one.words}; {one.command}" for what, one in found.missing.items() if what != "rate")
    for each in missing:
        workspace.progress.warn(each)
    return tuple(sorted(files)), tuple(found.page.gallery.ids[place] for place in found.errors.places), missing


def _check_free(folder: Path, request: ExportRequest, workspace: Workspace) -> None:
    """UsageError for a folder that holds something, with a name that is free."""
    if not is_free(folder):
        what = "not empty" if folder.is_dir() else "no folder"
        raise UsageError(f"{folder} is there and {what}", try_=request.command(workspace.runs, to=free_name(folder)))


# --- what is collected ------------------------------------------------------------------------------------------


@dataclass
class _Collecting:
    """What can be had of a run, and what cannot and why."""

    request: ExportRequest
    workspace: Workspace
    run: RunFolder
    missing: dict[str, Missing] = field(default_factory=dict)

    @property
    def again(self) -> str:
        """The command that writes the folder once more."""
        return self.request.command(self.workspace.runs)

    def lack(self, what: str, words: str, command: str) -> None:
        """Note that something is missing."""
        self.missing.setdefault(what, Missing(words, command))


def _collected(request: ExportRequest, workspace: Workspace) -> HandIn:
    run = RunFolder(find_run(workspace.runs, one_run(request.run)))
    work = _Collecting(request, workspace, run)
    record, trained = run.record, _opened(work)
    page, errors, explainers = _maps(work, trained)
    _rate(work, record)
    return HandIn(
        page=page,
        command=record.command,
        again=work.again,
        training=_training(record),
        settings=_settings(record),
        facts=record.data,
        model=_model_facts(trained) if trained else None,
        pictures=_pictures(work),
        errors=errors,
        explainers=explainers,
        missing=work.missing,
    )


def _opened(work: _Collecting) -> Trained | None:
    try:
        return open_run(work.run, work.request.device, work.workspace)
    except UsageError as reason:  # the model's file or package is gone; the run's numbers are still there
        work.lack("model", f"The table of layers is missing: {reason.message}", reason.try_)
        return None


def _model_facts(trained: Trained) -> ModelFacts:
    # As it is built, like `bench show model`: of the opened one no weight can be trained any more.
    found = summarise(build_seeded(trained.spec, len(trained.classes), 0), trained.record.size)
    rows = shown_rows(found)
    outputs = 2 * 4 * sum(prod(row.shape) for row in rows) / MEGABYTE
    sizes = f"{outputs:.2f} MB of outputs forward and back, {4 * found.parameters / MEGABYTE:.2f} MB of parameters"
    _, *sums = totals(found)
    lines = (f"{len(rows)} rows; parameters in brackets are counted in the rows above", *sums, f"{sizes}, in fp32")
    return ModelFacts(found.kind, found.input_shape, HEADS, tuple(map(texts_of, rows)), lines)


def _training(record: RunRecord) -> tuple[str, ...]:
    """How a run was trained, in sentences."""
    asked = record.request
    if not isinstance(asked, TrainRequest):
        return ()
    peak, batch = next(iter(numbers(asked.lr)), 0.0), asked.batch_size or 0
    start, end = (peak * (share or 0.0) for share in (asked.lr_start, asked.lr_end))
    momentum = f" with momentum {asked.momentum:g}" if asked.optimizer == ("sgd",) and asked.momentum else ""
    smoothing = f", labels smoothed by {asked.label_smoothing:g}" if asked.label_smoothing else ""
    held_out = f"; {100 * asked.val:.0f} % of the training images were held out for validation" if asked.val else ""
    sizes = () if isinstance(asked.sizes, str) else asked.sizes or ()
    smaller = ", then ".join(f"{edge}x{edge} for {100 * share:.0f} %" for edge, share in sizes)
    return (
        f"{asked.epochs} epoch{'s' * (asked.epochs != 1)} in batches of {batch:,}, {', '.join(names(asked.optimizer))}"
        f"{momentum}, weight decay {asked.weight_decay or 0:g}.",
        f"The learning rate rises from {start:.3g} to {peak:.3g} over the first {100 * (asked.warm_up or 0):.0f} % of "
        f"the steps and falls to {end:.3g} in a straight line.",
        f"The loss is the cross entropy of the logits{smoothing}{held_out}.",
        *(
            (f"Images were smaller at first: {smaller} of the epochs, then {record.size}x{record.size}.",)
            * bool(smaller)
        ),
        f"It was computed in {asked.precision} on {record.environment.device or 'an unknown device'}.",
    )


def _settings(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """What a run was made with, by name; lists as they are typed, nothing that nobody chose."""
    request = record.request
    kept = (each for each in request.typed() if each.option.stored)
    found = ((each, getattr(request, each.name)) for each in kept)
    return tuple(
        (each.name.strip("_"), ", ".join(map(each.word, value)) if each.option.many else _word(each.word(value)))
        for each, value in found
        if value not in (None, ())
    )


def _word(word: str) -> str:
    return {"True": "yes", "False": "no"}.get(word, word)


def _rate(work: _Collecting, record: RunRecord) -> None:
    """A range test is of an untrained net, and no run keeps one."""
    if isinstance(record.request, TrainRequest):
        wanted = LrFindRequest(record.model, data=record.data.source, recipe=record.recipe)
        words = "A learning-rate range test is not part of a run"
        work.lack("rate", words, wanted.command(work.workspace.runs))


# --- misclassified pictures and their maps ------------------------------------------------------------------------


def _maps(work: _Collecting, trained: Trained | None) -> tuple[Page, MapsShown, MapsShown]:
    """The page, the misclassified pictures with one explainer's maps, and some with several explainers'."""
    request, predictions = work.request, work.run.predictions
    ids = (
        check_ids(request.ids, len(predictions.ids))
        if isinstance(request.ids, tuple)
        else choose_ids(predictions, "wrong", request.n or PICTURES)
    )
    chosen = tuple(ids.tolist())
    explainers = names(request.explainer) or EXPLAINERS
    layers = names(request.layer) or (tuple(reversed(trained.spec.layers[-LAYERS:])) if trained else ())
    wanted = ExplainRequest(
        one_run(request.run), explainer=explainers, layer=layers, ids=chosen, target=request.target, data=request.data,
        device=request.device,
    )  # fmt: skip
    page = page_of(work.run, work.workspace)
    if not chosen:
        return page, MapsShown(), MapsShown()
    asked = Asked(explainers[:1], layers, request.target, chosen, len(chosen),
                  lambda **more: wanted.command(work.workspace.runs, **more))  # fmt: skip
    every = replace(asked, typed=explainers, layers=())
    page, reason = _made(work, wanted, page, every, layers)
    try:
        found = gallery_of(page, asked)
    except UsageError as error:
        why = reason or error
        work.lack("maps", f"Maps of {explainers[0]} are missing: {why.message}", wanted.command(work.workspace.runs))
        places = tuple(at for at, each in enumerate(page.gallery.ids) if each in chosen)
        return page, MapsShown(places), MapsShown()
    in_order = tuple(sorted(found.places))  # as the page has them: the surest first
    few = replace(every, ids=tuple(page.gallery.ids[place] for place in in_order[:COMPARED]))
    try:
        beside = side_by_side(page, few) if len(explainers) > 1 and len(chosen) > 1 else None
    except UsageError as error:
        work.lack("explainers", f"Other explainers are missing: {error.message}", wanted.command(work.workspace.runs))
        beside = None
    others = MapsShown(beside.places, beside.maps) if beside else MapsShown()
    return page, MapsShown(in_order, found.maps), others


def _made(
    work: _Collecting, wanted: ExplainRequest, page: Page, every: Asked, layers: Sequence[str]
) -> tuple[Page, BenchError | None]:
    """The page with all the maps that are wanted; those that are missing are made, or it is said why not."""
    try:
        for each in every.typed:
            gallery_of(page, replace(every, typed=(each,), layers=tuple(layers)))
    except UsageError:
        work.workspace.progress.say("some of the maps are missing: they are made now, and kept in the run")
    else:
        return page, None
    try:
        explain(wanted, work.workspace)
    except WriteError:
        raise
    except BenchError as reason:
        return page, reason
    return page_of(work.run.renewed(), work.workspace), None


# --- pictures of the data -----------------------------------------------------------------------------------------


def _pictures(work: _Collecting) -> DataPictures | None:
    try:
        data = data_of_run(work.run.record, work.request.data, work.workspace)
    except BenchError as reason:
        again = work.request.command(work.workspace.runs, data="DATA")
        work.lack("pictures", f"Pictures of the training images are missing: {reason.message}", again)
        return None
    request = work.run.record.request
    by_class = tuple(
        (name, tuple(_shown(data, (data.train.labels == label).nonzero().flatten()[:BY_CLASS].tolist())))
        for label, name in enumerate(data.classes[:CLASSES])
    )
    if not isinstance(request, TrainRequest):
        return DataPictures(by_class, (), "")
    augmentation = taken(Augmentation(request.translate or 0, request.flip or "none", request.cutout or 0), data)  # type: ignore[arg-type]
    return DataPictures(by_class, tuple(_pairs(data, augmentation, request.seed)), describe(augmentation))


def _shown(data: Dataset, ids: Sequence[int]) -> Iterator[object]:
    return (data.train.images[each].permute(1, 2, 0).cpu().numpy() for each in ids)


def _pairs(data: Dataset, augmentation: Augmentation, seed: int) -> Iterator[tuple[str, object, object]]:
    """Training images, spread over the classes, beside what the model sees of them: the very tensors of a batch."""
    firsts = [(data.train.labels == label).nonzero().flatten().tolist() for label in range(len(data.classes))]
    turns = [of_class[turn] for turn in range(PAIRS) for of_class in firsts if turn < len(of_class)][:PAIRS]
    split = Split(data.train.images[turns], data.train.labels[turns], tuple(data.train.names[each] for each in turns))
    generator = torch.Generator().manual_seed(seed)
    images, seen = seen_by_model(replace(data, train=split), augmentation, generator, count=len(turns))
    for label, image, other in zip(split.labels.tolist(), images, seen, strict=True):
        yield data.classes[label], image.permute(1, 2, 0).cpu().numpy(), other.permute(1, 2, 0).cpu().numpy()
