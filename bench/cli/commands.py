"""One function a verb: a request in, one call, and an answer for a reader and for programs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bench.cli import tables
from bench.cli.console import Answer, Grid, harmless, table_of
from bench.contracts import ExplainerSpec, ModelSpec
from bench.data.datasets import BUILTIN, load_dataset
from bench.errors import StoreError, ThresholdError, UsageError, did_you_mean, nearest
from bench.fields import names
from bench.recipes.files import recipe_of
from bench.recipes.recipe import RECIPES
from bench.registry.registry import Registry, discover
from bench.request import (
    LATEST,
    AdoptRequest,
    CompareRequest,
    DemoRequest,
    DoctorRequest,
    EvaluateRequest,
    ExplainPicturesRequest,
    ExplainRequest,
    ExportRequest,
    FaithfulnessRequest,
    Gated,
    JudgeRequest,
    KnownAnswersRequest,
    ListRequest,
    LrFindRequest,
    ReportRequest,
    RmRequest,
    SchemaRequest,
    ShowRequest,
    Tabled,
    TimeRequest,
    TrainRequest,
    VerifyRequest,
)
from bench.schema.page import Page
from bench.schema.run import RunRecord
from bench.schema.timing import Timing
from bench.schema.verdicts import Judgement
from bench.store.paths import drawing_path, known_answers_path, known_scores_path, report_path, run_path, scores_path
from bench.store.runs import any_folder, find_run, read_record, remove_folder, remove_run, run_folders, run_names
from bench.training.team import launched
from bench.whole_file import replacing
from bench.workspace import Workspace

if TYPE_CHECKING:
    from bench.explaining.runner import CellResult
    from bench.gates.judged import Judged

Rows = list[dict[str, object]]

PLANNED = Answer({"planned": True}, ())
NEEDED = {"dask": "distributed", "slurm": "submitit"}  # by extra, which is named as its engine


# --- start --------------------------------------------------------------------------------------------------


def demo(request: DemoRequest, workspace: Workspace) -> Answer:
    """What the three runs got, three findings, and their page."""
    from bench.commands.demo import demo as run

    found = run(request, workspace)
    lines = [line for name in found.runs for line in tables.result_lines(run_path(workspace.runs, name))]
    path = str(found.page.resolve())
    told = [line for each in found.findings for line in (f"- {each.text}", f"    {each.evidence}")]
    findings = [{"text": each.text, "evidence": each.evidence} for each in found.findings]
    return Answer({"runs": list(found.runs), "findings": findings, "page": path}, (*lines, *told, path), path)


def train(request: TrainRequest, workspace: Workspace) -> Answer:
    """What a training got, or several did."""
    from bench.commands.sweep import sweep
    from bench.commands.train import train as run

    if request.resume is None and len(request.trainings()) > 1:
        found = sweep(request, workspace)
        return PLANNED if request.dry_run else tables.sweep_answer(found, workspace.runs)
    folder = run(request, workspace)
    if request.dry_run or not launched().first:  # the first of several processes tells of the run, which it still tests
        return PLANNED
    return _of_new_run(folder, ExplainRequest(), workspace)


def adopt(request: AdoptRequest, workspace: Workspace) -> Answer:
    """What adopted weights got; or only their tensors in a file that can be read."""
    from bench.commands.adopt import adopt as run
    from bench.nets.foreign_files import convert_pickle

    if request.convert is not None:
        count, sets = convert_pickle(request.weights, request.convert, request.weights_key)
        of, path = f" of {', '.join(sets)}" if len(sets) > 1 else "", str(request.convert.resolve())
        line = f"{count} tensors{of}; nothing of {request.weights} was run"
        return Answer({"tensors": count, "sets": list(sets), "weights": path}, (line, path))
    found = run(request, workspace)
    return _of_new_run(found.run, ExplainRequest(found.run.name), workspace, warnings=list(found.warnings))


def _of_new_run(folder: Path, following: ExplainRequest, workspace: Workspace, **more: object) -> Answer:
    page, line = str(report_path(folder).resolve()), f"next: {following.command(workspace.runs)}"
    return Answer({**tables.result_value(folder), **more}, (*tables.result_lines(folder), line, page), page)


# --- look ---------------------------------------------------------------------------------------------------


def explain(request: ExplainRequest | ExplainPicturesRequest, workspace: Workspace) -> Answer:
    """The cells of every run that was asked for, or the pages of one's own pictures."""
    from bench.commands.explain import explain as run, runs_of

    if isinstance(request, ExplainPicturesRequest):
        return _explain_pictures(request, workspace)
    runs = runs_of(request, workspace)
    done = [run(replace(request, run=name, model=()), workspace) for name in runs]
    if request.dry_run:
        return PLANNED
    lines: list[Any] = [
        line for one in done if one.cells
        for line in (tables.cells_table(one.run.name, one.cells), *tables.completeness_lines(one.cells))
    ]  # fmt: skip
    value = {
        "runs": [
            {
                "run": one.run.name,
                "images": one.images,
                "report": str(one.report.resolve()),
                "cells": list(map(_as_json, one.cells)),
            }
            for one in done
        ]
    }
    pages = [str(one.report.resolve()) for one in done]
    return Answer(value, (*lines, *pages), pages[-1])


def _as_json(cell: CellResult) -> dict[str, Any]:
    """What became of one cell."""
    return {
        "explainer": cell.explainer,
        "layer": cell.layer,
        "rows": cell.rows,
        "computed": cell.computed,
        "images_per_second": cell.rate,
        "complete": asdict(cell.complete) if cell.complete else None,
    }


def _explain_pictures(request: ExplainPicturesRequest, workspace: Workspace) -> Answer:
    """Own pictures, of every run that was named."""
    from bench.commands.explain_pictures import explain_pictures

    runs = names(request.run)
    done = [explain_pictures(replace(request, run=name), workspace) for name in runs]
    lines = [
        f"{one.file}: {one.top[0][0]} {one.top[0][1]:.1%} ({'; '.join(one.done)})"
        for each in done
        for one in each.pictures
    ]
    pages = [str(each.page.resolve()) for each in done]
    value = {"pages": pages, "pictures": [
        {"file": one.file, "done": list(one.done), "top": [{"class": name, "probability": share}
         for name, share in one.top]} for each in done for one in each.pictures]}  # fmt: skip
    return Answer(value, (*lines, *pages), pages[-1])


def compare(request: CompareRequest, workspace: Workspace) -> Answer:
    """What a comparison found, whether its thresholds broke, and its page."""
    from bench.commands.compare import compare as run

    done = run(request, workspace)
    if request.dry_run:
        return PLANNED
    assert done.values
    path, findings = str(done.page.resolve()), done.values.findings
    value = {
        "title": done.values.title,
        "findings": [{"text": each.text, "evidence": each.evidence} for each in findings],
        "thresholds": _thresholds(done.thresholds),
        "page": path,
        "twin": str(done.twin.resolve()),
    }
    failure = _failure(done.thresholds, request, f"the page says more: {path}")
    gates = [each.line for each in done.thresholds]
    if request.form_of_tables:
        text = _document(done.values, request, notes=gates)
        for line in (*gates, path):
            workspace.progress.say(line)
        return Answer({**value, "text": text}, (), path, failure, text)
    told = [line for each in findings for line in (f"- {each.text}", f"    {each.evidence}")]
    return Answer(value, (done.values.title, *told, *gates, path), path, failure)


def _document(page: Page, request: Tabled, notes: Sequence[str] = ()) -> str:
    """The tables of a page in the format that was asked for."""
    from bench.pages.write import reports

    found = reports("tables").document(page, request.form_of_tables, only=request.table or "", notes=notes)
    return str(found)


def report(request: ReportRequest, workspace: Workspace) -> Answer:
    """The pages that were rendered again."""
    from bench.commands.report import report as run

    pages = [str(page.resolve()) for page in run(request, workspace)]
    if not pages:
        raise UsageError(f"no finished run in {workspace.runs}", try_="bench train --model cifar_resnet18")
    return Answer({"pages": pages}, tuple(pages), pages[-1])


def export(request: ExportRequest, workspace: Workspace) -> Answer:
    """The folder or the figure that was written."""
    from bench.commands.export import export as run

    done = run(request, workspace)
    path = str(done.path.resolve())
    if request.figure:
        words = (f"{len(done.ids)} picture{'s' * (len(done.ids) != 1)}",) if done.ids else ()
        return Answer({"figure": request.figure, "path": path, "ids": list(done.ids)}, (*words, path))
    value = {"folder": path, "files": list(done.files), "ids": list(done.ids), "missing": list(done.missing)}
    return Answer(value, (f"{len(done.files)} files; README.md shows them all", path))


# --- trust --------------------------------------------------------------------------------------------------


def judge(request: JudgeRequest | FaithfulnessRequest | KnownAnswersRequest, workspace: Workspace) -> Answer:
    """The verdicts on a run's cells, the scores of its explainers, or what tests with a known answer say of them."""
    from bench.commands.faithfulness import faithfulness
    from bench.commands.judge import judge as run
    from bench.commands.known_answers import known_answers

    if isinstance(request, KnownAnswersRequest):
        found_out, folder = known_answers(request, workspace), find_run(workspace.runs, request.run)
        answer = tables.known_answer(found_out, known_scores_path(folder))
        return answer if request.dry_run else _with_gates(answer, request, request.run, folder)
    if isinstance(request, FaithfulnessRequest):
        scores = faithfulness(request, workspace)
        return tables.scores_answer(scores, scores_path(find_run(workspace.runs, request.run)))
    done = run(request, workspace)
    found, path = done.judgement, str(done.path.resolve())
    bad = [one for one in found.verdicts if one.verdict in ("wrong", "failed")]
    broken = request.strict and bad
    words = f"{len(bad)} of {len(found.verdicts)} are wrong or failed"
    failure = ThresholdError(words, try_=f"bench report {found.run}") if broken else None
    table = tables.verdicts_table(found.run, found.verdicts)
    sentences = [tables.sentence(one, found.run, workspace.runs) for one in bad]
    return Answer({**asdict(found), "path": path}, (table, *sentences, path), failure=failure)


def time_(request: TimeRequest, workspace: Workspace) -> Answer:
    """A timing's tables, and whether its thresholds hold."""
    from bench.commands.timing import measure

    done = measure(request, workspace)
    for note in done.timing.notes:
        workspace.progress.warn(note)
    path = str(done.path.resolve())
    value = {
        **asdict(done.timing),
        "path": None if done.unwritten else path,
        "thresholds": _thresholds(done.thresholds),
    }
    words = [each.line for each in done.thresholds]
    lines: list[Any] = [*tables.timing_tables(done.timing), *words, *(() if done.unwritten else (path,))]
    advice = "more --rounds and --budget, where the interval is wide"
    return Answer(value, (*lines,), failure=done.unwritten or _failure(done.thresholds, request, advice))


def _thresholds(found: Sequence[Judged]) -> Rows:
    """What became of thresholds, for `--json`."""
    return [{"threshold": each.threshold.text, "outcome": each.outcome, "words": each.words} for each in found]


def _failure(found: Sequence[Judged], request: Gated, advice: str) -> ThresholdError | None:
    """What broke, or with --strict is undecided, as the error of a call; None where nothing did."""
    from bench.gates.judged import failing

    strict = {"undecided": ", which --strict does not let pass"}
    bad = failing(found, strict=request.strict)
    words = "; ".join(f"{each.line}{strict.get(each.outcome, '')}" for each in bad)
    return ThresholdError(words, try_=advice) if words else None


def verify(request: VerifyRequest, workspace: Workspace) -> Answer:
    """What the conformance kit found."""
    from bench.commands.verify import verify as run

    found = run(request, workspace)
    broken = [words for words in map(tables.reasons, found) if words]
    hint = "docs/add-an-explainer.md says what each check asks for"
    failure = ThresholdError("; ".join(broken), try_=hint) if broken else None
    table = tables.checks_table(found[0]) if len(found) == 1 else tables.checks_summary(found)
    value = {"explainers": [tables.as_value(one) for one in found]}
    return Answer(value, (table, tables.checks_line(found)), failure=failure)


def evaluate(request: EvaluateRequest, workspace: Workspace) -> Answer:
    """What a run's weights got when they were tested again, and whether its thresholds hold."""
    from bench.commands.evaluate import evaluate as run

    run(request, workspace)
    folder = find_run(workspace.runs, request.run)
    answer = Answer(tables.result_value(folder), tables.run_lines(folder))
    return _with_gates(answer, request, request.run, folder)


def _with_gates(answer: Answer, request: Gated, run: str, folder: Path) -> Answer:
    """An answer about a run with what became of the thresholds."""
    from bench.gates.runs import Sides, judge_runs
    from bench.store.folder import RunFolder
    from bench.thresholds import read_threshold

    found = judge_runs(map(read_threshold, names(request.fail_if)), Sides((run,), (RunFolder(folder),)))
    *lines, path = answer.lines
    value = {**answer.value, "thresholds": _thresholds(found)}
    failure = _failure(found, request, f"bench show run {folder.name}")
    return replace(answer, value=value, lines=(*lines, *(each.line for each in found), path), failure=failure)


# --- around -------------------------------------------------------------------------------------------------


def lr_find(request: LrFindRequest, workspace: Workspace) -> Answer:
    """Where the loss falls fastest."""
    from bench.commands.lr_find import find_learning_rate

    found, path = find_learning_rate(request, workspace)
    if found.at_edge:
        workspace.progress.warn("the suggestion is at an edge of the curve: do not use it, or try another --highest")
    value = {"suggestion": found.suggestion, "at_edge": found.at_edge, "rates": list(found.rates),
             "losses": list(found.losses), "curve": str(path.resolve())}  # fmt: skip
    line = f"the loss falls fastest at a learning rate of {found.suggestion:.2g}"
    return Answer(value, (line, str(path.resolve())))


def list_(request: ListRequest, workspace: Workspace) -> Answer:
    """What there is to choose from."""
    lists: dict[str, Callable[[], Rows]] = {
        "models": lambda: _entries(discover("model", object)),
        "explainers": lambda: (
            _classes(workspace, request.library) if request.library else _entries(discover("explainer", object))
        ),
        "engines": lambda: _entries(discover("engine", object)),
        "layers": lambda: _layers(workspace, request.whole_name(request.model)),
        "recipes": lambda: [
            {"name": one.name, **one.values(), "source": one.source, "measured": one.measured}
            for one in RECIPES.values()
        ],
        "data": lambda: [{"name": name, "about": about} for name, about in BUILTIN.items()],
        "runs": lambda: [_run_row(folder) for folder in run_folders(workspace.runs)],
    }
    what = request.what
    if what not in lists:
        words = f"nothing to list named '{what}'{did_you_mean(what, lists)}" if what else "list what?"
        raise UsageError(words, try_=f"bench list {nearest(what, lists) or 'runs'}  # or {', '.join(lists)}")
    if request.library and what != "explainers":
        advice = f"bench list explainers --library {request.library}"
        raise UsageError(f"--library cannot be used with {what}", try_=advice)
    rows = lists[what]()
    if what == "recipes":
        return Answer({what: rows}, tuple(line for one in RECIPES.values() for line in tables.recipe_lines(one)))
    if what == "explainers" and not request.library:
        known = discover("explainer", object)
        return Answer({what: rows}, tables.explainers_lines(known.entries, known.libraries))
    return Answer({what: rows}, (_table(rows) if rows else _nothing(what, request, workspace),))


def _nothing(what: str, request: ListRequest, workspace: Workspace) -> str:
    """An empty list in words."""
    if what == "layers":
        return f"no layer of {request.model} has an output with positions; explainers of the image's pixels need none"
    return f"no {what} in {workspace.runs.resolve()}"


def _table(rows: Rows) -> Grid:
    return table_of("", list(rows[0]), [list(row.values()) for row in rows])


def _entries(registry: Registry[object]) -> Rows:
    named = [(one.name, one) for one in registry.entries.values()]
    named += [(f"{one.name}:NAME", one) for one in registry.libraries.values()]
    return [
        {
            "name": name,
            **dict(zip(("kind", "library", "gives", "passes", "marks"), one.facts, strict=False)),
            "about": one.problem or one.about,
            "from": one.owner,
        }
        for name, one in named
    ]


def _classes(workspace: Workspace, library: str) -> Rows:
    """Every class of a library: what it gives, or why it is refused."""
    members = workspace.explainers.members(library)
    rows: Rows = []
    with workspace.progress.track(f"try {library}", len(members)) as task:
        for member in members:
            name = f"{library}:{member}"
            try:
                rows.append({"name": name, "works": "yes", "about": tables.about_explainer(workspace.explainers[name])})
            except UsageError as error:
                rows.append({"name": name, "works": "no", "about": error.message.partition(": ")[2]})
            task.advance(note=member)
    return sorted(rows, key=lambda row: row["works"] == "no")


def _layers(workspace: Workspace, model: str) -> Rows:
    from bench.nets.weights import build_seeded
    from bench.registry.layer_shapes import grids_of

    spec = workspace.models[model]
    maps = grids_of(build_seeded(spec, 10, 0), spec.input_size)
    return [
        {
            "name": name,
            "map": f"{height}x{width}",
            "channels": channels,
            "default": "yes" if name in spec.layers else "",
        }
        for name, (channels, height, width) in maps.items()
    ]


def _run_row(folder: Path) -> dict[str, object]:
    try:
        record = read_record(folder)
    except StoreError as error:
        return {"run": folder.name, "status": "unreadable", "model": "", "data": "", "accuracy": error.message}
    wrong, accuracy = record.results.impossible, record.results.possible.accuracy
    return {
        "run": folder.name,
        "status": record.status,
        "model": record.model,
        "data": record.data.name,
        "accuracy": f"{accuracy:.2%}" if accuracy is not None else f"cannot be: {', '.join(wrong)}" if wrong else "",
    }


# --- show ---------------------------------------------------------------------------------------------------


def show(request: ShowRequest, workspace: Workspace) -> Answer:
    """A run's result, a model's summary, a data set's pictures, or what augmentation does to them."""
    shows = {"run": _show_run, "model": _show_model, "data": _show_pictures, "augment": _show_pictures}
    if request.what not in shows:
        if request.what in run_names(workspace.runs):
            return _show_run(replace(request, name=request.what), workspace)
        words = f"nothing to show named '{request.what}', and no run{did_you_mean(request.what, shows)}"
        raise UsageError(words, try_=f"bench show {nearest(request.what, shows) or 'run latest'}")
    return shows[request.what](request, workspace)


def _show_run(request: ShowRequest, workspace: Workspace) -> Answer:
    from bench.pages.write import page_of
    from bench.store.folder import RunFolder

    if request.run and request.name and request.run != request.name:
        raise UsageError(f"'{request.name}' and --run {request.run} are two different runs", try_="one of them")
    folder = find_run(workspace.runs, request.run or request.name or LATEST)
    if request.form_of_tables:
        text = _document(page_of(RunFolder(folder), workspace), request)
        return Answer({**tables.result_value(folder), "text": text}, (), text=text)
    return Answer(tables.result_value(folder), tables.run_lines(folder))


def _show_model(request: ShowRequest, workspace: Workspace) -> Answer:
    from bench.nets.summary import HEADS, by, shown_rows, summarise, texts_of, totals
    from bench.nets.weights import build_seeded

    name = request.name or "cifar_resnet18"
    spec = workspace.models[name]
    found = summarise(build_seeded(spec, request.classes, 0), spec.input_size)
    value = {"model": name, "parameters": found.parameters, "macs": found.macs, "source": spec.source}
    rows = map(texts_of, shown_rows(found, all=request.all_))
    table = table_of(f"{found.kind}, input {by(found.input_shape)}", HEADS, rows, numbers=HEADS[2:])
    return Answer(value, (table, *totals(found, all=request.all_), f"source: {spec.source}"))


def _show_pictures(request: ShowRequest, workspace: Workspace) -> Answer:
    import torch

    from bench.data.contact_sheets import augment_sheet, class_sheet, describe, taken

    what = request.what
    source = request.name or os.environ.get("BENCH_DATA") or "cifar10"
    data = load_dataset(source, cache=workspace.cache, progress=workspace.progress, skip_bad=True)
    generator = torch.Generator().manual_seed(request.seed)
    augmentation = recipe_of(request.recipe).augmentation
    sheet = class_sheet(data) if what == "data" else augment_sheet(data, augmentation, generator)
    path = request.out or drawing_path(workspace.runs, f"{what}-{data.name}")
    with replacing(path) as file:
        sheet.save(file, format="PNG")
    sizes = (
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test images of {len(data.classes)} classes"
    )
    mean, std = ([round(value, 4) for value in values] for values in (data.mean, data.std))
    value = {
        "data": data.name,
        "classes": list(data.classes),
        "train": len(data.train),
        "test": len(data.test),
        "mean": mean,
        "std": std,
        "sha256": data.digest,
        "inventory": data.inventory,
        "notes": list(data.notes),
        "sheet": str(path.resolve()),
    }
    said = filter(None, (data.inventory, *data.notes))
    how = (describe(taken(augmentation, data)),) if what == "augment" else ()
    return Answer(value, (sizes, *how, f"mean {mean}, std {std}", *said, str(path.resolve())))


# --- doctor, schema, rm -------------------------------------------------------------------------------------


def doctor(request: DoctorRequest, workspace: Workspace) -> Answer:
    """Versions, devices, what would be chosen and why, folders, and whether every registered name loads."""
    from bench.gpus import every_gpu
    from bench.machine import best_device, environment
    from bench.precision import best_precision

    device, passed_by = best_device()
    facts: dict[str, Any] = asdict(environment(device))
    precision, why = best_precision(device)
    problems = []
    for registry in (discover("model", ModelSpec), discover("explainer", ExplainerSpec), workspace.engines):
        for name in registry:
            try:
                registry[name]
            except Exception as error:
                problems.append(f"{registry.kind} {name}: {error}")
    rows: Rows = [{"what": key, "found": value} for key, value in facts["versions"].items()]
    rows += [{"what": key, "found": facts[key]} for key in ("system", "cpu", "cores", "threads")]
    rows += [{"what": f"GPU {index}", "found": words} for index, words in enumerate(every_gpu())]
    rows += [
        {"what": "--device auto", "found": f"{device}: {facts['device']}"},
        {"what": "--precision auto", "found": f"{precision}: {why}"},
        *({"what": key, "found": facts[key]} for key in ("cuda", "cudnn", "driver") if facts[key]),
        *({"what": key, "found": value} for key, value in facts["flags"].items()),
        {"what": "bench on PATH", "found": shutil.which("bench") or "no"},
        {"what": "runs", "found": workspace.runs.resolve()},
        {"what": "cache", "found": workspace.cache},
        {"what": "free disk", "found": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB"},
    ]
    rows += [{"what": f"--on {extra}", "found": _installed(name, extra)} for extra, name in NEEDED.items()]
    end = [f"problem: {each}" for each in problems] or ["every registered model, explainer and engine loads"]
    unused = [f"{error.message}; try: {error.try_}" for error in passed_by]
    chosen = {"auto_device": str(device), "auto_precision": precision, "why": why, "unused": unused}
    return Answer({**facts, **chosen, "problems": problems}, (_table(rows), *unused, *end))


def _installed(distribution: str, extra: str) -> str:
    """Its version, or how to get it."""
    from bench.machine import versions

    found = versions((distribution,)).get(distribution)
    return f"{distribution} {found}" if found else f"no: pip install 'cambench[{extra}]'"


def schema(request: SchemaRequest, workspace: Workspace) -> Answer:
    """The JSON schema of a file that bench writes."""
    from pydantic import TypeAdapter

    kinds: dict[str, type] = {"run": RunRecord, "page": Page, "judge": Judgement, "timing": Timing}
    if request.what not in kinds:
        raise UsageError(f"no file kind '{request.what}'{did_you_mean(request.what, kinds)}", try_="bench schema run")
    found = TypeAdapter(kinds[request.what]).json_schema()
    return Answer({"json_schema": found}, tuple(json.dumps(found, indent=2).split("\n")))


def remove(request: RmRequest, workspace: Workspace) -> Answer:
    """Delete a run's folder."""
    folder = any_folder(workspace.runs, request.run)
    if folder.is_symlink():
        raise UsageError(f"{folder} is a link, not a folder of bench", try_=f"rm {shlex.quote(str(folder))}")
    if request.known_answers:
        folder, remove = known_answers_path(folder), remove_folder
        if not folder.is_dir():
            words = f"run '{request.run}' has no known answers"
            raise UsageError(words, try_=f"bench judge {request.run} --known-answers")
    else:
        remove = remove_run
    if not request.yes and not typer.confirm(harmless(f"delete {folder.resolve()}?"), err=True):
        raise typer.Exit(1)
    remove(folder)
    return Answer({"removed": str(folder.resolve())}, (f"removed {folder.resolve()}",))
